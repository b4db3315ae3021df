#include "wick/serving/spares.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "park.hpp"
#include "wick/base/log.hpp"
#include "wick/contract/plain_http.hpp"

namespace wick::serving {

namespace {

constexpr Duration settle_time = 500ms;  // after a wake: what has just been started has the processors first
constexpr Duration make_again_after = 1s;
constexpr int attempts_max = 5;  // then not before the revision is used again

}  // namespace

container::InstanceSpec instance_of(const RevisionSpec& spec) {
  auto wanted = spec.instance;
  contract::RevisionIdentity identity{spec.service, spec.configuration, spec.key.name, spec.port};
  contract::set_plain_http_environment(wanted.process.environment, identity);
  return wanted;
}

Spares::Spares(Executor executor, Clock& clock, container::Launcher& launcher, SleepBudget* budget, Gauge& count)
    : executor_(executor), clock_(clock), launcher_(launcher), budget_(budget), count_(count), tasks_(executor) {}

Spares::~Spares() = default;

void Spares::keep(std::shared_ptr<const RevisionSpec> spec, TimePoint used) {
  if (closed_ || !budget_) return;
  if (spec_ && spec_ != spec && !(spec_->instance == spec->instance && spec_->ladder == spec->ladder)) drop();
  if (!spec_) parks_ = true;
  if (used > used_) evicted_ = false;
  spec_ = std::move(spec);
  used_ = std::max(used_, used);
  tend();
}

void Spares::drop() {
  spec_.reset();
  while (!spares_.empty()) end(SparePointer(spares_.front()));
}

std::shared_ptr<container::Instance> Spares::take() {
  const auto usable = [&](const SparePointer& spare) { return !spare->instance->ended(); };
  auto best = std::ranges::find_if(spares_, [&](const SparePointer& spare) { return spare->parked && usable(spare); });
  if (best == spares_.end()) best = std::ranges::find_if(spares_, usable);
  if (best == spares_.end()) return nullptr;
  auto instance = (*best)->instance;
  (*best)->place.reset();
  spares_.erase(best);
  count();
  tend();
  return instance;
}

awaitable<void> Spares::stop() {
  closed_ = true;
  drop();
  refilling_ = true;  // from here on nothing is made
  for (auto& task : std::exchange(giving_back_, {})) co_await give_back(std::move(task));
  co_await tasks_.stop();
}

/// Starts what is missing: making spares, or waiting for the time when they are given up.
void Spares::tend() {
  if (closed_ || !spec_) return;
  if (!refilling_ && !evicted_ && spares_.size() < static_cast<std::size_t>(spec_->ladder.spares)) {
    refilling_ = true;
    tasks_.spawn("spares of " + spec_->key.text(), refill());
  }
  if (!expiring_ && spec_->ladder.spares_for > milliseconds(0)) {
    expiring_ = true;
    tasks_.spawn("end of the spares of " + spec_->key.text(), expire());
  }
}

awaitable<void> Spares::refill() {
  int failures = 0;
  const auto missing = [&] {
    return spec_ && !closed_ && !evicted_ && spares_.size() < static_cast<std::size_t>(spec_->ladder.spares);
  };
  co_await clock_.sleep(settle_time);
  while (missing() && failures < attempts_max) {
    const bool added = co_await add_one();
    failures = added ? 0 : failures + 1;
    if (!added) co_await clock_.sleep(make_again_after * (1 << failures));
  }
  refilling_ = false;
}

awaitable<bool> Spares::add_one() {
  auto turn = co_await budget_->turn_to_prepare();
  if (!turn || !spec_) co_return false;
  const auto spec = spec_;
  auto wanted = instance_of(*spec);
  const bool park = spec->ladder.park && parks_ && add_park_shim(wanted);
  auto prepared = co_await launcher_.prepare(std::move(wanted), spec->key.text());
  if (!prepared) {
    log::warn("no spare instance", {{"revision", spec->key.text()}, {"error", prepared.error().what()}});
    co_return false;
  }
  auto spare = std::make_shared<Spare>();
  spare->instance = std::move(*prepared);
  if (park) {
    auto parked = co_await spare->instance->park();
    if (!parked) {
      log::info("its runtime does not park", {{"revision", spec->key.text()}, {"because", parked.error().what()}});
      parks_ = false;
      co_return true;  // the next one is only prepared
    }
    spare->parked = true;
  }
  if (closed_ || spec != spec_) {  // wanted no more
    co_await give_back(spare->instance);
    co_return true;
  }
  auto usage = co_await spare->instance->usage();
  spares_.push_back(spare);
  count();
  tasks_.spawn("spare " + std::string(spare->instance->id().text()), watch(spare));
  spare->place = budget_->add(usage ? usage->memory_bytes : 0, used_, [this, weak = std::weak_ptr(spare)] {
    evicted_ = true;
    if (auto evicted = weak.lock()) end(evicted);
  });
  co_return true;
}

/// Until its end, also when it was taken long ago.
awaitable<void> Spares::watch(SparePointer spare) {
  const auto instance = spare->instance;
  co_await instance->wait_exit();
  if (std::erase(spares_, spare) == 0) co_return;
  spare->place.reset();
  count();
  co_await clock_.sleep(make_again_after);
  tend();
}

awaitable<void> Spares::expire() {
  while (spec_ && !closed_) {
    const auto due = used_ + spec_->ladder.spares_for;
    if (clock_.now() >= due) break;
    co_await clock_.sleep_until(due);
  }
  expiring_ = false;
  if (spec_ && !closed_) drop();
}

/// Out of the list at once; what it holds is given back by a task of its own.
void Spares::end(const SparePointer& spare) {
  if (std::erase(spares_, spare) == 0) return;
  count();
  if (closed_) {
    giving_back_.push_back(spare->instance);
  } else {
    tasks_.spawn("give back " + std::string(spare->instance->id().text()), give_back(spare->instance));
  }
}

awaitable<void> Spares::give_back(std::shared_ptr<container::Instance> instance) {
  co_await instance->stop(milliseconds(0));
}

void Spares::count() {
  const int now = static_cast<int>(spares_.size());
  count_.add(now - std::exchange(counted_, now));
}

}  // namespace wick::serving
