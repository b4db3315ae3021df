// Validation errors the way Knative writes them (knative.dev/pkg apis.FieldError): "<message>: <path>, <path>", details
// on the next line, equal errors merged, sorted by message.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wick::model {

struct FieldError {
  std::string message;
  std::vector<std::string> paths;
  std::string details;
};

class FieldErrors {
 public:
  void add(std::string message, std::vector<std::string> paths, std::string details = {});

  void missing(std::string path) { add("missing field(s)", {std::move(path)}); }
  void not_allowed(std::string path, std::string details = {}) {
    add("must not set the field(s)", {std::move(path)}, std::move(details));
  }
  void invalid_value(std::string_view value, std::string path, std::string details = {});
  void out_of_bounds(std::string_view value, std::string_view low, std::string_view high, std::string path);
  void invalid_key(std::string_view key, std::string path, std::string details = {});

  bool empty() const { return errors_.empty(); }
  std::string text() const;

 private:
  std::vector<FieldError> errors_;
};

/// "spec" + "traffic" is "spec.traffic"; an empty parent gives the field alone.
std::string field_path(std::string_view parent, std::string_view field);
/// "spec.traffic" + 2 is "spec.traffic[2]".
std::string index_path(std::string_view parent, std::size_t index);

}  // namespace wick::model
