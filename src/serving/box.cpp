#include "wick/serving/box.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>

namespace wick::serving {

Box::Share& Box::Share::operator=(Share&& other) noexcept {
  if (this == &other) return *this;
  reset();
  box_ = std::exchange(other.box_, nullptr);
  tenant_ = other.tenant_;
  bytes_ = other.bytes_;
  starting_ = other.starting_;
  leaving_ = other.leaving_;
  return *this;
}

void Box::Share::started() {
  if (!box_ || !std::exchange(starting_, false)) return;
  --box_->starting_;
  box_->serve_soon();
}

void Box::Share::leaving() {
  if (!box_ || std::exchange(leaving_, true)) return;
  box_->leaving_ += bytes_;
}

void Box::Share::reset() {
  if (!box_) return;
  started();
  auto& box = *std::exchange(box_, nullptr);
  if (leaving_) box.leaving_ -= bytes_;
  box.used_ -= bytes_;
  if (const auto found = box.tenants_.find(tenant_); found != box.tenants_.end()) found->second.held -= bytes_;
  box.serve_soon();
}

Box::~Box() = default;

Box::Share Box::give(Tenant& tenant, std::uint64_t bytes, bool starting) {
  auto& state = tenants_[&tenant];
  state.held += bytes;
  set_wanted(state, 0);
  used_ += bytes;
  if (starting) ++starting_;
  return Share(*this, tenant, bytes, starting);
}

Box::Share Box::adopt(Tenant& tenant, std::uint64_t bytes) { return give(tenant, bytes, false); }

std::expected<Box::Share, Box::Refusal> Box::take(Tenant& tenant, std::uint64_t bytes, Need need) {
  const bool fits = limits_.memory_bytes == 0 || used_ + bytes <= limits_.memory_bytes || used_ == 0;
  const bool starts = limits_.starts == 0 || starting_ < limits_.starts;
  if (fits && starts && is_fairest(tenant)) return give(tenant, bytes, true);
  if (need == Need::work) {
    set_wanted(tenants_[&tenant], bytes);
    if (!fits) evict();
  }
  return std::unexpected(fits ? Refusal::starts : Refusal::memory);
}

void Box::set_wanted(State& state, std::uint64_t bytes) {
  waiting_ += (bytes > 0) - (state.wanted > 0);
  state.wanted = bytes;
}

bool Box::is_fairest(Tenant& tenant) {
  if (waiting_ == 0) return true;
  const double mine = load(tenant, tenants_[&tenant]);
  return std::ranges::none_of(tenants_, [&](const auto& each) {
    return each.first != &tenant && each.second.wanted > 0 && load(*each.first, each.second) < mine;
  });
}

/// As much as those who wait need, beyond what is on its way out already.
void Box::evict() {
  std::uint64_t wanted = 0;
  for (const auto& [tenant, state] : tenants_) wanted += state.wanted;
  while (used_ - leaving_ + wanted > limits_.memory_bytes) {
    Tenant* idle = nullptr;
    std::optional<TimePoint> since;
    for (const auto& [tenant, state] : tenants_)
      if (const auto candidate = tenant->longest_idle(); candidate && (!since || *candidate < *since)) {
        idle = tenant;
        since = candidate;
      }
    if (!idle) return;
    const auto before = leaving_;
    idle->evict_idle();
    if (leaving_ == before) return;
  }
}

bool Box::must_yield(Tenant& tenant, std::uint64_t bytes) const {
  if (waiting_ == 0) return false;
  const auto mine = tenants_.find(&tenant);
  if (mine == tenants_.end() || mine->second.held < bytes) return false;
  const double without = static_cast<double>(mine->second.held - bytes) / tenant.weight();
  std::uint64_t wanted = 0;
  bool fairer = false;
  for (const auto& [other, state] : tenants_) {
    if (other == &tenant || state.wanted == 0) continue;
    wanted += state.wanted;
    fairer = fairer || static_cast<double>(state.held + state.wanted) / other->weight() <= without;
  }
  return fairer && limits_.memory_bytes > 0 && used_ - leaving_ + wanted > limits_.memory_bytes;
}

void Box::forget(Tenant& tenant) {
  if (const auto found = tenants_.find(&tenant); found != tenants_.end()) {
    set_wanted(found->second, 0);
    tenants_.erase(found);
  }
  serve_soon();
}

void Box::serve_soon() {
  if (waiting_ == 0 || std::exchange(serving_, true)) return;
  tasks_.spawn("room on the box", serve());
}

/// One turn later: what freed the room is in the middle of something.
awaitable<void> Box::serve() {
  co_await asio::post(executor_, use_awaitable);
  serving_ = false;
  while (true) {
    Tenant* next = nullptr;
    for (const auto& [tenant, state] : tenants_)
      if (state.wanted > 0 && (!next || load(*tenant, state) < load(*next, tenants_[next]))) next = tenant;
    if (!next) co_return;
    auto& state = tenants_[next];
    const auto held = state.held;
    set_wanted(state, 0);
    next->room_freed();  // it takes, or waits again, or wants no more
    if (const auto found = tenants_.find(next);
        found != tenants_.end() && found->second.wanted > 0 && found->second.held == held)
      co_return;
  }
}

awaitable<void> Box::stop() { co_await tasks_.stop(); }

}  // namespace wick::serving
