// The key that Secrets are encrypted with: kept outside the state folder, so that neither a copy of the state nor a
// backup of it can be read.
#pragma once

#include <memory>

#include "app/config.hpp"
#include "wick/store/vault.hpp"

namespace wick::app {

/// From --secret-key (one key, or several while they are rotated: vault.hpp), or the credential "secret-key" of a
/// systemd unit, or /etc/wick/secret.key, which root makes (0600) where it is missing. Read before the rights are given
/// up. nullptr, with a warning in the log, when there is none: then Secrets are refused. Errors: invalid (not a key, or
/// inside the state folder).
Result<std::shared_ptr<const store::Vault>> open_vault(const Config& config);

}  // namespace wick::app
