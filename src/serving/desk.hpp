// What a lane asks the loop that owns the pools for.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "entry.hpp"
#include "router.hpp"
#include "wick/serving/lease.hpp"
#include "wick/serving/loan.hpp"

namespace wick::serving {

/// Held by a lane and of no use to it: whatever becomes of it there, it goes where it came from to be destroyed.
struct Ticket {
  EntryPtr entry;
  Lease lease;
  Fd connection;  // goes back with the lease
};
using TicketPtr = std::unique_ptr<Ticket, std::function<void(Ticket*)>>;

/// Which revision a host's requests go to, as far as a lane needs to know.
struct Way {
  std::weak_ptr<Entry> entry;  // locked on the pools' loop only
  RevisionKey revision;
  std::shared_ptr<const RevisionSpec> spec;
  std::string tag;
  http::Fields extra;
  bool lasts = false;        // every request of this host, until the routes change: no split, no tag asked for
  std::uint64_t routes = 0;  // the number of the routes it is from
};

struct Admission {
  Router::Found found = Router::Found::nothing;
  Way way;
  std::optional<Error> refused;
  TicketPtr ticket;  // with a lease; empty when refused
  LoanPtr loan;      // of the same instance
  Fd connection;     // to it, where one waits
  bool alone =
      false;  // the connection belongs to the lease: the instance may not serve more of them than it has leases
  Duration queued{};
  bool cold = false;
  std::optional<WakeSteps> wake;
};

/// One finished request of a lane; its strings are used again.
struct LaneRecord {
  std::weak_ptr<Entry> entry;
  std::string id, method, target, tag;
  RequestRecord what;  // its texts are the ones above, and tied to them when it is read
};

/// On the pools' loop. Whoever has the desk outlives the lanes' requests.
class Desk {
 public:
  virtual awaitable<Admission> admit(std::string host, std::optional<std::string> tag, TimePoint arrived,
                                     Borrower& borrower) = 0;
  virtual awaitable<Result<Fd>> connect(LoanPtr loan) = 0;
  virtual void returned(LoanPtr loan) = 0;
  /// The first `number` of `records`.
  virtual void count(std::vector<LaneRecord>& records, std::size_t number) = 0;

 protected:
  ~Desk() = default;
};

}  // namespace wick::serving
