// JSON, TOML and YAML files of a project as one kind of value, and the texts that a path in it leads to. Pure.
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"

namespace wick::build {

enum class FileFormat { json, toml, yaml };

/// Errors: invalid, with the file's name and what the parser says. Nesting is bounded (64); dates of TOML are texts.
Result<boost::json::value> parse_file(FileFormat format, std::string_view text, std::string_view name);

/// What "a.b.0.c" leads to; null where nothing is. "" is all of it.
const boost::json::value* value_at(const boost::json::value& value, std::string_view path);

/// A text or number as it is; the texts and numbers of a list; the names in an object.
std::vector<std::string> texts_of(const boost::json::value& value);

/// The text or number; "yes" for true and for a list or object that is not empty; else "".
std::string text_of(const boost::json::value& value);

}  // namespace wick::build
