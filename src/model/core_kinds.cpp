// Namespace, Secret and ConfigMap by Kubernetes' own rules and words (k8s.io/kubernetes pkg/apis/core/validation).
#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/base/text.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

namespace {

constexpr std::size_t data_bytes_max = 1 << 20;  // Kubernetes' MaxSecretSize; so what fits here fits a cluster
constexpr std::size_t key_length_max = 253;

constexpr std::string_view label_text =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view key_text =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

json::object namespace_schema() {
  return resource_outline(R"(
spec
  finalizers[]
status
  phase
  conditions any
)",
                          "A scope for names.");
}

json::object secret_schema() {
  return resource_outline(R"(
data map                     | Values, each base64.
stringData map               | Values as they are; the server moves them to data.
type                         | Opaque where none is given.
immutable bool               | The data may not change any more.
)",
                          "Values that are kept encrypted and shown to what names them only.");
}

json::object config_map_schema() {
  return resource_outline(R"(
data map                     | Values as text.
binaryData map               | Values, each base64.
immutable bool               | The data may not change any more.
)",
                          "Values for configuration.");
}

void add_invalid(FieldErrors& errors, std::string_view path, std::string_view value, std::string_view why) {
  errors.add(fmt::format("{}: Invalid value: {}: {}", path, value, why), {});
}

std::string quoted(std::string_view text) { return fmt::format("\"{}\"", printable(text)); }

Metadata check_metadata(ObjectReader& root, FieldErrors& errors) {
  FieldErrors shape;
  ObjectReader metadata(root.value("metadata"), "metadata", shape);
  auto decoded = decode_metadata(std::move(metadata));
  if (!shape.empty()) errors.add(shape.text(), {});
  if (decoded.name.empty() && decoded.generate_name.empty())
    errors.add("metadata.name: Required value: name or generateName is required", {});
  return decoded;
}

void check_subdomain(const Metadata& metadata, FieldErrors& errors) {
  if (metadata.name.empty()) return;
  if (const auto complaint = dns1123_complaint(metadata.name); !complaint.empty())
    add_invalid(errors, "metadata.name", quoted(metadata.name), complaint);
}

void check_namespace(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  const auto metadata = check_metadata(root, errors);
  if (!metadata.name.empty() && !is_dns_label(metadata.name))
    add_invalid(errors, "metadata.name", quoted(metadata.name), label_text);
}

void default_namespace(json::object& object) {
  if (const auto name = text_at(object, {"metadata", "name"}); !name.empty())
    object_at(object, {"metadata", "labels"})["kubernetes.io/metadata.name"] = name;
  object_at(object, {"spec"});
  if (auto& phase = object_at(object, {"status"})["phase"]; phase.is_null()) phase = "Active";
}

bool is_config_key(std::string_view key) {
  if (key.empty() || key.size() > key_length_max || key == "." || key.starts_with("..")) return false;
  for (const char c : key)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
          c == '.'))
      return false;
  return true;
}

/// The map of values at `field`: keys checked, their bytes added up.
void check_values(const json::object& object, std::string_view field, bool encoded, std::size_t& bytes,
                  FieldErrors& errors) {
  const auto* value = find_value(object, {field});
  if (!value) return;
  const auto* map = value->if_object();
  if (!map) {
    add_invalid(errors, field, "the value", "must be a map of strings");
    return;
  }
  for (const auto& [key, text] : *map) {
    const auto path = fmt::format("{}[{}]", field, printable(key));
    if (!is_config_key(key)) add_invalid(errors, path, quoted(key), key_text);
    if (!text.is_string()) {
      if (!text.is_null()) add_invalid(errors, path, printable(json::serialize(text)), "must be a string");
      continue;
    }
    const auto decoded = encoded ? base64_decode(text.get_string()) : std::nullopt;
    if (encoded && !decoded) errors.add(fmt::format("{}: Invalid value: \"\": must be base64", path), {});
    bytes += encoded ? (decoded ? decoded->size() : 0) : text.get_string().size();
  }
}

void check_size(std::string_view field, std::size_t bytes, FieldErrors& errors) {
  if (bytes > data_bytes_max)
    errors.add(fmt::format("{}: Too long: may not be more than {} bytes", field, data_bytes_max), {});
}

/// An object once marked immutable stays as it is.
void check_frozen(const json::object& object, const json::object& old, std::initializer_list<std::string_view> fields,
                  FieldErrors& errors) {
  const auto* frozen = find_value(old, {"immutable"});
  if (!frozen || *frozen != true) return;
  const auto* still = find_value(object, {"immutable"});
  if (!still || *still != true) errors.add("immutable: Forbidden: field is immutable when `immutable` is set", {});
  for (const auto field : fields) {
    const auto* before = find_value(old, {field});
    const auto* after = find_value(object, {field});
    const bool same = before && after ? *before == *after : !before && !after;
    if (!same) errors.add(fmt::format("{}: Forbidden: field is immutable when `immutable` is set", field), {});
  }
}

