// Typed reading of a JSON object from outside: a missing or null field is its default, a field of another type is
// remembered as the error.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/image/content_store.hpp"

namespace wick::image {

/// Depth at most 64, as the deepest sane index; errors are corrupt.
Result<boost::json::value> parse_json(std::string_view json, std::string_view what);
Result<boost::json::object> parse_object(std::string_view json, std::string_view what);

class JsonFields {
 public:
  JsonFields(const boost::json::object& object, std::string where) : object_(object), where_(std::move(where)) {}

  std::string string(std::string_view name);
  bool boolean(std::string_view name);
  std::uint64_t number(std::string_view name);
  std::vector<std::string> strings(std::string_view name);
  std::map<std::string, std::string> string_map(std::string_view name);
  /// The names in {"8080/tcp": {}}.
  std::vector<std::string> keys(std::string_view name);
  std::vector<boost::json::object> objects(std::string_view name);
  std::optional<boost::json::object> object(std::string_view name);
  Digest digest(std::string_view name);
  std::vector<Digest> digests(std::string_view name);
  /// Everything that was not asked for, as a JSON object; "" when there is nothing.
  std::string others() const;

  const std::optional<Error>& error() const { return error_; }
  Result<void> result() const;

 private:
  const boost::json::value* find(std::string_view name);
  void wrong(std::string_view name, std::string_view expected);
  Digest digest_of(std::string_view name, std::string_view text);

  const boost::json::object& object_;
  std::string where_;
  std::vector<std::string> asked_;
  std::optional<Error> error_;
};

/// Errors: corrupt, unsupported (another algorithm than SHA-256).
Result<Descriptor> parse_descriptor(const boost::json::object& object, std::string_view where);
boost::json::object to_json(const Descriptor& descriptor);

}  // namespace wick::image
