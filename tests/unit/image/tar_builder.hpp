// Builds tar archives byte by byte, the impossible ones too; and a memfd to read them from.
#pragma once

#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "wick/os/fd.hpp"
#include "wick/os/files.hpp"

namespace wick::test {

struct Member {
  std::string name;
  char type = '0';
  std::string data;
  std::string link;
  unsigned mode = 0644;
  std::uint64_t uid = ::geteuid();
  std::uint64_t gid = ::getegid();
  long long mtime = 1'000'000'000;
  unsigned major = 0;
  unsigned minor = 0;
  long long size = -1;  // -1: of data
};

class TarBuilder {
 public:
  TarBuilder& add(const Member& member) {
    std::string header(512, '\0');
    put(header, 0, member.name.substr(0, 100));
    put_octal(header, 100, 7, member.mode);
    put_number(header, 108, 8, member.uid);
    put_number(header, 116, 8, member.gid);
    put_number(header, 124, 12, member.size >= 0 ? member.size : static_cast<long long>(member.data.size()));
    put_number(header, 136, 12, static_cast<std::uint64_t>(member.mtime));
    header[156] = member.type;
    put(header, 157, member.link.substr(0, 100));
    put(header, 257,
        std::string("ustar\0"
                    "00",
                    8));
    put_octal(header, 329, 7, member.major);
    put_octal(header, 337, 7, member.minor);
    return block(header, member.data);
  }
  /// A header as it is, with its checksum put right, and data.
  TarBuilder& block(std::string header, std::string_view data) {
    std::memset(header.data() + 148, ' ', 8);
    unsigned sum = 0;
    for (const unsigned char c : header) sum += c;
    put_octal(header, 148, 6, sum);
    header[154] = '\0';
    bytes_ += header;
    bytes_ += data;
    bytes_.append((512 - data.size() % 512) % 512, '\0');
    return *this;
  }
  TarBuilder& file(std::string name, std::string data = "x", unsigned mode = 0644) {
    return add({.name = std::move(name), .data = std::move(data), .mode = mode});
  }
  TarBuilder& folder(std::string name, unsigned mode = 0755) {
    return add({.name = std::move(name), .type = '5', .mode = mode});
  }
  TarBuilder& symlink(std::string name, std::string target) {
    return add({.name = std::move(name), .type = '2', .link = std::move(target)});
  }
  TarBuilder& hard_link(std::string name, std::string target) {
    return add({.name = std::move(name), .type = '1', .link = std::move(target)});
  }
  /// PAX records for the next member.
  TarBuilder& pax(const std::vector<std::pair<std::string, std::string>>& records) {
    std::string text;
    for (const auto& [key, value] : records) text += record(key, value);
    return add({.name = "pax", .type = 'x', .data = text});
  }
  TarBuilder& raw(std::string_view bytes) {
    bytes_ += bytes;
    return *this;
  }
  static std::string record(const std::string& key, const std::string& value) {
    const std::size_t rest = key.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
    return std::to_string(length) + " " + key + "=" + value + "\n";
  }

  std::string finish() const { return bytes_ + std::string(1024, '\0'); }
  const std::string& unfinished() const { return bytes_; }

 private:
  static void put(std::string& header, std::size_t at, std::string_view text) {
    std::memcpy(header.data() + at, text.data(), text.size());
  }
  static void put_octal(std::string& header, std::size_t at, int digits, unsigned long long value) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", digits, value);
    put(header, at, text);
  }
  // Octal, or base-256 for what does not fit (negative too).
  static void put_number(std::string& header, std::size_t at, int width, std::uint64_t value) {
    if (value < 1ull << (3 * (width - 1))) return put_octal(header, at, width - 1, value);
    const bool negative = static_cast<std::int64_t>(value) < 0;
    for (int i = width - 1; i >= 0; --i, value = static_cast<std::uint64_t>(static_cast<std::int64_t>(value) >> 8))
      header[at + i] = static_cast<char>(value & 0xff);
    header[at] = static_cast<char>(negative ? 0xff : 0x80);
  }

  std::string bytes_;
};

inline Fd memory_file(std::string_view bytes) {
  Fd fd(::memfd_create("archive", MFD_CLOEXEC));
  REQUIRE(fd);
  REQUIRE(write_all(fd.get(), bytes));
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

inline std::string gzip(std::string_view bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zstd(std::string_view bytes) {
  std::string out(ZSTD_compressBound(bytes.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), bytes.data(), bytes.size(), 3));
  return out;
}

}  // namespace wick::test
