// Which (source, id) a broker has seen of late: opt-in, in memory, made again from the log's tail after a restart.
//
// An event is only a duplicate of one that is on disk, or that the same commit will bring there: what failed to be
// stored is forgotten again.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>

#include "wick/base/time.hpp"
#include "wick/eventing/cloud_event.hpp"

namespace wick::eventing {

class DedupWindow {
 public:
  static constexpr std::size_t entries_max = 1'000'000;  // the oldest go first: about 100 MB

  explicit DedupWindow(std::chrono::seconds length) : length_(length) {}

  /// True when it was not there; it is from now on.
  bool add(const CloudEvent& event, WallTime now);
  bool contains(const CloudEvent& event) const { return seen_.contains(key_of(event)); }
  void forget(const CloudEvent& event) { seen_.erase(key_of(event)); }
  std::chrono::seconds length() const { return length_; }
  void set_length(std::chrono::seconds length) { length_ = length; }

 private:
  struct Entry {
    WallTime when;
    std::string key;
  };
  static std::string key_of(const CloudEvent& event);

  std::chrono::seconds length_;
  std::unordered_map<std::string, WallTime> seen_;
  std::deque<Entry> order_;
};

}  // namespace wick::eventing
