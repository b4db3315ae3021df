#include <catch2/catch.hpp>

#include "pool_fixture.hpp"
#include "wick/serving/start_failure.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

std::expected<void, model::Failure> deploy(FakeBehaviour behaviour, RevisionSpec spec = {}) {
  PoolFixture f(std::move(spec));
  f.launcher.behaviour = std::move(behaviour);
  return f.run(f.pool->ensure_ready());
}

RevisionSpec ready_within(milliseconds limit) {
  RevisionSpec spec;
  spec.startup_limit = limit;
  return spec;
}

}  // namespace

TEST_CASE("a failure has the exit code as a shell does, and what the program left to say, safe to show") {
  const auto crashed =
      deploy({.never_listens = true, .exits = ExitStatus{.signal = 11}, .message = "db: no\x1b\nroute\n"});
  CHECK(crashed.error().exit_code == 139);
  CHECK(crashed.error().message == "db: no\\x1b\nroute");
  const auto stored = model::Failure::from_json(crashed.error().to_json());
  REQUIRE(stored);
  CHECK(stored->exit_code == 139);
  CHECK(stored->message == crashed.error().message);
  const auto silent = deploy({.never_listens = true, .exits = ExitStatus{}});
  CHECK(silent.error().exit_code == 0);
  CHECK_FALSE(silent.error().to_json().contains("message"));
}

TEST_CASE("each way to fail a start has its sentence, its slug and a hint") {
  const container::Usage memory{.memory_peak_bytes = 64 << 20, .memory_limit_bytes = 64 << 20};
  struct Case {
    const char* name;
    FakeBehaviour behaviour;
    const char* slug;
    const char* because;
  };
  const Case cases[] = {
      {"exit 1",
       {.never_listens = true, .exits = ExitStatus{.code = 1}, .exits_after = 92ms},
       "E_EXITED",
       "the process exited with code 1 after 92 ms, before listening on port 8080"},
      {"exit 0",
       {.never_listens = true, .exits = ExitStatus{}, .exits_after = 15s},
       "E_EXITED",
       "the process exited with code 0 after 15 s, before listening on port 8080"},
      {"signal",
       {.never_listens = true, .exits = ExitStatus{.signal = 11}, .exits_after = 1ms},
       "E_EXITED",
       "the process was ended by signal 11 (Segmentation fault) after 1 ms, before listening on port 8080"},
      {"out of memory",
       {.never_listens = true,
        .exits = ExitStatus{.signal = 9},
        .exits_after = 300ms,
        .out_of_memory = true,
        .usage = memory},
       "E_OUT_OF_MEMORY",
       "the process was killed (signal 9), out of memory 64/64 MiB after 300 ms, before listening on port 8080"},
      {"wrong port",
       {.listens = {{"127.0.0.1", 3000}}},
       "E_WRONG_PORT",
       "listening on 127.0.0.1:3000, expected port 8080"},
      {"two wrong ports",
       {.listens = {{"0.0.0.0", 80}, {"::", 9000}}},
       "E_WRONG_PORT",
       "listening on 0.0.0.0:80, [::]:9000, expected port 8080"},
      {"wrong address",
       {.listens = {{"10.1.2.3", 8080}}},
       "E_WRONG_ADDRESS",
       "listening on 10.1.2.3:8080, expected 0.0.0.0:8080 or 127.0.0.1:8080"},
      {"never listens",
       {.never_listens = true},
       "E_NOT_READY",
       "nothing answered on port 8080 within 60 s (connection refused)"},
      {"launch",
       {.launch_error = Error(Errc::unsupported, "exec format error: image is arm64")},
       "E_UNSUPPORTED",
       "exec format error: image is arm64"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.name);
    auto failed = deploy(each.behaviour, ready_within(60s));
    REQUIRE_FALSE(failed);
    CHECK(failed.error().slug == each.slug);
    CHECK(failed.error().because == each.because);
    if (std::string_view(each.name) != "launch") CHECK_FALSE(failed.error().hint.empty());
  }
}

TEST_CASE("a server on 127.0.0.1 is reached") { CHECK(deploy({.listens = {{"127.0.0.1", 8080}}})); }

TEST_CASE("an early end is noticed at once, not at the next probe or time-out") {
  PoolFixture f;
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 1}, .exits_after = 1234ms};
  f.request();
  f.clock.advance(1233ms);
  CHECK_FALSE(f.view().last_failure);
  f.clock.advance(1ms);
  REQUIRE(f.view().last_failure);
  CHECK(f.view().last_failure->elapsed == 1234ms);
}

TEST_CASE("listening elsewhere is a verdict only after the program has idled there for three looks") {
  PoolFixture f;
  f.launcher.behaviour.listens = {{"127.0.0.1", 5005}};
  f.request();
  f.clock.advance(2900ms);
  CHECK_FALSE(f.view().last_failure);
  f.clock.advance(200ms);
  REQUIRE(f.view().last_failure);
  CHECK(f.view().last_failure->slug == "E_WRONG_PORT");
}

