// JSON values as YAML text, the way manifests are written. What was written reads back as the same value.
#pragma once

#include <boost/json/value.hpp>
#include <string>

namespace wick::app::cli {

/// Block style, a newline at the end; text that another type could be read from is quoted.
std::string to_yaml(const boost::json::value& value);

}  // namespace wick::app::cli
