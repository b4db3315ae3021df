// metadata.managedFields: which client set which fields, and server-side apply on top of it (Kubernetes KEP-555,
// structured-merge-diff). Pure.
//
// A field is a path of FieldsV1 elements: "f:NAME" a field, "k:{…}" the element of a list by its keys, "v:…" the
// element of a set by its value. Lists without keys in the schema are one field, as they are for a
// CustomResourceDefinition.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::api {

using FieldPath = std::vector<std::string>;
using FieldSet = std::set<FieldPath>;

/// Every field of `object` that a client can own, with its value; `schema` says which lists have keys.
std::map<FieldPath, boost::json::value> fields_of(const boost::json::object& object, const boost::json::object& schema);

boost::json::object to_fields_v1(const FieldSet& set);
FieldSet from_fields_v1(const boost::json::object& fields);

struct FieldManager {
  std::string name;
  std::string api_version;
  std::string now;  // RFC 3339
};

/// The managedFields after `manager` wrote `next` over `previous` (nullptr: created it) in any way but apply.
boost::json::array after_update(const boost::json::object* previous, const boost::json::object& next,
                                const boost::json::object& schema, const FieldManager& manager);

struct Conflict {
  std::string manager;
  std::string api_version;
  std::string field;  // ".spec.template"
};

struct Applied {
  boost::json::object object;       // with its managedFields
  std::vector<Conflict> conflicts;  // set: nothing may be written
};

enum class OnConflict { report, take };

/// `live` (may be nullptr) with what `wanted` says: fields the manager applied before and no longer names go, if nobody
/// else owns them. `settle` does to an object what admission will (its defaults): a value that only differs by that is
/// no conflict.
Applied apply_fields(const boost::json::object* live, const boost::json::object& wanted,
                     const boost::json::object& schema, const FieldManager& manager, OnConflict on_conflict,
                     const std::function<void(boost::json::object&)>& settle = {});

}  // namespace wick::api
