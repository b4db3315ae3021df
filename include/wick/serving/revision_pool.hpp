// One revision's instances and the requests that wait for one: activator queue, leases, starts, stops, and the
// autoscaler's ticks.
//
//   launch(), adopt()         become_ready()        retire()              forget()
//   ───────────────► starting ──────────────► ready ──────────► stopping ─────────► gone
//                       │ fail_start()          │ end_while_serving()  ▲
//                       │                       │ ▲                    ▲
//                       │               freeze()│ │wake()              │
//                       │                       ▼ │ (as starting)      │ sleep(): frozen_for is over, evicted
//                       │                      frozen ─────────────────┤
//                       └──────────────────────────────────────────────┘
//
// launch() takes a spare (spares.hpp) where there is one: then starting is a write to a fifo.
//
// Invariants
//  1. in_flight > 0 only for an instance that is or was ready. An instance stays in `members_` while it has leases.
//  2. New leases come only from `ready_`; an instance leaves it for good when it is retired or ends.
//  3. A request waits only while no ready instance has a free slot. So nobody overtakes: whoever makes a slot free
//  gives it to the
//     first waiter before anybody else can ask (dispatch()).
//  4. At most `queue_limit` requests wait.
//  5. With containerConcurrency N, in_flight of an instance never exceeds N.
//  6. From nothing, an instance is started only for a reason that still holds: a waiting request, ensure_ready(),
//  min-scale.
//  7. SIGTERM is sent only at in_flight 0 (or by stop_all()).
//  8. Nothing is launched without a share of the box.
//  9. Ticks run only while there are instances that are not frozen, waiters or a min-scale: a revision at zero costs no
//  timer but the ones that end its sleepers.
//  10. A frozen instance has no request in flight, is no part of desired or ready, and is woken before another is
//  launched.
//  11. An instance that is held is not frozen, and not sent SIGTERM unless its revision is removed.
//  12. Only ready instances are on loan; one that leaves `ready_` has its loans called back, and until they are
//  returned it counts as if a request were in flight.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/container/launcher.hpp"
#include "wick/model/failure.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"
#include "wick/serving/autoscaler.hpp"
#include "wick/serving/instance_hold.hpp"
#include "wick/serving/keep_warm.hpp"
#include "wick/serving/lease.hpp"
#include "wick/serving/serving.hpp"
#include "wick/serving/sleep_budget.hpp"
#include "wick/serving/spares.hpp"
#include "wick/serving/wait_queue.hpp"

