#include "relay_failure.hpp"

#include <string>

#include "forwarding.hpp"

namespace wick::http {

awaitable<void> answer_loop(WireExchange& client, RelayOutcome& outcome) {
  const Error loop(Errc::conflict,
                   "the request went through this proxy " + std::to_string(own_hops_max) + " times: a loop");
  outcome.status = 508;
  outcome.error = loop;
  co_await respond_error(client, 508, loop);
}

awaitable<void> answer_relay_failure(WireExchange& client, RelayOutcome& outcome) {
  if (client.started()) {
    client.cut();  // bytes of the response are out: only a cut tells the client that it is not whole
    co_return;
  }
  const auto& error = *outcome.error;
  int status = error.code() == Errc::timed_out ? 504 : 502;
  if (!outcome.upstream_failed) {
    switch (error.code()) {
      case Errc::unavailable:
        co_return;  // nobody is there to read an answer
      case Errc::timed_out:
        status = 408;
        break;
      case Errc::too_large:
        status = 413;
        break;
      default:
        status = 400;
    }
  }
  outcome.status = status;
  co_await respond_error(client, status, error);
}

}  // namespace wick::http
