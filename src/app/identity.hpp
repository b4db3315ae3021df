// Who the front is: the user `wick` where packaging made one, a dynamic uid where it did not, and no rights at all.
#pragma once

#include <sys/types.h>

#include <filesystem>

#include "wick/base/error.hpp"

namespace wick::app {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
};

/// User `wick`, or the owner of an existing state folder if that is in systemd's dynamic range (61184 to 65519), or the
/// first uid of that range that nobody has.
Result<Identity> front_identity(const std::filesystem::path& state_folder);

/// Gives up every group, uid, capability (bounding set too) and the way back (no_new_privs). Only as root; there is no
/// undo.
Result<void> become(const Identity& identity);

}  // namespace wick::app
