// What stands between a request's body and the object table: Knative's webhooks as one pure function a kind.
// Defaults are filled, the server's own annotations stamped, then the whole is checked.
#pragma once

#include <string>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"
#include "wick/model/resource.hpp"

namespace wick::model {

/// What an operator may set of a cluster's config maps.
struct AdmissionPolicy {
  bool allow_zero_initial_scale = false;  // config-autoscaler
};

struct AdmissionRequest {
  const json::object* old = nullptr;  // set for an update
  std::string user;                   // who asks, for serving.knative.dev/creator
  AdmissionPolicy policy{};
};

/// The object as it is to be stored. Errors: invalid, with the text of Knative's admission webhook.
Result<json::object> admit(const Kind& kind, json::object object, const AdmissionRequest& request);

/// The same checks without the webhook's prefix: "" when all is well.
std::string validate(const Kind& kind, const json::object& object, const json::object* old);

/// Puts `image` into the first container of a Service manifest.
void set_first_image(json::object& service, std::string_view image);

/// Fills defaults in place.
void apply_defaults(const Kind& kind, json::object& object);

}  // namespace wick::model
