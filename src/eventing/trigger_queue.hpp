// What a trigger matched and has not settled: which of it may be started next, in the trigger's order. Pure.
//
//   offered ──lane free──► ready ──next()──► under way ──settled()──► gone, and the lane's next one is ready
//      └──lane held──► waits in its lane
//
// A lane is held from when its first event is ready until the delivery has ended for good: retries included, so that a
// failing event holds up its own lane and no other.
#pragma once

#include <boost/container/flat_set.hpp>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "log.hpp"

namespace wick::eventing {

class TriggerQueue {
 public:
  static constexpr std::size_t waiting_max = 256;  // past it the trigger stops looking: the log holds the rest

  struct Ready {
    Position position = 0;
    std::string lane;
  };

  bool is_full() const { return waiting_ >= waiting_max; }
  /// A read of the log is worth its cost: it has place for much, or nothing of what it holds may be started.
  bool wants_more() const { return waiting_ <= waiting_max / 2 || (ready_.empty() && !is_full()); }
  /// `lane` empty: no order.
  void offer(Position position, std::string lane);
  std::optional<Ready> next();
  /// Done with, or it has a row now.
  void settled(Position position) { open_.erase(position); }
  /// The lane's holder has ended for good.
  void release(const std::string& lane);
  /// After a restart: a row holds its lane.
  void hold(const std::string& lane) {
    if (!lane.empty()) lanes_.try_emplace(lane);
  }

  bool contains(Position position) const { return open_.contains(position); }
  std::size_t waiting() const { return waiting_; }
  std::size_t open_count() const { return open_.size(); }
  std::vector<Position> open() const { return {open_.begin(), open_.end()}; }
  std::optional<Position> oldest() const { return open_.empty() ? std::nullopt : std::optional(*open_.begin()); }

 private:
  boost::container::flat_set<Position> open_;
  std::deque<Ready> ready_;
  std::map<std::string, std::deque<Position>> lanes_;
  std::size_t waiting_ = 0;  // ready, or in a lane
};

}  // namespace wick::eventing
