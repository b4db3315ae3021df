#include "api/resources.hpp"

#include <fmt/format.h>
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
    co_await resources.handle(exchange, *kind, path, "root");
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
  check(*f.call("PATCH", services + "/hello", "{}", "application/strategic-merge-patch+json"), 415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format (application/strategic-merge-patch+json) - accepted media "
        "types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml");
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

TEST_CASE("a namespace is active and carries its name as a label from the start") {
  ResourcesFixture f;
  const auto made = f.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"team"}})");
  REQUIRE(made->status() == 201);
  CHECK(model::text_at(made->json(), {"status", "phase"}) == "Active");
  CHECK(model::text_at(made->json(), {"metadata", "labels", "kubernetes.io/metadata.name"}) == "team");
}

TEST_CASE("the default namespace cannot be deleted") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"default"}})")->status() == 201);
  CHECK(f.call("DELETE", "/api/v1/namespaces/default")->status() == 403);
  CHECK(f.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"No"}})")->status() == 422);
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

namespace {

std::vector<std::string> managers_of(const json::object& object) {
  std::vector<std::string> managers;
  if (const auto* list = model::find_value(object, {"metadata", "managedFields"}))
    for (const auto& entry : list->as_array())
      managers.push_back(model::text_at(entry.as_object(), {"manager"}) + "/" +
                         model::text_at(entry.as_object(), {"operation"}));
  return managers;
}

const std::string apply_type = "application/apply-patch+yaml";
std::string applied(std::string_view rest) {
  return R"({"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"},"spec":{"template":)" +
         std::string(rest) + "}}";
}

}  // namespace

TEST_CASE("an unknown field is refused when asked strictly, warned of when asked nothing, and never kept") {
  ResourcesFixture f;
  const std::string body =
      R"({"metadata":{"name":"hello"},"spec":{"tmplate":1,"template":{"spec":{"containers":[{"image":"x"}]}}}})";
  const auto strict = f.call("POST", services + "?fieldValidation=Strict", body);
  CHECK(strict->status() == 400);
  CHECK(model::text_at(strict->json(), {"message"}) ==
        "Service in version \"v1\" cannot be handled as a Service: strict decoding error: unknown field "
        "\"spec.tmplate\"");
  const auto warned = f.call("POST", services, body);
  CHECK(warned->status() == 201);
  CHECK(warned->answer->fields.find("Warning") == "299 - \"unknown field \\\"spec.tmplate\\\"\"");
  CHECK_FALSE(warned->json().at("spec").as_object().contains("tmplate"));
  REQUIRE(f.call("DELETE", services + "/hello")->status() == 200);
  CHECK_FALSE(f.call("POST", services + "?fieldValidation=Ignore", body)->answer->fields.find("Warning"));
}

TEST_CASE("a JSON patch is all or nothing") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services, manifest)->status() == 201);
  const std::string type = "application/json-patch+json";
  const auto patched = f.call("PATCH", services + "/hello",
                              R"([{"op":"add","path":"/metadata/labels","value":{"a":"b"}},)"
                              R"({"op":"replace","path":"/spec/template/spec/timeoutSeconds","value":7}])",
                              type);
  REQUIRE(patched->status() == 200);
  CHECK(model::text_at(patched->json(), {"metadata", "labels", "a"}) == "b");
  const auto failed =
      f.call("PATCH", services + "/hello",
             R"([{"op":"remove","path":"/metadata/labels/a"},{"op":"remove","path":"/nothing"}])", type);
  CHECK(failed->status() == 422);
  CHECK(model::text_at(f.call("GET", services + "/hello")->json(), {"metadata", "labels", "a"}) == "b");
}

TEST_CASE("apply creates, keeps what others own, and takes away what it no longer says") {
  ResourcesFixture f;
  const auto target = services + "/hello?fieldManager=ci";
  const auto created =
      f.call("PATCH", target,
             applied(R"({"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"containers":[{"image":"x"}]}})"), apply_type);
  REQUIRE(created->status() == 201);
  CHECK(managers_of(created->json()) == std::vector<std::string>{"ci/Apply"});
  REQUIRE(f.call("PATCH", services + "/hello?fieldManager=person",
                 R"({"spec":{"template":{"metadata":{"labels":{"c":"3"}}}}})", "application/merge-patch+json")
              ->status() == 200);
  const auto again =
      f.call("PATCH", target, applied(R"({"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"image":"x"}]}})"),
             apply_type);
  REQUIRE(again->status() == 200);
  const auto labels = *model::find_value(again->json(), {"spec", "template", "metadata", "labels"});
  CHECK(labels == json::value{{"a", "1"}, {"c", "3"}});
  const auto same =
      f.call("PATCH", target, applied(R"({"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"image":"x"}]}})"),
             apply_type);
  CHECK(same->json() == again->json());
}

TEST_CASE("apply meets a field of another manager: a conflict that names it, and force takes it") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services + "?fieldManager=person", manifest)->status() == 201);
  const auto body = applied(R"({"spec":{"timeoutSeconds":9,"containers":[{"image":"dev.local/hello"}]}})");
  REQUIRE(f.call("PATCH", services + "/hello?fieldManager=person",
                 R"({"spec":{"template":{"spec":{"timeoutSeconds":5}}}})", "application/merge-patch+json")
              ->status() == 200);
  const auto refused = f.call("PATCH", services + "/hello?fieldManager=ci", body, apply_type);
  CHECK(refused->status() == 409);
  const auto causes = model::find_value(refused->json(), {"details", "causes"})->as_array();
  CHECK(json::value(causes).as_array().back().as_object().at("field") == ".spec.template.spec.timeoutSeconds");
  CHECK(causes.back().as_object().at("message") == "conflict with \"person\" using serving.knative.dev/v1");
  const auto forced = f.call("PATCH", services + "/hello?fieldManager=ci&force=true", body, apply_type);
  REQUIRE(forced->status() == 200);
  CHECK(model::integer_at(forced->json(), {"spec", "template", "spec", "timeoutSeconds"}) == 9);
  CHECK(f.call("PATCH", services + "/hello", body, apply_type)->status() == 422);
}

