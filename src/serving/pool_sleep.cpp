// The frozen rung of a pool: who goes to sleep, and what wakes them (revision_pool.hpp has the states).
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/system/system_error.hpp>

#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

bool RevisionPool::may_freeze(const PooledInstance& member) const {
  return spec_->ladder.freeze_after > milliseconds(0) && options_.budget && reachable_ && !closed_ &&
         member.state == PooledInstance::State::ready && member.busy() == 0 && member.held == 0;
}

/// Once there was no request for long enough, all but the minimum sleep.
void RevisionPool::freeze_idle(TimePoint now) {
  const auto& ladder = spec_->ladder;
  if (ladder.freeze_after <= milliseconds(0) || requests_in_flight() > 0 || now - quiet_since_ < ladder.freeze_after)
    return;
  const auto awake = static_cast<std::size_t>(std::max(0, spec_->scaling.min_scale));
  for (auto i = ready_.size(); i-- > awake;)
    if (auto& member = *ready_[i]; may_freeze(member)) {
      if (member.engaged())
        call_back(member);  // the next tick finds it returned
      else
        freeze(member);
    }
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
  wake(**frozen);
  return true;
}

void RevisionPool::wake(PooledInstance& member) {
  set_state(member, PooledInstance::State::starting);
  member.launched = clock_.now();
  member.from = WakeSteps::From::frozen;
  member.asleep->cancel();
}

namespace {

/// nullptr where that container does not run.
std::shared_ptr<container::Instance> held_instance(const PooledInstance& member, const std::string& container) {
  const bool is_main = container.empty() || container == member.spec->instance.name || !member.spec->instance.is_pod();
  return is_main ? member.instance : member.instance->container(container);
}

const container::Process& process_of(const RevisionSpec& spec, const std::string& container) {
  for (const auto* list : {&spec.instance.beside, &spec.instance.init})
    for (const auto& companion : *list)
      if (companion.name == container) return companion.process;
  return spec.instance.process;
}

}  // namespace

awaitable<Result<InstanceHold>> RevisionPool::hold(container::InstanceId id, std::string container,
                                                   std::shared_ptr<void> owner) {
  using State = PooledInstance::State;
  Lease lease;  // until the hold keeps it
  if (id.empty()) {
    const auto now = clock_.now();
    auto leased = co_await acquire(now, now + spec_->timeout);
    if (!leased) co_return fail(std::move(leased.error()));
    lease = std::move(*leased);
    id = lease.instance();
  }
  const auto found = std::ranges::find_if(members_, [&](const Member& each) { return each->id == id; });
  if (found == members_.end())
    co_return fail(Errc::not_found, fmt::format("there is no instance {} of {}", id.text(), spec_->key.name));
  const Member member = *found;
  const auto does_not_run = [&] {
    return fail(Errc::not_ready, fmt::format("instance {} does not run: it is {}", id.text(),
                                             member->state == State::starting ? "starting" : "stopping"));
  };
  if (!member->instance || member->spare || member->instance->ended() || member->stop_sent) co_return does_not_run();
  // From here on it does not go to sleep, and is woken when it does so already.
  ++member->held;
  InstanceHold hold(held_instance(*member, container), process_of(*member->spec, container),
                    [this, member, owner = std::move(owner)] { give_back(*member); });
  const bool asleep = member->state == State::frozen;
  if (asleep) wake(*member);
  if (asleep || (member->state == State::starting && member->from == WakeSteps::From::frozen)) {
    keep_ticking();
    if (!member->waking)
      member->waking = std::make_shared<asio::steady_timer>(executor_, asio::steady_timer::time_point::max());
    const auto waking = member->waking;
    while (member->state == State::starting && !member->ended && !member->instance->ended()) {
      auto waited = co_await waking->async_wait(asio::as_tuple(use_awaitable));
      if (member->waking == waking) throw boost::system::system_error(std::get<0>(waited));  // we were cancelled
    }
  }
  if (member->instance->ended() || member->ended) co_return does_not_run();
  if (!hold.has_instance() || hold.instance().ended())
    co_return fail(Errc::not_ready, fmt::format("container {} of instance {} does not run", container, id.text()));
  co_return std::move(hold);
}

void RevisionPool::give_back(PooledInstance& member) {
  --member.held;
  member.idle_since = clock_.now();
  if (member.held > 0 || member.busy() > 0 || member.ended) return;
  if (member.state == PooledInstance::State::stopping) return retire(member);
  if (member.state == PooledInstance::State::ready && options_.box) options_.box->idle();
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
  if (auto waking = std::exchange(member->waking, nullptr)) waking->cancel();
  if (member->state != PooledInstance::State::starting || member->instance->ended()) return;
  member->started = member->listening = clock_.now();
  set_state(*member, PooledInstance::State::ready);
  ready_.push_back(member.get());
  lend_to_all(*member);
  desired_ = std::max(desired_, static_cast<int>(ready_.size()));
  autoscaler_.became_active(clock_.now());
  if (!ensuring_.empty() && static_cast<int>(ready_.size()) >= ready_wanted_to_begin()) settle_ensuring(std::nullopt);
  dispatch();
  changed();
}

}  // namespace wick::serving
