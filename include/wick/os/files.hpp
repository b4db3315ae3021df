// Files as whole values. All functions block; call them off the loop (`on_worker`) unless the file is small and local.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick {

/// The whole file. Errors: not_found, denied, too_large past `bytes_max`, io.
Result<std::string> read_file(const std::filesystem::path& path, std::size_t bytes_max = 64 << 20);
/// Everything up to end of file.
Result<std::string> read_all(int fd, std::size_t bytes_max = 64 << 20);
Result<void> write_all(int fd, std::string_view bytes);
/// Writes beside the target, fsyncs file and folder, renames over it: after a crash the old or the new content, never a
/// mixture.
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view bytes, mode_t mode = 0644);
/// Plain create-or-truncate, no fsync; for what can be made again.
Result<void> write_file(const std::filesystem::path& path, std::string_view bytes, mode_t mode = 0644);
Result<Fd> open_file(const std::filesystem::path& path, int flags, mode_t mode = 0);
/// Removes a tree without following symlinks or leaving it through them, whatever its modes. Missing is fine.
Result<void> remove_tree(const std::filesystem::path& path);
Result<void> make_folders(const std::filesystem::path& path, mode_t mode = 0755);
/// Bytes free for us on the file system of `path`.
Result<std::uint64_t> free_bytes(const std::filesystem::path& path);

/// The sizes of the files that lie in `folder` itself, as far as they can be seen; 0 where it is not there.
std::uint64_t bytes_of_files_in(const std::filesystem::path& folder);

/// A folder of its own that goes, with what is in it, when the object does.
class TemporaryFolder {
 public:
  /// Made below `parent` as `<prefix>XXXXXX`, mode 0700.
  static Result<TemporaryFolder> make(const std::filesystem::path& parent, std::string_view prefix = "tmp-");
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

}  // namespace wick
