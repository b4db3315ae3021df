// The kinds of the model as REST resources: get, list, watch, create, replace, patch, delete.
#pragma once

#include <functional>
#include <string>

#include "api/request_path.hpp"
#include "wick/http/handler.hpp"
#include "wick/model/resource.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

class Resources {
 public:
  using EnsureNamespace = std::function<awaitable<Result<void>>(std::string)>;
  /// `objects` and `clock` outlive it.
  Resources(store::Objects& objects, Clock& clock, EnsureNamespace ensure_namespace)
      : objects_(objects), clock_(clock), ensure_namespace_(std::move(ensure_namespace)) {}

  awaitable<void> handle(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);

 private:
  awaitable<void> get(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> list(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> watch(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> create(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> replace(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> patch(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);
  awaitable<void> remove(http::Exchange& exchange, const model::Kind& kind, ResourcePath path);

  store::Objects& objects_;
  Clock& clock_;
  EnsureNamespace ensure_namespace_;
};

/// RFC 7396.
void merge_patch(boost::json::value& target, const boost::json::value& patch);

}  // namespace wick::api
