#include "detect.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <regex>

#include "patterns.hpp"
#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

constexpr std::size_t line_bytes_max = 1000;  // std::regex recurses over its input

/// The first path below the top that fits; "" when there is none.
std::string first_match(const Listing& listing, const std::string& pattern) {
  const auto glob = Glob::compile(pattern, Glob::Flavour::copy_source);
  if (!glob) return {};
  for (const auto& entry : listing.entries)
    if (entry.kind != SourceEntry::Kind::folder && glob->matches(entry.path)) return entry.path;
  return {};
}

/// Evaluates one recipe on one project; values know those before them.
class Evaluation {
 public:
  Evaluation(const Recipe& recipe, const Project& project) : recipe_(recipe), project_(project) {}

  Result<void> run() {
    for (const auto& [name, sources] : recipe_.values) {
      std::string& value = values_[name];
      for (const auto& source : sources) {
        if (!holds(source.condition)) continue;
        auto found = find(source);
        if (!found) return fail(std::move(found.error()));
        if (!*found || (*found)->empty()) continue;
        value = source.write ? fill(*source.write, **found) : **found;
        std::ranges::replace(value, '\n', ' ');  // a value is part of one line
        break;
      }
    }
    for (const auto& [name, text] : recipe_.needs)
      if (value(name).empty())
        return fail(Errc::invalid, fmt::format("{}: {}", recipe_.title, text), "or add a Dockerfile");
    return {};
  }

  bool holds(const Condition& condition) const {
    return std::ranges::none_of(condition.when, [this](const auto& name) { return value(name).empty(); }) &&
           std::ranges::all_of(condition.unless, [this](const auto& name) { return value(name).empty(); });
  }

  /// `{name}` becomes a value, `{}` what was found; other braces belong to the shell.
  std::string fill(const std::string& text, const std::optional<std::string>& found = std::nullopt) const {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const auto end = text.find('}', i);
      const bool shell_variable = i > 0 && text[i - 1] == '$';
      if (text[i] != '{' || end == std::string::npos || shell_variable) {
        out += text[i];
        continue;
      }
      auto name = text.substr(i + 1, end - i - 1);
      const bool as_json = name.ends_with("|json");
      if (as_json) name.resize(name.size() - 5);
      if (name.empty() ? !found.has_value() : !values_.contains(name)) {
        out += text[i];
        continue;
      }
      const auto& value = name.empty() ? *found : values_.at(name);
      out += as_json ? boost::json::serialize(boost::json::value(value)) : value;
      i = end;
    }
    return out;
  }

 private:
  const std::string& value(const std::string& name) const {
    static const std::string nothing;
    const auto found = values_.find(name);
    return found == values_.end() ? nothing : found->second;
  }

  Result<std::optional<std::string>> find(const ValueSource& source) const {
    using Kind = ValueSource::Kind;
    switch (source.kind) {
      case Kind::constant:
        return "yes";
      case Kind::value:
        return value(source.subject);
      case Kind::file:
        return first_match(project_.listing, source.subject);
      case Kind::json:
        return in_json(source.subject, source.detail);
      case Kind::text:
        return in_text(source.subject, source.detail);
      case Kind::procfile:
        return in_text("Procfile", fmt::format("^{}: *(.*)$", source.subject));
    }
    return std::nullopt;
  }

  Result<std::optional<std::string>> in_json(const std::string& file, const std::string& path) const {
    const auto text = project_.read(file);
    if (!text) return std::nullopt;
    boost::json::error_code error;
    auto value = boost::json::parse(*text, error);
    if (error) return fail(Errc::invalid, fmt::format("{} is no JSON: {}", file, error.message()));
    for (auto part : split(path, '.')) {
      const auto* object = value.if_object();
      const auto* next = object ? object->if_contains({part.data(), part.size()}) : nullptr;
      if (!next) return std::nullopt;
      value = boost::json::value(*next);
    }
    if (const auto* string = value.if_string()) return std::string(*string);
    if (value.is_number()) return boost::json::serialize(value);
    if (const auto* object = value.if_object()) return object->empty() ? "" : "yes";
    if (const auto* array = value.if_array()) return array->empty() ? "" : "yes";
    if (const auto* yes = value.if_bool()) return *yes ? "yes" : "";
    return std::nullopt;
  }

  Result<std::optional<std::string>> in_text(const std::string& pattern, const std::string& expression) const {
    const auto path = first_match(project_.listing, pattern);
    const auto text = path.empty() ? std::nullopt : project_.read(path);
    if (!text) return std::nullopt;
    std::regex compiled;
    try {
      compiled.assign(expression, std::regex::ECMAScript);
    } catch (const std::regex_error& error) {
      return fail(Errc::invalid,
                  fmt::format("builder {}: bad regular expression '{}': {}", recipe_.name, expression, error.what()));
    }
    for (auto line : split(*text, '\n')) {
      if (line.size() > line_bytes_max) continue;
      const std::string subject(trim(line));
      std::smatch match;
      if (std::regex_search(subject, match, compiled))
        return match.size() > 1 && match[1].matched ? match[1].str() : match[0].str();
    }
    return std::nullopt;
  }

  const Recipe& recipe_;
  const Project& project_;
  std::map<std::string, std::string> values_;
};

