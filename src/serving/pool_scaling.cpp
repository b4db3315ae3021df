// How many instances a pool has: what the autoscaler decides at each tick, and what is made ahead of a predicted
// request (revision_pool.hpp has the states).

#include <algorithm>
#include <boost/asio/post.hpp>
#include <limits>

#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

namespace {

constexpr Duration failures_forgotten_after = 60s;
// So long before a predicted request an instance is made: a start, and a decision's period.
constexpr Duration warm_lead = 5s;

}  // namespace

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

}  // namespace wick::serving
