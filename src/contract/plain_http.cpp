#include "wick/contract/plain_http.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace wick::contract {

namespace {

void set(std::vector<std::string>& environment, std::string_view name, std::string_view value) {
  std::erase_if(environment, [&](const std::string& entry) {
    return entry.size() > name.size() && entry[name.size()] == '=' && entry.starts_with(name);
  });
  environment.push_back(fmt::format("{}={}", name, value));
}

}  // namespace

void set_plain_http_environment(std::vector<std::string>& environment, const RevisionIdentity& identity) {
  set(environment, "PORT", std::to_string(identity.port));
  set(environment, "K_SERVICE", identity.service);
  set(environment, "K_CONFIGURATION", identity.configuration);
  set(environment, "K_REVISION", identity.revision);
}

http::Request readiness_request(std::string_view path, std::uint16_t port) {
  http::Request request;
  request.head.target = path.starts_with('/') ? std::string(path) : fmt::format("/{}", path);
  request.head.authority = fmt::format("127.0.0.1:{}", port);
  request.head.fields = {{"User-Agent", "kube-probe/wick"}, {"Accept", "*/*"}};
  return request;
}

bool is_ready_status(int status) { return status >= 200 && status < 400; }

}  // namespace wick::contract
