// Headers of the PROXY protocol: no crash, a header lies within what was given, and is judged the same once more came.
#include <cstdlib>
#include <string_view>

#include "http/proxy_header.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view bytes =
      std::string_view(reinterpret_cast<const char*>(data), size).substr(0, ProxyHeader::bytes_max);
  const auto whole = read_proxy_header(bytes);
  if (whole.state != ProxyHeader::State::complete) return 0;
  if (whole.bytes > bytes.size()) std::abort();
  const auto exact = read_proxy_header(bytes.substr(0, whole.bytes));
  if (exact.state != whole.state || exact.client != whole.client) std::abort();
  if (read_proxy_header(bytes.substr(0, whole.bytes - 1)).state == ProxyHeader::State::complete) std::abort();
  return 0;
}
