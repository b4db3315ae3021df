// Which layers builds that run stand on, so that a garbage collection beside them takes none. One thread.
//
// A build pins a layer before it asks the runner for it, and keeps the pin until its image has a name. Requests reach
// the runner in order: a collector that looks here and then asks for a removal in the same turn of the loop has either
// seen the pin, or the build hears that the layer is gone and makes it again.
#pragma once

#include <map>
#include <set>
#include <utility>

#include "wick/base/digest.hpp"

namespace wick::build {

class LayersInUse {
 public:
  /// One build's pins, given back when destroyed.
  class Pins {
   public:
    explicit Pins(LayersInUse& all) : all_(all) {}
    Pins(const Pins&) = delete;
    Pins& operator=(const Pins&) = delete;
    ~Pins() {
      for (const auto& layer : mine_)
        if (auto found = all_.pinned_.find(layer); --found->second == 0) all_.pinned_.erase(found);
    }
    void add(const Digest& layer) {
      if (!mine_.insert(layer).second) return;
      ++all_.pinned_[layer];
      all_.since_.insert(layer);
    }

   private:
    LayersInUse& all_;
    std::set<Digest> mine_;
  };

  /// Forgets what builds have used that have ended by now.
  void look_anew() {
    since_.clear();
    for (const auto& [layer, count] : pinned_) since_.insert(layer);
  }
  /// Pinned now, or at any time since look_anew(): its image may have a name by now that the caller has not seen.
  bool contains(const Digest& layer) const { return since_.contains(layer); }

 private:
  std::map<Digest, int> pinned_;
  std::set<Digest> since_;
};

}  // namespace wick::build
