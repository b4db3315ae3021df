#include "control_fixture.hpp"
#include "wick/model/resource.hpp"

using namespace wick;
using model::Truth;

TEST_CASE("a service becomes a configuration, a revision and a route, and is ready when its first instance is") {
  ControlFixture f;
  f.start();
  f.apply_service("ports: [{containerPort: 9000}]");
  REQUIRE(f.await_service(Truth::yes));
  const auto service = f.get(model::service_kind(), "hello");
  CHECK(model::text_at(service, {"status", "url"}) == "http://hello.default.example.com");
  CHECK(model::text_at(service, {"status", "address", "url"}) == "http://hello.default.svc.cluster.local");
  CHECK(model::text_at(service, {"status", "latestReadyRevisionName"}) == "hello-00001");
  CHECK(f.traffic() == R"([{"revisionName":"hello-00001","latestRevision":true,"percent":100}])");

  REQUIRE(f.until([&] {
    return model::text_at(f.get(model::revision_kind(), "hello-00001"),
                          {"metadata", "labels", model::names::routing_state}) == "active";
  }));
  const auto revision = f.get(model::revision_kind(), "hello-00001");
  CHECK(model::text_at(revision, {"metadata", "labels", model::names::service}) == "hello");
  CHECK(model::text_at(revision, {"metadata", "labels", model::names::configuration_generation}) == "1");
  CHECK(model::controller_uid(revision) ==
        model::text_at(f.get(model::configuration_kind(), "hello"), {"metadata", "uid"}));
  CHECK(model::text_at(revision, {"metadata", "annotations", model::names::id_range}) == "1");
  const auto& statuses = revision.at("status").at("containerStatuses").as_array();
  CHECK(model::text_at(statuses[0].as_object(), {"imageDigest"}) ==
        "hello@" + f.images.image(std::string_view("hello")).value().digest.text());
  CHECK(f.condition(model::route_kind(), "hello").status == Truth::yes);

  REQUIRE(f.launcher.instances.size() == 1);
  const auto& spec = f.launcher.instances[0]->spec();
  CHECK(spec.process.uid == 1000);
  CHECK(spec.process.argv == std::vector<std::string>{"/server"});
  CHECK(std::ranges::find(spec.process.environment, "PORT=9000") != spec.process.environment.end());
  CHECK_FALSE(spec.allow_root);
  CHECK(f.launcher.owners[0] == "default/hello-00001");
}

// A client that reads an object, changes it and sends it back under fieldValidation=Strict must not be told that the
// server's own words are unknown. (kubectl apply failed so on status.rollout.)
TEST_CASE("what the reconcilers write is in the schema of its kind") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.apply(model::trigger_kind(), f.yaml("metadata: {name: t}\nspec: {broker: default, subscriber: {ref: {apiVersion: "
                                        "serving.knative.dev/v1, kind: Service, name: hello}}}"));
  f.apply(model::domain_mapping_kind(), f.yaml("metadata: {name: shop.example.org}\nspec: {ref: {apiVersion: "
                                               "serving.knative.dev/v1, kind: Service, name: hello}}"));
  REQUIRE(f.until([&] {
    return f.settled(model::trigger_kind(), "t", Truth::yes) &&
           f.settled(model::domain_mapping_kind(), "shop.example.org", Truth::yes);
  }));
  f.apply_service("", "", "nobody-has-this");
  REQUIRE(f.await_service(Truth::no));
  for (const auto& kind : model::kinds())
    if (kind.stored)
      for (const auto& object : f.objects->list(kind.resource())) {
        INFO(kind.kind << " " << model::text_at(*object, {"metadata", "name"}));
        auto pruned = *object;
        CHECK(model::prune_unknown(kind, pruned) == std::vector<std::string>());
      }
}

TEST_CASE("a new template makes a new revision, other edits do not, and every service has an id range of its own") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  auto labelled = f.get(model::service_kind(), "hello");
  model::object_at(labelled, {"metadata", "labels"})["team"] = "a";
  f.apply(model::service_kind(), labelled);
  REQUIRE(f.until([&] {
    return model::text_at(f.get(model::configuration_kind(), "hello"), {"metadata", "labels", "team"}) == "a";
  }));
  CHECK(f.objects->list(model::revision_kind().resource()).size() == 1);

  f.apply_service("args: [two]");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.traffic() == R"([{"revisionName":"hello-00002","latestRevision":true,"percent":100}])");
  REQUIRE(f.until([&] {
    return model::text_at(f.get(model::revision_kind(), "hello-00001"),
                          {"metadata", "labels", model::names::routing_state}) == "reserve";
  }));
  CHECK(model::text_at(f.get(model::revision_kind(), "hello-00002"),
                       {"metadata", "annotations", model::names::id_range}) == "1");

  f.apply(model::service_kind(),
          f.yaml("metadata: {name: other}\nspec: {template: {spec: {containers: [{image: hello}]}}}"));
  REQUIRE(f.until([&] { return f.settled(model::service_kind(), "other", Truth::yes); }));
  CHECK(model::text_at(f.get(model::revision_kind(), "other-00001"),
                       {"metadata", "annotations", model::names::id_range}) == "2");
}

