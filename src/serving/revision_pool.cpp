#include "wick/serving/revision_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "pool_parts.hpp"
#include "request_log.hpp"
#include "wick/serving/readiness.hpp"

namespace wick::serving {

namespace {

std::string_view to_string(PooledInstance::State state) {
  switch (state) {
    case PooledInstance::State::starting:
      return "starting";
    case PooledInstance::State::ready:
      return "ready";
    case PooledInstance::State::frozen:
      return "frozen";
    case PooledInstance::State::stopping:
      return "stopping";
  }
  return "stopping";
}

Labels labels_of(const RevisionSpec& spec, std::string_view state) {
  auto labels = labels_of(spec);
  labels.emplace_back("state", state);
  return labels;
}

}  // namespace

PoolMetrics::PoolMetrics(Metrics& metrics, const RevisionSpec& spec)
    : queue_depth(metrics.gauge("wick_queue_depth", "Requests waiting for an instance.", labels_of(spec))),
      queue_wait(metrics.histogram("wick_queue_wait_seconds",
                                   "Time requests waited for an instance, those that waited.", labels_of(spec))),
      cold_start(metrics.histogram("wick_cold_start_seconds", "Time from launch to ready.", labels_of(spec))),
      starting(metrics.gauge("wick_instances", "Instances by state.", labels_of(spec, "starting"))),
      ready(metrics.gauge("wick_instances", "Instances by state.", labels_of(spec, "ready"))),
      frozen(metrics.gauge("wick_instances", "Instances by state.", labels_of(spec, "frozen"))),
      stopping(metrics.gauge("wick_instances", "Instances by state.", labels_of(spec, "stopping"))),
      spare(metrics.gauge("wick_instances", "Instances by state.", labels_of(spec, "spare"))),
      desired(metrics.gauge("wick_autoscaler_desired_instances", "What the last decision wants.", labels_of(spec))),
      stable_average(metrics.gauge("wick_autoscaler_stable_load",
                                   "The metric's average a second over the stable window.", labels_of(spec))),
      panic_average(metrics.gauge("wick_autoscaler_panic_load", "The metric's average a second over the panic window.",
                                  labels_of(spec))),
      target(metrics.gauge("wick_autoscaler_target_load", "What one instance is to carry.", labels_of(spec))),
      panicking(metrics.gauge("wick_autoscaler_panic_mode", "1 while in panic mode.", labels_of(spec))),
      excess_burst_capacity(metrics.gauge("wick_autoscaler_excess_burst_capacity",
                                          "Spare capacity beyond target-burst-capacity.", labels_of(spec))),
      restarts(metrics.counter("wick_instance_restarts_total", "Instances that ended while they served.",
                               labels_of(spec))) {}

Lease& Lease::operator=(Lease&& other) noexcept {
  if (this != &other) {
    reset();
    pool_ = std::exchange(other.pool_, nullptr);
    member_ = other.member_;
  }
  return *this;
}

void Lease::reset() {
  if (pool_) reset(pool_->clock_.now());
}

void Lease::reset(TimePoint now) {
  if (auto* pool = std::exchange(pool_, nullptr)) pool->release(*member_, now);
}

Fd Lease::take_connection() {
  if (member_->probe_connection) return std::move(member_->probe_connection);
  return member_->upstream->take_kept();
}

WakeSteps Lease::wake_steps(TimePoint arrived, TimePoint asked, TimePoint now) const {
  const auto since = [&](TimePoint when) {
    return std::max(std::chrono::microseconds(0),
                    std::chrono::duration_cast<std::chrono::microseconds>(when - arrived));
  };
  return {.from = member_->launched < arrived ? WakeSteps::From::other : member_->from,
          .queued = since(asked),
          .woken = since(member_->launched),
          .started = since(member_->started),
          .listening = since(member_->listening),
          .leased = since(now)};
}

/// A waiting request counts as load; once it has a lease, that counts for it.
struct RevisionPool::Counted {
  Counted(RevisionPool& pool, TimePoint now) : pool(pool) { pool.load_.change(now, +1); }
  ~Counted() {
    if (!leased) pool.load_.change(pool.clock_.now(), -1);
  }
  RevisionPool& pool;
  bool leased = false;
};

struct RevisionPool::EnsureWaiter {
  explicit EnsureWaiter(Executor executor, std::list<EnsureWaiter*>& list)
      : woken(executor, asio::steady_timer::time_point::max()), list(list), at(list.insert(list.end(), this)) {}
  ~EnsureWaiter() {
    if (!outcome) list.erase(at);
  }
  asio::steady_timer woken;
  std::list<EnsureWaiter*>& list;
  std::list<EnsureWaiter*>::iterator at;
  std::optional<std::expected<void, model::Failure>> outcome;
};

RevisionPool::RevisionPool(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics,
                           RevisionSpec spec, PoolOptions options, std::function<void()> changed)
    : executor_(executor),
      clock_(clock),
      launcher_(launcher),
      metrics_(metrics, spec),
      spec_(std::make_shared<const RevisionSpec>(std::move(spec))),
      options_(options),
      on_change_(std::move(changed)),
      spares_(executor, clock, launcher, options.budget, metrics_.spare),
      quiet_since_(clock.now()),
      autoscaler_(spec_->scaling, spec_->container_concurrency, clock.now()),
      load_(clock.now()),
      waiting_(executor, metrics_.queue_depth),
      left_(executor, asio::steady_timer::time_point::max()),
      tasks_(executor) {
  keep_ticking();
  if (spec_->was_ready) keep_spares(clock.now());
}

RevisionPool::~RevisionPool() {
  members_.clear();  // their shares go before the tenant does
  if (options_.box) options_.box->forget(*this);
}

// --- requests

Lease RevisionPool::try_acquire(TimePoint now) {
  if (closed_) return {};
  auto* member = pick();
  if (!member) return {};
  if (idle_since_) follow_arrivals(now);
  load_.change(now, +1);
  return lease(*member);
}

awaitable<Result<Lease>> RevisionPool::acquire(TimePoint now, TimePoint deadline) {
  if (auto free = try_acquire(now)) co_return std::move(free);
  if (closed_) co_return fail(Errc::unavailable, fmt::format("{} is going away", spec_->key.name));
  if (waiting_.size() >= options_.queue_limit) co_return fail(Errc::overloaded, "pending request queue full");
  if (starts_keep_failing(now)) co_return fail(not_starting(*spec_, *last_failure_));
  if (idle_since_) follow_arrivals(now);
  Counted counted(*this, now);
  WaitQueue::Place place(waiting_, deadline);
  keep_ticking();
  scale_up(now);
  auto outcome = co_await place.outcome();
  metrics_.queue_wait.observe(std::chrono::duration<double>(clock_.now() - now).count());
  if (outcome) counted.leased = true;
  co_return outcome;
}

/// Knative's rule (serving.md 3.6): no limit: the less loaded of two at random; up to 3: the first with room; more: in
/// turn.
PooledInstance* RevisionPool::pick() {
  const auto count = ready_.size();
  if (count == 0) return nullptr;
  const int limit = spec_->container_concurrency;
  if (limit <= 0) {
    if (count == 1) return ready_[0];
    random_ ^= random_ << 13, random_ ^= random_ >> 17, random_ ^= random_ << 5;
    const auto a = random_ % count;
    const auto b = (a + 1 + (random_ >> 16) % (count - 1)) % count;
    return ready_[a]->busy() <= ready_[b]->busy() ? ready_[a] : ready_[b];
  }
  if (limit > 3) {
    for (std::size_t i = 0; i < count; ++i) {
      auto* member = ready_[next_++ % count];
      if (member->in_flight < limit) return member;
    }
    return nullptr;
  }
  const auto found = std::ranges::find_if(ready_, [&](const auto* member) { return member->in_flight < limit; });
  return found == ready_.end() ? nullptr : *found;
}

Lease RevisionPool::lease(PooledInstance& member) {
  ++member.in_flight;
  return Lease(*this, member);
}

void RevisionPool::dispatch() {
  while (!waiting_.empty()) {
    auto* member = pick();
    if (!member) return;
    waiting_.give(lease(*member));
  }
}

void RevisionPool::release(PooledInstance& member, TimePoint now) {
  --member.in_flight;
  member.idle_since = now;
  load_.change(now, -1);
  quiet_since_ = now;
  if (predicts() && load_.current() == 0) idle_since_ = now;
  if (closed_) {
    left_.cancel();
    if (member.upstream) close_kept(*member.upstream);
  }
  if (member.state == PooledInstance::State::starting) return;  // adopted: the lease was for elsewhere
  if (member.state == PooledInstance::State::ready) {
    if (member.in_flight == 0 && options_.box && options_.box->must_yield(*this, memory_charge()))
      return retire(member);
    dispatch();
    if (member.in_flight == 0 && options_.box) options_.box->idle();
    return;
  }
  settle(member);
}

/// One that takes no more requests: it goes when nothing is left that may use it.
void RevisionPool::settle(PooledInstance& member) {
  if (member.engaged()) return;
  if (member.ended) {
    forget(member);
  } else {
    retire(member);
  }
}

awaitable<std::expected<void, model::Failure>> RevisionPool::ensure_ready() {
  if (static_cast<int>(ready_.size()) >= ready_wanted_to_begin()) co_return std::expected<void, model::Failure>{};
  if (closed_) {
    model::Failure removed{.step = "start", .slug = slug(Errc::unavailable), .because = "the revision was removed"};
    co_return std::unexpected(std::move(removed));
  }
  EnsureWaiter me(executor_, ensuring_);
  retry_at_ = {};  // somebody asks to see it start now
  keep_ticking();
  scale_up(clock_.now());
  if (!me.outcome) co_await me.woken.async_wait(asio::as_tuple(use_awaitable));
  if (!me.outcome) throw boost::system::system_error(asio::error::operation_aborted);
  co_return std::move(*me.outcome);
}

void RevisionPool::settle_ensuring(const std::optional<model::Failure>& failure) {
  using Outcome = std::expected<void, model::Failure>;
  for (auto* waiter : std::exchange(ensuring_, {})) {
    waiter->outcome = failure ? Outcome(std::unexpected(*failure)) : Outcome();
    waiter->woken.cancel();
  }
}

// --- settings, view, end

void RevisionPool::set_reachable(bool reachable) {
  reachable_ = reachable;
  keep_ticking();
  if (!reachable) spares_.drop();
  if (ever_ready_ || spec_->was_ready) keep_spares(quiet_since_);
}

void RevisionPool::set_spec(RevisionSpec spec) {
  const bool rescale = !(spec.scaling == spec_->scaling) || spec.container_concurrency != spec_->container_concurrency;
  spec_ = std::make_shared<const RevisionSpec>(std::move(spec));
  for (auto* member : ready_) call_back(*member);  // lent again with the new settings
  if (rescale) {
    autoscaler_ = Autoscaler(spec_->scaling, spec_->container_concurrency, clock_.now());
    if (!ready_.empty()) autoscaler_.became_active(clock_.now());
  }
  refresh_files();
  keep_ticking();
  if (spec_->ladder.spares == 0) spares_.drop();
  if (ever_ready_ || spec_->was_ready) keep_spares(quiet_since_);
  dispatch();
}

RevisionView RevisionPool::view() const {
  RevisionView view{.key = spec_->key,
                    .desired = desired_,
                    .ready = static_cast<int>(ready_.size()),
                    .starting = static_cast<int>(starting()),
                    .queued = waiting_.size(),
                    .last_failure = last_failure_,
                    .ever_ready = ever_ready_,
                    .restarts = restarts_};
  for (const auto& member : members_)
    view.instances.push_back(
        {.id = member->id,
         .pid = member->instance ? member->instance->pid() : 0,
         .state = std::string(to_string(member->state)),
         .in_flight = member->busy(),
         .since = member->since,
         .start_elapsed = member->start_elapsed,
         .containers = member->instance ? member->instance->containers() : std::vector<container::ContainerView>{}});
  return view;
}

awaitable<void> RevisionPool::drain() {
  closed_ = true;
  // From here on no instance is added to the pool.
  waiting_.fail_all(Error(Errc::unavailable, fmt::format("{} was removed", spec_->key.name)));
  settle_ensuring(
      model::Failure{.step = "start", .slug = slug(Errc::unavailable), .because = "the revision was removed"});
  for (const auto& member : std::list<Member>(members_)) retire(*member);
  co_await spares_.stop();
  while (!members_.empty()) co_await left_.async_wait(asio::as_tuple(use_awaitable));
  co_await tasks_.stop();
}

void RevisionPool::refuse_waiting() {
  closed_ = true;
  waiting_.fail_all(Error(Errc::unavailable, "the server is stopping"));
  settle_ensuring(
      model::Failure{.step = "start", .slug = slug(Errc::unavailable), .because = "the server is stopping"});
}

awaitable<void> RevisionPool::let_go() {
  refuse_waiting();
  let_go_ = true;
  co_await spares_.stop();
  co_await tasks_.stop();  // what nobody uses is forgotten here
  // A program that serves one connection at a time shall not wait for one of ours that is idle.
  for (const auto& member : members_)
    if (member->upstream) close_kept(*member->upstream);
}

void RevisionPool::count_in_flight(std::map<container::InstanceId, int>& counts) const {
  for (const auto& member : members_)
    if (const int busy = member->busy(); busy > 0) counts[member->id] += busy;
}

Lease RevisionPool::lease_elsewhere(const container::InstanceId& id, TimePoint now) {
  const auto found = std::ranges::find(members_, id, &PooledInstance::id);
  if (closed_ || found == members_.end()) return {};
  load_.change(now, +1);
  return lease(**found);
}

awaitable<void> RevisionPool::leave() {
  refuse_waiting();
  const auto engaged = [](const Member& member) { return member->engaged(); };
  while (std::ranges::any_of(members_, engaged)) co_await left_.async_wait(asio::as_tuple(use_awaitable));
  if (let_go_) co_return;
  co_await spares_.stop();  // the next daemon knows nothing of them
  co_await tasks_.stop();
}

}  // namespace wick::serving
