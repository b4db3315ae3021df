#include "api/resources.hpp"

#include <catch2/catch.hpp>

#include "memory_exchange.hpp"
#include "support/fake_clock.hpp"
#include "support/run_loop.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::api;

namespace {

const std::string services = "/apis/serving.knative.dev/v1/namespaces/default/services";
const std::string manifest =
    R"({"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello","creationTimestamp":null},)"
    R"("spec":{"template":{"spec":{"containers":[{"image":"dev.local/hello","name":""}]}}},"status":{}})";

struct ResourcesFixture {
  asio::io_context loop{1};
  SteadyClock clock;
  std::unique_ptr<store::Database> database = store::Database::open(":memory:", store::Objects::migrations()).value();
  std::unique_ptr<store::Objects> objects = store::Objects::open(*database, clock).value();
  std::vector<std::string> ensured;
  Resources resources{*objects, clock, [this](std::string name) { return ensure(std::move(name)); }};
  TaskGroup tasks{loop.get_executor()};

  awaitable<Result<void>> ensure(std::string name) {
    ensured.push_back(std::move(name));
    co_return Result<void>();
  }
  awaitable<void> handle(MemoryExchange& exchange) {
    const auto path = parse_resource_path(path_segments(exchange.head().path()).value()).value();
    const auto* kind = model::find_kind(path.group, path.version, path.plural);
    co_await resources.handle(exchange, *kind, path);
  }
  std::unique_ptr<MemoryExchange> open(std::string method, std::string target, std::string body = {},
                                       std::string type = "application/json") {
    return std::make_unique<MemoryExchange>(loop.get_executor(), std::move(method), std::move(target), std::move(body),
                                            http::Fields{{"Content-Type", std::move(type)}});
  }
  std::unique_ptr<MemoryExchange> call(std::string method, std::string target, std::string body = {},
                                       std::string type = "application/json") {
    auto exchange = open(std::move(method), std::move(target), std::move(body), std::move(type));
    run_on(loop, handle(*exchange));
    return exchange;
  }
  /// A stream that goes on beside the test.
  std::unique_ptr<MemoryExchange> stream(std::string target) {
    auto exchange = open("GET", std::move(target));
    tasks.spawn("stream", handle(*exchange));
    settle();
    return exchange;
  }
  void settle() {
    loop.restart();
    loop.poll();
  }
};

}  // namespace

TEST_CASE("a service is created with defaults, read, listed and deleted") {
  ResourcesFixture f;
  const auto created = f.call("POST", services, manifest);
  REQUIRE(created->status() == 201);
  CHECK(f.ensured == std::vector<std::string>{"default"});
  const auto service = created->json();
  CHECK(model::text_at(service, {"metadata", "namespace"}) == "default");
  CHECK(model::text_at(service, {"metadata", "annotations", model::names::creator}) == "root");
  CHECK(model::integer_at(service, {"metadata", "generation"}) == 1);
  CHECK(model::integer_at(service, {"spec", "template", "spec", "timeoutSeconds"}) == 300);
  CHECK_FALSE(service.contains("status"));
  CHECK(f.call("GET", services + "/hello")->json() == service);

  const auto list = f.call("GET", services)->json();
  CHECK(list.at("kind") == "ServiceList");
  CHECK(list.at("items").as_array().size() == 1);
  CHECK(f.call("GET", "/apis/serving.knative.dev/v1/services")->json().at("items").as_array().size() == 1);
  CHECK(f.call("GET", services + "?fieldSelector=metadata.name%3Dother")->json().at("items").as_array().empty());
  CHECK(f.call("GET", services + "?labelSelector=a%3Db")->json().at("items").as_array().empty());

  const auto removed = f.call("DELETE", services + "/hello", R"({"propagationPolicy":"Background"})");
  CHECK(removed->status() == 200);
  CHECK(removed->json().at("status") == "Success");
  CHECK(f.call("GET", services + "/hello")->status() == 404);
}