TEST_CASE("a revision that fails leaves the traffic where it was and says why") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 7}, .output = {"first", "TypeError: no"}};
  f.apply_service("args: [broken]");
  REQUIRE(f.await_service(Truth::no));
  CHECK(f.traffic().find("hello-00001") != std::string::npos);
  CHECK(f.condition(model::revision_kind(), "hello-00002").reason == "ExitCode7");
  CHECK(f.condition(model::configuration_kind(), "hello").reason == "RevisionFailed");
  CHECK(f.condition(model::service_kind(), "hello").message ==
        "Revision \"hello-00002\" failed with message: Container failed with: first\nTypeError: no.");
  const auto service = f.get(model::service_kind(), "hello");
  const auto failure = model::Failure::from_json(service.at("status").at("lastFailure")).value();
  CHECK(failure.slug == "E_EXITED");
  CHECK(failure.last_output.back() == "TypeError: no");
  CHECK_FALSE(failure.hint.empty());
  const auto launches = f.launcher.launches;
  f.until([turns = 0]() mutable { return ++turns > 20; });
  CHECK(f.launcher.launches == launches);

  f.launcher.behaviour = {};
  f.apply_service("args: [mended]");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.traffic().find("hello-00003") != std::string::npos);
  CHECK_FALSE(f.get(model::service_kind(), "hello").at("status").as_object().contains("lastFailure"));
}

TEST_CASE("with initial-scale 0 a service is ready without an instance, unless min-scale wants one") {
  ControlFixture f;
  f.policy.allow_zero_initial_scale = true;
  f.start();
  const auto apply = [&](std::string more) {
    f.apply(model::service_kind(), f.yaml("metadata: {name: hello}\nspec: {template: {metadata: {annotations: "
                                          "{autoscaling.knative.dev/initial-scale: '0'" +
                                          more + "}}, spec: {containers: [{image: hello}]}}}"));
  };
  apply("");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.launcher.launches == 0);
  CHECK(f.condition(model::revision_kind(), "hello-00001", "Active").reason == "NoTraffic");
  CHECK(f.traffic() == R"([{"revisionName":"hello-00001","latestRevision":true,"percent":100}])");

  apply(", autoscaling.knative.dev/min-scale: '1'");
  REQUIRE(f.until([&] { return f.settled(model::revision_kind(), "hello-00002", Truth::yes); }));
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("an image that is not there yet is waited for") {
  ControlFixture f;
  f.start();
  f.apply_service("", "", "late");
  REQUIRE(f.await_service(Truth::no));
  const auto revision = f.condition(model::revision_kind(), "hello-00001");
  CHECK(revision.reason == "ContainerMissing");
  CHECK(revision.message.starts_with("Unable to fetch image \"late\""));
  f.put_image("late");
  REQUIRE(f.await_service(Truth::yes));
}

TEST_CASE("a runner that fails any one call only delays a service") {
  for (int n = 1; n <= 4; ++n) {
    INFO(n);
    ControlFixture f;
    f.runner.calls_until_failure = n;
    f.start();
    f.apply_service();
    CHECK(f.await_service(Truth::yes));
  }
}

TEST_CASE("what can never run is told once: no such user, root where root is refused") {
  ControlFixture f;
  f.start();
  f.apply_service("securityContext: {runAsUser: 5}");
  REQUIRE(f.await_service(Truth::no));
  CHECK(f.condition(model::service_kind(), "hello").message.find("no user 5") != std::string::npos);
  CHECK(f.launcher.launches == 0);
}

TEST_CASE("traffic goes to named revisions and tags, and waits for what is not there") {
  ControlFixture f;
  f.start();
  f.apply_service("args: [one]");
  REQUIRE(f.await_service(Truth::yes));
  f.apply_service(
      "args: [two]",
      "traffic: [{revisionName: hello-00001, percent: 90}, {latestRevision: true, percent: 10, tag: canary}],");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(
      f.traffic() ==
      R"([{"revisionName":"hello-00001","latestRevision":false,"percent":90},)"
      R"({"revisionName":"hello-00002","latestRevision":true,"percent":10,"tag":"canary","url":"http://canary-hello.default.example.com"}])");
  f.apply_service("args: [two]", "traffic: [{revisionName: hello-00009, percent: 100}],");
  REQUIRE(f.await_service(Truth::no));
  CHECK(f.condition(model::service_kind(), "hello").message ==
        "Revision \"hello-00009\" referenced in traffic not found.");
  CHECK(f.traffic().find("hello-00001") != std::string::npos);
}

TEST_CASE("deleting a service takes everything it owns and its instances with it") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  REQUIRE(f.launcher.running() == 1);
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::service_kind(), "hello"))));
  CHECK(f.until([&] {
    return f.objects->list(model::configuration_kind().resource()).empty() &&
           f.objects->list(model::revision_kind().resource()).empty() &&
           f.objects->list(model::route_kind().resource()).empty() && f.launcher.running() == 0;
  }));
}

