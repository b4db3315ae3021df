// OpenAPI schemas written as outlines: one line a field, indented below the object it belongs to. One notation serves
// `kubectl explain`, strict decoding and pruning.
//
//   template                  | The revision to make.
//     metadata @metadata      | …            (another outline, by name)
//     spec @revision
//   traffic[]                 | A list of objects, because lines follow below it.
//     percent int             | Types: string (where none is given), int, number, bool, quantity, map, any, time.
//     tags[] string
//     @conditions             | The fields of another outline, here.
#pragma once

#include <boost/json/object.hpp>
#include <string_view>

namespace wick::model {

namespace json = boost::json;

/// The schema of an object with the outline's fields. Outlines are part of the program: a broken one throws
/// logic_error.
json::object outline(std::string_view text, std::string_view description = {});
/// The schema of a whole resource: apiVersion, kind, metadata and the outline's fields ("spec", "status", "data" …).
json::object resource_outline(std::string_view text, std::string_view description);

/// Shared outlines that "@name" refers to.
namespace outlines {
extern const std::string_view metadata;
extern const std::string_view revision;
extern const std::string_view traffic;
extern const std::string_view container;
extern const std::string_view environment;
extern const std::string_view probe;
extern const std::string_view volume;
extern const std::string_view key_to_path;
extern const std::string_view destination;
extern const std::string_view address;
extern const std::string_view delivery;
extern const std::string_view conditions;
extern const std::string_view build;
}  // namespace outlines

}  // namespace wick::model
