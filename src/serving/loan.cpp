#include "wick/serving/loan.hpp"

namespace wick::serving {

// One writer: its own loads need no order. A reader takes a reading again when a change went on meanwhile.

void LoanMeter::change(TimePoint now, int by) {
  using std::memory_order_relaxed;
  const auto turn = turn_.load(memory_order_relaxed);
  turn_.store(turn + 1, memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  const int in_flight = in_flight_.load(memory_order_relaxed);
  area_.store(area_.load(memory_order_relaxed) + in_flight * (now - changed_.load(memory_order_relaxed)),
              memory_order_relaxed);
  changed_.store(now, memory_order_relaxed);
  in_flight_.store(in_flight + by, memory_order_relaxed);
  if (by > 0) requests_.store(requests_.load(memory_order_relaxed) + static_cast<unsigned>(by), memory_order_relaxed);
  turn_.store(turn + 2, std::memory_order_release);
}

LoanMeter::Reading LoanMeter::read(TimePoint now) const {
  using std::memory_order_relaxed;
  while (true) {
    const auto turn = turn_.load(std::memory_order_acquire);
    const auto area = area_.load(memory_order_relaxed);
    Reading reading{.in_flight = in_flight_.load(memory_order_relaxed),
                    .requests = requests_.load(memory_order_relaxed),
                    .changed = changed_.load(memory_order_relaxed)};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (turn % 2 != 0 || turn_.load(memory_order_relaxed) != turn) continue;
    const auto since = std::max(Duration::zero(), now - reading.changed);
    reading.area = std::chrono::duration<double>(area + reading.in_flight * since).count();
    return reading;
  }
}

}  // namespace wick::serving
