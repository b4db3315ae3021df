#include "wick/eventing/filter.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cesql.hpp"
#include "text_rules.hpp"
#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::eventing {

namespace json = boost::json;

namespace {

/// Names that an event may be asked for although it says them differently (knative/eventing
/// pkg/eventfilter/attributes).
std::string_view current_name(std::string_view name) {
  if (name == "schemaurl") return "dataschema";
  if (name == "datamediatype") return "datacontenttype";
  return name;
}

/// Nullopt when absent. Knative compares `time` as RFC 3339 text, and an absent one is the zero time.
std::optional<std::string> looked_up(const CloudEvent& event, std::string_view name) {
  auto found = event.attributes.find(name);
  if (found == event.attributes.end()) found = event.attributes.find(current_name(name));
  if (name == "time") {
    if (found == event.attributes.end()) return "0001-01-01T00:00:00Z";
    const std::string text = to_text(found->second);
    const auto time = parse_rfc3339(text);
    return time ? to_rfc3339_nano(*time) : text;
  }
  if (found == event.attributes.end()) return std::nullopt;
  return to_text(found->second);
}

/// The text of a string attribute without a copy; the rare others through `looked_up`.
template <class Check>
bool check_value(const CloudEvent& event, const std::string& name, Check check) {
  if (name != "time") {
    const auto found = event.attributes.find(name);
    if (found != event.attributes.end())
      if (const auto* text = std::get_if<std::string>(&found->second)) return check(*text);
  }
  const auto value = looked_up(event, name);
  return value && check(*value);
}

}  // namespace

/// A compiled condition. `attributes` is the older spec.filter.attributes, where "" is any value that is not empty.
struct Matcher::Test {
  enum class Kind { all, any, negation, attributes, exact, prefix, suffix, cesql } kind = Kind::all;
  AttributeFilter values;
  std::vector<Test> children;
  std::optional<cesql::Expression> expression;

  bool holds(const std::string& wanted, const std::string& found) const {
    switch (kind) {
      case Kind::attributes:
        return wanted.empty() ? !found.empty() : found == wanted;
      case Kind::prefix:
        return found.starts_with(wanted);
      case Kind::suffix:
        return found.ends_with(wanted);
      default:
        return found == wanted;
    }
  }

  bool passes(const CloudEvent& event) const {
    const auto child_passes = [&](const Test& child) { return child.passes(event); };
    switch (kind) {
      case Kind::all:
        return std::ranges::all_of(children, child_passes);
      case Kind::any:
        return std::ranges::any_of(children, child_passes);
      case Kind::negation:
        return !children.front().passes(event);
      case Kind::cesql: {
        const auto outcome = expression->evaluate(event);
        return outcome.fault == cesql::Fault::none && outcome.value == AttributeValue(true);
      }
      default:
        return std::ranges::all_of(values, [&](const auto& wanted) {
          return check_value(event, wanted.first,
                             [&](const std::string& found) { return holds(wanted.second, found); });
        });
    }
  }

  std::optional<std::string> mismatch(const CloudEvent& event) const {
    if (passes(event)) return std::nullopt;
    switch (kind) {
      case Kind::all:
        for (const Test& child : children)
          if (auto why = child.mismatch(event)) return why;
        return std::nullopt;
      case Kind::any: {
        std::string text = "none of any:";
        for (const Test& child : children) text += " [" + child.mismatch(event).value_or("") + "]";
        return text.size() > 500 ? text.substr(0, 500) + "..." : text;
      }
      case Kind::negation:
        return "what 'not' refuses holds: " + children.front().text();
      case Kind::cesql: {
        const auto outcome = expression->evaluate(event);
        const std::string result =
            outcome.fault != cesql::Fault::none ? outcome.detail : "it is " + printable(to_text(outcome.value), 60);
        return fmt::format("cesql \"{}\": {}", printable(expression->text()), result);
      }
      default:
        return value_mismatch(event);
    }
  }

