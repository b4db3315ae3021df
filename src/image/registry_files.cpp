#include "registry_files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

std::string canonical_repository(std::string_view repository) {
  auto reference = parse_reference(repository);
  if (!reference) return std::string(repository);
  reference->tag.clear();
  return reference->familiar();
}

std::string name_of(std::string_view repository, std::string_view tag) {
  auto reference = parse_reference(fmt::format("{}:{}", repository, tag));
  return reference ? reference->familiar() : std::string();
}

Result<void> make_link(const fs::path& link) {
  if (auto made = make_folders(link.parent_path(), 0700); !made) return made;
  auto file = open_file(link, O_WRONLY | O_CREAT, 0600);
  if (!file) return fail(std::move(file.error()));
  touch(link);
  return {};
}

void touch(const fs::path& file) { ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0); }

void make_old(const fs::path& file) {
  const std::array<timespec, 2> begin{};
  ::utimensat(AT_FDCWD, file.c_str(), begin.data(), 0);
}

Result<void> write_durably(const fs::path& beside, const fs::path& target, std::string_view bytes) {
  auto written = write_file(beside, bytes, 0600);
  auto file = written ? open_file(beside, O_RDONLY) : Result<Fd>(fail(written.error()));
  if (file && ::fdatasync(file->get()) != 0) file = fail(system_error("sync " + beside.string(), errno));
  if (file && ::rename(beside.c_str(), target.c_str()) != 0)
    file = fail(system_error("rename to " + target.string(), errno));
  if (file) return {};
  ::unlink(beside.c_str());
  return fail(std::move(file.error()));
}

Result<void> sync_file_system(const fs::path& folder) {
  auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return fail(std::move(fd.error()));
  if (::syncfs(fd->get()) != 0) return fail(system_error("sync " + folder.string(), errno));
  return {};
}

bool is_file(const fs::path& path) {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

}  // namespace wick::image
