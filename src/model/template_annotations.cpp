#include "model/template_annotations.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "wick/base/text.hpp"
#include "wick/model/quantity.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

namespace {

constexpr std::string_view networking = "networking.knative.dev/";
constexpr std::array<std::string_view, 10> networking_known{
    "ingress.class",  "ingress-class",    "certificate.class",           "certificate-class",
    "disableAutoTLS", "disable-auto-tls", "disable-external-domain-tls", "httpOption",
    "http-protocol",  "http-option"};

constexpr std::string_view queue = "queue.sidecar.serving.knative.dev/";
constexpr std::array<std::string_view, 6> queue_quantities{"cpu-resource-request",
                                                           "cpu-resource-limit",
                                                           "memory-resource-request",
                                                           "memory-resource-limit",
                                                           "ephemeral-storage-resource-request",
                                                           "ephemeral-storage-resource-limit"};

constexpr std::string_view features = "features.knative.dev/";

std::optional<seconds> check_progress_deadline(const TextMap& annotations, const std::string& path,
                                               FieldErrors& errors) {
  std::string key(names::progress_deadline);
  auto found = annotations.find(key);
  if (found == annotations.end()) {
    key = "serving.knative.dev/progressDeadline";
    found = annotations.find(key);
  }
  if (found == annotations.end() || found->second.empty()) return std::nullopt;
  const auto& text = found->second;
  const auto at = field_path(path, key);
  const auto deadline = parse_go_duration(text);
  if (!deadline)
    errors.invalid_value(printable(text), at);
  else if (deadline->count() % 1000 != 0)
    errors.add(fmt::format("progress-deadline={} is not at second precision", printable(text)), {at});
  else if (*deadline <= 0ms)
    errors.add(fmt::format("progress-deadline={} must be positive", printable(text)), {at});
  else
    return std::chrono::duration_cast<seconds>(*deadline);
  return std::nullopt;
}

void check_percentage(const std::string& text, const std::string& at, FieldErrors& errors) {
  double value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size())
    errors.invalid_value(printable(text), at);
  else if (value < 0.1 || value > 100)
    errors.out_of_bounds(printable(text), "0.1", "100", at);
}

}  // namespace

void check_networking_annotations(const TextMap& annotations, const std::string& path, FieldErrors& errors) {
  for (const auto& [key, value] : annotations)
    if (key.starts_with(networking) &&
        std::ranges::find(networking_known, std::string_view(key).substr(networking.size())) == networking_known.end())
      errors.invalid_key(key, path);
}

std::optional<seconds> check_template_annotations(const TextMap& annotations, const std::string& path,
                                                  FieldErrors& errors) {
  check_networking_annotations(annotations, path, errors);
  for (const auto& [key, value] : annotations) {
    const auto at = field_path(path, key);
    const auto rest = [&](std::string_view domain) { return std::string_view(key).substr(domain.size()); };
    if (key.starts_with(queue)) {
      if (rest(queue) == "resource-percentage" || rest(queue) == "resourcePercentage")
        check_percentage(value, at, errors);
      else if (std::ranges::find(queue_quantities, rest(queue)) != queue_quantities.end() && !parse_quantity(value))
        errors.invalid_value(printable(value), at);
    } else if (key.starts_with(features) && value != "Enabled" && value != "Disabled" && value != "enabled" &&
               value != "disabled") {
      errors.invalid_value(printable(value), at);
    }
  }
  return check_progress_deadline(annotations, path, errors);
}

}  // namespace wick::model
