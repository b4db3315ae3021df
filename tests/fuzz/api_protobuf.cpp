// Kubernetes' protobuf as a body brings it.
#include <cstdint>
#include <string_view>

#include "api/protobuf.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)wick::api::parse_protobuf({reinterpret_cast<const char*>(data), size});
  return 0;
}
