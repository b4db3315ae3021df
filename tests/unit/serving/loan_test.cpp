// What a pool lends, told on its own: the borrower is a list here.
#include <catch2/catch.hpp>

#include "pool_fixture.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

struct Notebook final : Borrower {
  void lent(const LoanPtr& loan) override { has.push_back(loan); }
  void called_back(const LoanPtr& loan) override { asked_back.push_back(loan); }

  std::vector<LoanPtr> has, asked_back;
};

/// A revision with one ready instance, on loan.
struct LoanFixture : PoolFixture {
  LoanFixture() {
    request_and_finish();
    pool->lend(borrower);
  }
  ~LoanFixture() { pool->forget(borrower), give_back(); }
  void give_back() {
    for (const auto& loan : std::exchange(borrower.asked_back, {})) pool->returned(loan);
    clock.settle();
  }

  Notebook borrower;
};

}  // namespace

TEST_CASE("an instance on loan is told to end only once it is returned") {
  LoanFixture f;
  REQUIRE(f.borrower.has.size() == 1);
  f.clock.advance(120s);  // nothing was asked for: the revision is to be at zero
  CHECK(f.borrower.asked_back == f.borrower.has);
  CHECK(f.launcher.running() == 1);
  f.give_back();
  f.clock.advance(1s);
  CHECK(f.launcher.running() == 0);
}

TEST_CASE("requests of a borrower hold their instance as leases do") {
  LoanFixture f;
  f.borrower.has[0]->meter.change(f.clock.now(), +1);
  f.clock.advance(300s);
  CHECK(f.borrower.asked_back.empty());
  CHECK(f.in_flight() == 1);
  f.borrower.has[0]->meter.change(f.clock.now(), -1);
  f.clock.advance(120s);
  CHECK(f.borrower.asked_back.size() == 1);
}

TEST_CASE("new settings call a loan back, and it is lent again with them when it is asked for") {
  LoanFixture f;
  auto spec = f.pool->spec();
  spec.timeout = 7s;
  f.pool->set_spec(spec);
  CHECK(f.borrower.asked_back.size() == 1);
  f.pool->lend(f.borrower);
  REQUIRE(f.borrower.has.size() == 2);
  CHECK(f.borrower.has[1]->id == f.borrower.has[0]->id);
}

TEST_CASE("a lease of an instance that has left since has a loan of its own") {
  LoanFixture f;
  auto& request = f.request();
  REQUIRE(request.lease);
  f.pool->forget(f.borrower);
  f.give_back();
  f.launcher.instances[0]->end({.code = 1});
  f.clock.settle();
  const auto loan = f.pool->loan_of(request.lease, f.borrower);
  REQUIRE(loan);
  CHECK(loan->id == f.borrower.has[0]->id);
}
