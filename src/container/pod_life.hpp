// What is done next with the containers of a pod. Pure: pod_instance.cpp tells what has happened and does what it is
// told to do.
//
//   (begin) ──► init 0 ──► init 1 ──► … ──► beside 0, 1, … and main, all at once ──► settled
//                 │ ended badly, or              │ a companion ended: again, after a pause   │ likewise
//                 │ could not start              │ main ended, a companion ended badly for   │ main ended, or
//                 │                              │ the failures_max-th time, no start        │ no start
//                 └──────────────► over ◄────────┴───────────────────────────────────────────┘
//
// 1. An init container starts once, when all before it have ended well; no two of them run at once.
// 2. Main and what runs beside it start when every init container has ended well. Main starts once.
// 3. Once it is over nothing is started.
// 4. What runs is not started again before it has ended.
// 5. What runs beside main is started again whenever and however it ends, after a pause that doubles with each end in a
//    row from restart_first to restart_most. One that ran for settled_after begins a new row.
// 6. Only before the pod settled do failures of a companion end it: they are a start that does not succeed.
#pragma once

#include <cstddef>
#include <vector>

#include "wick/base/time.hpp"

namespace wick::container {

class PodLife {
 public:
  static constexpr Duration restart_first = std::chrono::milliseconds(100);
  static constexpr Duration restart_most = std::chrono::seconds(10);
  static constexpr Duration settled_after = std::chrono::seconds(60);
  static constexpr int failures_max = 3;

  /// Containers are counted through: `init`, then `beside`, then main.
  PodLife(std::size_t init, std::size_t beside) : init_(init), places_(init + beside + 1) {}
  /// One that runs since before us: main does, and these of `beside` do not.
  static PodLife adopted(std::size_t init, std::size_t beside, const std::vector<std::size_t>& down);

  struct Verdict {
    std::vector<std::size_t> start;
    Duration after{0};
    bool over = false;  // and nothing to start
  };
  Verdict begin();
  Verdict ended(std::size_t container, bool well, Duration ran);
  /// Its start failed, before it was a process of its own.
  Verdict not_started(std::size_t container);
  /// Everything runs and main is ready.
  void settle() { settled_ = true; }
  /// Somebody ends it.
  void end() { over_ = true; }

  bool over() const { return over_; }
  std::size_t main() const { return places_.size() - 1; }
  bool is_init(std::size_t container) const { return container < init_; }
  bool is_up(std::size_t container) const { return places_[container].up; }  // told to start, and not ended
  int restarts(std::size_t container) const { return places_[container].restarts; }
  void count_restarts(std::size_t container, int restarts) { places_[container].restarts = restarts; }

 private:
  struct Place {
    bool up = false;
    int ends_in_a_row = 0;
    int failures_in_a_row = 0;
    int restarts = 0;
  };
  Verdict start(std::size_t first, std::size_t last);
  Verdict finish();

  std::size_t init_;
  std::vector<Place> places_;
  bool settled_ = false;
  bool over_ = false;
};

}  // namespace wick::container
