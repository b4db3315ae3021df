// A disk that is really full (a small tmpfs; needs root): events are refused, none acknowledged is lost, and it goes on
// when there is room.
#include <sys/mount.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <set>

#include "event_fixture.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

class SmallDisk {
 public:
  SmallDisk() { mounted_ = ::mount("tmpfs", folder_.path().c_str(), "tmpfs", 0, "size=4m,mode=0700") == 0; }
  ~SmallDisk() {
    if (mounted_) ::umount2(folder_.path().c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_ = TemporaryFolder::make("/tmp", "small-disk-").value();
  bool mounted_ = false;
};

struct Fixture {
  explicit Fixture(const std::filesystem::path& folder)
      : database(store::Database::open(folder / "events.db", Eventing::migrations()).value()) {
    eventing.set_broker({.name_space = "default", .name = "b"});
    eventing.set_trigger({.name_space = "default", .name = "t", .broker = "b", .subscriber = {.url = "http://s"}});
  }
  ~Fixture() { run_on(loop, eventing.stop()); }

  http::Response send(int number) {
    FakeExchange exchange(event_request("/default/b", std::to_string(number), "t", std::string(30'000, 'x')));
    auto handler = eventing.ingress();
    run_on(loop, handler(exchange));
    return exchange.answer;
  }
  awaitable<void> wait_until_idle() {
    const TimePoint end = clock.now() + 60s;
    co_await clock.sleep(50ms);
    while (eventing.pending().at("default/t") > 0 && clock.now() < end) co_await clock.sleep(20ms);
  }

  asio::io_context loop{1};
  SteadyClock clock;
  Metrics metrics;
  FakeSubscriber subscriber{clock};
  std::unique_ptr<store::Database> database;
  Eventing eventing{loop.get_executor(), clock, *database, metrics, subscriber.deliver(), {}};
};

}  // namespace

TEST_CASE("a full disk refuses events, loses none, and takes them again when there is room") {
  if (::geteuid() != 0) {
    WARN("SKIPPED: mounting a small disk needs root");
    return;
  }
  SmallDisk disk;
  REQUIRE(disk.mounted());
  const auto filler = disk.path() / "filler";
  REQUIRE(write_file(filler, std::string(1 << 20, 'f')));
  std::set<std::string> acknowledged;
  http::Response refused;
  {
    Fixture f(disk.path());
    int number = 0;
    while (refused.head.status != 503 && number < 1000) {
      refused = f.send(++number);
      if (refused.head.status == 202) acknowledged.insert(std::to_string(number));
    }
    CHECK(refused.head.status == 503);
    CHECK(refused.body.find("disk full") != std::string::npos);
    CHECK(refused.body.find("hint:") != std::string::npos);
    CHECK(acknowledged.size() > 10);
    CHECK(f.send(++number).head.status == 503);
    std::filesystem::remove(filler);
    ++number;
    CHECK(f.send(number).head.status == 202);
    acknowledged.insert(std::to_string(number));
    run_on(f.loop, f.wait_until_idle());
    const auto ids = f.subscriber.ids();
    const std::set<std::string> delivered(ids.begin(), ids.end());
    CHECK(std::includes(delivered.begin(), delivered.end(), acknowledged.begin(), acknowledged.end()));
  }
  Fixture again(disk.path());
  store::Statement check(again.database->reader(), "PRAGMA integrity_check");
  check.step();
  CHECK(check.text(0) == "ok");
  check.reset();
  store::Statement rows(again.database->reader(), "SELECT count(*) FROM event");
  rows.step();
  CHECK(static_cast<std::size_t>(rows.integer(0)) == acknowledged.size());
}
