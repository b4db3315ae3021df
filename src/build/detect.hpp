// From a folder without a Dockerfile to one, by the builders. Pure: a project is a listing and a few files.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "recipe.hpp"
#include "source_tree.hpp"
#include "wick/build/base_choice.hpp"

namespace wick::build {

struct Project {
  const Listing& listing;
  /// The text of a small file; nullopt when it is missing or too large.
  std::function<std::optional<std::string>(const std::string& path)> read;
};

struct Detected {
  struct Reason {
    std::string name;   // start
    std::string value;  // npm start
    std::string from;   // scripts.start in package.json; "" where the builder itself says so
  };
  std::string name;   // node
  std::string title;  // "Node.js (package.json)"
  std::string dockerfile;
  std::vector<std::string> ignore;
  std::vector<std::string> warnings;
  std::vector<Reason> reasons;
};

/// `wanted` names a builder; empty lets the project decide. Errors: not_found (says what was tried), conflict (two
/// fit, and both are named), invalid.
Result<Detected> detect(const std::vector<Recipe>& recipes, const Project& project, std::string_view wanted = {},
                        BaseChoice bases = BaseChoice::automatic);

/// The plan as a Dockerfile that other tools build too, with why it is as it is in comments before it.
std::string explain(const Detected& detected);

}  // namespace wick::build
