#include "instances.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>

#include "process_facts.hpp"
#include "volume_files.hpp"
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
constexpr auto park_limit = 10s;   // from the exec to the runtime's being booted
constexpr auto freeze_limit = 500ms;
constexpr auto reclaim_after = 10s;  // frozen: what wakes sooner should find its memory where it was
constexpr std::uint64_t reclaim_step_bytes = 4 << 20;
constexpr std::size_t turns_waiting_max = 64;
constexpr std::string_view message_path_file = "message-path";  // beside an instance's record, where it has one
constexpr std::string_view pod_file = "pod";                    // likewise: the pod that it runs in

/// A look costs about 10 us. At most a thirty-second of the time waited is lost to the pause, and many waiters share
/// one thread: 64 of them look every 0.8 ms each.
Duration pause_between_looks(Duration waited, int waiters) {
  const Duration least = 50us * std::max(1, waiters / 4);
  return std::clamp<Duration>(waited / 32, least, std::max<Duration>(least, 10ms));
}

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

/// One that waits, while it is in scope.
struct Counted {
  explicit Counted(int& count) : count(count) { ++count; }
  Counted(const Counted&) = delete;
  ~Counted() { --count; }
  int& count;
};

/// For programs that we start.
std::string path_of(const Fd& fd) { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd.get()); }

