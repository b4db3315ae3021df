// The proxy's own answers to a request that no instance gets.
#pragma once

#include "router.hpp"
#include "wick/http/handler.hpp"

namespace wick::serving {

/// serving.md 3.6 and 3.7: full queue 503, deadline 504; an instance that does not start is our failure, not the
/// request's.
int status_of(Errc code);

/// Knative's bodies (serving.md 3.6, 3.7): 504 is the text and nothing else, 503 a line. What waiting may mend says
/// when to come again. Answers with status_of(error); nothing to a client that has gone. Returns the status, or 0.
awaitable<int> respond_refused(http::Exchange& exchange, const Error& error);

/// For a host without a revision; returns the status.
awaitable<int> respond_unrouted(http::Exchange& exchange, Router::Found found);

}  // namespace wick::serving
