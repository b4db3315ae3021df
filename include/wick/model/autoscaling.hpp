// autoscaling.knative.dev/* annotations of a revision template (serving.md 1.5): parsed, checked, still without the
// box's defaults.
#pragma once

#include <optional>

#include "wick/base/time.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

struct Autoscaling {
  enum class Metric { concurrency, rps } metric = Metric::concurrency;
  enum class Aggregation { linear, weighted_exponential } aggregation = Aggregation::linear;
  std::optional<double> target;
  std::optional<double> target_utilization_percentage;
  std::optional<double> target_burst_capacity;
  std::optional<double> panic_window_percentage;
  std::optional<double> panic_threshold_percentage;
  std::optional<int> min_scale;
  std::optional<int> max_scale;
  std::optional<int> initial_scale;
  std::optional<int> activation_scale;
  std::optional<milliseconds> window;
  std::optional<milliseconds> scale_down_delay;
  std::optional<milliseconds> scale_to_zero_retention;
};

/// `path` is that of the annotations: "spec.template.metadata.annotations". Keys of the domain that no autoscaler knows
/// and classes and metrics that this build has not are refused.
Autoscaling decode_autoscaling(const TextMap& annotations, const std::string& path, FieldErrors& errors);

/// autoscaling.knative.dev/* anywhere but on the template is a mistake Knative names.
void refuse_autoscaling(const TextMap& annotations, FieldErrors& errors);

}  // namespace wick::model
