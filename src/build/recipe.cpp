// Reading builders/*.yaml.
#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <regex>
#include <set>

#include "recipe.hpp"
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

/// Reads one file; knows the values that are there so far, so that a misspelt name is an error.
class RecipeReader {
 public:
  Recipe read(const YAML::Node& top) {
    check_keys(top,
               {"name", "title", "detect", "ignore", "values", "needs", "tells", "asides", "warnings", "dockerfile"});
    Recipe out;
    for (const char* key : {"name", "title", "detect", "dockerfile"})
      if (!top[key]) wrong(top, fmt::format("'{}' is missing", key));
    out.name = top["name"].as<std::string>();
    if (!is_dns_label(out.name)) wrong(top["name"], "the name must be lower-case letters, digits and '-'");
    out.title = top["title"].as<std::string>();
    check_keys(top["detect"], {"any", "none", "otherwise"});
    for (const auto& item : top["detect"]["any"]) out.any.push_back(texts(item));
    if (out.any.empty()) wrong(top["detect"], "'any' names what the language looks like");
    out.none = texts(top["detect"]["none"]);
    if (top["detect"]["otherwise"]) out.otherwise = top["detect"]["otherwise"].as<bool>();
    out.ignore = texts(top["ignore"]);
    for (const auto& item : top["values"]) {
      auto name = item.first.as<std::string>();
      std::vector<ValueSource> sources;
      for (const auto& source : item.second) sources.push_back(source_of(source));
      if (!known_.insert(name).second) wrong(item.first, fmt::format("the value '{}' is there already", name));
      out.values.emplace_back(std::move(name), std::move(sources));
    }
    for (const auto& item : top["needs"]) out.needs.emplace_back(name_of(item.first), item.second.as<std::string>());
    if (top["tells"])
      for (const auto& item : top["tells"]) out.tells.push_back(name_of(item));
    if (top["asides"])
      for (const auto& item : top["asides"]) out.asides.push_back(name_of(item));
    for (const auto& item : top["warnings"]) out.warnings.push_back(text_of(item, "text"));
    for (const auto& item : top["dockerfile"]) out.dockerfile.push_back(line_of(item));
    return out;
  }

 private:
  std::string name_of(const YAML::Node& node) const {
    auto name = node.as<std::string>();
    if (!known_.contains(name)) wrong(node, fmt::format("there is no value '{}' before this", printable(name, 60)));
    return name;
  }

  Condition condition_of(const YAML::Node& node) const {
    Condition out{.when = texts(node["when"]), .unless = texts(node["unless"])};
    for (const auto* names : {&out.when, &out.unless})
      for (const auto& name : *names)
        if (!known_.contains(name)) wrong(node, fmt::format("there is no value '{}' before this", printable(name, 60)));
    return out;
  }

  static std::optional<std::string> expression_of(const YAML::Node& node, const char* key) {
    if (!node[key]) return std::nullopt;
    auto text = node[key].as<std::string>();
    try {
      const std::regex compiled(text, std::regex::ECMAScript);
    } catch (const std::regex_error& error) {
      wrong(node[key], fmt::format("'{}' is no regular expression: {}", printable(text, 60), error.what()));
    }
    return text;
  }

