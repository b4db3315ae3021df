// A folder as text, one line an entry: what a test compares before and after.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "wick/os/files.hpp"

namespace wick::test {

inline TemporaryFolder temporary_folder() {
  auto folder = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-image-test-");
  REQUIRE(folder);
  return std::move(*folder);
}

enum class Detail { names, everything };

inline std::string listing(const std::filesystem::path& root, Detail detail) {
  namespace fs = std::filesystem;
  std::vector<fs::path> paths{root};
  for (const auto& entry : fs::recursive_directory_iterator(root)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::string text;
  for (const auto& path : paths) {
    struct stat status{};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    const auto name = fs::relative(path.parent_path(), root).lexically_normal() / path.filename();
    std::string line = path == root ? "." : name.lexically_normal().string();
    if (S_ISDIR(status.st_mode)) line += "/";
    if (S_ISLNK(status.st_mode)) line += " -> " + fs::read_symlink(path).string();
    if (S_ISREG(status.st_mode)) line += " = " + read_file(path).value().substr(0, 200);
    if (S_ISCHR(status.st_mode)) line += fmt::format(" char {}", status.st_rdev);
    if (S_ISFIFO(status.st_mode)) line += " fifo";
    if (detail == Detail::everything)
      line += fmt::format(" | {:o} {}:{} {} {} {}", status.st_mode, status.st_uid, status.st_gid, status.st_ino,
                          status.st_nlink, status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec);
    if (path != root || detail == Detail::everything) text += line + "\n";
  }
  return text;
}

inline std::string xattr(const std::filesystem::path& path, const char* name) {
  char value[256];
  const auto size = ::lgetxattr(path.c_str(), name, value, sizeof value);
  return size < 0 ? "(none)" : std::string(value, static_cast<std::size_t>(size));
}

}  // namespace wick::test
