#include "app/gateway.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"
#include "wick/http/server.hpp"

namespace wick::app {

namespace {

constexpr std::string_view cluster_domain = "svc.cluster.local";
constexpr std::size_t connections_max = 256;  // of one instance

/// The exchange under another Host: what a service sees is its own name, however short the caller's was.
class Renamed final : public http::Exchange {
 public:
  Renamed(http::Exchange& inner, std::string host) : inner_(inner), head_(inner.head()) {
    head_.authority = std::move(host);
  }
  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return inner_.peer(); }
  long peer_uid() const override { return inner_.peer_uid(); }
  std::string_view id() const override { return inner_.id(); }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override { return inner_.read_some(into); }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    return inner_.respond(std::move(head), std::move(body));
  }
  awaitable<Result<void>> start(http::ResponseHead head) override { return inner_.start(std::move(head)); }
  awaitable<Result<void>> write(std::string_view bytes) override { return inner_.write(bytes); }
  awaitable<Result<void>> finish() override { return inner_.finish(); }
  bool started() const override { return inner_.started(); }
  awaitable<void> wait_gone() override { return inner_.wait_gone(); }

 private:
  http::Exchange& inner_;
  http::RequestHead head_;
};

}  // namespace

std::string cluster_host(std::string_view host, std::string_view name_space) {
  std::string name = to_lower(host.substr(0, host.find(':')));
  if (name.ends_with('.')) name.pop_back();
  const std::string with_dot = "." + std::string(cluster_domain);
  if (name.ends_with(with_dot)) name.erase(name.size() - with_dot.size());
  if (name.ends_with(".svc")) name.erase(name.size() - 4);
  const auto labels = split(name, '.');
  if (labels.size() > 2 || !std::ranges::all_of(labels, is_dns_label)) return {};
  if (labels.size() == 1) {
    if (name_space.empty()) return {};
    return fmt::format("{}.{}.{}", name, name_space, cluster_domain);
  }
  return fmt::format("{}.{}", name, cluster_domain);
}

/// One instance: its server and its questions.
class Gateway::Inhabitant {
 public:
  Inhabitant(Executor executor, Clock& clock, http::Handler handler)
      : server(executor, clock, {.connections_max = connections_max}, std::move(handler)), questions(executor) {}
  http::Server server;
  TaskGroup questions;
};

Gateway::Gateway(Executor executor, Clock& clock, Doors doors)
    : executor_(executor),
      clock_(clock),
      doors_(std::move(doors)),
      names_(executor, clock,
             [this](std::string_view host) {
               return host == broker_host || doors_.serves(host) || doors_.takes_events(host);
             }),
      tasks_(executor) {}

Gateway::~Gateway() = default;

void Gateway::open(const container::InstanceId& id, const EgressPolicy& egress, container::Inside inside) {
  close(id);
  if (tasks_.closed()) return;
  const auto owner = doors_.owner_of(id);
  const std::string name_space = owner ? owner->substr(0, owner->find('/')) : std::string();
  auto handler = [this, whose = owner.value_or(std::string())](http::Exchange& exchange) {
    return handle(whose, exchange);
  };
  auto inhabitant = std::make_shared<Inhabitant>(executor_, clock_, std::move(handler));
  inhabitant->server.listen(std::move(inside.http));
  const container::NameServer::Caller caller{.name_space = name_space,
                                             .may_ask_outside = egress.base != Egress::none || !egress.allow.empty()};
  inhabitant->questions.spawn("dns", names_.serve_udp(std::move(inside.dns_udp), caller));
  inhabitant->questions.spawn("dns over tcp", names_.serve_tcp(std::move(inside.dns_tcp), caller));
  inhabitants_.emplace(id, std::move(inhabitant));
}

void Gateway::close(const container::InstanceId& id) {
  auto found = inhabitants_.find(id);
  if (found == inhabitants_.end()) return;
  auto inhabitant = std::move(found->second);
  inhabitants_.erase(found);
  tasks_.spawn("gateway end", end(std::move(inhabitant)));
}

awaitable<void> Gateway::end(std::shared_ptr<Inhabitant> inhabitant) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await inhabitant->questions.stop();
  co_await inhabitant->server.stop(std::chrono::milliseconds(0));
}

std::vector<container::InstanceId> Gateway::instances() const {
  std::vector<container::InstanceId> ids;
  for (const auto& [id, inhabitant] : inhabitants_) ids.push_back(id);
  return ids;
}

awaitable<void> Gateway::leave(std::chrono::milliseconds limit) {
  TaskGroup leaving(executor_);
  const auto leave_one = [](std::shared_ptr<Inhabitant> inhabitant, std::chrono::milliseconds most) -> awaitable<void> {
    co_await inhabitant->server.leave(most);
  };
  for (const auto& [id, inhabitant] : inhabitants_) leaving.spawn("gateway leaves", leave_one(inhabitant, limit));
  co_await leaving.join();
}

awaitable<void> Gateway::drain(std::chrono::milliseconds grace) {
  TaskGroup draining(executor_);
  const auto drain_one = [](std::shared_ptr<Inhabitant> inhabitant, std::chrono::milliseconds most) -> awaitable<void> {
    co_await inhabitant->questions.stop();
    co_await inhabitant->server.stop(most);
  };
  for (const auto& [id, inhabitant] : inhabitants_) draining.spawn("gateway drains", drain_one(inhabitant, grace));
  co_await draining.join();
}

awaitable<void> Gateway::stop() {
  while (!inhabitants_.empty()) close(inhabitants_.begin()->first);
  co_await tasks_.join();
  tasks_.close();
}

awaitable<void> Gateway::handle(std::string owner, http::Exchange& exchange) {
  const auto name_space = owner.substr(0, owner.find('/'));
  const std::string_view authority = exchange.head().authority;
  const auto host = cluster_host(authority, name_space);
  if (host == broker_host || (!name_space.empty() && doors_.takes_events(host))) {
    Renamed renamed(exchange, host);
    co_await doors_.events(std::move(owner), renamed);
  } else if (host.empty() || name_space.empty()) {
    // A name as the world knows it ("hello.default.example.org") is routed like a request from there.
    if (!name_space.empty() && doors_.serves(authority)) {
      co_await doors_.services(exchange);
      co_return;
    }
    co_await http::respond_error(
        exchange, 404,
        Error(Errc::not_found, fmt::format("no service is called '{}' here", printable(authority, 100)))
            .hint("NAME.NAMESPACE.svc.cluster.local, or NAME in the same namespace"));
  } else if (host == authority) {
    co_await doors_.services(exchange);
  } else {
    Renamed renamed(exchange, host);
    co_await doors_.services(renamed);
  }
}

}  // namespace wick::app
