// Brokers and Triggers: what the object says, told to eventing; what is missing, told to the user.
#include <fmt/format.h>

#include "control/reconcilers.hpp"
#include "control/routes.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/eventing.hpp"

namespace wick::control {

namespace {

using model::Truth;

constexpr std::string_view no_dead_letter_sink = "DeadLetterSinkNotConfigured";

eventing::Destination to_eventing(const model::Destination& destination, const std::string& name_space) {
  return {.name_space = destination.name_space.empty() ? name_space : destination.name_space,
          .service = destination.service,
          .url = destination.uri};
}

eventing::Delivery to_eventing(const model::Delivery& delivery, const std::string& name_space) {
  // Only one of policy and delay given: Knative then does not wait between attempts (eventing.md 1.3).
  const bool waits = delivery.backoff && delivery.backoff_delay;
  eventing::Delivery out{.retry = delivery.retry.value_or(0),
                         .backoff_delay = waits ? *delivery.backoff_delay : 0ms,
                         .timeout = delivery.timeout};
  out.backoff = delivery.backoff == model::Delivery::Backoff::linear ? eventing::Delivery::Backoff::linear
                                                                     : eventing::Delivery::Backoff::exponential;
  out.retry_after_max = delivery.retry_after_max;
  if (delivery.format == model::Delivery::Format::json) out.format = eventing::Delivery::Format::json;
  if (delivery.dead_letter) out.dead_letter = to_eventing(*delivery.dead_letter, name_space);
  return out;
}

std::unexpected<Error> wrong(std::string_view annotation, std::string_view wanted, const std::string& found) {
  return fail(Errc::invalid, fmt::format("wick.dev/{} must be {}, not '{}'", annotation, wanted, printable(found)));
}

Result<eventing::StartFrom> start_from(const std::string& text) {
  using Where = eventing::StartFrom::Where;
  if (text.empty() || text == "latest") return eventing::StartFrom{};
  if (text == "earliest") return eventing::StartFrom{.where = Where::earliest};
  if (const auto position = parse_unsigned(text))
    return eventing::StartFrom{.where = Where::position, .position = *position};
  if (const auto time = parse_rfc3339(text)) return eventing::StartFrom{.where = Where::time, .time = *time};
  return wrong("start-from", "latest, earliest, a position of the log or an RFC 3339 time", text);
}

/// What a single box adds to a Trigger: wick.dev/ordering, max-in-flight, start-from and replies. Errors: invalid.
Result<void> add_annotated(const model::Metadata& metadata, eventing::TriggerSpec& spec) {
  const auto ordering = metadata.annotation("wick.dev/ordering");
  if (ordering == "key")
    spec.ordering = eventing::TriggerSpec::Ordering::key;
  else if (ordering == "strict")
    spec.ordering = eventing::TriggerSpec::Ordering::strict;
  else if (!ordering.empty() && ordering != "none")
    return wrong("ordering", "none, key or strict", ordering);
  if (const auto most = metadata.annotation("wick.dev/max-in-flight"); !most.empty()) {
    const auto count = parse_unsigned(most);
    if (!count || *count < 1 || *count > 1000) return wrong("max-in-flight", "1..1000", most);
    spec.in_flight_max = static_cast<int>(*count);
  }
  const auto replies = metadata.annotation("wick.dev/replies");
  if (!replies.empty() && replies != "lenient" && replies != "strict")
    return wrong("replies", "lenient or strict", replies);
  spec.lenient_replies = replies == "lenient";
  auto start = start_from(metadata.annotation("wick.dev/start-from"));
  if (!start) return fail(std::move(start.error()));
  spec.start_from = *start;
  return {};
}

struct Resolved {
  std::string uri;
  std::string problem;  // empty: all is well
};

/// The URI that a destination has now; a Service must exist (C7 of eventing.md 2.2).
Resolved resolve(World& world, const model::Destination& destination, const std::string& name_space) {
  if (destination.service.empty()) return {destination.uri, {}};
  const auto where = destination.name_space.empty() ? name_space : destination.name_space;
  if (!world.objects().find(key_of(model::service_kind(), where, destination.service)))
    return {{}, fmt::format("services.serving.knative.dev \"{}\" not found", destination.service)};
  auto uri = local_url(where, destination.service);
  if (!destination.uri.empty()) uri += destination.uri.starts_with('/') ? destination.uri : "/" + destination.uri;
  return {uri, {}};
}

void judge_dead_letter(World& world, const std::optional<model::Delivery>& delivery, const std::string& name_space,
                       model::Conditions& conditions, json::object& status) {
  if (!delivery || !delivery->dead_letter) {
    conditions.mark_true("DeadLetterSinkResolved", std::string(no_dead_letter_sink),
                         "No dead letter sink is configured.");
    return;
  }
  const auto resolved = resolve(world, *delivery->dead_letter, name_space);
  if (resolved.problem.empty()) {
    conditions.mark_true("DeadLetterSinkResolved");
    status["deadLetterSinkUri"] = resolved.uri;
  } else {
    conditions.mark_false("DeadLetterSinkResolved", "Unable to get the DeadLetterSink's URI", resolved.problem);
  }
}

awaitable<Result<void>> write(World& world, ObjectKey key, json::object status) {
  auto written = co_await world.objects().update_status(std::move(key), std::move(status));
  if (!written && written.error().code() != Errc::not_found) co_return fail(std::move(written.error()));
  co_return Result<void>();
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
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto broker = model::decode_broker(*object, ignored);
  eventing::BrokerSpec spec{.name_space = key.name_space, .name = key.name, .delivery = {}};
  spec.delivery = to_eventing(broker.delivery.value_or(model::Delivery{}), key.name_space);
  if (const auto window = broker.metadata.annotation("wick.dev/dedup-window"); !window.empty())
    if (const auto length = parse_go_duration(window))
      spec.dedup_window = std::chrono::ceil<std::chrono::seconds>(*length);
  world.with.eventing.set_broker(std::move(spec));

  model::Conditions conditions("Ready",
                               {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable",
                                "DeadLetterSinkResolved", "EventPoliciesReady"},
                               *object, world.now());
  for (const auto type : {"IngressReady", "TriggerChannelReady", "FilterReady", "Addressable"})
    conditions.mark_true(type);
  conditions.mark_true("EventPoliciesReady", "DefaultAuthorizationMode",
                       "Default authz mode is \"Allow-Same-Namespace\"");
  json::object status{
      {"observedGeneration", generation_of(*object)},
      {"address",
       {{"name", "http"},
        {"url", fmt::format("http://{}/{}/{}", world.options.events_address, key.name_space, key.name)}}}};
  judge_dead_letter(world, broker.delivery, key.name_space, conditions, status);
  status["conditions"] = conditions.to_json();
  auto written = co_await write(world, std::move(key), std::move(status));
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
  conditions.mark_true("DependencyReady");
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
      conditions.mark_true("SubscriptionReady");
    }
  } else {
    world.with.eventing.remove_trigger(key.name_space, key.name);
    conditions.mark_unknown("SubscriptionReady", "BrokerDoesNotExist", "there is no broker to subscribe to");
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
