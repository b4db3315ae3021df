// What CloudEvents allows in names and strings (spec.md, "Type System"), and the media types that are JSON.
#pragma once

#include <string_view>

namespace wick::eventing {

bool is_utf8(std::string_view text);
/// UTF-8 without control characters (U+0000..1F, U+007F..9F) and noncharacters; surrogates are no UTF-8 to begin with.
bool is_event_string(std::string_view text);
/// [a-z0-9]+ and not "data".
bool is_attribute_name(std::string_view name);
/// A URI-reference by its characters (RFC 3986 2, IRIs let through): no space, no control, none of <>"{}|\^`.
bool is_uri_reference(std::string_view text);
/// A URI-reference with a scheme.
bool is_absolute_uri(std::string_view text);
/// type "/" subtype and parameters after ';' (RFC 2046).
bool is_media_type(std::string_view text);
/// Subtype json, or a +json suffix.
bool is_json_media_type(std::string_view text);

}  // namespace wick::eventing
