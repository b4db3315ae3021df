// Users by name, from the text of an image's /etc/passwd and /etc/group (passwd(5), group(5)). Pure; the text is
// hostile.
#pragma once

#include <string_view>

#include "wick/container/runner.hpp"

namespace wick::container {

/// "app", "1000", "app:staff", "1000:50". A name must be listed; a number need not be (its group is then 0, as with
/// Docker). Supplementary groups only where the user was found by passwd and no group was named. Errors: not_found
/// names the user or group; invalid for ids past the range.
Result<UserIds> find_user(std::string_view user, std::string_view passwd, std::string_view group);

}  // namespace wick::container
