#include "api/resource_request.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "api/answer.hpp"
#include "api/protobuf.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"

namespace wick::api {

std::string Call::query(std::string_view name) const {
  return http::query_value(exchange.head().query(), name).value_or(std::string());
}

bool Call::asks(std::string_view flag) const { return is_true(query(flag)); }

std::string Call::media_type() const {
  const auto field = exchange.head().fields.find("Content-Type").value_or(std::string_view());
  return to_lower(trim(field.substr(0, field.find(';'))));
}

FieldManager Call::manager(const Clock& clock) const {
  constexpr std::size_t name_bytes_max = 128;  // Kubernetes' own
  auto name = query("fieldManager");
  if (name.empty()) {
    const auto agent = exchange.head().fields.find("User-Agent").value_or("unknown");
    name = std::string(agent.substr(0, agent.find('/')));
  }
  return {printable(name, name_bytes_max), kind.api_version(), to_rfc3339(clock.wall())};
}

std::uint64_t version_of(const json::object& object) {
  return parse_unsigned(model::text_at(object, {"metadata", "resourceVersion"})).value_or(0);
}

store::ObjectKey key_of(const model::Kind& kind, const json::object& object) {
  return {kind.resource(), model::text_at(object, {"metadata", "namespace"}),
          model::text_at(object, {"metadata", "name"})};
}

awaitable<Result<json::value>> read_body(const Call& call) {
  auto body = co_await call.exchange.read_all(body_bytes_max);
  if (!body) co_return fail(std::move(body.error()));
  if (call.media_type() == protobuf_type) {
    auto object = parse_protobuf(*body);
    if (!object) co_return fail(std::move(object.error()));
    co_return json::value(std::move(*object));
  }
  if (call.media_type().ends_with("yaml")) {
    auto documents = model::parse_yaml(*body);
    if (!documents) co_return fail(std::move(documents.error()));
    if (documents->size() != 1)
      co_return fail(Errc::invalid, fmt::format("the body has {} YAML documents, one is wanted", documents->size()));
    co_return std::move(documents->front());
  }
  json::parse_options options;
  options.max_depth = 64;
  boost::system::error_code error;
  auto value = json::parse(*body, error, {}, options);
  if (error) co_return fail(Errc::invalid, fmt::format("the body is not JSON: {}", error.message()));
  co_return value;
}

awaitable<Result<json::object>> read_object(const Call& call) {
  auto value = co_await read_body(call);
  if (!value) co_return fail(std::move(value.error()));
  if (!value->is_object()) co_return fail(Errc::invalid, "the body is not an object");
  co_return std::move(value->get_object());
}

Result<void> settle_identity(json::object& object, const Call& call) {
  const auto& [exchange, kind, path, user] = call;
  const auto given = [&](std::string_view key) { return model::text_at(object, {key}); };
  if (const auto version = given("apiVersion"); !version.empty() && version != kind.api_version())
    return fail(Errc::invalid,
                fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                            printable(version), kind.api_version()));
  if (const auto name = given("kind"); !name.empty() && name != kind.kind)
    return fail(Errc::invalid, fmt::format("the kind in the data ({}) does not match the expected kind ({})",
                                           printable(name), kind.kind));
  object["apiVersion"] = kind.api_version();
  object["kind"] = kind.kind;
  auto* found = model::object_if(object, {"metadata"});
  if (!found) return fail(Errc::invalid, "metadata is not an object");
  auto& metadata = *found;
  for (const auto key :
       {"uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"})
    metadata.erase(key);
  if (kind.namespaced) {
    const auto name_space = model::text_at(metadata, {"namespace"});
    if (!name_space.empty() && name_space != path.name_space)
      return fail(Errc::invalid,
                  "the namespace of the provided object does not match the namespace sent on the request");
    metadata["namespace"] = path.name_space;
  } else {
    metadata.erase("namespace");
  }
  const auto name = model::text_at(metadata, {"name"});
  if (!path.name.empty() && !name.empty() && name != path.name)
    return fail(Errc::invalid, fmt::format("the name of the object ({}) does not match the name on the URL ({})",
                                           printable(name), printable(path.name)));
  if (!path.name.empty()) metadata["name"] = path.name;
  return {};
}

std::string random_suffix() {
  // Kubernetes' alphabet: no vowels, so no words.
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  const auto hex = random_hex(5);
  std::string suffix;
  for (std::size_t i = 0; i < 5; ++i) {
    unsigned byte = 0;
    for (const char c : hex.substr(2 * i, 2))
      byte = byte * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    suffix += alphabet[byte % alphabet.size()];
  }
  return suffix;
}

Result<std::vector<std::string>> check_fields(json::object& object, const Call& call) {
  constexpr std::size_t shown_max = 20;
  auto unknown = model::prune_unknown(call.kind, object);
  const auto validation = call.query("fieldValidation");
  if (unknown.empty() || validation == "Ignore") return std::vector<std::string>();
  std::vector<std::string> complaints;
  for (const auto& path : unknown) {
    if (complaints.size() == shown_max) break;
    complaints.push_back(fmt::format("unknown field \"{}\"", printable(path)));
  }
  if (validation != "Strict") return complaints;
  return fail(Errc::invalid,
              fmt::format("{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}", call.kind.kind,
                          call.kind.version, call.kind.kind, fmt::join(complaints, ", ")));
}

}  // namespace wick::api
