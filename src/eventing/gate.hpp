// What stands before a stream or sink while authentication is on: 401 for who cannot say who he is, 403 for who may
// not.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "wick/eventing/access.hpp"
#include "wick/os/clock.hpp"

namespace wick::eventing {

class Gate {
 public:
  explicit Gate(Clock& clock) : clock_(clock) {}

  void set(AccessSettings settings) { settings_ = std::move(settings); }
  const AccessSettings& settings() const { return settings_; }
  void set_rules(std::string addressable, AccessRules rules) { rules_[std::move(addressable)] = std::move(rules); }
  void remove_rules(const std::string& addressable) { rules_.erase(addressable); }

  /// Streams of Wick's own, which nobody can send to from outside, have no rules.
  bool has_rules(const std::string& addressable) const { return rules_.contains(addressable); }

  struct Refusal {
    int status;
    Error error;
  };
  /// nullopt: let it in. `addressable` is "namespace/name", as streams and sinks are called.
  std::optional<Refusal> check(const std::string& addressable, const Sender& sender, const CloudEvent& event) const;

 private:
  Clock& clock_;
  AccessSettings settings_;
  std::map<std::string, AccessRules> rules_;
};

}  // namespace wick::eventing
