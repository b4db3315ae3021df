// Jobs, JobSinks and ContainerSources over fakes: what runs, how often, and what is known of it after a restart.
#include <boost/json/serialize.hpp>

#include "control/job_sinks.hpp"
#include "control/jobs.hpp"
#include "control_fixture.hpp"

namespace wick {

namespace {

using model::Truth;

struct JobsFixture : ControlFixture {
  JobsFixture() { start(); }

  bool is(const model::Kind& kind, const std::string& name, Truth truth) {
    return until([&] { return settled(kind, name, truth); });
  }
  void sink(std::string_view more = "", std::string_view annotations = "") {
    apply(
        model::job_sink_kind(),
        yaml("metadata: {name: js, annotations: {" + std::string(annotations) +
             "}}\nspec: {job: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: hello}]}}" +
             std::string(more) + "}}}"));
    REQUIRE(is(model::job_sink_kind(), "js", Truth::yes));
  }
  http::Response send(std::string id, std::string target = "/default/js") {
    http::Request request{.head = {.method = "POST",
                                   .target = std::move(target),
                                   .authority = "job-sink.knative-eventing.svc.cluster.local",
                                   .fields = {{"ce-specversion", "1.0"},
                                              {"ce-id", std::move(id)},
                                              {"ce-source", "/test"},
                                              {"ce-type", "t"},
                                              {"Content-Type", "application/json"}}},
                          .body = "{\"n\": 1}"};
    auto answered = run_on(loop, eventing.accept(std::move(request)));
    return answered ? *answered : http::Response{.head = {.status = 0}};
  }
  static std::string job(std::string_view id) { return control::job_name("js", "/test", std::string(id)); }
  bool ended(std::string_view id, std::string_view how) {
    return until([&] { return condition(model::job_kind(), job(id), how).status == Truth::yes; });
  }
  int status_of_event(std::string_view id) {
    // What a listener answers to GET; through the door that the events listener uses.
    return status_answer(id).head.status;
  }
  http::Response status_answer(std::string_view id) {
    return run_on(loop, get_status("/namespaces/default/name/js/sources/%2Ftest/ids/" + std::string(id)));
  }
  awaitable<http::Response> get_status(std::string target) {
    struct Question final : http::Exchange {
      explicit Question(std::string target) { asked.target = std::move(target), asked.method = "GET"; }
      const http::RequestHead& head() const override { return asked; }
      std::string_view peer() const override { return "192.0.2.1"; }
      long peer_uid() const override { return -1; }
      std::string_view id() const override { return "test"; }
      awaitable<Result<std::size_t>> read_some(std::span<char>) override { co_return std::size_t{0}; }
      awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
        answer = {.head = std::move(head), .body = std::move(body)};
        co_return Result<void>();
      }
      awaitable<Result<void>> start(http::ResponseHead) override { co_return fail(Errc::unsupported, "no"); }
      awaitable<Result<void>> write(std::string_view) override { co_return fail(Errc::unsupported, "no"); }
      awaitable<Result<void>> finish() override { co_return fail(Errc::unsupported, "no"); }
      bool started() const override { return false; }
      awaitable<void> wait_gone() override { co_return; }
      http::RequestHead asked;
      http::Response answer{.head = {.status = 0}};
    };
    Question question(std::move(target));
    const auto handler = eventing.ingress();
    co_await handler(question);
    co_return question.answer;
  }
  FakeInstance& last() { return *launcher.instances.back(); }
};

}  // namespace

