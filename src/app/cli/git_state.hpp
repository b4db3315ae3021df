// What git knows of a folder: the commit it is at, whether it differs, which files are left out. libgit2 runs no
// program for this.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace wick::app::cli {

class GitState {
 public:
  /// Of the repository `folder` lies in. Without one, the .gitignore files count all the same.
  static GitState open(const std::filesystem::path& folder);
  GitState(GitState&&) noexcept;
  ~GitState();

  /// Hex; "" without a repository or before the first commit.
  std::string commit() const;
  /// That is checked out; "" without a repository, or where none is.
  std::string branch() const;
  /// Something in the folder is changed, staged or untracked.
  bool dirty() const;
  /// Ignored and not tracked. `path` is below the folder; `is_folder` when it is one.
  bool leaves_out(const std::string& path, bool is_folder) const;

 private:
  struct Impl;
  explicit GitState(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace wick::app::cli
