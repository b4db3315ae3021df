// /openapi/v3: an index, and one document a group version with the kinds' schemas and operations. What kubectl explain,
// apply and create read. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

#include "wick/model/resource.hpp"

namespace wick::api {

/// The document for the segments of a path below /openapi/v3; nullopt for any other path.
std::optional<boost::json::object> openapi(const std::vector<const model::Kind*>& kinds,
                                           const std::vector<std::string>& segments, const std::string& version);

}  // namespace wick::api
