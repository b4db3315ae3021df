#include "api/access.hpp"

#include <catch2/catch.hpp>

#include "api/audit.hpp"
#include "api/routes.hpp"
#include "memory_exchange.hpp"
#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/api/api.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::api;

namespace {

/// A caller over TCP.
class RemoteExchange final : public http::Exchange {
 public:
  explicit RemoteExchange(http::Fields fields, std::string authority = "127.0.0.1:6443") {
    head_.fields = std::move(fields);
    head_.authority = std::move(authority);
  }
  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return "127.0.0.1"; }
  long peer_uid() const override { return -1; }
  std::string_view id() const override { return "test"; }
  awaitable<Result<std::size_t>> read_some(std::span<char>) override { co_return 0; }
  awaitable<Result<void>> respond(http::ResponseHead, std::string) override { co_return Result<void>(); }
  awaitable<Result<void>> start(http::ResponseHead) override { co_return Result<void>(); }
  awaitable<Result<void>> write(std::string_view) override { co_return Result<void>(); }
  awaitable<Result<void>> finish() override { co_return Result<void>(); }
  bool started() const override { return false; }
  awaitable<void> wait_gone() override { co_return; }

 private:
  http::RequestHead head_;
};

struct AccessFixture {
  asio::io_context loop{1};
  FakeClock clock{loop};
  std::unique_ptr<store::Database> database = store::Database::open(":memory:", api::migrations()).value();
  std::unique_ptr<Tokens> tokens = Tokens::open(*database).value();
  Access access{*tokens, clock, {}};

  Tokens::Made make(Scope scope, std::string name_space = {}, std::optional<WallTime> expires = {}) {
    Token wanted{.id = {},
                 .name = "ci",
                 .scope = scope,
                 .name_space = std::move(name_space),
                 .created = {},
                 .expires = expires,
                 .hash = {}};
    return run_on(loop, tokens->create(std::move(wanted), clock.wall())).value();
  }
};

}  // namespace

TEST_CASE("a token opens its scope, is kept as a hash, and is worth nothing once revoked or expired") {
  AccessFixture f;
  const auto made = f.make(Scope::deploy);
  CHECK(made.secret.starts_with("wick_" + made.token.id + "_"));
  CHECK(made.secret.find(made.token.hash) == std::string::npos);
  REQUIRE(f.tokens->check(made.secret, f.clock.wall()));
  CHECK(f.tokens->check(made.secret, f.clock.wall())->scope == Scope::deploy);
  for (const auto& wrong :
       {made.secret + "0", made.secret.substr(1), "wick_" + made.token.id + "_", std::string(), std::string("wick__")})
    CHECK_FALSE(f.tokens->check(wrong, f.clock.wall()));
  // Another life reads the same table.
  CHECK(Tokens::open(*f.database).value()->check(made.secret, f.clock.wall()));
  REQUIRE(run_on(f.loop, f.tokens->revoke(made.token.id)));
  CHECK_FALSE(f.tokens->check(made.secret, f.clock.wall()));
  CHECK_FALSE(Tokens::open(*f.database).value()->check(made.secret, f.clock.wall()));
  const auto brief = f.make(Scope::read, {}, f.clock.wall() + 10s);
  CHECK(f.tokens->check(brief.secret, f.clock.wall() + 9s));
  CHECK_FALSE(f.tokens->check(brief.secret, f.clock.wall() + 10s));
}

TEST_CASE("a caller gets no further than its scope and its namespace") {
  const Caller nobody;
  const Caller reader{.user = "r", .scope = Scope::read, .name_space = {}};
  const Caller deployer{.user = "d", .scope = Scope::deploy, .name_space = "team"};
  const Caller admin{.user = "a", .scope = Scope::admin, .name_space = {}};
  const auto may = [](const Caller& caller, Scope scope, std::string name_space, bool everywhere) {
    return refusal(caller, {.scope = scope, .name_space = std::move(name_space), .everywhere = everywhere}).empty();
  };
  CHECK(may(nobody, Scope::none, "", false));
  CHECK_FALSE(may(nobody, Scope::read, "", false));
  CHECK(may(reader, Scope::read, "team", false));
  CHECK_FALSE(may(reader, Scope::deploy, "team", false));
  CHECK(may(deployer, Scope::deploy, "team", false));
  CHECK_FALSE(may(deployer, Scope::read, "other", false));
  CHECK_FALSE(may(deployer, Scope::read, "", true));
  CHECK(may(deployer, Scope::read, "", false));  // discovery
  CHECK(may(admin, Scope::admin, "", true));
}

