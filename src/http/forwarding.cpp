#include "forwarding.hpp"

#include <charconv>

#include "forwarded.hpp"
#include "wick/base/text.hpp"
#include "wire_text.hpp"

namespace wick::http {

namespace {

constexpr std::string_view own_name = "wick";

/// RFC 7239 section 6: an IPv6 address is quoted and in brackets.
void append_node(std::string& text, std::string_view peer) {
  if (peer == "unix")
    text += "_unix";
  else if (peer.find(':') != std::string_view::npos)
    text.append("\"[").append(peer).append("]\"");
  else
    text += peer;
}

/// The hop-by-hop fields of RFC 9110 7.6.1, and those that are made anew.
bool is_replaced(FieldName name, const ForwardContext& context) {
  switch (name) {
    case FieldName::connection:
    case FieldName::content_length:
    case FieldName::expect:
    case FieldName::host:
    case FieldName::http2_settings:
    case FieldName::keep_alive:
    case FieldName::proxy:
    case FieldName::proxy_authenticate:
    case FieldName::proxy_authorization:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::trailer:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::wick_error:
      return true;
    case FieldName::forwarded:
    case FieldName::x_forwarded_for:
    case FieldName::x_forwarded_host:
    case FieldName::x_forwarded_proto:
      return true;  // written once, after the others, with the old values where they are trusted
    case FieldName::client_cert:
    case FieldName::client_cert_chain:
    case FieldName::x_forwarded_client_cert:
      return !context.client_lines.empty() || !context.trust_forwarded;
    case FieldName::x_real_ip:
      return !context.trust_forwarded;
    case FieldName::sec_websocket_key:
    case FieldName::sec_websocket_version:
      return !context.websocket;
    default:
      return false;
  }
}

bool is_named(const std::vector<std::string_view>& names, std::string_view name) {
  for (const auto named : names)
    if (iequals(named, name)) return true;
  return false;
}

/// What proxies before us wrote, each value followed by ", ". A malformed Forwarded would spoil ours: it is left out.
void append_values(std::string& text, const RequestHead& head, FieldName name) {
  for (const auto& field : head.fields) {
    if (field_name(field.name) != name || field.value.empty()) continue;
    if (name == FieldName::forwarded && !is_forwarded(field.value)) continue;
    text.append(field.value).append(", ");
  }
}

std::string_view first_value(const RequestHead& head, FieldName name) {
  for (const auto& field : head.fields)
    if (field_name(field.name) == name) return field.value;
  return {};
}

/// Exactly one traceparent, and a valid one.
bool belongs_to_trace(const RequestHead& head) {
  int valid = 0;
  for (const auto& field : head.fields) {
    if (field_name(field.name) != FieldName::traceparent) continue;
    if (!is_traceparent(field.value)) return false;
    ++valid;
  }
  return valid == 1;
}

void append_forwarded(std::string& text, const RequestHead& head, std::string_view host,
                      const ForwardContext& context) {
  const bool trust = context.trust_forwarded;
  text += "X-Forwarded-For: ";
  if (trust) append_values(text, head, FieldName::x_forwarded_for);
  text += context.peer == "unix" ? std::string_view("127.0.0.1") : context.peer;
  const auto old_proto = trust ? first_value(head, FieldName::x_forwarded_proto) : std::string_view();
  const auto old_host = trust ? first_value(head, FieldName::x_forwarded_host) : std::string_view();
  text += "\r\n";
  append_field(text, "X-Forwarded-Proto", old_proto.empty() ? context.proto : old_proto);
  append_field(text, "X-Forwarded-Host", old_host.empty() ? host : old_host);
  text += "Forwarded: ";
  if (trust) append_values(text, head, FieldName::forwarded);
  text += "for=";
  append_node(text, context.peer);
  text += ";host=\"";
  text += host;
  text += "\";proto=";
  text += context.proto;
  text += "\r\n";
}

}  // namespace

void append_request_head(std::string& text, const RequestHead& head, const Framing& framing,
                         const ForwardContext& context) {
  const std::string_view host =
      head.authority.empty() ? std::string_view("localhost") : std::string_view(head.authority);
  text.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  append_field(text, "Host", host);

  std::vector<std::string_view> hop_by_hop;  // fields that Connection names; empty for nearly every request
  for (const auto& field : head.fields) {
    if (field_name(field.name) != FieldName::connection) continue;
    for_each_element(field.value, [&](std::string_view option) {
      if (!chars::equals_lower(option, "keep-alive") && !chars::equals_lower(option, "close"))
        hop_by_hop.push_back(option);
    });
  }

  bool has_request_id = false;
  const bool traced = belongs_to_trace(head);
  for (const auto& field : head.fields) {
    const auto name = field_name(field.name);
    // W3C Trace Context 3.2.2.3: without one valid traceparent, tracestate means nothing either.
    if (!traced && (name == FieldName::traceparent || name == FieldName::tracestate)) continue;
    if (is_replaced(name, context)) continue;
    // Connection may not strip what the protocol or this proxy needs; those have names of their own here.
    if (name == FieldName::other && !hop_by_hop.empty() && is_named(hop_by_hop, field.name)) continue;
    FieldName twin;
    if (is_underscore_twin(field.name, twin)) continue;
    if (context.extra && !context.extra->empty() && context.extra->contains(field.name)) continue;
    if (name == FieldName::x_request_id) has_request_id = true;
    append_field(text, field.name, field.value);
  }
  append_forwarded(text, head, host, context);
  text += context.client_lines;
  append_field(text, "Via", head.minor_version == 0 ? "1.0 wick" : "1.1 wick");
  if (!has_request_id && !context.request_id.empty()) append_field(text, "X-Request-Id", context.request_id);
  if (!traced && context.traces) {
    text += "traceparent: ";
    context.traces->append(text);
    text += "\r\n";
  }
  if (context.extra)
    for (const auto& field : *context.extra) append_field(text, field.name, field.value);
  if (context.websocket) text += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  if (framing.kind == BodyKind::chunked) {
    text += "Transfer-Encoding: chunked\r\n";
  } else if (framing.kind == BodyKind::length) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof digits, framing.length).ptr;
    append_field(text, "Content-Length", {digits, static_cast<std::size_t>(end - digits)});
  } else if (head.method == "POST" || head.method == "PUT" || head.method == "PATCH") {
    text += "Content-Length: 0\r\n";  // RFC 9110 8.6: methods that expect content say so when there is none
  }
  text += "\r\n";
}

