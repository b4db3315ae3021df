// Level-triggered and idempotent: wherever control is stopped, what starts after it ends in the same state.
#include <boost/json/serialize.hpp>

#include "control_fixture.hpp"

using namespace wick;
using model::Truth;

namespace {

/// Takes out what differs from one life to the next.
void strip(json::value& value) {
  if (auto* list = value.if_array())
    for (auto& element : *list) strip(element);
  auto* object = value.if_object();
  if (!object) return;
  for (const auto key :
       {"uid", "resourceVersion", "creationTimestamp", "lastTransitionTime", "serving.knative.dev/serviceUID",
        "serving.knative.dev/configurationUID", "serving.knative.dev/routingStateModified", "desiredReplicas"})
    object->erase(key);
  for (auto& [key, field] : *object) strip(field);
}

std::string state_of(const store::Objects& objects) {
  std::string text;
  for (const auto& kind : model::kinds()) {
    if (!kind.stored) continue;
    for (const auto& object : objects.list(kind.resource())) {
      json::value copy(*object);
      strip(copy);
      text += json::serialize(copy) + "\n";
    }
  }
  return text;
}

struct Life : ControlFixture {
  std::size_t changes = 0;
  store::Objects::Subscription counting = objects->subscribe([this](const store::Change&) { ++changes; });

  void write_intent() {
    apply(model::secret_kind(), yaml("metadata: {name: keys}\nstringData: {TOKEN: x}"));
    apply_service("envFrom: [{secretRef: {name: keys}}]",
                  "traffic: [{latestRevision: true, percent: 100, tag: current}],");
    apply(
        model::domain_mapping_kind(),
        yaml(
            "metadata: {name: shop.example.org}\nspec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: "
            "hello}}"));
  }
  bool is_done() {
    return settled(model::service_kind(), "hello", Truth::yes) &&
           settled(model::domain_mapping_kind(), "shop.example.org", Truth::yes) &&
           model::text_at(get(model::revision_kind(), "hello-00001"),
                          {"metadata", "labels", model::names::routing_state}) == "active" &&
           model::find_condition(get(model::revision_kind(), "hello-00001"), "Active").status == Truth::yes;
  }
  /// Stops control once `limit` writes were seen, or at the end.
  bool run_until(std::size_t limit) {
    REQUIRE(until([&] { return changes >= limit || is_done(); }));
    const bool done = is_done();
    stop_control();
    return done;
  }
};

}  // namespace

TEST_CASE("control that ends after any of its writes is taken up where it was, and ends in the same state") {
  std::string expected;
  std::size_t writes = 0;
  {
    Life whole;
    whole.start();
    whole.write_intent();
    int calm = 0;  // looks in a row that saw the same
    REQUIRE(whole.until([&] {
      auto now = state_of(*whole.objects);
      calm = whole.is_done() && now == expected ? calm + 1 : 0;
      expected = std::move(now);
      return calm > 20;
    }));
    writes = whole.changes;
  }
  REQUIRE(writes > 10);
  for (std::size_t limit = 1; limit <= writes; ++limit) {
    INFO("stopped after write " << limit << " of " << writes);
    Life life;
    life.start();
    life.write_intent();
    life.run_until(limit);
    life.start();
    life.until([&] { return life.is_done() && state_of(*life.objects) == expected; });
    CHECK(state_of(*life.objects) == expected);
    CHECK(life.objects->list(model::revision_kind().resource()).size() == 1);
  }
}
