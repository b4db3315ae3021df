// Which old revisions go (serving.md 1.10, config-gc's defaults). Pure.
#pragma once

#include <string>
#include <vector>

#include "wick/base/time.hpp"

namespace wick::control {

struct RevisionAge {
  std::string name;
  WallTime created{};
  WallTime last_active{};  // when its routing state last changed, else when it was made
};

struct RevisionRetention {
  std::size_t min_kept = 20;
  std::size_t max_kept = 1000;
  std::chrono::hours since_created{48};
  std::chrono::hours since_active{15};
};

/// Names to delete among `candidates`: revisions without traffic that are neither the newest, nor ready last, nor kept
/// by `no-gc`.
std::vector<std::string> revisions_to_delete(std::vector<RevisionAge> candidates, WallTime now,
                                             const RevisionRetention& retention = {});

}  // namespace wick::control
