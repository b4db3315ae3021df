// What the handlers of resources read out of a request. Pure but for reading the body.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "api/managed_fields.hpp"
#include "api/request_path.hpp"
#include "wick/http/handler.hpp"
#include "wick/model/resource.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

namespace json = boost::json;

/// One call of a resource's verb: what handlers pass on to each other.
struct Call {
  http::Exchange& exchange;
  const model::Kind& kind;
  ResourcePath path;
  std::string user;

  std::string query(std::string_view name) const;
  bool asks(std::string_view flag) const;  // "true" or "1"
  bool is_dry_run() const { return query("dryRun") == "All"; }
  store::ObjectKey key() const { return {kind.resource(), path.name_space, path.name}; }
  std::string media_type() const;
  /// Who owns the fields this call writes: the fieldManager parameter, else the user agent up to its '/'.
  FieldManager manager(const Clock& clock) const;
};

std::uint64_t version_of(const json::object& object);
store::ObjectKey key_of(const model::Kind& kind, const json::object& object);

/// Errors: invalid, too_large.
awaitable<Result<json::value>> read_body(const Call& call);
awaitable<Result<json::object>> read_object(const Call& call);

/// What the URL says, in the object; what only the server may say, out of it. Errors: invalid where the two differ.
Result<void> settle_identity(json::object& object, const Call& call);

/// Five characters of Kubernetes' alphabet for generateName.
std::string random_suffix();

/// Takes unknown fields out as fieldValidation says: Strict refuses them (invalid), Warn (the default) returns what to
/// warn of, Ignore says nothing.
Result<std::vector<std::string>> check_fields(json::object& object, const Call& call);

}  // namespace wick::api
