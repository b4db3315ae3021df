#include "control/revision_gc.hpp"

#include <algorithm>
#include <tuple>

namespace wick::control {

std::vector<std::string> revisions_to_delete(std::vector<RevisionAge> candidates, WallTime now,
                                             const RevisionRetention& retention) {
  std::vector<std::string> gone;
  if (candidates.size() <= retention.min_kept) return gone;
  std::ranges::sort(candidates, [](const auto& a, const auto& b) {
    return std::tie(a.last_active, a.name) < std::tie(b.last_active, b.name);
  });
  auto left = candidates.size();
  std::vector<RevisionAge> fresh;
  for (auto& revision : candidates) {
    const bool stale =
        now - revision.created > retention.since_created && now - revision.last_active > retention.since_active;
    if (stale && left > retention.min_kept) {
      gone.push_back(revision.name);
      --left;
    } else {
      fresh.push_back(std::move(revision));
    }
  }
  for (const auto& revision : fresh) {
    if (left <= retention.max_kept) break;
    gone.push_back(revision.name);
    --left;
  }
  return gone;
}

}  // namespace wick::control
