#include "source_tree.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

Result<Fd> open_in(int root, const std::string& path, int flags) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
  if (fd < 0) return fail(system_error("open " + printable(path), errno));
  return Fd(static_cast<int>(fd));
}

Result<std::string> read_link(int folder, const char* name, const std::string& path) {
  char target[4096];
  const auto size = ::readlinkat(folder, name, target, sizeof target);
  if (size < 0) return fail(system_error("read link " + printable(path), errno));
  return std::string(target, static_cast<std::size_t>(size));
}

Result<void> walk(Fd folder, const std::string& prefix, std::size_t depth, std::vector<SourceEntry>& out) {
  if (depth > SourceTree::depth_max)
    return fail(Errc::too_large,
                fmt::format("{}: folders are nested more than {} deep", printable(prefix), SourceTree::depth_max));
  const std::unique_ptr<DIR, CloseFolder> open(::fdopendir(folder.release()));
  if (!open) return fail(system_error("read folder " + printable(prefix), errno));
  const int fd = ::dirfd(open.get());
  while (true) {
    errno = 0;
    const dirent* item = ::readdir(open.get());
    if (!item) break;
    const std::string_view name = item->d_name;
    if (name == "." || name == "..") continue;
    SourceEntry entry{.path = prefix.empty() ? std::string(name) : fmt::format("{}/{}", prefix, name)};
    struct stat status{};
    if (::fstatat(fd, item->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      return fail(system_error("stat " + printable(entry.path), errno));
    entry.mode = status.st_mode & 07777;
    entry.mtime = status.st_mtim.tv_sec;
    if (S_ISDIR(status.st_mode)) {
      entry.kind = SourceEntry::Kind::folder;
      Fd inner(::openat(fd, item->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inner) return fail(system_error("open " + printable(entry.path), errno));
      const auto path = entry.path;
      out.push_back(std::move(entry));
      if (auto walked = walk(std::move(inner), path, depth + 1, out); !walked) return walked;
    } else if (S_ISLNK(status.st_mode)) {
      entry.kind = SourceEntry::Kind::symlink;
      auto target = read_link(fd, item->d_name, entry.path);
      if (!target) return fail(std::move(target.error()));
      entry.target = std::move(*target);
      out.push_back(std::move(entry));
    } else if (S_ISREG(status.st_mode)) {
      entry.size = static_cast<std::uint64_t>(status.st_size);
      out.push_back(std::move(entry));
    }
    if (out.size() > SourceTree::entries_max)
      return fail(Errc::too_large, fmt::format("the source has more than {} files", SourceTree::entries_max));
  }
  if (errno != 0) return fail(system_error("read folder " + printable(prefix), errno));
  return {};
}

}  // namespace

const SourceEntry* Listing::find(std::string_view path) const {
  const auto at = std::ranges::lower_bound(entries, path, {}, &SourceEntry::path);
  return at != entries.end() && at->path == path ? &*at : nullptr;
}

std::optional<std::string> Listing::resolve(std::string_view path) const {
  constexpr int links_max = 40;  // the kernel's own limit, path_resolution(7)
  std::string rest = rooted_path(path);
  std::string done;
  int links = 0;
  while (!rest.empty()) {
    const auto slash = std::min(rest.find('/'), rest.size());
    const auto part = rest.substr(0, slash);
    rest.erase(0, std::min(slash + 1, rest.size()));
    const auto next = done.empty() ? part : done + "/" + part;
    const SourceEntry* entry = find(next);
    if (!entry) return std::nullopt;
    if (entry->kind == SourceEntry::Kind::symlink) {
      if (++links > links_max) return std::nullopt;
      rest = rooted_path(join_path("/" + done, entry->target) + "/" + rest);
      done.clear();
      continue;
    }
    if (entry->kind == SourceEntry::Kind::file && !rest.empty()) return std::nullopt;
    done = next;
  }
  return done;
}

bool Listing::has_folder(std::string_view path) const {
  if (path.empty()) return true;
  const SourceEntry* entry = find(path);
  return entry && entry->kind == SourceEntry::Kind::folder;
}

std::vector<const SourceEntry*> Listing::below(std::string_view folder) const {
  std::vector<const SourceEntry*> out;
  const auto prefix = folder.empty() ? std::string() : std::string(folder) + "/";
  for (auto at = std::ranges::lower_bound(entries, prefix, {}, &SourceEntry::path); at != entries.end(); ++at) {
    if (!at->path.starts_with(prefix)) break;
    out.push_back(&*at);
  }
  return out;
}

Result<SourceTree> SourceTree::open(const std::filesystem::path& folder) {
  SourceTree out;
  auto root = wick::open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!root) return fail(std::move(root.error()));
  out.root_ = std::move(*root);
  if (auto walked = walk(out.root_.duplicate(), "", 0, out.listing_.entries); !walked)
    return fail(std::move(walked.error()));
  std::ranges::sort(out.listing_.entries, {}, &SourceEntry::path);
  return out;
}

Result<Fd> SourceTree::open_file(std::string_view path) const {
  return open_in(root_.get(), std::string(path), O_RDONLY | O_NOCTTY | O_NONBLOCK);
}

Result<std::string> SourceTree::read(std::string_view path, std::size_t bytes_max) const {
  auto file = open_file(path);
  if (!file) return fail(std::move(file.error()));
  auto text = read_all(file->get(), bytes_max);
  if (!text) return fail(std::move(text.error()).within(printable(path)));
  return text;
}

Result<Digest> SourceTree::hash(std::string_view path) const {
  auto file = open_file(path);
  if (!file) return fail(std::move(file.error()));
  Sha256 hash;
  std::vector<char> chunk(256 << 10);
  while (true) {
    const auto got = ::read(file->get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read " + printable(path), errno));
    if (got == 0) return hash.finish();
    hash.update({chunk.data(), static_cast<std::size_t>(got)});
  }
}

}  // namespace wick::build
