// delete and deletecollection: propagation, preconditions and finalizers (Kubernetes garbage collection).
#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <expected>

#include "api/answer.hpp"
#include "api/protobuf.hpp"
#include "api/resources.hpp"
#include "api/selectors.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"

namespace wick::api {

namespace {

constexpr int orphan_attempts = 5;

enum class Propagation { background, foreground, orphan };

Result<Propagation> propagation_of(const json::object& options) {
  const auto text = model::text_at(options, {"propagationPolicy"});
  const auto* orphan = model::find_value(options, {"orphanDependents"});
  if (text == "Orphan" || (text.empty() && orphan && *orphan == true)) return Propagation::orphan;
  if (text == "Foreground") return Propagation::foreground;
  if (text == "Background" || text.empty()) return Propagation::background;
  return fail(Errc::invalid,
              fmt::format("propagationPolicy must be Background, Foreground or Orphan, not '{}'", printable(text)));
}

}  // namespace

awaitable<Result<json::object>> Resources::delete_options(const Call& call) {
  auto body = co_await call.exchange.read_all(body_bytes_max);
  if (!body) co_return fail(std::move(body.error()));
  json::object options;
  if (call.media_type() == protobuf_type && !body->empty()) {
    auto read = parse_protobuf(*body);
    if (!read) co_return fail(std::move(read.error()));
    options = std::move(*read);
  } else if (!trim(*body).empty()) {
    auto documents = model::parse_yaml(*body);  // JSON is YAML
    if (!documents || documents->size() != 1 || !documents->front().is_object())
      co_return fail(Errc::invalid, "the body is not a DeleteOptions object");
    options = std::move(documents->front().get_object());
  }
  if (const auto policy = call.query("propagationPolicy"); !policy.empty()) options["propagationPolicy"] = policy;
  if (call.is_dry_run()) options["dryRun"] = json::array{"All"};
  if (auto propagation = propagation_of(options); !propagation) co_return fail(std::move(propagation.error()));
  co_return options;
}

namespace {

/// Takes `uid` out of an object's owners, again when another writer was faster.
awaitable<Result<void>> disown(store::Objects& objects, ObjectKey key, std::string uid) {
  for (int attempt = 1;; ++attempt) {
    const auto child = objects.find(key);
    if (!child) co_return Result<void>();
    auto orphan = *child;
    auto& owners = model::object_at(orphan, {"metadata"})["ownerReferences"];
    if (!owners.is_array()) co_return Result<void>();
    json::array left;
    for (const auto& owner : owners.get_array())
      if (!owner.is_object() || model::text_at(owner.get_object(), {"uid"}) != uid) left.push_back(owner);
    if (left.size() == owners.get_array().size()) co_return Result<void>();
    owners = std::move(left);
    auto written = co_await objects.update(key, std::move(orphan), version_of(*child));
    if (written || written.error().code() == Errc::not_found) co_return Result<void>();
    if (written.error().code() != Errc::conflict || attempt == orphan_attempts)
      co_return fail(std::move(written.error()));
  }
}

std::vector<ObjectKey> dependents_of(const store::Objects& objects, std::string_view uid, std::string_view name_space) {
  std::vector<ObjectKey> found;
  for (const auto& kind : model::kinds()) {
    if (!kind.namespaced || !kind.stored) continue;
    for (const auto& object : objects.list(kind.resource(), name_space)) {
      const auto* owners = model::find_value(*object, {"metadata", "ownerReferences"});
      if (!owners || !owners->is_array()) continue;
      for (const auto& owner : owners->get_array())
        if (owner.is_object() && model::text_at(owner.get_object(), {"uid"}) == uid)
          found.push_back(key_of(kind, *object));
    }
  }
  return found;
}

}  // namespace

awaitable<Result<ObjectValue>> Resources::request_removal(ObjectKey key, json::object options) {
  const auto object = objects_.find(key);
  if (!object) co_return fail(Errc::not_found, "not found");
  const auto uid = model::text_at(*object, {"metadata", "uid"});
  const auto wanted_uid = model::text_at(options, {"preconditions", "uid"});
  if (!wanted_uid.empty() && wanted_uid != uid) co_return fail(Errc::conflict, "another uid");
  const auto expected = parse_unsigned(model::text_at(options, {"preconditions", "resourceVersion"}));
  if (expected && *expected != version_of(*object)) co_return fail(Errc::conflict, "another version");
  if (const auto* dry_run = model::find_value(options, {"dryRun"}); dry_run && *dry_run == json::array{"All"})
    co_return nullptr;
  const auto propagation = propagation_of(options).value_or(Propagation::background);
  std::vector<std::string> finalizers;
  if (propagation == Propagation::foreground) finalizers.emplace_back("foregroundDeletion");
  if (propagation == Propagation::orphan)
    for (auto& child : dependents_of(objects_, uid, key.name_space)) {
      auto disowned = co_await disown(objects_, std::move(child), uid);
      if (!disowned) co_return fail(std::move(disowned.error()));
    }
  auto removed = co_await objects_.request_removal(key, expected, std::move(finalizers));
  co_return removed;
}

awaitable<void> Resources::remove(Call call) {
  auto options = co_await delete_options(call);
  if (!options) {
    co_await respond_error(call.exchange, options.error());
    co_return;
  }
  const auto object = objects_.find(call.key());
  const auto subject = Subject::of(call.kind, call.path.name);
  if (object && &call.kind == &model::namespace_kind() && call.path.name == "default") {
    co_await respond_failure(call.exchange, 403, "Forbidden",
                             "namespaces \"default\" is forbidden: this namespace may not be deleted");
    co_return;
  }
  auto left = co_await request_removal(call.key(), *options);
  if (!left) {
    co_await respond_error(call.exchange, left.error(), subject);
    co_return;
  }
  // What still has finalizers is answered as it is now.
  if (*left) {
    co_await answer(call, 200, **left);
    co_return;
  }
  co_await respond_json(call.exchange, 200,
                        json::object{{"kind", "Status"},
                                     {"apiVersion", "v1"},
                                     {"metadata", json::object()},
                                     {"status", "Success"},
                                     {"details",
                                      {{"name", call.path.name},
                                       {"group", call.kind.group},
                                       {"kind", call.kind.plural},
                                       {"uid", model::text_at(*object, {"metadata", "uid"})}}}});
}

awaitable<void> Resources::remove_collection(Call call) {
  auto options = co_await delete_options(call);
  auto selector = Selector::parse(call.query("labelSelector"), call.query("fieldSelector"), call.kind.resource());
  if (!options || !selector) {
    co_await respond_error(call.exchange, options ? selector.error() : options.error());
    co_return;
  }
  json::array items;
  for (const auto& object : objects_.list(call.kind.resource(), call.path.name_space)) {
    if (!selector->matches(*object)) continue;
    if (&call.kind == &model::namespace_kind() && model::text_at(*object, {"metadata", "name"}) == "default") continue;
    auto removed = co_await request_removal(key_of(call.kind, *object), *options);
    if (!removed && removed.error().code() != Errc::not_found) {
      co_await respond_error(call.exchange, removed.error(), Subject::of(call.kind, {}));
      co_return;
    }
    items.push_back(in_version(call.kind, *object));
  }
  co_await respond_json(call.exchange, 200,
                        json::object{{"apiVersion", call.kind.api_version()},
                                     {"kind", std::string(call.kind.kind) + "List"},
                                     {"metadata", {{"resourceVersion", std::to_string(objects_.version())}}},
                                     {"items", std::move(items)}});
}

}  // namespace wick::api
