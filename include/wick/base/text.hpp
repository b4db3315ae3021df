// Small text questions that several rooms ask the same way. ASCII only; locale never matters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick {

std::string to_hex(std::string_view bytes);
std::string base64_encode(std::string_view bytes);
/// Standard alphabet, padding required (RFC 4648 section 4); nullopt for anything else.
std::optional<std::string> base64_decode(std::string_view text);
/// RFC 4648 section 5, without padding, as JOSE has it (RFC 7515 section 2).
std::string base64url_encode(std::string_view bytes);
/// Padding is not asked for; nullopt for what is none.
std::optional<std::string> base64url_decode(std::string_view text);

std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);
bool iequals(std::string_view a, std::string_view b);
/// "a,,b" split at ',' gives three parts, "" gives one empty part.
std::vector<std::string_view> split(std::string_view text, char separator);
/// The whole text as a non-negative decimal number without sign or space; nullopt otherwise or on overflow.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);

/// RFC 1123 label: 1 to 63 of [a-z0-9-], starting and ending alphanumeric. What Kubernetes asks of most names.
bool is_dns_label(std::string_view text);
/// RFC 1123 subdomain: labels joined by '.', at most 253 bytes.
bool is_dns_subdomain(std::string_view text);

/// Makes bytes from outside safe to print on one line: control bytes and invalid UTF-8 as \xNN, cut at `limit` bytes
/// with "…".
std::string printable(std::string_view bytes, std::size_t limit = 200);

/// Shell-like one-line rendering of a size: "41 MB", "512 B".
std::string human_bytes(std::uint64_t bytes);

/// `bytes` random bytes from the kernel, as lower-case hex.
std::string random_hex(std::size_t bytes);

}  // namespace wick
