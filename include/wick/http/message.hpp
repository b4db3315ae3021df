// HTTP messages as our own values: what every room sees of HTTP. Nothing here knows a socket or a parser.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wick::http {

struct Field {
  std::string name;
  std::string value;
};

/// Header fields in the order they came; names compare without case (RFC 9110 5.1).
class Fields {
 public:
  Fields() = default;
  Fields(std::initializer_list<Field> fields) : fields_(fields) {}

  /// The first value of `name`; nullopt when absent.
  std::optional<std::string_view> find(std::string_view name) const;
  bool contains(std::string_view name) const { return find(name).has_value(); }
  /// Replaces every field of that name by one.
  void set(std::string_view name, std::string value);
  void add(std::string name, std::string value) { fields_.push_back({std::move(name), std::move(value)}); }
  void erase(std::string_view name);

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }
  std::size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  void clear() { fields_.clear(); }
  void reserve(std::size_t count) { fields_.reserve(count); }
  /// For a reader that reuses storage: the field at `index`, made if there is none, and dropping the fields from
  /// `count` on.
  Field& slot(std::size_t index) { return index < fields_.size() ? fields_[index] : fields_.emplace_back(); }
  void truncate(std::size_t count) { fields_.resize(count); }

 private:
  std::vector<Field> fields_;
};

struct RequestHead {
  std::string method = "GET";
  std::string target = "/";  // origin-form as received, or "*"
  std::string authority;     // host[:port] as the client asked for it, lower case
  int minor_version = 1;     // HTTP/1.x
  Fields fields;

  /// authority without its port; IPv6 keeps its brackets.
  std::string_view host() const;
  /// target before '?'.
  std::string_view path() const;
  /// target after the first '?', empty where there is none.
  std::string_view query() const;
};

struct ResponseHead {
  int status = 200;
  Fields fields;
};

std::string_view reason_phrase(int status);

/// Whole messages, for bodies that are bounded by nature (API calls, events).
struct Request {
  RequestHead head;
  std::string body;
};
struct Response {
  ResponseHead head;
  std::string body;
};

/// Percent-decodes one path segment or query value; nullopt for a malformed escape or %00. '+' stays '+'.
std::optional<std::string> percent_decode(std::string_view text);
std::string percent_encode(std::string_view text);
/// The first value of `name` in an application/x-www-form-urlencoded query, decoded.
std::optional<std::string> query_value(std::string_view query, std::string_view name);

}  // namespace wick::http
