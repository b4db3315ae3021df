// A CESQL expression from outside: it is refused, or it gives a value for an event with and one without attributes.
#include <cstdint>
#include <string_view>

#include "eventing/cesql.hpp"

using namespace wick::eventing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto expression = cesql::Expression::parse({reinterpret_cast<const char*>(bytes), size});
  if (!expression) return 0;
  static const CloudEvent full{.attributes = {{"specversion", "1.0"},
                                              {"id", "1"},
                                              {"source", "/Ü"},
                                              {"type", "a.b"},
                                              {"n", -2147483647 - 1},
                                              {"flag", true}}};
  expression->evaluate(full);
  expression->evaluate({});
  return 0;
}