TEST_CASE("a manifest may be YAML, and a generated name is made") {
  ResourcesFixture f;
  const auto created =
      f.call("POST", services, "metadata: {generateName: hello-}\nspec: {template: {spec: {containers: [{image: x}]}}}",
             "application/yaml");
  REQUIRE(created->status() == 201);
  const auto name = model::text_at(created->json(), {"metadata", "name"});
  CHECK(name.starts_with("hello-"));
  CHECK(name.size() == 11);
}

TEST_CASE("errors are Kubernetes' Status objects with Wick's slug and hint") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services, manifest)->status() == 201);
  const auto check = [&](const MemoryExchange& answer, int status, std::string_view reason, std::string_view message) {
    CHECK(answer.status() == status);
    const auto object = answer.json();
    CHECK(object.at("kind") == "Status");
    CHECK(object.at("code") == status);
    CHECK(model::text_at(object, {"reason"}) == reason);
    CHECK(model::text_at(object, {"message"}) == message);
    CHECK(model::text_at(object, {"wick", "slug"}).starts_with("E_"));
  };
  check(*f.call("GET", services + "/none"), 404, "NotFound", "services.serving.knative.dev \"none\" not found");
  check(*f.call("POST", services, manifest), 409, "AlreadyExists",
        "services.serving.knative.dev \"hello\" already exists");
  check(*f.call("POST", services, "{"), 400, "BadRequest", "the body is not JSON: incomplete JSON");
  check(*f.call("POST", services, "[]"), 400, "BadRequest", "the body is not an object");
  check(*f.call("POST", services, R"({"kind":"Route"})"), 400, "BadRequest",
        "the kind in the data (Route) does not match the expected kind (Service)");
  check(*f.call("POST", services, R"({"metadata":{"name":"a","namespace":"b"}})"), 400, "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request");
  check(*f.call("POST", services, R"({"metadata":{"name":"a"},"spec":{"template":{"spec":{"containers":[{}]}}}})"), 400,
        "BadRequest",
        "admission webhook \"validation.webhook.serving.knative.dev\" denied the request: validation failed: missing "
        "field(s): "
        "spec.template.spec.containers[0].image");
  check(*f.call("POST", "/apis/serving.knative.dev/v1/namespaces/default/revisions", "{}"), 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource: POST");
  check(
      *f.call("PATCH", services + "/hello", "[]", "application/json-patch+json"), 415, "UnsupportedMediaType",
      "the body of the request was in an unknown format (application/json-patch+json) - accepted media types include: "
      "application/merge-patch+json");
  CHECK(f.call("POST", services, std::string(4 << 20, ' '))->status() == 413);
  CHECK(f.call("GET", services + "?labelSelector=a%20b")->status() == 400);
  CHECK(f.call("GET", services + "/hello/scale")->status() == 404);
}

TEST_CASE("a replace with a stale version is a conflict, and status stays the server's") {
  ResourcesFixture f;
  auto service = f.call("POST", services, manifest)->json();
  const auto stale = service;
  REQUIRE(run_on(f.loop, f.objects->update_status({"services.serving.knative.dev", "default", "hello"},
                                                  json::object{{"url", "http://x"}})));
  service = f.call("GET", services + "/hello")->json();
  model::object_at(service, {"spec", "template", "spec"})["timeoutSeconds"] = 10;
  service["status"] = json::object{{"url", "http://forged"}};
  const auto replaced = f.call("PUT", services + "/hello", json::serialize(service));
  REQUIRE(replaced->status() == 200);
  CHECK(model::integer_at(replaced->json(), {"metadata", "generation"}) == 2);
  CHECK(model::text_at(replaced->json(), {"status", "url"}) == "http://x");
  const auto conflict = f.call("PUT", services + "/hello", json::serialize(stale));
  CHECK(conflict->status() == 409);
  CHECK(conflict->json().at("reason") == "Conflict");
  CHECK(f.call("PUT", services + "/none", manifest)->status() == 400);
}

