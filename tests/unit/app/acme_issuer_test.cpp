// Certificates asked for, kept over a restart, renewed, and tried for again.
#include <sys/stat.h>

#include <boost/asio/co_spawn.hpp>
#include <catch2/catch.hpp>

#include <fstream>

#include "app/acme/issuer.hpp"
#include "fake_authority.hpp"
#include "support/fake_clock.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::app::acme;
using Kind = Issuer::State::Kind;

namespace {

/// One life of the daemon on `folder`.
struct IssuerFixture {
  asio::io_context& loop;
  FakeClock& clock;
  FakeAuthority& authority;
  WorkerPool workers{1};
  Metrics metrics;
  std::map<std::string, http::Certificate, std::less<>> shown, challenge_certificates;
  std::vector<std::string> changed;
  Challenges challenges;
  Issuer issuer;
  TaskGroup tasks;

  IssuerFixture(asio::io_context& loop, FakeClock& clock, FakeAuthority& authority, const std::filesystem::path& folder,
                std::vector<std::string> types = {"http-01", "tls-alpn-01"})
      : loop(loop),
        clock(clock),
        authority(authority),
        challenges(
            loop.get_executor(), clock, [this](auto shown_now) { challenge_certificates = std::move(shown_now); }, ""),
        issuer({.executor = loop.get_executor(),
                .clock = clock,
                .workers = workers,
                .metrics = metrics,
                .call = authority.call(),
                .challenges = challenges,
                .show = [this](auto shown_now) { shown = std::move(shown_now); },
                .changed = [this](const std::string& host) { changed.push_back(host); },
                .look_up = [](const std::string& host) { return host + " leads to 203.0.113.9"; }},
               {.session = {.directory = "https://ca.test/dir", .email = {}, .agrees_to_terms = true},
                .challenges = std::move(types)},
               Store::open(folder, "https://ca.test/dir").value()),
        tasks(loop.get_executor()) {
    tasks.spawn("issuer", issuer.run());
  }
  ~IssuerFixture() {
    bool ended = false;
    asio::co_spawn(loop, tasks.stop(), [&](std::exception_ptr) { ended = true; });
    while (!ended) settle();
  }
  void settle() {
    // The disk is on another thread.
    for (int i = 0; i < 20; ++i) {
      clock.settle();
      workers_idle();
    }
    clock.settle();
  }
  void workers_idle() {
    bool done = false;
    auto nothing = [] {};
    asio::co_spawn(loop, workers.run(nothing), [&](std::exception_ptr) { done = true; });
    while (!done) clock.settle();
  }
  void pass(Duration time, Duration step = std::chrono::minutes(1)) {
    for (Duration passed{}; passed < time; passed += step) {
      clock.advance(std::min(step, time - passed));
      settle();
    }
  }
  void await_kind(const std::string& host, Kind kind) {
    for (int i = 0; i < 400 && issuer.state(host).kind != kind; ++i) pass(1s, 1s);
    REQUIRE(issuer.state(host).kind == kind);
  }
};

struct World {
  asio::io_context loop{1};
  FakeClock clock{loop};
  FakeAuthority authority{clock};
  TemporaryFolder folder = TemporaryFolder::make("/tmp", "wick-acme-").value();
};

std::filesystem::path only_file(const std::filesystem::path& folder, std::string_view ending) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.path().string().ends_with(ending)) return entry.path();
  return {};
}

}  // namespace

TEST_CASE("a wanted name gets its certificate, shown and kept for the daemon alone") {
  World w;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  CHECK(f.issuer.state("shop.test").kind == Kind::unwanted);
  f.issuer.want({{"shop.test", ""}});
  CHECK(f.issuer.state("shop.test").kind == Kind::pending);
  CHECK(f.issuer.state("shop.test").message == "asking https://ca.test/dir");
  f.await_kind("shop.test", Kind::ready);
  CHECK(f.shown.contains("shop.test"));
  CHECK(f.changed.size() >= 2);
  for (const auto ending : {"shop.test.pem", "account.key", "account.url"}) {
    const auto file = only_file(w.folder.path(), ending);
    REQUIRE_FALSE(file.empty());
    struct stat told{};
    REQUIRE(::stat(file.c_str(), &told) == 0);
    CHECK((told.st_mode & 07777) == 0600);
  }
  f.issuer.want({});
  CHECK(f.shown.empty());
  CHECK(f.issuer.state("shop.test").kind == Kind::unwanted);
}

TEST_CASE("a restart asks for nothing that is valid, and renews with the same account") {
  World w;
  {
    IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
    f.issuer.want({{"shop.test", ""}});
    f.await_kind("shop.test", Kind::ready);
  }
  const auto calls = w.authority.calls;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  CHECK(f.issuer.state("shop.test").kind == Kind::ready);
  CHECK(f.shown.contains("shop.test"));
  f.pass(std::chrono::days(59), std::chrono::hours(6));
  CHECK(w.authority.calls == calls);
  const auto before = f.shown.at("shop.test").not_after();
  f.pass(std::chrono::days(7), std::chrono::hours(1));
  CHECK(w.authority.issued == 2);
  CHECK(w.authority.accounts == 1);
  CHECK(f.shown.at("shop.test").not_after() > before);
}

TEST_CASE("an authority that is down for days costs nothing but attempts while the certificate is good") {
  World w;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  f.await_kind("shop.test", Kind::ready);
  w.authority.down = true;
  f.pass(std::chrono::days(70), std::chrono::hours(1));
  CHECK(f.issuer.state("shop.test").kind == Kind::ready);
  CHECK(f.issuer.state("shop.test").message.contains("Connection refused"));
  CHECK(f.issuer.state("shop.test").message.contains("next attempt at 2027-"));
  CHECK(f.shown.contains("shop.test"));
  f.pass(std::chrono::days(25), std::chrono::hours(1));
  CHECK(f.issuer.state("shop.test").kind == Kind::failed);
  w.authority.down = false;
  f.pass(std::chrono::minutes(15));
  CHECK(f.issuer.state("shop.test").kind == Kind::ready);
}

