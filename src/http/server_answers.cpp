#include "server_answers.hpp"

#include "chars.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/task_group.hpp"

namespace wick::http {

namespace {

/// A handler's field must not be able to break the framing of the answer.
bool is_safe_field(const Field& field) {
  return !field.name.empty() && chars::all<chars::token>(field.name) && chars::all<chars::value>(field.value);
}

}  // namespace

Errc kind_of_refusal(int status) {
  switch (status) {
    case 408:
      return Errc::timed_out;
    case 413:
    case 414:
    case 431:
      return Errc::too_large;
    case 501:
    case 505:
      return Errc::unsupported;
    default:
      return Errc::invalid;
  }
}

awaitable<bool> answer_for_server(Exchange& exchange, bool shedding) {
  if (shedding) {
    ResponseHead busy{.status = 503,
                      .fields = {{"Content-Type", "text/plain; charset=utf-8"},
                                 {"Wick-Error", slug(Errc::overloaded)},
                                 {"Retry-After", "1"}}};
    auto refused = co_await exchange.respond(std::move(busy), "memory is short: try again\n");
    co_return refused.has_value();
  }
  ResponseHead allowed{.status = 204, .fields = {{"Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"}}};
  auto sent = co_await exchange.respond(std::move(allowed), {});
  co_return sent.has_value();
}

void make_own_answer(const ResponseHead& head, bool head_request, std::optional<std::uint64_t> length,
                     OwnAnswer& answer) {
  auto& view = answer.view;
  view.status = head.status;
  view.reason = reason_phrase(head.status);
  answer.fields.reserve(head.fields.size());
  for (const auto& field : head.fields) {
    switch (field_name(field.name)) {
      case FieldName::connection:
        if (iequals(field.value, "close")) answer.close = true;
        continue;
      case FieldName::transfer_encoding:
      case FieldName::keep_alive:
        continue;
      case FieldName::content_length:
        if (!length) length = parse_unsigned(field.value);
        continue;
      case FieldName::date:
        view.has_date = true;
        break;
      default:
        break;
    }
    if (!is_safe_field(field)) {
      log::warn("a response field was left out: it would break the message", {{"field", printable(field.name)}});
      continue;
    }
    answer.fields.push_back({field.name, field.value});
  }
  view.fields = answer.fields;
  const bool never_a_body = head.status < 200 || head.status == 204 || head.status == 304;
  if (never_a_body) {
    view.framing = {};
  } else if (head_request) {
    view.declared_length = length;
  } else if (length) {
    view.framing = {BodyKind::length, *length};
  } else {
    view.framing = {BodyKind::chunked, 0};
  }
}

void log_handler_failure(std::string_view request, const std::exception_ptr& failure) {
  if (is_cancellation(failure)) std::rethrow_exception(failure);
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    log::error("a request handler failed", {{"request", request}, {"error", e.what()}});
  } catch (...) {
    log::error("a request handler failed", {{"request", request}, {"error", "unknown exception"}});
  }
}

awaitable<bool> answer_for_silent_handler(Exchange& exchange) {
  ResponseHead head{.status = 500,
                    .fields = {{"Content-Type", "text/plain; charset=utf-8"}, {"Wick-Error", slug(Errc::internal)}}};
  auto sent = co_await exchange.respond(std::move(head), "the server failed to answer this request\n");
  co_return sent.has_value();
}

}  // namespace wick::http
