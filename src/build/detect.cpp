#include "detect.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <map>
#include <regex>

#include "patterns.hpp"
#include "version_range.hpp"
#include "wick/base/text.hpp"
#include "words.hpp"

namespace wick::build {

namespace {

constexpr std::size_t line_bytes_max = 1000;     // std::regex recurses over its input
constexpr std::size_t lines_read_max = 20'000;   // of one file: each meets several expressions
constexpr std::size_t files_read_max = 100;      // for one {file, containing}
constexpr std::size_t tried_shown_max = 60;      // patterns, where nothing fits
constexpr std::size_t matches_joined_max = 200;  // for one {each}
constexpr const char* embed_end = "END_OF_FILE";

std::vector<std::string> matching_paths(const Listing& listing, const std::string& pattern, std::size_t count_max) {
  std::vector<std::string> out;
  const auto cleaned = clean_path(pattern);
  const auto glob = Glob::compile(cleaned, Glob::Flavour::ignore_file);
  if (!glob) return out;
  for (const auto& entry : listing.entries) {
    if (out.size() == count_max) break;
    if (entry.kind != SourceEntry::Kind::folder && glob->matches(entry.path)) out.push_back(entry.path);
  }
  return out;
}

/// The first path that fits; "" when there is none.
std::string first_match(const Listing& listing, const std::string& pattern) {
  const auto found = matching_paths(listing, pattern, 1);
  return found.empty() ? std::string() : found.front();
}

/// The first group where there is one, else all that fits.
std::optional<std::string> match_of(const std::string& text, const std::regex& expression) {
  std::smatch match;
  if (text.size() > line_bytes_max || !std::regex_search(text, match, expression)) return std::nullopt;
  return match.size() > 1 && match[1].matched ? match[1].str() : match[0].str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  for (auto line : split(text, '\n')) {
    if (out.size() == lines_read_max) break;
    while (line.ends_with('\r') || line.ends_with(' ') || line.ends_with('\t')) line.remove_suffix(1);
    out.emplace_back(line);
  }
  return out;
}

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::string stem_of(const std::string& path) {
  const auto name = base_name(path);
  const auto dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name : name.substr(0, dot);
}

/// The argument of CMD. Words that no shell would change are run as they are: the program is process 1, hears SIGTERM,
/// and can be parked.
std::string as_command(const std::string& text) {
  constexpr std::string_view plain = "@%+=:,./-_";
  boost::json::array words;
  bool simple = true;
  for (const auto word : split(text, ' ')) {
    if (word.empty()) continue;
    simple = simple && std::ranges::all_of(word, [&](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || plain.contains(c);
             });
    if (words.empty() && (word.contains('=') || word == "cd" || word == "exec" || word == "export" || word == "."))
      simple = false;
    words.emplace_back(word);
  }
  if (!simple || words.empty()) words = {"/bin/sh", "-c", text};
  return boost::json::serialize(words);
}

/// Evaluates one recipe on one project; values know those before them.
class Evaluation {
 public:
  Evaluation(const Recipe& recipe, const Project& project, BaseChoice bases) : recipe_(recipe), project_(project) {
    values_[std::string(value_only_debian)] = bases == BaseChoice::debian ? "yes" : "";
    values_[std::string(value_only_registry)] = bases == BaseChoice::registry ? "yes" : "";
  }

  Result<void> run() {
    for (const auto& [name, sources] : recipe_.values) {
      std::string value, origin;
      for (const auto& source : sources) {
        if (!holds(source.condition)) continue;
        auto found = find(source);
        if (!found) return fail(std::move(found.error()));
        value = join(source, *found);
        if (value.empty()) continue;
        std::ranges::replace(value, '\n', ' ');  // a value is part of one line
        origin = origin_of(source, found->from);
        break;
      }
      values_[name] = value;
      origins_[name] = origin;
    }
    for (const auto& [name, text] : recipe_.needs)
      if (value(name).empty())
        return fail(Errc::invalid, fmt::format("{}: {}", recipe_.title, fill(text)), "or add a Dockerfile");
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
      std::string form;
      if (const auto bar = name.find('|'); bar != std::string::npos) {
        form = name.substr(bar + 1);
        name.resize(bar);
      }
      if (name.empty() ? !found.has_value() : !values_.contains(name)) {
        out += text[i];
        continue;
      }
      const auto& value = name.empty() ? *found : values_.at(name);
      if (form == "json") {
        out += boost::json::serialize(boost::json::value(value));
      } else if (form == "command") {
        out += as_command(value);
      } else if (form == "folder") {
        out += folder_of(value);
      } else if (form == "stem") {
        out += stem_of(value);
      } else {
        out += value;
      }
      i = end;
    }
    return out;
  }

  Result<std::string> line_of(const ConditionalText& line) const {
    if (line.embed.empty()) {
      const auto filled = fill(line.text);
      const auto title = title_of(line.text);
      return (title.empty() || filled == "RUN " + title ? "" : "# " + title + "\n") + filled + "\n";
    }
    const auto file = recipe_.files.find(line.embed);
    if (file == recipe_.files.end())
      return fail(Errc::not_found, fmt::format("builder {}: there is no file {} beside it", recipe_.name, line.embed));
    const auto& text = file->second;
    return fmt::format("COPY <<'{}' {}\n{}{}{}\n", embed_end, fill(line.text), text, text.ends_with('\n') ? "" : "\n",
                       embed_end);
  }

