// The child's side of registries.hpp: runs confined, reads its errand from standard input.
#pragma once

#include <string>

#include "wick/base/error.hpp"

namespace wick::build {

Result<void> registry_resolve_here();
Result<void> registry_pull_here(const std::string& folder);
/// The archive of the image `name` follows the errand.
Result<void> registry_push_here(const std::string& folder, const std::string& name);

}  // namespace wick::build
