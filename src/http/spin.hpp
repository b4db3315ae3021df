// When it pays to look for events a little longer before going to sleep.
//
// A loop that has run out of events looks on for at most `look_limit`, and only while that has been of use lately and
// no task of the machine waits for a core. Every look in vain doubles the number of sleeps that begin without one. Gaps
// with a request in flight (an instance is about to answer) and gaps between requests are judged apart: fast answers to
// a trickle of requests are looked for, the next request is not. A loop without traffic sleeps.
#pragma once

#include "wick/base/time.hpp"
#include "wick/os/fd.hpp"

namespace wick::http {

/// Whether every runnable task of the machine has a core (the running count of proc_loadavg(5)). Asked of the kernel at
/// most once a millisecond.
class SpareCore {
 public:
  SpareCore();
  bool exists(TimePoint now);

 private:
  Fd loadavg_;
  long cores_;
  TimePoint asked_ = TimePoint::min();
  bool exists_ = false;
};

class Spin {
 public:
  static constexpr auto look_limit = std::chrono::microseconds(100);
  static constexpr int skipped_max = 64;

  enum class Gap { between_requests, in_flight };
  /// Events were found without sleeping.
  void found();
  /// Nothing is ready: true to look again, false to sleep.
  bool go_on(Gap gap);

 private:
  struct History {
    int skip = 0;  // sleeps still to begin without a look
    int next_skip = 0;
  };

  SpareCore spare_core_;
  TimePoint looking_since_ = TimePoint::max();  // max: not looking
  Gap gap_ = Gap::between_requests;             // of this look
  History history_[2];
};

}  // namespace wick::http
