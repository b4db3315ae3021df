#include "api/log_reader.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "wick/os/files.hpp"

namespace wick::api {

std::string to_utf8(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    bool good = length > 0 && i + length <= bytes.size();
    for (std::size_t n = 1; good && n < length; ++n) good = (static_cast<unsigned char>(bytes[i + n]) & 0xc0) == 0x80;
    if (good) {
      text += bytes.substr(i, length);
      i += length;
    } else {
      text += "\xef\xbf\xbd";
      ++i;
    }
  }
  return text;
}

std::string LogReader::read(bool& more) {
  more = false;
  auto file = open_file(path_, O_RDONLY | O_CLOEXEC);
  if (!file) return {};
  const auto size = ::lseek(file->get(), 0, SEEK_END);
  // The older half of a full log is dropped: what is left starts over.
  if (size >= 0 && static_cast<std::uint64_t>(size) < offset_) offset_ = 0;
  std::string chunk(chunk_bytes, '\0');
  const auto count = ::pread(file->get(), chunk.data(), chunk.size(), static_cast<off_t>(offset_));
  if (count <= 0) return {};
  offset_ += static_cast<std::uint64_t>(count);
  more = static_cast<std::size_t>(count) == chunk_bytes;
  pending_.append(chunk, 0, static_cast<std::size_t>(count));
  return take_lines();
}

void LogReader::skip_to_tail(std::uint64_t lines) {
  auto file = open_file(path_, O_RDONLY | O_CLOEXEC);
  if (!file) return;
  auto at = static_cast<std::uint64_t>(std::max<off_t>(::lseek(file->get(), 0, SEEK_END), 0));
  std::uint64_t seen = 0;
  bool at_end = true;
  while (at > 0) {
    const auto length = std::min<std::uint64_t>(at, chunk_bytes);
    std::string chunk(length, '\0');
    if (::pread(file->get(), chunk.data(), length, static_cast<off_t>(at - length)) != static_cast<ssize_t>(length))
      return;
    for (auto i = length; i-- > 0;) {
      if (chunk[i] != '\n') {
        at_end = false;
        continue;
      }
      // The newline at the very end closes the last line, it does not begin one.
      if (!at_end && ++seen == lines) {
        offset_ = at - length + i + 1;
        return;
      }
      if (at_end) at_end = false;
    }
    at -= length;
  }
  if (lines == 0) offset_ = static_cast<std::uint64_t>(::lseek(file->get(), 0, SEEK_END));
}

std::string LogReader::rest() {
  if (pending_.empty()) return {};
  pending_ += '\n';
  return take_lines();
}

std::string LogReader::take_lines() {
  std::string text;
  std::size_t begin = 0;
  while (true) {
    auto end = pending_.find('\n', begin);
    const bool cut = end == pending_.npos && pending_.size() - begin >= line_bytes_max;
    if (cut) end = begin + line_bytes_max;
    if (end == pending_.npos) break;
    text += format_(std::string_view(pending_).substr(begin, end - begin));
    begin = cut ? end : end + 1;
  }
  pending_.erase(0, begin);
  return text;
}

}  // namespace wick::api
