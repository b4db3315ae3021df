// A zstd stream (RFC 8878) made on all cores, written on as it comes.
#pragma once

#include <zstd.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::app::cli {

class ZstdWriter {
 public:
  using Sink = std::function<Result<void>(std::string_view)>;

  explicit ZstdWriter(Sink sink);
  /// Errors: the sink's; internal, of the compressor.
  Result<void> write(std::string_view bytes) { return go_on(bytes, ZSTD_e_continue); }
  /// The rest. Without it the stream is cut, and every reader says so.
  Result<void> finish() { return go_on({}, ZSTD_e_end); }

 private:
  Result<void> go_on(std::string_view bytes, ZSTD_EndDirective directive);

  struct Free {
    void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> context_;
  Sink sink_;
  std::string out_;
};

}  // namespace wick::app::cli
