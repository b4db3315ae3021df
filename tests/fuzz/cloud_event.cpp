// An event from outside: "Name: value" lines, an empty line, the body. What is accepted must come back from both
// encodings as it was.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "wick/base/text.hpp"
#include "wick/eventing/cloud_event.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

/// Header fields carry no types, and an empty body is no body.
void must_be_same(const CloudEvent& original, const CloudEvent& again) {
  must(original.attributes.size() == again.attributes.size());
  for (const auto& [name, value] : original.attributes) must(again.text(name) == to_text(value));
  must(original.data.value_or("") == again.data.value_or(""));
}

void check(const CloudEvent& event) {
  must(validate(event).has_value());
  http::Fields fields;
  const std::string body = encode_binary(event, fields);
  const auto binary = decode_message(fields, body);
  must(binary && binary->size() == 1);
  must_be_same(event, binary->front());

  // JSON does not keep space around a JSON value, and a missing media type becomes application/json with `data` only.
  auto json = decode_json(encode_json(event));
  must(json.has_value());
  must(json->attributes == event.attributes);
  must(trim(json->data.value_or("")) == trim(event.data.value_or("")));
  must(attributes_from_json(attributes_to_json(event)).value() == event.attributes);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(bytes), size);
  http::Fields fields;
  while (true) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return 0;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.empty()) break;
    const auto colon = line.find(':');
    if (colon == std::string_view::npos) return 0;
    fields.add(std::string(line.substr(0, colon)), std::string(trim(line.substr(colon + 1))));
  }
  if (const auto events = decode_message(fields, text))
    for (const CloudEvent& event : *events) check(event);
  return 0;
}