/// The host's id that a process runs as.
std::optional<std::uint64_t> user_of(pid_t pid) {
  const auto text = read_file(fmt::format("/proc/{}/status", pid), 64 << 10);
  constexpr std::string_view field = "\nUid:\t";
  const auto at = text ? text->find(field) : std::string::npos;
  if (at == std::string::npos) return std::nullopt;
  const auto digits = std::string_view(*text).substr(at + field.size());
  return parse_unsigned(digits.substr(0, digits.find_first_not_of("0123456789")));
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

struct Instances::Entry {
  Entry(Executor executor, const InstanceId& id)
      : id(id), turn(executor, 1, turns_waiting_max), end(executor, asio::steady_timer::time_point::max()) {}

  InstanceId id;
  InstanceRecord record;
  Slots turn;  // invariant 3
  Fd pidfd;
  std::optional<stream_descriptor> watched;
  std::optional<stream_descriptor> fifo;  // while start() waits for the exec
  Network own_network;
  Pods::Hold pod;         // where it runs in one …
  bool is_guest = false;  // … that has another one's id
  Network& network() { return pod ? pod->network : own_network; }
  const Network& network() const { return pod ? pod->network : own_network; }
  Inside inside;                                             // until prepare() has answered
  Fd log;                                                    // until the exec: the message of a failed one goes there
  std::optional<asio::local::stream_protocol::socket> door;  // parkable ones: until it was opened
  std::string command;
  LayerFolders::Hold step;
  Life life;
  Fd message;  // InstanceSpec::message_path, to read at the end
  std::vector<LayerFolders::Hold> mounted_steps;
  bool quiet = true;  // its end is answered by the verb under way, not by a notice
  Exit exit;
  std::string last_name;
  asio::steady_timer end;  // cancelled when the life has ended

  bool ended() const { return life.has_ended(); }

  awaitable<bool> wait_end(Duration limit) {
    if (ended()) co_return true;
    SteadyClock clock;
    try {
      auto waited = wait_end();
      co_await with_deadline(clock, limit, std::move(waited));
    } catch (const DeadlineExceeded&) {
    }
    co_return ended();
  }

 private:
  awaitable<void> wait_end() { co_await end.async_wait(asio::as_tuple(use_awaitable)); }
};

/// A verb's turn: nobody else touches the instance until it is dropped.
struct Instances::Turn {
  EntryPointer entry;
  Slots::Slot slot;
};

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

// --- park, start

awaitable<Result<void>> Instances::park(InstanceId id) {
  auto turn = co_await begin(id, LifeVerb::park);
  if (!turn) co_return fail(std::move(turn.error()));
  const EntryPointer entry = turn->entry;
  entry->quiet = true;
  auto parked = entry->door ? co_await open_start_fifo(entry)
                            : fail(Errc::invalid, fmt::format("instance {} was not prepared to park", id.text()));
  if (parked) parked = co_await await_park(entry);
  auto done = co_await finish_or_give_back(entry, std::move(parked));
  if (done) entry->quiet = false;
  if (done && entry->ended()) note_end(*entry);
  co_return done;
}

awaitable<Result<void>> Instances::await_park(EntryPointer entry) {
  char said = 0;
  std::size_t got = 0;
  SteadyClock clock;
  try {
    auto reading = entry->door->async_read_some(asio::buffer(&said, 1), asio::as_tuple(use_awaitable));
    auto [error, count] = co_await with_deadline(clock, park_limit, std::move(reading));
    got = count;
  } catch (const DeadlineExceeded&) {
  }
  if (got == 1 && said == 'P') co_return Result<void>{};
  co_return fail(Errc::unsupported,
                 fmt::format("'{}' did not park: its runtime does not load the shim", printable(entry->command, 200)));
}

awaitable<Result<void>> Instances::start(InstanceId id) {
  auto found = find(id);
  const bool parked = found && (*found)->life.rung() == Rung::parked;
  auto turn = co_await begin(id, LifeVerb::start);
  if (!turn) co_return fail(std::move(turn.error()));
  const EntryPointer entry = turn->entry;
  entry->quiet = true;  // an end before the exec is our answer
  auto started = co_await let_go(entry);
  if (started && !parked) started = co_await open_start_fifo(entry);
  auto done = co_await finish_or_give_back(entry, std::move(started));
  if (!done) co_return done;
  entry->quiet = false;
  entry->log.reset();
  if (entry->ended()) note_end(*entry);
  co_return done;
}

/// A parkable one needs the byte it waits for before the exec or after it: the socket keeps it.
awaitable<Result<void>> Instances::let_go(EntryPointer entry) {
  if (!entry->door) co_return Result<void>{};
  const char go = 'G';
  const auto sent = ::send(entry->door->native_handle(), &go, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  entry->door.reset();
  if (sent != 1) co_return fail(Errc::unavailable, "the parked process has ended");
  entry->record.waits_for_us = 0;
  co_return write_record(*entry);
}

awaitable<Result<void>> Instances::open_start_fifo(EntryPointer entry) {
  const auto path = runtime_of(*entry).start_fifo(entry->id);
  const auto before = executable_of(entry->record.pid);
  Fd fifo(runtime_of(*entry).has_start_fifo() ? ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC) : -1);
  if (!fifo || !before) {
    // Another runtime, or a layout of runc's that we do not know.
    co_return co_await runtime_of(*entry).start(entry->id);
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
  const Counted counted(looking_);
  const auto began = std::chrono::steady_clock::now();
  const auto until = began + exec_limit;
  while (!entry->ended()) {
    if (const auto now = executable_of(entry->record.pid); now && *now != init) co_return Result<void>{};
    if (std::chrono::steady_clock::now() > until)
      co_return fail(Errc::timed_out, fmt::format("the command '{}' was not executed within {} s",
                                                  printable(entry->command), exec_limit.count()));
    asio::steady_timer timer(executor_, pause_between_looks(std::chrono::steady_clock::now() - began, looking_));
    co_await timer.async_wait(use_awaitable);
  }
  // It has ended already: as itself, or because it never became the program? The name it died with tells.
  if (!entry->last_name.starts_with("runc:[")) co_return Result<void>{};
  co_return fail(explain_exec_failure(entry->log, entry->command));
}

// --- freeze, thaw

awaitable<Result<Fd>> Instances::freeze(InstanceId id) {
  auto turn = co_await begin(id, LifeVerb::freeze);
  if (!turn) co_return fail(std::move(turn.error()));
  const EntryPointer entry = turn->entry;
  auto asked = cgroups_.set_frozen(id, true);
  const bool frozen = asked && co_await wait_frozen(entry);
  if (!frozen) (void)cgroups_.set_frozen(id, false);
  entry->life.finish(frozen);
  if (!asked) co_return fail(std::move(asked.error()));
  if (!frozen)
    co_return fail(Errc::timed_out, fmt::format("a process of instance {} does not freeze", id.text()),
                   "it waits in the kernel, most often for a disk");
  watchers_.spawn("reclaim " + std::string(id.text()), reclaim(entry));
  co_return cgroups_.quick_freezer(id);
}

awaitable<bool> Instances::wait_frozen(EntryPointer entry) {
  const auto until = std::chrono::steady_clock::now() + freeze_limit;
  Duration pause = 50us;
  while (!entry->ended() && std::chrono::steady_clock::now() < until) {
    if (cgroups_.is_frozen(entry->id)) co_return true;
    asio::steady_timer timer(executor_, pause);
    co_await timer.async_wait(use_awaitable);
    pause = std::min<Duration>(pause * 2, 5ms);
  }
  co_return false;
}

/// In steps, so that a thaw waits for one of them at most. One that was thawed and frozen again meanwhile only loses
/// its memory sooner.
awaitable<void> Instances::reclaim(EntryPointer entry) {
  asio::steady_timer timer(executor_, reclaim_after);
  co_await timer.async_wait(use_awaitable);
  bool more = true;
  while (more && entry->life.rung() == Rung::frozen) {
    auto step = [cgroups = cgroups_, id = entry->id] { return cgroups.reclaim(id, reclaim_step_bytes); };
    more = co_await workers_.run(std::move(step));
  }
}

awaitable<Result<void>> Instances::thaw(InstanceId id) {
  auto turn = co_await begin(id, LifeVerb::thaw);
  if (!turn) co_return fail(std::move(turn.error()));
  co_return co_await finish_or_give_back(turn->entry, cgroups_.set_frozen(id, false));
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
  return signal_pidfd((*entry)->pidfd, number);
}

awaitable<Result<void>> Instances::remove(InstanceId id) {
  auto turn = co_await begin(id, LifeVerb::remove);
  if (!turn && turn.error().code() == Errc::not_found) co_return Result<void>{};
  if (!turn) co_return fail(std::move(turn.error()));
  co_await give_back(turn->entry);
  co_return Result<void>{};
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
    out.push_back(
        {.id = id, .pid = entry->record.pid, .id_range = entry->record.id_range, .state = state_of(entry->life)});
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

// --- after a restart

awaitable<Result<void>> Instances::recover() {
  if (auto made = make_folders(folder_, 0700); !made) co_return made;
  for (const auto& [name, runtime] : runtimes_) {
    if (auto made = make_folders(runtime.root(), 0700); !made) co_return made;
    runtime.end_strays();
  }
  std::vector<fs::path> records;
  for (const auto& entry : fs::directory_iterator(folder_)) records.push_back(entry.path());
  for (const auto& folder : records) co_await recover_one(folder);
  for (const auto& [name, runtime] : runtimes_) co_await remove_unknown(runtime);
  co_return Result<void>{};
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
