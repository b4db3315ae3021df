// What clients ask before anything else: groups, versions and resources. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/model/resource.hpp"

namespace wick::api {

/// A kind as it is served.
struct Served {
  const model::Kind* kind = nullptr;
  bool writable = true;
  std::vector<std::string_view> subresources;  // besides status
};

/// The document for /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION; nullopt for any other path.
std::optional<boost::json::object> discovery(const std::vector<Served>& kinds,
                                             const std::vector<std::string>& segments);

/// /api and /apis with everything in one document (APIGroupDiscoveryList). `version` is that of apidiscovery.k8s.io:
/// "v2" or "v2beta1".
boost::json::object aggregated_discovery(const std::vector<Served>& kinds, bool core, std::string_view version);
/// The version of the aggregated form that an Accept header asks for before anything else; "" when it does not.
std::string_view aggregated_version(std::string_view accept);

/// /version, in Kubernetes' form: the API level spoken, with Wick's own version beside it.
boost::json::object version_document(const std::string& version);

}  // namespace wick::api