TEST_CASE("wrong tokens are answered slower and slower, right ones at once") {
  AccessFixture f;
  const auto made = f.make(Scope::read);
  RemoteExchange wrong({{"Authorization", "Bearer wick_0_0"}});
  for (int i = 0; i < 5; ++i) CHECK_FALSE(run_on(f.loop, f.access.identify(wrong)));
  TaskGroup tasks{f.loop.get_executor()};
  bool answered = false;
  auto try_again = [&]() -> awaitable<void> {
    auto caller = co_await f.access.identify(wrong);
    answered = !caller;
  };
  tasks.spawn("wrong", try_again());
  f.loop.restart();
  f.loop.poll();
  CHECK_FALSE(answered);
  RemoteExchange right({{"Authorization", "bearer " + made.secret}});
  CHECK(run_on(f.loop, f.access.identify(right)).value().user == "token:ci");
  RemoteExchange basic({{"Authorization", "Basic " + base64_encode("token:" + made.secret)}});
  CHECK(run_on(f.loop, f.access.identify(basic)).value().scope == Scope::read);
  f.clock.advance(250ms);
  f.loop.restart();
  f.loop.poll();
  CHECK(answered);
  run_on(f.loop, tasks.stop());
}

TEST_CASE("a request by another name, or from a page of another origin, is refused") {
  AccessFixture f;
  const auto ours = [&](http::Fields fields, std::string authority) {
    const RemoteExchange exchange(std::move(fields), std::move(authority));
    return f.access.check_origin(exchange).has_value();
  };
  CHECK(ours({}, "127.0.0.1:6443"));
  CHECK(ours({}, "localhost:6443"));
  CHECK(ours({}, "[::1]:6443"));
  CHECK_FALSE(ours({}, "evil.example:6443"));
  CHECK_FALSE(ours({}, "127.evil.example"));
  CHECK(ours({{"Origin", "http://127.0.0.1:6443"}}, "127.0.0.1:6443"));
  CHECK_FALSE(ours({{"Origin", "http://evil.example"}}, "127.0.0.1:6443"));
  CHECK_FALSE(ours({{"Origin", "null"}}, "127.0.0.1:6443"));
}

TEST_CASE("the audit trail only grows, and a row that was changed shows") {
  AccessFixture f;
  Audit audit(*f.database);
  for (const auto path : {"/a", "/b", "/c"})
    run_on(
        f.loop,
        audit.record(
            {.when = f.clock.wall(), .user = "root", .peer = "unix", .method = "POST", .path = path, .status = 201}));
  CHECK(audit.newest(2).value().size() == 2);
  CHECK(audit.newest(9).value().front().as_object().at("path") == "/c");
  CHECK(audit.first_broken().value() == 0);
  const auto run = [&](std::string sql) {
    return run_on(f.loop, f.database->write([sql](sqlite3* connection) { store::Statement(connection, sql).run(); }));
  };
  CHECK_THROWS(run("DELETE FROM audit"));
  CHECK_THROWS(run("UPDATE audit SET user='x'"));
  REQUIRE(run("DROP TRIGGER audit_is_not_changed"));
  REQUIRE(run("UPDATE audit SET user='someone else' WHERE row=2"));
  CHECK(audit.first_broken().value() == 2);
}

