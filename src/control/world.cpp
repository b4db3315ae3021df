#include "control/world.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>

#include "wick/base/text.hpp"

namespace wick::control {

ObjectKey key_of(const model::Kind& kind, std::string name_space, std::string name) {
  return {kind.resource(), std::move(name_space), std::move(name)};
}

ObjectKey key_of(const model::Kind& kind, const json::object& object) {
  return {kind.resource(), kind.namespaced ? namespace_of(object) : std::string(), name_of(object)};
}

std::string name_of(const json::object& object) { return model::text_at(object, {"metadata", "name"}); }
std::string namespace_of(const json::object& object) { return model::text_at(object, {"metadata", "namespace"}); }
std::string uid_of(const json::object& object) { return model::text_at(object, {"metadata", "uid"}); }

std::uint64_t version_of(const json::object& object) {
  return parse_unsigned(model::text_at(object, {"metadata", "resourceVersion"})).value_or(0);
}

std::int64_t generation_of(const json::object& object) { return model::integer_at(object, {"metadata", "generation"}); }

namespace {

model::TextMap text_map(const json::object& object, std::string_view key) {
  model::TextMap map;
  const auto* value = model::find_value(object, {"metadata", key});
  if (!value || !value->is_object()) return map;
  for (const auto& [name, text] : value->get_object())
    if (text.is_string()) map.emplace(name, text.get_string());
  return map;
}

}  // namespace

model::TextMap labels_of(const json::object& object) { return text_map(object, "labels"); }
model::TextMap annotations_of(const json::object& object) { return text_map(object, "annotations"); }

json::object to_json(const model::TextMap& map) {
  json::object object;
  for (const auto& [key, value] : map) object[key] = value;
  return object;
}

bool is_current(const json::object& object) {
  return model::integer_at(object, {"status", "observedGeneration"}, -1) == generation_of(object);
}

bool is_owned(World& world, const json::object& object) {
  const auto uid = model::controller_uid(object);
  const auto* owners = model::find_value(object, {"metadata", "ownerReferences"});
  if (uid.empty() || !owners || !owners->is_array()) return false;
  for (const auto& owner : owners->get_array()) {
    const auto& reference = owner.as_object();
    if (model::text_at(reference, {"uid"}) != uid) continue;
    const auto* kind =
        model::find_kind_by_name(model::text_at(reference, {"apiVersion"}), model::text_at(reference, {"kind"}));
    const auto found =
        kind ? world.objects().find(key_of(*kind, namespace_of(object), model::text_at(reference, {"name"}))) : nullptr;
    return found && uid_of(*found) == uid;
  }
  return false;
}

awaitable<Result<ObjectValue>> ensure_child(World& world, const model::Kind& kind, ObjectKey key, json::object object,
                                            std::initializer_list<std::string_view> kept) {
  const auto existing = world.objects().find(key);
  if (!existing) {
    object["apiVersion"] = kind.api_version();
    object["kind"] = kind.kind;
    auto created = co_await world.objects().create(std::move(key), std::move(object));
    co_return created;
  }
  const auto owner = model::controller_uid(object);
  if (!owner.empty() && model::controller_uid(*existing) != owner && !is_owned(world, *existing) &&
      !model::controller_uid(*existing).empty())
    co_return fail(Errc::unavailable, fmt::format("an earlier {} \"{}\" is still being deleted", kind.kind, key.name));
  if (!owner.empty() && model::controller_uid(*existing) != owner)
    co_return fail(Errc::conflict, fmt::format("{} \"{}\" is not owned by this object", kind.kind, key.name));
  auto next = *existing;
  auto& metadata = next["metadata"].as_object();
  const auto& wanted = object["metadata"].as_object();
  for (const auto field : {"labels", "annotations"}) {
    json::object map;
    if (const auto* value = wanted.if_contains(field); value && value->is_object()) map = value->get_object();
    if (std::string_view(field) == "annotations")
      for (const auto name : kept)
        if (const auto* value = model::find_value(*existing, {"metadata", "annotations", name})) map[name] = *value;
    metadata[field] = std::move(map);
  }
  if (const auto* spec = object.if_contains("spec")) next["spec"] = *spec;
  if (next == *existing) co_return existing;
  const auto version = version_of(*existing);
  auto updated = co_await world.objects().update(std::move(key), std::move(next), version);
  co_return updated;
}

namespace {

bool holds(const json::object& expression, const model::TextMap& labels) {
  const auto label = labels.find(model::text_at(expression, {"key"}));
  const auto method = model::text_at(expression, {"operator"});
  if (method == "Exists") return label != labels.end();
  if (method == "DoesNotExist") return label == labels.end();
  const auto* values = expression.if_contains("values");
  const bool listed = label != labels.end() && values && values->is_array() &&
                      std::ranges::any_of(values->get_array(), [&](const json::value& value) {
                        return value.is_string() && value.get_string() == label->second;
                      });
  return method == "In" ? listed : method == "NotIn" && !listed;
}

}  // namespace

bool selects(const json::object& selector, const model::TextMap& labels) {
  if (const auto* wanted = selector.if_contains("matchLabels"); wanted && wanted->is_object())
    for (const auto& [name, value] : wanted->get_object()) {
      const auto label = labels.find(name);
      if (label == labels.end() || !value.is_string() || value.get_string() != label->second) return false;
    }
  if (const auto* expressions = selector.if_contains("matchExpressions"); expressions && expressions->is_array())
    for (const auto& expression : expressions->get_array())
      if (!expression.is_object() || !holds(expression.get_object(), labels)) return false;
  return true;
}

std::string md5_hex(std::string_view text) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  std::size_t size = 0;
  if (!EVP_Q_digest(nullptr, "MD5", nullptr, text.data(), text.size(), bytes, &size))
    throw std::runtime_error("OpenSSL has no MD5");
  return to_hex({reinterpret_cast<const char*>(bytes), size});
}

std::string child_name(const std::string& parent, std::string_view suffix) {
  constexpr std::size_t longest = 63;  // a DNS label
  if (parent.size() + suffix.size() <= longest) return parent + std::string(suffix);
  const auto hash = md5_hex(parent);
  return parent.substr(0, longest - suffix.size() - hash.size()) + hash + std::string(suffix);
}

std::string reason_of(std::string_view slug) {
  if (slug.starts_with("E_")) slug.remove_prefix(2);
  std::string reason;
  bool upper = true;
  for (const char c : slug) {
    if (c == '_') {
      upper = true;
      continue;
    }
    reason += upper ? c : static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    upper = false;
  }
  return reason.empty() ? "Failed" : reason;
}

}  // namespace wick::control