TEST_CASE("an event becomes a job with the event in it, once; its status can be asked for") {
  JobsFixture f;
  f.sink();
  CHECK(model::text_at(f.get(model::job_sink_kind(), "js"), {"status", "address", "url"}) ==
        "http://job-sink.knative-eventing.svc.cluster.local/default/js");
  CHECK(f.status_of_event("1") == 404);
  const auto first = f.send("1");
  CHECK(first.head.status == 202);
  CHECK(first.head.fields.find("Location") == "/namespaces/default/name/js/sources/%2Ftest/ids/1");
  REQUIRE(f.until([&] { return f.launcher.running() == 1; }));
  CHECK(f.status_of_event("1") == 202);
  const auto& spec = f.last().spec();
  REQUIRE(spec.volumes.size() == 1);
  CHECK(spec.volumes[0].files.at(0).path == "event");
  CHECK_THAT(spec.volumes[0].files.at(0).content,
             Catch::Contains("\"id\":\"1\"") && Catch::Contains("\"data\":{\"n\": 1}"));
  CHECK(spec.volume_mounts.at(0).target == "/etc/jobsink-event");
  CHECK_FALSE(spec.volume_mounts.at(0).writable);
  const auto& environment = spec.process.environment;
  CHECK(std::ranges::count(environment, "K_EVENT_PATH=/etc/jobsink-event") == 1);
  CHECK(std::ranges::count(environment, "K_EXECUTION_MODE=batch") == 1);
  CHECK(std::ranges::none_of(environment, [](const std::string& one) { return one.starts_with("PORT="); }));
  CHECK(f.launcher.owners.back() == "default/jobs/" + JobsFixture::job("1"));

  CHECK(f.send("1").head.fields.find("Location") == first.head.fields.find("Location"));
  f.last().end({.code = 0});
  REQUIRE(f.ended("1", "Complete"));
  const auto complete = f.status_answer("1");
  CHECK(complete.head.status == 200);
  CHECK(complete.head.fields.find("Reason") == "Complete");
  CHECK(f.send("1").head.status == 202);
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("what does not name a job sink, or the job of an event, is told so") {
  JobsFixture f;
  f.sink();
  CHECK(f.send("1", "/default/other").head.status == 0);
  CHECK(run_on(f.loop, f.get_status("/namespaces/default/name/js")).head.status == 400);
  CHECK(run_on(f.loop, f.get_status("/namespaces/default/name/js/sources/%zz/ids/1")).head.status == 400);
}

TEST_CASE("a job that fails is tried again up to its limit, and then has failed") {
  JobsFixture f;
  f.sink(", backoffLimit: 0");
  REQUIRE(f.send("1").head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 1; }));
  f.last().end({.code = 3});
  REQUIRE(f.ended("1", "Failed"));
  CHECK(f.condition(model::job_kind(), JobsFixture::job("1"), "Failed").reason == "BackoffLimitExceeded");
  CHECK_THAT(f.condition(model::job_kind(), JobsFixture::job("1"), "Failed").message,
             Catch::Contains("exit code 3") || Catch::Contains("3"));
  const auto failed = f.status_answer("1");
  CHECK(failed.head.status == 400);
  CHECK(failed.head.fields.find("Reason") == "Failed");
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("so many of a sink run at once; the rest waits, and runs in the order in which it came") {
  JobsFixture f;
  f.sink("", "wick.dev/max-in-flight: '2'");
  for (const auto id : {"1", "2", "3", "4"}) REQUIRE(f.send(id).head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 2; }));
  CHECK(f.launcher.launches == 2);
  f.launcher.instances[0]->end({.code = 0});
  REQUIRE(f.until([&] { return f.launcher.launches == 3; }));
  CHECK(f.launcher.owners.back() == "default/jobs/" + JobsFixture::job("3"));
  f.launcher.instances[1]->end({.code = 0});
  REQUIRE(f.until([&] { return f.launcher.launches == 4; }));
  f.launcher.instances[2]->end({.code = 0});
  f.launcher.instances[3]->end({.code = 0});
  for (const auto id : {"1", "2", "3", "4"}) CHECK(f.ended(id, "Complete"));
}

TEST_CASE("after a restart what runs is adopted, what waits is run, and what has ended is not") {
  JobsFixture f;
  f.sink("", "wick.dev/max-in-flight: '2'");
  for (const auto id : {"1", "2", "3"}) REQUIRE(f.send(id).head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 2; }));
  f.launcher.instances[0]->end({.code = 0});
  REQUIRE(f.ended("1", "Complete"));
  REQUIRE(f.until([&] { return f.launcher.running() == 2; }));
  f.stop_control();
  // The second goes on without us; the third ended unseen.
  auto second = f.launcher.instances[1];
  f.launcher.instances[2]->end({.code = 0});
  f.adopt = [second]() -> awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> {
    std::vector<container::RunnerLauncher::Adopted> found;
    found.push_back({.instance = second, .owner = "default/jobs/" + JobsFixture::job("2"), .id_range = 1});
    co_return found;
  };
  f.start();
  REQUIRE(f.until([&] { return f.launcher.launches == 4; }));
  CHECK(f.launcher.owners.back() == "default/jobs/" + JobsFixture::job("3"));
  second->end({.code = 0});
  f.last().end({.code = 0});
  for (const auto id : {"2", "3"}) CHECK(f.ended(id, "Complete"));
  CHECK(second->stops == 0);
  CHECK(f.launcher.launches == 4);
}

