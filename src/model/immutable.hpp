// Updates that are not allowed to change something, with what changed in the details (serving.md 1.4).
#pragma once

#include <boost/json/object.hpp>
#include <initializer_list>
#include <string>

#include "wick/model/field_errors.hpp"

namespace wick::model {

namespace json = boost::json;

/// "Immutable fields changed (-old +new): <path>" when the value below `keys` differs.
void check_immutable(const json::object& object, const json::object& old, std::initializer_list<std::string_view> keys,
                     const std::string& path, FieldErrors& errors);

/// A template that changed must change the name it brings along too.
void check_name_change(const json::object& object, const json::object& old, FieldErrors& errors);

}  // namespace wick::model
