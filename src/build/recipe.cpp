// Reading builders/*.yaml.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>

#include "detect.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::size_t file_bytes_max = 256 << 10;

/// What is wrong with a file, with its line; caught in parse_recipe.
struct WrongRecipe {
  YAML::Mark at;
  std::string what;
};

[[noreturn]] void wrong(const YAML::Node& node, std::string what) { throw WrongRecipe{node.Mark(), std::move(what)}; }

std::vector<std::string> texts(const YAML::Node& node) {
  if (!node) return {};
  if (node.IsScalar()) return {node.as<std::string>()};
  if (!node.IsSequence()) wrong(node, "a text or a list of texts is expected");
  std::vector<std::string> out;
  for (const auto& item : node) {
    if (!item.IsScalar()) wrong(item, "a text is expected");
    out.push_back(item.as<std::string>());
  }
  return out;
}

void check_keys(const YAML::Node& node, std::initializer_list<std::string_view> known) {
  if (!node.IsMap()) wrong(node, "keys and values are expected");
  for (const auto& item : node) {
    const auto key = item.first.as<std::string>();
    if (std::ranges::find(known, key) == known.end())
      wrong(item.first, fmt::format("unknown key '{}'", printable(key, 60)));
  }
}

Condition condition_of(const YAML::Node& node) {
  return {.when = texts(node["when"]), .unless = texts(node["unless"])};
}

ValueSource source_of(const YAML::Node& node) {
  using Kind = ValueSource::Kind;
  check_keys(node, {"file", "json", "at", "text", "matching", "procfile", "value", "write", "when", "unless"});
  ValueSource out{.condition = condition_of(node)};
  const auto take = [&](const char* key, Kind kind, const char* detail) {
    if (!node[key]) return;
    if (out.kind != Kind::constant) wrong(node, "a source has one kind: file, json, text, procfile or value");
    out.kind = kind;
    out.subject = node[key].as<std::string>();
    if (detail && !node[detail]) wrong(node, fmt::format("'{}' needs '{}'", key, detail));
    if (detail) out.detail = node[detail].as<std::string>();
  };
  take("file", Kind::file, nullptr);
  take("json", Kind::json, "at");
  take("text", Kind::text, "matching");
  take("procfile", Kind::procfile, nullptr);
  take("value", Kind::value, nullptr);
  if (node["write"]) out.write = node["write"].as<std::string>();
  if (out.kind == Kind::constant && !out.write) wrong(node, "a source needs a kind or 'write'");
  return out;
}

ConditionalText line_of(const YAML::Node& node, const char* key) {
  if (node.IsScalar()) return {.text = node.as<std::string>()};
  check_keys(node, {"when", "unless", key});
  if (!node[key]) wrong(node, fmt::format("'{}' is missing", key));
  return {.text = node[key].as<std::string>(), .condition = condition_of(node)};
}

Recipe read(const YAML::Node& top) {
  check_keys(top, {"name", "title", "detect", "ignore", "values", "needs", "warnings", "dockerfile"});
  Recipe out;
  for (const char* key : {"name", "title", "detect", "dockerfile"})
    if (!top[key]) wrong(top, fmt::format("'{}' is missing", key));
  out.name = top["name"].as<std::string>();
  if (!is_dns_label(out.name)) wrong(top["name"], "the name must be lower-case letters, digits and '-'");
  out.title = top["title"].as<std::string>();
  check_keys(top["detect"], {"any", "none"});
  for (const auto& item : top["detect"]["any"]) out.any.push_back(texts(item));
  if (out.any.empty()) wrong(top["detect"], "'any' names what the language looks like");
  out.none = texts(top["detect"]["none"]);
  out.ignore = texts(top["ignore"]);
  for (const auto& item : top["values"]) {
    std::vector<ValueSource> sources;
    for (const auto& source : item.second) sources.push_back(source_of(source));
    out.values.emplace_back(item.first.as<std::string>(), std::move(sources));
  }
  for (const auto& item : top["needs"])
    out.needs.emplace_back(item.first.as<std::string>(), item.second.as<std::string>());
  for (const auto& item : top["warnings"]) out.warnings.push_back(line_of(item, "text"));
  for (const auto& item : top["dockerfile"]) out.dockerfile.push_back(line_of(item, "line"));
  return out;
}

}  // namespace

Result<Recipe> parse_recipe(std::string_view yaml, std::string_view file_name) {
  try {
    return read(YAML::Load(std::string(yaml)));
  } catch (const WrongRecipe& error) {
    return fail(Errc::invalid, fmt::format("{}:{}: {}", file_name, error.at.line + 1, error.what));
  } catch (const YAML::Exception& error) {
    return fail(Errc::invalid, fmt::format("{}:{}: {}", file_name, error.mark.line + 1, error.msg));
  }
}

Result<std::vector<Recipe>> load_recipes(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (at->path().extension() == ".yaml") files.push_back(at->path());
  if (error) return fail(Errc::io, fmt::format("read the builders in {}: {}", folder.string(), error.message()));
  std::ranges::sort(files);
  std::vector<Recipe> out;
  for (const auto& file : files) {
    auto text = read_file(file, file_bytes_max);
    if (!text) return fail(std::move(text.error()));
    auto recipe = parse_recipe(*text, file.filename().string());
    if (!recipe) return fail(std::move(recipe.error()));
    out.push_back(std::move(*recipe));
  }
  return out;
}

}  // namespace wick::build