  /// What a RUN does, without its flags and asides; empty for other lines and for what is not one line.
  std::string title_of(std::string text) const {
    if (!text.starts_with("RUN ")) return {};
    for (const auto& aside : recipe_.asides)
      if (const auto at = text.find("{" + aside + "}"); at != std::string::npos) text.erase(at, aside.size() + 2);
    const auto filled = fill(text);
    auto rest = trim(std::string_view(filled).substr(4));
    while (rest.starts_with("--")) rest = trim(rest.substr(std::min(rest.find(' '), rest.size())));
    return rest.contains('\n') ? std::string() : std::string(rest);
  }

  std::vector<Detected::Reason> reasons() const {
    std::vector<Detected::Reason> out;
    for (const auto& name : recipe_.tells)
      if (const auto& text = value(name); !text.empty())
        out.push_back({name, std::string(trim(text)), origins_.at(name)});
    return out;
  }

 private:
  struct Found {
    std::vector<std::string> texts;  // more than one only for `each`
    std::string from;
  };

  const std::string& value(const std::string& name) const {
    static const std::string nothing;
    const auto found = values_.find(name);
    return found == values_.end() ? nothing : found->second;
  }

  std::string join(const ValueSource& source, const Found& found) const {
    if (found.texts.empty() || found.texts.front().empty()) return {};
    if (source.each) {
      std::string out;
      for (const auto& text : found.texts) out += fill(*source.each, text);
      return out;
    }
    return source.write ? fill(*source.write, found.texts.front()) : found.texts.front();
  }

  /// Where a text comes from that the builder writes itself: from what made it do so.
  std::string origin_of(const ValueSource& source, const std::string& from) const {
    if (!from.empty() || source.condition.when.empty()) return from;
    const auto found = origins_.find(source.condition.when.front());
    return found == origins_.end() ? std::string() : found->second;
  }

  std::string origin_of_value(const std::string& name) const {
    const auto found = origins_.find(name);
    return found == origins_.end() ? std::string() : found->second;
  }

  Result<Found> find(const ValueSource& source) const {
    using Kind = ValueSource::Kind;
    const auto subject =
        source.kind == Kind::value || source.kind == Kind::range ? source.subject : fill(source.subject);
    switch (source.kind) {
      case Kind::constant:
        return Found{{"yes"}, ""};
      case Kind::value:
        return fitting(source, {value(subject)}, origin_of_value(subject));
      case Kind::range: {
        const bool allowed = range_allows(value(subject), source.detail).value_or(true);
        return Found{{allowed && !value(subject).empty() ? "yes" : ""}, origin_of_value(subject)};
      }
      case Kind::file:
        return in_files(source, subject);
      case Kind::parsed:
        return in_parsed(source, subject);
      case Kind::text:
        return in_text(source, subject);
      case Kind::procfile:
        return in_procfile(subject);
    }
    return Found{};
  }

  static Found fitting(const ValueSource& source, const std::vector<std::string>& texts, std::string from) {
    if (!source.matching) return {texts, std::move(from)};
    const std::regex expression(*source.matching, std::regex::ECMAScript);
    Found out{.from = std::move(from)};
    for (const auto& text : texts) {
      if (out.texts.size() == (source.each ? matches_joined_max : 1)) break;
      if (auto match = match_of(text, expression); match && !match->empty()) out.texts.push_back(std::move(*match));
    }
    return out;
  }

  Found in_files(const ValueSource& source, const std::string& pattern) const {
    if (pattern.empty()) return {};
    if (!source.containing && !source.lacking) {
      auto path = first_match(project_.listing, pattern);
      return {{path}, path};
    }
    const std::regex wanted(source.containing.value_or(""), std::regex::ECMAScript);
    const std::regex unwanted(source.lacking.value_or("$^"), std::regex::ECMAScript);
    for (const auto& path : matching_paths(project_.listing, pattern, files_read_max)) {
      const auto text = project_.read(path);
      if (!text) continue;
      const auto lines = lines_of(*text);
      const auto fits = [&](const std::regex& expression) {
        return std::ranges::any_of(lines, [&](const auto& line) { return match_of(line, expression).has_value(); });
      };
      if (source.containing && !fits(wanted)) continue;
      if (source.lacking && fits(unwanted)) continue;
      return {{path}, path};
    }
    return {};
  }

  Result<Found> in_parsed(const ValueSource& source, const std::string& file) const {
    const auto text = project_.read(file);
    if (!text) return Found{};
    auto key = fmt::format("{} {}", static_cast<int>(source.format), file);
    auto at = parsed_.find(key);
    if (at == parsed_.end()) {
      auto parsed = parse_file(source.format, *text, file);
      if (!parsed) return fail(std::move(parsed.error()));
      at = parsed_.emplace(std::move(key), std::move(*parsed)).first;
    }
    const auto* found = value_at(at->second, source.detail);
    if (!found) return Found{};
    auto from = source.detail.empty() ? file : fmt::format("{} in {}", source.detail, file);
    return fitting(source, source.matching ? texts_of(*found) : std::vector{text_of(*found)}, std::move(from));
  }

