// Up and down the ladder: parked, started, frozen, thawed.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>

#include "instance_entry.hpp"
#include "process_facts.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

using asio::posix::stream_descriptor;

namespace {

constexpr auto exec_limit = 10s;  // for the init to open the fifo, and again to exec: a slow disk is within it
constexpr auto park_limit = 10s;  // from the exec to the runtime's being booted
constexpr auto freeze_limit = 500ms;
constexpr auto reclaim_after = 10s;  // frozen: what wakes sooner should find its memory where it was
constexpr std::uint64_t reclaim_step_bytes = 4 << 20;

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

}  // namespace

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

}  // namespace wick::container
