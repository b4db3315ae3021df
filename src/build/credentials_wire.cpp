#include "credentials_wire.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"

namespace wick::build {

Result<std::string> to_wire(const GitCredentials& credentials) {
  std::string out;
  for (const auto& field :
       {credentials.username, credentials.password, credentials.ssh_private_key, credentials.known_hosts}) {
    if (field.contains('\0')) return fail(Errc::invalid, "the Secret for git holds a NUL byte");
    out += field;
    out += '\0';
  }
  if (out.size() > credentials_bytes_max)
    return fail(Errc::too_large,
                fmt::format("the Secret for git holds {}, at most {} are used", human_bytes(out.size()),
                            human_bytes(credentials_bytes_max)),
                "known_hosts need only name the hosts that are fetched from");
  return out;
}

Result<GitCredentials> from_wire(std::string_view bytes) {
  const auto parts = split(bytes, '\0');
  if (parts.size() != 5 || !parts[4].empty())
    return fail(Errc::invalid, "credentials are four fields, each ended by NUL");
  return GitCredentials{.username = std::string(parts[0]),
                        .password = std::string(parts[1]),
                        .ssh_private_key = std::string(parts[2]),
                        .known_hosts = std::string(parts[3])};
}

}  // namespace wick::build