  std::optional<std::string> value_mismatch(const CloudEvent& event) const {
    for (const auto& [name, wanted] : values) {
      const auto found = looked_up(event, name);
      if (!found || (kind == Kind::attributes && found->empty()))
        return fmt::format("attribute {} is not there", printable(name));
      if (holds(wanted, *found)) continue;
      const std::string_view how = kind == Kind::prefix   ? " with the prefix"
                                   : kind == Kind::suffix ? " with the suffix"
                                                          : "";
      return fmt::format("{} is '{}', wanted{} '{}'", printable(name), printable(*found), how, printable(wanted));
    }
    return std::nullopt;
  }

  std::string text() const {
    constexpr const char* names[] = {"all", "any", "not", "attributes", "exact", "prefix", "suffix", "cesql"};
    std::string text = names[static_cast<int>(kind)];
    for (const auto& [name, value] : values) text += fmt::format(" {}={}", printable(name, 60), printable(value, 60));
    if (expression) text += " " + printable(expression->text());
    if (!children.empty()) text += fmt::format(" of {}", children.size());
    return text;
  }

  std::optional<Key> key() const {
    if (kind == Kind::attributes || kind == Kind::exact) return exact_key();
    if (kind == Kind::all)
      for (const Test& child : children)
        if (auto found = child.key()) return found;
    if (kind == Kind::any) return any_key();
    return std::nullopt;
  }

  /// `type` tells most apart, then `source`. `time` is compared as a time, so its text is no key.
  std::optional<Key> exact_key() const {
    for (const char* name : {"type", "source"})
      if (const auto found = values.find(name); found != values.end() && !found->second.empty())
        return Key{found->first, {found->second}};
    for (const auto& [name, value] : values)
      if (!value.empty() && name != "time" && current_name(name) == name) return Key{name, {value}};
    return std::nullopt;
  }

  std::optional<Key> any_key() const {
    std::optional<Key> joined;
    for (const Test& child : children) {
      auto found = child.key();
      if (!found || (joined && joined->attribute != found->attribute)) return std::nullopt;
      if (!joined) joined = Key{found->attribute, {}};
      joined->values.insert(joined->values.end(), found->values.begin(), found->values.end());
    }
    if (joined) {
      std::ranges::sort(joined->values);
      joined->values.erase(std::unique(joined->values.begin(), joined->values.end()), joined->values.end());
    }
    return joined;
  }
};

namespace {

using Test = Matcher::Test;

Result<Test> compiled(const Filter& filter) {
  Test test{.values = filter.attributes};
  switch (filter.dialect) {
    case Filter::Dialect::nothing:
      return test;  // all of nothing
    case Filter::Dialect::all:
      break;
    case Filter::Dialect::any:
      test.kind = Test::Kind::any;
      break;
    case Filter::Dialect::negation:
      test.kind = Test::Kind::negation;
      break;
    case Filter::Dialect::exact:
      test.kind = Test::Kind::exact;
      break;
    case Filter::Dialect::prefix:
      test.kind = Test::Kind::prefix;
      break;
    case Filter::Dialect::suffix:
      test.kind = Test::Kind::suffix;
      break;
    case Filter::Dialect::cesql: {
      test.kind = Test::Kind::cesql;
      auto expression = cesql::Expression::parse(filter.expression);
      if (!expression) return fail(std::move(expression.error()));
      test.expression = std::move(*expression);
    }
  }
  for (const Filter& child : filter.children) {
    auto inner = compiled(child);
    if (!inner) return inner;
    test.children.push_back(std::move(*inner));
  }
  return test;
}

class Reader {
 public:
  Result<std::vector<Filter>> array(const json::value& value, const std::string& path, int depth) {
    if (!value.is_array()) return wrong(path, "an array of filters");
    if (depth > filter_depth_max) return wrong(path, fmt::format("at most {} levels", filter_depth_max));
    std::vector<Filter> filters;
    for (std::size_t i = 0; i < value.get_array().size(); ++i) {
      auto filter = one(value.get_array()[i], fmt::format("{}[{}]", path, i), depth);
      if (!filter) return fail(std::move(filter.error()));
      filters.push_back(std::move(*filter));
    }
    return filters;
  }

