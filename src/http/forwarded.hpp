// The grammar of Forwarded (RFC 7239 4): what a trusted proxy sent is appended to only when it is well-formed.
#pragma once

#include <string_view>

namespace wick::http {

/// 1#forwarded-element; an element is pairs of a token, "=" and a token or quoted-string, separated by ";".
bool is_forwarded(std::string_view text);

}  // namespace wick::http
