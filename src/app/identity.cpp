#include "app/identity.hpp"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace wick::app {

namespace {

constexpr uid_t dynamic_uid_min = 61184;  // systemd.exec(5), DynamicUser=
constexpr uid_t dynamic_uid_max = 65519;

bool dynamic(uid_t uid) { return uid >= dynamic_uid_min && uid <= dynamic_uid_max; }

}  // namespace

Result<Identity> front_identity(const std::filesystem::path& state_folder) {
  if (const passwd* user = ::getpwnam("wick")) return Identity{.uid = user->pw_uid, .gid = user->pw_gid};
  struct stat found{};
  if (::stat(state_folder.c_str(), &found) == 0 && dynamic(found.st_uid))
    return Identity{.uid = found.st_uid, .gid = found.st_uid};
  for (uid_t uid = dynamic_uid_min; uid <= dynamic_uid_max; ++uid)
    if (::getpwuid(uid) == nullptr && ::getgrgid(uid) == nullptr) return Identity{.uid = uid, .gid = uid};
  return fail(Errc::unavailable, "no free uid between 61184 and 65519 for the front",
              "make a user for it: useradd --system wick");
}

Result<void> become(const Identity& identity) {
  const auto check = [](long result, const char* what) -> Result<void> {
    if (result != 0) return fail(system_error(what, errno));
    return {};
  };
  // The bounding set first: dropping from it needs the capability that the uid change takes away.
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability)
    if (auto dropped = check(::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0), "drop bounding capability"); !dropped)
      return dropped;
  if (auto done = check(::setgroups(0, nullptr), "setgroups"); !done) return done;
  if (auto done = check(::setresgid(identity.gid, identity.gid, identity.gid), "setresgid"); !done) return done;
  if (auto done = check(::setresuid(identity.uid, identity.uid, identity.uid), "setresuid"); !done) return done;
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> none{};
  if (auto done = check(::syscall(SYS_capset, &header, none.data()), "capset"); !done) return done;
  if (auto done = check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs"); !done) return done;
  if (::setuid(0) == 0) return fail(Errc::internal, "the front could become root again");
  return {};
}

}  // namespace wick::app
