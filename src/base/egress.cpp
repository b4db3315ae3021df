#include "wick/base/egress.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick {

namespace {

constexpr std::string_view expected =
    "expected internet, none, open or a list of IPv4 addresses: 10.1.0.0/16, 192.0.2.7:5432";

std::unexpected<Error> bad_entry(std::string_view entry, std::string_view why) {
  return fail(Errc::invalid, fmt::format("'{}' {}: {}", printable(entry, 60), why, expected));
}

Result<EgressRule> parse_rule(std::string_view entry) {
  EgressRule rule;
  std::string_view rest = entry;
  if (const auto colon = rest.find(':'); colon != std::string_view::npos) {
    const auto port = parse_unsigned(rest.substr(colon + 1));
    if (!port || *port < 1 || *port > 65535) return bad_entry(entry, "has a port that is none");
    rule.port = static_cast<std::uint16_t>(*port);
    rest = rest.substr(0, colon);
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    const auto prefix = parse_unsigned(rest.substr(slash + 1));
    if (!prefix || *prefix > 32) return bad_entry(entry, "has a prefix past /32");
    rule.prefix = static_cast<std::uint8_t>(*prefix);
    rest = rest.substr(0, slash);
  }
  if (::inet_pton(AF_INET, std::string(rest).c_str(), rule.address.data()) != 1)
    return bad_entry(entry, "is no address");
  // "10.1.2.3/16" is a mistake more often than it is a way to write 10.1.0.0/16.
  const std::uint32_t address = static_cast<std::uint32_t>(rule.address[0]) << 24 |
                                static_cast<std::uint32_t>(rule.address[1]) << 16 |
                                static_cast<std::uint32_t>(rule.address[2]) << 8 | rule.address[3];
  const std::uint32_t host_bits = rule.prefix == 0 ? ~0U : (1U << (32 - rule.prefix)) - 1;
  if (rule.prefix < 32 && (address & host_bits) != 0) return bad_entry(entry, "has bits set behind its prefix");
  return rule;
}

}  // namespace

Result<EgressPolicy> parse_egress(std::string_view text) {
  EgressPolicy policy;
  const auto entries = split(text, ',');
  const auto first = trim(entries.front());
  if (entries.size() == 1 && first == "none") return EgressPolicy{.base = Egress::none, .allow = {}};
  if (entries.size() == 1 && first == "open") return EgressPolicy{.base = Egress::open, .allow = {}};
  const bool with_internet = first == "internet";
  policy.base = with_internet ? Egress::internet : Egress::none;
  for (std::size_t i = with_internet ? 1 : 0; i < entries.size(); ++i) {
    auto rule = parse_rule(trim(entries[i]));
    if (!rule) return fail(std::move(rule.error()));
    policy.allow.push_back(*rule);
  }
  if (policy.allow.size() > EgressPolicy::allow_max)
    return fail(Errc::invalid, fmt::format("an allow-list has at most {} entries, this one has {}",
                                           EgressPolicy::allow_max, policy.allow.size()));
  return policy;
}

std::string to_string(const EgressRule& rule) {
  std::string text = fmt::format("{}", fmt::join(rule.address, "."));
  if (rule.prefix < 32) text += fmt::format("/{}", rule.prefix);
  if (rule.port != 0) text += fmt::format(":{}", rule.port);
  return text;
}

std::string to_string(const EgressPolicy& policy) {
  if (policy.base == Egress::open) return "open";
  std::string text = policy.base == Egress::internet ? "internet" : "";
  for (const auto& rule : policy.allow) text += (text.empty() ? "" : ",") + to_string(rule);
  return text.empty() ? "none" : text;
}

}  // namespace wick
