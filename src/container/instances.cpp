#include "instances.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "instance_entry.hpp"
#include "process_facts.hpp"
#include "volume_files.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

std::string path_of(const Fd& fd) { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd.get()); }

namespace {

/// The host's id that a process runs as.
std::optional<std::uint64_t> user_of(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/status", pid), 64 << 10);
  constexpr std::string_view field = "\nUid:\t";
  const auto at = text ? text->find(field) : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  const auto digits = std::string_view(*text).substr(at + field.size());
  return parse_unsigned(digits.substr(0, digits.find_first_not_of("0123456789")));
}

}  // namespace

Instances::Instances(Executor executor, Roots& roots, LayerFolders& layers, WorkerPool& workers, Runtimes runtimes,
                     Networks& networks, fs::path folder)
    : executor_(executor),
      roots_(roots),
      layers_(layers),
      workers_(workers),
      runtimes_(std::move(runtimes)),
      networks_(networks),
      pods_(networks, roots.area()),
      folder_(std::move(folder)),
      host_(HostFacts::look()),
      executing_(executor, executing_max, turns_waiting_max),
      commands_(executor, cgroups_),
      watchers_(executor) {}

Instances::~Instances() = default;

awaitable<void> Instances::stop() {
  co_await commands_.stop();
  co_await watchers_.stop();
  cgroups_.forget_freezing();
}

const RuntimeCommand& Instances::runtime_of(const Entry& entry) const {
  const auto& name = entry.record.runtime;
  const auto found = runtimes_.find(std::string_view(name.bytes, name.length));
  return found != runtimes_.end() ? found->second : runtimes_.at("");  // a class that was taken out since
}

Result<Instances::EntryPointer> Instances::find(const InstanceId& id) const {
  auto found = entries_.find(id);
  if (found == entries_.end()) return fail(Errc::not_found, fmt::format("instance {} is not here", id.text()));
  return found->second;
}

/// Waits for the instance's turn, then asks its life.
awaitable<Result<Instances::Turn>> Instances::begin(InstanceId id, LifeVerb verb) {
  auto found = find(id);
  if (!found) co_return fail(std::move(found.error()));
  auto slot = co_await (*found)->turn.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  if (auto begun = (*found)->life.begin(verb); !begun)
    co_return fail(std::move(begun.error()).within(fmt::format("instance {}", id.text())));
  Turn turn{.entry = std::move(*found), .slot = std::move(*slot)};
  co_return turn;
}

/// The end of a verb after which a failed instance is of no use.
awaitable<Result<void>> Instances::finish_or_give_back(EntryPointer entry, Result<void> done) {
  entry->life.finish(done.has_value());
  if (!done) co_await give_back(entry);
  co_return done;
}

// --- the other verbs

/// One that runs, for a command of its own user.
Result<Instances::EntryPointer> Instances::find_for_command(const InstanceId& id, const Process& process) const {
  auto found = find(id);
  if (!found) return found;
  const auto& entry = **found;
  if (entry.life.rung() != Rung::running)
    return fail(Errc::conflict, fmt::format("instance {} is {}, a command needs a running one", id.text(),
                                            to_string(entry.life.rung())));
  if (entry.record.has_step != 0) return fail(Errc::denied, "no command runs beside a build step");
  const auto user = user_of(entry.record.pid);
  if (user != first_id(entry.record.id_range) + process.uid)
    return fail(Errc::denied, fmt::format("a command runs as the user of its instance, not as {}", process.uid));
  return found;
}

awaitable<Result<Executed>> Instances::execute(InstanceId id, Process process, std::chrono::milliseconds limit) {
  auto slot = co_await executing_.acquire();
  if (!slot) co_return fail(std::move(slot.error()));
  auto found = find_for_command(id, process);
  if (!found) co_return fail(std::move(found.error()));
  const EntryPointer entry = *found;
  auto folder = TemporaryFolder::make(folder_of(id), "command-");
  if (!folder) co_return fail(std::move(folder.error()));
  auto written = write_file(folder->path() / "process.json", compose_process(process, host_));
  if (!written) co_return fail(std::move(written.error()));
  co_return co_await runtime_of(*entry).execute(id, folder->path(), process, path_of(entry->network().name_space),
                                                limit);
}

awaitable<Result<BegunCommand>> Instances::begin_command(InstanceId id, Process process, CommandOptions options) {
  if (auto known = find(id)) {
    // A thaw may be under way: the front lets an instance go on before it tells us.
    const EntryPointer waited = *known;
    auto turn = co_await waited->turn.acquire();
    if (!turn) co_return fail(std::move(turn.error()));
  }
  auto found = find_for_command(id, process);
  if (!found) co_return fail(std::move(found.error()));
  const EntryPointer entry = *found;
  CommandPlace place{.id = id,
                     .folder = folder_of(id),
                     .network = path_of(entry->network().name_space),
                     .uid = first_id(entry->record.id_range) + process.uid,
                     .gid = first_id(entry->record.id_range) + process.gid};
  auto json = compose_process(process, host_, options.terminal);
  co_return co_await commands_.begin(std::move(place), runtime_of(*entry), process, std::move(json), options);
}