TEST_CASE("a deleted object with finalizers stays until the last of them is gone") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services,
                 R"({"metadata":{"name":"hello","finalizers":["x.dev/y"]},"spec":{"template":{"spec":{"containers":)"
                 R"([{"image":"x"}]}}}})")
              ->status() == 201);
  const auto deleted = f.call("DELETE", services + "/hello");
  CHECK(deleted->status() == 200);
  CHECK(deleted->json().at("kind") == "Service");
  CHECK(model::find_value(deleted->json(), {"metadata", "deletionTimestamp"}));
  REQUIRE(f.call("GET", services + "/hello")->status() == 200);
  CHECK(f.call("PATCH", services + "/hello", R"({"metadata":{"finalizers":null}})", "application/merge-patch+json")
            ->status() == 200);
  CHECK(f.call("GET", services + "/hello")->status() == 404);
}

TEST_CASE("a list in parts is of one state, and a Table has the kind's columns") {
  ResourcesFixture f;
  for (const auto name : {"a", "b", "c"})
    REQUIRE(f.call("POST", "/api/v1/namespaces", fmt::format(R"({{"metadata":{{"name":"{}"}}}})", name))->status() ==
            201);
  const auto first = f.call("GET", "/api/v1/namespaces?limit=2")->json();
  CHECK(first.at("items").as_array().size() == 2);
  CHECK(model::integer_at(first, {"metadata", "remainingItemCount"}) == 1);
  REQUIRE(f.call("DELETE", "/api/v1/namespaces/c")->status() == 200);
  const auto token = http::percent_encode(model::text_at(first, {"metadata", "continue"}));
  const auto rest = f.call("GET", "/api/v1/namespaces?limit=2&continue=" + token)->json();
  CHECK(rest.at("items").as_array().size() == 1);
  CHECK(rest.at("metadata").as_object().at("resourceVersion") ==
        first.at("metadata").as_object().at("resourceVersion"));
  CHECK(f.call("GET", "/api/v1/namespaces?continue=YTox")->status() == 410);
  CHECK(f.call("GET", "/api/v1/namespaces?continue=x")->status() == 400);

  auto exchange = std::make_unique<MemoryExchange>(
      f.loop.get_executor(), "GET", "/api/v1/namespaces", "",
      http::Fields{{"Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}});
  run_on(f.loop, f.handle(*exchange));
  const auto table = exchange->json();
  CHECK(table.at("kind") == "Table");
  std::vector<std::string> columns;
  for (const auto& column : table.at("columnDefinitions").as_array())
    columns.push_back(model::text_at(column.as_object(), {"name"}));
  CHECK(columns == std::vector<std::string>{"Name", "Status", "Age"});
  CHECK(table.at("rows").as_array().at(0).as_object().at("cells").as_array().at(0) == "a");
  CHECK(table.at("rows").as_array().at(0).as_object().at("object").as_object().at("kind") == "PartialObjectMetadata");
}

TEST_CASE("a collection is deleted as far as the selector says") {
  ResourcesFixture f;
  for (const auto name : {"a", "b"})
    REQUIRE(f.call("POST", "/api/v1/namespaces",
                   fmt::format(R"({{"metadata":{{"name":"{0}","labels":{{"team":"{0}"}}}}}})", name))
                ->status() == 201);
  const auto gone = f.call("DELETE", "/api/v1/namespaces?labelSelector=team%3Da")->json();
  CHECK(gone.at("items").as_array().size() == 1);
  CHECK(f.call("GET", "/api/v1/namespaces/a")->status() == 404);
  CHECK(f.call("GET", "/api/v1/namespaces/b")->status() == 200);
}

TEST_CASE("orphaned children lose their owner before it goes") {
  ResourcesFixture f;
  const auto owner = f.call("POST", services, manifest)->json();
  const auto uid = model::text_at(owner, {"metadata", "uid"});
  const json::object child{
      {"metadata",
       {{"name", "child"},
        {"ownerReferences",
         json::array{
             {{"apiVersion", "serving.knative.dev/v1"}, {"kind", "Service"}, {"name", "hello"}, {"uid", uid}}}}}},
      {"spec", {{"template", {{"spec", {{"containers", json::array{{{"image", "x"}}}}}}}}}}};
  REQUIRE(f.call("POST", services, json::serialize(child))->status() == 201);
  REQUIRE(f.call("DELETE", services + "/hello", R"({"propagationPolicy":"Orphan"})")->status() == 200);
  const auto left = f.call("GET", services + "/child")->json();
  CHECK(model::find_value(left, {"metadata", "ownerReferences"})->as_array().empty());
  CHECK(f.call("DELETE", services + "/child", R"({"propagationPolicy":"Sideways"})")->status() == 400);
  CHECK(f.call("DELETE", services + "/child", R"({"preconditions":{"uid":"other"}})")->status() == 409);
}

TEST_CASE("a watch with initial events ends them with a bookmark") {
  ResourcesFixture f;
  REQUIRE(f.call("POST", services, manifest)->status() == 201);
  auto watch = f.stream(services + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true");
  const auto lines = watch->lines();
  REQUIRE(lines.size() == 2);
  CHECK(lines[1].at("type") == "BOOKMARK");
  CHECK(model::text_at(lines[1], {"object", "metadata", "annotations", "k8s.io/initial-events-end"}) == "true");
  run_on(f.loop, f.tasks.stop());
}
