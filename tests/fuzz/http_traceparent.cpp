// traceparent: what passes has the shape that every tracer reads at fixed offsets.
#include <cstdlib>
#include <string>

#include "../../src/http/trace_context.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (!is_traceparent(text)) return 0;
  if (text.size() < 55 || text.substr(0, 2) == "ff") std::abort();
  if (text.substr(0, 55).find_first_not_of("0123456789abcdef-") != std::string::npos) std::abort();
  if (text.substr(3, 32).find_first_not_of('0') == std::string::npos) std::abort();
  return 0;
}
