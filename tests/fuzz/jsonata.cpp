// A JSONata expression from outside: it is refused, or ends on an event within its bounds, with a value or an error.
#include <cstdint>
#include <string_view>

#include "wick/eventing/transform.hpp"

using namespace wick::eventing;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const auto transform = Transform::parse({reinterpret_cast<const char*>(bytes), size});
  if (!transform) return 0;
  constexpr std::string_view event =
      R"({"specversion":"1.0","id":"1","source":"/ü","type":"a.b","time":"2026-03-01T12:34:56Z",
    "data":{"items":[{"price":1.5,"qty":10,"tags":["a","b"],"d":"abab"},{"price":-3,"qty":0,"tags":[]}],"n":null,"t":true,
    "a":[[1,2],[3,[4]]],"s":"héllo 😀","o":{"x":{"y":1}}}})";
  (void)transform->apply(event, {.steps = 20'000, .time = std::chrono::milliseconds(200), .bytes = 1 << 20});
  return 0;
}
