// The URL a person can open: a Service's own, with the port the daemon listens on where it is not the usual one.
#pragma once

#include <string>
#include <string_view>

#include "app/cli/session.hpp"

namespace wick::app::cli {

/// Pure: `listen` is the daemon's address, "127.0.0.1:8080". Unchanged where the URL has a port, or needs none.
std::string with_port(std::string url, std::string_view listen);
/// Asks the daemon where it listens; the URL as it is when it does not say.
std::string public_url(Session& session, const std::string& url);
/// "" when the daemon does not say.
std::string listen_address(Session& session);

}  // namespace wick::app::cli
