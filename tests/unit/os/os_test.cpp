#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <boost/asio/error.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/system/system_error.hpp>
#include <thread>

#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"
#include "wick/os/other_loop.hpp"
#include "wick/os/seqpacket.hpp"
#include "wick/os/shelf.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/systemd.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"

using namespace wick;
namespace fs = std::filesystem;

namespace {

awaitable<int> after(Clock& clock, Duration duration, int value) {
  co_await clock.sleep(duration);
  co_return value;
}

awaitable<int> fail_at_once() {
  throw std::runtime_error("early");
  co_return 0;
}

}  // namespace

TEST_CASE("a deadline gives the value in time, an early error at once, and a timeout at the exact second") {
  asio::io_context loop(1);
  FakeClock clock(loop);
  std::vector<std::string> seen;
  auto record = [&](std::string name, awaitable<int> op) -> awaitable<void> {
    try {
      seen.push_back(name + "=" + std::to_string(co_await with_deadline(clock, 5s, std::move(op))));
    } catch (const DeadlineExceeded&) {
      seen.push_back(name + " timed out");
    } catch (const std::exception& e) {
      seen.push_back(name + " " + e.what());
    }
  };
  TaskGroup group(loop.get_executor());
  group.spawn("value", record("value", after(clock, 4s, 7)));
  group.spawn("late", record("late", after(clock, 6s, 7)));
  group.spawn("early", record("early", fail_at_once()));
  clock.settle();
  CHECK(seen == std::vector<std::string>{"early early"});
  clock.advance(4s);
  CHECK(seen.back() == "value=7");
  clock.advance(1s);
  CHECK(seen.back() == "late timed out");
  CHECK(group.size() == 0);
  CHECK(clock.sleepers() == 0);
}

TEST_CASE("stopping a task group cancels its tasks and waits for their clean-up") {
  asio::io_context loop(1);
  FakeClock clock(loop);
  bool cleaned = false;
  auto task = [&]() -> awaitable<void> {
    struct Clean {
      bool& flag;
      ~Clean() { flag = true; }
    } clean{cleaned};
    co_await clock.sleep(1h);
  };
  TaskGroup group(loop.get_executor());
  group.spawn("sleeper", task());
  clock.settle();
  run_on(loop, group.stop());
  CHECK(cleaned);
  CHECK(group.size() == 0);
}

TEST_CASE("slots are handed over in order, bounded, and a cancelled waiter gives up its place") {
  asio::io_context loop(1);
  FakeClock clock(loop);
  Slots slots(loop.get_executor(), 1, 2);
  std::vector<int> order;
  auto use = [&](int name) -> awaitable<void> {
    auto slot = co_await slots.acquire();
    if (!slot) {
      CHECK(slot.error().code() == Errc::overloaded);
      order.push_back(-name);
      co_return;
    }
    order.push_back(name);
    co_await clock.sleep(1s);
  };
  TaskGroup group(loop.get_executor());
  TaskGroup impatient(loop.get_executor());
  group.spawn("1", use(1));
  clock.settle();
  impatient.spawn("2", use(2));
  clock.settle();
  group.spawn("3", use(3));
  clock.settle();
  group.spawn("4", use(4));
  clock.settle();
  CHECK(order == std::vector<int>{1, -4});
  impatient.close();
  clock.advance(2s);
  CHECK(order == std::vector<int>{1, -4, 3});
  CHECK(slots.free() == 1);
}

TEST_CASE("a child process reports exit code, signal and output, and inherits only what it is given") {
  auto [read, write] = make_pipe().value();
  const auto run = [](std::string script) {
    ProcessOptions options{.argv = {"/bin/sh", "-c", std::move(script)}};
    return run_to_end(run_process(std::move(options))).value();
  };
  CHECK(run("exit 3").status.text() == "exit 3");
  CHECK(run("kill -9 $$").status.signal == SIGKILL);
  CHECK(run("echo out; echo err >&2").output == "out\nerr\n");
  CHECK(run("ls /proc/self/fd | wc -l").output == "4\n");  // 0, 1, 2 and the folder ls reads
  CHECK(run("cat").output.empty());                        // stdin is at end of file
  ProcessOptions missing{.argv = {"/no/such/program"}};
  CHECK(run_to_end(run_process(std::move(missing))).error().code() == Errc::not_found);
}

