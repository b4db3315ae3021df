// What a server asks for with 401: the WWW-Authenticate field (RFC 9110 11.6.1), as registries use it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::image {

struct Challenge {
  std::string scheme;                             // lower case: "bearer", "basic"
  std::string token;                              // token68, of schemes that have one in place of parameters
  std::map<std::string, std::string> parameters;  // names in lower case, values without their quotes
};

/// All challenges of the field; several fields of one answer are joined with ", ". Errors: invalid, also for a field of
/// more than 8 KiB.
Result<std::vector<Challenge>> parse_challenges(std::string_view field);

}  // namespace wick::image
