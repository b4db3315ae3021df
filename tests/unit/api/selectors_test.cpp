#include "api/selectors.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "api/discovery.hpp"
#include "api/request_path.hpp"
#include "api/resources.hpp"

using namespace wick;
using namespace wick::api;

TEST_CASE("label and field selectors select as Kubernetes' do") {
  const auto object =
      boost::json::parse(R"({"metadata":{"name":"hello","namespace":"default","labels":{"a":"1","b":"x"}}})")
          .as_object();
  const auto [labels, fields, selected] = GENERATE(table<std::string, std::string, bool>({
      {"", "", true},
      {"a=1", "", true},
      {"a==1,b=x", "", true},
      {"a=2", "", false},
      {"a!=2,c!=1", "", true},
      {"a in (1, 2)", "", true},
      {"a notin (1,2)", "", false},
      {"c notin (1)", "", true},
      {"a,!c", "", true},
      {"!a", "", false},
      {"", "metadata.name=hello", true},
      {"", "metadata.name!=hello", false},
      {"", "metadata.namespace=default,metadata.name=other", false},
  }));
  INFO(labels << " " << fields);
  CHECK(Selector::parse(labels, fields).value().matches(object) == selected);
}

TEST_CASE("a selector that cannot be understood is refused") {
  const auto [labels, fields] = GENERATE(table<std::string, std::string>(
      {{"a in 1", ""}, {"=x", ""}, {"a b", ""}, {"a within (1)", ""}, {"", "status.phase=x"}, {"", "metadata.name"}}));
  INFO(labels << fields);
  CHECK(Selector::parse(labels, fields).error().code() == Errc::invalid);
}

TEST_CASE("paths of resources come apart") {
  const auto parse = [](std::string_view path) { return parse_resource_path(path_segments(path).value()); };
  auto path = parse("/apis/serving.knative.dev/v1/namespaces/default/services/hello/status").value();
  CHECK(path.group == "serving.knative.dev");
  CHECK(path.name_space == "default");
  CHECK(path.plural == "services");
  CHECK(path.name == "hello");
  CHECK(path.rest == std::vector<std::string>{"status"});
  CHECK(parse("/apis/serving.knative.dev/v1/services").value().name_space.empty());
  CHECK(parse("/api/v1/namespaces/default").value().plural == "namespaces");
  CHECK(parse("/api/v1/namespaces/default").value().name == "default");
  CHECK_FALSE(parse("/healthz"));
  CHECK_FALSE(path_segments("/a/%zz"));
}

TEST_CASE("merge patches follow RFC 7396") {
  const auto [target, patch, expected] = GENERATE(table<std::string, std::string, std::string>({
      {R"({"a":"b"})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":"b"})", R"({"b":"c"})", R"({"a":"b","b":"c"})"},
      {R"({"a":"b","b":"c"})", R"({"a":null})", R"({"b":"c"})"},
      {R"({"a":["b"]})", R"({"a":"c"})", R"({"a":"c"})"},
      {R"({"a":{"b":"c"}})", R"({"a":{"b":"d","c":null}})", R"({"a":{"b":"d"}})"},
      {R"(["a"])", R"({"a":"b"})", R"({"a":"b"})"},
      {R"({})", R"({"a":{"bb":{"ccc":null}}})", R"({"a":{"bb":{}}})"},
  }));
  auto value = boost::json::parse(target);
  merge_patch(value, boost::json::parse(patch));
  CHECK(value == boost::json::parse(expected));
}

TEST_CASE("discovery names every kind's group, version and resource") {
  const auto get = [](std::string_view path) { return discovery(path_segments(path).value()); };
  CHECK(get("/api").value().at("versions") == boost::json::array{"v1"});
  CHECK(get("/apis").value().at("groups").as_array().size() == 7);
  CHECK(get("/apis/serving.knative.dev").value().at("preferredVersion").as_object().at("version") == "v1");
  const auto list = get("/apis/serving.knative.dev/v1").value();
  CHECK(list.at("groupVersion") == "serving.knative.dev/v1");
  CHECK(list.at("resources").as_array().at(0).as_object().at("kind") == "Service");
  CHECK_FALSE(get("/apis/none/v1"));
  CHECK_FALSE(get("/api/v2"));
}
