// Tokens, the audit trail, and Kubernetes' questions of what the caller may do.
#pragma once

#include <boost/json/object.hpp>

#include "api/access.hpp"
#include "api/audit.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/worker.hpp"

namespace wick::api {

/// POST tokens: {"name", "scope", "namespace", "ttlSeconds"}; the answer has the token itself, once.
awaitable<void> create_token(Tokens& tokens, Clock& clock, http::Exchange& exchange);
awaitable<void> list_tokens(const Tokens& tokens, http::Exchange& exchange);
awaitable<void> revoke_token(Tokens& tokens, http::Exchange& exchange, std::string id);
/// GET audit?limit=N: {"rows", "firstBroken"}.
awaitable<void> show_audit(const Audit& audit, http::Exchange& exchange);
/// POST selfsubjectaccessreviews: kubectl auth can-i.
awaitable<void> review_access(const Caller& caller, http::Exchange& exchange);
/// POST selfsubjectreviews: kubectl auth whoami.
awaitable<void> review_self(const Caller& caller, http::Exchange& exchange);

}  // namespace wick::api
