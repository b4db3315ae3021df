#include "instances.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>

#include "process_facts.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;
using asio::posix::stream_descriptor;

namespace {

constexpr auto exec_limit = 10s;   // for the init to open the fifo, and again to exec: a slow disk is within it
constexpr auto death_limit = 10s;  // after SIGKILL; longer only in uninterruptible sleep
constexpr std::size_t turns_waiting_max = 64;

/// What the runtime's init wrote when exec(2) failed, e.g. "exec /app: exec format error". It ends up in the instance's
/// log.
std::string last_exec_line(const Fd& log) {
  struct stat info{};
  if (!log || ::fstat(log.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  auto file = open_file(fmt::format("/proc/self/fd/{}", log.get()), O_RDONLY);  // the log was opened for appending only
  if (!file) return {};
  std::string tail(4096, '\0');
  const auto got = ::pread(file->get(), tail.data(), tail.size(),
                           std::max<off_t>(0, info.st_size - static_cast<off_t>(tail.size())));
  tail.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  std::string last;
  for (const auto line : split(tail, '\n'))
    if (line.starts_with("exec ")) last = line;
  return last;
}

Error explain_exec_failure(const Fd& log, std::string_view command) {
  const std::string line = last_exec_line(log);
  const std::string shown = printable(command, 200);
  if (line.ends_with("exec format error"))
    return Error(Errc::invalid,
                 fmt::format("the command '{}' is not a program of this machine (exec format error)", shown))
        .hint("build the image for this machine's architecture; a script needs #! in its first line");
  if (line.ends_with("no such file or directory"))
    return Error(Errc::not_found, fmt::format("the interpreter or loader of '{}' is not in the image", shown))
        .hint("a dynamic program needs its loader and libraries, a script the program after #!");
  return Error(Errc::io,
               line.empty() ? fmt::format("the command '{}' could not be executed", shown) : printable(line, 400));
}

/// Returns when every writer of the fifo has closed it. Cancelled from outside when the process ends before it opens
/// it.
awaitable<void> drain(stream_descriptor& fifo) {
  char byte = 0;
  while (true) {
    auto waited = co_await fifo.async_wait(stream_descriptor::wait_read, asio::as_tuple(use_awaitable));
    if (std::get<0>(waited)) co_return;
    // To the last byte: the wait is for an edge, and byte and close may have come as one.
    ssize_t got = 0;
    do {
      got = ::read(fifo.native_handle(), &byte, 1);
    } while (got > 0 || (got < 0 && errno == EINTR));
    if (got == 0 || errno != EAGAIN) co_return;
  }
}

/// A build step resolves names as the host does.
Result<std::string> copy_of_host_file(const fs::path& folder, std::string_view name) {
  auto text = read_file(fs::path("/etc") / name, 1 << 20);
  if (!text) return std::string();
  const fs::path target = folder / name;
  const fs::path beside = folder / (std::string(name) + ".new");
  if (auto written = write_file(beside, *text); !written) return fail(std::move(written.error()));
  // A running step keeps the old file: it is mounted.
  if (::rename(beside.c_str(), target.c_str()) != 0) return fail(system_error("rename to " + target.string(), errno));
  return target.string();
}

}  // namespace

struct Instances::Entry {
  Entry(Executor executor, const InstanceId& id)
      : id(id), turn(executor, 1, turns_waiting_max), end(executor, asio::steady_timer::time_point::max()) {}

  InstanceId id;
  InstanceRecord record;
  Slots turn;  // invariant 3
  Fd pidfd;
  std::optional<stream_descriptor> watched;
  std::optional<stream_descriptor> fifo;  // while start() waits for the exec
  Fd network;
  Fd log;  // until the exec: the message of a failed one goes there
  std::string command;
  LayerFolders::Hold step;
  bool started = false;
  bool ended = false;
  bool quiet = true;  // its end is answered by the verb under way, not by a notice
  Exit exit;
  std::string last_name;
  asio::steady_timer end;  // cancelled when `ended` becomes true

  awaitable<bool> wait_end(Duration limit) {
    if (ended) co_return true;
    SteadyClock clock;
    try {
      auto waited = wait_end();
      co_await with_deadline(clock, limit, std::move(waited));
    } catch (const DeadlineExceeded&) {
    }
    co_return ended;
  }

 private:
  awaitable<void> wait_end() { co_await end.async_wait(asio::as_tuple(use_awaitable)); }
};

Instances::Instances(Executor executor, Roots& roots, LayerFolders& layers, RuntimeCommand runtime, NetworkDoor door,
                     fs::path folder)
    : executor_(executor),
      roots_(roots),
      layers_(layers),
      runtime_(std::move(runtime)),
      door_(std::move(door)),
      folder_(std::move(folder)),
      host_(HostFacts::look()),
      watchers_(executor) {}

Instances::~Instances() = default;

awaitable<void> Instances::stop() { return watchers_.stop(); }

Result<Instances::EntryPointer> Instances::find(const InstanceId& id) const {
  auto found = entries_.find(id);
  if (found == entries_.end()) return fail(Errc::not_found, fmt::format("instance {} is not here", id.text()));
  return found->second;
}

// --- prepare

awaitable<Result<Prepared>> Instances::prepare(InstanceSpec spec, Fd log) {
  if (entries_.contains(spec.id))
    co_return fail(Errc::already_exists, fmt::format("instance {} is there already", spec.id.text()));
  if (entries_.size() >= instances_max)
    co_return fail(Errc::overloaded, fmt::format("{} instances are here, more are not allowed", instances_max));
  auto entry = std::make_shared<Entry>(executor_, spec.id);
  entries_.emplace(spec.id, entry);
  auto turn = co_await entry->turn.acquire();
  auto created = co_await create(entry, spec, log);
  if (!created) {
    co_await give_back(entry);
    co_return fail(std::move(created.error()));
  }
  entry->log = std::move(log);
  entry->command = spec.process.argv.front();
  entry->quiet = false;
  if (entry->ended) co_return fail(Errc::not_ready, "the instance ended before it was started");
  Prepared prepared{.pid = entry->record.pid, .pidfd = entry->pidfd.duplicate()};
  co_return prepared;
}

awaitable<Result<void>> Instances::create(EntryPointer entry, const InstanceSpec& spec, const Fd& log) {
  const auto skeleton = spec.privileges == Privileges::build ? Roots::Skeleton::build : Roots::Skeleton::service;
  std::optional<MountedRoot> root;  // only until the runtime has cloned our mount namespace
  if (!spec.step.empty()) {
    auto hold = layers_.hold_step(spec.step);
    if (!hold) co_return fail(std::move(hold.error()));
    entry->step = std::move(*hold);
    auto mounted = layers_.mount_step(entry->step, skeleton);
    if (!mounted) co_return fail(std::move(mounted.error()));
    root.emplace(std::move(*mounted));
  } else {
    auto folders = layers_.folders_of(spec.layers);
    if (!folders) co_return fail(std::move(folders.error()));
    auto mounted = roots_.mount_read_only(*folders, spec.id_range, skeleton);
    if (!mounted) co_return fail(std::move(mounted.error()));
    root.emplace(std::move(*mounted));
  }
  auto& record = entry->record;
  std::ranges::copy(spec.id.text(), record.id);
  record.id_range = spec.id_range;
  record.has_step = spec.step.empty() ? 0 : 1;
  record.own_network = spec.network == Network::own ? 1 : 0;
  record.layers.count = static_cast<std::uint32_t>(spec.layers.size());
  for (std::size_t i = 0; i < spec.layers.size(); ++i)
    std::ranges::copy(spec.layers[i].bytes(), record.layers.digests[i]);
  // From here on the instance can be found after our death.
  if (auto written = write_record(*entry); !written) co_return written;

  auto bundle = write_bundle(spec, *root);
  if (!bundle) co_return fail(std::move(bundle.error()));
  auto pid = co_await runtime_.create(executor_, spec.id, *bundle, log.get());
  (void)remove_tree(*bundle);
  if (!pid && pid.error().code() == Errc::io)
    co_return fail(explain_runtime_failure(pid.error().message(), spec.process));
  if (!pid) co_return fail(std::move(pid.error()));
  record.pid = *pid;
  const auto stat = stat_of(*pid);
  auto pidfd = open_pidfd(*pid);
  if (!pidfd || !stat) co_return fail(Errc::not_ready, "the instance ended while it was prepared");
  record.start_time = stat->start_time;
  entry->pidfd = std::move(*pidfd);
  if (auto written = write_record(*entry); !written) co_return written;
  if (record.own_network != 0) {
    auto network = network_namespace_of(*pid);
    if (!network) co_return fail(std::move(network.error()));
    entry->network = std::move(*network);
  }
  co_return watch(entry);
}

Result<std::string> Instances::write_bundle(const InstanceSpec& spec, const MountedRoot& root) const {
  const fs::path folder = roots_.area() / "b" / spec.id.text();
  if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  Bundle bundle{.root = root.path().string(), .cgroup = Cgroups::path_of(spec.id), .resolv_conf = {}, .hosts = {}};
  if (spec.network == Network::host) {
    const fs::path files = roots_.area() / "e";
    if (auto made = make_folders(files, 0711); !made) return fail(std::move(made.error()));
    auto resolv_conf = copy_of_host_file(files, "resolv.conf");
    if (!resolv_conf) return fail(std::move(resolv_conf.error()));
    auto hosts = copy_of_host_file(files, "hosts");
    if (!hosts) return fail(std::move(hosts.error()));
    bundle.resolv_conf = std::move(*resolv_conf);
    bundle.hosts = std::move(*hosts);
  }
  if (auto written = write_file(folder / "config.json", compose_config(spec, bundle, host_), 0600); !written)
    return fail(std::move(written.error()));
  return folder.string();
}

Result<void> Instances::write_record(const Entry& entry) const {
  // No fsync: the record must survive us, not the machine, and instances do not survive that either.
  const auto folder = folder_of(entry.id);
  if (auto made = make_folders(folder, 0700); !made) return made;
  if (auto written = write_file(folder / "record.new", protocol::bytes_of(entry.record), 0600); !written)
    return written;
  if (::rename((folder / "record.new").c_str(), (folder / "record").c_str()) != 0)
    return fail(system_error("write record", errno));
  return {};
}

// --- the end

Result<void> Instances::watch(EntryPointer entry) {
  Fd copy = entry->pidfd.duplicate();
  if (!copy) return fail(system_error("duplicate a pidfd", errno));
  entry->watched.emplace(executor_, copy.release());
  watchers_.spawn("instance " + std::string(entry->id.text()), await_end(entry));
  return {};
}

awaitable<void> Instances::await_end(EntryPointer entry) {
  // A pidfd also wakes its waiters when a thread that is not the first calls exec(2), as runc's init does: look before
  // believing it.
  do co_await entry->watched->async_wait(stream_descriptor::wait_read, use_awaitable);
  while (!has_ended(entry->pidfd));
  const auto stat = stat_of(entry->record.pid);
  const bool is_zombie = stat && stat->start_time == entry->record.start_time && stat->state == 'Z';
  if (is_zombie) entry->last_name = stat->name;
  auto status = end_of(entry->pidfd);
  if (!status && is_zombie)
    status = from_wait_status(stat->wait_status);  // an adopted one whose parent is slow to reap
  entry->exit.id = entry->id;
  entry->exit.known = status.has_value();
  entry->exit.status = status.value_or(ExitStatus{.code = 255});
  entry->exit.out_of_memory = cgroups_.oom_kills(entry->id) > 0 && !entry->exit.status.ok();
  entry->ended = true;
  entry->step.reset();
  entry->end.cancel();
  if (entry->fifo) entry->fifo->cancel();
  if (!entry->quiet) note_end(*entry);
}

void Instances::note_end(Entry& entry) {
  log::info(
      "instance ended",
      {{"instance", entry.id.text()}, {"status", entry.exit.status.text()}, {"oom", entry.exit.out_of_memory ? 1 : 0}});
  if (on_exit_) on_exit_(entry.exit);
}

// --- start

awaitable<Result<void>> Instances::start(InstanceId id) {
  auto found = find(id);
  if (!found) co_return fail(std::move(found.error()));
  const EntryPointer entry = *found;
  auto turn = co_await entry->turn.acquire();
  if (!turn) co_return fail(std::move(turn.error()));
  if (entry->ended) co_return fail(Errc::not_found, fmt::format("instance {} has ended", id.text()));
  if (entry->started) co_return fail(Errc::conflict, fmt::format("instance {} is started already", id.text()));
  entry->quiet = true;  // an end before the exec is our answer
  auto started = co_await open_start_fifo(entry);
  if (!started) {
    co_await give_back(entry);
    co_return started;
  }
  entry->started = true;
  entry->quiet = false;
  entry->log.reset();
  if (entry->ended) note_end(*entry);
  co_return Result<void>{};
}

awaitable<Result<void>> Instances::open_start_fifo(EntryPointer entry) {
  const auto path = runtime_.start_fifo(entry->id);
  const auto before = executable_of(entry->record.pid);
  Fd fifo(runtime_.has_start_fifo() ? ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1);
  if (!fifo || !before) {
    // Another runtime, or a layout of runc's that we do not know.
    co_return co_await runtime_.start(entry->id);
  }
  // runc's init blocks in open(2) of the fifo, writes one byte, closes it and execs.
  entry->fifo.emplace(executor_, fifo.release());
  SteadyClock clock;
  bool in_time = true;
  try {
    auto drained = drain(*entry->fifo);
    co_await with_deadline(clock, exec_limit, std::move(drained));
  } catch (const DeadlineExceeded&) {
    in_time = false;
  }
  entry->fifo.reset();
  ::unlink(path.c_str());  // as `runc start` does: its absence says "started"
  if (in_time) co_return co_await wait_for_exec(entry, *before);
  co_return fail(Errc::timed_out, fmt::format("the runtime's init did not answer within {} s", exec_limit.count()));
}

awaitable<Result<void>> Instances::wait_for_exec(EntryPointer entry, Executable init) {
  // Nothing wakes us at the exec; it comes 1 to 5 ms after the fifo, and one look costs 3 us.
  const auto until = std::chrono::steady_clock::now() + exec_limit;
  Duration pause = 100us;
  while (!entry->ended) {
    if (const auto now = executable_of(entry->record.pid); now && *now != init) co_return Result<void>{};
    if (std::chrono::steady_clock::now() > until)
      co_return fail(Errc::timed_out, fmt::format("the command '{}' was not executed within {} s",
                                                  printable(entry->command), exec_limit.count()));
    asio::steady_timer timer(executor_, pause);
    co_await timer.async_wait(use_awaitable);
    pause = std::min<Duration>(pause * 5 / 4, 5ms);
  }
  // It has ended already: as itself, or because it never became the program? The name it died with tells.
  if (!entry->last_name.starts_with("runc:[")) co_return Result<void>{};
  co_return fail(explain_exec_failure(entry->log, entry->command));
}

// --- the other verbs

Result<void> Instances::signal(const InstanceId& id, int number) {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended || !(*entry)->pidfd)
    return fail(Errc::not_found, fmt::format("instance {} has ended", id.text()));
  return signal_pidfd((*entry)->pidfd, number);
}

awaitable<Result<void>> Instances::remove(InstanceId id) {
  auto found = find(id);
  if (!found) co_return Result<void>{};
  const EntryPointer entry = *found;
  auto turn = co_await entry->turn.acquire();
  if (!turn) co_return fail(std::move(turn.error()));
  co_await give_back(entry);
  co_return Result<void>{};
}

awaitable<void> Instances::kill_and_wait(EntryPointer entry) {
  if (entry->ended || !entry->pidfd) co_return;
  (void)signal_pidfd(entry->pidfd, SIGKILL);
  const bool ended = co_await entry->wait_end(death_limit);
  if (!ended) log::error("instance does not die", {{"instance", entry->id.text()}, {"pid", entry->record.pid}});
}

awaitable<void> Instances::give_back(EntryPointer entry) {
  if (entry->pidfd && !entry->watched) (void)watch(entry);
  co_await kill_and_wait(entry);
  if (!entry->pidfd) cgroups_.remove(entry->id);  // the runtime failed half-way: whatever it left is in there
  if (runtime_.knows(entry->id)) {
    // Not `delete --force`: on a living one it sleeps 100 ms between looks. It is dead by now.
    auto removed = co_await runtime_.remove(entry->id);
    if (!removed)
      log::warn("runtime cannot delete instance", {{"instance", entry->id.text()}, {"error", removed.error().what()}});
  }
  if (cgroups_.exists(entry->id)) cgroups_.remove(entry->id);
  entry->step.reset();
  (void)remove_tree(roots_.area() / "b" / entry->id.text());
  if (auto removed = remove_tree(folder_of(entry->id)); !removed)
    log::warn("record left behind", {{"error", removed.error().what()}});
  entries_.erase(entry->id);
}

std::vector<Existing> Instances::list() const {
  std::vector<Existing> out;
  for (const auto& [id, entry] : entries_) {
    if (entry->record.pid == 0) continue;  // still being made
    const auto state = entry->ended     ? Existing::State::stopped
                       : entry->started ? Existing::State::running
                                        : Existing::State::prepared;
    out.push_back({.id = id, .pid = entry->record.pid, .id_range = entry->record.id_range, .state = state});
  }
  return out;
}

Result<Fd> Instances::connect(const InstanceId& id, std::uint16_t port) const {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended) return fail(Errc::unavailable, fmt::format("instance {} has ended", id.text()));
  if (!(*entry)->network) return fail(Errc::denied, "this instance has no network of its own");
  return door_.connect_in((*entry)->network, port);
}

