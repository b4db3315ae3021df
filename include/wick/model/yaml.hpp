// Manifests as people write them: YAML to JSON values, with bounds on everything a short text can blow up (depth, size,
// aliases).
#pragma once

#include <boost/json/value.hpp>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::model {

struct YamlLimits {
  std::size_t bytes_max = 3 << 20;  // Kubernetes' own limit for a request body
  std::size_t depth_max = 64;
  std::size_t nodes_max = 200'000;  // counted after aliases are expanded: a "billion laughs" stops here
};

/// Every document of the stream; empty ones are left out. JSON is YAML. Errors: invalid with line and column,
/// too_large.
Result<std::vector<boost::json::value>> parse_yaml(std::string_view text, const YamlLimits& limits = {});

}  // namespace wick::model
