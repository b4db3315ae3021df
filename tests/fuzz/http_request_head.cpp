// Request heads: no crash, and the same verdict whether the bytes come whole or one at a time.
#include <cstdlib>
#include <string_view>

#include "../../src/http/head_parser.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const HeadLimits limits{.head_bytes_max = 2048, .line_bytes_max = 1024, .fields_max = 20};
  RequestParser whole(limits);
  RequestParser bytes(limits);
  const auto parsed = whole.parse(text);
  auto stepped = Parsed::incomplete;
  for (std::size_t end = 1; end <= size && stepped == Parsed::incomplete; ++end)
    stepped = bytes.parse(text.substr(0, end));
  if (size > 0 && parsed != stepped) std::abort();
  if (parsed == Parsed::complete) {
    if (whole.head_bytes() != bytes.head_bytes() || !(whole.framing() == bytes.framing())) std::abort();
    for (const auto& field : whole.fields()) {
      const auto value = HeadParser::text(text, field.value);
      if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos) std::abort();
    }
    if (HeadParser::text(text, whole.target()).find_first_of(" \t\r\n") != std::string_view::npos) std::abort();
  }
  return 0;
}
