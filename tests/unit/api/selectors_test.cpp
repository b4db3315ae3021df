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
