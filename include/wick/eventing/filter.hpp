// Which events a trigger gets: `filter.attributes`, and the dialects of `filters` (Knative's SubscriptionsAPIFilter,
// CloudEvents Subscriptions API 3.2.4). Compiled once when the trigger is set, evaluated once an event.
#pragma once

#include <boost/json/value.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::eventing {

using AttributeFilter = std::map<std::string, std::string>;

/// One element of `filters`: one dialect.
struct Filter {
  enum class Dialect { nothing, all, any, negation, exact, prefix, suffix, cesql } dialect = Dialect::nothing;
  AttributeFilter attributes;    // exact, prefix, suffix: all of them must hold
  std::vector<Filter> children;  // all, any; one for negation
  std::string expression;        // cesql

  bool operator==(const Filter&) const = default;
};

inline constexpr int filter_depth_max = 32;
inline constexpr std::size_t filters_max = 1000;  // in one trigger, nested ones counted

/// `spec.filters` as it stands in a Trigger; null is no filters. An empty object is skipped, as in Knative. `sql` is
/// read as `cesql`. Errors: invalid with the path ("filters[1].any[0].exact"), also for a CESQL expression that does
/// not parse.
Result<std::vector<Filter>> filters_from_json(const boost::json::value& filters);

/// A trigger's whole condition.
class Matcher {
 public:
  /// Lets everything pass.
  Matcher();
  /// `filters`, when there are any, replace `attributes`. Errors: invalid (CESQL).
  static Result<Matcher> compile(AttributeFilter attributes, const std::vector<Filter>& filters);

  bool passes(const CloudEvent& event) const;
  /// Why an event does not pass ("type is 'a', wanted 'b'"); nullopt when it does.
  std::optional<std::string> mismatch(const CloudEvent& event) const;

  /// Some attribute must have one of these values for an event to pass: what triggers are indexed by. Nothing when no
  /// such attribute is known.
  struct Key {
    std::string attribute;
    std::vector<std::string> values;
  };
  std::optional<Key> key() const;

  struct Test;

 private:
  std::shared_ptr<const Test> root_;
};

}  // namespace wick::eventing
