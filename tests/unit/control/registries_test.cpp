#include <catch2/catch.hpp>

#include "control_fixture.hpp"
#include "wick/base/text.hpp"

namespace wick {
namespace {

using control::PullPolicy;
using model::Truth;

/// A registry with one tag that may move, whose images come into the store as a pull leaves them.
struct FakeRegistry {
  ControlFixture& f;
  std::string version = "one";
  std::optional<Error> failure;  // of either door
  int resolved = 0;
  int pulled = 0;
  std::vector<PullPolicy> policies;
  std::vector<std::string> configs;

  explicit FakeRegistry(ControlFixture& fixture) : f(fixture) {
    f.registries = {
        .resolve = [this](std::string, PullPolicy policy, std::vector<std::string> given) -> awaitable<Result<Digest>> {
          ++resolved;
          policies.push_back(policy);
          configs = std::move(given);
          if (failure) co_return fail(*failure);
          co_return digest();
        },
        .pull = [this](std::string reference, std::vector<std::string>) -> awaitable<Result<void>> {
          ++pulled;
          if (failure) co_return fail(*failure);
          CHECK(reference.ends_with("@" + digest().text()));
          const auto image = f.put_image("pulled-" + version);
          CHECK(f.images.remove_reference("pulled-" + version));
          CHECK(f.images.remember_pulled({digest()}, image.digest));
          co_return Result<void>{};
        }};
  }
  Digest digest() const { return Digest::of("at the registry: " + version); }
};

std::string pinned_digest(ControlFixture& f, const std::string& revision) {
  const auto object = f.get(model::revision_kind(), revision);
  const auto* statuses = model::find_value(object, {"status", "containerStatuses"});
  if (!statuses || !statuses->is_array() || statuses->get_array().empty()) return {};
  return model::text_at(statuses->get_array()[0].get_object(), {"imageDigest"});
}

constexpr std::string_view far_image = "\"box:5000/hello:v1\"";

}  // namespace

TEST_CASE("a tag is resolved once, and the revision keeps its registry's digest") {
  ControlFixture f;
  FakeRegistry registry(f);
  f.start();
  f.apply_service("", "", far_image);
  REQUIRE(f.await_service(Truth::yes));
  CHECK(pinned_digest(f, "hello-00001") == "box:5000/hello@" + registry.digest().text());
  CHECK(registry.resolved == 1);
  CHECK(registry.pulled == 1);
  // A restart asks nobody, wherever the tag leads by now.
  registry.version = "two";
  registry.failure = Error(Errc::unavailable, "nobody is there");
  f.stop_control();
  f.start();
  CHECK(f.serving->revision({"default", "hello-00001"}));
  CHECK(registry.resolved == 1);
  CHECK(registry.pulled == 1);
}

TEST_CASE("what cannot be fetched is told in Knative's words and tried again, with the digest that was found") {
  ControlFixture f;
  FakeRegistry registry(f);
  registry.failure = Error(Errc::denied, "registry box:5000: 401").hint("log in");
  f.start();
  f.apply_service("", "", far_image);
  REQUIRE(f.await_service(Truth::no));
  const auto healthy = f.condition(model::revision_kind(), "hello-00001", "ContainerHealthy");
  CHECK(healthy.reason == "ContainerMissing");
  CHECK(healthy.message ==
        "Unable to fetch image \"box:5000/hello:v1\": failed to resolve image to digest: registry box:5000: 401");
  const auto object = f.get(model::revision_kind(), "hello-00001");
  CHECK(model::text_at(object, {"status", "lastFailure", "step"}) == "fetch");
  CHECK(model::text_at(object, {"status", "lastFailure", "hint"}) == "log in");
  // Who tries again and fails as before has nothing new to say: no write, and nobody who watches is woken.
  REQUIRE(f.until([&] { return registry.resolved > 2; }));
  const auto version = model::text_at(f.get(model::revision_kind(), "hello-00001"), {"metadata", "resourceVersion"});
  REQUIRE(f.until([&] { return registry.resolved > 5; }));
  CHECK(model::text_at(f.get(model::revision_kind(), "hello-00001"), {"metadata", "resourceVersion"}) == version);
  registry.failure.reset();
  REQUIRE(f.await_service(Truth::yes));
  CHECK(registry.pulled == 1);
}

TEST_CASE("a pull that failed goes on with the digest of before, though the tag moved") {
  ControlFixture f;
  FakeRegistry registry(f);
  const auto pull = f.registries.pull;
  bool broken = true;
  f.registries.pull = [&](std::string reference, std::vector<std::string> configs) -> awaitable<Result<void>> {
    if (broken) co_return fail(Errc::unavailable, "registry box:5000: connection reset");
    auto done = co_await pull(std::move(reference), std::move(configs));
    co_return done;
  };
  f.start();
  f.apply_service("", "", far_image);
  REQUIRE(f.await_service(Truth::no));
  CHECK(pinned_digest(f, "hello-00001") == "box:5000/hello@" + registry.digest().text());
  const auto needed = control::images_of_revisions(*f.objects);
  CHECK(std::ranges::find(needed, "box:5000/hello@" + registry.digest().text()) != needed.end());
  broken = false;
  REQUIRE(f.await_service(Truth::yes));
  CHECK(registry.resolved == 1);
}

TEST_CASE("an image that was collected comes again for the next revision that needs it") {
  ControlFixture f;
  FakeRegistry registry(f);
  f.start();
  f.apply_service("", "", far_image);
  REQUIRE(f.await_service(Truth::yes));
  REQUIRE(f.images.collect_garbage({}, std::chrono::seconds(0)));
  f.apply_service("env: [{name: A, value: b}]", "", far_image);
  REQUIRE(f.until([&] { return f.settled(model::revision_kind(), "hello-00002", Truth::yes); }));
  CHECK(registry.pulled == 2);
}

TEST_CASE("pull policy and the namespace's pull secrets reach the registry") {
  ControlFixture f;
  FakeRegistry registry(f);
  f.start();
  const auto make_secret = [&](const std::string& name, const std::string& key, const std::string& text) {
    f.apply(model::secret_kind(),
            f.yaml("metadata: {name: " + name + "}\ntype: Opaque\ndata: {" + key + ": " + base64_encode(text) + "}"));
  };
  make_secret("box", ".dockerconfigjson", "{\"auths\": {}}");
  make_secret("other", "password", "x");
  f.apply(model::service_kind(),
          f.yaml("metadata: {name: hello}\nspec: {template: {spec: {imagePullSecrets: [{name: gone}, {name: other}, "
                 "{name: box}], containers: [{image: \"box:5000/hello:v1\", imagePullPolicy: Always}]}}}"));
  REQUIRE(f.await_service(Truth::yes));
  CHECK(registry.policies == std::vector{PullPolicy::always});
  CHECK(registry.configs == std::vector<std::string>{"{\"auths\": {}}"});
}

TEST_CASE("a pull secret that comes later is taken at once") {
  ControlFixture f;
  f.options.retry_first = std::chrono::hours(1);
  f.options.retry_max = std::chrono::hours(1);
  FakeRegistry registry(f);
  registry.failure = Error(Errc::denied, "401");
  f.start();
  f.apply(model::service_kind(), f.yaml("metadata: {name: hello}\nspec: {template: {spec: {imagePullSecrets: [{name: "
                                        "box}], containers: [{image: \"box:5000/hello:v1\"}]}}}"));
  REQUIRE(f.await_service(Truth::no));
  registry.failure.reset();
  f.apply(model::secret_kind(),
          f.yaml("metadata: {name: box}\ntype: Opaque\ndata: {.dockerconfigjson: " + base64_encode("{}") + "}"));
  REQUIRE(f.await_service(Truth::yes));
  CHECK(registry.configs == std::vector<std::string>{"{}"});
}

}  // namespace wick
