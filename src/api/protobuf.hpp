// Bodies in Kubernetes' protobuf: kubectl sends them for the core kinds it has types of (create secret, auth can-i),
// and takes JSON as the answer. Only those kinds are known, and only what they have in common with ours. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::api {

inline constexpr std::string_view protobuf_type = "application/vnd.kubernetes.protobuf";

/// The object that the JSON form of the same body would have. Errors: invalid (malformed), unsupported (a kind that has
/// no protobuf here).
Result<boost::json::object> parse_protobuf(std::string_view body);

}  // namespace wick::api