TEST_CASE("a child that outlives its owner is killed and reaped") {
  pid_t pid = 0;
  auto start = [&]() -> awaitable<void> {
    ProcessOptions options{.argv = {"sleep", "1000"}};
    auto child = ChildProcess::spawn(co_await asio::this_coro::executor, options);
    pid = child->pid();
    CHECK(::kill(pid, 0) == 0);
  };
  run_to_end(start());
  CHECK(::kill(pid, 0) == -1);
}

TEST_CASE("atomic writes replace whole files and leave nothing beside them") {
  auto folder = TemporaryFolder::make("/tmp", "wick-test-").value();
  const auto path = folder.path() / "f";
  REQUIRE(write_file_atomically(path, "one"));
  REQUIRE(write_file_atomically(path, "two"));
  CHECK(read_file(path).value() == "two");
  CHECK(std::distance(fs::directory_iterator(folder.path()), {}) == 1);
  CHECK(read_file(folder.path() / "none").error().code() == Errc::not_found);
  CHECK(read_file(path, 2).error().code() == Errc::too_large);
}

TEST_CASE("removing a tree does not follow symlinks out of it") {
  auto folder = TemporaryFolder::make("/tmp", "wick-test-").value();
  fs::create_directories(folder.path() / "keep");
  REQUIRE(write_file(folder.path() / "keep/file", "x"));
  fs::create_directories(folder.path() / "tree/a/b");
  fs::create_directory_symlink(folder.path() / "keep", folder.path() / "tree/a/link");
  REQUIRE(write_file(folder.path() / "tree/a/b/c", "x"));
  fs::permissions(folder.path() / "tree/a/b", fs::perms::none);
  REQUIRE(remove_tree(folder.path() / "tree"));
  CHECK_FALSE(fs::exists(folder.path() / "tree"));
  CHECK(fs::exists(folder.path() / "keep/file"));
  CHECK(remove_tree(folder.path() / "tree"));
}

TEST_CASE("a seqpacket carries whole messages with descriptors and says when the peer is gone") {
  asio::io_context loop(1);
  auto ends = Seqpacket::pair().value();
  Seqpacket left(loop.get_executor(), std::move(ends.first));
  Seqpacket right(loop.get_executor(), std::move(ends.second));
  auto pipe = make_pipe().value();
  std::vector<int> passed{pipe.second.get()};
  REQUIRE(run_on(loop, left.send("hello", passed)));
  auto packet = run_on(loop, right.receive()).value();
  CHECK(packet.bytes == "hello");
  REQUIRE(packet.fds.size() == 1);
  REQUIRE(write_all(packet.fds[0].get(), "through"));
  packet.fds.clear();
  pipe.second.reset();
  CHECK(read_all(pipe.first.get()).value() == "through");
  CHECK(right.peer_uid().value() == ::getuid());
  left.close();
  CHECK(run_on(loop, right.receive()).error().code() == Errc::unavailable);
  CHECK(run_on(loop, right.send("x")).error().code() == Errc::unavailable);
}

TEST_CASE("work on the pool comes back to the loop, exceptions included") {
  asio::io_context loop(1);
  WorkerPool workers;  // after the loop: its threads let go of the loop only after the answer is there
  auto ok = [&]() -> awaitable<int> {
    auto job = [] { return 42; };
    co_return co_await workers.run(job);
  };
  CHECK(run_on(loop, ok()) == 42);
  auto bad = [&]() -> awaitable<int> {
    auto job = []() -> int { throw std::runtime_error("no"); };
    co_return co_await workers.run(job);
  };
  CHECK_THROWS_WITH(run_on(loop, bad()), "no");
}

