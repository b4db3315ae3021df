// What the server itself answers in place of a handler, over either version of HTTP.
#pragma once

#include <optional>
#include <vector>

#include "framing.hpp"
#include "wick/base/error.hpp"
#include "wick/http/handler.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

/// Of a refused head, for Wick-Error.
Errc kind_of_refusal(int status);

/// No service sees these: OPTIONS * (RFC 9110 9.3.7), and anything while memory is short (`shedding`). False when the
/// client is gone.
awaitable<bool> answer_for_server(Exchange& exchange, bool shedding);

/// A handler's answer as it goes on the wire: its fields without those that frame it.
struct OwnAnswer {
  ResponseView view;  // of `fields`
  std::vector<FieldView> fields;
  bool close = false;  // the handler wants the connection closed
};
/// `length`: of the body, where it is known. Views of `head`.
void make_own_answer(const ResponseHead& head, bool head_request, std::optional<std::uint64_t> length,
                     OwnAnswer& answer);

/// A handler threw. A cancelled one is the connection's end and goes on as an exception.
void log_handler_failure(std::string_view request, const std::exception_ptr& failure);

/// The handler returned without an answer. False when the client is gone.
awaitable<bool> answer_for_silent_handler(Exchange& exchange);

}  // namespace wick::http
