#include "control_fixture.hpp"
#include "wick/control/previews.hpp"
#include "wick/model/resource.hpp"

using namespace wick;
using build::Progress;
using model::Truth;

namespace {

struct BuildFixture : ControlFixture {
  std::vector<build::BuildRequest> requests;
  std::optional<build::BuildFailure> failure;
  bool hangs = false;
  bool cancelled = false;

  BuildFixture() {
    run_build = [this](build::BuildRequest request, build::OnProgress progress) {
      return build(std::move(request), std::move(progress));
    };
  }

  awaitable<std::expected<build::BuiltImage, build::BuildFailure>> build(build::BuildRequest request,
                                                                         build::OnProgress progress) {
    requests.push_back(request);
    progress({.kind = Progress::Kind::started, .step = "build", .text = "RUN make"});
    if (hangs) {
      struct Note {
        bool& flag;
        ~Note() { flag = true; }
      } note{cancelled};
      co_await clock.sleep(1h);
    }
    if (failure) {
      progress({.kind = Progress::Kind::failed, .step = "build", .text = "exit 2"});
      co_return std::unexpected(*failure);
    }
    co_return build::BuiltImage{.image = put_image(request.reference), .commit = "abc123", .detected = "Dockerfile"};
  }

  void apply_run(std::string_view more = "", std::string_view annotations = "{}") {
    apply(model::build_run_kind(),
          yaml("metadata: {name: run, annotations: " + std::string(annotations) +
               "}\nspec: {build: {spec: {source: {git: {url: 'https://x/y', revision: main}, contextDir: sub}, output: "
               "{image: built}, strategy: {name: node}, " +
               "paramValues: [{name: build-args, values: [{value: A=b}]}]}}, " + std::string(more) + "}"));
  }
  model::Condition verdict() { return condition(model::build_run_kind(), "run", "Succeeded"); }
  std::string log() {
    std::string text;
    auto take = [&](std::string_view lines) -> awaitable<bool> {
      text += lines;
      co_return true;
    };
    run_on(loop, control->build_logs().read(model::text_at(get(model::build_run_kind(), "run"), {"metadata", "uid"}),
                                            false, take));
    return text;
  }
};

constexpr std::string_view deploy =
    R"({wick.dev/deploy: '{"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"},"spec":{"template":{"spec":{"containers":[{"env":[{"name":"A","value":"b"}]}]}}}}'})";

constexpr std::string_view preview =
    R"({wick.dev/preview: '{"service":"hello","branch":"feature/x","env":["WHO=moon"]}'})";

}  // namespace

TEST_CASE("a build run builds, keeps its log, and deploys the service it carries") {
  BuildFixture f;
  f.start();
  f.apply_run("", deploy);
  REQUIRE(f.until([&] { return f.verdict().status == Truth::yes; }));
  REQUIRE(f.requests.size() == 1);
  CHECK(std::get<build::GitSource>(f.requests[0].source).ref == "main");
  CHECK(f.requests[0].subpath == "sub");
  CHECK(f.requests[0].builder == "node");
  CHECK(f.requests[0].build_args.at("A") == "b");
  const auto status = f.get(model::build_run_kind(), "run").at("status").as_object();
  CHECK(model::text_at(status, {"output", "digest"}) ==
        f.images.image(std::string_view("built")).value().digest.text());
  CHECK(model::text_at(status, {"commit"}) == "abc123");
  CHECK(model::text_at(status, {"service", "name"}) == "hello");
  CHECK(f.log().find("RUN make") != std::string::npos);

  REQUIRE(f.await_service(Truth::yes));
  const auto image = model::text_at(
      f.get(model::revision_kind(), "hello-00001").at("spec").at("containers").as_array()[0].as_object(), {"image"});
  CHECK(image == "built@" + model::text_at(status, {"output", "digest"}));
}

TEST_CASE("a deploy of what is there already makes no new revision, and keeps the labels it does not name") {
  BuildFixture f;
  f.start();
  f.apply_run("", deploy);
  REQUIRE(f.await_service(Truth::yes));
  auto service = f.get(model::service_kind(), "hello");
  model::object_at(service, {"metadata", "labels"})["team"] = "a";
  f.apply(model::service_kind(), service);
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::build_run_kind(), "run"))));
  f.apply_run("", deploy);
  REQUIRE(f.until([&] { return f.verdict().status == Truth::yes; }));
  REQUIRE(f.await_service(Truth::yes));
  CHECK(f.objects->list(model::revision_kind().resource()).size() == 1);
  CHECK(model::text_at(f.get(model::service_kind(), "hello"), {"metadata", "labels", "team"}) == "a");
}

TEST_CASE("a failed build says why and deploys nothing") {
  BuildFixture f;
  f.failure = build::BuildFailure{.error = Error(Errc::build_failed, "exit 2"),
                                  .failure = {.step = "build",
                                              .slug = "E_BUILD_STEP",
                                              .because = "RUN make: exit 2",
                                              .last_output = {"make: no rule"},
                                              .hint = "mend it"}};
  f.start();
  f.apply_run("", deploy);
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK(f.verdict().reason == "BuildStep");
  CHECK(f.verdict().message == "RUN make: exit 2");
  const auto failure =
      model::Failure::from_json(f.get(model::build_run_kind(), "run").at("status").at("failure")).value();
  CHECK(failure.hint == "mend it");
  CHECK(f.get(model::service_kind(), "hello").empty());
}

