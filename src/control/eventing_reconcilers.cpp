// Brokers and Triggers: what the object says, told to eventing; what is missing, told to the user.
#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "control/event_access.hpp"
#include "control/reconcilers.hpp"
#include "control/subscribing.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/eventing.hpp"

namespace wick::control {

namespace {

/// knative.dev/dependency: the object that has to be ready before the trigger is (pkg/reconciler/broker/trigger).
void judge_dependency(World& world, const model::Metadata& metadata, const std::string& name_space,
                      model::Conditions& conditions) {
  const auto text = metadata.annotation(std::string(dependency_annotation));
  if (text.empty()) return conditions.mark_true("DependencyReady");
  boost::system::error_code error;
  const auto value = json::parse(text, error);
  if (error || !value.is_object())
    return conditions.mark_false("DependencyReady", "ReferenceError",
                                 "Unable to unmarshal objectReference from dependency annotation of trigger: no JSON "
                                 "object");
  const auto& reference = value.get_object();
  const auto version = model::text_at(reference, {"apiVersion"}), kind_name = model::text_at(reference, {"kind"});
  const auto name = model::text_at(reference, {"name"});
  const auto* found = model::find_kind_by_name(version, kind_name);
  const auto* kind = found ? model::find_stored_kind(found->resource()) : nullptr;
  const auto object = kind ? world.objects().find(key_of(*kind, name_space, name)) : nullptr;
  if (!object)
    conditions.mark_false("DependencyReady", "DependencyDoesNotExist",
                          fmt::format("Dependency does not exist: {} {} \"{}\" not found", printable(version),
                                      printable(kind_name), printable(name)));
  else if (!is_current(*object))
    conditions.mark_unknown(
        "DependencyReady", "GenerationNotEqual",
        fmt::format("The dependency's metadata.generation, \"{}\", is not equal to its "
                    "status.observedGeneration, \"{}\".",
                    generation_of(*object), model::integer_at(*object, {"status", "observedGeneration"})));
  else
    conditions.copy("DependencyReady", model::find_condition(*object, "Ready"));
}

}  // namespace

awaitable<Result<void>> ensure_broker(World& world, std::string name_space, std::string name) {
  const auto key = key_of(model::broker_kind(), name_space, name);
  if (world.objects().find(key)) co_return Result<void>();
  json::object broker{{"apiVersion", model::broker_kind().api_version()},
                      {"kind", "Broker"},
                      {"metadata", {{"name", name}, {"namespace", name_space}}}};
  model::apply_defaults(model::broker_kind(), broker);
  auto created = co_await world.objects().create(key, std::move(broker));
  if (!created && created.error().code() != Errc::already_exists) co_return fail(std::move(created.error()));
  co_return Result<void>();
}

awaitable<Result<void>> reconcile_broker(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_broker(key.name_space, key.name);
    world.with.eventing.remove_access_rules(key.name_space, key.name);
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto broker = model::decode_broker(*object, ignored);
  eventing::BrokerSpec spec{.name_space = key.name_space, .name = key.name, .delivery = {}};
  spec.delivery = to_eventing(broker.delivery.value_or(model::Delivery{}), key.name_space);
  if (const auto window = broker.metadata.annotation("wick.dev/dedup-window"); !window.empty())
    if (const auto length = parse_go_duration(window))
      spec.dedup_window = std::chrono::ceil<std::chrono::seconds>(*length);

  model::Conditions conditions("Ready",
                               {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable",
                                "DeadLetterSinkResolved", "EventPoliciesReady"},
                               *object, world.now());
  for (const auto type : {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable"})
    conditions.mark_true(type);
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"address",
       {{"name", "http"},
        {"url", fmt::format("http://{}/{}/{}", world.options.events_address, key.name_space, key.name)}}}};
  judge_dead_letter(world, broker.delivery, key.name_space, conditions, status);
  judge_policies(world, model::broker_kind(), *object, key.name, conditions, status);
  world.with.eventing.set_broker(std::move(spec));
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

awaitable<Result<void>> reconcile_trigger(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_trigger(key.name_space, key.name);
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto trigger = model::decode_trigger(*object, ignored);
  model::Conditions conditions(
      "Ready", {"BrokerReady", "DependencyReady", "DeadLetterSinkResolved", "SubscriberResolved", "SubscriptionReady"},
      *object, world.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  judge_dependency(world, trigger.metadata, key.name_space, conditions);
  judge_dead_letter(world, trigger.delivery, key.name_space, conditions, status);

  if (trigger.broker == "default") {
    auto made = co_await ensure_broker(world, key.name_space, trigger.broker);
    if (!made) co_return made;
  }
  const auto broker = world.objects().find(key_of(model::broker_kind(), key.name_space, trigger.broker));
  if (!broker)
    conditions.mark_false("BrokerReady", "BrokerDoesNotExist",
                          fmt::format("Broker \"{}\" does not exist", trigger.broker));
  else
    conditions.copy("BrokerReady", model::find_condition(*broker, "Ready"));
  const auto subscriber = resolve(world, trigger.subscriber, key.name_space);
  if (subscriber.problem.empty()) {
    conditions.mark_true("SubscriberResolved");
    status["subscriberUri"] = subscriber.uri;
  } else {
    conditions.mark_false("SubscriberResolved", "Unable to get the Subscriber's URI", subscriber.problem);
  }

  // A subscriber that is not there yet is still subscribed: events wait for it (retries, then the dead letter sink),
  // none is missed.
  auto filters = eventing::filters_from_json(trigger.filters);
  if (broker && !filters) {
    conditions.mark_false("SubscriptionReady", "FilterInvalid", filters.error().what());
  } else if (broker) {
    eventing::TriggerSpec spec{.name_space = key.name_space,
                               .name = key.name,
                               .broker = trigger.broker,
                               .filter = trigger.filter,
                               .subscriber = to_eventing(trigger.subscriber, key.name_space),
                               .delivery = {}};
    spec.subscriber.sender = identity_of(model::trigger_kind(), key.name_space, key.name);
    spec.filters = std::move(*filters);
    if (trigger.delivery) spec.delivery = to_eventing(*trigger.delivery, key.name_space);
    // A trigger with a delivery of its own still falls back to the broker's dead letter sink, as Knative's code does.
    if (spec.delivery && !spec.delivery->dead_letter)
      if (const auto inherited = model::decode_broker(*broker, ignored).delivery; inherited && inherited->dead_letter)
        spec.delivery->dead_letter = to_eventing(*inherited->dead_letter, key.name_space);
    // One that was good before goes on as it was: removing it would forget what waits for it.
    if (const auto added = add_annotated(trigger.metadata, spec); !added) {
      conditions.mark_false("SubscriptionReady", "AnnotationInvalid", added.error().what());
    } else {
      world.with.eventing.set_trigger(std::move(spec));
      const bool started = co_await world.with.eventing.await_trigger(key.name_space, key.name, trigger_start_limit);
      if (started) {
        conditions.mark_true("SubscriptionReady");
      } else {
        conditions.mark_unknown("SubscriptionReady", "Starting", "the event log has not taken the trigger yet");
        world.enqueue_after(key, 1s);
      }
    }
  } else {
    world.with.eventing.remove_trigger(key.name_space, key.name);
    conditions.mark_unknown("SubscriptionReady", "BrokerDoesNotExist", "there is no broker to subscribe to");
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
