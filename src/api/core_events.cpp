#include "api/core_events.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

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

bool is_told_of(const model::Kind& kind) {
  return kind.group == "serving.knative.dev" || kind.group == "eventing.knative.dev";
}

std::string_view component_of(const model::Kind& kind) {
  if (&kind == &model::service_kind()) return "service-controller";
  if (&kind == &model::configuration_kind()) return "configuration-controller";
  if (&kind == &model::revision_kind()) return "revision-controller";
  if (&kind == &model::route_kind()) return "route-controller";
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
      for (const auto& object : objects_.list(kind.resource()))
        before_[{kind.resource(), model::text_at(*object, {"metadata", "namespace"}),
                 model::text_at(*object, {"metadata", "name"})}] = object;
  subscription_ = objects_.subscribe([this](const store::Change& change) { on_change(change); });
}

std::vector<json::object> CoreEvents::list() {
  forget_old();
  std::vector<json::object> events;
  for (const auto& told : told_) events.push_back(told.event);
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
  auto& before = before_[change.key];
  if (before)
    on_modified(*kind, *before, *change.object);
  else
    on_created(*kind, *change.object);
  before = change.object;
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

void CoreEvents::on_modified(const model::Kind& kind, const json::object& before, const json::object& after) {
  const auto was = model::find_condition(before, "Ready");
  const auto is = model::find_condition(after, "Ready");
  const auto latest = model::text_at(after, {"status", "latestReadyRevisionName"});
  const bool is_configuration = &kind == &model::configuration_kind();
  if (is_configuration && !latest.empty() && latest != model::text_at(before, {"status", "latestReadyRevisionName"}))
    tell(kind, after, "Normal", "LatestReadyUpdate", fmt::format("LatestReadyRevisionName updated to \"{}\"", latest));
  if (was.status == is.status) return;
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
  const auto now = clock_.wall();
  const auto when = to_rfc3339(now);
  const auto name = model::text_at(about, {"metadata", "name"});
  const auto name_space = model::text_at(about, {"metadata", "namespace"});
  // Kubernetes' own way of naming an event: the object and a number in hex that no other has.
  const auto number = static_cast<std::uint64_t>(now.time_since_epoch().count()) + ++count_;
  told_.push_back({now,
                   {{"apiVersion", "v1"},
                    {"kind", "Event"},
                    {"metadata",
                     {{"name", fmt::format("{}.{:x}", name, number)},
                      {"namespace", name_space},
                      {"uid", fmt::format("{:08x}-0000-4000-8002-{:012x}", count_, number & 0xffffffffffff)},
                      {"creationTimestamp", when}}},
                    {"involvedObject",
                     {{"apiVersion", kind.api_version()},
                      {"kind", kind.kind},
                      {"namespace", name_space},
                      {"name", name},
                      {"uid", model::text_at(about, {"metadata", "uid"})},
                      {"resourceVersion", model::text_at(about, {"metadata", "resourceVersion"})}}},
                    {"reason", reason},
                    {"message", std::move(message)},
                    {"type", type},
                    {"count", 1},
                    {"firstTimestamp", when},
                    {"lastTimestamp", when},
                    {"source", {{"component", component_of(kind)}}},
                    {"reportingComponent", component_of(kind)}}});
  forget_old();
}

}  // namespace wick::api