std::string passed_trailers(std::string_view lines) {
  constexpr std::string_view refused[] = {"authorization", "cache-control", "location",        "retry-after",
                                          "set-cookie",    "vary",          "www-authenticate"};
  std::string passed;
  while (!lines.empty()) {
    const auto end = lines.find("\r\n");
    if (end == std::string_view::npos) break;
    const auto line = lines.substr(0, end + 2);
    lines.remove_prefix(end + 2);
    const auto name = line.substr(0, line.find(':'));
    if (field_name(name) != FieldName::other || name.find('_') != std::string_view::npos) continue;
    if (name.size() > 8 && iequals(name.substr(0, 8), "content-")) continue;
    bool pass = true;
    for (const auto each : refused) pass = pass && !chars::equals_lower(name, each);
    if (pass) passed += line;
  }
  return passed;
}

int own_hops(const RequestHead& head) {
  int hops = 0;
  for (const auto& field : head.fields) {
    if (field_name(field.name) != FieldName::via) continue;
    for_each_element(field.value, [&hops](std::string_view element) {
      const auto space = element.find(' ');
      if (space != std::string_view::npos && chars::trim_blanks(element.substr(space + 1)) == own_name) ++hops;
    });
  }
  return hops;
}

namespace {

/// What frames a response, is its connection's, or is ours to say.
bool stays_here(FieldName name) {
  switch (name) {
    case FieldName::connection:
    case FieldName::content_length:
    case FieldName::keep_alive:
    case FieldName::proxy_authenticate:
    case FieldName::proxy_connection:
    case FieldName::te:
    case FieldName::trailer:
    case FieldName::transfer_encoding:
    case FieldName::upgrade:
    case FieldName::wick_error:
      return true;
    default:
      return false;
  }
}

}  // namespace

bool forward_response_fields(const Fields& from, std::vector<FieldView>& fields) {
  fields.clear();
  bool has_date = false;
  for (const auto& field : from) {
    const auto name = field_name(field.name);
    if (stays_here(name)) continue;
    has_date |= name == FieldName::date;
    fields.push_back({field.name, field.value});
  }
  return has_date;
}

bool forward_response_fields(const HeadParser& parser, std::string_view bytes, std::vector<FieldView>& fields) {
  fields.clear();
  std::vector<std::string_view> hop_by_hop;
  if (parser.connection().names_fields) {
    for (const auto& field : parser.fields()) {
      if (field.id != FieldName::connection) continue;
      for_each_element(HeadParser::text(bytes, field.value),
                       [&](std::string_view option) { hop_by_hop.push_back(option); });
    }
  }
  bool has_date = false;
  for (const auto& field : parser.fields()) {
    if (stays_here(field.id)) continue;
    has_date |= field.id == FieldName::date;
    const auto name = HeadParser::text(bytes, field.name);
    if (field.id == FieldName::other && !hop_by_hop.empty() && is_named(hop_by_hop, name)) continue;
    fields.push_back({name, HeadParser::text(bytes, field.value)});
  }
  return has_date;
}

}  // namespace wick::http