awaitable<Result<void>> Instances::update_volumes(InstanceSpec spec) {
  auto found = find(spec.id);
  if (!found) co_return fail(std::move(found.error()));
  const EntryPointer entry = *found;
  auto turn = co_await entry->turn.acquire();
  if (!turn) co_return fail(std::move(turn.error()));
  if (entry->ended() || !entry->pidfd || entry->record.has_step != 0)
    co_return fail(Errc::conflict, fmt::format("instance {} has no volumes to update", entry->id.text()));
  spec.id_range = entry->record.id_range;
  auto update = [spec = std::move(spec), entry] { return container::update_volumes(spec, entry->pidfd); };
  auto updated = co_await workers_.run(std::move(update));
  co_return updated;
}

Result<void> Instances::signal(const InstanceId& id, int number) {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended() || !(*entry)->pidfd)
    return fail(Errc::not_found, fmt::format("instance {} has ended", id.text()));
  if (number == SIGTERM && (*entry)->record.told_to_end == 0) {
    (*entry)->record.told_to_end = 1;
    if (auto written = write_record(**entry); !written)
      log::warn("the next runner takes it for one that goes on",
                {{"instance", id.text()}, {"error", written.error().what()}});
  }
  return signal_pidfd((*entry)->pidfd, number);
}

awaitable<Result<void>> Instances::remove(InstanceId id) {
  auto turn = co_await begin(id, LifeVerb::remove);
  if (!turn && turn.error().code() == Errc::not_found) co_return Result<void>{};
  if (!turn) co_return fail(std::move(turn.error()));
  co_await give_back(turn->entry);
  co_return Result<void>{};
}

namespace {

Existing::State state_of(const Life& life) {
  if (life.has_ended()) return Existing::State::stopped;
  switch (life.rung()) {
    case Rung::parked:
    case Rung::parking:
      return Existing::State::parked;
    case Rung::frozen:
    case Rung::thawing:
      return Existing::State::frozen;
    default:
      return life.has_started() ? Existing::State::running : Existing::State::prepared;
  }
}

}  // namespace

std::vector<Existing> Instances::list() const {
  std::vector<Existing> out;
  for (const auto& [id, entry] : entries_) {
    if (entry->record.pid == 0) continue;  // still being made
    const bool is_ending = entry->record.told_to_end != 0 && !entry->ended();
    out.push_back({.id = id,
                   .pid = entry->record.pid,
                   .id_range = entry->record.id_range,
                   .state = is_ending ? Existing::State::ending : state_of(entry->life)});
  }
  return out;
}

Result<std::vector<Fd>> Instances::connect(const InstanceId& id, std::uint16_t port, std::size_t count) const {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended()) return fail(Errc::unavailable, fmt::format("instance {} has ended", id.text()));
  return networks_.door().connect_in((*entry)->network().name_space, port, count);
}

Result<std::pair<Inside, protocol::EgressBody>> Instances::listen_inside(const InstanceId& id) const {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended()) return fail(Errc::unavailable, fmt::format("instance {} has ended", id.text()));
  const auto& found = **entry;
  if (found.is_guest)
    return fail(Errc::unavailable, fmt::format("the listeners of instance {} are its pod's", id.text()));
  auto inside = networks_.listen((*entry)->network());
  if (!inside) return fail(std::move(inside.error()));
  return std::pair(std::move(*inside), (*entry)->record.egress);
}

awaitable<Result<Fd>> Instances::await_listening(InstanceId id, std::uint16_t port,
                                                 std::chrono::milliseconds patience) {
  const Counted counted(looking_);
  const auto began = std::chrono::steady_clock::now();
  asio::steady_timer timer(executor_);
  while (true) {
    auto sockets = connect(id, port, 1);  // by id: between two looks it may be gone
    if (sockets) co_return std::move(sockets->front());
    const auto waited = std::chrono::steady_clock::now() - began;
    const bool gone = [&] {
      auto entry = find(id);
      return !entry || (*entry)->ended();
    }();
    if (gone || sockets.error().code() != Errc::unavailable || waited >= patience)
      co_return fail(std::move(sockets.error()));
    timer.expires_after(pause_between_looks(waited, looking_));
    co_await timer.async_wait(use_awaitable);
  }
}

Result<Usage> Instances::usage(const InstanceId& id) const {
  if (auto entry = find(id); !entry) return fail(std::move(entry.error()));
  return cgroups_.usage(id);
}

Result<std::vector<Listening>> Instances::listening(const InstanceId& id) const {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended()) return fail(Errc::unavailable, fmt::format("instance {} has ended", id.text()));
  return networks_.door().listening_in((*entry)->network().name_space);
}

bool Instances::uses(const Digest& layer) const {
  return std::ranges::any_of(entries_, [&](const auto& pair) {
    const auto& layers = pair.second->record.layers;
    return std::any_of(layers.digests, layers.digests + layers.count,
                       [&](const auto& digest) { return std::ranges::equal(digest, layer.bytes()); });
  });
}

}  // namespace wick::container