  Found in_text(const ValueSource& source, const std::string& pattern) const {
    const auto path = pattern.empty() ? std::string() : first_match(project_.listing, pattern);
    const auto text = path.empty() ? std::nullopt : project_.read(path);
    if (!text) return {};
    return fitting(source, lines_of(*text), path);
  }

  Found in_procfile(const std::string& name) const {
    const auto text = project_.read("Procfile");
    if (!text) return {};
    for (const auto& line : lines_of(*text))
      if (line.starts_with(name + ":"))
        return {{std::string(trim(std::string_view(line).substr(name.size() + 1)))}, name + " in Procfile"};
    return {};
  }

  const Recipe& recipe_;
  const Project& project_;
  std::map<std::string, std::string> values_;
  std::map<std::string, std::string> origins_;
  mutable std::map<std::string, boost::json::value> parsed_;
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

Error nothing_fits(const std::vector<Recipe>& recipes) {
  std::vector<std::string> tried{"Dockerfile"};
  for (const auto& recipe : recipes)
    for (const auto& all : recipe.any)
      if (tried.size() < tried_shown_max) tried.push_back(fmt::format("{}", fmt::join(all, " with ")));
  return Error(Errc::not_found, "nothing here says how to build it")
      .hint(fmt::format("looked for, at the top of the folder: {}", fmt::join(tried, ", ")));
}

Result<const Recipe*> choose(const std::vector<Recipe>& recipes, const Listing& listing, std::string_view wanted) {
  if (!wanted.empty()) {
    const auto named = std::ranges::find(recipes, wanted, &Recipe::name);
    if (named != recipes.end()) return &*named;
    std::vector<std::string_view> names;
    for (const auto& recipe : recipes) names.push_back(recipe.name);
    const auto near = nearest_word(wanted, names);
    return fail(
        Errc::not_found, fmt::format("there is no builder '{}'", printable(wanted, 60)),
        near.empty() ? fmt::format("builders: {}", fmt::join(names, ", ")) : fmt::format("did you mean {}?", near));
  }
  std::vector<const Recipe*> fitting;
  for (const bool otherwise : {false, true})
    for (const auto& recipe : recipes)
      if (recipe.otherwise == otherwise && (!otherwise || fitting.empty() || fitting.back()->otherwise) &&
          !fits(recipe, listing).empty())
        fitting.push_back(&recipe);
  if (fitting.size() == 1) return fitting[0];
  if (fitting.empty()) return std::unexpected(nothing_fits(recipes));
  std::vector<std::string> both;
  for (const auto* recipe : fitting)
    both.push_back(fmt::format("{} ({})", recipe->name, fmt::join(fits(*recipe, listing), ", ")));
  return fail(Errc::conflict, fmt::format("more than one builder fits: {}", fmt::join(both, " and ")),
              fmt::format("choose one with --builder {}, or add a Dockerfile", fitting[0]->name));
}

}  // namespace

Result<Detected> detect(const std::vector<Recipe>& recipes, const Project& project, std::string_view wanted,
                        BaseChoice bases) {
  auto chosen = choose(recipes, project.listing, wanted);
  if (!chosen) return fail(std::move(chosen.error()));
  const Recipe& recipe = **chosen;
  Evaluation evaluation(recipe, project, bases);
  if (auto run = evaluation.run(); !run) return fail(std::move(run.error()));
  Detected out{.name = recipe.name, .title = recipe.title, .ignore = recipe.ignore, .reasons = evaluation.reasons()};
  if (const auto files = fits(recipe, project.listing); !files.empty())
    out.title = fmt::format("{} ({})", recipe.title, fmt::join(files, ", "));
  for (const auto& line : recipe.dockerfile) {
    if (!evaluation.holds(line.condition)) continue;
    auto text = evaluation.line_of(line);
    if (!text) return fail(std::move(text.error()));
    out.dockerfile += *text;
  }
  for (const auto& warning : recipe.warnings)
    if (evaluation.holds(warning.condition)) out.warnings.push_back(evaluation.fill(warning.text));
  return out;
}

std::string explain(const Detected& detected) {
  std::string out = fmt::format("# {}\n", detected.title);
  for (const auto& reason : detected.reasons)
    out += fmt::format("#   {}: {}{}\n", reason.name, printable(reason.value),
                       reason.from.empty() || reason.from == reason.value ? "" : fmt::format("  ({})", reason.from));
  for (const auto& warning : detected.warnings) out += fmt::format("# warning: {}\n", printable(warning));
  if (!detected.ignore.empty())
    out += fmt::format("# not copied, besides what .dockerignore names: {}\n", fmt::join(detected.ignore, ", "));
  return out + detected.dockerfile;
}

}  // namespace wick::build
