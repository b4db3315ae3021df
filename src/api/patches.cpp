#include "api/patches.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/text.hpp"

namespace wick::api {

namespace json = boost::json;

void merge_patch(json::value& target, const json::value& patch) {
  const auto* fields = patch.if_object();
  if (!fields) {
    target = patch;
    return;
  }
  if (!target.is_object()) target.emplace_object();
  for (const auto& [key, value] : *fields) {
    if (value.is_null())
      target.get_object().erase(key);
    else
      merge_patch(target.get_object()[key], value);
  }
}

namespace {

using Pointer = std::vector<std::string>;

/// RFC 6901.
std::optional<Pointer> parse_pointer(std::string_view text) {
  Pointer pointer;
  if (text.empty()) return pointer;
  if (text.front() != '/') return std::nullopt;
  for (const auto part : split(text.substr(1), '/')) {
    std::string token;
    for (std::size_t i = 0; i < part.size(); ++i) {
      if (part[i] != '~') {
        token += part[i];
        continue;
      }
      if (i + 1 == part.size() || (part[i + 1] != '0' && part[i + 1] != '1')) return std::nullopt;
      token += part[++i] == '0' ? '~' : '/';
    }
    pointer.push_back(std::move(token));
  }
  return pointer;
}

std::optional<std::size_t> parse_index(std::string_view token) {
  if (token.size() > 1 && token.front() == '0') return std::nullopt;
  const auto number = parse_unsigned(token);
  return number ? std::optional<std::size_t>(*number) : std::nullopt;
}

json::value* child(json::value& at, const std::string& token) {
  if (auto* object = at.if_object()) return object->if_contains(token);
  auto* array = at.if_array();
  const auto index = array ? parse_index(token) : std::nullopt;
  return index && *index < array->size() ? &(*array)[*index] : nullptr;
}

json::value* find(json::value& document, const Pointer& pointer, std::size_t count) {
  auto* at = &document;
  for (std::size_t i = 0; at && i < count; ++i) at = child(*at, pointer[i]);
  return at;
}

std::unexpected<Error> missing(std::string_view path) {
  return fail(Errc::invalid, fmt::format("the path {} of the JSON patch is not in the object", printable(path)));
}

Result<void> add(json::value& document, const Pointer& pointer, json::value value, std::string_view path) {
  if (pointer.empty()) {
    document = std::move(value);
    return {};
  }
  auto* parent = find(document, pointer, pointer.size() - 1);
  if (!parent) return missing(path);
  const auto& last = pointer.back();
  if (auto* object = parent->if_object()) {
    (*object)[last] = std::move(value);
    return {};
  }
  auto* array = parent->if_array();
  if (!array) return missing(path);
  if (last == "-") {
    array->push_back(std::move(value));
    return {};
  }
  const auto index = parse_index(last);
  if (!index || *index > array->size()) return missing(path);
  array->insert(array->begin() + static_cast<std::ptrdiff_t>(*index), std::move(value));
  return {};
}

Result<json::value> take(json::value& document, const Pointer& pointer, std::string_view path) {
  if (pointer.empty()) return fail(Errc::invalid, "a JSON patch cannot remove the whole object");
  auto* parent = find(document, pointer, pointer.size() - 1);
  auto* found = parent ? child(*parent, pointer.back()) : nullptr;
  if (!found) return missing(path);
  json::value taken = *found;
  if (auto* object = parent->if_object())
    object->erase(pointer.back());
  else
    parent->get_array().erase(found);
  return taken;
}

Result<void> run(json::value& document, const json::object& operation) {
  const auto text = [&](std::string_view key) -> std::string {
    const auto* value = operation.if_contains(key);
    return value && value->is_string() ? std::string(value->get_string()) : std::string();
  };
  const auto op = text("op");
  const auto path = text("path");
  const auto pointer = parse_pointer(path);
  if (!pointer || !operation.contains("path"))
    return fail(Errc::invalid, fmt::format("'{}' is not a path of a JSON patch", printable(path)),
                "a path is a JSON pointer (RFC 6901), as in /metadata/labels/app");
  const auto* value = operation.if_contains("value");
  if ((op == "add" || op == "replace" || op == "test") && !value)
    return fail(Errc::invalid, fmt::format("{} {} has no value", op, printable(path)));
  if (op == "add") return add(document, *pointer, *value, path);
  if (op == "remove") {
    auto taken = take(document, *pointer, path);
    return taken ? Result<void>() : fail(std::move(taken.error()));
  }
  if (op == "replace") {
    auto* found = find(document, *pointer, pointer->size());
    if (!found) return missing(path);
    *found = *value;
    return {};
  }
  if (op == "test") {
    const auto* found = find(document, *pointer, pointer->size());
    // A missing member equals null, as in the implementation Kubernetes uses.
    if (found ? *found == *value : value->is_null()) return {};
    return fail(Errc::invalid, fmt::format("testing value {} failed", printable(path)));
  }
  if (op == "move" || op == "copy") {
    const auto from = text("from");
    const auto source = parse_pointer(from);
    if (!source) return fail(Errc::invalid, fmt::format("'{}' is not a path of a JSON patch", printable(from)));
    if (op == "move") {
      if (path.starts_with(from + "/")) return fail(Errc::invalid, "a value cannot be moved into itself");
      auto taken = take(document, *source, from);
      if (!taken) return fail(std::move(taken.error()));
      return add(document, *pointer, std::move(*taken), path);
    }
    const auto* found = find(document, *source, source->size());
    if (!found) return missing(from);
    return add(document, *pointer, json::value(*found), path);
  }
  return fail(Errc::invalid, fmt::format("'{}' is not an operation of a JSON patch", printable(op)),
              "add, remove, replace, move, copy or test");
}

constexpr std::size_t patched_bytes_max = 3 << 20;  // "copy" could double an object at every step

}  // namespace

Result<void> json_patch(json::value& target, const json::value& operations) {
  const auto* list = operations.if_array();
  if (!list) return fail(Errc::invalid, "a JSON patch is a list of operations");
  if (list->size() > json_patch_operations_max)
    return fail(Errc::too_large, fmt::format("a JSON patch has at most {} operations", json_patch_operations_max));
  auto changed = target;
  std::size_t copied = 0;
  for (const auto& operation : *list) {
    if (!operation.is_object()) return fail(Errc::invalid, "an operation of a JSON patch is an object");
    const auto* op = operation.get_object().if_contains("op");
    if (op && *op == "copy") copied += json::serialize(changed).size();
    if (copied > patched_bytes_max) return fail(Errc::too_large, "the JSON patch copies too much");
    if (auto done = run(changed, operation.get_object()); !done) return done;
  }
  target = std::move(changed);
  return {};
}

namespace {

std::string text_of(const json::value& value, std::string_view key) {
  const auto* object = value.if_object();
  const auto* found = object ? object->if_contains(key) : nullptr;
  return found && found->is_string() ? std::string(found->get_string()) : std::string();
}

void drop(json::array& list, const json::value& gone) {
  for (auto at = list.begin(); at != list.end();) at = *at == gone ? list.erase(at) : at + 1;
}

/// A list whose elements are themselves.
void merge_set(json::value& target, const json::array& patch) {
  if (!target.is_array()) target.emplace_array();
  auto& list = target.get_array();
  for (const auto& element : patch)
    if (std::find(list.begin(), list.end(), element) == list.end()) list.push_back(element);
}

Result<void> merge_by_uid(json::value& target, const json::array& patch) {
  if (!target.is_array()) target.emplace_array();
  auto& list = target.get_array();
  for (const auto& element : patch) {
    const auto uid = text_of(element, "uid");
    if (uid.empty()) return fail(Errc::invalid, "an owner reference of the patch has no uid");
    const auto found =
        std::find_if(list.begin(), list.end(), [&](const json::value& own) { return text_of(own, "uid") == uid; });
    if (text_of(element, "$patch") == "delete") {
      if (found != list.end()) list.erase(found);
    } else if (found == list.end()) {
      list.push_back(element);
    } else {
      merge_patch(*found, element);
    }
  }
  return {};
}

Result<void> merge_strategically(json::value& target, const json::object& patch, const std::string& path) {
  if (!target.is_object()) target.emplace_object();
  if (const auto directive = text_of(patch, "$patch"); directive == "replace") {
    auto replacement = patch;
    replacement.erase("$patch");
    target = std::move(replacement);
    return {};
  } else if (directive == "delete") {
    target = json::object();
    return {};
  }
  constexpr std::string_view from_list = "$deleteFromPrimitiveList/";
  for (const auto& [name, value] : patch) {
    const std::string key(name);
    if (key == "$patch" || key == "$retainKeys" || key.starts_with("$setElementOrder/")) continue;
    if (key.starts_with(from_list)) {
      auto* list = target.get_object().if_contains(key.substr(from_list.size()));
      if (list && list->is_array() && value.is_array())
        for (const auto& gone : value.get_array()) drop(list->get_array(), gone);
      continue;
    }
    if (key.starts_with('$'))
      return fail(Errc::invalid, fmt::format("the patch has an unknown directive '{}'", printable(key)));
    const auto below = path + "/" + key;
    if (value.is_null()) {
      target.get_object().erase(key);
    } else if (value.is_object()) {
      if (auto merged = merge_strategically(target.get_object()[key], value.get_object(), below); !merged)
        return merged;
    } else if (value.is_array() && below == "/metadata/finalizers") {
      merge_set(target.get_object()[key], value.get_array());
    } else if (value.is_array() && below == "/metadata/ownerReferences") {
      if (auto merged = merge_by_uid(target.get_object()[key], value.get_array()); !merged) return merged;
    } else {
      target.get_object()[key] = value;
    }
  }
  return {};
}

}  // namespace

Result<void> strategic_merge_patch(json::value& target, const json::value& patch) {
  const auto* object = patch.if_object();
  if (!object) return fail(Errc::invalid, "a strategic merge patch is an object");
  auto changed = target;
  if (auto merged = merge_strategically(changed, *object, {}); !merged) return merged;
  target = std::move(changed);
  return {};
}

}  // namespace wick::api
