// Field numbers: k8s.io/api/core/v1/generated.proto, k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto,
// k8s.io/apimachinery/pkg/runtime/generated.proto (Unknown), k8s.io/api/authorization/v1/generated.proto. Wire format:
// protobuf.dev/programming-guides/encoding.
#include "api/protobuf.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <map>
#include <optional>
#include <span>

#include "wick/base/text.hpp"

namespace wick::api {

namespace json = boost::json;

namespace {

constexpr std::string_view magic{"k8s\0", 4};
constexpr int depth_max = 8;  // of the messages below, five

struct Message;

struct Field {
  enum class Type { text, bytes, boolean, integer, message, text_map, bytes_map };
  std::uint64_t number = 0;
  std::string_view name;
  Type type = Type::text;
  bool repeated = false;
  const Message* message = nullptr;
};
struct Message {
  std::span<const Field> fields;
};

using enum Field::Type;

constexpr Field owner_fields[]{{1, "kind"},
                               {3, "name"},
                               {4, "uid"},
                               {5, "apiVersion"},
                               {6, "controller", boolean},
                               {7, "blockOwnerDeletion", boolean}};
constexpr Message owner{owner_fields};
constexpr Field metadata_fields[]{{1, "name"},
                                  {2, "generateName"},
                                  {3, "namespace"},
                                  {5, "uid"},
                                  {6, "resourceVersion"},
                                  {7, "generation", integer},
                                  {11, "labels", text_map},
                                  {12, "annotations", text_map},
                                  {13, "ownerReferences", message, true, &owner},
                                  {14, "finalizers", text, true}};
constexpr Message metadata{metadata_fields};
constexpr Field secret_fields[]{{1, "metadata", message, false, &metadata},
                                {2, "data", bytes_map},
                                {3, "type"},
                                {4, "stringData", text_map},
                                {5, "immutable", boolean}};
constexpr Message secret{secret_fields};
constexpr Field config_map_fields[]{{1, "metadata", message, false, &metadata},
                                    {2, "data", text_map},
                                    {3, "binaryData", bytes_map},
                                    {4, "immutable", boolean}};
constexpr Message config_map{config_map_fields};
constexpr Field namespace_fields[]{{1, "metadata", message, false, &metadata}};
constexpr Message name_space{namespace_fields};
constexpr Field attribute_fields[]{{1, "namespace"}, {2, "verb"},        {3, "group"}, {4, "version"},
                                   {5, "resource"},  {6, "subresource"}, {7, "name"}};
constexpr Message resource_attributes{attribute_fields};
constexpr Field path_fields[]{{1, "path"}, {2, "verb"}};
constexpr Message path{path_fields};
constexpr Field review_spec_fields[]{{1, "resourceAttributes", message, false, &resource_attributes},
                                     {2, "nonResourceAttributes", message, false, &path}};
constexpr Message review_spec{review_spec_fields};
constexpr Field access_review_fields[]{{2, "spec", message, false, &review_spec}};
constexpr Message access_review{access_review_fields};
constexpr Message self_review{};
constexpr Field preconditions_fields[]{{1, "uid"}, {2, "resourceVersion"}};
constexpr Message preconditions{preconditions_fields};
constexpr Field delete_fields[]{{1, "gracePeriodSeconds", integer},
                                {2, "preconditions", message, false, &preconditions},
                                {3, "orphanDependents", boolean},
                                {4, "propagationPolicy"},
                                {5, "dryRun", text, true}};
constexpr Message delete_options{delete_fields};

const Message* message_of(std::string_view kind) {
  static const std::map<std::string_view, const Message*> known{{"Secret", &secret},
                                                                {"ConfigMap", &config_map},
                                                                {"Namespace", &name_space},
                                                                {"SelfSubjectAccessReview", &access_review},
                                                                {"SelfSubjectReview", &self_review},
                                                                {"DeleteOptions", &delete_options}};
  const auto found = known.find(kind);
  return found == known.end() ? nullptr : found->second;
}

/// Reads the wire format; nothing more is read after a malformed byte.
class Wire {
 public:
  explicit Wire(std::string_view bytes) : left_(bytes) {}