TEST_CASE("a merge patch changes what it names, and an empty one nothing") {
  ResourcesFixture f;
  const auto before = f.call("POST", services, manifest)->json();
  const std::string type = "application/merge-patch+json";
  const auto same = f.call("PATCH", services + "/hello", "{}", type);
  REQUIRE(same->status() == 200);
  CHECK(same->json() == before);
  const auto patched =
      f.call("PATCH", services + "/hello?fieldManager=kn",
             R"({"metadata":{"labels":{"a":"b"}},"spec":{"template":{"spec":{"timeoutSeconds":5}}}})", type);
  REQUIRE(patched->status() == 200);
  CHECK(model::text_at(patched->json(), {"metadata", "labels", "a"}) == "b");
  CHECK(model::integer_at(patched->json(), {"spec", "template", "spec", "timeoutSeconds"}) == 5);
  CHECK(
      f.call("PATCH", services + "/hello", R"({"spec":{"template":{"spec":{"timeoutSeconds":-5}}}})", type)->status() ==
      400);
  CHECK(f.call("PATCH", services + "/none", "{}", type)->status() == 404);
}

TEST_CASE("a dry run checks and stores nothing") {
  ResourcesFixture f;
  CHECK(f.call("POST", services + "?dryRun=All", manifest)->status() == 201);
  CHECK(f.call("GET", services + "/hello")->status() == 404);
}

TEST_CASE("the default namespace cannot be deleted") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"default"}})")->status() == 201);
  CHECK(f.call("DELETE", "/api/v1/namespaces/default")->status() == 403);
  CHECK(f.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"No"}})")->status() == 400);
}

TEST_CASE("a watch tells what there is, what comes, and ends when the client goes or the time is up") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services, manifest)->status() == 201);
  auto watch = f.stream(services + "?watch=true");
  REQUIRE(watch->lines().size() == 1);
  CHECK(watch->lines()[0].at("type") == "ADDED");
  const auto labelled = f.stream(services + "?watch=true&labelSelector=team%3Da");
  CHECK(labelled->lines().empty());

  const std::string type = "application/merge-patch+json";
  REQUIRE(f.call("PATCH", services + "/hello", R"({"metadata":{"labels":{"team":"a"}}})", type)->status() == 200);
  REQUIRE(f.call("PATCH", services + "/hello", R"({"metadata":{"labels":{"team":"b"}}})", type)->status() == 200);
  REQUIRE(f.call("DELETE", services + "/hello")->status() == 200);
  f.settle();
  std::vector<std::string> types;
  for (const auto& line : watch->lines()) types.push_back(model::text_at(line, {"type"}));
  CHECK(types == std::vector<std::string>{"ADDED", "MODIFIED", "MODIFIED", "DELETED"});
  types.clear();
  for (const auto& line : labelled->lines()) types.push_back(model::text_at(line, {"type"}));
  CHECK(types == std::vector<std::string>{"ADDED", "DELETED"});

  watch->hang_up();
  labelled->hang_up();
  f.settle();
  CHECK(f.tasks.size() == 0);
  run_on(f.loop, f.tasks.stop());
}

TEST_CASE("a watch from a version tells what came since, and 410 when that is no longer known") {
  ResourcesFixture f;
  const auto first = model::text_at(f.call("POST", services, manifest)->json(), {"metadata", "resourceVersion"});
  REQUIRE(f.call("DELETE", services + "/hello")->status() == 200);
  auto watch = f.stream(services + "?watch=true&resourceVersion=" + first);
  REQUIRE(watch->lines().size() == 1);
  CHECK(watch->lines()[0].at("type") == "DELETED");
  run_on(f.loop, f.tasks.stop());
  const auto gone = f.call("GET", services + "?watch=true&resourceVersion=999999");
  CHECK(gone->status() == 410);
  CHECK(gone->json().at("reason") == "Expired");
}
