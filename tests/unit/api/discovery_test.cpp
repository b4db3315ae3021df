#include "api/discovery.hpp"

#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

#include "api/openapi.hpp"
#include "api/request_path.hpp"
#include "api/views.hpp"
#include "wick/model/object_reader.hpp"

using namespace wick;
using namespace wick::api;
namespace json = boost::json;

namespace {

std::vector<Served> served() {
  std::vector<Served> all{{&pod_kind(), false, {"exec", "log"}}};
  for (const auto& kind : model::kinds()) all.push_back({&kind, true, {}});
  return all;
}

}  // namespace

TEST_CASE("discovery names every kind's group, version and resource") {
  const auto get = [](std::string_view path) { return discovery(served(), path_segments(path).value()); };
  CHECK(get("/api").value().at("versions") == json::array{"v1"});
  CHECK(get("/apis").value().at("groups").as_array().size() >= 3);
  CHECK(get("/apis/serving.knative.dev").value().at("preferredVersion").as_object().at("version") == "v1");
  const auto list = get("/apis/serving.knative.dev/v1").value();
  CHECK(list.at("groupVersion") == "serving.knative.dev/v1");
  CHECK(list.at("resources").as_array().at(0).as_object().at("kind") == "Service");
  CHECK_FALSE(get("/apis/none/v1"));
  CHECK_FALSE(get("/api/v2"));
  const auto core = get("/api/v1").value();
  CHECK(core.at("resources").as_array().at(1).as_object().at("name") == "pods/exec");
  CHECK(core.at("resources").as_array().at(1).as_object().at("kind") == "PodExecOptions");
  CHECK(core.at("resources").as_array().at(2).as_object().at("name") == "pods/log");
}

TEST_CASE("the aggregated form has every group and is asked for by name") {
  CHECK(aggregated_version("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json") ==
        "v2");
  CHECK(aggregated_version("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList") == "v2beta1");
  CHECK(aggregated_version("application/json").empty());
  const auto all = aggregated_discovery(served(), false, "v2");
  CHECK(all.at("apiVersion") == "apidiscovery.k8s.io/v2");
  const auto& first = all.at("items").as_array().at(0).as_object();
  CHECK(model::text_at(first, {"metadata", "name"}) == "serving.knative.dev");
  const auto core = aggregated_discovery(served(), true, "v2");
  CHECK(core.at("items").as_array().size() == 1);
}

TEST_CASE("OpenAPI has a document for each group version, with the patch that kubectl looks for") {
  std::vector<const model::Kind*> kinds;
  for (const auto& kind : served()) kinds.push_back(kind.kind);
  const auto index = openapi(kinds, {}, "1").value();
  for (const auto& [place, entry] : index.at("paths").as_object()) {
    INFO(place);
    const auto document = openapi(kinds, path_segments(place).value(), "1");
    REQUIRE(document);
    CHECK_FALSE(model::find_value(*document, {"components", "schemas"})->as_object().empty());
  }
  const auto serving = openapi(kinds, {"apis", "serving.knative.dev", "v1"}, "1").value();
  const auto* patch = model::find_value(
      serving, {"paths", "/apis/serving.knative.dev/v1/namespaces/{namespace}/services/{name}", "patch"});
  REQUIRE(patch);
  CHECK(json::serialize(*patch).find("fieldValidation") != std::string::npos);
  CHECK(model::text_at(patch->as_object(), {"x-kubernetes-group-version-kind", "kind"}) == "Service");
  CHECK_FALSE(openapi(kinds, {"apis", "none", "v1"}, "1"));
}
