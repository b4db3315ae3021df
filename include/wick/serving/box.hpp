// What all instances together may take of the machine: memory, and starts at once (starting is what needs the CPU).
//
// A pool asks before it launches. Where memory is short, the instance of any service that has been idle longest goes
// first; where none is idle the pool waits its turn, which goes to the service that holds least for its weight.
//
//   take() ──► Share ──started()──► (start slot back) ──leaving()──► (counted as soon free) ──► destroyed: memory back
//      └─ no room ──► waiting ──room_freed(), fairest first──► take() again
//
// Invariants
//  1. The bytes of all shares exceed the limit only by what was running before we were (adopt()).
//  2. Nobody who waits is overtaken by a tenant that holds more for its weight.
//  3. A tenant that always has work does not keep the others out: must_yield().
//  4. No more is evicted than those who wait need.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <utility>

#include "wick/base/time.hpp"
#include "wick/os/loop.hpp"
#include "wick/os/task_group.hpp"

namespace wick::serving {

struct BoxLimits {
  std::uint64_t memory_bytes = 0;  // 0: no limit
  int starts = 0;                  // at once; 0: no limit
};

class Box {
 public:
  /// A pool as the box sees it. Calls forget() before it goes, and after its shares.
  class Tenant {
   public:
    virtual double weight() const = 0;
    /// Since when the instance that may go and has been idle longest is idle; nullopt where none may go.
    virtual std::optional<TimePoint> longest_idle() const = 0;
    /// Lets that instance go.
    virtual void evict_idle() = 0;
    /// There may be room now: ask again for what is still wanted.
    virtual void room_freed() = 0;

   protected:
    ~Tenant() = default;
  };

  /// Room for one instance, given back by the destructor.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept { *this = std::move(other); }
    Share& operator=(Share&& other) noexcept;
    ~Share() { reset(); }
    void reset();
    /// The start is over, well or not.
    void started();
    /// Its instance is on the way out.
    void leaving();

   private:
    friend class Box;
    Share(Box& box, Tenant& tenant, std::uint64_t bytes, bool starting)
        : box_(&box), tenant_(&tenant), bytes_(bytes), starting_(starting) {}
    Box* box_ = nullptr;
    Tenant* tenant_ = nullptr;
    std::uint64_t bytes_ = 0;
    bool starting_ = false;
    bool leaving_ = false;
  };

  enum class Need {
    work,   // a request waits for it: evicts, and waits for its turn
    spare,  // capacity ahead of need: only where there is room and nobody waits
  };
  enum class Refusal { memory, starts };

  Box(Executor executor, BoxLimits limits) : executor_(executor), limits_(limits), tasks_(executor) {}
  /// co_await stop() first.
  ~Box();

  std::expected<Share, Refusal> take(Tenant& tenant, std::uint64_t bytes, Need need);
  /// For an instance that runs already: always granted.
  Share adopt(Tenant& tenant, std::uint64_t bytes);
  void forget(Tenant& tenant);
  /// An instance of somebody's is idle from now on: who waits may have its room. Costs nothing while nobody waits.
  void idle() {
    if (waiting_ > 0) serve_soon();
  }
  /// Whether somebody waits for memory who, with one instance more, would hold less for its weight than `tenant` with
  /// `bytes` less: then an instance of `tenant` ends after its request in place of taking the next one.
  bool must_yield(Tenant& tenant, std::uint64_t bytes) const;

  std::uint64_t memory_used() const { return used_; }
  std::uint64_t memory_limit() const { return limits_.memory_bytes; }
  awaitable<void> stop();

 private:
  struct State {
    std::uint64_t held = 0;
    std::uint64_t wanted = 0;  // not 0 while it waits
  };
  Share give(Tenant& tenant, std::uint64_t bytes, bool starting);
  double load(const Tenant& tenant, const State& state) const {
    return static_cast<double>(state.held) / tenant.weight();
  }
  void set_wanted(State& state, std::uint64_t bytes);
  bool is_fairest(Tenant& tenant);
  void evict();
  void serve_soon();
  awaitable<void> serve();

  Executor executor_;
  BoxLimits limits_;
  std::uint64_t used_ = 0;
  std::uint64_t leaving_ = 0;
  int starting_ = 0;
  int waiting_ = 0;  // tenants that do
  std::map<Tenant*, State> tenants_;
  bool serving_ = false;
  TaskGroup tasks_;
};

}  // namespace wick::serving
