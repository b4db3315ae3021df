// kubectl's three-way merge for objects without a schema of their own, as a JSON merge patch (RFC 7386). Pure.
#pragma once

#include <boost/json/object.hpp>

namespace wick::app::cli {

/// What turns `live` into `wanted`: what `wanted` sets differently, and null for what `last` set and `wanted` no longer
/// does. What others set stays. Arrays are replaced whole. Empty: nothing to do.
boost::json::object three_way_patch(const boost::json::object& last, const boost::json::object& wanted,
                                    const boost::json::object& live);

}  // namespace wick::app::cli
