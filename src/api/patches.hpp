// The ways of changing a part of an object: merge patch (RFC 7396), JSON patch (RFC 6902) and Kubernetes' strategic
// merge patch as far as the core kinds need it. Pure.
#pragma once

#include <boost/json/value.hpp>

#include "wick/base/error.hpp"

namespace wick::api {

/// RFC 7396.
void merge_patch(boost::json::value& target, const boost::json::value& patch);

/// RFC 6902; `target` is only changed when every operation holds. Errors: invalid, with Kubernetes' words where it has
/// some. At most `json_patch_operations_max` operations (Kubernetes' own bound).
inline constexpr std::size_t json_patch_operations_max = 10'000;
Result<void> json_patch(boost::json::value& target, const boost::json::value& operations);

/// Kubernetes' strategic merge patch for kinds whose lists are metadata.finalizers (a set) and metadata.ownerReferences
/// (by uid): maps merge, null deletes, and the directives $patch, $retainKeys, $deleteFromPrimitiveList and
/// $setElementOrder are followed there. Any other list is replaced. Errors: invalid for a directive it does not know.
Result<void> strategic_merge_patch(boost::json::value& target, const boost::json::value& patch);

}  // namespace wick::api