namespace wick::serving {

struct PoolOptions {
  std::size_t queue_limit = 10'000;
  int start_attempts_max = 3;              // failed starts in a row until waiting requests are told
  milliseconds start_backoff{100};         // doubles with each failure in a row …
  milliseconds start_backoff_max{10'000};  // … up to this
  milliseconds settled_after{60'000};      // an instance that served so long and ended is no crash loop
  int starts_at_once_max = 32;             // the others are started as these get ready
  // Kept to each instance, a minute each: fewer than a burst uses cost a connect a request.
  std::size_t idle_connections_max = 1024;
  milliseconds idle_connection_limit{60'000};
  SleepBudget* budget = nullptr;        // none: nothing is frozen or made ahead
  Box* box = nullptr;                   // asked for room before each launch; nullptr: there is always room
  milliseconds box_full_limit{10'000};  // requests wait so long for room in a full box: 503
};

struct PoolMetrics {
  PoolMetrics(Metrics& metrics, const RevisionSpec& spec);
  Gauge& queue_depth;
  Histogram& queue_wait;
  Histogram& cold_start;
  Gauge& starting;
  Gauge& ready;
  Gauge& frozen;
  Gauge& stopping;
  Gauge& spare;
  Gauge& desired;
  Gauge& stable_average;
  Gauge& panic_average;
  Gauge& target;
  Gauge& panicking;
  Gauge& excess_burst_capacity;
  Counter& restarts;
};

class RevisionPool final : private Box::Tenant {
 public:
  /// `changed` is called when ready, desired or the last failure changed; it must not call back into the pool.
  RevisionPool(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics, RevisionSpec spec,
               PoolOptions options, std::function<void()> changed);
  RevisionPool(const RevisionPool&) = delete;
  ~RevisionPool();

  /// A slot on a ready instance, now; empty when the request has to wait.
  Lease try_acquire(TimePoint now);
  /// Waits for a slot, first come first served; starts what the formulas want for it.
  /// Errors: overloaded (queue full, box full), timed_out at `deadline` (checked once a second), not_ready (starts keep
  /// failing), unavailable (the revision was removed). Cancelling gives up the place; a starting instance stays for the
  /// next caller.
  awaitable<Result<Lease>> acquire(TimePoint now, TimePoint deadline);
  /// As Serving::ensure_ready.
  awaitable<std::expected<void, model::Failure>> ensure_ready();
  void adopt(std::shared_ptr<container::Instance> instance);
  /// Borrowers may start requests by themselves: nothing but load depends on each.
  bool lends_freely() const { return spec_->container_concurrency == 0 && !predicts(); }
  /// Lends `borrower` every ready instance, now and as they come; again after none was ready for a while.
  void lend(Borrower& borrower);
  /// The loan to `borrower` of the instance that `lease` is of; one that need not be returned when it is to go.
  LoanPtr loan_of(const Lease& lease, const Borrower& borrower);
  /// Nothing of it is in flight with the borrower any more.
  void returned(const LoanPtr& loan);
  /// Lends it nothing more, and calls back what it has.
  void forget(const Borrower& borrower);

  /// As Serving::hold; `owner` keeps this pool.
  awaitable<Result<InstanceHold>> hold(container::InstanceId id, std::string container, std::shared_ptr<void> owner);

  void set_spec(RevisionSpec spec);
  const RevisionSpec& spec() const { return *spec_; }
  std::shared_ptr<const RevisionSpec> shared_spec() const { return spec_; }
  /// Whether some route names the revision.
  void set_reachable(bool reachable);
  RevisionView view() const;
  bool has_ready() const { return !ready_.empty(); }
  std::size_t starting() const;

  /// Fails what waits, lets leases end, stops every instance when its last lease is back.
  awaitable<void> drain();
  /// Fails what waits, lets leases end; the instances go on running.
  awaitable<void> leave();
  /// leave() but for the leases: after this the launcher is asked nothing, and leave() waits for them.
  awaitable<void> let_go();
  std::size_t waiting() const { return waiting_.size(); }
  /// Of each instance that has requests in flight.
  void count_in_flight(std::map<container::InstanceId, int>& counts) const;
  /// A lease of an adopted instance, which may not be ready yet, for a request of an earlier process. Empty: no such
  /// instance is in this pool.
  Lease lease_elsewhere(const container::InstanceId& id, TimePoint now);

 private:
  friend class Lease;
  using Member = std::shared_ptr<PooledInstance>;
  struct Counted;
  struct EnsureWaiter;

  void release(PooledInstance& member, TimePoint now);
  PooledInstance* pick();
  Lease lease(PooledInstance& member);
  void refuse_waiting();
  void dispatch();
  void settle_ensuring(const std::optional<model::Failure>& failure);
  bool starts_keep_failing(TimePoint now) const;

  bool wanted_from_nothing() const;
  int ready_wanted_to_begin() const;
  int alive() const;
  void lend(PooledInstance& member, Borrower& borrower);
  void lend_to_all(PooledInstance& member);
  void call_back(PooledInstance& member);
  Load take_load(TimePoint now);
  void count_loan(Lent& lent, TimePoint now);
  int requests_in_flight() const;
  void settle(PooledInstance& member);
  Observation observe() const;
  void scale_up(TimePoint now);
  void scale_down(int surplus);
  awaitable<bool> start_spare(Member member);
  void keep_spares(TimePoint used);

  bool may_freeze(const PooledInstance& member) const;
  void freeze_idle(TimePoint now);
  void freeze(PooledInstance& member);
  bool wake_one();
  void wake(PooledInstance& member);
  void give_back(PooledInstance& member);
  awaitable<void> sleep(Member member);
  void rejoin(const Member& member);
  Member shared(const PooledInstance& member) const;
  bool has_old_files(const PooledInstance& member) const;
  void refresh_files();
  awaitable<void> refresh_files(Member member);
  bool launch(TimePoint now);
  std::uint64_t memory_charge() const;
  void learn(const container::Usage& usage);
  void fail_for_want_of_room(TimePoint now);
  const PooledInstance* longest_idle_member() const;
  double weight() const override { return spec_->weight; }
  std::optional<TimePoint> longest_idle() const override;
  void evict_idle() override;
  void room_freed() override { scale_up(clock_.now()); }
  void add(Member member);
  void retry_later();
  awaitable<void> retry();
  awaitable<void> live(Member member);
  awaitable<void> stop_now(Member member);
  void become_ready(const Member& member, Fd connection);
  void fail_start(const Member& member, model::Failure failure);
  void end_while_serving(const Member& member, model::Failure failure);
  awaitable<model::Failure> end_of_service(Member member);
  void follow_arrivals(TimePoint now);
  bool predicts() const;
  bool predicted_warm(TimePoint now) const;
  awaitable<void> warm_ahead(std::uint64_t number, TimePoint when);
  void retire(PooledInstance& member);
  void forget(PooledInstance& member);
  void leave_ready(PooledInstance& member);
  void set_state(PooledInstance& member, PooledInstance::State state);

  void keep_ticking();
  bool idle() const;
  awaitable<void> tick_loop();
  void tick(TimePoint at, TimePoint now, bool decide);
  void changed();

  Executor executor_;
  Clock& clock_;
  container::Launcher& launcher_;
  PoolMetrics metrics_;
  std::shared_ptr<const RevisionSpec> spec_;
  PoolOptions options_;
  std::function<void()> on_change_;

  Spares spares_;
  TimePoint quiet_since_{};  // no request in progress since then

  Autoscaler autoscaler_;
  LoadMeter load_;
  int desired_ = 0;
  bool reachable_ = true;
  bool ever_ready_ = false;
  bool initial_reached_ = false;  // initial-scale instances were ready at once, or it ran before we did

  std::vector<Borrower*> borrowers_;
  TimePoint load_taken_{};
  double lent_area_ = 0;  // what loans add to the load since then: requests in flight × seconds …
  double lent_requests_ = 0;

  std::list<Member> members_;
  std::vector<PooledInstance*> ready_;
  std::size_t next_ = 0;               // round robin
  std::uint32_t random_ = 2463534242;  // xorshift
  WaitQueue waiting_;
  std::list<EnsureWaiter*> ensuring_;

  int failures_ = 0;  // starts that failed since one succeeded; those begun together count once
  TimePoint last_failed_{};
  TimePoint retry_at_{};
  bool retrying_ = false;
  std::optional<model::Failure> last_failure_;
  struct Seen {
    std::size_t ready = 0;
    int desired = 0;
    std::size_t failures = 0;
    bool operator==(const Seen&) const = default;
  };
  Seen reported_;
  std::size_t failures_seen_ = 0;

  int crashes_ = 0;   // instances in a row that ended soon after they were ready
  int restarts_ = 0;  // ended while serving, ever

  IdleTimes idle_times_;                 // KeepWarm::predicted
  std::optional<TimePoint> idle_since_;  // while nothing is in flight
  bool warming_ = false;                 // an instance is wanted ahead of a request
  std::uint64_t warm_number_ = 0;        // of the timer that counts

  std::optional<TimePoint> box_full_since_;  // no launch was granted since
  std::uint64_t memory_peak_ = 0;            // the most an instance was seen to use

  bool ticking_ = false;
  bool closed_ = false;
  bool let_go_ = false;
  asio::steady_timer left_;  // woken when a lease or a member went while closed
  TaskGroup tasks_;
};

}  // namespace wick::serving
