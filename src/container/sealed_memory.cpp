#include "sealed_memory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

Result<Fd> seal(std::string_view bytes) {
  Fd memory(::memfd_create("wick", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory) return fail(system_error("memfd_create", errno));
  if (auto written = write_all(memory.get(), bytes); !written) return fail(std::move(written.error()));
  if (::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
    return fail(system_error("seal a memfd", errno));
  return memory;
}

Result<std::string> read_sealed(const Fd& memory, std::size_t bytes_max) {
  constexpr int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
  const int seals = memory ? ::fcntl(memory.get(), F_GET_SEALS) : -1;
  if (seals < 0) return fail(Errc::invalid, "the descriptor passed is not a memfd");
  if ((seals & wanted) != wanted)
    return fail(Errc::invalid, "the memfd passed is not sealed against writing, growing and shrinking");
  struct stat info{};
  if (::fstat(memory.get(), &info) != 0) return fail(system_error("fstat", errno));
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size > bytes_max)
    return fail(Errc::too_large, fmt::format("the memfd passed holds {}, at most {} are read", human_bytes(size),
                                             human_bytes(bytes_max)));
  std::string bytes(size, '\0');
  std::size_t used = 0;
  while (used < size) {
    const auto got = ::pread(memory.get(), bytes.data() + used, size - used, static_cast<off_t>(used));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(system_error("read a memfd", got < 0 ? errno : EIO));
    used += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace wick::container
