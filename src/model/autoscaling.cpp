#include "wick/model/autoscaling.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <set>

#include "wick/base/text.hpp"

namespace wick::model {

namespace {

constexpr std::string_view domain = "autoscaling.knative.dev/";
constexpr std::string_view int_max = "2147483647";

std::string to_camel(std::string_view key) {
  std::string camel;
  bool upper = false;
  for (const char c : key) {
    if (c == '-') {
      upper = true;
    } else {
      camel += upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
      upper = false;
    }
  }
  return camel;
}

/// The annotations of one template, looked up by kebab-case key or its camelCase alias, remembering what was known.
class Annotations {
 public:
  Annotations(const TextMap& annotations, const std::string& path, FieldErrors& errors)
      : annotations_(annotations), path_(path), errors_(errors) {}

  struct Found {
    std::string path;
    std::string value;
  };
  std::optional<Found> find(std::string_view key) {
    const auto kebab = std::string(domain) + std::string(key);
    const auto camel = std::string(domain) + to_camel(key);
    known_.insert({kebab, camel});
    for (const auto& name : {kebab, camel})
      if (const auto found = annotations_.find(name); found != annotations_.end())
        return Found{field_path(path_, name), found->second};
    return std::nullopt;
  }

  std::optional<double> number(std::string_view key, double low, double high, std::string_view low_text,
                               std::string_view high_text) {
    const auto found = find(key);
    if (!found) return std::nullopt;
    const auto value = parse_number(found->value);
    if (!value)
      errors_.invalid_value(printable(found->value), found->path);
    else if (*value < low || *value > high)
      errors_.out_of_bounds(printable(found->value), low_text, high_text, found->path);
    else
      return value;
    return std::nullopt;
  }

  std::optional<int> count(std::string_view key) {
    const auto found = find(key);
    if (!found) return std::nullopt;
    int value = 0;
    const auto* end = found->value.data() + found->value.size();
    const auto [at, ec] = std::from_chars(found->value.data(), end, value);
    if (ec == std::errc::result_out_of_range || (ec == std::errc{} && at == end && value < 0))
      errors_.out_of_bounds(printable(found->value), "0", int_max, found->path);
    else if (ec != std::errc{} || at != end)
      errors_.invalid_value(printable(found->value), found->path);
    else
      return value;
    return std::nullopt;
  }

  std::optional<milliseconds> whole_seconds(std::string_view key, milliseconds low, std::string_view low_text) {
    const auto found = find(key);
    if (!found) return std::nullopt;
    const auto value = parse_go_duration(found->value);
    if (!value)
      errors_.invalid_value(printable(found->value), found->path);
    else if (*value < low || *value > std::chrono::hours(1))
      errors_.out_of_bounds(printable(found->value), low_text, "1h0m0s", found->path);
    else if (value->count() % 1000 != 0)
      errors_.add("must be specified with at most second precision", {found->path});
    else
      return *value;
    return std::nullopt;
  }

  static std::optional<double> parse_number(std::string_view text) {
    double value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
    return value;
  }

  void refuse_rest() {
    for (const auto& [key, value] : annotations_)
      if (key.starts_with(domain) && !known_.contains(key)) errors_.invalid_key(key, path_);
  }

 private:
  const TextMap& annotations_;
  const std::string& path_;
  FieldErrors& errors_;
  std::set<std::string> known_;
};

void check_scales(Annotations& annotations, const Autoscaling& scaling, const std::string& path, FieldErrors& errors) {
  const int min = scaling.min_scale.value_or(0);
  const int max = scaling.max_scale.value_or(0);
  if (max != 0 && max < min)
    errors.add(
        fmt::format("max-scale={} is less than min-scale={}", max, min),
        {field_path(path, "autoscaling.knative.dev/max-scale"), field_path(path, "autoscaling.knative.dev/min-scale")});
  if (const auto activation = annotations.find("activation-scale"); activation && scaling.activation_scale) {
    const int value = *scaling.activation_scale;
    if (min > value)
      errors.add(fmt::format("min-scale={} is greater than activation-scale={}", min, value), {activation->path});
    else if (max != 0 && max < value)
      errors.add(fmt::format("max-scale={} is less than activation-scale={}", max, value), {activation->path});
    else if (value < 2)
      errors.add(fmt::format("activation-scale={} must be greater than 1", value), {activation->path});
  }
}

void read_choices(Annotations& annotations, Autoscaling& scaling, FieldErrors& errors) {
  if (const auto name = annotations.find("class"); name && name->value != "kpa.autoscaling.knative.dev")
    errors.invalid_value(printable(name->value), name->path, "the autoscaler here is kpa.autoscaling.knative.dev");
  if (const auto metric = annotations.find("metric")) {
    if (metric->value == "rps")
      scaling.metric = Autoscaling::Metric::rps;
    else if (metric->value != "concurrency")
      errors.invalid_value(printable(metric->value), metric->path, "expected concurrency or rps");
  }
  if (const auto algorithm = annotations.find("metric-aggregation-algorithm")) {
    if (algorithm->value == "weighted-exponential")
      scaling.aggregation = Autoscaling::Aggregation::weighted_exponential;
    else if (algorithm->value != "linear")
      errors.invalid_value(printable(algorithm->value), algorithm->path, "expected linear or weighted-exponential");
  }
}

}  // namespace

Autoscaling decode_autoscaling(const TextMap& map, const std::string& path, FieldErrors& errors) {
  Annotations annotations(map, path, errors);
  Autoscaling scaling;
  read_choices(annotations, scaling, errors);
  scaling.min_scale = annotations.count("min-scale");
  scaling.max_scale = annotations.count("max-scale");
  scaling.activation_scale = annotations.count("activation-scale");
  check_scales(annotations, scaling, path, errors);
  scaling.initial_scale = annotations.count("initial-scale");
  scaling.panic_window_percentage = annotations.number("panic-window-percentage", 1, 100, "1", "100");
  scaling.panic_threshold_percentage = annotations.number("panic-threshold-percentage", 110, 1000, "110", "1000");
  scaling.target_utilization_percentage = annotations.number("target-utilization-percentage", 1, 100, "1", "100");
  if (const auto target = annotations.find("target")) {
    const auto value = Annotations::parse_number(target->value);
    if (!value)
      errors.invalid_value(printable(target->value), target->path);
    else if (*value < 0.01)
      errors.add(fmt::format("target {} should be at least 0.01", target->value), {target->path});
    else
      scaling.target = value;
  }
  if (const auto capacity = annotations.find("target-burst-capacity")) {
    const auto value = Annotations::parse_number(capacity->value);
    if (!value || (*value < 0 && *value != -1))
      errors.invalid_value(printable(capacity->value), capacity->path);
    else
      scaling.target_burst_capacity = value;
  }
  scaling.window = annotations.whole_seconds("window", 6s, "6s");
  scaling.scale_down_delay = annotations.whole_seconds("scale-down-delay", 0s, "0s");
  scaling.scale_to_zero_retention = annotations.whole_seconds("scale-to-zero-pod-retention-period", 0s, "0s");
  annotations.refuse_rest();
  return scaling;
}

void refuse_autoscaling(const TextMap& annotations, FieldErrors& errors) {
  for (const auto& [key, value] : annotations)
    if (key.starts_with(domain))
      errors.invalid_key(key, "metadata.annotations",
                         "autoscaling annotations must be put under \"spec.template.metadata.annotations\" to work");
}

}  // namespace wick::model
