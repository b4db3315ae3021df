// The traffic list of a Service as a person changes it. Pure.
#pragma once

#include <boost/json/array.hpp>
#include <string>
#include <utility>
#include <vector>

namespace wick::app::cli {

struct Share {
  std::string revision;  // "latest": what follows the newest
  int percent = 0;
};

/// `before` (a Service's spec.traffic) with new shares in place of all old ones (none: the old ones stay), `tags`
/// (revision, tag) added and `untags` taken away. A tag is moved when it was on another revision; what has neither a
/// tag nor a share goes.
boost::json::array changed_traffic(const boost::json::array& before, const std::vector<Share>& shares,
                                   const std::vector<std::pair<std::string, std::string>>& tags,
                                   const std::vector<std::string>& untags);

}  // namespace wick::app::cli
