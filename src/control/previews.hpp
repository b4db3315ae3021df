// How a built image becomes a preview, and a preview a target of the Route.
#pragma once

#include <string>
#include <vector>

#include "control/world.hpp"
#include "wick/control/previews.hpp"
#include "wick/model/preview.hpp"
#include "wick/model/service.hpp"

namespace wick::control {

/// Makes the Configuration of the preview, or gives it this image: the Service's template as it is now, without a
/// fixed revision name and without instances that are kept, and the variables that orders of this branch changed.
/// Errors: those of check_preview, and of the table.
awaitable<Result<ObjectValue>> apply_preview(World& world, std::string name_space, model::PreviewOrder order,
                                             std::string image, std::string commit);

/// What a Service's Route gets for its previews: those that were ready once, and whose tags the Service does not use
/// itself. So a preview that does not start never holds its Service up.
std::vector<model::TrafficTarget> preview_targets(World& world, const json::object& service);

}  // namespace wick::control
