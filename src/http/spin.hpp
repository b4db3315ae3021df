// When it pays to look for events a little longer before going to sleep.
//
// A loop that has run out of events looks on for at most `look_limit`, and only while that has been of use lately and
// no task of the machine waits for a core. Every look in vain doubles the number of sleeps that begin without one. So a
// busy connection is answered without waking a core, a trickle of requests costs a look in every 64th gap, and a loop
// without traffic sleeps.
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

  /// Events were found without sleeping.
  void found();
  /// Nothing is ready: true to look again, false to sleep.
  bool go_on();

 private:
  SpareCore spare_core_;
  TimePoint looking_since_ = TimePoint::max();  // max: not looking
  int skip_ = 0;                                // sleeps still to begin without a look
  int next_skip_ = 0;
};

}  // namespace wick::http