Result<Usage> Instances::usage(const InstanceId& id) const {
  if (auto entry = find(id); !entry) return fail(std::move(entry.error()));
  return cgroups_.usage(id);
}

Result<std::vector<Listening>> Instances::listening(const InstanceId& id) const {
  auto entry = find(id);
  if (!entry) return fail(std::move(entry.error()));
  if ((*entry)->ended) return fail(Errc::unavailable, fmt::format("instance {} has ended", id.text()));
  if (!(*entry)->network) return fail(Errc::denied, "this instance has no network of its own");
  return door_.listening_in((*entry)->network);
}

bool Instances::uses(const Digest& layer) const {
  return std::ranges::any_of(entries_, [&](const auto& pair) {
    const auto& layers = pair.second->record.layers;
    return std::any_of(layers.digests, layers.digests + layers.count,
                       [&](const auto& digest) { return std::ranges::equal(digest, layer.bytes()); });
  });
}

// --- after a restart

awaitable<Result<void>> Instances::recover() {
  if (auto made = make_folders(folder_, 0700); !made) co_return made;
  if (auto made = make_folders(runtime_.root(), 0700); !made) co_return made;
  std::vector<fs::path> records;
  for (const auto& entry : fs::directory_iterator(folder_)) records.push_back(entry.path());
  for (const auto& folder : records) co_await recover_one(folder);
  std::vector<InstanceId> unknown;
  for (const auto& entry : fs::directory_iterator(runtime_.root()))
    if (auto id = InstanceId::parse(entry.path().filename().string()); id && !entries_.contains(*id))
      unknown.push_back(*id);
  for (const auto& id : unknown) {
    log::warn("removing an instance nobody has a record of", {{"instance", id.text()}});
    auto removed = co_await runtime_.remove_by_force(id);
    if (!removed)
      log::warn("runtime cannot delete instance", {{"instance", id.text()}, {"error", removed.error().what()}});
    cgroups_.remove(id);
  }
  co_return Result<void>{};
}