TEST_CASE("a deleted job is stopped, and its event forgotten") {
  JobsFixture f;
  f.sink();
  REQUIRE(f.send("1").head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 1; }));
  const auto name = JobsFixture::job("1");
  CHECK_FALSE(f.get(model::secret_kind(), name).empty());
  REQUIRE(run_on(f.loop, f.objects->request_removal(f.key(model::job_kind(), name))));
  CHECK(f.until([&] { return f.launcher.running() == 0 && f.get(model::secret_kind(), name).empty(); }));
  CHECK(f.last().stops == 1);
}

TEST_CASE("a sink whose jobs are all held back does not hold back another's, the oldest of all goes first") {
  JobsFixture f;
  f.sink("", "wick.dev/max-in-flight: '1'");
  for (const auto* id : {"1", "2", "3"}) CHECK(f.send(id).head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.launches == 1; }));
  f.apply(model::job_kind(), f.yaml("metadata: {name: alone}\nspec: {template: {spec: {restartPolicy: Never, "
                                    "containers: [{name: c, image: hello}]}}}"));
  REQUIRE(f.until([&] { return f.launcher.launches == 2; }));
  f.last().end({.code = 0});
  REQUIRE(f.until([&] { return f.condition(model::job_kind(), "alone", "Complete").status == Truth::yes; }));
  // A Job of its name again, made while the end of the first is still being told, runs too.
  REQUIRE(run_on(f.loop, f.objects->remove({model::job_kind().resource(), "default", "alone"})));
  f.apply(model::job_kind(), f.yaml("metadata: {name: alone}\nspec: {template: {spec: {restartPolicy: Never, "
                                    "containers: [{name: c, image: hello}]}}}"));
  CHECK(f.until([&] { return f.launcher.launches == 3; }));
}

TEST_CASE("with its sink go its jobs, and what they run") {
  JobsFixture f;
  f.sink();
  REQUIRE(f.send("1").head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 1; }));
  REQUIRE(run_on(f.loop, f.objects->request_removal(f.key(model::job_sink_kind(), "js"))));
  CHECK(f.until([&] { return f.get(model::job_kind(), JobsFixture::job("1")).empty() && f.launcher.running() == 0; }));
  CHECK(f.send("2").head.status == 0);
}

TEST_CASE("a job is deleted so long after its end as it says") {
  JobsFixture f;
  f.sink(", ttlSecondsAfterFinished: 0");
  REQUIRE(f.send("1").head.status == 202);
  REQUIRE(f.until([&] { return f.launcher.running() == 1; }));
  f.last().end({.code = 0});
  CHECK(f.until([&] { return f.get(model::job_kind(), JobsFixture::job("1")).empty(); }));
}

TEST_CASE("what a job may say is checked as its containers are in a Service") {
  ControlFixture f;
  const auto [spec, text] = GENERATE(table<std::string, std::string>({
      {"{}", "spec.job"},
      {"{job: {spec: {template: {spec: {containers: [{image: a}], hostNetwork: true}}}}}",
       "must not set the field(s): spec.job.spec.template.spec.hostNetwork"},
      {"{job: {spec: {template: {spec: {containers: [{image: a}, {image: b}]}}}}}",
       "only one container runs here: spec.job.spec.template.spec.containers"},
      {"{job: {spec: {parallelism: 2, template: {spec: {containers: [{image: a}]}}}}}",
       "invalid value: 2: spec.job.spec.parallelism"},
      {"{job: {spec: {template: {spec: {restartPolicy: Always, containers: [{image: a}]}}}}}",
       "invalid value: Always: spec.job.spec.template.spec.restartPolicy"},
  }));
  auto object = f.yaml("metadata: {name: js, namespace: default}\nspec: " + spec);
  auto admitted =
      model::admit(model::job_sink_kind(), std::move(object), {.old = nullptr, .user = "test", .policy = {}});
  REQUIRE_FALSE(admitted);
  CHECK_THAT(admitted.error().what(), Catch::Contains(text));
}

TEST_CASE("a log sink takes every event, and says what it does not know to do") {
  JobsFixture f;
  const auto& kind = *model::find_stored_kind("integrationsinks.sinks.knative.dev");
  f.apply(kind, f.yaml("metadata: {name: l}\nspec: {log: {loggerName: audit, showHeaders: true}}"));
  REQUIRE(f.is(kind, "l", Truth::yes));
  CHECK(model::text_at(f.get(kind, "l"), {"status", "address", "url"}) ==
        "http://integration-sink.knative-eventing.svc.cluster.local/default/l");
  CHECK(f.send("1", "/default/l").head.status == 0);  // at the host of the jobs
  http::Request request{
      .head = {.method = "POST",
               .target = "/default/integrationsinks/l",
               .fields = {{"ce-specversion", "1.0"}, {"ce-id", "1"}, {"ce-source", "/s"}, {"ce-type", "t"}}},
      .body = "x"};
  auto answered = run_on(f.loop, f.eventing.accept(std::move(request)));
  REQUIRE(answered);
  CHECK(answered->head.status == 202);
  const auto [spec, text] = GENERATE(
      table<std::string, std::string>({{"{}", "missing field(s): spec.log"},
                                       {"{aws: {s3: {arn: a}}, log: {}}", "must not set the field(s): spec.aws"},
                                       {"{log: {level: loud}}", "invalid value: loud: spec.log.level"}}));
  auto admitted = model::admit(kind, f.yaml("metadata: {name: l, namespace: default}\nspec: " + spec),
                               {.old = nullptr, .user = "test", .policy = {}});
  REQUIRE_FALSE(admitted);
  CHECK_THAT(admitted.error().what(), Catch::Contains(text));
}

