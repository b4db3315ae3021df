// Where the deliveries of webhooks are taken (wick/api/webhooks.hpp).
#pragma once

#include <string>
#include <string_view>

namespace wick::model {

inline constexpr std::string_view webhook_paths = "/.well-known/wick/webhooks/";
inline constexpr std::string_view webhook_secret_type = "wick.dev/webhook";  // of a webhook that deploys

/// Of a WebhookSource; that of a webhook which deploys has the name of its Secret in place of "sources/UID". Nobody can
/// guess either, and what nobody delivers to is not read.
inline std::string webhook_source_path(std::string_view name_space, std::string_view uid) {
  return std::string(webhook_paths) + std::string(name_space) + "/sources/" + std::string(uid);
}

}  // namespace wick::model
