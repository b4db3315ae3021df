// Host: what passes has a host, a port that is a number, and nothing that a log, a header or a table key must fear.
#include <cstdlib>
#include <string>

#include "../../src/http/head_parser.hpp"
#include "wick/http/message.hpp"

using namespace wick::http;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (!is_authority(text)) return 0;
  for (const char c : text)
    if (c <= 0x20 || c >= 0x7f || c == '/' || c == '@' || c == '"' || c == '\\' || c == '<' || c == '>') std::abort();
  RequestHead head{.authority = text};
  if (head.host().empty()) std::abort();
  const auto rest = text.substr(head.host().size());
  if (!rest.empty() && (rest[0] != ':' || rest.find_first_not_of("0123456789", 1) != std::string::npos)) std::abort();
  return 0;
}
