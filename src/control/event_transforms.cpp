#include "control/event_transforms.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "control/event_access.hpp"
#include "control/subscribing.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/event_transform.hpp"
#include "wick/eventing/transform.hpp"

namespace wick::control {

namespace {

constexpr milliseconds sink_limit{60'000};                          // who sent the event waits so long for the sink
constexpr std::string_view hops_field = "Knative-Wick-Transforms";  // how many transforms an event came through
constexpr std::uint64_t hops_max = 16;                              // one whose sink is itself ends here

/// What spec says, ready to be applied.
struct EventTransform {
  std::string name;  // "namespace/name", for messages
  eventing::Transform expression;
  std::optional<eventing::Destination> sink;
  std::optional<eventing::Transform> reply;
  bool discards = false;
};
using EventTransformPointer = std::shared_ptr<const EventTransform>;

http::Response refused(int status, const EventTransform& transform, const Error& error) {
  http::Response response{.head = {.status = status},
                          .body = fmt::format("EventTransform {}: {}\n", transform.name, error.what())};
  response.head.fields.set("Content-Type", "text/plain; charset=utf-8");
  return response;
}

http::Response answer_with(std::optional<std::string> json) {
  if (!json) return {.head = {.status = 202}};  // never a reply (eventing.md 2.1, D4)
  const bool is_event = eventing::decode_json(*json).has_value();
  http::Response response{.head = {.status = 200}, .body = std::move(*json)};
  response.head.fields.set("Content-Type", is_event ? "application/cloudevents+json" : "application/json");
  return response;
}

/// On a worker: an expression may take as long as its bounds say.
awaitable<Result<std::optional<std::string>>> apply_on_worker(WorkerPool& workers, eventing::Transform transform,
                                                              std::string json) {
  auto work = [transform = std::move(transform), json = std::move(json)] { return transform.apply(json); };
  co_return co_await workers.run(std::move(work));
}

/// The sink's answer as JSON: an event in the JSON event format, or the body.
Result<std::string> json_of(const http::Response& answer) {
  if (eventing::claims_event(answer.head.fields)) {
    auto events = eventing::decode_message(answer.head.fields, answer.body);
    if (!events) return fail(std::move(events.error()).within("the sink's answer"));
    if (events->size() != 1) return fail(Errc::invalid, "the sink answered with a batch of events, not with one");
    return eventing::encode_json(events->front());
  }
  return answer.body;
}

http::Response passed_back(http::Response answer) {
  http::Response response{.head = {.status = answer.head.status}, .body = std::move(answer.body)};
  for (const auto& field : answer.head.fields)
    if (iequals(field.name, "Content-Type") || to_lower(field.name).starts_with("ce-") ||
        iequals(field.name, "Retry-After"))
      response.head.fields.add(field.name, field.value);
  return response;
}

awaitable<http::Response> send_on(World& world, EventTransformPointer transform, std::string json,
                                  http::Fields fields) {
  http::Request request{.head = {.method = "POST", .fields = std::move(fields)}};
  if (const auto event = eventing::decode_json(json)) {
    request.body = eventing::encode_binary(*event, request.head.fields);
  } else {
    request.head.fields.set("Content-Type", "application/json");
    request.body = std::move(json);
  }
  const auto hops = parse_unsigned(request.head.fields.find(hops_field).value_or("0")).value_or(0) + 1;
  if (hops > hops_max) {
    const Error error(Errc::invalid,
                      fmt::format("the event came through {} transforms: one sends to itself", hops_max));
    co_return refused(422, *transform, error);
  }
  request.head.fields.set(std::string(hops_field), std::to_string(hops));
  if (!transform->discards) request.head.fields.set("Prefer", "reply");
  auto answer = co_await world.with.eventing.send(*transform->sink, std::move(request), sink_limit);
  if (!answer) {
    const bool late = answer.error().code() == Errc::timed_out;
    co_return refused(late ? 504 : 502, *transform, std::move(answer.error()).within("sink"));
  }
  const bool taken = answer->head.status >= 200 && answer->head.status < 300;
  if (!taken) co_return passed_back(std::move(*answer));
  if (transform->discards) co_return http::Response{.head = {.status = 202}};
  if (!transform->reply || answer->body.empty()) co_return passed_back(std::move(*answer));
  auto text = json_of(*answer);
  if (!text) co_return refused(502, *transform, text.error());
  auto result = co_await apply_on_worker(world.with.workers, *transform->reply, std::move(*text));
  if (!result) co_return refused(422, *transform, std::move(result.error()).within("spec.reply.jsonata.expression"));
  co_return answer_with(std::move(*result));
}

awaitable<http::Response> take_event(World& world, EventTransformPointer transform, eventing::CloudEvent event,
                                     http::Fields fields) {
  auto result = co_await apply_on_worker(world.with.workers, transform->expression, eventing::encode_json(event));
  if (!result) co_return refused(422, *transform, std::move(result.error()).within("spec.jsonata.expression"));
  if (!*result || !transform->sink) co_return answer_with(std::move(*result));
  co_return co_await send_on(world, std::move(transform), std::move(**result), std::move(fields));
}

/// Errors: invalid. What admission let in parses, but for what was stored by another version.
Result<EventTransform> read(const json::object& object, const std::optional<model::Destination>& sink) {
  const auto parse = [&](std::initializer_list<std::string_view> path, std::string_view field) {
    auto parsed = eventing::Transform::parse(model::text_at(object, path));
    if (!parsed) return Result<eventing::Transform>(fail(std::move(parsed.error()).within(std::string(field))));
    return parsed;
  };
  auto expression = parse({"spec", "jsonata", "expression"}, "spec.jsonata.expression");
  if (!expression) return fail(std::move(expression.error()));
  EventTransform transform{.name = namespace_of(object) + "/" + name_of(object),
                           .expression = std::move(*expression),
                           .sink = {},
                           .reply = {}};
  if (sink) {
    transform.sink = to_eventing(*sink, namespace_of(object));
    transform.sink->sender = identity_of(event_transform_kind(), namespace_of(object), name_of(object));
  }
  if (model::find_value(object, {"spec", "reply", "jsonata", "expression"})) {
    auto reply = parse({"spec", "reply", "jsonata", "expression"}, "spec.reply.jsonata.expression");
    if (!reply) return fail(std::move(reply.error()));
    transform.reply = std::move(*reply);
  }
  const auto* discard = model::find_value(object, {"spec", "reply", "discard"});
  transform.discards = discard && discard->is_bool() && discard->get_bool();
  return transform;
}

std::optional<model::Destination> sink_in(const json::object& object) {
  const auto* sink = model::find_value(object, {"spec", "sink"});
  if (!sink || !sink->is_object()) return std::nullopt;
  model::FieldErrors ignored;
  model::ObjectReader root(object, ignored);
  return model::decode_destination(root.object("spec").object("sink"), namespace_of(object));
}

void judge_sink(World& world, const std::optional<model::Destination>& sink, const std::string& name_space,
                model::Conditions& conditions, json::object& status) {
  if (!sink) {
    conditions.mark_true("SinkResolved", "SinkNotConfigured", "The result is the answer to who sent the event.");
    return;
  }
  const auto resolved = resolve(world, *sink, name_space);
  if (resolved.problem.empty()) {
    conditions.mark_true("SinkResolved");
    status["sinkUri"] = resolved.uri;
  } else {
    conditions.mark_false("SinkResolved", "NotFound", resolved.problem);
  }
}

}  // namespace

const model::Kind& event_transform_kind() {
  static const model::Kind& kind = *model::find_stored_kind("eventtransforms.eventing.knative.dev");
  return kind;
}

awaitable<Result<void>> reconcile_event_transform(World& world, ObjectKey key) {
  const auto& kind = event_transform_kind();
  const auto name = eventing::event_transform_sink(key.name);
  const auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_sink(key.name_space, name);
    world.with.eventing.remove_access_rules(key.name_space, name);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"Addressable", "TransformationReady", "SinkResolved", "EventPoliciesReady"},
                               *object, world.now());
  conditions.mark_true("Addressable");
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"address", {{"name", "http"}, {"url", address_of(kind, key.name_space, key.name)}}}};
  const auto sink = sink_in(*object);
  judge_sink(world, sink, key.name_space, conditions, status);
  judge_policies(world, kind, *object, name, conditions, status);
  auto transform = read(*object, sink);
  if (transform) {
    conditions.mark_true("TransformationReady");
    auto shared = std::make_shared<const EventTransform>(std::move(*transform));
    world.with.eventing.set_sink({.name_space = key.name_space,
                                  .name = name,
                                  .take = [&world, shared](eventing::CloudEvent event, http::Fields fields) {
                                    return take_event(world, shared, std::move(event), std::move(fields));
                                  }});
  } else {
    conditions.mark_false("TransformationReady", "ExpressionInvalid", transform.error().what());
    world.with.eventing.remove_sink(key.name_space, name);
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
