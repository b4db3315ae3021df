#include "app/acme/transport.hpp"

#include <algorithm>
#include <boost/url/parse.hpp>

#include "wick/base/text.hpp"

namespace wick::app::acme {

namespace {

constexpr auto call_limit = std::chrono::seconds(30);
constexpr auto kept_limit = std::chrono::seconds(4);  // shorter than any server's: a POST is not sent twice

}  // namespace

Result<std::unique_ptr<Transport>> Transport::open(Executor executor, Clock& clock, std::string_view authorities) {
  auto tls = http::TlsClient::make(authorities);
  if (!tls) return fail(std::move(tls.error()));
  return std::unique_ptr<Transport>(new Transport(executor, clock, std::move(*tls)));
}

std::shared_ptr<http::Upstream> Transport::upstream_for(const std::string& host, const std::string& port) {
  const auto address = host + ":" + port;
  const auto found = std::ranges::find(hosts_, address, &Host::address);
  if (found != hosts_.end()) {
    hosts_.splice(hosts_.begin(), hosts_, found);
    return found->upstream;
  }
  auto upstream =
      std::make_shared<http::Upstream>(executor_, clock_, http::connect_to(executor_, address), 1, kept_limit);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  upstream->secure(tls_, bracketed ? host.substr(1, host.size() - 2) : host);
  hosts_.push_front({.address = address, .upstream = std::move(upstream)});
  if (hosts_.size() > hosts_max) hosts_.pop_back();
  return hosts_.front().upstream;
}

awaitable<Result<http::Response>> Transport::call(std::string url, http::Request request) {
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed || parsed->scheme() != "https" || parsed->has_userinfo() || parsed->encoded_host().empty())
    co_return fail(Errc::invalid, "'" + printable(url) + "' is not an https:// URL");
  request.head.authority = std::string(parsed->encoded_host_and_port());
  request.head.target = std::string(parsed->encoded_target());
  if (!request.head.target.starts_with('/')) request.head.target.insert(0, "/");
  const std::string port = parsed->has_port() ? std::string(parsed->port()) : "443";
  const auto upstream = upstream_for(std::string(parsed->encoded_host()), port);
  co_return co_await http::call(*upstream, clock_, std::move(request), call_limit, answer_bytes_max);
}

}  // namespace wick::app::acme
