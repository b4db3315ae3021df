#include "app/deliver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/url/parse.hpp>

#include "wick/base/text.hpp"

namespace wick::app {

Result<std::shared_ptr<http::Upstream>> Deliverer::upstream_for(const std::string& host, const std::string& port,
                                                                bool secure) {
  const auto address = (secure ? "https://" : "http://") + host + ":" + port;
  const auto found = std::ranges::find(hosts_, address, &Host::address);
  if (found != hosts_.end()) {
    hosts_.splice(hosts_.begin(), hosts_, found);
    return found->upstream;
  }
  auto upstream = std::make_shared<http::Upstream>(executor_, clock_, http::connect_to(executor_, host + ":" + port));
  if (secure) {
    if (!tls_) {
      auto made = http::TlsClient::make();
      if (!made) return fail(std::move(made.error()));
      tls_ = std::move(*made);
    }
    const bool bracketed = host.starts_with('[') && host.ends_with(']');
    upstream->secure(tls_, bracketed ? host.substr(1, host.size() - 2) : host);
  }
  hosts_.push_front({.address = address, .upstream = std::move(upstream)});
  if (hosts_.size() > hosts_max) hosts_.pop_back();
  return hosts_.front().upstream;
}

/// By a cluster name, which no name server outside knows.
awaitable<Result<http::Response>> Deliverer::deliver_inside(std::string host, http::Request request, std::string sender,
                                                            milliseconds limit) {
  if (serving_.serves(host)) {
    const auto labels = split(host, '.');
    co_return co_await serving_.call(std::string(labels[1]), std::string(labels[0]), std::move(request), limit);
  }
  const auto target = request.head.target;
  eventing::Sender from{.kind = eventing::Sender::Kind::inside, .subject = std::move(sender)};
  auto answer = co_await accept_(std::move(request), std::move(from));
  if (answer) co_return std::move(*answer);
  // As if the name were known and nothing listened there: it may come yet.
  co_return fail(Errc::unavailable, fmt::format("no service, broker or channel is at http://{}{}", printable(host, 200),
                                                printable(target, 200)));
}

awaitable<Result<http::Response>> Deliverer::deliver(eventing::Destination destination, http::Request request,
                                                     milliseconds limit) {
  if (!destination.service.empty()) {
    if (!destination.url.empty()) request.head.target = destination.url;
    co_return co_await serving_.call(std::move(destination.name_space), std::move(destination.service),
                                     std::move(request), limit);
  }
  const auto url = boost::urls::parse_uri(destination.url);
  if (!url) co_return fail(Errc::invalid, "'" + printable(destination.url) + "' is not an absolute URL");
  const bool secure = url->scheme() == "https";
  if (!secure && url->scheme() != "http")
    co_return fail(Errc::unsupported, "events can be sent to http and https URLs, not to " + std::string(url->scheme()),
                   "use an https:// address");
  const std::string authority(url->encoded_authority());
  request.head.authority = authority;
  request.head.target = std::string(url->encoded_target());
  if (request.head.target.empty() || request.head.target.front() != '/') request.head.target.insert(0, "/");
  if (const auto host = std::string(url->encoded_host()); host.ends_with(".svc.cluster.local"))
    co_return co_await deliver_inside(host, std::move(request), std::move(destination.sender), limit);
  const std::string port = url->has_port() ? std::string(url->port()) : secure ? "443" : "80";
  const auto upstream = upstream_for(std::string(url->encoded_host()), port, secure);
  if (!upstream) co_return fail(upstream.error());
  co_return co_await http::call(**upstream, clock_, std::move(request), limit);
}

}  // namespace wick::app
