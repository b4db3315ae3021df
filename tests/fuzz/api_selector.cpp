// labelSelector and fieldSelector as a query brings them.
#include <boost/json/parse.hpp>
#include <cstdint>
#include <string_view>

#include "api/selectors.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  static const auto object =
      boost::json::parse(R"({"metadata":{"name":"a","labels":{"a":"b"}},"involvedObject":{"kind":"x"}})").as_object();
  const auto end = text.find('\n');
  const auto selector =
      wick::api::Selector::parse(text.substr(0, end), end == text.npos ? "" : text.substr(end + 1), "events");
  if (selector) (void)selector->matches(object);
  return 0;
}
