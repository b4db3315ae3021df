// Chunked bodies: no crash, and the same body and end whether the bytes come whole or one at a time.
#include <cstdlib>
#include <string>
#include <string_view>

#include "../../src/http/chunked.hpp"

using wick::http::ChunkDecoder;

namespace {

struct Decoded {
  ChunkDecoder::Status status = ChunkDecoder::Status::need_more;
  std::string body;
  std::size_t consumed = 0;
};

Decoded decode(std::string_view text, std::size_t step_bytes) {
  ChunkDecoder decoder;
  Decoded result;
  std::size_t visible = 0;
  while (true) {
    const auto step = decoder.step(text.substr(result.consumed, visible - result.consumed));
    result.consumed += step.consumed;
    result.body += step.data;
    result.status = step.status;
    if (step.status == ChunkDecoder::Status::done || step.status == ChunkDecoder::Status::failed) return result;
    if (step.status != ChunkDecoder::Status::need_more) continue;
    if (visible == text.size()) return result;
    visible = std::min(text.size(), visible + step_bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto whole = decode(text, text.size());
  const auto bytes = decode(text, 1);
  if (whole.status != bytes.status || whole.body != bytes.body || whole.consumed != bytes.consumed) std::abort();
  return 0;
}