TEST_CASE("a slow start is waited for, up to the limit") {
  CHECK(deploy({.listens_after = 59s}, ready_within(60s)));
  CHECK_FALSE(deploy({.listens_after = 61s}, ready_within(60s)));
}

TEST_CASE("with a command as its probe an instance is ready when it listens and the command ends with 0") {
  RevisionSpec spec;
  spec.readiness.kind = Probe::Kind::exec;
  spec.readiness.command = {"/check", "now"};
  spec.instance.process = {.argv = {"/server"}, .environment = {"A=1"}, .uid = 1000};
  PoolFixture f(spec);
  std::vector<container::Process> asked;
  f.launcher.behaviour = {.listens_after = 1s, .execute = [&](const container::Process& process) {
                            asked.push_back(process);
                            return container::Executed{.status = {.code = asked.size() < 3 ? 1 : 0}, .output = {}};
                          }};
  REQUIRE(f.run(f.pool->ensure_ready()));
  REQUIRE(asked.size() == 3);
  CHECK(asked[0].argv == spec.readiness.command);
  CHECK(asked[0].environment == spec.instance.process.environment);
  CHECK(asked[0].uid == 1000);
  const auto started = f.view().instances.at(0).start_elapsed;
  CHECK(started >= 1300ms);  // 100 ms after the first answer, 200 ms after the second
  CHECK(started < 1400ms);
}

TEST_CASE("a command that never ends with 0 is told with its last output") {
  auto spec = ready_within(5s);
  spec.readiness.kind = Probe::Kind::exec;
  spec.readiness.command = {"/check"};
  const auto outcome = deploy({.execute =
                                   [](const container::Process&) {
                                     return container::Executed{.status = {.code = 3}, .output = "no database\n"};
                                   }},
                              spec);
  REQUIRE_FALSE(outcome);
  CHECK(outcome.error().slug == "E_NOT_READY");
  CHECK(outcome.error().because == "the readiness command '/check' ended with exit 3: no database, for 5000 ms");
  const auto missing = deploy({.execute = [](const container::Process&) -> Result<container::Executed> {
                                return fail(Errc::not_found, "the command '/check' is not in the image");
                              }},
                              spec);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().because ==
        "the readiness command '/check': the command '/check' is not in the image, for 5000 ms");
}

TEST_CASE("a startup probe is asked before readiness is, until it succeeds once") {
  RevisionSpec spec;
  spec.startup = Probe{.kind = Probe::Kind::exec, .command = {"/booted"}};
  spec.readiness.kind = Probe::Kind::exec;
  spec.readiness.command = {"/ready"};
  std::vector<std::string> asked;
  FakeBehaviour behaviour{.execute = [&](const container::Process& process) {
    asked.push_back(process.argv[0]);
    return container::Executed{.status = {.code = asked.size() < 2 ? 1 : 0}, .output = {}};
  }};
  CHECK(deploy(std::move(behaviour), spec));
  CHECK(asked == std::vector<std::string>{"/booted", "/booted", "/ready"});
}

TEST_CASE("a startup probe that never succeeds is told as that, with its own path or command") {
  auto spec = ready_within(5s);
  spec.startup = Probe{.kind = Probe::Kind::exec, .command = {"/booted"}};
  const auto command = deploy(
      {.execute = [](const container::Process&) { return container::Executed{.status = {.code = 3}, .output = {}}; }},
      spec);
  REQUIRE_FALSE(command);
  CHECK(command.error().because.starts_with("the startup command '/booted' ended with exit 3"));
  CHECK(command.error().hint.starts_with("the startup probe wants"));
  spec.startup = Probe{.kind = Probe::Kind::http, .path = "/booted"};
  const auto path = never_ready(spec, {.startup = true, .answered = 503}, 5s);
  CHECK(path.because == "GET /booted answered 503, for 5000 ms");
  CHECK(path.hint.starts_with("the startup probe wants"));
}

TEST_CASE("a success threshold wants that many successes") {
  PoolFixture f([] {
    RevisionSpec spec;
    spec.readiness.success_threshold = 3;
    spec.readiness.period = 1s;
    return spec;
  }());
  f.request();
  f.clock.advance(1900ms);
  CHECK(f.view().ready == 0);
  f.clock.advance(200ms);
  CHECK(f.view().ready == 1);
}

TEST_CASE("an instance is probed often at first and not more than every 10 ms") {
  PoolFixture f;
  f.launcher.behaviour.never_listens = true;
  f.request();
  f.clock.advance(1s);
  // 0.2 + 0.4 + … + 6.4 ms = 12.6 ms after 7 tries, then every 10 ms: about 7 + 99.
  CHECK(f.launcher.instances[0]->connects > 90);
  CHECK(f.launcher.instances[0]->connects < 115);
}
