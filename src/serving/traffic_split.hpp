// Shares of traffic without chance: after any 100 requests each target has had its percents, and meanwhile nobody is
// ahead by more than one. Smooth weighted round robin: each turn everyone gains its weight, the richest goes and pays
// the total.
#pragma once

#include <cstddef>
#include <vector>

namespace wick::serving {

class TrafficSplit {
 public:
  /// Targets with weight 0 are never chosen.
  void add(int weight) {
    shares_.push_back({weight, 0});
    total_ += weight;
  }
  /// The index of the next target; 0 when there is only one. At least one weight must not be 0.
  std::size_t next() {
    std::size_t best = 0;
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      shares_[i].credit += shares_[i].weight;
      if (shares_[i].credit > shares_[best].credit || shares_[best].weight == 0) best = i;
    }
    shares_[best].credit -= total_;
    return best;
  }
  bool empty() const { return total_ == 0; }

 private:
  struct Share {
    int weight;
    int credit;
  };
  std::vector<Share> shares_;
  int total_ = 0;
};

}  // namespace wick::serving
