// Tokens of senders: nothing but what the key signed is ever good.
#include <cstdlib>
#include <string_view>

#include "wick/eventing/access.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const wick::WallTime now{std::chrono::hours(24)};
  if (wick::eventing::verify_sender_token(text, "audience", "a key that no input knows", now)) std::abort();
  return 0;
}
