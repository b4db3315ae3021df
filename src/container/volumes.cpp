#include "volumes.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "volume_files.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t volume_path_max = 1024;
constexpr std::uint64_t volume_size_min = 4096;
constexpr std::uint64_t volume_size_max = 1ull << 40;

/// Relative, of real names only.
bool is_below(std::string_view path) {
  return path.size() <= volume_path_max && path.find('\0') == path.npos &&
         std::ranges::none_of(split(path, '/'),
                              [](std::string_view part) { return part.empty() || part == "." || part == ".."; });
}

bool is_mountable(std::string_view target) {
  const auto is_in = [&](std::string_view folder) {
    return target.starts_with(folder) && (target.size() == folder.size() || target[folder.size()] == '/');
  };
  return target.size() >= 2 && target.front() == '/' && is_below(target.substr(1)) && !is_in("/proc") && !is_in("/sys");
}

class Writer {
 public:
  void number(std::uint64_t value) { bytes_.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void text(std::string_view value) {
    number(value.size());
    bytes_ += value;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Past the end everything reads as nothing, and holds() says so.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    if (rest_.size() < sizeof value) return fall_short();
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  std::uint64_t at_most(std::uint64_t limit) {
    const auto value = number();
    return value <= limit ? value : fall_short();
  }
  std::string text() {
    const auto size = number();
    if (size > rest_.size()) return fall_short(), std::string();
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  bool holds() const { return holds_; }
  bool at_end() const { return rest_.empty(); }

 private:
  std::uint64_t fall_short() {
    holds_ = false;
    rest_ = {};
    return 0;
  }
  std::string_view rest_;
  bool holds_ = true;
};

/// A volume of files has room for what they may become, twice: the old ones go after the new ones have come. A file
/// takes whole pages.
std::uint64_t size_of(const Volume& volume) {
  return volume.bytes_max > 0 ? volume.bytes_max : 2 * (volume_bytes_max + volume_files_max * 8192);
}

bool is_of_files(const Volume& volume) { return volume.bytes_max == 0; }

std::ptrdiff_t depth_of(const BundleMount& mount) { return std::ranges::count(mount.target, '/'); }

}  // namespace

std::string bytes_of_volumes(const InstanceSpec& spec) {
  if (spec.volumes.empty() && spec.volume_mounts.empty() && spec.message_path.empty()) return {};
  Writer out;
  out.number(spec.volumes.size());
  for (const auto& volume : spec.volumes) {
    out.number(volume.bytes_max);
    out.number(volume.files.size());
    for (const auto& file : volume.files) {
      out.text(file.path);
      out.number(file.mode);
      out.text(file.content);
    }
  }
  out.number(spec.volume_mounts.size());
  for (const auto& mount : spec.volume_mounts) {
    out.number(mount.volume);
    out.text(mount.target);
    out.text(mount.sub_path);
    out.number(mount.writable ? 1 : 0);
  }
  out.text(spec.message_path);
  return out.take();
}

Result<void> parse_volumes(std::string_view bytes, InstanceSpec& spec) {
  if (bytes.empty()) return {};
  Reader in(bytes);
  for (auto volumes = in.at_most(volumes_max); in.holds() && volumes > 0; --volumes) {
    Volume volume{.bytes_max = in.number(), .files = {}};
    for (auto files = in.at_most(volume_files_max); in.holds() && files > 0; --files) {
      VolumeFile file{.path = in.text(), .mode = 0, .content = {}};
      file.mode = static_cast<std::uint32_t>(in.at_most(0777));
      file.content = in.text();
      volume.files.push_back(std::move(file));
    }
    spec.volumes.push_back(std::move(volume));
  }
  for (auto mounts = in.at_most(volumes_max); in.holds() && mounts > 0; --mounts) {
    VolumeMount mount{.volume = static_cast<std::uint32_t>(in.at_most(volumes_max)), .target = in.text()};
    mount.sub_path = in.text();
    mount.writable = in.at_most(1) == 1;
    spec.volume_mounts.push_back(std::move(mount));
  }
  spec.message_path = in.text();
  if (!in.holds() || !in.at_end()) return fail(Errc::invalid, "the volumes are cut short or out of bounds");
  return {};
}

Result<void> check_volumes(const InstanceSpec& spec) {
  const auto wrong = [](std::string what) { return fail(Errc::invalid, std::move(what)); };
  if ((!spec.volumes.empty() || !spec.message_path.empty()) && !spec.step.empty())
    return fail(Errc::denied, "volumes are for services");
  if (spec.volumes.size() > volumes_max || spec.volume_mounts.size() > volumes_max)
    return wrong(fmt::format("an instance has at most {} volumes, mounted in at most as many places", volumes_max));
  std::size_t files = 0;
  std::uint64_t bytes = 0;
  for (const auto& volume : spec.volumes) {
    if (volume.bytes_max > 0 && !volume.files.empty()) return wrong("a volume is to write to or has files");
    if (volume.bytes_max > 0 && (volume.bytes_max < volume_size_min || volume.bytes_max > volume_size_max))
      return wrong(fmt::format("a volume to write to holds {} to {}, not {}", human_bytes(volume_size_min),
                               human_bytes(volume_size_max), human_bytes(volume.bytes_max)));
    for (const auto& file : volume.files) {
      ++files;
      bytes += file.content.size();
      if (!is_below(file.path) || file.path.starts_with(".."))
        return wrong(fmt::format("'{}' is not a path below a volume", printable(file.path, 100)));
      if (file.mode > 0777) return wrong(fmt::format("mode {:o} of a volume's file", file.mode));
    }
  }
  if (files > volume_files_max || bytes > volume_bytes_max)
    return fail(Errc::too_large,
                fmt::format("the volumes hold {} files of {} in all, at most {} of {} are allowed", files,
                            human_bytes(bytes), volume_files_max, human_bytes(volume_bytes_max)));
  for (const auto& mount : spec.volume_mounts) {
    // The pod's are looked at where the pod is known (Pods::enter).
    const bool is_known = mount.volume < spec.volumes.size();
    if (!is_known && spec.pod.empty()) return wrong("a mount is of a volume that is not there");
    if (!is_mountable(mount.target))
      return wrong(fmt::format("nothing can be mounted on '{}'", printable(mount.target, 100)));
    if (!mount.sub_path.empty() && !is_below(mount.sub_path))
      return wrong(fmt::format("'{}' is not a path below a volume", printable(mount.sub_path, 100)));
    if (is_known && mount.writable && spec.volumes[mount.volume].bytes_max == 0)
      return fail(Errc::denied, "a volume with files is mounted read-only");
  }
  if (!spec.message_path.empty() && !is_mountable(spec.message_path))
    return wrong(fmt::format("nothing can be mounted on '{}'", printable(spec.message_path, 100)));
  return {};
}

Result<void> Volumes::open_folder(const fs::path& folder) {
  folder_ = folder;
  if (auto made = make_folders(folder_.parent_path(), 0711); !made) return made;
  return make_folders(folder_, 0711);
}

Result<void> Volumes::mount_all(const InstanceSpec& spec) {
  const uid_t root = first_id(spec.id_range);
  for (const auto& volume : spec.volumes) {
    // Kubernetes' modes: everybody may write to an emptyDir.
    auto place = mount_next(root, is_of_files(volume) ? "0755" : "0777", size_of(volume));
    if (!place) return fail(std::move(place.error()));
    if (!is_of_files(volume)) continue;
    if (auto filled = publish_files(*place, volume.files, root); !filled)
      return fail(std::move(filled.error()).within("volume"));
  }
  return {};
}

Result<Volumes> Volumes::of_pod(const InstanceSpec& spec, const fs::path& area) {
  Volumes out;
  if (spec.volumes.empty()) return out;
  // Beside the folder of the instance with the pod's id.
  if (auto opened = out.open_folder(area / "v" / (std::string(spec.id.text()) + ".pod")); !opened)
    return fail(std::move(opened.error()));
  if (auto mounted = out.mount_all(spec); !mounted) return fail(std::move(mounted.error()));
  return out;
}

Result<Volumes> Volumes::attach(const InstanceSpec& spec, const fs::path& area, const Volumes* shared) {
  Volumes out;
  if (spec.volume_mounts.empty() && spec.message_path.empty()) return out;
  if (auto opened = out.open_folder(area / "v" / spec.id.text()); !opened) return fail(std::move(opened.error()));
  const uid_t root = first_id(spec.id_range);
  if (!shared)
    if (auto mounted = out.mount_all(spec); !mounted) return fail(std::move(mounted.error()));
  const auto& folder = shared ? shared->folder_ : out.folder_;
  for (const auto& mount : spec.volume_mounts) {
    const auto place = folder / std::to_string(mount.volume);
    std::error_code missing;
    // As the kubelet has it: what is not there is an empty folder.
    if (!mount.sub_path.empty() && !fs::exists(place / mount.sub_path, missing))
      if (auto made = make_folders_inside(place, mount.sub_path, root, 0777); !made)
        return fail(std::move(made.error()));
    // The files of this moment: what is mounted by a sub-path does not change (kubernetes/kubernetes#50345).
    const auto source = mount.sub_path.empty() ? place : fs::weakly_canonical(place / mount.sub_path, missing);
    if (missing) return fail(Errc::io, fmt::format("find {}: {}", mount.sub_path, missing.message()));
    out.entries_.push_back(
        {.target = mount.target,
         .type = "bind",
         .source = source.string(),
         .options = fmt::format(R"("bind", "nosuid", "nodev", "{}")", mount.writable ? "rw" : "ro")});
  }
  if (!spec.message_path.empty())
    if (auto attached = out.attach_message(spec.message_path, root); !attached)
      return fail(std::move(attached.error()));
  std::ranges::sort(out.entries_, {}, [](const BundleMount& mount) {
    return std::pair(depth_of(mount), std::string_view(mount.target));
  });
  return out;
}

/// An empty tmpfs at the next place of the folder.
Result<fs::path> Volumes::mount_next(uid_t root, std::string_view mode, std::uint64_t size) {
  const auto place = folder_ / std::to_string(count_++);
  if (::mkdir(place.c_str(), 0700) != 0) return fail(system_error("make folder " + place.string(), errno));
  const auto options = fmt::format("mode={},uid={},gid={},size={}", mode, root, root, size);
  if (::mount("wick", place.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) != 0)
    return fail(system_error("mount a volume", errno));
  return place;
}

/// A file of its own bounded memory, that everybody may write to, as the kubelet makes it.
Result<void> Volumes::attach_message(const std::string& target, uid_t root) {
  auto place = mount_next(root, "0755", 2 * message_bytes_max);
  if (!place) return fail(std::move(place.error()));
  const auto file = *place / "message";
  if (auto written = write_file(file, "", 0600); !written) return written;
  if (::chown(file.c_str(), root, root) != 0 || ::chmod(file.c_str(), 0666) != 0)
    return fail(system_error("give away " + file.string(), errno));
  auto opened = open_file(file, O_RDONLY);
  if (!opened) return fail(std::move(opened.error()));
  message_ = std::move(*opened);
  entries_.push_back(
      {.target = target, .type = "bind", .source = file.string(), .options = R"("bind", "nosuid", "nodev", "rw")"});
  return {};
}

Result<void> update_volumes(const InstanceSpec& spec, const Fd& process) {
  for (std::uint32_t number = 0; number < spec.volumes.size(); ++number) {
    const auto is_whole = [&](const VolumeMount& mount) { return mount.volume == number && mount.sub_path.empty(); };
    const auto mount = std::ranges::find_if(spec.volume_mounts, is_whole);
    if (!is_of_files(spec.volumes[number]) || mount == spec.volume_mounts.end()) continue;
    auto published = publish_files_in(process, mount->target, spec.volumes[number].files, first_id(spec.id_range));
    if (!published) return published;
  }
  return {};
}

Volumes::~Volumes() {
  if (folder_.empty()) return;
  for (std::size_t i = 0; i < count_; ++i) {
    const auto place = folder_ / std::to_string(i);
    ::umount2(place.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    ::rmdir(place.c_str());
  }
  ::rmdir(folder_.c_str());
}

}  // namespace wick::container
