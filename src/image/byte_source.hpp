// The bytes of an archive from a file descriptor, decompressed on the way: plain, gzip or zstd, told by the first
// bytes. What is hostile about compression stops here: truncation, bad checksums, junk after the end, windows of
// gigabytes, bombs.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "wick/base/error.hpp"
#include "wick/image/layer.hpp"

namespace wick::image {

class ByteSource {
 public:
  ByteSource(int fd, const UnpackLimits& limits);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;

  /// At least one byte, or 0 at the end of a stream that was complete. Errors: corrupt, too_large (bomb), io.
  Result<std::size_t> read(std::span<char> into);
  /// Fills `into`, or gives 0 when the stream ended right before it; an end in the middle is corrupt.
  Result<std::size_t> read_whole(std::span<char> into);

 private:
  struct Inflater;
  struct ZstdDecoder;
  enum class Form { unknown, plain, gzip, zstd };

  Result<void> detect();
  Result<void> refill();  // more input into the empty buffer; leaves it empty at end of file
  Result<std::size_t> read_plain(std::span<char> into);
  Result<std::size_t> read_gzip(std::span<char> into);
  Result<std::size_t> read_zstd(std::span<char> into);
  Result<void> after_gzip_member();

  int fd_;
  UnpackLimits limits_;
  Form form_ = Form::unknown;
  std::unique_ptr<char[]> buffer_;
  std::span<const char> input_;  // the unread part of buffer_
  std::uint64_t bytes_in_ = 0;
  std::uint64_t bytes_out_ = 0;
  std::unique_ptr<Inflater> inflater_;
  std::unique_ptr<ZstdDecoder> zstd_;
  bool ended_ = false;
};

}  // namespace wick::image
