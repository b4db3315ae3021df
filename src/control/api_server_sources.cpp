// ApiServerSource (sources.knative.dev/v1): changes of objects as events (pkg/adapter/apiserver). The API server is
// Wick's own: what is in the object table can be watched. Views that are made when they are asked for (pods, events)
// are not in it, and Secrets stay where they are.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <deque>

#include "control/event_access.hpp"
#include "control/reconcilers.hpp"
#include "control/sources.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/eventing/filter.hpp"

namespace wick::control {

namespace {

using model::Truth;

constexpr std::string_view api_server = "https://kubernetes.default.svc.cluster.local";
constexpr std::size_t changes_waiting_max =
    10'000;  // of one source while its stream takes nothing; the newest are lost
constexpr auto change_retry = 1s;

/// What is left of an object that others may see: no managedFields, as `kubectl get` shows it.
json::object shown(const json::object& object) {
  auto copy = object;
  if (auto* metadata = model::object_if(copy, {"metadata"})) metadata->erase("managedFields");
  return copy;
}

json::object reference_of(const json::object& object, bool to_controller) {
  if (const auto* owners = model::find_value(object, {"metadata", "ownerReferences"});
      to_controller && owners && owners->is_array())
    for (const auto& owner : owners->get_array())
      if (const auto* controller = owner.as_object().if_contains("controller"); controller && *controller == true)
        return {{"kind", model::text_at(owner.as_object(), {"kind"})},
                {"namespace", namespace_of(object)},
                {"name", model::text_at(owner.as_object(), {"name"})},
                {"apiVersion", model::text_at(owner.as_object(), {"apiVersion"})}};
  return {{"kind", model::text_at(object, {"kind"})},
          {"namespace", namespace_of(object)},
          {"name", name_of(object)},
          {"apiVersion", model::text_at(object, {"apiVersion"})}};
}

std::string_view verb_of(store::Change::Type type) {
  switch (type) {
    case store::Change::Type::added:
      return "add";
    case store::Change::Type::deleted:
      return "delete";
    case store::Change::Type::modified:
      break;
  }
  return "update";
}

/// spec.owner: an object passes when an owner of it is of this kind.
bool is_owned_by_kind(const json::object& object, const std::string& api_version, const std::string& kind) {
  const auto* owners = model::find_value(object, {"metadata", "ownerReferences"});
  if (!owners || !owners->is_array()) return false;
  return std::ranges::any_of(owners->get_array(), [&](const json::value& owner) {
    return model::text_at(owner.as_object(), {"kind"}) == kind &&
           model::text_at(owner.as_object(), {"apiVersion"}) == api_version;
  });
}

}  // namespace

struct ApiServerSources::Watching {
  explicit Watching(Executor executor) : task(executor) {}
  struct Wanted {
    const model::Kind* kind;
    json::object selector;
  };
  ObjectKey key;
  std::int64_t generation = 0;
  std::string uid;
  std::string stream;
  json::object source;
  std::vector<Wanted> wanted;
  bool whole_objects = false;
  std::set<std::string> namespaces;
  eventing::Matcher filter;
  std::deque<eventing::CloudEvent> waiting;
  bool sending = false;
  TaskGroup task;

  bool wants(const model::Kind& kind, const json::object& object) const {
    if (kind.namespaced && !namespaces.contains(namespace_of(object))) return false;
    const auto owner_kind = model::text_at(source, {"spec", "owner", "kind"});
    if (!owner_kind.empty() &&
        !is_owned_by_kind(object, model::text_at(source, {"spec", "owner", "apiVersion"}), owner_kind))
      return false;
    return std::ranges::any_of(wanted, [&](const Wanted& one) {
      return one.kind == &kind && (one.selector.empty() || selects(one.selector, labels_of(object)));
    });
  }

