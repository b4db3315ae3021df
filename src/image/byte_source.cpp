#include "byte_source.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {

constexpr std::size_t buffer_bytes = 256 << 10;
// 128 MiB, what every zstd decoder takes without being asked (`zstd --long=27`); larger windows are how a small file
// takes all memory.
constexpr int zstd_window_log_max = 27;

constexpr unsigned char gzip_magic[] = {0x1f, 0x8b};
constexpr unsigned char zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};

bool starts_with(std::span<const char> bytes, std::span<const unsigned char> magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

// RFC 8878 3.1.2: 0x184D2A50 to 0x184D2A5F, little-endian.
bool is_skippable_frame(std::span<const char> bytes) {
  return bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 && bytes[1] == 0x2a &&
         bytes[2] == 0x4d && bytes[3] == 0x18;
}

}  // namespace

struct ByteSource::Inflater {
  z_stream stream{};
  bool in_member = true;
  Inflater() {
    if (inflateInit2(&stream, 15 + 16) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream); }
};

struct ByteSource::ZstdDecoder {
  ZSTD_DStream* stream = ZSTD_createDStream();
  std::size_t wanted = 1;  // 0 between frames
  ZstdDecoder() {
    if (stream == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(stream, ZSTD_d_windowLogMax, zstd_window_log_max);
  }
  ~ZstdDecoder() { ZSTD_freeDStream(stream); }
};

ByteSource::ByteSource(int fd, const UnpackLimits& limits)
    : fd_(fd), limits_(limits), buffer_(std::make_unique<char[]>(buffer_bytes)) {}

ByteSource::~ByteSource() = default;

Result<void> ByteSource::refill() {
  while (true) {
    const auto got = ::read(fd_, buffer_.get(), buffer_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read the archive", errno));
    input_ = {buffer_.get(), static_cast<std::size_t>(got)};
    bytes_in_ += input_.size();
    return {};
  }
}

Result<void> ByteSource::detect() {
  std::size_t have = 0;
  while (have < 4) {  // a pipe may give one byte at a time
    const auto got = ::read(fd_, buffer_.get() + have, buffer_bytes - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read the archive", errno));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  input_ = {buffer_.get(), have};
  bytes_in_ = have;
  form_ = Form::plain;
  if (starts_with(input_, gzip_magic)) {
    form_ = Form::gzip;
    inflater_ = std::make_unique<Inflater>();
  } else if (starts_with(input_, zstd_magic) || is_skippable_frame(input_)) {
    form_ = Form::zstd;
    zstd_ = std::make_unique<ZstdDecoder>();
  }
  return {};
}

Result<std::size_t> ByteSource::read(std::span<char> into) {
  if (form_ == Form::unknown)
    if (auto detected = detect(); !detected) return fail(std::move(detected.error()));
  if (ended_ || into.empty()) return 0;
  auto got = form_ == Form::plain ? read_plain(into) : form_ == Form::gzip ? read_gzip(into) : read_zstd(into);
  if (!got) return got;
  if (*got == 0) ended_ = true;
  bytes_out_ += *got;
  // Headers and padding come on top of the files' bytes; twice the limit is more than any sane archive needs.
  if (bytes_out_ > 2 * limits_.bytes_max + (1 << 20))
    return fail(Errc::too_large, fmt::format("the archive is longer than {}", human_bytes(2 * limits_.bytes_max)));
  if (form_ != Form::plain && bytes_out_ > limits_.ratio_free_bytes && bytes_out_ / limits_.ratio_max > bytes_in_)
    return fail(Errc::too_large, fmt::format("{} of archive decompress to more than {} times as much",
                                             human_bytes(bytes_in_), limits_.ratio_max));
  return got;
}

Result<std::size_t> ByteSource::read_whole(std::span<char> into) {
  std::size_t have = 0;
  while (have < into.size()) {
    auto got = read(into.subspan(have));
    if (!got) return got;
    if (*got == 0 && have == 0) return 0;
    if (*got == 0) return fail(Errc::corrupt, "the archive is cut off");
    have += *got;
  }
  return have;
}

Result<std::size_t> ByteSource::read_plain(std::span<char> into) {
  if (input_.empty())
    if (auto more = refill(); !more) return fail(std::move(more.error()));
  const auto count = std::min(into.size(), input_.size());
  std::memcpy(into.data(), input_.data(), count);
  input_ = input_.subspan(count);
  return count;
}

// Members may follow each other (RFC 1952 2.2); zeros may pad the end, as on tapes; anything else is not ours.
Result<void> ByteSource::after_gzip_member() {
  if (starts_with(input_, gzip_magic) ||
      (input_.size() == 1 && static_cast<unsigned char>(input_[0]) == gzip_magic[0])) {
    inflateReset(&inflater_->stream);
    inflater_->in_member = true;
    return {};
  }
  if (std::any_of(input_.begin(), input_.end(), [](char c) { return c != 0; }))
    return fail(Errc::corrupt, "bytes after the end of the gzip stream");
  input_ = {};
  return {};
}

Result<std::size_t> ByteSource::read_gzip(std::span<char> into) {
  z_stream& stream = inflater_->stream;
  while (true) {
    if (input_.empty()) {
      if (auto more = refill(); !more) return fail(std::move(more.error()));
      if (input_.empty() && inflater_->in_member) return fail(Errc::corrupt, "the gzip stream is cut off");
      if (input_.empty()) return 0;
    }
    if (!inflater_->in_member) {
      if (auto next = after_gzip_member(); !next) return fail(std::move(next.error()));
      continue;
    }
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.data()));
    stream.avail_in = static_cast<uInt>(input_.size());
    stream.next_out = reinterpret_cast<Bytef*>(into.data());
    stream.avail_out = static_cast<uInt>(std::min<std::size_t>(into.size(), 1u << 30));
    const auto room = stream.avail_out;
    const int code = inflate(&stream, Z_NO_FLUSH);
    input_ = input_.last(stream.avail_in);
    if (code == Z_STREAM_END) inflater_->in_member = false;
    if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
      return fail(Errc::corrupt, fmt::format("gzip: {}", stream.msg != nullptr ? stream.msg : zError(code)));
    if (stream.avail_out != room) return room - stream.avail_out;
  }
}

Result<std::size_t> ByteSource::read_zstd(std::span<char> into) {
  while (true) {
    // The decoder may hold output back when `into` was full, so it is asked before it is fed.
    ZSTD_inBuffer in{input_.data(), input_.size(), 0};
    ZSTD_outBuffer out{into.data(), into.size(), 0};
    if (!input_.empty() || zstd_->wanted != 0) {
      const auto code = ZSTD_decompressStream(zstd_->stream, &out, &in);
      if (ZSTD_isError(code)) return fail(Errc::corrupt, fmt::format("zstd: {}", ZSTD_getErrorName(code)));
      zstd_->wanted = code;
      input_ = input_.subspan(in.pos);
    }
    if (out.pos != 0) return out.pos;
    if (!input_.empty()) continue;
    if (auto more = refill(); !more) return fail(std::move(more.error()));
    if (input_.empty() && zstd_->wanted != 0) return fail(Errc::corrupt, "the zstd stream is cut off");
    if (input_.empty()) return 0;
  }
}

}  // namespace wick::image
