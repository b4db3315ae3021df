// What a client is told when an exchange could not be relayed, over whatever protocol.
#pragma once

#include "wick/http/upstream.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

inline constexpr auto connect_limit = std::chrono::seconds(10);

/// Answers for `outcome.error` where no byte of a response is out, else cuts the connection; keeps the status.
awaitable<void> answer_relay_failure(WireExchange& client, RelayOutcome& outcome);
/// The request was here too often already.
awaitable<void> answer_loop(WireExchange& client, RelayOutcome& outcome);

}  // namespace wick::http
