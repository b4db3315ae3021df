// A folder of somebody's work, watched for saves (inotify(7)). Editors save in many ways: in place, through a temporary
// file that is renamed over the old one, by moving the old one away first. So an event says only that it is worth
// looking: what was saved is told by comparing the folder as it is with the folder as it was.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/folder.hpp"
#include "wick/os/fd.hpp"

namespace wick::app::cli {

class FolderWatch {
 public:
  static Result<FolderWatch> open();

  /// Watches the root and the folders of `folder`. True when one of them was not watched before: what came into it
  /// until now went unseen, so list again. Errors: too_large at the kernel's limit of watches; what a folder that
  /// cannot be watched gives.
  Result<bool> cover(const Folder& folder);

  /// Readable when there is something to take.
  int descriptor() const { return inotify_.get(); }
  /// Whether anything happened since the last call. Does not wait. Errors: not_found when the root is gone.
  Result<bool> take();

 private:
  explicit FolderWatch(Fd inotify) : inotify_(std::move(inotify)) {}
  Result<bool> cover(const std::filesystem::path& path);

  Fd inotify_;
  std::set<int> watches_;
  int root_ = -1;
};

/// What an editor keeps beside a file while it is open or being saved: swap, lock, backup and temporary files.
bool is_editor_file(std::string_view name);

/// The files of a folder with what changes when one is saved (size, times, inode, mode).
class FolderStamp {
 public:
  FolderStamp() = default;
  explicit FolderStamp(const Folder& folder);

  /// The paths that are new, gone or saved since `before`, sorted.
  std::vector<std::string> changes_since(const FolderStamp& before) const;

 private:
  struct File {
    std::int64_t modified_ns = 0;
    std::int64_t changed_ns = 0;
    std::uint64_t inode = 0;
    std::uint64_t bytes = 0;
    unsigned mode = 0;
    bool operator==(const File&) const = default;
  };
  std::map<std::string, File> files_;
};

}  // namespace wick::app::cli