namespace {

struct ContainerSourceFixture : JobsFixture {
  ContainerSourceFixture() {
    apply(model::broker_kind(), yaml("metadata: {name: b}\nspec: {}"));
    REQUIRE(is(model::broker_kind(), "b", Truth::yes));
  }
  void source(std::string_view more = "", std::string_view broker = "b") {
    apply(
        model::container_source_kind(),
        yaml("metadata: {name: cs}\nspec: {template: {spec: {containers: [{name: c, image: hello" + std::string(more) +
             "}]}}, ceOverrides: {extensions: {team: blue}}, sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: "
             "Broker, name: " +
             std::string(broker) + "}}}"));
  }
};

}  // namespace

TEST_CASE("a ContainerSource runs with the sink in its environment, and needs no port") {
  ContainerSourceFixture f;
  f.launcher.behaviour.never_listens = true;
  f.source();
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::yes));
  const auto& environment = f.last().spec().process.environment;
  CHECK(std::ranges::count(environment, "K_SINK=http://broker-ingress.knative-eventing.svc.cluster.local/default/b") ==
        1);
  CHECK(std::ranges::count(environment, R"(K_CE_OVERRIDES={"extensions":{"team":"blue"}})") == 1);
  CHECK(f.launcher.owners.back() == "default/containersources/cs");
  CHECK(control::sender_of(*f.objects, "default/containersources/cs") ==
        "system:serviceaccount:default:cs-oidc-sources.knative.dev-containersource");
}

TEST_CASE("a ContainerSource waits for its sink, and is started anew when it or the template changes") {
  ContainerSourceFixture f;
  f.source("", "later");
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::no));
  CHECK(f.condition(model::container_source_kind(), "cs").message ==
        "brokers.eventing.knative.dev \"later\" not found");
  CHECK(f.launcher.launches == 0);
  f.apply(model::broker_kind(), f.yaml("metadata: {name: later}\nspec: {}"));
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::yes));
  CHECK(std::ranges::count(f.last().spec().process.environment,
                           "K_SINK=http://broker-ingress.knative-eventing.svc.cluster.local/default/later") == 1);
  f.source(", args: [more]", "later");
  REQUIRE(f.until([&] { return f.launcher.launches == 2 && f.launcher.running() == 1; }));
  CHECK(f.launcher.instances[0]->stops == 1);
  REQUIRE(run_on(f.loop, f.objects->request_removal(f.key(model::container_source_kind(), "cs"))));
  CHECK(f.until([&] { return f.launcher.running() == 0; }));
}

TEST_CASE("a ContainerSource whose container ended says so, and is started again after a pause") {
  ContainerSourceFixture f;
  f.source();
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::yes));
  f.last().end({.code = 2});
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::no));
  const auto ready = f.condition(model::container_source_kind(), "cs");
  CHECK(ready.reason == "CrashLoopBackOff");
  CHECK_THAT(ready.message, Catch::Contains("restarted in 10 s"));
}

TEST_CASE("a ContainerSource of an earlier life goes on, where it is still wanted as it is") {
  ContainerSourceFixture f;
  f.source();
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::yes));
  const auto id = f.last().id().text();
  REQUIRE(f.until(
      [&] { return model::text_at(f.get(model::container_source_kind(), "cs"), {"status", "instance"}) == id; }));
  f.stop_control();
  auto instance = f.launcher.instances.back();
  f.adopt = [instance]() -> awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> {
    std::vector<container::RunnerLauncher::Adopted> found;
    found.push_back({.instance = instance, .owner = "default/containersources/cs", .id_range = 1});
    co_return found;
  };
  f.start();
  REQUIRE(f.is(model::container_source_kind(), "cs", Truth::yes));
  CHECK(f.launcher.launches == 1);
  CHECK(instance->stops == 0);
}

}  // namespace wick
