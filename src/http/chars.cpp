#include "chars.hpp"

#include <string>

namespace wick::http {

namespace {

struct Named {
  std::string_view text;
  FieldName name;
};

constexpr Named named[] = {
    {"client-cert", FieldName::client_cert},
    {"client-cert-chain", FieldName::client_cert_chain},
    {"connection", FieldName::connection},
    {"content-length", FieldName::content_length},
    {"date", FieldName::date},
    {"expect", FieldName::expect},
    {"forwarded", FieldName::forwarded},
    {"host", FieldName::host},
    {"http2-settings", FieldName::http2_settings},
    {"keep-alive", FieldName::keep_alive},
    {"proxy", FieldName::proxy},
    {"proxy-authenticate", FieldName::proxy_authenticate},
    {"proxy-authorization", FieldName::proxy_authorization},
    {"proxy-connection", FieldName::proxy_connection},
    {"sec-websocket-key", FieldName::sec_websocket_key},
    {"sec-websocket-version", FieldName::sec_websocket_version},
    {"te", FieldName::te},
    {"traceparent", FieldName::traceparent},
    {"tracestate", FieldName::tracestate},
    {"trailer", FieldName::trailer},
    {"transfer-encoding", FieldName::transfer_encoding},
    {"upgrade", FieldName::upgrade},
    {"via", FieldName::via},
    {"wick-error", FieldName::wick_error},
    {"x-forwarded-client-cert", FieldName::x_forwarded_client_cert},
    {"x-forwarded-for", FieldName::x_forwarded_for},
    {"x-forwarded-host", FieldName::x_forwarded_host},
    {"x-forwarded-proto", FieldName::x_forwarded_proto},
    {"x-real-ip", FieldName::x_real_ip},
    {"x-request-id", FieldName::x_request_id},
};

constexpr std::size_t longest = 23;  // x-forwarded-client-cert

/// For each length, the range of names that have it: most fields of a request are settled without one comparison.
struct ByLength {
  FieldName names[8] = {};
  std::string_view texts[8] = {};
  int count = 0;
};

consteval std::array<ByLength, longest + 1> by_length_table() {
  std::array<ByLength, longest + 1> table{};
  for (const auto& entry : named) {
    auto& bucket = table[entry.text.size()];
    bucket.names[bucket.count] = entry.name;
    bucket.texts[bucket.count] = entry.text;
    ++bucket.count;
  }
  return table;
}

constexpr auto by_length = by_length_table();

}  // namespace

FieldName field_name(std::string_view name) {
  if (name.size() > longest) return FieldName::other;
  const auto& bucket = by_length[name.size()];
  for (int i = 0; i < bucket.count; ++i)
    if (chars::equals_lower(name, bucket.texts[i])) return bucket.names[i];
  return FieldName::other;
}

bool is_underscore_twin(std::string_view name, FieldName& twin) {
  if (name.size() > longest || name.find('_') == std::string_view::npos) return false;
  std::array<char, longest> dashed;
  for (std::size_t i = 0; i < name.size(); ++i) dashed[i] = name[i] == '_' ? '-' : name[i];
  twin = field_name({dashed.data(), name.size()});
  return twin != FieldName::other;
}

}  // namespace wick::http
