// Forwarded and lists of trusted networks: no crash, and what is well-formed stays so when our element is appended.
#include <cstdlib>
#include <string>

#include "../../src/http/forwarded.hpp"
#include "wick/http/trusted_proxies.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (is_forwarded(text)) {
    if (text.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) std::abort();
    if (!is_forwarded(text + ", for=192.0.2.1;host=\"a\";proto=http")) std::abort();
  }
  if (const auto proxies = TrustedProxies::parse(text)) {
    (void)proxies->contains("192.0.2.1");
    (void)proxies->contains("2001:db8::1");
  }
  TrustedProxies all;
  if (auto parsed = TrustedProxies::parse("0.0.0.0/0,::/0")) all = *parsed;
  (void)all.contains(text);
  return 0;
}