TEST_CASE("a failed proof is told with what DNS says, and the other challenge comes next") {
  World w;
  w.authority.looks = [](const std::string& type, auto&&...) { return type == "tls-alpn-01"; };
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  f.await_kind("shop.test", Kind::failed);
  CHECK(f.issuer.state("shop.test")
            .message.starts_with(
                "http-01 failed: connection: 203.0.113.9: refused; shop.test leads to 203.0.113.9; next attempt at "));
  CHECK(w.authority.orders == 1);
  f.pass(std::chrono::minutes(7));
  CHECK(f.issuer.state("shop.test").kind == Kind::ready);
  CHECK(w.authority.proven_by == std::vector<std::string>{"http-01", "tls-alpn-01"});
  CHECK(f.challenge_certificates.empty());
  CHECK(only_file(w.folder.path(), "shop.test.attempts").empty());
}

TEST_CASE("a refused name is left alone longer and longer, over restarts too, until somebody asks") {
  World w;
  w.authority.looks = [](auto&&...) { return false; };
  {
    IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
    f.issuer.want({{"shop.test", "1"}});
    f.await_kind("shop.test", Kind::failed);
    f.pass(std::chrono::hours(2));
    CHECK(w.authority.orders >= 4);
    CHECK(w.authority.orders <= 6);
  }
  const auto orders = w.authority.orders;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", "1"}});
  CHECK(f.issuer.state("shop.test").kind == Kind::failed);
  f.pass(std::chrono::minutes(5));
  CHECK(w.authority.orders == orders);
  w.authority.looks = nullptr;
  f.issuer.want({{"shop.test", "2"}});
  f.await_kind("shop.test", Kind::ready);
  CHECK(w.authority.orders == orders + 1);
}

TEST_CASE("a rate limit is kept to") {
  World w;
  w.authority.rate_limited = 1;
  w.authority.retry_after = "86400";
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  f.await_kind("shop.test", Kind::failed);
  f.pass(std::chrono::hours(23), std::chrono::minutes(30));
  CHECK(w.authority.issued == 0);
  CHECK(w.authority.orders == 0);
  f.pass(std::chrono::hours(2), std::chrono::minutes(10));
  CHECK(w.authority.issued == 1);
}

TEST_CASE("certificates that are due at once do not make us ask without a rest") {
  World w;
  w.authority.life = 60s;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  f.await_kind("shop.test", Kind::ready);
  f.pass(std::chrono::minutes(10), 1s);
  CHECK(w.authority.issued >= 10);
  CHECK(w.authority.issued <= 20);
}

TEST_CASE("a damaged certificate is asked for anew, and a damaged account key is said") {
  World w;
  {
    IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
    f.issuer.want({{"shop.test", ""}});
    f.await_kind("shop.test", Kind::ready);
  }
  std::ofstream(only_file(w.folder.path(), "shop.test.pem")) << "nonsense";
  {
    IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
    f.issuer.want({{"shop.test", ""}});
    f.await_kind("shop.test", Kind::ready);
    CHECK(w.authority.issued == 2);
  }
  std::ofstream(only_file(w.folder.path(), "account.key")) << "nonsense";
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"other.test", ""}});
  f.await_kind("other.test", Kind::failed);
  CHECK(f.issuer.state("other.test").message.contains("account.key: not PEM of a private key (remove it to get a new"));
}

TEST_CASE("a name that goes while its certificate is on the way leaves nothing behind") {
  World w;
  w.authority.polls_before_valid = 3;
  IssuerFixture f(w.loop, w.clock, w.authority, w.folder.path());
  f.issuer.want({{"shop.test", ""}});
  f.settle();
  f.issuer.want({});
  f.pass(std::chrono::minutes(2));
  CHECK(f.shown.empty());
  CHECK(f.issuer.state("shop.test").kind == Kind::unwanted);
}

TEST_CASE("several names are attended to at once, the first one before them: it brings the account") {
  World world;
  IssuerFixture f(world.loop, world.clock, world.authority, world.folder.path());
  world.authority.polls_before_valid = 3;
  std::map<std::string, std::string> hosts;
  for (int i = 0; i < 7; ++i) hosts.emplace("n" + std::to_string(i) + ".test", "");
  f.issuer.want(hosts);
  f.settle();
  CHECK(world.authority.orders == 1);
  f.await_kind("n0.test", Kind::ready);
  CHECK(world.authority.accounts == 1);
  CHECK(world.authority.orders == 1 + static_cast<int>(Issuer::at_once_max));
  for (const auto& [name, asked] : hosts) f.await_kind(name, Kind::ready);
  CHECK(world.authority.orders == 7);
  CHECK(world.authority.accounts == 1);
}

TEST_CASE("names that a program sets records for are attended to one after the other") {
  World world;
  {
    IssuerFixture before(world.loop, world.clock, world.authority, world.folder.path());
    before.issuer.want({{"first.test", ""}});
    before.await_kind("first.test", Kind::ready);
  }
  IssuerFixture f(world.loop, world.clock, world.authority, world.folder.path(), {"http-01", "dns-01"});
  world.authority.polls_before_valid = 3;
  const int orders = world.authority.orders;
  f.issuer.want({{"a.test", ""}, {"b.test", ""}});
  f.settle();
  CHECK(world.authority.orders == orders + 1);
  f.await_kind("a.test", Kind::ready);
  f.await_kind("b.test", Kind::ready);
}
