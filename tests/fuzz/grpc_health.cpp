// What a program answers to the gRPC probe: any bytes, in pieces of any size. Must end, and never crash.
#include <cstdint>

#include "serving/grpc_health.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = data[0] + 1u;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  wick::serving::GrpcHealthCheck check("shop", "127.0.0.1:8080");
  while (!rest.empty() && !check.done()) {
    check.take_output();
    const auto part = rest.substr(0, piece);
    check.read(part);
    rest.remove_prefix(part.size());
  }
  check.take_output();
  check.complaint();
  return 0;
}
