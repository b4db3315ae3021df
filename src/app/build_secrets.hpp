// Values for `RUN --mount=type=secret` between the request that brings them and the build that takes them. They are in
// this memory only: not in the build's record, not on disk, not in a log. One thread.
#pragma once

#include <map>
#include <string>

#include "wick/base/error.hpp"
#include "wick/os/clock.hpp"

namespace wick::app {

class BuildSecrets {
 public:
  using Values = std::map<std::string, std::string>;  // by id

  explicit BuildSecrets(Clock& clock) : clock_(clock) {}
  /// The ticket that the build of the same namespace shows. Errors: overloaded (too many wait for their builds).
  Result<std::string> keep(const std::string& name_space, Values values);
  /// Once. Errors: not_found (taken, kept for too long, or the daemon was restarted since).
  Result<Values> take(const std::string& name_space, const std::string& ticket);

 private:
  void drop_old();
  struct Kept {
    std::string name_space;
    Values values;
    TimePoint since;
  };
  Clock& clock_;
  std::map<std::string, Kept> kept_;
};

}  // namespace wick::app
