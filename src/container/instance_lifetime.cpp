// How an instance comes to be, is found again after a restart, and is given back.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "instance_entry.hpp"
#include "process_facts.hpp"
#include "volume_files.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;
using asio::posix::stream_descriptor;

namespace {

constexpr std::string_view shelf_prefix = "inside-";  // and the instance's id
constexpr auto death_limit = 10s;                     // after SIGKILL; longer only in uninterruptible sleep

/// Mount points that the image lacks are made in a scratch upper; those of /dev and /tmp have their own file system.
bool needs_places(const InstanceSpec& spec) {
  const auto& message = spec.message_path;
  const bool in_memory = message.empty() || message.starts_with("/dev/") || message.starts_with("/tmp/");
  return !spec.volume_mounts.empty() || !in_memory;
}

std::string read_message(const Fd& file) {
  std::string message(message_bytes_max, '\0');
  const auto got = file ? ::pread(file.get(), message.data(), message.size(), 0) : 0;
  message.resize(static_cast<std::size_t>(std::max<ssize_t>(0, got)));
  return message;
}

/// Both ends of the socket that a parkable process waits on.
struct Door {
  Fd ours;
  Fd theirs;
};
Door make_door() {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
  return {.ours = Fd(ends[0]), .theirs = Fd(ends[1])};
}

}  // namespace

// --- prepare

awaitable<Result<Prepared>> Instances::prepare(InstanceSpec spec, Fd log) {
  if (entries_.contains(spec.id))
    co_return fail(Errc::already_exists, fmt::format("instance {} is there already", spec.id.text()));
  if (entries_.size() >= instances_max)
    co_return fail(Errc::overloaded, fmt::format("{} instances are here, more are not allowed", instances_max));
  auto entry = std::make_shared<Entry>(executor_, spec.id);
  entries_.emplace(spec.id, entry);
  auto turn = co_await entry->turn.acquire();
  (void)entry->life.begin(LifeVerb::prepare);
  auto created = co_await create(entry, spec, log);
  auto done = co_await finish_or_give_back(entry, std::move(created));
  if (!done) co_return fail(std::move(done.error()));
  entry->log = std::move(log);
  entry->command = spec.process.argv.front();
  entry->quiet = false;
  if (entry->ended()) co_return fail(Errc::not_ready, "the instance ended before it was started");
  Prepared prepared{
      .pid = entry->record.pid, .pidfd = entry->pidfd.duplicate(), .inside = std::exchange(entry->inside, {})};
  co_return prepared;
}

awaitable<Result<void>> Instances::create(EntryPointer entry, const InstanceSpec& spec, const Fd& log) {
  if (!runtimes_.contains(spec.runtime)) {
    std::vector<std::string_view> known;
    for (const auto& [name, runtime] : runtimes_)
      if (!name.empty()) known.push_back(name);
    co_return fail(
        Errc::not_found,
        fmt::format("runtimeClassName '{}' is none of this host's: {}", spec.runtime, fmt::join(known, ", ")),
        "start wick with --runtime-class NAME=PROGRAM");
  }
  auto connected = co_await give_network(entry, spec);
  if (!connected) co_return connected;
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
    auto mounted = !needs_places(spec) ? roots_.mount_read_only(*folders, spec.id_range, skeleton, spec.id.text())
                                       : roots_.mount_with_places(*folders, spec.id_range, skeleton,
                                                                  scratch_of(spec.id), spec.id.text());
    if (!mounted) co_return fail(std::move(mounted.error()));
    root.emplace(std::move(*mounted));
  }
  auto& record = entry->record;
  std::ranges::copy(spec.id.text(), record.id);
  record.id_range = spec.id_range;
  record.runtime.length = static_cast<std::uint32_t>(spec.runtime.size());
  std::ranges::copy(spec.runtime, record.runtime.bytes);
  record.has_step = spec.step.empty() ? 0 : 1;
  record.waits_for_us = spec.parkable ? 1 : 0;
  record.link = entry->network().number;
  record.egress = protocol::egress_body(entry->pod ? entry->pod->egress : spec.egress);
  record.layers.count = static_cast<std::uint32_t>(spec.layers.size());
  for (std::size_t i = 0; i < spec.layers.size(); ++i)
    std::ranges::copy(spec.layers[i].bytes(), record.layers.digests[i]);
  // From here on the instance can be found after our death.
  if (auto written = write_record(*entry); !written) co_return written;
  if (!spec.message_path.empty())
    if (auto written = write_file(folder_of(spec.id) / message_path_file, spec.message_path, 0600); !written)
      co_return written;
  if (entry->pod)
    if (auto written = write_file(folder_of(spec.id) / pod_file, spec.pod.text(), 0600); !written) co_return written;

  auto mounts = StepMounts::attach(spec, roots_, layers_, layers_.caches(), entry->mounted_steps);
  if (!mounts) co_return fail(std::move(mounts.error()));
  auto volumes = Volumes::attach(spec, roots_.area(), entry->pod ? &*entry->pod->mounted : nullptr);
  if (!volumes) co_return fail(std::move(volumes.error()));
  entry->message = volumes->take_message();
  auto all_mounts = mounts->entries();
  std::ranges::copy(volumes->entries(), std::back_inserter(all_mounts));
  auto bundle = write_bundle(*entry, spec, *root, std::move(all_mounts));
  if (!bundle) co_return fail(std::move(bundle.error()));
  auto door = spec.parkable ? make_door() : Door{};
  if (spec.parkable && !door.theirs) co_return fail(system_error("socketpair", errno));
  auto pid =
      co_await runtime_of(*entry).create(executor_, spec.id, *bundle, log.get(), door.theirs ? door.theirs.get() : -1);
  if (door.ours) entry->door.emplace(executor_, asio::local::stream_protocol(), door.ours.release());
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
  if (!entry->pod) {
    auto inside = networks_.listen(entry->own_network);
    if (!inside) co_return fail(std::move(inside.error()));
    entry->inside = std::move(*inside);
  }
  co_return watch(entry);
}

