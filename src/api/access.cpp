#include "api/access.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

constexpr int free_failures = 5;
constexpr auto delay_first = std::chrono::milliseconds(250);
constexpr auto delay_max = std::chrono::milliseconds(10'000);
constexpr auto forgotten_after = std::chrono::minutes(10);
constexpr std::size_t peers_max = 1'000;  // addresses whose failures are remembered
constexpr std::size_t waiting_max = 64;   // wrong callers held at once; one more is turned away at once

/// "127.0.0.1:6443" without its port.
std::string_view host_of(std::string_view authority) {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  return authority.substr(0, authority.find(':'));
}

/// The token of "Bearer TOKEN", or of "Basic" with the token as its password: client-go keeps tokens to itself unless
/// the server's URL is https, and sends what stands in the URL (http://token:TOKEN@127.0.0.1:6443).
std::string token_of(std::string_view field) {
  const auto space = field.find(' ');
  const auto scheme = field.substr(0, space);
  const auto rest = space == field.npos ? std::string_view() : trim(field.substr(space));
  if (iequals(scheme, "bearer")) return std::string(rest);
  if (!iequals(scheme, "basic")) return {};
  const auto pair = base64_decode(rest).value_or(std::string());
  const auto colon = pair.find(':');
  return colon == std::string::npos ? std::string() : pair.substr(colon + 1);
}

constexpr std::string_view token_prefix = "/token/";

bool is_loopback_name(std::string_view host) {
  const bool is_loopback_number = host.starts_with("127.") && host.find_first_not_of("0123456789.") == host.npos;
  return host == "localhost" || host == "[::1]" || is_loopback_number || host.ends_with(".localhost");
}

}  // namespace

std::optional<http::RequestHead> head_without_token(const http::RequestHead& head) {
  if (!head.target.starts_with(token_prefix)) return std::nullopt;
  const auto end = head.target.find_first_of("/?", token_prefix.size());
  auto same = head;
  same.fields.set("Authorization", "Bearer " + head.target.substr(token_prefix.size(), end - token_prefix.size()));
  same.target = end == std::string::npos ? "/" : head.target.substr(end);
  if (!same.target.starts_with('/')) same.target.insert(0, 1, '/');
  return same;
}

std::string refusal(const Caller& caller, const Need& need) {
  if (need.scope == Scope::none) return {};
  if (caller.scope == Scope::none) return "there is no credential";
  if (caller.scope < need.scope)
    return fmt::format("this needs the scope {}, the caller has {}", to_string(need.scope), to_string(caller.scope));
  if (caller.name_space.empty()) return {};
  if (need.everywhere) return fmt::format("the caller may only act in the namespace \"{}\"", caller.name_space);
  if (!need.name_space.empty() && need.name_space != caller.name_space)
    return fmt::format("the caller may only act in the namespace \"{}\"", caller.name_space);
  return {};
}

Result<void> Access::check_origin(const http::Exchange& exchange) const {
  const auto& head = exchange.head();
  const auto known = [&](std::string_view host) {
    const auto lower = to_lower(host);
    return is_loopback_name(lower) || std::ranges::find(hosts_, lower) != hosts_.end();
  };
  if (exchange.peer_uid() < 0 && !known(host_of(head.authority)))
    return fail(Errc::denied, fmt::format("this API does not go by the name '{}'", printable(head.authority)),
                "call it by 127.0.0.1 or localhost");
  const auto origin = head.fields.find("Origin");
  if (!origin) return {};
  // A page may call the API it was served from, and no other.
  const auto scheme_end = origin->find("://");
  const auto authority = scheme_end == origin->npos ? std::string_view() : origin->substr(scheme_end + 3);
  if (to_lower(authority) != head.authority)
    return fail(Errc::denied, fmt::format("a page of '{}' may not call this API", printable(*origin)));
  return {};
}

awaitable<Result<Caller>> Access::identify(const http::Exchange& exchange) {
  if (const auto uid = exchange.peer_uid(); uid >= 0)
    co_return Caller{.user = uid == 0 ? "root" : fmt::format("uid:{}", uid), .scope = Scope::admin, .name_space = {}};
  const auto field = exchange.head().fields.find("Authorization");
  if (!field) co_return Caller{};
  if (const auto* token = tokens_.check(token_of(*field), clock_.wall()))
    co_return Caller{.user = "token:" + token->name, .scope = token->scope, .name_space = token->name_space};
  auto punished = co_await punish(std::string(exchange.peer()));
  if (!punished) co_return fail(std::move(punished.error()));
  co_return fail(Errc::denied, "the token is not known, or has expired", "wick kubeconfig makes one that is");
}

awaitable<Result<void>> Access::punish(std::string peer) {
  const auto now = clock_.now();
  std::erase_if(failures_, [&](const auto& entry) { return now - entry.second.last > forgotten_after; });
  if (failures_.size() >= peers_max && !failures_.contains(peer)) failures_.erase(failures_.begin());
  auto& failures = failures_[peer];
  failures.last = now;
  const int over = ++failures.count - free_failures;
  if (over <= 0) co_return Result<void>();
  if (over == 1) log::warn("wrong tokens, answers are delayed from now on", {{"peer", peer}});
  if (waiting_ >= waiting_max)
    co_return fail(Errc::overloaded, "too many wrong tokens are being tried", "try again later");
  struct Waiting {
    std::size_t& count;
    explicit Waiting(std::size_t& all) : count(all) { ++count; }
    ~Waiting() { --count; }
  } waiting(waiting_);
  const auto delay = std::min<std::chrono::milliseconds>(delay_first * (1 << std::min(over - 1, 10)), delay_max);
  co_await clock_.sleep(delay);
  co_return Result<void>();
}

}  // namespace wick::api
