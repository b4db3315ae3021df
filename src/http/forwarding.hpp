// Which fields pass through the proxy and which are made by it (RFC 9110 7.6, RFC 7239). Pure: text in, text out.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "head_parser.hpp"
#include "trace_context.hpp"
#include "wick/http/message.hpp"
#include "wire_exchange.hpp"

namespace wick::http {

struct ForwardContext {
  std::string_view peer;  // the client's address
  std::string_view request_id;
  std::string_view proto;  // "http" or "https", as the client came
  bool trust_forwarded = false;
  bool websocket = false;         // pass the upgrade on
  TraceSource* traces = nullptr;  // starts a trace where the request belongs to none
  const Fields* extra = nullptr;
  std::string_view client_lines;  // whole field lines that tell who the client proved to be; see VerifiedClient
};

/// RFC 9110 9.2.2: what may be sent again when nothing is known about the first time.
inline bool is_idempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

/// Hops named "wick" that a request may have passed before it is taken for a loop.
inline constexpr int own_hops_max = 10;

/// Appends a request head towards the instance to `text`, with one framing field at most.
void append_request_head(std::string& text, const RequestHead& head, const Framing& framing,
                         const ForwardContext& context);

/// Trailer lines of a response that may be passed on: none that frames, routes, authenticates or describes the content
/// (RFC 9110 6.5.1). `lines` as ChunkDecoder::keep_trailers gives them.
std::string passed_trailers(std::string_view lines);

/// How often this proxy is named in the request's Via fields.
int own_hops(const RequestHead& head);

/// The end-to-end fields of an instance's response, as views into `bytes`. True when a Date is among them.
bool forward_response_fields(const HeadParser& parser, std::string_view bytes, std::vector<FieldView>& fields);
/// The same of a response that came over HTTP/2, which knows no Connection.
bool forward_response_fields(const Fields& from, std::vector<FieldView>& fields);

}  // namespace wick::http
