// An instance that another loop answers requests with, without asking for each: what crosses between the loops.
//
// A pool lends each ready instance to the loops that asked for the revision. The borrower sends it requests until the
// loan is called back, ends those it has in flight, closes its connections and returns it. Until then the instance is
// neither frozen nor sent SIGTERM. Both sides talk by messages alone; the one thing they share is a LoanMeter.
//
//   lend() ──lent──► borrowed ──call_back()──► ending ──last request ended──► returned
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "wick/base/time.hpp"
#include "wick/container/launcher.hpp"
#include "wick/serving/revision.hpp"

namespace wick::serving {

class RevisionPool;

/// The requests of one borrower at one instance, written by its loop and read by the lender's.
class LoanMeter {
 public:
  struct Reading {
    int in_flight = 0;
    std::uint64_t requests = 0;  // that have arrived, ever
    double area = 0;             // requests in flight × seconds, ever
    TimePoint changed{};         // the last arrival or end
  };

  explicit LoanMeter(TimePoint now) : changed_(now) {}
  /// The writer's.
  void change(TimePoint now, int by);
  int in_flight() const { return in_flight_.load(std::memory_order_relaxed); }
  /// Anybody's: of one moment, at most `now`.
  Reading read(TimePoint now) const;

 private:
  std::atomic<std::uint32_t> turn_ = 0;  // odd while a change is under way
  std::atomic<int> in_flight_ = 0;
  std::atomic<std::uint64_t> requests_ = 0;
  std::atomic<Duration> area_ = Duration::zero();
  std::atomic<TimePoint> changed_;
};

/// Never changes but for the meter, so both loops may hold it; what belongs to the lender's loop is behind weak
/// pointers.
struct Loan {
  Loan(RevisionPool& lender, container::InstanceId id, std::shared_ptr<const RevisionSpec> spec,
       std::weak_ptr<container::Instance> instance, TimePoint now)
      : lender(&lender), id(std::move(id)), spec(std::move(spec)), instance(std::move(instance)), meter(now) {}
  RevisionPool* const lender;  // there until the loan is returned; the lender's loop only
  const container::InstanceId id;
  const std::shared_ptr<const RevisionSpec> spec;     // what it was launched with
  const std::weak_ptr<container::Instance> instance;  // the lender's loop only
  LoanMeter meter;
};
using LoanPtr = std::shared_ptr<Loan>;

/// Who borrows. Called on the lender's loop; must outlive what it has borrowed.
class Borrower {
 public:
  virtual void lent(const LoanPtr& loan) = 0;
  virtual void called_back(const LoanPtr& loan) = 0;

 protected:
  ~Borrower() = default;
};

}  // namespace wick::serving
