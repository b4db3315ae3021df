// What clients ask before anything else: groups, versions and resources. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <optional>
#include <string>
#include <vector>

namespace wick::api {

/// The document for /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION; nullopt for any other path.
std::optional<boost::json::object> discovery(const std::vector<std::string>& segments);

/// /version, in Kubernetes' form: the API level spoken, with Wick's own version beside it.
boost::json::object version_document(const std::string& version);

}  // namespace wick::api
