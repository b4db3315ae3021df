// The name of one running thing: 16 lower-case hex digits. Fixed in size, so that it can cross to the runner as it is.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::container {

class InstanceId {
 public:
  static constexpr std::size_t size = 16;

  InstanceId() = default;  // empty: names nothing
  static InstanceId random();
  static Result<InstanceId> parse(std::string_view text);

  std::string_view text() const { return {digits_.data(), empty() ? 0 : size}; }
  bool empty() const { return digits_[0] == '\0'; }
  auto operator<=>(const InstanceId&) const = default;

 private:
  std::array<char, size> digits_{};
};

}  // namespace wick::container

template <>
struct std::hash<wick::container::InstanceId> {
  std::size_t operator()(const wick::container::InstanceId& id) const noexcept {
    return std::hash<std::string_view>{}(id.text());
  }
};
