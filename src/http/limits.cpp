// The names under which a person sets the limits of a server.
#include <array>

#include "wick/base/text.hpp"
#include "wick/http/server.hpp"

namespace wick::http {

namespace {

struct Count {
  std::string_view name;
  std::size_t ServerLimits::* member;
};
struct Time {
  std::string_view name;
  std::chrono::milliseconds ServerLimits::* member;
};

constexpr std::array counts{
    Count{"head-bytes", &ServerLimits::head_bytes_max},
    Count{"line-bytes", &ServerLimits::line_bytes_max},
    Count{"fields", &ServerLimits::fields_max},
    Count{"chunk-extension-bytes", &ServerLimits::chunk_extension_bytes_max},
    Count{"trailer-bytes", &ServerLimits::trailer_bytes_max},
    Count{"connections", &ServerLimits::connections_max},
    Count{"connections-per-client", &ServerLimits::connections_per_client_max},
    Count{"body-rate", &ServerLimits::body_rate_min},
    Count{"memory-percent", &ServerLimits::memory_percent_max},
};
constexpr std::array times{
    Time{"head-ms", &ServerLimits::head_limit},
    Time{"body-idle-ms", &ServerLimits::body_idle_limit},
    Time{"body-rate-ms", &ServerLimits::body_rate_window},
    Time{"keep-alive-ms", &ServerLimits::keep_alive_limit},
};

}  // namespace

std::string limit_names() {
  std::string names;
  for (const auto& count : counts) names.append(names.empty() ? "" : ", ").append(count.name);
  for (const auto& time : times) names.append(", ").append(time.name);
  return names;
}

Result<void> set_limit(ServerLimits& limits, std::string_view assignment) {
  const auto equals = assignment.find('=');
  const auto name = assignment.substr(0, equals);
  const auto value = equals == std::string_view::npos ? std::nullopt : parse_unsigned(assignment.substr(equals + 1));
  constexpr std::uint64_t value_max = 1ull << 40;
  if (!value || *value > value_max)
    return fail(Errc::invalid, "expected NAME=NUMBER, found '" + printable(assignment) + "'",
                "names: " + limit_names());
  for (const auto& count : counts) {
    if (name != count.name) continue;
    // One buffer holds a head and its lines: memory a connection is bounded by it.
    if ((name == "head-bytes" || name == "line-bytes") && *value > ServerLimits{}.head_bytes_max)
      return fail(Errc::invalid, std::string(name) + " is at most " + std::to_string(ServerLimits{}.head_bytes_max));
    limits.*count.member = static_cast<std::size_t>(*value);
    return {};
  }
  for (const auto& time : times) {
    if (name != time.name) continue;
    limits.*time.member = std::chrono::milliseconds(*value);
    return {};
  }
  return fail(Errc::invalid, "there is no limit '" + printable(name) + "'", "names: " + limit_names());
}

}  // namespace wick::http
