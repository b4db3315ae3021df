#include "api/core_events.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

constexpr auto start_limit = std::chrono::minutes(1);

json::object schema() {
  const json::object text{{"type", "string"}};
  const json::object open{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}};
  return {{"type", "object"},
          {"description", "Something that happened to an object. Read only."},
          {"properties",
           {{"apiVersion", text},
            {"kind", text},
            {"metadata", open},
            {"involvedObject", open},
            {"reason", text},
            {"message", text},
            {"type", text},
            {"count", {{"type", "integer"}}},
            {"firstTimestamp", text},
            {"lastTimestamp", text},
            {"source", open},
            {"reportingComponent", text}}}};
}

bool is_told_of(const model::Kind& kind) { return kind.group.ends_with(".knative.dev"); }

std::string_view component_of(const model::Kind& kind) {
  if (&kind == &model::service_kind()) return "service-controller";
  if (&kind == &model::configuration_kind()) return "configuration-controller";
  if (&kind == &model::revision_kind()) return "revision-controller";
  if (&kind == &model::route_kind()) return "route-controller";
  if (&kind == &model::ping_source_kind()) return "pingsource-controller";
  return "eventing-controller";
}

}  // namespace

const model::Kind& core_event_kind() {
  static const model::Kind kind{.group = "",
                                .version = "v1",
                                .kind = "Event",
                                .plural = "events",
                                .singular = "event",
                                .short_names = {"ev"},
                                .namespaced = true,
                                .has_status = false,
                                .categories = {},
                                .columns = {{"Last Seen", "date", ".lastTimestamp"},
                                            {"Type", "string", ".type"},
                                            {"Reason", "string", ".reason"},
                                            {"Object", "string", "@object"},
                                            {"Message", "string", ".message"}},
                                .ducks = {},
                                .webhook = {},
                                .stored = true,
                                .schema = schema};
  return kind;
}

CoreEvents::CoreEvents(store::Objects& objects, Clock& clock) : objects_(objects), clock_(clock) {
  for (const auto& kind : model::kinds())
    if (kind.stored && is_told_of(kind))
      for (const auto& object : objects_.list(kind.resource())) {
        before_[{kind.resource(), model::text_at(*object, {"metadata", "namespace"}),
                 model::text_at(*object, {"metadata", "name"})}] = seen_in(*object);
        tell_missed_at_start(kind, *object);
      }
  subscription_ = objects_.subscribe([this](const store::Change& change) { on_change(change); });
}

std::vector<json::object> CoreEvents::list() {
  forget_old();
  std::vector<json::object> events;
  for (const auto& told : told_) events.push_back(event_of(told));
  return events;
}

void CoreEvents::forget_old() {
  const auto now = clock_.wall();
  while (!told_.empty() && (told_.size() > events_max || now - told_.front().when > kept)) told_.pop_front();
}

void CoreEvents::on_change(const store::Change& change) {
  const auto* kind = model::find_stored_kind(change.key.resource);
  if (!kind || !is_told_of(*kind)) return;
  if (change.type == store::Change::Type::deleted) {
    before_.erase(change.key);
    return;
  }
  const auto [before, is_new] = before_.try_emplace(change.key);
  if (is_new)
    on_created(*kind, *change.object);
  else
    on_modified(*kind, before->second, *change.object);
  before->second = seen_in(*change.object);
}

CoreEvents::Seen CoreEvents::seen_in(const json::object& object) {
  return {.ready = model::find_condition(object, "Ready").status,
          .latest_ready = model::text_at(object, {"status", "latestReadyRevisionName"}),
          .missed = model::find_condition(object, "TicksMissed").message};
}

/// Its controller says that it made it.
void CoreEvents::on_created(const model::Kind& kind, const json::object& object) {
  const auto* owners = model::find_value(object, {"metadata", "ownerReferences"});
  if (!owners || !owners->is_array() || owners->get_array().empty()) return;
  const auto* reference = owners->get_array().front().if_object();
  const auto* owner_kind = reference ? model::find_kind_by_name(model::text_at(*reference, {"apiVersion"}),
                                                                model::text_at(*reference, {"kind"}))
                                     : nullptr;
  const auto owner = owner_kind
                         ? objects_.find({owner_kind->resource(), model::text_at(object, {"metadata", "namespace"}),
                                          model::text_at(*reference, {"name"})})
                         : nullptr;
  if (owner)
    tell(*owner_kind, *owner, "Normal", "Created",
         fmt::format("Created {} \"{}\"", kind.kind, model::text_at(object, {"metadata", "name"})));
}

