// What a git server may ask for, as a Secret holds it (kubernetes.io/basic-auth or kubernetes.io/ssh-auth).
#pragma once

#include <string>

namespace wick::build {

/// Sent to the host of the URL alone: a redirect to another host gets none of it.
struct GitCredentials {
  std::string username;         // of a login; the ssh user where the URL names none
  std::string password;         // or token
  std::string ssh_private_key;  // OpenSSH or PEM, without a passphrase
  std::string known_hosts;      // sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"; asked for with every ssh URL

  bool empty() const { return username.empty() && password.empty() && ssh_private_key.empty() && known_hosts.empty(); }
  friend bool operator==(const GitCredentials&, const GitCredentials&) = default;
};

}  // namespace wick::build