  struct Value {
    std::uint64_t field = 0;
    bool is_bytes = false;
    std::uint64_t number = 0;
    std::string_view bytes;
  };
  /// nullopt at the end, or where it is malformed.
  std::optional<Value> next() {
    if (left_.empty() || !good_) return std::nullopt;
    const auto tag = varint();
    Value value{.field = tag >> 3, .is_bytes = false, .number = 0, .bytes = {}};
    switch (tag & 7) {
      case 0:
        value.number = varint();
        break;
      case 1:
        take(8);
        break;
      case 2:
        value.is_bytes = true;
        value.bytes = take(varint());
        break;
      case 5:
        take(4);
        break;
      default:
        good_ = false;
    }
    return good_ ? std::optional(value) : std::nullopt;
  }
  bool good() const { return good_; }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_.empty()) break;
      const auto byte = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    good_ = false;
    return 0;
  }
  std::string_view take(std::uint64_t count) {
    if (count > left_.size()) good_ = false;
    if (!good_) return {};
    const auto taken = left_.substr(0, count);
    left_.remove_prefix(count);
    return taken;
  }

  std::string_view left_;
  bool good_ = true;
};

bool add_entry(json::object& object, const Field& field, std::string_view entry) {
  Wire wire(entry);
  std::string_view key;
  std::string_view value;
  while (const auto part = wire.next()) {
    if (part->field == 1) key = part->bytes;
    if (part->field == 2) value = part->bytes;
  }
  auto& map = object[field.name];
  if (!map.is_object()) map.emplace_object();
  map.get_object()[key] = field.type == bytes_map ? base64_encode(value) : std::string(value);
  return wire.good();
}

bool read(const Message& message, std::string_view body, int depth, json::object& object);

bool add(json::object& object, const Field& field, const Wire::Value& value, int depth) {
  if (field.type == text_map || field.type == bytes_map) return value.is_bytes && add_entry(object, field, value.bytes);
  json::value read_value;
  if (field.type == Field::Type::message) {
    json::object inner;
    if (!value.is_bytes || !read(*field.message, value.bytes, depth + 1, inner)) return false;
    read_value = std::move(inner);
  } else if (field.type == boolean) {
    read_value = value.number != 0;
  } else if (field.type == integer) {
    read_value = static_cast<std::int64_t>(value.number);
  } else {
    // An empty string is how protobuf says that there is none.
    if (value.bytes.empty() && !field.repeated) return value.is_bytes;
    if (!value.is_bytes) return false;
    read_value = std::string(value.bytes);
  }
  if (!field.repeated) {
    object[field.name] = std::move(read_value);
    return true;
  }
  auto& list = object[field.name];
  if (!list.is_array()) list.emplace_array();
  list.get_array().push_back(std::move(read_value));
  return true;
}

bool read(const Message& message, std::string_view body, int depth, json::object& object) {
  if (depth > depth_max) return false;
  Wire wire(body);
  while (const auto value = wire.next())
    for (const auto& field : message.fields)
      if (field.number == value->field && !add(object, field, *value, depth)) return false;
  return wire.good();
}

}  // namespace

Result<json::object> parse_protobuf(std::string_view body) {
  const auto malformed = [] { return fail(Errc::invalid, "the body is not Kubernetes' protobuf"); };
  if (!body.starts_with(magic)) return malformed();
  Wire envelope(body.substr(magic.size()));
  std::string_view type;
  std::string_view raw;
  while (const auto value = envelope.next()) {
    if (value->field == 1) type = value->bytes;
    if (value->field == 2) raw = value->bytes;
  }
  Wire type_fields(type);
  std::string api_version;
  std::string kind;
  while (const auto value = type_fields.next()) {
    if (value->field == 1) api_version = std::string(value->bytes);
    if (value->field == 2) kind = std::string(value->bytes);
  }
  if (!envelope.good() || !type_fields.good()) return malformed();
  const auto* message = message_of(kind);
  if (!message)
    return fail(Errc::unsupported, fmt::format("a {} is not read from protobuf", printable(kind)),
                "send it as application/json");
  json::object object{{"apiVersion", api_version}, {"kind", kind}};
  if (!read(*message, raw, 0, object)) return malformed();
  return object;
}

}  // namespace wick::api
