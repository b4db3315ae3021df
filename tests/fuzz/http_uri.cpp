// Request targets and what services make of them: no crash, nothing that ends a line or starts a field gets through,
// and percent-encoding is undone exactly.
#include <cstdlib>
#include <string>

#include "../../src/http/head_parser.hpp"
#include "wick/http/message.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string target(reinterpret_cast<const char*>(data), size);
  for (const auto* method : {"GET ", "OPTIONS "}) {
    const auto text = method + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
    RequestParser parser(HeadLimits{});
    if (parser.parse(text) != Parsed::complete) continue;
    const auto taken = HeadParser::text(text, parser.target());
    if (!taken.empty() && taken.front() != '/' && taken != "*") std::abort();
    for (const char c : taken)
      if (c <= 0x20 || c >= 0x7f) std::abort();
    if (!is_authority(HeadParser::text(text, parser.authority()))) std::abort();
  }
  RequestHead head{.target = target};
  if (head.path().size() + head.query().size() > target.size()) std::abort();
  (void)query_value(head.query(), "a");
  (void)percent_decode(target);
  if (target.find('\0') == std::string::npos && percent_decode(percent_encode(target)) != target) std::abort();
  return 0;
}
