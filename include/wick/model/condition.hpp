// status.conditions by Knative's rules (knative.dev/pkg apis/condition_set.go): terminal conditions add up to one happy
// condition, informational ones do not; lastTransitionTime moves when anything else of the condition does; the list is
// sorted by type.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/time.hpp"

namespace wick::model {

namespace json = boost::json;

enum class Truth { unknown, yes, no };

struct Condition {
  std::string type;
  Truth status = Truth::unknown;
  std::string severity;  // "" or "Info"
  std::string reason;
  std::string message;
  std::string last_transition;
};

/// The condition `type` of an object's status; status unknown and all empty where it is missing.
Condition find_condition(const json::object& object, std::string_view type);

class Conditions {
 public:
  /// `object` gives the transition times (and nothing else): every dependent starts unknown.
  Conditions(std::string happy, std::vector<std::string> dependents, const json::object& object, WallTime now);

  void mark(std::string_view type, Truth status, std::string reason = {}, std::string message = {});
  void mark_true(std::string_view type, std::string reason = {}, std::string message = {}) {
    mark(type, Truth::yes, std::move(reason), std::move(message));
  }
  void mark_false(std::string_view type, std::string reason, std::string message) {
    mark(type, Truth::no, std::move(reason), std::move(message));
  }
  void mark_unknown(std::string_view type, std::string reason = {}, std::string message = {}) {
    mark(type, Truth::unknown, std::move(reason), std::move(message));
  }
  /// Severity Info: shown, and not part of the happy condition.
  void mark_info(std::string_view type, Truth status, std::string reason = {}, std::string message = {});
  /// Takes over status, reason and message of another object's condition.
  void copy(std::string_view type, const Condition& from) { mark(type, from.status, from.reason, from.message); }

  /// The first False decides, else the first Unknown, else True.
  Condition happy() const;
  json::array to_json() const;

 private:
  std::string happy_;
  std::vector<std::string> dependents_;  // order decides which failure is copied
  std::map<std::string, Condition, std::less<>> conditions_;
  std::map<std::string, Condition, std::less<>> before_;
  WallTime now_;
};

std::string_view to_string(Truth truth);

}  // namespace wick::model
