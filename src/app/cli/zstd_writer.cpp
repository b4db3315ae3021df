#include "app/cli/zstd_writer.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <new>

namespace wick::app::cli {

ZstdWriter::ZstdWriter(Sink sink)
    : context_(ZSTD_createCCtx()), sink_(std::move(sink)), out_(ZSTD_CStreamOutSize(), '\0') {
  if (!context_) throw std::bad_alloc();
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1);
  // A library without threads says no, and compresses all the same.
  const auto cores = std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN));
  ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers, static_cast<int>(std::min(cores, 16L)));
}

Result<void> ZstdWriter::go_on(std::string_view bytes, ZSTD_EndDirective directive) {
  ZSTD_inBuffer in{.src = bytes.data(), .size = bytes.size(), .pos = 0};
  while (true) {
    ZSTD_outBuffer out{.dst = out_.data(), .size = out_.size(), .pos = 0};
    const auto left = ZSTD_compressStream2(context_.get(), &out, &in, directive);
    if (ZSTD_isError(left)) return fail(Errc::internal, fmt::format("zstd: {}", ZSTD_getErrorName(left)));
    if (out.pos > 0)
      if (auto taken = sink_(std::string_view(out_).substr(0, out.pos)); !taken) return taken;
    if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return {};
  }
}

}  // namespace wick::app::cli
