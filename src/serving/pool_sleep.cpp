// The frozen rung of a pool: who goes to sleep, and what wakes them (revision_pool.hpp has the states).
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>

#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

bool RevisionPool::may_freeze(const PooledInstance& member) const {
  return spec_->ladder.freeze_after > milliseconds(0) && options_.budget && reachable_ && !closed_ &&
         member.state == PooledInstance::State::ready && member.in_flight == 0;
}

/// Once there was no request for long enough, all but the minimum sleep.
void RevisionPool::freeze_idle(TimePoint now) {
  const auto& ladder = spec_->ladder;
  if (ladder.freeze_after <= milliseconds(0) || load_.current() > 0 || now - quiet_since_ < ladder.freeze_after) return;
  const auto awake = static_cast<std::size_t>(std::max(0, spec_->scaling.min_scale));
  for (auto i = ready_.size(); i-- > awake;)
    if (may_freeze(*ready_[i])) freeze(*ready_[i]);
}

RevisionPool::Member RevisionPool::shared(const PooledInstance& member) const {
  const auto found = std::ranges::find_if(members_, [&](const Member& each) { return each.get() == &member; });
  return found == members_.end() ? nullptr : *found;
}

void RevisionPool::freeze(PooledInstance& member) {
  leave_ready(member);
  set_state(member, PooledInstance::State::frozen);
  member.asleep = std::make_shared<asio::steady_timer>(executor_, asio::steady_timer::time_point::max());
  tasks_.spawn(fmt::format("sleep {}", member.id.text()), sleep(shared(member)));
  changed();
}

/// True when a frozen one is on its way to be ready.
bool RevisionPool::wake_one() {
  const auto frozen = std::ranges::find_if(
      members_, [](const Member& member) { return member->state == PooledInstance::State::frozen; });
  if (frozen == members_.end()) return false;
  set_state(**frozen, PooledInstance::State::starting);
  (*frozen)->launched = clock_.now();
  (*frozen)->from = WakeSteps::From::frozen;
  (*frozen)->asleep->cancel();
  return true;
}

awaitable<void> RevisionPool::sleep(Member member) {
  using State = PooledInstance::State;
  const auto woken = member->asleep;
  auto frozen = co_await member->instance->freeze();
  if (!frozen) {
    log::warn("instance does not freeze", {{"instance", member->id.text()}, {"error", frozen.error().what()}});
    if (member->state == State::frozen) retire(*member);
  } else if (member->state == State::frozen) {
    auto usage = co_await member->instance->usage();
    const auto evicted = std::make_shared<bool>(false);
    const auto place = options_.budget->add(usage ? usage->memory_bytes : 0, quiet_since_, [evicted, woken] {
      *evicted = true;
      woken->cancel();
    });
    auto waited = [](std::shared_ptr<asio::steady_timer> timer) -> awaitable<void> {
      co_await timer->async_wait(asio::as_tuple(use_awaitable));
    };
    try {
      auto waiting = waited(woken);
      if (member->state == State::frozen && !*evicted)
        co_await with_deadline(clock_, spec_->ladder.frozen_for, std::move(waiting));
    } catch (const DeadlineExceeded&) {
      // It slept long enough.
    }
    if (closed_) co_return;  // drain() stops it, leave() leaves it to the next daemon
    if (member->state == State::frozen && !member->instance->ended()) retire(*member);
  }
  if (member->state != State::starting) co_return;
  if (frozen) {
    auto thawed = co_await member->instance->thaw();
    if (!thawed) co_return;  // it has ended: live() sees that
  }
  rejoin(member);
}

void RevisionPool::rejoin(const Member& member) {
  if (member->state != PooledInstance::State::starting || member->instance->ended()) return;
  member->started = member->listening = clock_.now();
  set_state(*member, PooledInstance::State::ready);
  ready_.push_back(member.get());
  desired_ = std::max(desired_, static_cast<int>(ready_.size()));
  autoscaler_.became_active(clock_.now());
  if (!ensuring_.empty() && static_cast<int>(ready_.size()) >= ready_wanted_to_begin()) settle_ensuring(std::nullopt);
  dispatch();
  changed();
}

}  // namespace wick::serving
