// Response heads of a hostile instance: no crash, and the same verdict whether the bytes come whole or one at a time.
#include <cstdlib>
#include <string_view>

#include "../../src/http/head_parser.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const bool head_request = data[0] & 1;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const HeadLimits limits{.head_bytes_max = 2048, .line_bytes_max = 1024, .fields_max = 20};
  ResponseParser whole(limits);
  ResponseParser bytes(limits);
  whole.answers_head(head_request);
  bytes.answers_head(head_request);
  const auto parsed = whole.parse(text);
  auto stepped = Parsed::incomplete;
  for (std::size_t end = 1; end <= text.size() && stepped == Parsed::incomplete; ++end)
    stepped = bytes.parse(text.substr(0, end));
  if (!text.empty() && parsed != stepped) std::abort();
  if (parsed == Parsed::complete) {
    if (whole.head_bytes() != bytes.head_bytes() || !(whole.framing() == bytes.framing())) std::abort();
    if (whole.status() < 100 || whole.status() > 599) std::abort();
  }
  return 0;
}