awaitable<void> Instances::recover_one(fs::path folder) {
  auto id = InstanceId::parse(folder.filename().string());
  auto bytes = read_file(folder / "record", sizeof(InstanceRecord));
  auto record = bytes ? protocol::value_of<InstanceRecord>(*bytes) : fail(std::move(bytes.error()));
  if (!id || !record || record->magic != InstanceRecord{}.magic || record->layers.count > layers_max ||
      std::string_view(record->id, InstanceId::size) != id->text()) {
    log::warn("removing a record that is none", {{"path", folder.string()}});
    (void)remove_tree(folder);
    co_return;
  }
  auto entry = std::make_shared<Entry>(executor_, *id);
  entry->record = *record;
  entries_.emplace(*id, entry);
  const auto stat = record->pid > 0 ? stat_of(record->pid) : std::nullopt;
  const bool same = stat && stat->start_time == record->start_time && stat->state != 'Z';
  if (same)
    if (auto pidfd = open_pidfd(record->pid)) entry->pidfd = std::move(*pidfd);
  // A step does not survive the runner (layer_folders.hpp), so neither does what runs on it.
  if (!entry->pidfd || record->has_step != 0) {
    co_await give_back(entry);
    co_return;
  }
  std::error_code error;
  entry->started = !fs::exists(runtime_.start_fifo(*id), error);
  if (record->own_network != 0)
    if (auto network = network_namespace_of(record->pid)) entry->network = std::move(*network);
  entry->quiet = false;
  if (auto watched = watch(entry); !watched)
    log::error("cannot watch instance", {{"instance", id->text()}, {"error", watched.error().what()}});
  log::info("instance adopted", {{"instance", id->text()}, {"pid", record->pid}});
}

}  // namespace wick::container