TEST_CASE("a build of an upload that is not there, or of a Build that is not there, fails with a hint of what to do") {
  BuildFixture f;
  f.start();
  f.apply(model::build_run_kind(),
          f.yaml("metadata: {name: run}\nspec: {build: {spec: {source: {type: Local, local: {name: " +
                 std::string(64, 'a') + "}}, output: {image: x}}}}"));
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK(f.verdict().message.find("is not here") != std::string::npos);
  f.apply(model::build_run_kind(), f.yaml("metadata: {name: other}\nspec: {build: {name: nothing}}"));
  REQUIRE(f.until([&] { return f.condition(model::build_run_kind(), "other", "Succeeded").status == Truth::no; }));
  CHECK(f.requests.empty());
}

TEST_CASE("a running build ends when it is cancelled or deleted, and begins again after a restart") {
  BuildFixture f;
  f.hangs = true;
  f.start();
  f.apply_run();
  REQUIRE(f.until([&] { return f.requests.size() == 1 && f.verdict().reason == "Running"; }));
  f.stop_control();
  CHECK(f.cancelled);
  f.cancelled = false;
  f.start();
  REQUIRE(f.until([&] { return f.requests.size() == 2; }));

  f.apply_run("state: BuildRunCanceled");
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK(f.verdict().reason == "Cancelled");
  CHECK(f.cancelled);

  f.cancelled = false;
  f.apply(model::build_run_kind(),
          f.yaml("metadata: {name: second}\nspec: {build: {spec: {source: {git: {url: u}}, output: {image: x}}}}"));
  REQUIRE(f.until([&] { return f.requests.size() == 3; }));
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::build_run_kind(), "second"))));
  CHECK(f.until([&] { return f.cancelled; }));
}

TEST_CASE("a run that names a Secret for git fetches with what it holds, and says so when it is not there") {
  BuildFixture f;
  f.start();
  const auto run_with_secret = [&] {
    f.apply(
        model::build_run_kind(),
        f.yaml("metadata: {name: run}\nspec: {build: {spec: {source: {git: {url: 'https://x/y', cloneSecret: login}}, "
               "output: {image: built}}}}"));
  };
  run_with_secret();
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK_THAT(f.verdict().message, Catch::Contains("secrets \"login\" not found"));
  CHECK(f.requests.empty());

  f.apply(model::secret_kind(), f.yaml("metadata: {name: login}\nstringData: {username: me, password: hush}"));
  REQUIRE(run_on(f.loop, f.objects->remove(f.key(model::build_run_kind(), "run"))));
  run_with_secret();
  REQUIRE(f.until([&] { return f.requests.size() == 1; }));
  CHECK(std::get<build::GitSource>(f.requests[0].source).credentials ==
        build::GitCredentials{.username = "me", .password = "hush"});
}

TEST_CASE("a build for a preview becomes a tag without traffic, and the service stays as it is") {
  BuildFixture f;
  f.start();
  f.apply_service("env: [{name: WHO, value: world}]");
  REQUIRE(f.await_service(Truth::yes));
  const auto before = f.get(model::service_kind(), "hello").at("spec");
  f.apply_run("", preview);
  REQUIRE(f.until([&] { return f.traffic().find("feature-x") != std::string::npos; }));
  const auto configuration = f.get(model::configuration_kind(), "hello-preview-feature-x");
  const auto& container = configuration.at("spec").at("template").at("spec").at("containers").at(0);
  CHECK(container.at("env").at(0).at("value") == "moon");
  CHECK(container.at("image").as_string().starts_with("built@"));
  CHECK(f.get(model::service_kind(), "hello").at("spec") == before);
  CHECK(f.condition(model::service_kind(), "hello").status == Truth::yes);
  CHECK(f.get(model::revision_kind(), "hello-preview-feature-x-00001").contains("metadata"));

  CHECK(run_on(f.loop, control::remove_preview(*f.objects, "default", "hello", "feature/x")) == "feature-x");
  CHECK(f.until([&] { return f.traffic().find("feature-x") == std::string::npos; }));
  CHECK(f.until([&] { return f.get(model::revision_kind(), "hello-preview-feature-x-00001").empty(); }));
  CHECK(run_on(f.loop, control::remove_preview(*f.objects, "default", "hello", "feature/x")).empty());
}

TEST_CASE("a preview of no service fails the build with what to do, and makes nothing") {
  BuildFixture f;
  f.start();
  f.apply_run("", preview);
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK(f.verdict().message.find("there is no service hello") != std::string::npos);
  CHECK(f.objects->list(model::configuration_kind().resource()).empty());
}

TEST_CASE("a preview that is removed while it is built does not come back") {
  BuildFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.hangs = true;
  f.apply_run("", preview);
  REQUIRE(f.until([&] { return f.requests.size() == 1; }));
  CHECK(run_on(f.loop, control::remove_preview(*f.objects, "default", "hello", "feature/y")).empty());
  CHECK_FALSE(f.cancelled);
  CHECK(run_on(f.loop, control::remove_preview(*f.objects, "default", "hello", "feature/x")).empty());
  REQUIRE(f.until([&] { return f.verdict().status == Truth::no; }));
  CHECK(f.verdict().reason == "Cancelled");
  CHECK(f.cancelled);
  CHECK(f.get(model::configuration_kind(), "hello-preview-feature-x").empty());
}
