// A folder whose contents somebody else chose. Every path is resolved by openat2 with RESOLVE_IN_ROOT, as if the folder
// were "/": no symlink, ".." or magic link leads out of it, whoever put it there. What is made is made by *at calls on
// the parent's descriptor.
#pragma once

#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/fd.hpp"

namespace wick::image {

class Tree {
 public:
  static Result<Tree> open(const std::filesystem::path& root);

  int root() const { return root_.get(); }
  /// openat2 inside the root. `flags` as for open(2); the last component is followed unless O_NOFOLLOW. errno is set
  /// when empty.
  Fd try_open(const std::string& path, int flags) const;
  /// Same, as a Result that names the path.
  Result<Fd> open_at(const std::string& path, int flags) const;

 private:
  explicit Tree(Fd root) : root_(std::move(root)) {}
  Fd root_;
};

/// Path as its components, without "." and empty ones. ".." and a NUL are Errc::invalid; so is what is longer or deeper
/// than the limits.
Result<std::vector<std::string>> safe_components(std::string_view path, std::size_t bytes_max, std::size_t depth_max);
std::string join(const std::vector<std::string>& components, std::size_t count);

/// What `name` itself is; nullopt when there is nothing.
Result<std::optional<struct stat>> stat_at(int folder, const std::string& name);
/// Removes `name` and all below it, following nothing.
Result<void> remove_at(int folder, const std::string& name);
/// An overlay whiteout: a 0/0 character device, or an empty file with user.overlay.whiteout (Linux 6.7).
bool is_whiteout(int folder, const std::string& name, const struct stat& status);
std::optional<std::string> get_xattr(int fd, const char* name);

}  // namespace wick::image
