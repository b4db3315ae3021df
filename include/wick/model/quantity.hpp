// Kubernetes' resource.Quantity: "500m", "1", "1.5", "128Mi", "2G", "1e3".
#pragma once

#include <cstdint>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::model {

/// In thousandths, rounded up as Kubernetes does; at most 2^63-1 of them.
struct Quantity {
  std::int64_t milli = 0;
  std::int64_t whole() const { return milli / 1000 + (milli % 1000 != 0); }
};

Result<Quantity> parse_quantity(std::string_view text);

}  // namespace wick::model
