// Annotations of a revision template beside the autoscaler's: progress-deadline, networking.knative.dev/*, the queue
// proxy's resources and features (serving.md 1.4, 1.5).
#pragma once

#include <optional>
#include <string>

#include "wick/base/time.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::model {

/// `path` is that of the annotations. Gives the progress deadline where one is set.
std::optional<seconds> check_template_annotations(const TextMap& annotations, const std::string& path,
                                                  FieldErrors& errors);

/// networking.knative.dev/*: keys that Knative does not know are mistakes.
void check_networking_annotations(const TextMap& annotations, const std::string& path, FieldErrors& errors);

}  // namespace wick::model
