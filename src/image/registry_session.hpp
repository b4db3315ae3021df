// Exchanges with one repository of one registry: credentials when it asks for them, redirects, waits when it is busy.
//
// 1. Credentials go to whoever the registry names as its token server, and to the registry; never along a redirect to
//    another origin, and never without TLS where the registry has it.
// 2. Where the registry sends us, and its token server, may be no deeper inside than the registry itself: one on the
//    internet cannot point at this machine or its network.
// 3. A request asks for a token at most once; what is refused with a new one stays refused.
#pragma once

#include <functional>
#include <mutex>
#include <string>

#include "challenge.hpp"
#include "curl.hpp"
#include "wick/image/registry.hpp"

namespace wick::image {

enum class Access { pull, push };

class RegistrySession {
 public:
  /// `endpoint` outlives it. May be used by several threads, each with its own connection.
  RegistrySession(const RegistryEndpoint& endpoint, std::string repository, Access access);

  /// "https://HOST/v2/REPOSITORY" and `path` behind it.
  std::string url(const std::string& path) const;
  /// Errors: those of CurlConnection::exchange; denied and overloaded (401, 403, 429) as registry.hpp says. Other
  /// statuses are answers. A sink must take a second beginning: an exchange that failed may be tried again.
  Result<HttpAnswer> request(CurlConnection& connection, HttpExchange request);
  /// What an answer that is none of the expected ones means.
  Error refused(const HttpExchange& request, const HttpAnswer& answer) const;

 private:
  Result<HttpAnswer> follow(CurlConnection& connection, HttpExchange request);
  Result<std::string> authorize(CurlConnection& connection, const HttpAnswer& answer);
  Result<std::string> bearer(CurlConnection& connection, const Challenge& challenge);
  std::string authorization() const;
  Error about(Error error, const HttpExchange& request) const;

  const RegistryEndpoint& endpoint_;
  std::string host_;
  std::string repository_;
  Access access_;
  mutable std::mutex mutex_;  // of the two below: a layer each is fetched by its own thread
  std::string authorization_;
  Reach peer_ = Reach::loopback;  // until the registry was reached it may be anywhere
};

}  // namespace wick::image
