// WWW-Authenticate of a registry that means no good.
#include <cstdint>
#include <string_view>

#include "image/challenge.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view field(reinterpret_cast<const char*>(data), size);
  if (auto challenges = wick::image::parse_challenges(field))
    for (const auto& challenge : *challenges)
      if (challenge.scheme.empty() || (!challenge.token.empty() && !challenge.parameters.empty())) __builtin_trap();
  return 0;
}
