// One more loop that answers requests.
//
// It owns nothing but its connections: which revision answers a host, and the instances it may use, it has from the
// desk (desk.hpp), by messages. A host it has seen goes to an instance on loan (loan.hpp): no message, no lock, no
// allocation. What the pools must decide goes through the desk, a message there and one back: a wake, a queue, a split,
// a tag, a limit of concurrency. What was answered is counted there too, in batches.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "access_log.hpp"
#include "desk.hpp"
#include "wick/http/handler.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/clock.hpp"
#include "wick/serving/loan.hpp"
#include "wick/serving/route_table.hpp"

namespace wick::serving {

struct LaneOptions {
  bool trust_forwarded = false;
  std::size_t idle_connections_max = 1024;     // kept to each instance …
  milliseconds idle_connection_limit{60'000};  // … so long
  std::size_t hosts_max = 10'000;              // known at once
  Duration count_after{5ms};                   // how long what was answered may be unknown to the desk
  Fd access_log;
};

class Lane final : public Borrower {
 public:
  Lane(Executor loop, Clock& clock, Executor desk_loop, Desk& desk, LaneOptions options);
  Lane(const Lane&) = delete;

  /// On the lane's loop.
  awaitable<void> handle(http::Exchange& exchange);

  // --- from the desk's loop
  void lent(const LoanPtr& loan) override;
  void called_back(const LoanPtr& loan) override;
  /// What the lane knows of hosts is of no use any more; `number` is that of the new routes.
  void routes_changed(std::uint64_t number);
  /// Once the lane's server has ended: everything is back and counted. To be called after every pool forgot the lane.
  awaitable<void> stop();

 private:
  /// An instance on loan, with our connections to it.
  struct Borrowed {
    LoanPtr loan;
    std::unique_ptr<http::Upstream> upstream;
    int in_flight = 0;  // all that go through it, leases too
    bool ending = false;
  };
  using BorrowedPtr = std::shared_ptr<Borrowed>;
  using WayPtr = std::shared_ptr<const Way>;
  struct KnownWay {
    WayPtr way;
    std::vector<BorrowedPtr>* instances;  // of instances_
  };
  class Use;

  const KnownWay* known_way(const http::RequestHead& head) const;
  BorrowedPtr pick(const std::vector<BorrowedPtr>& instances);
  BorrowedPtr borrow(const LoanPtr& loan) const;
  BorrowedPtr borrowed(const LoanPtr& loan);
  BorrowedPtr borrowed(Admission& admission);
  void let_end(const BorrowedPtr& borrowed);
  awaitable<std::optional<Admission>> admit(http::Exchange& exchange, TimePoint arrived);
  awaitable<void> handle_with_desk(http::Exchange& exchange, TimePoint arrived);
  awaitable<void> refuse(http::Exchange& exchange, const Admission& admission);
  http::RelayOptions options_for(const Way& way) const;
  RequestRecord record_of(const http::Exchange& exchange, const Way& way) const;
  void finished(const http::Exchange& exchange, const RequestRecord& what, const Way& way);
  void log(const http::Exchange& exchange, const RequestRecord& what, const RevisionSpec& spec);
  void count_now();
  awaitable<void> finish();

  Executor loop_;
  Clock& clock_;
  Executor desk_loop_;
  Desk& desk_;
  LaneOptions options_;
  std::optional<AccessLog> access_log_;
  std::map<RevisionKey, std::vector<BorrowedPtr>> instances_;  // what new requests may use
  HostMap<KnownWay> ways_;                                     // by host
  std::uint64_t routes_ = 0;                                   // the newest heard of
  std::uint32_t random_ = 2463534242;                          // xorshift
  std::vector<LaneRecord> records_;                            // the first `recorded_` are not counted yet
  std::size_t recorded_ = 0;
  asio::steady_timer count_timer_;
};

}  // namespace wick::serving