awaitable<Result<void>> Instances::give_network(EntryPointer entry, const InstanceSpec& spec) {
  if (!spec.pod.empty()) {
    auto pod = pods_.enter(spec);
    if (!pod) co_return fail(std::move(pod.error()));
    entry->pod = std::move(*pod);
    entry->is_guest = spec.pod != spec.id;
    co_return Result<void>{};
  }
  auto network = co_await networks_.take(spec.egress);
  if (!network) co_return fail(std::move(network.error()));
  entry->own_network = std::move(*network);
  co_return Result<void>{};
}

Result<std::string> Instances::write_bundle(const Entry& entry, const InstanceSpec& spec, const MountedRoot& root,
                                            std::vector<BundleMount> mounts) const {
  const fs::path folder = roots_.area() / "b" / spec.id.text();
  if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  Bundle bundle{.root = root.path().string(),
                .cgroup = Cgroups::path_of(spec.id),
                .network = path_of(entry.network().name_space),
                .sys = entry.network().sys.string(),
                .mounts = std::move(mounts)};
  if (spec.privileges == Privileges::build) {
    bundle.resolv_conf = (roots_.name_files() / "resolv.conf").string();
    bundle.hosts = (roots_.name_files() / "hosts").string();
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
  entry->exit.message = read_message(entry->message);
  entry->life.end();
  entry->step.reset();
  entry->mounted_steps.clear();
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

awaitable<void> Instances::kill_and_wait(EntryPointer entry) {
  if (entry->ended() || !entry->pidfd) co_return;
  (void)signal_pidfd(entry->pidfd, SIGKILL);
  (void)cgroups_.set_frozen(entry->id, false);  // what version 1 has frozen does not even die
  const bool ended = co_await entry->wait_end(death_limit);
  if (!ended) log::error("instance does not die", {{"instance", entry->id.text()}, {"pid", entry->record.pid}});
}

/// The life is in `leaving` when this begins and `nothing` when it ends.
awaitable<void> Instances::give_back(EntryPointer entry) {
  entry->door.reset();
  if (entry->pidfd && !entry->watched) (void)watch(entry);
  co_await kill_and_wait(entry);
  if (!entry->pidfd) cgroups_.remove(entry->id);  // the runtime failed half-way: whatever it left is in there
  if (runtime_of(*entry).knows(entry->id)) {
    // Not `delete --force`: on a living one it sleeps 100 ms between looks. It is dead by now.
    auto removed = co_await runtime_of(*entry).remove(entry->id);
    if (!removed)
      log::warn("runtime cannot delete instance", {{"instance", entry->id.text()}, {"error", removed.error().what()}});
  }
  if (cgroups_.exists(entry->id)) cgroups_.remove(entry->id);
  entry->step.reset();
  networks_.give_back(std::exchange(entry->own_network, {}));
  entry->pod.reset();
  (void)remove_tree(roots_.area() / "b" / entry->id.text());
  (void)remove_tree(scratch_of(entry->id));
  ::rmdir(roots_.place_of(entry->id.text()).c_str());
  if (auto removed = remove_tree(folder_of(entry->id)); !removed)
    log::warn("record left behind", {{"error", removed.error().what()}});
  entry->life.finish(true);
  entries_.erase(entry->id);
}

// --- after a restart

awaitable<Result<void>> Instances::recover(std::vector<Shelf::Kept> kept) {
  if (auto made = make_folders(folder_, 0700); !made) co_return made;
  for (const auto& [name, runtime] : runtimes_) {
    if (auto made = make_folders(runtime.root(), 0700); !made) co_return made;
    runtime.end_strays();
  }
  std::vector<fs::path> records;
  for (const auto& entry : fs::directory_iterator(folder_)) records.push_back(entry.path());
  for (const auto& folder : records) co_await recover_one(folder);
  for (const auto& [name, runtime] : runtimes_) co_await remove_unknown(runtime);
  for (auto& each : kept) {
    const auto id =
        InstanceId::parse(std::string_view(each.name).substr(std::min(shelf_prefix.size(), each.name.size())));
    const auto entry = id ? entries_.find(*id) : entries_.end();
    if (entry != entries_.end() && !entry->second->is_guest)
      Networks::take_over(entry->second->network(), std::move(each.fds));
  }
  co_return Result<void>{};
}

void Instances::keep_listening(const Shelf& shelf) const {
  for (const auto& [id, entry] : entries_) {
    if (entry->ended() || entry->is_guest) continue;
    const auto fds = Networks::listening(entry->network());
    if (fds.empty()) continue;
    const auto kept = shelf.put(std::string(shelf_prefix) + std::string(id.text()), fds);
    if (kept) continue;
    log::warn("callers inside are refused until the next daemon listens", {{"error", kept.error().what()}});
    return;
  }
}

awaitable<void> Instances::remove_unknown(const RuntimeCommand& runtime) {
  std::vector<InstanceId> unknown;
  for (const auto& entry : fs::directory_iterator(runtime.root()))
    if (auto id = InstanceId::parse(entry.path().filename().string()); id && !entries_.contains(*id))
      unknown.push_back(*id);
  for (const auto& id : unknown) {
    log::warn("removing an instance nobody has a record of", {{"instance", id.text()}});
    auto removed = co_await runtime.remove_by_force(id);
    if (!removed)
      log::warn("runtime cannot delete instance", {{"instance", id.text()}, {"error", removed.error().what()}});
    cgroups_.remove(id);
  }
}

awaitable<void> Instances::adopt_network(EntryPointer entry, fs::path folder) {
  const auto& record = entry->record;
  auto parsed = protocol::parse_egress_body(record.egress);
  auto policy = parsed ? std::move(*parsed) : EgressPolicy{};
  if (const auto text = read_file(folder / pod_file, InstanceId::size)) {
    const auto id = InstanceId::parse(*text);
    auto pod = id ? co_await pods_.adopt(*id, record.pid, record.link, std::move(policy)) : fail(Error(id.error()));
    if (pod) entry->pod = std::move(*pod);
    entry->is_guest = !id || *id != entry->id;
    co_return;
  }
  auto network = co_await networks_.adopt(record.pid, record.link, std::move(policy));
  if (network) entry->own_network = std::move(*network);
}

awaitable<void> Instances::recover_one(fs::path folder) {
  auto id = InstanceId::parse(folder.filename().string());
  auto bytes = read_file(folder / "record", sizeof(InstanceRecord));
  auto record = bytes ? protocol::value_of<InstanceRecord>(*bytes) : fail(std::move(bytes.error()));
  if (!id || !record || record->magic != InstanceRecord{}.magic || record->layers.count > layers_max ||
      record->runtime.length > protocol::runtime_name_bytes_max ||
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
  // Nor does the door of a parkable one.
  std::error_code error;
  const bool is_prepared = fs::exists(runtime_of(*entry).start_fifo(*id), error);
  const bool is_frozen = !is_prepared && cgroups_.is_frozen(*id);
  entry->life = Life::adopted(is_prepared ? Rung::prepared : is_frozen ? Rung::frozen : Rung::running);
  if (!entry->pidfd || record->has_step != 0 || record->waits_for_us != 0) {
    (void)entry->life.begin(LifeVerb::remove);
    co_await give_back(entry);
    co_return;
  }
  if (auto made = make_folders(roots_.place_of(id->text()), 0711); !made)
    log::warn("no command can run in an instance", {{"instance", id->text()}, {"error", made.error().what()}});
  commands_.end_strays({.id = *id, .folder = folder});
  co_await adopt_network(entry, folder);
  entry->quiet = false;
  if (const auto path = read_file(folder / message_path_file, 4096))
    if (auto message = open_file_in(entry->pidfd, *path)) entry->message = std::move(*message);
  if (auto watched = watch(entry); !watched)
    log::error("cannot watch instance", {{"instance", id->text()}, {"error", watched.error().what()}});
  log::info("instance adopted", {{"instance", id->text()}, {"pid", record->pid}});
}

}  // namespace wick::container