void default_secret(json::object& object) {
  if (text_at(object, {"type"}).empty() &&
      (!object.contains("type") || object.at("type").is_null() || object.at("type").is_string()))
    object["type"] = "Opaque";
  const auto* plain = find_value(object, {"stringData"});
  if (!plain || !plain->is_object()) return;
  for (const auto& [key, text] : plain->get_object())
    if (!text.is_string()) return;  // the whole stays, for validation to name it
  const json::object values = plain->get_object();
  auto* data = object_if(object, {"data"});
  if (!data) return;
  for (const auto& [key, text] : values) (*data)[key] = base64_encode(text.get_string());
  object.erase("stringData");
}

bool has_value(const json::object& object, std::string_view key) {
  const auto* value = find_value(object, {"data", key});
  return value && value->is_string();
}

/// What each type of Secret must hold.
void check_type(const json::object& object, FieldErrors& errors) {
  const auto type = text_at(object, {"type"});
  const auto need = [&](std::string_view key) {
    if (!has_value(object, key)) errors.add(fmt::format("data[{}]: Required value", key), {});
  };
  if (type == "kubernetes.io/dockerconfigjson" || type == "kubernetes.io/dockercfg") {
    const std::string_view key = type.ends_with("json") ? ".dockerconfigjson" : ".dockercfg";
    need(key);
    const auto text = base64_decode(text_at(object, {"data", key})).value_or("");
    boost::system::error_code error;
    if (has_value(object, key) && (json::parse(text, error), error))
      errors.add(fmt::format("data[{}]: Invalid value: \"<secret contents redacted>\": {}", key, error.message()), {});
  } else if (type == "kubernetes.io/basic-auth") {
    if (!has_value(object, "username") && !has_value(object, "password")) {
      need("username");
      need("password");
    }
  } else if (type == "kubernetes.io/ssh-auth") {
    need("ssh-privatekey");
  } else if (type == "kubernetes.io/tls") {
    need("tls.crt");
    need("tls.key");
  }
}

void check_secret(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  check_subdomain(check_metadata(root, errors), errors);
  std::size_t bytes = 0;
  check_values(object, "data", true, bytes, errors);
  check_values(object, "stringData", false, bytes, errors);
  check_size("data", bytes, errors);
  check_type(object, errors);
  if (!old) return;
  if (text_at(*old, {"type"}) != text_at(object, {"type"}))
    add_invalid(errors, "type", quoted(text_at(object, {"type"})), "field is immutable");
  check_frozen(object, *old, {"data"}, errors);
}

void check_config_map(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  check_subdomain(check_metadata(root, errors), errors);
  std::size_t bytes = 0;
  check_values(object, "data", false, bytes, errors);
  check_values(object, "binaryData", true, bytes, errors);
  check_size("", bytes, errors);
  const auto* binary = find_value(object, {"binaryData"});
  if (binary && binary->is_object())
    for (const auto& [key, value] : binary->get_object())
      if (find_value(object, {"data", key}))
        add_invalid(errors, fmt::format("data[{}]", printable(key)), quoted(key),
                    "duplicate of key present in binaryData");
  if (old) check_frozen(object, *old, {"data", "binaryData"}, errors);
}

}  // namespace

std::vector<Kind> core_kinds() {
  Kind name_space{.group = "",
                  .version = "v1",
                  .kind = "Namespace",
                  .plural = "namespaces",
                  .singular = "namespace",
                  .short_names = {"ns"},
                  .namespaced = false,
                  .columns = {{"Status", "string", ".status.phase"}, age_column}};
  name_space.schema = namespace_schema;
  name_space.defaults = default_namespace;
  name_space.check = check_namespace;
  Kind secret{.group = "",
              .version = "v1",
              .kind = "Secret",
              .plural = "secrets",
              .singular = "secret",
              .has_status = false,
              .columns = {{"Type", "string", ".type"}, {"Data", "integer", "count(.data)"}, age_column}};
  secret.schema = secret_schema;
  secret.defaults = default_secret;
  secret.check = check_secret;
  Kind config_map{.group = "",
                  .version = "v1",
                  .kind = "ConfigMap",
                  .plural = "configmaps",
                  .singular = "configmap",
                  .short_names = {"cm"},
                  .has_status = false,
                  .columns = {{"Data", "integer", "count(.data)"}, age_column}};
  config_map.schema = config_map_schema;
  config_map.check = check_config_map;
  return {std::move(name_space), std::move(secret), std::move(config_map)};
}

}  // namespace wick::model
