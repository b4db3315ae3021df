// Answers of the registry (distribution-spec "Error Codes"): the one part of the API that is not Kubernetes' shape.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wick/http/handler.hpp"
#include "wick/image/distribution.hpp"

namespace wick::api {

/// A head with what docker looks for before it believes that this is a registry.
http::ResponseHead registry_head(int status);
/// 401 asks for a password, as `docker login` expects. A short body that is still to come is read first: a client that
/// is writing sees no answer otherwise.
awaitable<void> respond_registry_failure(http::Exchange& exchange, image::RegistryFailure failure,
                                         http::Fields more = {});
/// Every value of a name in a query, decoded.
std::vector<std::string> query_values(std::string_view query, std::string_view name);

}  // namespace wick::api