  eventing::CloudEvent event_of(const store::Change& change, WallTime now) const {
    const auto& object = *change.object;
    const auto version = model::text_at(object, {"apiVersion"}), kind = model::text_at(object, {"kind"});
    auto event = source_event(
        source, fmt::format("dev.knative.apiserver.{}.{}", whole_objects ? "resource" : "ref", verb_of(change.type)),
        std::string(api_server), now);
    event.attributes["subject"] =
        fmt::format("/apis/{}/namespaces/{}/{}s/{}", version, namespace_of(object), to_lower(kind), name_of(object));
    event.attributes["datacontenttype"] = std::string("application/json");
    event.attributes["kind"] = kind;
    event.attributes["apiversion"] = version;
    event.attributes["name"] = name_of(object);
    if (!namespace_of(object).empty()) event.attributes["namespace"] = namespace_of(object);
    for (auto& [name, value] : extensions_of(source)) event.attributes[name] = value;
    const bool to_controller = !model::text_at(source, {"spec", "owner", "kind"}).empty();
    event.data = json::serialize(whole_objects ? shown(object) : reference_of(object, to_controller));
    return event;
  }
};

ApiServerSources::ApiServerSources(World& world) : world_(world) {}
ApiServerSources::~ApiServerSources() = default;

awaitable<void> ApiServerSources::end(ObjectKey key) {
  const auto found = watching_.find(key);
  if (found == watching_.end()) co_return;
  const auto watching = found->second;
  watching_.erase(found);
  co_await watching->task.stop();
}

awaitable<void> ApiServerSources::stop() {
  while (!watching_.empty()) co_await end(watching_.begin()->first);
}

void ApiServerSources::on_change(const model::Kind& kind, const store::Change& change) {
  for (const auto& [key, watching] : watching_) {
    if (!watching->wants(kind, *change.object)) continue;
    auto event = watching->event_of(change, world_.now());
    if (!watching->filter.passes(event)) continue;
    if (watching->waiting.size() >= changes_waiting_max) {
      log::warn("change not told: too many wait", {{"source", key.name}, {"of", name_of(*change.object)}});
      continue;
    }
    watching->waiting.push_back(std::move(event));
    if (watching->sending) continue;
    watching->sending = true;
    watching->task.spawn("api server source " + key.name, send_waiting(watching));
  }
}

awaitable<void> ApiServerSources::send_waiting(std::shared_ptr<Watching> watching) {
  while (!watching->waiting.empty()) {
    auto sender = source_sender(model::api_server_source_kind(), watching->key);
    auto sent = co_await world_.with.eventing.emit(watching->stream, watching->waiting.front(), {}, std::move(sender));
    if (sent || sent.error().code() == Errc::invalid) {
      if (!sent) log::warn("change not told", {{"source", watching->key.name}, {"error", sent.error().what()}});
      watching->waiting.pop_front();
    } else {
      co_await world_.with.clock.sleep(change_retry);
    }
  }
  watching->sending = false;
}

/// Own namespace, or those whose labels spec.namespaceSelector picks.
std::set<std::string> ApiServerSources::namespaces_of(const json::object& source) const {
  const auto* selector = model::find_value(source, {"spec", "namespaceSelector"});
  if (!selector || !selector->is_object()) return {namespace_of(source)};
  std::set<std::string> found;
  for (const auto& name_space : world_.objects().list(model::namespace_kind().resource()))
    if (selects(selector->get_object(), labels_of(*name_space))) found.insert(name_of(*name_space));
  return found;
}

/// What a source cannot have is said in a condition; nullptr then.
std::shared_ptr<ApiServerSources::Watching> ApiServerSources::read(const json::object& source,
                                                                   model::Conditions& conditions) {
  auto watching = std::make_shared<Watching>(world_.with.executor);
  watching->uid = uid_of(source);
  watching->generation = generation_of(source);
  watching->source = source;
  watching->whole_objects = model::text_at(source, {"spec", "mode"}) == "Resource";
  watching->namespaces = namespaces_of(source);
  for (const auto& element : source.at("spec").at("resources").as_array()) {
    const auto& resource = element.as_object();
    const auto version = model::text_at(resource, {"apiVersion"}), name = model::text_at(resource, {"kind"});
    const auto* found = model::find_kind_by_name(version, name);
    const auto* kind = found ? model::find_stored_kind(found->resource()) : nullptr;
    if (!kind) {
      conditions.mark_false(
          "Deployed", "ResourceNotWatchable",
          fmt::format("{} {} is not kept here, so its changes are not seen", printable(version), printable(name)));
      return nullptr;
    }
    if (kind == &model::secret_kind()) {
      conditions.mark_false("SufficientPermissions", "SecretsNotAllowed", "Secrets are not sent as events");
      return nullptr;
    }
    const auto* selector = resource.if_contains("selector");
    watching->wanted.push_back({kind, selector && selector->is_object() ? selector->get_object() : json::object()});
  }
  const auto* given = model::find_value(source, {"spec", "filters"});
  auto filters = eventing::filters_from_json(given ? *given : json::value());
  auto matcher = filters ? eventing::Matcher::compile({}, *filters) : Result<eventing::Matcher>(eventing::Matcher());
  if (!filters || !matcher) {
    conditions.mark_false("Deployed", "FilterInvalid", (filters ? matcher.error() : filters.error()).what());
    return nullptr;
  }
  watching->filter = *matcher;
  return watching;
}

awaitable<Result<void>> ApiServerSources::reconcile(ObjectKey key) {
  const auto& kind = model::api_server_source_kind();
  const auto object = world_.objects().find(key);
  if (!object) {
    co_await end(key);
    disconnect_sink(world_, kind, key);
    co_return Result<void>();
  }
  model::Conditions conditions("Ready", {"SinkProvided", "Deployed", "SufficientPermissions", "OIDCIdentityCreated"},
                               *object, world_.now());
  conditions.mark_true("Deployed");
  conditions.mark_true("SufficientPermissions");
  const bool whole = model::text_at(*object, {"spec", "mode"}) == "Resource";
  json::array attributes;
  for (const auto verb : {"add", "delete", "update"})
    attributes.push_back({{"type", fmt::format("dev.knative.apiserver.{}.{}", whole ? "resource" : "ref", verb)},
                          {"source", api_server}});
  json::object status{{"observedGeneration", generation_of(*object)}, {"ceAttributes", std::move(attributes)}};
  judge_identity(world_, kind, key, conditions, status);
  const auto sink = co_await connect_sink(world_, kind, key, *object, conditions, status);
  auto next = read(*object, conditions);
  if (next) {
    json::array namespaces;
    for (const auto& name : next->namespaces) namespaces.emplace_back(name);
    status["namespaces"] = std::move(namespaces);
  }
  const auto found = watching_.find(key);
  if (!next || sink.stream.empty()) {
    co_await end(key);
  } else if (found == watching_.end() || found->second->generation != next->generation ||
             found->second->uid != next->uid || found->second->stream != sink.stream ||
             found->second->namespaces != next->namespaces) {
    // What waits goes on with the new one.
    next->key = key;
    next->stream = sink.stream;
    if (found != watching_.end()) next->waiting = std::move(found->second->waiting);
    co_await end(key);
    watching_[key] = next;
    if (!next->waiting.empty()) {
      next->sending = true;
      next->task.spawn("api server source " + key.name, send_waiting(next));
    }
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