/// Sources find what they missed as they start, which is before anybody can be told.
void CoreEvents::tell_missed_at_start(const model::Kind& kind, const json::object& object) {
  const auto missed = model::find_condition(object, "TicksMissed");
  const auto since = parse_rfc3339(missed.last_transition);
  if (since && clock_.wall() - *since < start_limit) tell(kind, object, "Warning", missed.reason, missed.message);
}

void CoreEvents::on_modified(const model::Kind& kind, const Seen& before, const json::object& after) {
  const auto is = model::find_condition(after, "Ready");
  const auto latest = model::text_at(after, {"status", "latestReadyRevisionName"});
  const bool is_configuration = &kind == &model::configuration_kind();
  if (is_configuration && !latest.empty() && latest != before.latest_ready)
    tell(kind, after, "Normal", "LatestReadyUpdate", fmt::format("LatestReadyRevisionName updated to \"{}\"", latest));
  if (const auto missed = model::find_condition(after, "TicksMissed"); missed.message != before.missed)
    tell(kind, after, "Warning", missed.reason, missed.message);
  if (before.ready == is.status) return;
  if (is.status == model::Truth::yes && &kind == &model::revision_kind())
    tell(kind, after, "Normal", "RevisionReady", "Revision becomes ready upon all resources being ready");
  else if (is.status == model::Truth::yes && is_configuration)
    tell(kind, after, "Normal", "ConfigurationReady", "Configuration becomes ready");
  else if (is.status == model::Truth::no && is_configuration)
    tell(kind, after, "Warning", "LatestCreatedFailed",
         fmt::format("Latest created revision \"{}\" has failed",
                     model::text_at(after, {"status", "latestCreatedRevisionName"})));
  else if (is.status == model::Truth::no)
    tell(kind, after, "Warning", is.reason.empty() ? "InternalError" : is.reason, is.message);
}

void CoreEvents::tell(const model::Kind& kind, const json::object& about, std::string_view type,
                      std::string_view reason, std::string message) {
  told_.push_back({.when = clock_.wall(),
                   .count = ++count_,
                   .kind = &kind,
                   .name_space = std::string(model::text_at(about, {"metadata", "namespace"})),
                   .name = std::string(model::text_at(about, {"metadata", "name"})),
                   .uid = std::string(model::text_at(about, {"metadata", "uid"})),
                   .version = std::string(model::text_at(about, {"metadata", "resourceVersion"})),
                   .type = std::string(type),
                   .reason = std::string(reason),
                   .message = std::move(message)});
  forget_old();
}

json::object CoreEvents::event_of(const Told& told) {
  const auto when = to_rfc3339(told.when);
  // Kubernetes' own way of naming an event: the object and a number in hex that no other has.
  const auto number = static_cast<std::uint64_t>(told.when.time_since_epoch().count()) + told.count;
  const auto component = component_of(*told.kind);
  return {{"apiVersion", "v1"},
          {"kind", "Event"},
          {"metadata",
           {{"name", fmt::format("{}.{:x}", told.name, number)},
            {"namespace", told.name_space},
            {"uid", fmt::format("{:08x}-0000-4000-8002-{:012x}", told.count, number & 0xffffffffffff)},
            {"creationTimestamp", when}}},
          {"involvedObject",
           {{"apiVersion", told.kind->api_version()},
            {"kind", told.kind->kind},
            {"namespace", told.name_space},
            {"name", told.name},
            {"uid", told.uid},
            {"resourceVersion", told.version}}},
          {"reason", told.reason},
          {"message", told.message},
          {"type", told.type},
          {"count", 1},
          {"firstTimestamp", when},
          {"lastTimestamp", when},
          {"source", {{"component", component}}},
          {"reportingComponent", component}};
}

}  // namespace wick::api
