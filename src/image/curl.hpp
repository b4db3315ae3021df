// One HTTP exchange with libcurl, which knows TLS and the ways of servers.
//
// The library is loaded when the first exchange needs it: it brings thirty others, and would cost every start of the
// program and of each of its children 10 ms (36 ms in place of 26) for what a short-lived child does now and then.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::image {

/// Where a connection may go, from the most to the least open.
enum class Reach { loopback, private_network, internet };

struct HttpExchange {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> fields;  // "Name: value"
  std::string body;                 // or, where it is long:
  std::function<Result<std::size_t>(std::uint64_t offset, char*, std::size_t)> upload;
  std::uint64_t upload_bytes = 0;
  std::string ca_pem;
  Reach reach = Reach::loopback;
  /// Of an answer 200 or 206, as it comes; other bodies, and all without it, are kept.
  std::function<Result<void>(long status, std::string_view)> sink;
  std::uint64_t body_bytes_max = 4 << 20;  // of what is kept
};

struct HttpAnswer {
  long status = 0;
  std::map<std::string, std::string> fields;  // names in lower case; repeated ones joined with ", "
  std::string body;
  std::string location;  // of a redirect or an upload, made absolute
  Reach peer = Reach::internet;

  std::string field(const std::string& name) const;
};

/// One connection that is kept for the next exchange. One thread at a time; several connections may be used at once.
class CurlConnection {
 public:
  static Result<CurlConnection> open();
  CurlConnection(CurlConnection&&) noexcept = default;
  ~CurlConnection();

  /// Follows no redirect and adds no credentials. Errors: unavailable, timed_out (30 s without a sign of life), denied
  /// (certificate; an address beyond `reach`, a link-local one always), too_large, those of sink and upload.
  Result<HttpAnswer> exchange(const HttpExchange& request);

 private:
  struct Free {
    void operator()(CURL* handle) const;
  };
  explicit CurlConnection(CURL* handle) : handle_(handle) {}
  std::unique_ptr<CURL, Free> handle_;
};

/// `reference` (absolute, or relative to `base`) as an absolute http(s) URL without user information; nullopt
/// otherwise.
std::optional<std::string> resolve_url(const std::string& base, const std::string& reference);
/// "https://host:443": what two URLs share that may see the same credentials.
std::string origin_of(const std::string& url);

}  // namespace wick::image