TEST_CASE("work on another loop brings back its value or exception, and ends when its caller is cancelled") {
  asio::io_context there(1);
  auto work = asio::make_work_guard(there);
  std::thread thread([&] { there.run(); });
  asio::io_context here(1);
  SteadyClock clock;
  const auto number = run_on(here, on_loop<std::thread::id>(there.get_executor(), []() -> awaitable<std::thread::id> {
                               co_return std::this_thread::get_id();
                             }));
  CHECK(number == thread.get_id());
  CHECK_THROWS_WITH(run_on(here, on_loop<int>(there.get_executor(), fail_at_once)), "early");
  std::atomic<bool> cleaned_up = false;
  auto endless = [&]() -> awaitable<int> {
    struct CleanUp {
      std::atomic<bool>& done;
      ~CleanUp() { done = true; }
    } const clean_up{cleaned_up};
    co_await clock.sleep(1h);
    co_return 0;
  };
  CHECK_THROWS_AS(run_on(here, with_deadline(clock, 1ms, on_loop<int>(there.get_executor(), endless))),
                  DeadlineExceeded);
  CHECK(cleaned_up);
  work.reset();
  thread.join();
}

TEST_CASE("passed sockets are taken only when they were meant for this process") {
  ::setenv("LISTEN_PID", "1", 1);
  ::setenv("LISTEN_FDS", "1", 1);
  CHECK(take_passed_sockets().empty());
  CHECK(::getenv("LISTEN_FDS") == nullptr);
}

TEST_CASE("what one process puts on a shelf is there for the next, by name and in order, once") {
  const auto shelf = Shelf::make();
  REQUIRE(shelf);
  Fd held(::memfd_create("kept", MFD_CLOEXEC));
  REQUIRE(write_all(held.get(), "kept"));
  REQUIRE(shelf->put("first", std::array{held.get(), held.get()}));
  REQUIRE(shelf->put("second", {}));
  held.reset();
  auto kept = shelf->take();
  REQUIRE(kept.size() == 2);
  CHECK(kept[0].name == "first");
  REQUIRE(kept[0].fds.size() == 2);
  char text[5] = "";
  CHECK(::pread(kept[0].fds[1].get(), text, 4, 0) == 4);
  CHECK(text == std::string("kept"));
  CHECK(kept[1].name == "second");
  CHECK(kept[1].fds.empty());
  CHECK(shelf->take().empty());
}

TEST_CASE("a shelf that is full says so, and keeps what lies there") {
  const auto shelf = Shelf::make();
  REQUIRE(shelf);
  const Fd held(::memfd_create("kept", MFD_CLOEXEC));
  std::size_t count = 0;
  Result<void> put;
  for (; count < 100'000; ++count)
    if (put = shelf->put("one of many", std::array{held.get()}); !put) break;
  REQUIRE_FALSE(put);
  CHECK(put.error().code() == Errc::overloaded);
  CHECK(count > 200);
  CHECK(shelf->take().size() == count);
  CHECK(shelf->put("", {}).error().code() == Errc::too_large);
}

TEST_CASE("systemd is given descriptors to keep under a name") {
  const auto folder = TemporaryFolder::make("/tmp", "wick-notify-");
  REQUIRE(folder);
  const auto path = folder->path() / "notify";
  CHECK_FALSE(store_with_systemd("nobody", {}));
  const Fd systemd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof address.sun_path - 1);
  REQUIRE(::bind(systemd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
  CHECK(store_with_systemd("inside-1", std::array{systemd.get()}));
  notify_systemd("READY=1");
  ::unsetenv("NOTIFY_SOCKET");
  char bytes[256];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{.iov_base = bytes, .iov_len = sizeof bytes};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const auto got = ::recvmsg(systemd.get(), &message, 0);
  CHECK(std::string(bytes, static_cast<std::size_t>(got)) == "FDSTORE=1\nFDPOLL=0\nFDNAME=inside-1");
  REQUIRE(CMSG_FIRSTHDR(&message));
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
  CHECK(Fd(fd));
  CHECK(::recv(systemd.get(), bytes, sizeof bytes, 0) == 7);
}
