#include "stored_blob.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "wick/base/text.hpp"

namespace wick::image {

namespace {
constexpr std::size_t blob_read_bytes = 256 << 10;
}

Result<Fd> open_regular(const Tree& tree, const std::string& path) {
  Fd file = tree.try_open(path, O_RDONLY | O_NONBLOCK);
  struct stat status{};
  if (!file) return fail(Errc::not_found, fmt::format("the image has no {}", printable(path)));
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return fail(Errc::invalid, fmt::format("{} is not a file", printable(path)));
  return file;
}

Result<void> check_stored_bytes(int file, const Descriptor& descriptor) {
  Sha256 hash;
  std::uint64_t size = 0;
  std::string buffer(blob_read_bytes, '\0');
  while (true) {
    const auto got = ::read(file, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read", errno));
    if (got == 0) break;
    hash.update(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    size += static_cast<std::uint64_t>(got);
  }
  if (size != descriptor.size || hash.finish() != descriptor.digest)
    return fail(Errc::corrupt, fmt::format("blob {} is not what its name and size say", descriptor.digest.text()));
  if (::lseek(file, 0, SEEK_SET) != 0) return fail(system_error("seek", errno));
  return {};
}

}  // namespace wick::image