TEST_CASE("a service deleted and made again at once is a new one, and what is not ours is left alone") {
  ControlFixture f;
  f.start();
  f.apply_service("args: [one]");
  REQUIRE(f.await_service(Truth::yes));
  const auto old = model::text_at(f.get(model::revision_kind(), "hello-00001"), {"metadata", "uid"});
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::service_kind(), "hello"))));
  f.apply_service("args: [two]");
  REQUIRE(f.await_service(Truth::yes));
  CHECK(model::text_at(f.get(model::revision_kind(), "hello-00001"), {"metadata", "uid"}) != old);
  CHECK(f.until([&] { return f.launcher.running() == 1; }));

  f.apply(model::configuration_kind(),
          f.yaml("metadata: {name: mine}\nspec: {template: {spec: {containers: [{image: hello}]}}}"));
  f.apply(model::service_kind(),
          f.yaml("metadata: {name: mine}\nspec: {template: {spec: {containers: [{image: hello}]}}}"));
  REQUIRE(f.until([&] { return f.settled(model::service_kind(), "mine", Truth::no); }));
  CHECK(f.condition(model::service_kind(), "mine").reason == "NotOwned");
}

TEST_CASE("what is made for an owner that is gone, or is another one of its name, goes too") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  const auto job_of = [&](std::string name, std::string owner, std::string uid) {
    const store::ObjectKey key{model::job_kind().resource(), "default", std::move(name)};
    auto job = f.yaml("metadata: {name: " + key.name +
                      ", namespace: default, ownerReferences: [{apiVersion: "
                      "serving.knative.dev/v1, kind: Service, name: " +
                      owner + ", uid: " + uid +
                      ", controller: true}]}\nspec: {suspend: false, template: {spec: {restartPolicy: Never, "
                      "containers: [{name: c, image: nobody/has}]}}}");
    REQUIRE(run_on(f.loop, f.objects->create(key, job)));
    return key;
  };
  const auto uid = model::text_at(f.get(model::service_kind(), "hello"), {"metadata", "uid"});
  const auto kept = job_of("kept", "hello", uid);
  for (const auto& orphan : {job_of("gone", "nobody", uid), job_of("another", "hello", "of-an-earlier-one")})
    CHECK(f.until([&] { return !f.objects->find(orphan); }));
  CHECK(f.objects->find(kept));
}

TEST_CASE("deleting a namespace takes everything in it") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::namespace_kind(), "default"))));
  CHECK(f.until([&] {
    return f.objects->list(model::service_kind().resource()).empty() &&
           f.objects->list(model::broker_kind().resource()).empty();
  }));
}

TEST_CASE("after a restart what runs is adopted, what is unknown is stopped, and nothing is started again") {
  ControlFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  const auto running = f.launcher.instances.at(0);
  f.stop_control();
  run_on(f.loop, f.serving->stop(false));
  f.serving = f.make_serving();
  auto stranger = f.launcher.make({}, {});
  f.adopt = [&]() -> awaitable<Result<std::vector<container::RunnerLauncher::Adopted>>> {
    std::vector<container::RunnerLauncher::Adopted> found;
    found.push_back({.instance = running, .owner = "default/hello-00001", .id_range = 1});
    found.push_back({.instance = stranger, .owner = "default/gone-00001", .id_range = 2});
    co_return found;
  };
  f.start();
  CHECK(f.until([&] { return stranger->ended(); }));
  CHECK(f.until([&] {
    const auto view = f.serving->revision({"default", "hello-00001"});
    return view && view->ready == 1;
  }));
  CHECK_FALSE(running->ended());
  CHECK(f.launcher.launches == 1);
}

TEST_CASE("the default broker is there from the start, and a trigger waits for its subscriber") {
  ControlFixture f;
  f.start();
  REQUIRE(f.until([&] { return f.settled(model::broker_kind(), "default", Truth::yes); }));
  CHECK(model::text_at(f.get(model::broker_kind(), "default"), {"status", "address", "url"}) ==
        "http://127.0.0.1:8081/default/default");
  f.apply(model::trigger_kind(), f.yaml("metadata: {name: t}\nspec: {subscriber: {ref: {apiVersion: "
                                        "serving.knative.dev/v1, kind: Service, name: hello}}}"));
  REQUIRE(f.until([&] { return f.settled(model::trigger_kind(), "t", Truth::no); }));
  CHECK(f.condition(model::trigger_kind(), "t").message == "services.serving.knative.dev \"hello\" not found");
  f.apply_service();
  REQUIRE(f.until([&] { return f.settled(model::trigger_kind(), "t", Truth::yes); }));
  CHECK(model::text_at(f.get(model::trigger_kind(), "t"), {"status", "subscriberUri"}) ==
        "http://hello.default.svc.cluster.local");

  f.apply(model::trigger_kind(),
          f.yaml("metadata: {name: lost}\nspec: {broker: none, subscriber: {uri: 'http://x/'}}"));
  REQUIRE(f.until([&] { return f.settled(model::trigger_kind(), "lost", Truth::no); }));
  CHECK(f.condition(model::trigger_kind(), "lost").reason == "BrokerDoesNotExist");
}
