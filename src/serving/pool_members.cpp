// The life of one instance in a pool, from its launch to its end (revision_pool.hpp has the states).
#include <fmt/format.h>

#include <algorithm>
#include <variant>

#include "liveness.hpp"
#include "pool_parts.hpp"
#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"
#include "wick/serving/readiness.hpp"
#include "wick/serving/revision_pool.hpp"
#include "wick/serving/start_failure.hpp"

namespace wick::serving {

namespace {

// What an instance is charged for before one was seen to run, and at least: a small program with its kernel memory.
constexpr std::uint64_t memory_charge_unknown = 32 << 20;
constexpr std::uint64_t memory_charge_min = 4 << 20;

/// The probe's connection once, then new ones.
awaitable<Result<Fd>> connect(PooledInstance* member) {
  if (member->probe_connection) co_return std::move(member->probe_connection);
  co_return co_await member->instance->connect(member->spec->port);
}

milliseconds elapsed_since(TimePoint then, TimePoint now) {
  return std::chrono::duration_cast<milliseconds>(now - then);
}

}  // namespace

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

}  // namespace wick::serving
