// Destinations and deliveries of kinds whose fields are checked and kept here; what acts on them decodes its own.
#include <fmt/format.h>

#include "model/kinds.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

void check_reference(ObjectReader reader, std::string_view own_namespace) {
  auto& errors = reader.errors();
  for (const auto key : {"name", "kind", "apiVersion"})
    if (reader.text(key).empty()) errors.missing(reader.path(key));
  const auto name_space = reader.text("namespace");
  if (!name_space.empty() && !own_namespace.empty() && name_space != own_namespace)
    errors.add(
        "mismatched namespaces", {reader.path("namespace")},
        fmt::format("parent namespace: \"{}\" does not match ref: \"{}\"", own_namespace, printable(name_space)));
  reader.refuse_rest();
}

void check_destination(ObjectReader reader, std::string_view own_namespace) {
  auto& errors = reader.errors();
  auto ref = reader.object("ref");
  const auto uri = reader.text("uri");
  if (!ref.present() && uri.empty())
    errors.add("expected at least one, got none", {reader.path("ref"), reader.path("uri")});
  if (ref.present())
    check_reference(std::move(ref), own_namespace);
  else if (!uri.empty() && !uri.starts_with("http://") && !uri.starts_with("https://"))
    errors.invalid_value("Relative URI is not allowed when Ref and [apiVersion, kind, name] is absent",
                         reader.path("uri"));
  reader.refuse_rest();
}

void check_delivery(ObjectReader reader, std::string_view own_namespace) {
  auto& errors = reader.errors();
  if (const auto retry = reader.integer("retry"); retry && *retry < 0)
    errors.invalid_value(std::to_string(*retry), reader.path("retry"));
  if (const auto policy = reader.text("backoffPolicy");
      !policy.empty() && policy != "linear" && policy != "exponential")
    errors.invalid_value(printable(policy), reader.path("backoffPolicy"));
  if (const auto format = reader.text("format"); !format.empty() && format != "json" && format != "binary")
    errors.invalid_value(printable(format), reader.path("format"));
  for (const auto& [key, low] : {std::pair{"backoffDelay", 0ms}, {"timeout", 1ms}, {"retryAfterMax", 0ms}})
    if (const auto text = reader.text(key); !text.empty()) {
      const auto duration = parse_iso8601_duration(text);
      if (!duration || *duration < low) errors.invalid_value(printable(text), reader.path(key));
    }
  if (auto sink = reader.object("deadLetterSink"); sink.present()) check_destination(std::move(sink), own_namespace);
  reader.refuse_rest();
}

}  // namespace wick::model
