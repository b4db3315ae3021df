// One instance as its pool keeps it, and the right to send it one request.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <utility>
#include <vector>

#include "wick/container/launcher.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/loop.hpp"
#include "wick/serving/box.hpp"
#include "wick/serving/loan.hpp"
#include "wick/serving/revision.hpp"
#include "wick/serving/serving.hpp"

namespace wick::serving {

class RevisionPool;

/// An instance's loan as its pool keeps it.
struct Lent {
  Borrower* to;
  LoanPtr loan;
  LoanMeter::Reading counted;  // what the pool's load has of it already
  bool called_back = false;
};

/// Only the pool changes it; the states are drawn in revision_pool.hpp.
struct PooledInstance {
  enum class State { starting, ready, frozen, stopping };
  State state = State::starting;
  container::InstanceId id;
  std::shared_ptr<const RevisionSpec> spec;       // what it was launched with
  std::shared_ptr<container::Instance> instance;  // empty until launched
  std::shared_ptr<const RevisionSpec> files;      // whose files its volumes hold; empty: not known
  bool refreshing = false;                        // they are brought to the pool's spec
  std::unique_ptr<http::Upstream> upstream;       // from ready on
  Fd probe_connection;                            // the probe's, for the first request
  int in_flight = 0;                              // leases
  std::vector<Lent> loans;                        // to other loops (loan.hpp)
  int held = 0;                                   // by InstanceHolds
  TimePoint launched{};                           // its start, or its last wake, began
  TimePoint started{};                            // it was exec'd or thawed
  TimePoint listening{};                          // its port was seen open
  WakeSteps::From from = WakeSteps::From::nothing;
  Box::Share share;        // of the box
  TimePoint idle_since{};  // while in_flight is 0
  WallTime since{};
  milliseconds start_elapsed{0};
  bool adopted = false;
  bool stop_sent = false;
  bool spare = false;                          // `instance` was made ahead and waits for its start
  std::shared_ptr<asio::steady_timer> asleep;  // while it is frozen; cancelled when that is over
  std::shared_ptr<asio::steady_timer> waking;  // of who waits until it is awake; cancelled then
  bool ended = false;                          // nothing is left of it; kept only for its leases and loans

  /// Requests in flight, those of other loops included.
  int busy() const {
    int all = in_flight;
    for (const auto& each : loans) all += each.loan->meter.in_flight();
    return all;
  }
  /// Somebody may send it a request, or waits for an answer.
  bool engaged() const { return in_flight > 0 || !loans.empty(); }
};

/// Given back by the destructor; must not outlive the pool.
class Lease {
 public:
  Lease() = default;
  Lease(Lease&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), member_(other.member_) {}
  Lease& operator=(Lease&& other) noexcept;
  ~Lease() { reset(); }
  void reset();
  /// The same for who has just asked the clock.
  void reset(TimePoint now);
  explicit operator bool() const { return pool_ != nullptr; }

  http::Upstream& upstream() const { return *member_->upstream; }
  /// A connection to the instance that waits for a request, if there is one: for a request that goes another way.
  Fd take_connection();
  const container::InstanceId& instance() const { return member_->id; }
  /// Of a request that arrived at `arrived`, asked at `asked` and has this lease since `now`.
  WakeSteps wake_steps(TimePoint arrived, TimePoint asked, TimePoint now) const;

 private:
  friend class RevisionPool;
  Lease(RevisionPool& pool, PooledInstance& member) : pool_(&pool), member_(&member) {}
  RevisionPool* pool_ = nullptr;
  PooledInstance* member_ = nullptr;
};

}  // namespace wick::serving
