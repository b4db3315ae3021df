// A trigger as the dispatcher runs it.
#pragma once

#include <deque>
#include <set>

#include "dispatcher.hpp"

namespace wick::eventing {

struct Dispatcher::Trigger {
  Trigger(Executor executor, TriggerSpec given);
  void set(TriggerSpec given);

  TriggerSpec spec;
  std::string name;    // "namespace/name"
  std::string broker;  // "namespace/name"
  Matcher matcher;
  Signal wake;
  asio::steady_timer started;  // cancelled when it is active, or removed before
  bool removed = false;
  bool active = false;     // its state was read
  bool live = false;       // it is offered what is stored; `looked_at` is behind and does not count
  bool dirty = false;      // something was settled since it was saved
  Position looked_at = 0;  // while not live
  Position saved = 0;
  TriggerQueue queue;
  std::size_t under_way = 0;
  std::set<Position> busy;           // rows under way
  std::size_t rows = 0;              // that wait for an attempt, as far as known
  std::deque<DeliveryRow> due;       // read, and waiting for room: until its attempt a row does not change
  std::optional<WallTime> next_due;  // no other row is due earlier; nullopt: none is
  bool replaying = false;
  Histogram* dispatch_seconds = nullptr;

  Position position(Position head) const { return live ? head : looked_at; }
  Position floor(Position head) const { return queue.oldest() ? *queue.oldest() - 1 : position(head); }
  std::string lane_of(const StoredEvent& event) const;
  void expect_row(WallTime due) {
    if (!next_due || due < *next_due) next_due = due;
  }
};

/// A broker that was set, or that a trigger names.
struct Dispatcher::BrokerState {
  std::optional<BrokerSpec> spec;
  std::vector<Trigger*> triggers;
  TriggerIndex<Trigger*> index;
  bool stale = false;                  // the index is to be made again
  Position floor = 0;                  // of the slowest trigger, a moment ago
  std::array<Counter*, 8> counters{};  // by EventRecord::Kind
};

std::string name_of(const TriggerSpec& spec);
std::string broker_of(const TriggerSpec& spec);

constexpr std::size_t kept_body_max = 4096;  // bytes of a failed answer

}  // namespace wick::eventing
