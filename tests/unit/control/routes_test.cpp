#include "control/routes.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::control;

namespace {

store::ObjectValue route(std::string_view traffic, std::string_view name = "hello",
                         std::string_view name_space = "default", std::string_view labels = "{}") {
  return std::make_shared<const boost::json::object>(
      boost::json::parse(R"({"metadata":{"name":")" + std::string(name) + R"(","namespace":")" +
                         std::string(name_space) + R"(","labels":)" + std::string(labels) +
                         R"(},"status":{"traffic":)" + std::string(traffic) + "}}")
          .as_object());
}

}  // namespace

TEST_CASE("a route answers on its public, local and localhost names, tags on theirs") {
  const auto table = make_route_table(
      {route(
          R"([{"revisionName":"a","percent":90},{"revisionName":"b","percent":10,"tag":"canary"},{"revisionName":"c","percent":0,"tag":"old"}])")},
      "example.com");
  for (const auto* host : {"hello.default.example.com", "hello.default.svc.cluster.local", "hello.default.svc",
                           "hello.default", "hello.localhost", "HELLO.localhost:8080"}) {
    INFO(host);
    const auto* found = table->match(host);
    REQUIRE(found);
    CHECK(found->service == "hello");
    REQUIRE(found->targets.size() == 2);
    CHECK(found->targets[0].percent == 90);
    CHECK(found->targets[1].revision.name == "b");
  }
  REQUIRE(table->match("canary-hello.default.example.com"));
  CHECK(table->match("canary-hello.default.example.com")->targets.at(0).percent == 100);
  CHECK(table->match("old-hello.localhost")->targets.at(0).revision.name == "c");
  CHECK(table->match("nobody.default.example.com") == nullptr);
}

TEST_CASE("a cluster-local route has no public name, and localhost is for the default namespace") {
  const auto local = route(R"([{"revisionName":"a","percent":100}])", "hello", "default",
                           R"({"networking.knative.dev/visibility":"cluster-local"})");
  CHECK(url_of(*local, "example.com") == "http://hello.default.svc.cluster.local");
  const auto table =
      make_route_table({local, route(R"([{"revisionName":"b","percent":100}])", "other", "team")}, "example.com");
  CHECK(table->match("hello.default.example.com") == nullptr);
  CHECK(table->match("hello.localhost") == nullptr);
  CHECK(table->match("hello.default.svc.cluster.local"));
  CHECK(table->match("other.team.example.com"));
  CHECK(table->match("other.localhost") == nullptr);
}

TEST_CASE("entries of one revision add up and a host claimed twice is reported") {
  std::vector<std::string> conflicts;
  const auto table =
      make_route_table({route(R"([{"revisionName":"a","percent":40},{"revisionName":"a","percent":60}])", "a-b"),
                        route(R"([{"revisionName":"x","percent":100,"tag":"a"}])", "b")},
                       "example.com", &conflicts);
  CHECK(table->match("a-b.default.example.com")->targets.size() == 1);
  CHECK(table->match("a-b.default.example.com")->targets[0].percent == 100);
  CHECK(std::ranges::find(conflicts, "a-b.default.example.com") != conflicts.end());
}
