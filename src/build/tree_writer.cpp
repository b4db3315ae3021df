#include "tree_writer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

bool is_git_folder_name(std::string_view name) {
  // HFS+ ignores these code points (git's utf8.c, next_hfs_char): U+200C..F, U+202A..E, U+206A..F, U+FEFF.
  std::string plain;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto three = name.substr(i, 3);
    const bool invisible = (three >= "\xE2\x80\x8C" && three <= "\xE2\x80\x8F") ||
                           (three >= "\xE2\x80\xAA" && three <= "\xE2\x80\xAE") ||
                           (three >= "\xE2\x81\xAA" && three <= "\xE2\x81\xAF") || three == "\xEF\xBB\xBF";
    if (invisible && three.size() == 3) {
      i += 2;
    } else {
      plain += name[i];
    }
  }
  while (!plain.empty() && (plain.back() == '.' || plain.back() == ' ')) plain.pop_back();
  return iequals(plain, ".git") || iequals(plain, "git~1") || to_lower(plain).starts_with(".git:");
}

Result<TreeWriter> TreeWriter::open(const std::filesystem::path& root, std::uint64_t bytes_max) {
  auto folder = open_file(root, O_RDONLY | O_DIRECTORY);
  if (!folder) return fail(std::move(folder.error()));
  TreeWriter out;
  out.root_ = std::move(*folder);
  out.bytes_left_ = out.bytes_max_ = bytes_max;
  return out;
}

Result<void> TreeWriter::count(std::uint64_t bytes, std::uint64_t entries) {
  entries_ += entries;
  if (entries_ > entries_max)
    return fail(Errc::too_large, fmt::format("the source has more than {} files", entries_max));
  if (bytes > bytes_left_)
    return fail(Errc::too_large,
                fmt::format("the files of the source are larger than {} in all", human_bytes(bytes_max_)));
  bytes_left_ -= bytes;
  return {};
}

/// The folder an entry goes into, made where it is missing, and its own name there.
Result<std::pair<Fd, std::string>> TreeWriter::place(std::string_view path) {
  if (auto counted = count(0, 1); !counted) return fail(std::move(counted.error()));
  const auto parts = split(path, '/');
  if (parts.size() > depth_max || path.size() > 4000) return fail(Errc::invalid, "the path is too long");
  Fd folder = root_.duplicate();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::string name(parts[i]);
    if (name.empty() || name == "." || name == ".." || name.size() > 255 || name.contains('\0'))
      return fail(Errc::invalid, "a part of the path is empty, '.', '..' or too long");
    if (is_git_folder_name(name)) return fail(Errc::invalid, fmt::format("the name '{}' is refused", printable(name)));
    if (i + 1 == parts.size()) return std::pair(std::move(folder), name);
    if (::mkdirat(folder.get(), name.c_str(), 0755) == 0) {
      if (auto counted = count(0, 1); !counted) return fail(std::move(counted.error()));
    } else if (errno != EEXIST) {
      return fail(system_error("make folder", errno));
    }
    Fd next(::openat(folder.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!next && (errno == ELOOP || errno == ENOTDIR)) return fail(Errc::invalid, "a parent of it is a link or a file");
    if (!next) return fail(system_error("open folder", errno));
    folder = std::move(next);
  }
  return fail(Errc::invalid, "the path is empty");
}

Result<void> TreeWriter::folder(std::string_view path) {
  auto at = place(path);
  if (!at) return fail(std::move(at.error()).within(printable(path)));
  if (::mkdirat(at->first.get(), at->second.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return fail(system_error("make folder " + printable(path), errno));
}

Result<void> TreeWriter::file(std::string_view path, bool executable, std::string_view content) {
  auto at = place(path);
  if (!at) return fail(std::move(at.error()).within(printable(path)));
  if (auto counted = count(content.size(), 0); !counted)
    return fail(std::move(counted.error()).within(printable(path)));
  Fd file(::openat(at->first.get(), at->second.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail(system_error("create " + printable(path), errno));
  if (auto written = write_all(file.get(), content); !written)
    return fail(std::move(written.error()).within(printable(path)));
  if (::fchmod(file.get(), executable ? 0755 : 0644) != 0) return fail(system_error("chmod " + printable(path), errno));
  return {};
}

Result<void> TreeWriter::symlink(std::string_view path, const std::string& target) {
  auto at = place(path);
  if (!at) return fail(std::move(at.error()).within(printable(path)));
  if (target.empty() || target.size() > 4000 || target.contains('\0'))
    return fail(Errc::invalid, printable(path) + ": a link to nowhere");
  if (::symlinkat(target.c_str(), at->first.get(), at->second.c_str()) == 0) return {};
  return fail(system_error("make link " + printable(path), errno));
}

}  // namespace wick::build
