#include "wick/serving/revision_pool.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/system/system_error.hpp>
#include <limits>

#include "liveness.hpp"
#include "request_log.hpp"
#include "wick/base/log.hpp"
#include "wick/contract/plain_http.hpp"
#include "wick/os/deadline.hpp"
#include "wick/serving/readiness.hpp"
#include "wick/serving/start_failure.hpp"

namespace wick::serving {

namespace {

constexpr Duration failures_forgotten_after = 60s;
// So long before a predicted request an instance is made: a start, and a decision's period.
constexpr Duration warm_lead = 5s;
// What an instance is charged for before one was seen to run, and at least: a small program with its kernel memory.
constexpr std::uint64_t memory_charge_unknown = 32 << 20;
constexpr std::uint64_t memory_charge_min = 4 << 20;

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

Error not_starting(const RevisionSpec& spec, const model::Failure& failure) {
  return Error(Errc::not_ready, fmt::format("{} does not start: {}", spec.key.name, failure.because))
      .hint(failure.hint);
}

/// The probe's connection once, then new ones.
awaitable<Result<Fd>> connect(PooledInstance* member) {
  if (member->probe_connection) co_return std::move(member->probe_connection);
  co_return co_await member->instance->connect(member->spec->port);
}

milliseconds elapsed_since(TimePoint then, TimePoint now) {
  return std::chrono::duration_cast<milliseconds>(now - then);
}

void close_kept(http::Upstream& upstream) {
  while (const auto kept = upstream.take_kept()) {
  }
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

// --- how many

int RevisionPool::alive() const { return static_cast<int>(ready_.size() + starting()); }

std::size_t RevisionPool::starting() const {
  return static_cast<std::size_t>(std::ranges::count_if(
      members_, [](const Member& member) { return member->state == PooledInstance::State::starting; }));
}

int RevisionPool::ready_wanted_to_begin() const {
  const auto& scaling = spec_->scaling;
  const int wanted = initial_reached_ ? 1 : std::max(1, scaling.initial_scale);
  return scaling.max_scale > 0 ? std::min(wanted, scaling.max_scale) : wanted;
}

bool RevisionPool::wanted_from_nothing() const {
  return warming_ || !waiting_.empty() || !ensuring_.empty() || (reachable_ && spec_->scaling.min_scale > 0);
}

Observation RevisionPool::observe() const {
  return {.ready = static_cast<int>(ready_.size()),
          .reachable = reachable_,
          .initial_pending = !initial_reached_ && !ensuring_.empty()};
}

bool RevisionPool::starts_keep_failing(TimePoint now) const {
  return failures_ >= options_.start_attempts_max && now < retry_at_ && alive() == 0;
}

/// Starts what is missing: by the last decision, and at once for what waits.
void RevisionPool::scale_up(TimePoint now) {
  if (closed_ || (alive() == 0 && !wanted_from_nothing())) return;
  if (!waiting_.empty())
    desired_ = std::max(desired_, autoscaler_.wanted_for_burst(now, observe(), load_.in_progress()));
  if (!ensuring_.empty()) desired_ = std::max(desired_, ready_wanted_to_begin());
  if (reachable_) desired_ = std::max(desired_, spec_->scaling.min_scale);
  if (now < retry_at_) {
    retry_later();
  } else {
    if (failures_ > 0 && now - last_failed_ > failures_forgotten_after) failures_ = 0;
    for (int missing = std::min(desired_ - alive(), options_.starts_at_once_max - static_cast<int>(starting()));
         missing > 0 && (wake_one() || launch(now)); --missing);
  }
  changed();
}

/// Idle instances first, the ones used least by pick() before the others; then busy ones, which end with their last
/// request.
void RevisionPool::scale_down(int surplus) {
  if (!waiting_.empty()) return;
  for (auto i = ready_.size(); i-- > 0 && surplus > 0;)
    if (ready_[i]->busy() == 0) {
      --surplus;
      if (auto& member = *ready_[i]; member.held > 0) {
        continue;  // it goes when it is given back
      } else if (may_freeze(member) && member.engaged()) {
        call_back(member);  // the next decision finds it returned
      } else if (may_freeze(member)) {
        freeze(member);
      } else {
        retire(member);
      }
    }
  const auto is_busy = [](const auto* member) { return member->busy() > 0; };
  for (; surplus > 0 && std::ranges::any_of(ready_, is_busy); --surplus)
    retire(**std::ranges::min_element(ready_, {}, [](const auto* member) {
      const int busy = member->busy();
      return busy > 0 ? busy : std::numeric_limits<int>::max();
    }));
}

void RevisionPool::retry_later() {
  if (std::exchange(retrying_, true)) return;
  tasks_.spawn("retry " + spec_->key.text(), retry());
}

awaitable<void> RevisionPool::retry() {
  co_await clock_.sleep_until(retry_at_);
  retrying_ = false;
  scale_up(clock_.now());
}

// --- the life of one instance

/// False when the box has no room.
bool RevisionPool::launch(TimePoint now) {
  Box::Share share;
  if (options_.box) {
    const bool needed = !waiting_.empty() || !ensuring_.empty() || alive() < spec_->scaling.min_scale;
    auto taken = options_.box->take(*this, memory_charge(), needed ? Box::Need::work : Box::Need::spare);
    if (!taken) {
      if (needed && taken.error() == Box::Refusal::memory && !box_full_since_) box_full_since_ = now;
      return false;
    }
    share = std::move(*taken);
  }
  box_full_since_.reset();
  auto member = std::make_shared<PooledInstance>();
  member->share = std::move(share);
  if (auto spare = spares_.take()) {
    member->id = spare->id();
    member->instance = std::move(spare);
    member->spare = true;
    member->from = WakeSteps::From::prepared;
  } else {
    member->id = container::InstanceId::random();
  }
  member->launched = now;
  add(std::move(member));
  return true;
}

std::uint64_t RevisionPool::memory_charge() const {
  const auto charge = memory_peak_ > 0 ? std::max(memory_peak_, memory_charge_min) : memory_charge_unknown;
  auto limit = spec_->instance.limits.memory_bytes;
  for (const auto& companion : spec_->instance.beside) limit += companion.limits.memory_bytes;
  return std::min(charge, limit);
}

void RevisionPool::learn(const container::Usage& usage) {
  memory_peak_ = std::max({memory_peak_, usage.memory_peak_bytes, usage.memory_bytes});
}

/// What may be evicted: idle, not needed for min-scale, and nobody here waits for more.
const PooledInstance* RevisionPool::longest_idle_member() const {
  const auto kept = reachable_ ? static_cast<std::size_t>(spec_->scaling.min_scale) : 0;
  if (!waiting_.empty() || !ensuring_.empty()) return nullptr;
  const PooledInstance* longest = nullptr;
  const auto consider = [&](const PooledInstance& member) {
    if (member.busy() == 0 && member.held == 0 && (!longest || member.idle_since < longest->idle_since))
      longest = &member;
  };
  for (const auto& member : members_)
    if (member->state == PooledInstance::State::frozen) consider(*member);
  if (ready_.size() > kept)
    for (const auto* member : ready_) consider(*member);
  return longest;
}

std::optional<TimePoint> RevisionPool::longest_idle() const {
  const auto* member = longest_idle_member();
  return member ? std::optional(member->idle_since) : std::nullopt;
}

void RevisionPool::evict_idle() {
  const auto* longest = longest_idle_member();
  const auto found = std::ranges::find_if(members_, [&](const Member& each) { return each.get() == longest; });
  if (found == members_.end()) return;
  log::info("idle instance gives way", {{"revision", spec_->key.text()}, {"instance", longest->id.text()}});
  if (longest->state == PooledInstance::State::ready) desired_ = std::min(desired_, alive() - 1);
  retire(**found);
}

void RevisionPool::fail_for_want_of_room(TimePoint now) {
  if (!box_full_since_ || now - *box_full_since_ < options_.box_full_limit) return;
  box_full_since_.reset();
  const auto because = fmt::format("no memory is left on this machine for another instance of {}", spec_->key.name);
  if (alive() == 0)
    waiting_.fail_all(Error(Errc::overloaded, because).hint("wick ps lists what runs; give one less, or the box more"));
  settle_ensuring(
      model::Failure{.step = "start", .slug = slug(Errc::overloaded), .because = because, .when = clock_.wall()});
}

/// False when it was of no use and an ordinary launch has to do it.
awaitable<bool> RevisionPool::start_spare(Member member) {
  member->spare = false;
  auto started = co_await member->instance->start();
  if (started) co_return true;
  log::warn("spare instance does not start",
            {{"revision", spec_->key.text()}, {"instance", member->id.text()}, {"error", started.error().what()}});
  member->instance.reset();
  member->from = WakeSteps::From::nothing;
  member->id = container::InstanceId::random();
  co_return false;
}

void RevisionPool::keep_spares(TimePoint used) {
  if (reachable_ && !closed_ && spec_->ladder.spares > 0) spares_.keep(spec_, used);
}

void RevisionPool::adopt(std::shared_ptr<container::Instance> instance) {
  instance->resume(instance_of(*spec_));
  auto member = std::make_shared<PooledInstance>();
  member->id = instance->id();
  member->instance = std::move(instance);
  member->adopted = true;
  if (options_.box) member->share = options_.box->adopt(*this, memory_charge());
  member->launched = clock_.now();
  initial_reached_ = true;
  add(std::move(member));
}

void RevisionPool::add(Member member) {
  member->spec = spec_;
  member->since = clock_.wall();
  members_.push_back(member);
  metrics_.starting.add(1);
  keep_ticking();
  tasks_.spawn(fmt::format("instance {}", member->id.text()), live(std::move(member)));
}

awaitable<void> RevisionPool::live(Member member) {
  struct Forget {
    RevisionPool& pool;
    PooledInstance& member;
    ~Forget() { pool.forget(member); }
  } const forget_at_end{*this, *member};
  const auto& spec = *member->spec;
  const bool started = !member->spare || co_await start_spare(member);
  if (!member->instance || !started) {
    auto wanted = instance_of(spec);
    wanted.id = member->id;
    auto launched = co_await launcher_.launch(std::move(wanted), spec.key.text());
    if (!launched) {
      fail_start(member, launch_failed(launched.error(), elapsed_since(member->launched, clock_.now())));
      co_return;
    }
    member->instance = std::move(*launched);
  }
  member->started = clock_.now();
  if (!member->adopted) member->files = member->spec;
  refresh_files();  // the values may have changed while it started
  if (member->state == PooledInstance::State::starting) {
    auto ready = co_await await_ready(clock_, *member->instance, spec, member->launched);
    if (ready) {
      become_ready(member, std::move(*ready));
    } else {
      fail_start(member, std::move(ready.error()));
    }
  }
  // It may freeze and wake any number of times meanwhile.
  if (member->state == PooledInstance::State::ready) {
    auto failure = co_await end_of_service(member);
    end_while_serving(member, std::move(failure));
  }
  co_await stop_now(member);
}

/// Until it ends by itself or does not answer its liveness probe any more.
awaitable<model::Failure> RevisionPool::end_of_service(Member member) {
  const auto& spec = *member->spec;
  const auto elapsed = [&] { return elapsed_since(member->launched, clock_.now()); };
  std::optional<container::Exit> exit;
  if (spec.liveness) {
    auto awake = [member] { return member->state == PooledInstance::State::ready; };
    auto unhealthy = await_unhealthy(clock_, *member->instance, spec, member->launched, awake);
    auto first = co_await first_of(std::move(unhealthy), member->instance->wait_exit());
    if (const auto* why = std::get_if<0>(&first)) co_return not_alive(*why, elapsed());
    exit = std::get<1>(std::move(first));
  } else {
    exit = co_await member->instance->wait_exit();
  }
  auto usage = co_await member->instance->usage();
  co_return ended_while_serving(*exit, usage.value_or(container::Usage{}), spec, elapsed());
}

awaitable<void> RevisionPool::stop_now(Member member) {
  member->stop_sent = true;
  member->share.leaving();
  if (auto usage = co_await member->instance->usage()) learn(*usage);
  // Nothing is in flight. A server that ends politely waits for its connections to go, so ours go first.
  member->upstream.reset();
  if (member->asleep) member->asleep->cancel();
  co_await member->instance->stop(member->spec->stop_grace);
}

void RevisionPool::become_ready(const Member& member, Fd connection) {
  // Retired while it started: live() goes on to stop it.
  if (member->state != PooledInstance::State::starting) return;
  const auto now = clock_.now();
  member->listening = now;
  member->share.started();
  member->idle_since = now;
  member->start_elapsed = elapsed_since(member->launched, now);
  if (!member->adopted) metrics_.cold_start.observe(std::chrono::duration<double>(now - member->launched).count());
  if (!waiting_.empty()) member->probe_connection = std::move(connection);
  http::Connector connector = [member = member.get()] { return connect(member); };
  member->upstream =
      std::make_unique<http::Upstream>(executor_, clock_, std::move(connector), options_.idle_connections_max,
                                       options_.idle_connection_limit, member->spec->protocol);
  set_state(*member, PooledInstance::State::ready);
  ready_.push_back(member.get());
  lend_to_all(*member);
  ever_ready_ = true;
  failures_ = 0;
  if (crashes_ < 2) retry_at_ = {};
  keep_spares(now);
  const int ready = static_cast<int>(ready_.size());
  if (ready >= spec_->scaling.min_scale) autoscaler_.became_active(now);
  if (member->adopted && ready > 1) autoscaler_.start_in_panic(now, ready);
  desired_ = std::max(desired_, ready);
  log::info(
      "instance ready",
      {{"revision", spec_->key.text()}, {"instance", member->id.text()}, {"start_ms", member->start_elapsed.count()}});
  if (!ensuring_.empty() && ready >= ready_wanted_to_begin()) {
    initial_reached_ = true;
    settle_ensuring(std::nullopt);
  }
  dispatch();
  if (member->in_flight == 0) member->probe_connection.reset();
  if (!waiting_.empty()) scale_up(now);
  changed();
}

void RevisionPool::fail_start(const Member& member, model::Failure failure) {
  if (member->state != PooledInstance::State::starting) return;
  set_state(*member, PooledInstance::State::stopping);
  member->share.started();
  const auto now = clock_.now();
  if (member->instance) failure.last_output = member->instance->log_tail(model::Failure::output_lines_max);
  failure.when = clock_.wall();
  log::warn("instance did not start", {{"revision", spec_->key.text()},
                                       {"instance", member->id.text()},
                                       {"slug", failure.slug},
                                       {"because", failure.because}});
  // Starts that were under way together fail together: they are one attempt.
  if (member->launched > last_failed_) {
    const int doublings = std::min(failures_++, 20);
    last_failed_ = now;
    retry_at_ = now + std::min(options_.start_backoff_max, options_.start_backoff * (1 << doublings));
  }
  last_failure_ = std::move(failure);
  ++failures_seen_;
  settle_ensuring(last_failure_);
  if (alive() == 0 && failures_ >= options_.start_attempts_max) waiting_.fail_all(not_starting(*spec_, *last_failure_));
  scale_up(now);
  changed();
}

void RevisionPool::end_while_serving(const Member& member, model::Failure failure) {
  if (member->state == PooledInstance::State::stopping) return;
  leave_ready(*member);
  set_state(*member, PooledInstance::State::stopping);
  member->stop_sent = true;
  failure.last_output = member->instance->log_tail(model::Failure::output_lines_max);
  failure.when = clock_.wall();
  log::warn("instance ended while serving", {{"revision", spec_->key.text()},
                                             {"instance", member->id.text()},
                                             {"in_flight", member->in_flight},
                                             {"because", failure.because}});
  last_failure_ = std::move(failure);
  ++failures_seen_;
  ++restarts_;
  metrics_.restarts.add();
  // The first one is replaced at once; a program that ends again and again soon after it was ready is not run in a
  // loop.
  const auto now = clock_.now();
  const bool crashed = now - member->launched - member->start_elapsed < options_.settled_after;
  crashes_ = crashed ? crashes_ + 1 : 0;
  if (crashes_ > 1) {
    const auto backoff = options_.start_backoff * (1 << std::min(crashes_ - 2, 20));
    retry_at_ = now + std::min(options_.start_backoff_max, backoff);
  }
  scale_up(now);
  changed();
}

/// No new request; SIGTERM as soon as nothing is in flight. Called again by release() at that moment.
void RevisionPool::retire(PooledInstance& member) {
  if (member.state == PooledInstance::State::ready) leave_ready(member);
  if (member.state != PooledInstance::State::stopping) set_state(member, PooledInstance::State::stopping);
  member.share.leaving();
  if (member.engaged() || (member.held > 0 && !closed_) || member.stop_sent || !member.instance) return;
  member.stop_sent = true;
  const auto found = std::ranges::find_if(members_, [&](const Member& each) { return each.get() == &member; });
  tasks_.spawn(fmt::format("stop {}", member.id.text()), stop_now(*found));
}

void RevisionPool::leave_ready(PooledInstance& member) {
  std::erase(ready_, &member);
  call_back(member);
}

void RevisionPool::forget(PooledInstance& member) {
  leave_ready(member);
  if (member.state != PooledInstance::State::stopping) set_state(member, PooledInstance::State::stopping);
  member.ended = true;
  if (auto waking = std::exchange(member.waking, nullptr)) waking->cancel();
  left_.cancel();
  if (member.engaged()) return;
  metrics_.stopping.add(-1);
  std::erase_if(members_, [&](const Member& each) { return each.get() == &member; });
  changed();
}

void RevisionPool::set_state(PooledInstance& member, PooledInstance::State state) {
  const auto gauge = [&](PooledInstance::State which) -> Gauge& {
    if (which == PooledInstance::State::starting) return metrics_.starting;
    if (which == PooledInstance::State::frozen) return metrics_.frozen;
    return which == PooledInstance::State::ready ? metrics_.ready : metrics_.stopping;
  };
  gauge(member.state).add(-1);
  gauge(state).add(1);
  member.state = state;
}

// --- ticks

bool RevisionPool::idle() const {
  const auto sleeps = [](const Member& member) { return member->state == PooledInstance::State::frozen; };
  return std::ranges::all_of(members_, sleeps) && !wanted_from_nothing();
}

void RevisionPool::keep_ticking() {
  if (ticking_ || closed_ || idle()) return;
  ticking_ = true;
  take_load(clock_.now());
  tasks_.spawn("ticks " + spec_->key.text(), tick_loop());
}

awaitable<void> RevisionPool::tick_loop() {
  // One turn later: whoever made the pool may have instances to give it, and they count towards the minimum.
  co_await asio::post(executor_, use_awaitable);
  if (spec_->scaling.min_scale > 0) scale_up(clock_.now());
  bool decide = false;
  for (auto at = autoscaler_.next_tick(clock_.now()); !closed_ && !idle(); at = autoscaler_.next_tick(clock_.now())) {
    co_await clock_.sleep_until(at);
    tick(at, clock_.now(), decide);
    decide = !decide;
  }
  ticking_ = false;
  desired_ = 0;
  metrics_.desired.set(0);
  if (!closed_ && predicts() && idle_since_)
    if (const auto idle = clock_.now() - *idle_since_; const auto next = idle_times_.next_warm(idle, warm_lead))
      tasks_.spawn("warm ahead " + spec_->key.text(), warm_ahead(++warm_number_, *idle_since_ + *next));
  changed();
}

// --- ahead of a request

bool RevisionPool::predicts() const { return spec_->scaling.keep_warm == Scaling::KeepWarm::predicted; }

/// The first request after nothing was in flight.
void RevisionPool::follow_arrivals(TimePoint now) {
  idle_times_.learn(now - *std::exchange(idle_since_, std::nullopt));
  warming_ = false;
  ++warm_number_;
}

bool RevisionPool::predicted_warm(TimePoint now) const {
  const auto idle = now - *idle_since_;
  return idle_times_.known() ? idle_times_.warm_at(idle, warm_lead) : idle < spec_->scaling.stable_window;
}

/// Makes an instance ready shortly before the next request is likely: the revision's only timer while it is at zero.
awaitable<void> RevisionPool::warm_ahead(std::uint64_t number, TimePoint when) {
  co_await clock_.sleep_until(when);
  if (number != warm_number_ || closed_ || !idle_since_) co_return;
  warming_ = true;
  desired_ = std::max(desired_, 1);
  keep_ticking();
  scale_up(clock_.now());
}

void RevisionPool::tick(TimePoint at, TimePoint now, bool decide) {
  autoscaler_.record(at, take_load(now));
  waiting_.fail_expired(now, Error(Errc::timed_out, "activator request timeout"));
  freeze_idle(now);
  fail_for_want_of_room(now);
  // Instances that several requests share may never be without one.
  if (options_.box && !ready_.empty() && options_.box->must_yield(*this, memory_charge()))
    retire(**std::ranges::min_element(ready_, {}, [](const auto* member) { return member->busy(); }));
  if (!decide || closed_) return;
  const auto decision = autoscaler_.decide(at, observe());
  desired_ = decision.desired;
  if (predicts() && idle_since_) {
    warming_ = predicted_warm(now);
    desired_ = std::max(warming_ ? 1 : 0, reachable_ ? spec_->scaling.min_scale : 0);
  }
  metrics_.desired.set(desired_);
  metrics_.stable_average.set(decision.stable_average);
  metrics_.panic_average.set(decision.panic_average);
  metrics_.target.set(autoscaler_.target_value());
  metrics_.panicking.set(decision.panicking ? 1 : 0);
  metrics_.excess_burst_capacity.set(decision.excess_burst_capacity);
  scale_up(now);
  if (const int surplus = alive() - desired_; surplus > 0) scale_down(surplus);
  changed();
}

void RevisionPool::changed() {
  const Seen seen{ready_.size(), desired_, failures_seen_};
  if (seen == reported_) return;
  reported_ = seen;
  if (on_change_) on_change_();
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
