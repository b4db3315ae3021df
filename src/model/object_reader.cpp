#include "wick/model/object_reader.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "wick/base/text.hpp"

namespace wick::model {

ObjectReader::ObjectReader(const json::value* value, std::string path, FieldErrors& errors)
    : path_(std::move(path)), errors_(&errors) {
  if (!value || value->is_null()) return;
  object_ = value->if_object();
  if (!object_) errors.invalid_value(printable(json::serialize(*value)), path_, "expected an object");
}

const json::value* ObjectReader::find(std::string_view key) {
  seen_.emplace(key);
  if (!object_) return nullptr;
  const auto* value = object_->if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

void ObjectReader::wrong_type(std::string_view key, std::string_view expected) {
  errors_->invalid_value(printable(json::serialize(object_->at(key))), path(key), fmt::format("expected {}", expected));
}

std::string ObjectReader::text(std::string_view key) {
  const auto* value = find(key);
  if (!value) return {};
  if (value->is_string()) return std::string(value->get_string());
  wrong_type(key, "a string");
  return {};
}

std::optional<std::int64_t> ObjectReader::integer(std::string_view key) {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  if (!error) return number;
  wrong_type(key, "an integer");
  return std::nullopt;
}

std::optional<bool> ObjectReader::boolean(std::string_view key) {
  const auto* value = find(key);
  if (!value) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  wrong_type(key, "true or false");
  return std::nullopt;
}

ObjectReader ObjectReader::object(std::string_view key) { return ObjectReader(find(key), path(key), *errors_); }

std::vector<ObjectReader> ObjectReader::objects(std::string_view key) {
  std::vector<ObjectReader> readers;
  const auto* value = find(key);
  if (!value) return readers;
  const auto* array = value->if_array();
  if (!array) {
    wrong_type(key, "a list");
    return readers;
  }
  for (std::size_t i = 0; i < array->size(); ++i)
    readers.emplace_back(&(*array)[i], index_path(path(key), i), *errors_);
  return readers;
}

std::vector<std::string> ObjectReader::texts(std::string_view key) {
  std::vector<std::string> texts;
  const auto* value = find(key);
  if (!value) return texts;
  const auto* array = value->if_array();
  if (!array) {
    wrong_type(key, "a list of strings");
    return texts;
  }
  for (const auto& element : *array) {
    if (!element.is_string()) {
      wrong_type(key, "a list of strings");
      return texts;
    }
    texts.emplace_back(element.get_string());
  }
  return texts;
}

TextMap ObjectReader::text_map(std::string_view key) {
  TextMap map;
  const auto* value = find(key);
  if (!value) return map;
  const auto* object = value->if_object();
  if (!object) {
    wrong_type(key, "a map of strings");
    return map;
  }
  for (const auto& [name, text] : *object) {
    if (text.is_string())
      map.emplace(name, text.get_string());
    else
      errors_->invalid_value(printable(json::serialize(text)), fmt::format("{}[{}]", path(key), std::string_view(name)),
                             "expected a string");
  }
  return map;
}

std::size_t ObjectReader::refuse_rest() {
  if (!object_) return 0;
  std::size_t refused = 0;
  for (const auto& [key, value] : *object_) {
    if (seen_.contains(std::string_view(key)) || value.is_null()) continue;
    errors_->not_allowed(path(key));
    ++refused;
  }
  return refused;
}

const json::value* find_value(const json::object& object, std::initializer_list<std::string_view> keys) {
  const json::object* here = &object;
  const json::value* value = nullptr;
  for (const auto key : keys) {
    if (!here) return nullptr;
    value = here->if_contains(key);
    if (!value || value->is_null()) return nullptr;
    here = value->if_object();
  }
  return value;
}

std::string text_at(const json::object& object, std::initializer_list<std::string_view> keys) {
  const auto* value = find_value(object, keys);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::int64_t integer_at(const json::object& object, std::initializer_list<std::string_view> keys, std::int64_t absent) {
  const auto* value = find_value(object, keys);
  if (!value) return absent;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  return error ? absent : number;
}

namespace {

/// object[key], made where it is missing. Boost.JSON's operator[] may move every value of the object even when the key
/// is there, so it is only asked for what is not.
json::value& member(json::object& object, std::string_view key) {
  auto* found = object.if_contains(key);
  return found ? *found : object[key];
}

}  // namespace

json::object* object_if(json::object& object, std::initializer_list<std::string_view> keys) {
  json::object* here = &object;
  for (const auto key : keys) {
    auto& value = member(*here, key);
    if (value.is_null()) value.emplace_object();
    here = value.if_object();
    if (!here) return nullptr;
  }
  return here;
}

json::object& object_at(json::object& object, std::initializer_list<std::string_view> keys) {
  json::object* here = &object;
  for (const auto key : keys) {
    auto& value = member(*here, key);
    if (!value.is_object()) value.emplace_object();
    here = &value.get_object();
  }
  return *here;
}

}  // namespace wick::model
