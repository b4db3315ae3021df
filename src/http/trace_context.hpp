// W3C Trace Context: a request's traceparent is passed on as it came, or a trace is started.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wick::http {

/// version "-" trace-id "-" parent-id "-" flags (W3C Trace Context 3.2): lower-case hex, neither id all zeros, version
/// not "ff". A version above 00 may have more fields behind.
bool is_traceparent(std::string_view text);

/// Makes the ids of new traces. Not secret, only unique: xorshift128+ from a random seed.
class TraceSource {
 public:
  TraceSource();
  /// Appends a traceparent of a new trace, marked as sampled: a service that follows its parent's decision (what
  /// OpenTelemetry does by default) traces as it would without a proxy.
  void append(std::string& text);

 private:
  std::uint64_t next();
  std::uint64_t state_[2];
};

}  // namespace wick::http