/// The files that made the recipe fit; empty when it does not.
std::vector<std::string> fits(const Recipe& recipe, const Listing& listing) {
  for (const auto& pattern : recipe.none)
    if (!first_match(listing, pattern).empty()) return {};
  for (const auto& all : recipe.any) {
    std::vector<std::string> found;
    for (const auto& pattern : all) found.push_back(first_match(listing, pattern));
    if (std::ranges::none_of(found, [](const auto& path) { return path.empty(); })) return found;
  }
  return {};
}

Result<const Recipe*> choose(const std::vector<Recipe>& recipes, const Listing& listing, std::string_view wanted) {
  std::vector<std::string_view> names;
  for (const auto& recipe : recipes) names.push_back(recipe.name);
  if (!wanted.empty()) {
    const auto named = std::ranges::find(recipes, wanted, &Recipe::name);
    if (named != recipes.end()) return &*named;
    const auto near = nearest_word(wanted, names);
    return fail(
        Errc::not_found, fmt::format("there is no builder '{}'", printable(wanted, 60)),
        near.empty() ? fmt::format("builders: {}", fmt::join(names, ", ")) : fmt::format("did you mean {}?", near));
  }
  std::vector<const Recipe*> fitting;
  for (const auto& recipe : recipes)
    if (!fits(recipe, listing).empty()) fitting.push_back(&recipe);
  if (fitting.size() == 1) return fitting[0];
  if (fitting.empty()) {
    std::vector<std::string> tried{"Dockerfile"};
    for (const auto& recipe : recipes)
      for (const auto& all : recipe.any)
        if (tried.size() < 24) tried.push_back(fmt::format("{}", fmt::join(all, " with ")));
    return fail(Errc::not_found, "nothing here says how to build it",
                fmt::format("looked for, at the top of the folder: {}", fmt::join(tried, ", ")));
  }
  std::vector<std::string> both;
  for (const auto* recipe : fitting)
    both.push_back(fmt::format("{} ({})", recipe->name, fmt::join(fits(*recipe, listing), ", ")));
  return fail(Errc::conflict, fmt::format("more than one builder fits: {}", fmt::join(both, " and ")),
              fmt::format("choose one with --builder {}, or add a Dockerfile", fitting[0]->name));
}

}  // namespace

Result<Detected> detect(const std::vector<Recipe>& recipes, const Project& project, std::string_view wanted) {
  auto chosen = choose(recipes, project.listing, wanted);
  if (!chosen) return fail(std::move(chosen.error()));
  const Recipe& recipe = **chosen;
  Evaluation evaluation(recipe, project);
  if (auto run = evaluation.run(); !run) return fail(std::move(run.error()));
  Detected out{.name = recipe.name, .title = recipe.title, .ignore = recipe.ignore};
  if (const auto files = fits(recipe, project.listing); !files.empty())
    out.title = fmt::format("{} ({})", recipe.title, fmt::join(files, ", "));
  for (const auto& line : recipe.dockerfile)
    if (evaluation.holds(line.condition)) out.dockerfile += evaluation.fill(line.text) + "\n";
  for (const auto& warning : recipe.warnings)
    if (evaluation.holds(warning.condition)) out.warnings.push_back(evaluation.fill(warning.text));
  return out;
}

}  // namespace wick::build
