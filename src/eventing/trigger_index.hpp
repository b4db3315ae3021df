// Which triggers of a broker an event may concern: by the value of the attribute each one asks for, so that an event
// costs what it matches and not what there is.
#pragma once

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "wick/eventing/filter.hpp"

namespace wick::eventing {

template <class Target>
class TriggerIndex {
 public:
  void clear() { *this = {}; }

  void add(Target target, const Matcher& matcher) {
    const auto key = matcher.key();
    if (!key) return rest_.push_back({target, matcher});
    for (const auto& value : key->values) by_value_[key->attribute][value].push_back({target, matcher});
  }

  /// `visit(target)` for each that matches, once.
  template <class Visit>
  void matches(const CloudEvent& event, Visit visit) const {
    for (const auto& [attribute, values] : by_value_) {
      const auto found = event.attributes.find(attribute);
      if (found == event.attributes.end()) continue;
      const auto* text = std::get_if<std::string>(&found->second);
      const auto entries = values.find(text ? *text : to_text(found->second));
      if (entries != values.end()) check(entries->second, event, visit);
    }
    check(rest_, event, visit);
  }

 private:
  struct Entry {
    Target target;
    Matcher matcher;
  };

  template <class Visit>
  static void check(const std::vector<Entry>& entries, const CloudEvent& event, Visit& visit) {
    for (const Entry& entry : entries)
      if (entry.matcher.passes(event)) visit(entry.target);
  }

  std::map<std::string, std::unordered_map<std::string, std::vector<Entry>>, std::less<>> by_value_;
  std::vector<Entry> rest_;
};

}  // namespace wick::eventing
