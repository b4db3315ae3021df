// The plain HTTP contract, Knative's runtime contract (knative/specs runtime-contract.md): one HTTP/1.1 server on the
// port named by PORT, which learns from its environment whose revision it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "wick/http/message.hpp"

namespace wick::contract {

struct RevisionIdentity {
  std::string service;
  std::string configuration;
  std::string revision;
  std::uint16_t port = 8080;
};

/// Sets PORT, K_SERVICE, K_CONFIGURATION and K_REVISION in "K=V" form. They belong to the platform: what the image or
/// the user gave for them is replaced.
void set_plain_http_environment(std::vector<std::string>& environment, const RevisionIdentity& identity);

/// The question of an httpGet readiness probe, told from traffic by its User-Agent.
http::Request readiness_request(std::string_view path, std::uint16_t port);
/// 200 to 399, as the kubelet counts it.
bool is_ready_status(int status);

}  // namespace wick::contract
