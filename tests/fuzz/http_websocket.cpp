// WebSocket frames: no crash, no message past its bound, and the same messages whether the bytes come whole or one at a
// time.
#include <cstdlib>
#include <string>
#include <string_view>

#include "wick/http/websocket.hpp"

using namespace wick::http;

namespace {

constexpr std::size_t bytes_max = 4096;

std::string read(std::string_view bytes, WebSocketEnd we_are, std::size_t step) {
  WebSocketReader reader(we_are, bytes_max);
  std::string told;
  while (!bytes.empty()) {
    auto part = bytes.substr(0, step);
    bytes.remove_prefix(part.size());
    while (true) {
      auto message = reader.take(part);
      if (!message) return told + "error " + message.error().message;
      if (!*message) break;
      if ((*message)->data.size() > bytes_max) std::abort();
      told += std::to_string(static_cast<int>((*message)->kind)) + " " + std::to_string((*message)->code) + " " +
              (*message)->data + "\n";
    }
    if (!part.empty()) std::abort();
  }
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  for (const auto end : {WebSocketEnd::server, WebSocketEnd::client})
    if (read(bytes, end, bytes.size() + 1) != read(bytes, end, 1)) std::abort();
  return 0;
}
