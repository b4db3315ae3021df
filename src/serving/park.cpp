#include "park.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace wick::serving {

namespace {

enum class Language { none, node, python };

Language language_of(std::string_view program) {
  const auto name = program.substr(program.rfind('/') + 1);
  if (name == "node" || name == "nodejs") return Language::node;
  // "python", "python3", "python3.11", but no "python3-config".
  if (name.starts_with("python") && name.find_first_not_of("0123456789.", 6) == std::string_view::npos)
    return Language::python;
  static constexpr std::array<std::string_view, 6> python_programs{"gunicorn", "uvicorn",        "hypercorn",
                                                                   "flask",    "waitress-serve", "functions-framework"};
  return std::ranges::find(python_programs, name) != python_programs.end() ? Language::python : Language::none;
}

/// Puts `value` and `separator` before what the variable has, or sets it.
void put_before(std::vector<std::string>& environment, std::string_view name, std::string_view value, char separator) {
  const std::string prefix = std::string(name) + "=";
  for (auto& pair : environment) {
    if (!pair.starts_with(prefix)) continue;
    const bool empty = pair.size() == prefix.size();
    pair.insert(prefix.size(), std::string(value) + (empty ? "" : std::string(1, separator)));
    return;
  }
  environment.push_back(prefix + std::string(value));
}

}  // namespace

bool add_park_shim(container::InstanceSpec& spec) {
  if (spec.process.argv.empty()) return false;
  auto& environment = spec.process.environment;
  switch (language_of(spec.process.argv.front())) {
    case Language::none:
      return false;
    case Language::node:
      put_before(environment, "NODE_OPTIONS", "--require=/.wick/park/node.cjs", ' ');
      break;
    case Language::python:
      put_before(environment, "PYTHONPATH", "/.wick/park/python", ':');
      break;
  }
  environment.emplace_back("WICK_PARK_FD=3");
  spec.parkable = true;
  return true;
}

}  // namespace wick::serving
