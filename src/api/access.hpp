// Who calls, and what they may do (trust-and-ux.md 10.6). On the unix socket the kernel says who it is, and whoever can
// open it may do everything; on TCP a bearer token says it, with a scope and perhaps one namespace.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/tokens.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"

namespace wick::api {

/// Who a request is from.
struct Caller {
  std::string user = "anonymous";
  Scope scope = Scope::none;
  std::string name_space;  // set: nothing outside it
};

/// What a request needs.
struct Need {
  Scope scope = Scope::admin;
  std::string name_space;   // "" : not about one namespace
  bool everywhere = false;  // about all namespaces, or about something no namespace has
};

/// Pure: why the caller may not, "" when it may.
std::string refusal(const Caller& caller, const Need& need);

/// The head as if it had brought its token as a field, where its path begins with "/token/TOKEN": the one way to have
/// client-go send a token over http with a WebSocket too, whose URL may have no user. Pure.
std::optional<http::RequestHead> head_without_token(const http::RequestHead& head);

class Access {
 public:
  /// `tokens` and `clock` outlive it. `hosts`: names the API may be called by on TCP, besides loopback's.
  Access(const Tokens& tokens, Clock& clock, std::vector<std::string> hosts)
      : tokens_(tokens), clock_(clock), hosts_(std::move(hosts)) {}

  /// Errors: denied where the Host or Origin is not ours (a page in a browser, a rebound name).
  Result<void> check_origin(const http::Exchange& exchange) const;
  /// Who it is; a caller without any credential is anonymous. Errors: denied (401) for a wrong one, after a delay that
  /// grows with the failures of that peer; overloaded when too many of those wait already.
  awaitable<Result<Caller>> identify(const http::Exchange& exchange);

 private:
  struct Failures {
    int count = 0;
    TimePoint last{};
  };
  awaitable<Result<void>> punish(std::string peer);

  const Tokens& tokens_;
  Clock& clock_;
  std::vector<std::string> hosts_;
  std::map<std::string, Failures, std::less<>> failures_;
  std::size_t waiting_ = 0;
};

}  // namespace wick::api
