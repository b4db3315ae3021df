#include "control/routes.hpp"

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "control/published_routes.hpp"

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

/// What serving would know.
class Table {
 public:
  explicit Table(const std::vector<store::ObjectValue>& routes) {
    for (const auto& route : routes) {
      const auto& metadata = route->at("metadata").as_object();
      set_route(std::string(metadata.at("namespace").as_string()), std::string(metadata.at("name").as_string()), route);
    }
  }
  void set_route(std::string name_space, std::string name, const store::ObjectValue& route) {
    told(published_.set_route({"routes", std::move(name_space), std::move(name)}, route.get()));
  }
  void set_mapping(std::string name_space, std::string name, const store::ObjectValue& mapping) {
    told(published_.set_mapping({"domainmappings", std::move(name_space), std::move(name)}, mapping.get()));
  }
  const serving::Route* match(std::string_view host) const {
    const auto* found = table_.match(host);
    return found ? found->get() : nullptr;
  }
  std::size_t size() const { return table_.size(); }

  std::size_t changes = 0;

 private:
  void told(std::vector<serving::RouteChange> more) {
    changes += more.size();
    for (auto& change : more)
      if (change.route)
        table_.set(change.host, change.route);
      else
        table_.erase(change.host);
  }

  PublishedRoutes published_{"example.com"};
  serving::HostTable<serving::RoutePtr> table_;
};

store::ObjectValue mapping(std::string_view claimed, std::string_view target = "hello") {
  return std::make_shared<const boost::json::object>(
      boost::json::parse(R"({"metadata":{"name":"shop.example.org","namespace":"default"},"spec":{"ref":{"name":")" +
                         std::string(target) +
                         R"("}},"status":{"conditions":[{"type":"ReferenceResolved","status":"True"},)"
                         R"({"type":"DomainClaimed","status":")" +
                         std::string(claimed) + R"("}]}})")
          .as_object());
}

}  // namespace

TEST_CASE("a route answers on its public, local and localhost names, tags on theirs") {
  const Table table({route(
      R"([{"revisionName":"a","percent":90},{"revisionName":"b","percent":10,"tag":"canary"},{"revisionName":"c","percent":0,"tag":"old"}])")});
  for (const auto* host : {"hello.default.example.com", "hello.default.svc.cluster.local", "hello.default.svc",
                           "hello.default", "hello.localhost", "HELLO.localhost:8080"}) {
    INFO(host);
    const auto* found = table.match(host);
    REQUIRE(found);
    CHECK(found->service == "hello");
    REQUIRE(found->targets.size() == 2);
    CHECK(found->targets[0].percent == 90);
    CHECK(found->targets[1].revision.name == "b");
  }
  REQUIRE(table.match("canary-hello.default.example.com"));
  CHECK(table.match("canary-hello.default.example.com")->targets.at(0).percent == 100);
  CHECK(table.match("old-hello.localhost")->targets.at(0).revision.name == "c");
  CHECK(table.match("nobody.default.example.com") == nullptr);
}

TEST_CASE("a cluster-local route has no public name, and localhost is for the default namespace") {
  const auto local = route(R"([{"revisionName":"a","percent":100}])", "hello", "default",
                           R"({"networking.knative.dev/visibility":"cluster-local"})");
  CHECK(url_of(*local, "example.com") == "http://hello.default.svc.cluster.local");
  const Table table({local, route(R"([{"revisionName":"b","percent":100}])", "other", "team")});
  CHECK(table.match("hello.default.example.com") == nullptr);
  CHECK(table.match("hello.localhost") == nullptr);
  CHECK(table.match("hello.default.svc.cluster.local"));
  CHECK(table.match("other.team.example.com"));
  CHECK(table.match("other.localhost") == nullptr);
}

TEST_CASE("entries of one revision add up") {
  const Table table({route(R"([{"revisionName":"a","percent":40},{"revisionName":"a","percent":60}])")});
  REQUIRE(table.match("hello.default.example.com"));
  CHECK(table.match("hello.default.example.com")->targets.size() == 1);
  CHECK(table.match("hello.default.example.com")->targets[0].percent == 100);
}

TEST_CASE("a host that two routes claim is the first one's by name, whoever came first, until it gives it up") {
  const auto first = route(R"([{"revisionName":"first","percent":100}])", "a-b");
  const auto second = route(R"([{"revisionName":"second","percent":100,"tag":"a"}])", "b");
  const auto answering = [](const Table& table) {
    const auto* found = table.match("a-b.default.example.com");
    return found ? found->targets.at(0).revision.name : "nobody";
  };
  for (const auto& order : {std::vector{first, second}, std::vector{second, first}}) {
    Table table(order);
    CHECK(answering(table) == "first");
    table.set_route("default", "a-b", nullptr);
    CHECK(answering(table) == "second");
    table.set_route("default", "a-b", first);
    CHECK(answering(table) == "first");
    table.set_route("default", "b", nullptr);
    CHECK(answering(table) == "first");
    table.set_route("default", "a-b", nullptr);
    CHECK(table.size() == 0);
  }
}

TEST_CASE("a route that says what it said changes nothing, and one that loses a tag takes its names back") {
  const auto tagged = route(R"([{"revisionName":"a","percent":100},{"revisionName":"b","percent":0,"tag":"canary"}])");
  Table table({tagged});
  const auto told = table.changes;
  CHECK(told == 10);
  table.set_route("default", "hello", tagged);
  CHECK(table.changes == told);
  table.set_route("default", "hello", route(R"([{"revisionName":"a","percent":100}])"));
  CHECK_FALSE(table.match("canary-hello.localhost"));
  CHECK(table.match("hello.localhost")->tagged.empty());
  CHECK(table.size() == 5);
}

TEST_CASE("a mapped domain answers as its service does, one without a claim does not") {
  Table table({route(R"([{"revisionName":"a","percent":100}])")});
  table.set_mapping("default", "shop.example.org", mapping("False"));
  CHECK_FALSE(table.match("shop.example.org"));
  table.set_mapping("default", "shop.example.org", mapping("True"));
  REQUIRE(table.match("shop.example.org"));
  CHECK(table.match("shop.example.org")->targets.at(0).revision.name == "a");
  table.set_mapping("default", "shop.example.org", mapping("True", "other"));
  CHECK_FALSE(table.match("shop.example.org"));
  table.set_mapping("default", "shop.example.org", mapping("True"));
  CHECK(table.match("shop.example.org"));
  table.set_mapping("default", "shop.example.org", nullptr);
  CHECK_FALSE(table.match("shop.example.org"));
}
