// Character classes of RFC 9110 and RFC 9112 as tables, and the names of the fields that the protocol itself acts on.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace wick::http {

namespace chars {

consteval std::array<bool, 256> token_table() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) table[static_cast<unsigned char>(c)] = true;
  return table;
}

/// field-vchar, SP and HTAB: no other control byte (RFC 9110 5.5).
consteval std::array<bool, 256> value_table() {
  std::array<bool, 256> table{};
  for (int c = 0x20; c < 256; ++c) table[c] = c != 0x7f;
  table['\t'] = true;
  return table;
}

/// Visible ASCII but '#': what we let a request-target hold. Wider than RFC 3986 (clients send "|" and "{}" as they
/// are), never wide enough to end a line or start a fragment.
consteval std::array<bool, 256> target_table() {
  std::array<bool, 256> table{};
  for (int c = 0x21; c < 0x7f; ++c) table[c] = c != '#';
  return table;
}

/// reg-name without pct-encoded: unreserved and sub-delims (RFC 3986 3.2.2).
consteval std::array<bool, 256> reg_name_table() {
  std::array<bool, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = true;
  for (const char c : std::string_view("-._~!$&'()*+,;=")) table[static_cast<unsigned char>(c)] = true;
  return table;
}

inline constexpr auto token = token_table();
inline constexpr auto value = value_table();
inline constexpr auto target = target_table();
inline constexpr auto reg_name = reg_name_table();

constexpr bool is_token(char c) { return token[static_cast<unsigned char>(c)]; }
constexpr bool is_value(char c) { return value[static_cast<unsigned char>(c)]; }
constexpr bool is_blank(char c) { return c == ' ' || c == '\t'; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

template <const std::array<bool, 256>& table>
constexpr bool all(std::string_view text) {
  for (const char c : text)
    if (!table[static_cast<unsigned char>(c)]) return false;
  return true;
}

/// Removes SP and HTAB at both ends.
constexpr std::string_view trim_blanks(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

/// `expected` is lower case.
constexpr bool equals_lower(std::string_view text, std::string_view expected) {
  if (text.size() != expected.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (lower(text[i]) != expected[i]) return false;
  return true;
}

}  // namespace chars

/// Fields with a meaning to a server or proxy. Everything else is `other` and passes untouched.
enum class FieldName : std::uint8_t {
  other,
  client_cert,        // RFC 9440: a client must not be able to forge them
  client_cert_chain,  //
  connection,
  content_length,
  date,
  expect,
  forwarded,
  host,
  http2_settings,
  keep_alive,
  proxy,  // no such field: CGI-style runtimes turn it into HTTP_PROXY ("httpoxy")
  proxy_authenticate,
  proxy_authorization,
  proxy_connection,
  sec_websocket_key,
  sec_websocket_version,
  te,
  traceparent,
  tracestate,
  trailer,
  transfer_encoding,
  upgrade,
  via,
  wick_error,               // marks the proxy's own answers: an instance must not be able to forge it
  x_forwarded_client_cert,  // Envoy's, to the same end
  x_forwarded_for,
  x_forwarded_host,
  x_forwarded_proto,
  x_real_ip,
  x_request_id,
};

FieldName field_name(std::string_view name);

/// True for a name that becomes one of the framing or forwarding fields when '_' is read as '-' (as CGI and WSGI do).
bool is_underscore_twin(std::string_view name, FieldName& twin);

/// Calls `each(element)` for every element of a comma-separated list, empty ones left out (RFC 9110 5.6.1).
template <class Each>
void for_each_element(std::string_view list, Each each) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    const auto element = chars::trim_blanks(list.substr(0, comma));
    if (!element.empty()) each(element);
    if (comma == std::string_view::npos) return;
    list.remove_prefix(comma + 1);
  }
}

}  // namespace wick::http
