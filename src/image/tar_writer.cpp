#include "tar_writer.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "wick/os/files.hpp"

namespace wick::image {

namespace {

constexpr std::size_t buffer_bytes = 256 << 10;
constexpr std::uint64_t octal7_max = 07777777;
constexpr std::uint64_t octal11_max = 077777777777;

using Header = std::array<char, tar_block>;

void put_text(Header& header, std::size_t offset, std::string_view text) {
  std::memcpy(header.data() + offset, text.data(), text.size());
}

// `width` counts the NUL at the end.
void put_octal(Header& header, std::size_t offset, std::size_t width, std::uint64_t value) {
  put_text(header, offset, fmt::format("{:0{}o}", value, width - 1));
}

// "LENGTH KEY=VALUE\n" where LENGTH counts its own digits.
std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = key.size() + value.size() + 3;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) length = std::to_string(length).size() + rest;
  return fmt::format("{} {}={}\n", length, key, value);
}

// ustar's name is 100 bytes and a prefix of 155 that ends before a slash.
bool put_name(Header& header, std::string_view name) {
  if (name.size() <= 100) {
    put_text(header, 0, name);
    return true;
  }
  const auto slash = name.rfind('/', 155);
  if (slash == std::string_view::npos || slash == 0 || name.size() - slash - 1 > 100 || slash + 1 == name.size())
    return false;
  put_text(header, 345, name.substr(0, slash));
  put_text(header, 0, name.substr(slash + 1));
  return true;
}

Header make_header(std::string_view name, char type, std::uint64_t size) {
  Header header{};
  put_name(header, name.substr(0, 100));
  put_octal(header, 100, 8, 0644);
  put_octal(header, 108, 8, 0);
  put_octal(header, 116, 8, 0);
  put_octal(header, 124, 12, size);
  put_octal(header, 136, 12, 0);
  header[156] = type;
  put_text(header, 257,
           std::string_view("ustar\0"
                            "00",
                            8));
  return header;
}

std::string_view seal(Header& header) {
  std::memset(header.data() + 148, ' ', 8);
  std::uint64_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put_text(header, 148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  return {header.data(), header.size()};
}

}  // namespace

std::string tar_header(const TarEntry& entry) {
  std::string records;
  Header header = make_header("", static_cast<char>(entry.type), 0);
  if (!put_name(header, entry.name)) {
    records += pax_record("path", entry.name);
    put_text(header, 0, std::string_view(entry.name).substr(0, 100));
  }
  put_text(header, 157, std::string_view(entry.link).substr(0, 100));
  if (entry.link.size() > 100) records += pax_record("linkpath", entry.link);

  put_octal(header, 100, 8, entry.mode & 07777);
  const auto put_number = [&](std::string_view key, std::size_t offset, std::size_t width, std::uint64_t value) {
    const bool fits = value <= (width == 8 ? octal7_max : octal11_max);
    put_octal(header, offset, width, fits ? value : 0);
    if (!fits) records += pax_record(key, std::to_string(value));
  };
  put_number("uid", 108, 8, entry.uid);
  put_number("gid", 116, 8, entry.gid);
  put_number("size", 124, 12, entry.type == TarType::regular ? entry.size : 0);
  if (entry.mtime >= 0) {
    put_number("mtime", 136, 12, static_cast<std::uint64_t>(entry.mtime));
  } else {
    records += pax_record("mtime", std::to_string(entry.mtime));
  }
  for (const auto& [name, value] : entry.xattrs) records += pax_record("SCHILY.xattr." + name, value);

  std::string bytes;
  if (!records.empty()) {
    Header pax = make_header("PaxHeaders.0", 'x', records.size());
    bytes.append(seal(pax)).append(records).append(tar_padding(records.size()));
  }
  bytes.append(seal(header));
  return bytes;
}

std::string tar_padding(std::uint64_t size) { return std::string((tar_block - size % tar_block) % tar_block, '\0'); }

std::string tar_end() { return std::string(2 * tar_block, '\0'); }

Result<void> TarWriter::add(const TarEntry& entry) {
  if (auto padded = put(std::exchange(padding_, {})); !padded) return padded;
  padding_ = tar_padding(entry.type == TarType::regular ? entry.size : 0);
  return put(tar_header(entry));
}

Result<void> TarWriter::data(std::string_view bytes) { return put(bytes); }

Result<void> TarWriter::finish() {
  if (auto padded = put(std::exchange(padding_, {})); !padded) return padded;
  if (auto end = put(tar_end()); !end) return end;
  return flush();
}

Result<void> TarWriter::put(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > buffer_bytes)
    if (auto flushed = flush(); !flushed) return flushed;
  if (bytes.size() >= buffer_bytes) return write_all(fd_, bytes);
  buffer_ += bytes;
  return {};
}

Result<void> TarWriter::flush() {
  auto written = write_all(fd_, buffer_);
  buffer_.clear();
  return written;
}

}  // namespace wick::image
