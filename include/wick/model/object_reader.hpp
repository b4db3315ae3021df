// Reads one JSON object field by field and remembers which fields were asked for, so that what nobody understands is
// refused by name in place of being ignored.
#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/model/field_errors.hpp"

namespace wick::model {

namespace json = boost::json;
using TextMap = std::map<std::string, std::string>;

/// null counts as absent everywhere, as Kubernetes' decoders have it. The value and the errors must outlive the reader.
class ObjectReader {
 public:
  /// `value` may be nullptr: an absent object reads as an empty one.
  ObjectReader(const json::value* value, std::string path, FieldErrors& errors);
  ObjectReader(const json::object& object, FieldErrors& errors) : object_(&object), errors_(&errors) {}

  bool has(std::string_view key) { return find(key) != nullptr; }
  /// True when the object itself is there.
  bool present() const { return object_ != nullptr; }
  std::string path(std::string_view key) const { return field_path(path_, key); }
  const std::string& path() const { return path_; }
  FieldErrors& errors() { return *errors_; }

  std::string text(std::string_view key);
  std::optional<std::int64_t> integer(std::string_view key);
  std::optional<bool> boolean(std::string_view key);
  ObjectReader object(std::string_view key);
  /// One reader an element; elements that are no objects are reported.
  std::vector<ObjectReader> objects(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  TextMap text_map(std::string_view key);
  const json::value* value(std::string_view key) { return find(key); }

  /// Accepts the field whatever it holds.
  void ignore(std::string_view key) { find(key); }
  /// Every field not asked for so far is "must not set the field(s)". How many there were.
  std::size_t refuse_rest();

 private:
  const json::value* find(std::string_view key);
  void wrong_type(std::string_view key, std::string_view expected);

  const json::object* object_ = nullptr;
  std::string path_;
  FieldErrors* errors_;
  std::set<std::string, std::less<>> seen_;
};

/// The value below a chain of object keys; nullptr when any link is missing or null.
const json::value* find_value(const json::object& object, std::initializer_list<std::string_view> keys);
/// The string there, or "".
std::string text_at(const json::object& object, std::initializer_list<std::string_view> keys);
/// The integer there, or `absent`.
std::int64_t integer_at(const json::object& object, std::initializer_list<std::string_view> keys,
                        std::int64_t absent = 0);
/// The object there, made (along the way) where it is missing or null; nullptr where something else is in the way.
json::object* object_if(json::object& object, std::initializer_list<std::string_view> keys);
/// The object there, made (along the way) where it is missing or of another type.
json::object& object_at(json::object& object, std::initializer_list<std::string_view> keys);

}  // namespace wick::model
