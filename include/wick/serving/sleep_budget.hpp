// The memory that sleeping instances (frozen, parked, prepared) of the whole box may take together. The least recently
// used ones go when there is no room.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <utility>

#include "wick/os/clock.hpp"
#include "wick/os/loop.hpp"
#include "wick/os/slots.hpp"

namespace wick::serving {

class SleepBudget {
  struct Sleeper {
    std::uint64_t bytes = 0;
    TimePoint used{};
    std::function<void()> evict;
  };
  using Sleepers = std::list<Sleeper>;

 public:
  /// What a sleeper costs at least, whatever its cgroup says: page tables, namespaces and the like.
  static constexpr std::uint64_t sleeper_bytes_min = 1 << 20;
  /// Spares that are made at once, box-wide: they must not take the processors from what is awake.
  static constexpr std::size_t preparing_max = 2;

  explicit SleepBudget(Executor executor, std::uint64_t bytes_max)
      : bytes_max_(bytes_max), preparing_(executor, preparing_max, 100'000) {}

  /// Some bytes of the budget; given back by the destructor. Must not outlive the budget.
  class Place {
   public:
    Place() = default;
    Place(Place&& other) noexcept : budget_(std::exchange(other.budget_, nullptr)), at_(other.at_) {}
    Place& operator=(Place&& other) noexcept;
    ~Place() { reset(); }
    void reset();
    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend class SleepBudget;
    Place(SleepBudget& budget, Sleepers::iterator at) : budget_(&budget), at_(at) {}
    SleepBudget* budget_ = nullptr;
    Sleepers::iterator at_;
  };

  /// Takes `bytes` for one whose service was last used at `used`. Where there is no room, `evict` of the least recently
  /// used is called (perhaps this one's own): its bytes no longer count, and its owner ends it soon. `evict` must not
  /// call back into the budget.
  Place add(std::uint64_t bytes, TimePoint used, std::function<void()> evict);

  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t bytes_max() const { return bytes_max_; }
  /// To hold while a spare is made.
  awaitable<Result<Slots::Slot>> turn_to_prepare() { return preparing_.acquire(); }

 private:
  std::uint64_t bytes_max_;
  std::uint64_t bytes_ = 0;
  Sleepers sleepers_;
  Slots preparing_;
};

}  // namespace wick::serving
