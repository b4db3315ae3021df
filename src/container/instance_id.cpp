#include "wick/container/instance_id.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::container {

InstanceId InstanceId::random() {
  InstanceId id;
  const std::string hex = random_hex(size / 2);
  std::ranges::copy(hex, id.digits_.begin());
  return id;
}

Result<InstanceId> InstanceId::parse(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (text.size() != size || !std::ranges::all_of(text, is_digit))
    return fail(Errc::invalid,
                fmt::format("an instance id is {} lower-case hex digits, not '{}'", size, printable(text, 40)));
  InstanceId id;
  std::ranges::copy(text, id.digits_.begin());
  return id;
}

}  // namespace wick::container