TEST_CASE("a full audit trail lets its oldest rows go and still shows what was changed") {
  AccessFixture f;
  constexpr int kept = 100;
  Audit audit(*f.database, kept);
  for (int i = 1; i <= 250; ++i)
    run_on(f.loop, audit.record({.when = f.clock.wall(),
                                 .user = "root",
                                 .peer = "unix",
                                 .method = "POST",
                                 .path = "/" + std::to_string(i),
                                 .status = 201}));
  const auto rows = audit.newest(1000).value();
  CHECK(rows.size() >= kept);
  CHECK(rows.size() <= kept + kept / 50 + 1);
  CHECK(rows.front().as_object().at("row") == 250);
  CHECK(audit.first_broken().value() == 0);
  const auto run = [&](std::string sql) {
    return run_on(f.loop, f.database->write([sql](sqlite3* connection) { store::Statement(connection, sql).run(); }));
  };
  CHECK_THROWS(run("DELETE FROM audit WHERE row = (SELECT min(row) FROM audit)"));
  CHECK_THROWS(run("UPDATE audit_cut SET row = 0, seal = ''"));
  CHECK_THROWS(run("DELETE FROM audit_cut"));
  REQUIRE(run("DROP TRIGGER audit_is_not_cut"));
  REQUIRE(run("DELETE FROM audit WHERE row = (SELECT min(row) FROM audit)"));
  CHECK(audit.first_broken().value() == 250 - static_cast<std::int64_t>(rows.size()) + 1);
}

TEST_CASE("a path that is too long is cut in the audit trail") {
  AccessFixture f;
  Audit audit(*f.database);
  run_on(f.loop, audit.record({.when = f.clock.wall(),
                               .user = "u",
                               .peer = "p",
                               .method = "POST",
                               .path = "/" + std::string(9000, 'a'),
                               .status = 404}));
  CHECK(audit.newest(1).value().front().at("path").as_string().size() < 600);
  CHECK(audit.first_broken().value() == 0);
}

TEST_CASE("every verb on every kind has a scope, and the values of Secrets are not for readers") {
  for (const auto& kind : model::kinds())
    for (const auto method : {"GET", "POST", "PUT", "PATCH", "DELETE"}) {
      INFO(kind.kind << " " << method);
      const auto scope = scope_of(kind, method, {});
      CHECK(scope != Scope::none);
      if (std::string_view(method) != "GET") CHECK(scope >= Scope::deploy);
    }
  CHECK(scope_of(model::secret_kind(), "GET", {}) == Scope::deploy);
  CHECK(scope_of(model::namespace_kind(), "DELETE", {}) == Scope::admin);
}

TEST_CASE("routes are found by segments, namespace and rest") {
  const auto nothing = [](http::Exchange&, const RouteMatch&) -> awaitable<void> { co_return; };
  const std::vector<Route> routes{{"GET", "/a/{ns}/b/{name}", Scope::read, nothing},
                                  {"*", "/x/**", Scope::admin, nothing}};
  const auto one = find_route(routes, "GET", {"a", "team", "b", "c"});
  REQUIRE(one.route);
  CHECK(one.name_space == "team");
  CHECK(one.names == std::vector<std::string>{"c"});
  CHECK(find_route(routes, "PUT", {"a", "team", "b", "c"}).other_method);
  CHECK(find_route(routes, "PUT", {"x", "y", "z"}).names == std::vector<std::string>{"y", "z"});
  CHECK(find_route(routes, "PUT", {"x"}).route);
  CHECK_FALSE(find_route(routes, "GET", {"a", "team", "b"}).route);
}

TEST_CASE("a token in the path is one, and is not seen further in") {
  const auto told = [](std::string target) {
    http::RequestHead head{.method = "GET", .target = std::move(target)};
    head.fields = {{"Authorization", "Bearer other"}};
    const auto same = head_without_token(head);
    if (!same) return std::string("none");
    return same->target + " " + std::string(*same->fields.find("Authorization"));
  };
  CHECK(told("/token/wick_1/api/v1/pods?watch=1") == "/api/v1/pods?watch=1 Bearer wick_1");
  CHECK(told("/token/wick_1/") == "/ Bearer wick_1");
  CHECK(told("/token/wick_1") == "/ Bearer wick_1");
  CHECK(told("/token/wick_1?a=/b") == "/?a=/b Bearer wick_1");
  CHECK(told("/api/token/x") == "none");
  CHECK(told("/tokens") == "none");
}
