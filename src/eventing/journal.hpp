// The last things that happened in a broker, for those who watch. Bounded: a watcher that is too slow misses the
// oldest.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <string>
#include <vector>

#include "signal.hpp"
#include "wick/eventing/eventing.hpp"

namespace wick::eventing {

class Journal {
 public:
  explicit Journal(std::size_t records_kept) : records_kept_(records_kept) {}

  void add(EventRecord record);
  /// What is remembered of one event, oldest first.
  std::vector<EventRecord> of(const std::string& broker, const std::string& id, const std::string& source) const;
  /// The last `count` records, then each new one until cancelled or `on_record` returns false.
  awaitable<void> follow(std::string broker, std::size_t count, std::function<bool(const EventRecord&)> on_record);

 private:
  struct Records {
    std::deque<EventRecord> kept;
    std::uint64_t first = 0;  // number of kept.front()
    std::list<Signal*> watchers;
  };

  std::size_t records_kept_;
  std::map<std::string, Records> brokers_;  // "namespace/name"; at most one a broker that ever was
};

}  // namespace wick::eventing
