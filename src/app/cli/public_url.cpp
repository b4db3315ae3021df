#include "app/cli/public_url.hpp"

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::app::cli {

std::string with_port(std::string url, std::string_view listen) {
  constexpr std::string_view scheme = "http://";
  if (!url.starts_with(scheme) || url.find(':', scheme.size()) != std::string::npos) return url;
  const auto colon = listen.rfind(':');
  const auto port = colon == std::string_view::npos ? std::string_view() : listen.substr(colon + 1);
  if (!parse_unsigned(port) || port == "80") return url;
  return url.insert(std::min(url.find('/', scheme.size()), url.size()), ":" + std::string(port));
}

std::string listen_address(Session& session) {
  const auto info = session.client.get("/apis/wick.dev/v1/info");
  return info ? text_at(*info, "/listen") : std::string();
}

std::string public_url(Session& session, const std::string& url) {
  return url.empty() ? url : with_port(url, listen_address(session));
}

}  // namespace wick::app::cli
