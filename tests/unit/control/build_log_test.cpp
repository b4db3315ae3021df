#include "wick/control/build_log.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::control;
using build::Progress;

namespace {

struct LogFixture {
  asio::io_context loop{1};
  FakeClock clock{loop};
  TemporaryFolder folder = TemporaryFolder::make("/tmp", "wick-test-").value();
  BuildLogs logs{loop.get_executor(), clock, folder.path() / "builds"};
  std::string seen;
  TaskGroup tasks{loop.get_executor()};

  void follow(bool follow) {
    auto read = [this, follow]() -> awaitable<void> {
      auto take = [this](std::string_view lines) -> awaitable<bool> {
        seen += lines;
        co_return true;
      };
      auto done = co_await logs.read("u", follow, take);
      CHECK(done);
    };
    reader = read;
    tasks.spawn("reader", reader());
    clock.settle();
  }
  std::function<awaitable<void>()> reader;
  long lines() const { return std::ranges::count(seen, '\n'); }
};

}  // namespace

TEST_CASE("a follower gets what was written before and after it came, and ends with the run") {
  LogFixture f;
  REQUIRE(f.logs.open("u"));
  f.logs.append("u", {.kind = Progress::Kind::started, .step = "fetch", .text = "clone"});
  f.follow(true);
  CHECK(f.lines() == 1);
  f.logs.append("u", {.kind = Progress::Kind::finished, .step = "fetch", .text = "done", .elapsed = 5ms});
  f.clock.settle();
  CHECK(f.lines() == 2);
  const auto second = boost::json::parse(f.seen.substr(f.seen.find('\n') + 1)).as_object();
  CHECK(second.at("kind") == "finished");
  CHECK(second.at("step") == "fetch");
  CHECK(second.at("elapsedMs") == 5);
  CHECK(f.tasks.size() == 1);
  f.logs.close("u");
  f.clock.settle();
  CHECK(f.tasks.size() == 0);
}

TEST_CASE("without follow a reader ends at what is there, and a run without log gives nothing") {
  LogFixture f;
  f.follow(false);
  CHECK(f.tasks.size() == 0);
  REQUIRE(f.logs.open("u"));
  f.logs.append("u", {.step = "build", .text = "x"});
  f.follow(false);
  CHECK(f.lines() == 1);
  CHECK(f.tasks.size() == 0);
  f.logs.remove("u");
  CHECK_FALSE(std::filesystem::exists(f.folder.path() / "builds/u.ndjson"));
}

TEST_CASE("a build that does not stop talking is cut with a word, its end is still told") {
  LogFixture f;
  REQUIRE(f.logs.open("u"));
  const Progress noise{.kind = Progress::Kind::output, .step = "build", .text = std::string(4000, 'x')};
  for (int i = 0; i < 6000; ++i) f.logs.append("u", noise);
  f.logs.append("u", {.kind = Progress::Kind::failed, .step = "build", .text = "exit 1"});
  f.logs.close("u");
  f.follow(false);
  CHECK(f.seen.size() < BuildLogs::bytes_max + (1 << 20));
  CHECK(f.seen.find("only the first 16 MB") != std::string::npos);
  CHECK(f.seen.find("exit 1") != std::string::npos);
}
