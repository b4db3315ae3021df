// Directory, order, authorization and problem of an ACME server that means no good.
#include <cstdint>
#include <string_view>

#include "app/acme/answers.hpp"

namespace {

void expect_https(const std::string& url) {
  if (!url.starts_with("https://") || url.find_first_of(" \r\n") != std::string::npos) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::app::acme;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto directory = parse_directory(bytes))
    for (const auto& url : {directory->new_nonce, directory->new_account, directory->new_order}) expect_https(url);
  if (const auto order = parse_order(bytes)) {
    expect_https(order->finalize);
    for (const auto& url : order->authorizations) expect_https(url);
    if (order->status == Status::valid) expect_https(order->certificate);
  }
  if (const auto authorization = parse_authorization(bytes))
    for (const auto& challenge : authorization->challenges) {
      expect_https(challenge.url);
      if (challenge.token.empty() || challenge.token.find_first_of("/.%\r\n ") != std::string::npos) __builtin_trap();
    }
  const auto trouble = parse_trouble(bytes);
  if (trouble.text().find('\n') != std::string::npos) __builtin_trap();
  (void)parse_retry_after(bytes, {});
  (void)parse_nonce(bytes);
  return 0;
}
