// Writes files of a stranger's choosing below one folder: names are checked, parents are opened without following
// links, nothing that is there already is written through.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::build {

/// True for what some file system takes for ".git": upper case, trailing dots and blanks, "git~1", invisible characters
/// (CVE-2014-9390).
bool is_git_folder_name(std::string_view name);

class TreeWriter {
 public:
  static constexpr std::uint64_t entries_max = 500'000;
  static constexpr std::size_t depth_max = 128;

  static Result<TreeWriter> open(const std::filesystem::path& root, std::uint64_t bytes_max);

  Result<void> folder(std::string_view path);
  Result<void> file(std::string_view path, bool executable, std::string_view content);
  Result<void> symlink(std::string_view path, const std::string& target);

 private:
  Result<std::pair<Fd, std::string>> place(std::string_view path);
  Result<void> count(std::uint64_t bytes, std::uint64_t entries);

  Fd root_;
  std::uint64_t bytes_left_ = 0;
  std::uint64_t bytes_max_ = 0;
  std::uint64_t entries_ = 0;
};

}  // namespace wick::build
