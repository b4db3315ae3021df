// A question from inside an instance, and a reply from a resolver.
#include "container/dns_message.hpp"

#include <cstdint>
#include <cstdlib>

using namespace wick::container;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto question = dns::parse_question(bytes);
  if (!question) return 0;
  if (question->end > size || question->name.size() > 320) std::abort();
  const auto reply = dns::answer(bytes, *question, dns::Code::ok, {std::string(4, '\1'), std::string(16, '\2')});
  if (!dns::answers(reply, *question)) std::abort();
  return 0;
}