 private:
  static std::unexpected<Error> wrong(const std::string& path, std::string_view wanted) {
    return fail(Errc::invalid, fmt::format("{} must be {}", path, wanted));
  }

  Result<Filter> one(const json::value& value, const std::string& path, int depth) {
    if (++count_ > filters_max) return wrong("filters", fmt::format("at most {} filters", filters_max));
    if (!value.is_object()) return wrong(path, "an object with one dialect");
    const auto& object = value.get_object();
    if (object.empty()) return Filter{};
    if (object.size() > 1) return wrong(path, "an object with one dialect, this one has several");
    const std::string name(object.begin()->key());
    const json::value& content = object.begin()->value();
    const std::string below = path + "." + name;
    if (name == "exact" || name == "prefix" || name == "suffix") return by_value(name, content, below);
    if (name == "all" || name == "any") {
      auto children = array(content, below, depth + 1);
      if (!children) return fail(std::move(children.error()));
      return Filter{.dialect = name == "all" ? Filter::Dialect::all : Filter::Dialect::any,
                    .children = std::move(*children)};
    }
    if (name == "not") {
      if (depth >= filter_depth_max) return wrong(path, fmt::format("at most {} levels", filter_depth_max));
      auto child = one(content, below, depth + 1);
      if (!child) return child;
      Filter filter{.dialect = Filter::Dialect::negation};
      filter.children.push_back(std::move(*child));
      return filter;
    }
    if (name == "cesql" || name == "sql") return by_expression(content, below);
    return fail(Errc::invalid,
                fmt::format("{} is no filter dialect; they are all, any, not, exact, prefix, suffix and cesql",
                            printable(below)));
  }

  static Result<Filter> by_value(std::string_view name, const json::value& content, const std::string& path) {
    if (!content.is_object() || content.get_object().empty())
      return wrong(path, "an object with at least one attribute");
    Filter filter{.dialect = name == "exact"    ? Filter::Dialect::exact
                             : name == "prefix" ? Filter::Dialect::prefix
                                                : Filter::Dialect::suffix};
    for (const auto& member : content.get_object()) {
      if (!is_attribute_name(member.key()) || (member.key()[0] >= '0' && member.key()[0] <= '9'))
        return fail(Errc::invalid, fmt::format("Invalid attribute name: \"{}\" in {}", printable(member.key()), path));
      if (!member.value().is_string() || member.value().get_string().empty())
        return wrong(path + "." + std::string(member.key()), "a string that is not empty");
      filter.attributes.emplace(member.key(), member.value().get_string());
    }
    return filter;
  }

  static Result<Filter> by_expression(const json::value& content, const std::string& path) {
    if (!content.is_string()) return wrong(path, "a string");
    Filter filter{.dialect = Filter::Dialect::cesql, .expression = std::string(content.get_string())};
    if (filter.expression.empty()) return Filter{};
    if (auto parsed = cesql::Expression::parse(filter.expression); !parsed)
      return fail(std::move(parsed.error()).within(path));
    return filter;
  }

  std::size_t count_ = 0;
};

}  // namespace

Result<std::vector<Filter>> filters_from_json(const json::value& filters) {
  if (filters.is_null()) return std::vector<Filter>{};
  return Reader().array(filters, "filters", 1);
}

Matcher::Matcher() : root_(std::make_shared<const Test>()) {}

Result<Matcher> Matcher::compile(AttributeFilter attributes, const std::vector<Filter>& filters) {
  Test root;
  if (filters.empty()) {
    root.kind = Test::Kind::attributes;
    root.values = std::move(attributes);
  }
  for (const Filter& filter : filters) {
    auto test = compiled(filter);
    if (!test) return fail(std::move(test.error()));
    root.children.push_back(std::move(*test));
  }
  Matcher matcher;
  matcher.root_ = std::make_shared<const Test>(std::move(root));
  return matcher;
}

bool Matcher::passes(const CloudEvent& event) const { return root_->passes(event); }
std::optional<std::string> Matcher::mismatch(const CloudEvent& event) const { return root_->mismatch(event); }
std::optional<Matcher::Key> Matcher::key() const { return root_->key(); }

}  // namespace wick::eventing
