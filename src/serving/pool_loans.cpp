// What a pool lends to other loops (loan.hpp), and what that counts for: load, idleness, room.
#include <algorithm>
#include <ranges>

#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

namespace {

/// The loan of `member` that `borrower` may still use; nullptr when there is none.
const Lent* loan_to(const Borrower& borrower, const PooledInstance& member) {
  const auto is_it = [&](const Lent& each) { return each.to == &borrower && !each.called_back; };
  const auto found = std::ranges::find_if(member.loans, is_it);
  return found == member.loans.end() ? nullptr : &*found;
}

}  // namespace

void RevisionPool::lend(Borrower& borrower) {
  if (closed_) return;
  if (std::ranges::find(borrowers_, &borrower) == borrowers_.end()) borrowers_.push_back(&borrower);
  for (auto* member : ready_) lend(*member, borrower);
}

void RevisionPool::lend(PooledInstance& member, Borrower& borrower) {
  if (loan_to(borrower, member)) return;
  const auto now = clock_.now();
  auto loan = std::make_shared<Loan>(*this, member.id, member.spec, member.instance, now);
  member.loans.push_back({.to = &borrower, .loan = loan, .counted = {.changed = now}});
  borrower.lent(loan);
}

void RevisionPool::lend_to_all(PooledInstance& member) {
  for (auto* borrower : borrowers_) lend(member, *borrower);
}

LoanPtr RevisionPool::loan_of(const Lease& lease, const Borrower& borrower) {
  const auto& member = *lease.member_;
  if (const auto* lent = loan_to(borrower, member)) return lent->loan;
  // The instance has left since the lease was granted: one for this request alone, which the lease stands for.
  return std::make_shared<Loan>(*this, member.id, member.spec, member.instance, clock_.now());
}

/// No new request from other loops until one of them asks for the revision again.
void RevisionPool::call_back(PooledInstance& member) {
  for (auto& each : member.loans)
    if (!std::exchange(each.called_back, true)) each.to->called_back(each.loan);
}

void RevisionPool::returned(const LoanPtr& loan) {
  for (const auto& member : members_) {
    const auto lent = std::ranges::find(member->loans, loan, &Lent::loan);
    if (lent == member->loans.end()) continue;
    count_loan(*lent, clock_.now());
    member->loans.erase(lent);
    if (closed_) left_.cancel();
    if (member->state == PooledInstance::State::stopping) settle(*member);
    return;
  }
}

void RevisionPool::forget(const Borrower& borrower) {
  std::erase(borrowers_, &borrower);
  for (const auto& member : members_)
    for (auto& each : member->loans)
      if (each.to == &borrower && !std::exchange(each.called_back, true)) each.to->called_back(each.loan);
}

/// What went through a loan since the last look counts as if it had been leased here.
void RevisionPool::count_loan(Lent& lent, TimePoint now) {
  const auto reading = lent.loan->meter.read(now);
  lent_area_ += reading.area - lent.counted.area;
  lent_requests_ += static_cast<double>(reading.requests - lent.counted.requests);
  lent.counted = reading;
  quiet_since_ = std::max(quiet_since_, reading.changed);
}

int RevisionPool::requests_in_flight() const {
  int all = load_.current();
  for (const auto& member : members_)
    for (const auto& each : member->loans) all += each.loan->meter.in_flight();
  return all;
}

Load RevisionPool::take_load(TimePoint now) {
  for (const auto& member : members_)
    for (auto& each : member->loans) {
      count_loan(each, now);
      member->idle_since = std::max(member->idle_since, each.counted.changed);
    }
  auto load = load_.take(now);
  const double elapsed = std::chrono::duration<double>(now - std::exchange(load_taken_, now)).count();
  if (elapsed > 0) load.in_flight += lent_area_ / elapsed;
  load.requests += lent_requests_;
  lent_area_ = lent_requests_ = 0;
  return load;
}

}  // namespace wick::serving
