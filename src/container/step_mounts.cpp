#include "step_mounts.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t mount_path_max = 1024;
constexpr std::uint64_t tmpfs_bytes_max = 1ull << 40;

bool is_plain(std::string_view path) {
  return path.size() <= mount_path_max &&
         std::ranges::none_of(split(path, '/'), [](std::string_view part) { return part == ".." || part == "."; });
}

std::string to_hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    for (const char c : text.substr(i, 2)) {
      const auto digit = std::string_view("0123456789abcdef").find(c);
      if (digit == std::string_view::npos) return std::nullopt;
      byte = byte * 16 + static_cast<unsigned>(digit);
    }
    out += static_cast<char>(byte);
  }
  return out;
}

/// A clone of the tree at `source` below `top`, read-only unless `writable`, attached at `place`. What is in `top` was
/// made by somebody hostile: no symlink is followed.
Result<void> attach_tree(int top, const std::string& source, const fs::path& place, bool writable) {
  open_how how{};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const Fd at(static_cast<int>(::syscall(SYS_openat2, top, source.empty() ? "." : source.c_str(), &how, sizeof how)));
  if (!at && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
    return fail(Errc::not_found, fmt::format("there is no /{} to mount", printable(source)));
  if (!at) return fail(system_error("open /" + printable(source), errno));
  struct stat status{};
  if (::fstat(at.get(), &status) != 0) return fail(system_error("stat", errno));
  if (!S_ISDIR(status.st_mode) && !S_ISREG(status.st_mode))
    return fail(Errc::invalid, fmt::format("/{} is neither a file nor a folder", printable(source)));
  if (S_ISDIR(status.st_mode)) {
    if (::mkdir(place.c_str(), 0755) != 0) return fail(system_error("make folder " + place.string(), errno));
  } else if (auto made = write_file(place, "", 0600); !made) {
    return made;
  }
  const Fd tree(
      static_cast<int>(::syscall(SYS_open_tree, at.get(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
  if (!tree) return fail(system_error("clone a mount", errno));
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID | (writable ? 0 : MOUNT_ATTR_RDONLY);
  if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return fail(system_error("set mount attributes", errno));
  if (::syscall(SYS_move_mount, tree.get(), "", AT_FDCWD, place.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return fail(system_error("attach a mount", errno));
  return {};
}

Result<void> own(const fs::path& path, const StepMount& mount) {
  if (::chown(path.c_str(), first_id(store_id_range) + mount.uid, first_id(store_id_range) + mount.gid) != 0 ||
      ::chmod(path.c_str(), mount.mode) != 0)
    return fail(system_error("give away " + path.string(), errno));
  return {};
}

Result<Fd> open_folder(const fs::path& path) { return open_file(path, O_RDONLY | O_DIRECTORY); }

}  // namespace

std::array<std::string, mount_strings> strings_of(const StepMount& mount) {
  return {std::to_string(static_cast<int>(mount.kind)),
          mount.target,
          mount.kind == StepMount::Kind::cache ? mount.cache.text() : "",
          mount.kind == StepMount::Kind::folder ? std::string(mount.step.text()) : "",
          mount.source,
          mount.writable ? "1" : "0",
          std::to_string(mount.mode),
          std::to_string(mount.uid),
          std::to_string(mount.gid),
          std::to_string(mount.bytes_max),
          to_hex(mount.content)};
}

Result<StepMount> parse_mount(std::span<const std::string_view> strings) {
  const auto wrong = [](std::string_view what) {
    return fail(Errc::invalid, fmt::format("a mount's {} is out of bounds", what));
  };
  if (strings.size() != mount_strings) return wrong("number of strings");
  StepMount mount;
  const auto kind = parse_unsigned(strings[0]);
  if (!kind || *kind > static_cast<unsigned>(StepMount::Kind::bytes)) return wrong("kind");
  mount.kind = static_cast<StepMount::Kind>(*kind);
  mount.target = strings[1];
  if (mount.target.size() < 2 || mount.target.front() != '/' || !is_plain(mount.target)) return wrong("target");
  if (mount.kind == StepMount::Kind::cache) {
    const auto cache = Digest::parse(strings[2]);
    if (!cache) return wrong("cache");
    mount.cache = *cache;
  }
  if (mount.kind == StepMount::Kind::folder) {
    const auto step = InstanceId::parse(strings[3]);
    if (!step) return wrong("step");
    mount.step = *step;
  }
  mount.source = strings[4];
  if (!is_plain(mount.source) || mount.source.starts_with('/')) return wrong("source");
  mount.writable = strings[5] == "1";
  const auto mode = parse_unsigned(strings[6]);
  const auto uid = parse_unsigned(strings[7]);
  const auto gid = parse_unsigned(strings[8]);
  const auto bytes = parse_unsigned(strings[9]);
  auto content = from_hex(strings[10]);
  if (!mode || *mode > 07777) return wrong("mode");
  if (!uid || *uid >= id_range_size || !gid || *gid >= id_range_size) return wrong("owner");
  if (!bytes || *bytes > tmpfs_bytes_max) return wrong("size");
  if (!content) return wrong("content");
  mount.mode = static_cast<std::uint32_t>(*mode);
  mount.uid = static_cast<std::uint32_t>(*uid);
  mount.gid = static_cast<std::uint32_t>(*gid);
  mount.bytes_max = *bytes;
  mount.content = std::move(*content);
  return mount;
}

Result<StepMounts> StepMounts::attach(const InstanceSpec& spec, Roots& roots, LayerFolders& layers,
                                      const fs::path& caches, std::vector<LayerFolders::Hold>& holds) {
  StepMounts out;
  if (spec.mounts.empty()) return out;
  out.folder_ = roots.area() / "m" / spec.id.text();
  if (auto made = make_folders(out.folder_.parent_path(), 0711); !made) return fail(std::move(made.error()));
  if (auto made = make_folders(out.folder_, 0711); !made) return fail(std::move(made.error()));
  for (std::size_t i = 0; i < spec.mounts.size(); ++i) {
    const auto& mount = spec.mounts[i];
    const fs::path place = out.folder_ / std::to_string(i);
    BundleMount entry{.target = mount.target, .type = "bind", .source = place.string()};
    entry.options = fmt::format(R"("bind", "nosuid", "nodev", "{}")", mount.writable ? "rw" : "ro");
    Result<void> attached;
    switch (mount.kind) {
      case StepMount::Kind::cache: {
        const auto folder = caches / mount.cache.hex();
        if (::mkdir(folder.c_str(), 0700) == 0) {
          if (auto owned = own(folder, mount); !owned) return fail(std::move(owned.error()));
        } else if (errno != EEXIST) {
          return fail(system_error("make folder " + folder.string(), errno));
        }
        ::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);  // its last use, for who looks for space
        auto top = open_folder(folder);
        attached = top ? attach_tree(top->get(), mount.source, place, mount.writable)
                       : Result<void>(fail(std::move(top.error())));
        break;
      }
      case StepMount::Kind::folder: {
        auto hold = layers.hold_step(mount.step);
        if (!hold) return fail(std::move(hold.error()));
        auto root = layers.mount_step(*hold, Roots::Skeleton::none);
        if (!root) return fail(std::move(root.error()));
        auto top = open_folder(root->path());
        attached = top ? attach_tree(top->get(), mount.source, place, mount.writable)
                       : Result<void>(fail(std::move(top.error())));
        holds.push_back(std::move(*hold));
        out.roots_.push_back(std::move(*root));
        break;
      }
      case StepMount::Kind::tmpfs:
        entry.type = "tmpfs";
        entry.source = "tmpfs";
        entry.options = fmt::format(R"("nosuid", "nodev", "mode={:o}"{})", mount.mode,
                                    mount.bytes_max > 0 ? fmt::format(R"(, "size={}")", mount.bytes_max) : "");
        break;
      case StepMount::Kind::bytes:
        attached = write_file(place, mount.content, 0600);
        if (attached) attached = own(place, mount);
        break;
    }
    if (!attached) return fail(std::move(attached.error()).within(printable(mount.target)));
    out.entries_.push_back(std::move(entry));
  }
  return out;
}

void StepMounts::detach() {
  if (folder_.empty()) return;
  for (std::size_t i = 0; i < step_mounts_max; ++i) {
    const auto place = folder_ / std::to_string(i);
    ::umount2(place.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    // Only what is ours: an empty folder or file of the area's tmpfs. A mount that could not be taken away stays.
    if (::rmdir(place.c_str()) != 0) ::unlink(place.c_str());
  }
  ::rmdir(folder_.c_str());
  folder_.clear();
  entries_.clear();
  roots_.clear();
}

}  // namespace wick::container
