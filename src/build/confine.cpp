#include "confine.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "wick/os/fd.hpp"

// AddressSanitizer reserves terabytes of address space.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WICK_ADDRESS_SANITIZER 1
#endif
#endif

namespace wick::build {

namespace {

constexpr std::uint64_t read_rights =
    LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
// The rights of the first Landlock version; later kernels know more, and leave those alone that are not named.
constexpr std::uint64_t all_rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

Result<void> limit(__rlimit_resource resource, std::uint64_t value) {
  rlimit now{};
  if (::getrlimit(resource, &now) != 0) return fail(system_error("getrlimit", errno));
  now.rlim_cur = now.rlim_max = std::min<rlim_t>(value, now.rlim_max);
  if (::setrlimit(resource, &now) != 0) return fail(system_error("setrlimit", errno));
  return {};
}

/// Where there are none, the call is not made: the front's unit refuses capset(2) with the rest of @privileged.
Result<void> drop_capabilities() {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct none[2]{};
  __user_cap_data_struct had[2]{};
  if (::syscall(SYS_capget, &header, had) == 0 && std::memcmp(had, none, sizeof none) == 0) return {};
  if (::syscall(SYS_capset, &header, none) != 0) return fail(system_error("give up capabilities", errno));
  return {};
}

Result<void> allow(int ruleset, const std::filesystem::path& path, std::uint64_t rights) {
  Fd folder(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!folder)
    return errno == ENOENT || errno == EACCES ? Result<void>{} : fail(system_error("open " + path.string(), errno));
  landlock_path_beneath_attr rule{.allowed_access = rights, .parent_fd = folder.get()};
  if (::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
    return fail(system_error("landlock " + path.string(), errno));
  return {};
}

/// The second version (Linux 5.19) has a right to rename and link from one folder to another; before it nobody may.
std::uint64_t write_rights() {
  const auto version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version >= 2 ? all_rights | LANDLOCK_ACCESS_FS_REFER : all_rights;
}

Result<void> restrict_folders(const Confinement& confinement) {
  const auto rights = write_rights();
  landlock_ruleset_attr handled{.handled_access_fs = rights};
  Fd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &handled, sizeof handled.handled_access_fs, 0)));
  if (!ruleset) return errno == ENOSYS || errno == EOPNOTSUPP ? Result<void>{} : fail(system_error("landlock", errno));
  for (const char* path : {"/usr", "/lib", "/lib64", "/etc/ssl", "/usr/share/ca-certificates", "/run/systemd/resolve"})
    if (auto allowed = allow(ruleset.get(), path, read_rights); !allowed) return allowed;
  constexpr std::uint64_t file_rights = LANDLOCK_ACCESS_FS_READ_FILE;
  for (const char* path : {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf",
                           "/etc/services", "/etc/ld.so.cache", "/etc/passwd", "/etc/localtime", "/dev/urandom"})
    if (auto allowed = allow(ruleset.get(), path, file_rights); !allowed) return allowed;
  constexpr std::uint64_t sink_rights = file_rights | LANDLOCK_ACCESS_FS_WRITE_FILE;
  if (auto allowed = allow(ruleset.get(), "/dev/null", sink_rights); !allowed) return allowed;
  if (auto allowed = allow(ruleset.get(), confinement.writable, rights); !allowed) return allowed;
  if (!confinement.readable.empty())
    if (auto allowed = allow(ruleset.get(), confinement.readable, read_rights); !allowed) return allowed;
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return fail(system_error("landlock", errno));
  return {};
}

}  // namespace

Result<void> confine(const Confinement& confinement) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail(system_error("no_new_privs", errno));
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return fail(system_error("not dumpable", errno));
  if (auto restricted = restrict_folders(confinement); !restricted) return restricted;
  if (auto dropped = drop_capabilities(); !dropped) return dropped;
  if (confinement.children == Children::none)
    if (auto set = limit(RLIMIT_NPROC, 0); !set) return set;
  if (auto set = limit(RLIMIT_CORE, 0); !set) return set;
  if (auto set = limit(RLIMIT_CPU, confinement.cpu_seconds_max); !set) return set;
  if (auto set = limit(RLIMIT_FSIZE, confinement.file_bytes_max); !set) return set;
#ifndef WICK_ADDRESS_SANITIZER
  if (auto set = limit(RLIMIT_AS, confinement.memory_bytes_max); !set) return set;
#endif
  return {};
}

}  // namespace wick::build