  ValueSource source_of(const YAML::Node& node) const {
    using Kind = ValueSource::Kind;
    check_keys(node, {"file", "json", "toml", "yaml", "at", "text", "matching", "containing", "lacking", "procfile",
                      "value", "range", "allows", "write", "each", "when", "unless"});
    ValueSource out{.condition = condition_of(node)};
    const auto take = [&](const char* key, Kind kind, const char* detail) {
      if (!node[key]) return false;
      if (out.kind != Kind::constant)
        wrong(node, "a source has one kind: file, json, toml, yaml, text, procfile, value or range");
      out.kind = kind;
      out.subject = node[key].as<std::string>();
      if (detail && !node[detail]) wrong(node, fmt::format("'{}' needs '{}'", key, detail));
      if (detail) out.detail = node[detail].as<std::string>();
      return true;
    };
    take("file", Kind::file, nullptr);
    if (take("json", Kind::parsed, "at")) out.format = FileFormat::json;
    if (take("toml", Kind::parsed, "at")) out.format = FileFormat::toml;
    if (take("yaml", Kind::parsed, "at")) out.format = FileFormat::yaml;
    take("text", Kind::text, "matching");
    take("procfile", Kind::procfile, nullptr);
    if (take("value", Kind::value, nullptr)) name_of(node["value"]);
    if (take("range", Kind::range, "allows")) name_of(node["range"]);
    out.matching = expression_of(node, "matching");
    out.containing = expression_of(node, "containing");
    out.lacking = expression_of(node, "lacking");
    if ((out.containing || out.lacking) && out.kind != Kind::file)
      wrong(node, "'containing' and 'lacking' go with 'file'; elsewhere it is 'matching'");
    if (node["write"]) out.write = node["write"].as<std::string>();
    if (node["each"]) out.each = node["each"].as<std::string>();
    if (out.each && !out.matching) wrong(node, "'each' needs 'matching'");
    if (out.kind == Kind::constant && !out.write) wrong(node, "a source needs a kind or 'write'");
    return out;
  }

  ConditionalText text_of(const YAML::Node& node, const char* key) const {
    if (node.IsScalar()) return {.text = node.as<std::string>()};
    check_keys(node, {"when", "unless", key});
    if (!node[key]) wrong(node, fmt::format("'{}' is missing", key));
    return {.text = node[key].as<std::string>(), .condition = condition_of(node)};
  }

  ConditionalText line_of(const YAML::Node& node) const {
    if (node.IsScalar() || !node["embed"]) return text_of(node, "line");
    check_keys(node, {"when", "unless", "embed", "to"});
    if (!node["to"]) wrong(node, "'embed' needs 'to'");
    auto file = node["embed"].as<std::string>();
    if (file.empty() || file.contains('/')) wrong(node["embed"], "a file beside the builder is expected");
    return {.text = node["to"].as<std::string>(), .condition = condition_of(node), .embed = std::move(file)};
  }

  std::set<std::string, std::less<>> known_{std::string(value_only_debian), std::string(value_only_registry)};
};

}  // namespace

Result<Recipe> parse_recipe(std::string_view yaml, std::string_view file_name) {
  try {
    return RecipeReader().read(YAML::Load(std::string(yaml)));
  } catch (const WrongRecipe& error) {
    return fail(Errc::invalid, fmt::format("{}:{}: {}", file_name, error.at.line + 1, error.what));
  } catch (const YAML::Exception& error) {
    return fail(Errc::invalid, fmt::format("{}:{}: {}", file_name, error.mark.line + 1, error.msg));
  }
}

Result<std::vector<Recipe>> parse_recipes(const std::map<std::string, std::string>& files) {
  std::vector<Recipe> out;
  for (const auto& [name, text] : files) {
    if (!name.ends_with(".yaml")) continue;
    auto recipe = parse_recipe(text, name);
    if (!recipe) return fail(std::move(recipe.error()));
    for (const auto& line : recipe->dockerfile)
      if (const auto file = files.find(line.embed); file != files.end()) recipe->files.insert(*file);
    out.push_back(std::move(*recipe));
  }
  return out;
}

Result<std::map<std::string, std::string>> read_builders(const std::filesystem::path& folder) {
  std::map<std::string, std::string> out;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code unknown;
    if (!at->is_regular_file(unknown)) continue;
    auto text = read_file(at->path(), file_bytes_max);
    if (!text) return fail(std::move(text.error()));
    out[at->path().filename().string()] = std::move(*text);
  }
  if (error) return fail(Errc::io, fmt::format("read the builders in {}: {}", folder.string(), error.message()));
  return out;
}

Result<std::vector<Recipe>> load_recipes(const std::filesystem::path& folder) {
  auto files = read_builders(folder);
  if (!files) return fail(std::move(files.error()));
  return parse_recipes(*files);
}

}  // namespace wick::build
