#include "lane.hpp"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "refusal.hpp"
#include "wick/os/other_loop.hpp"
#include "wick/os/together.hpp"

namespace wick::serving {

namespace {

constexpr std::size_t records_max = 256;  // counted at once when so many are there

}  // namespace

/// One request of a borrowed instance, from here on to the end of its answer.
class Lane::Use {
 public:
  /// `counts`: no lease of the pool stands for it.
  Use(Lane& lane, BorrowedPtr borrowed, bool counts, TimePoint now)
      : lane_(lane), borrowed_(std::move(borrowed)), counts_(counts) {
    ++borrowed_->in_flight;
    if (counts_) borrowed_->loan->meter.change(now, +1);
  }
  Use(const Use&) = delete;
  ~Use() { end(lane_.clock_.now()); }

  http::Upstream& upstream() { return *borrowed_->upstream; }
  const container::InstanceId& instance() const { return borrowed_->loan->id; }
  void end(TimePoint now) {
    if (std::exchange(ended_, true)) return;
    if (counts_) borrowed_->loan->meter.change(now, -1);
    --borrowed_->in_flight;
    if (borrowed_->ending) lane_.let_end(borrowed_);
  }

 private:
  Lane& lane_;
  BorrowedPtr borrowed_;
  bool counts_;
  bool ended_ = false;
};

Lane::Lane(Executor loop, Clock& clock, Executor desk_loop, Desk& desk, LaneOptions options)
    : loop_(std::move(loop)),
      clock_(clock),
      desk_loop_(std::move(desk_loop)),
      desk_(desk),
      options_(std::move(options)),
      count_timer_(loop_) {
  if (options_.access_log) access_log_.emplace(loop_, clock_, std::move(options_.access_log));
}

// --- requests

awaitable<void> Lane::handle(http::Exchange& exchange) {
  const auto now = clock_.now();
  const auto* known = known_way(exchange.head());
  auto instance = known ? pick(*known->instances) : nullptr;
  if (!instance) co_return co_await handle_with_desk(exchange, now);
  const WayPtr way = known->way;
  Use use(*this, std::move(instance), true, now);
  auto what = record_of(exchange, *way);
  what.instance = use.instance();
  auto options = options_for(*way);
  const auto outcome = co_await http::relay(exchange, use.upstream(), std::move(options));
  const auto ended = clock_.now();
  use.end(ended);
  what.status = outcome.status;
  what.request_bytes = outcome.request_bytes;
  what.response_bytes = outcome.response_bytes;
  what.total = ended - now;
  finished(exchange, what, *way);
}

awaitable<void> Lane::handle_with_desk(http::Exchange& exchange, TimePoint arrived) {
  auto admission = co_await admit(exchange, arrived);
  if (!admission) co_return;  // the client is gone, and the desk has counted that
  if (!admission->ticket) co_return co_await refuse(exchange, *admission);
  const auto way = std::make_shared<const Way>(std::move(admission->way));
  // It may have waited for an instance while the routes changed.
  if (way->lasts && way->routes == routes_) {
    if (ways_.size() >= options_.hosts_max) ways_.clear();
    ways_.insert_or_assign(std::string(exchange.head().host()), KnownWay{way, &instances_[way->revision]});
  }
  const auto instance = borrowed(*admission);
  Use use(*this, instance, false, arrived);
  auto what = record_of(exchange, *way);
  what.instance = use.instance();
  what.queued = admission->queued;
  what.cold = admission->cold;
  what.wake = admission->wake;
  auto options = options_for(*way);
  options.request_limit -= std::chrono::duration_cast<milliseconds>(what.queued);
  const auto outcome = co_await http::relay(exchange, use.upstream(), std::move(options));
  const auto ended = clock_.now();
  if (admission->alone) admission->ticket->connection = instance->upstream->take_kept();
  use.end(ended);
  admission->ticket.reset();
  what.status = outcome.status;
  what.request_bytes = outcome.request_bytes;
  what.response_bytes = outcome.response_bytes;
  what.total = ended - arrived;
  finished(exchange, what, *way);
}

awaitable<std::optional<Admission>> Lane::admit(http::Exchange& exchange, TimePoint arrived) {
  const auto& head = exchange.head();
  std::optional<std::string> tag;
  if (const auto asked = head.fields.find(tag_field)) tag.emplace(*asked);
  auto ask = [this, host = std::string(head.host()), tag = std::move(tag), arrived]() mutable {
    return desk_.admit(std::move(host), std::move(tag), arrived, *this);
  };
  std::optional<Admission> admission;
  auto asking = keep_value(on_loop<Admission>(desk_loop_, std::move(ask)), admission, true);
  auto gone = keep_value(exchange.wait_gone(), true);
  const auto end = co_await run_together(std::move(asking), std::move(gone));
  if (end.second_ended_first && !end.second_error) co_return std::nullopt;
  if (end.first_error) std::rethrow_exception(end.first_error);
  co_return admission;
}

awaitable<void> Lane::refuse(http::Exchange& exchange, const Admission& admission) {
  auto what = record_of(exchange, admission.way);
  what.queued = admission.queued;
  what.cold = admission.cold;
  if (admission.found != Router::Found::revision) {
    what.status = co_await respond_unrouted(exchange, admission.found);
    log(exchange, what, RevisionSpec{});
    co_return;
  }
  const auto arrived = clock_.now() - admission.queued;
  what.status = co_await respond_refused(exchange, *admission.refused);
  what.total = clock_.now() - arrived;
  finished(exchange, what, admission.way);
}

http::RelayOptions Lane::options_for(const Way& way) const {
  http::RelayOptions options{.request_limit = way.spec->timeout,
                             .response_start_limit = way.spec->response_start_limit,
                             .idle_limit = way.spec->idle_limit,
                             .trust_forwarded = options_.trust_forwarded};
  if (!way.extra.empty()) options.extra_fields = way.extra;
  return options;
}

// --- ways and instances

const Lane::KnownWay* Lane::known_way(const http::RequestHead& head) const {
  const auto found = ways_.find(head.host());
  if (found == ways_.end() || head.fields.find(tag_field)) return nullptr;
  return &found->second;
}

/// The less busy of two at random.
Lane::BorrowedPtr Lane::pick(const std::vector<BorrowedPtr>& instances) {
  const auto count = instances.size();
  if (count == 0) return nullptr;
  if (count == 1) return instances[0];
  random_ ^= random_ << 13, random_ ^= random_ >> 17, random_ ^= random_ << 5;
  const auto a = random_ % count;
  const auto b = (a + 1 + (random_ >> 16) % (count - 1)) % count;
  return instances[a]->in_flight <= instances[b]->in_flight ? instances[a] : instances[b];
}

Lane::BorrowedPtr Lane::borrow(const LoanPtr& loan) const {
  auto made = std::make_shared<Borrowed>();
  made->loan = loan;
  auto connect = [desk_loop = desk_loop_, desk = &desk_, loan]() -> awaitable<Result<Fd>> {
    auto ask = [desk, loan] { return desk->connect(loan); };
    co_return co_await on_loop<Result<Fd>>(desk_loop, std::move(ask));
  };
  made->upstream = std::make_unique<http::Upstream>(loop_, clock_, std::move(connect), options_.idle_connections_max,
                                                    options_.idle_connection_limit, loan->spec->protocol);
  return made;
}

/// The one there is; where it was called back meanwhile, one that lasts as long as the lease that the caller has.
Lane::BorrowedPtr Lane::borrowed(const LoanPtr& loan) {
  const auto& known = instances_[{loan->spec->key.name_space, loan->spec->key.name}];
  const auto found = std::ranges::find(known, loan, &Borrowed::loan);
  return found != known.end() ? *found : borrow(loan);
}

Lane::BorrowedPtr Lane::borrowed(Admission& admission) {
  auto instance = admission.alone ? borrow(admission.loan) : borrowed(admission.loan);
  if (admission.connection) instance->upstream->keep(std::move(admission.connection));
  return instance;
}

/// What may be asked no more: its idle connections are closed now, as a program that serves one at a time waits for
/// them; with the last request that is in flight it is returned.
void Lane::let_end(const BorrowedPtr& borrowed) {
  while (borrowed->in_flight > 0) {
    if (!borrowed->upstream->take_kept()) return;
  }
  borrowed->upstream.reset();  // its connections are closed before the instance is told to end
  asio::post(desk_loop_, [desk = &desk_, loan = borrowed->loan] { desk->returned(loan); });
}

void Lane::lent(const LoanPtr& loan) {
  asio::post(loop_, [this, loan] { instances_[loan->spec->key].push_back(borrow(loan)); });
}

void Lane::called_back(const LoanPtr& loan) {
  asio::post(loop_, [this, loan] {
    auto& known = instances_[loan->spec->key];
    const auto found = std::ranges::find(known, loan, &Borrowed::loan);
    if (found == known.end()) return;
    const auto borrowed = std::move(*found);
    known.erase(found);
    borrowed->ending = true;
    let_end(borrowed);
  });
}

void Lane::routes_changed(std::uint64_t number) {
  asio::post(loop_, [this, number] {
    routes_ = number;
    ways_.clear();
    std::erase_if(instances_, [](const auto& each) { return each.second.empty(); });
  });
}

awaitable<void> Lane::stop() {
  auto finishing = [this] { return finish(); };
  auto job = [finishing]() -> awaitable<void> { co_await finishing(); };
  co_await do_on_loop(loop_, std::move(job));
}

awaitable<void> Lane::finish() {
  count_timer_.cancel();
  count_now();
  if (access_log_) co_await access_log_->stop();
}

// --- what was answered

RequestRecord Lane::record_of(const http::Exchange& exchange, const Way& way) const {
  return {.id = exchange.id(),
          .method = exchange.head().method,
          .target = exchange.head().target,
          .when = clock_.wall(),
          .tag = way.tag};
}

void Lane::log(const http::Exchange& exchange, const RequestRecord& what, const RevisionSpec& spec) {
  if (access_log_) access_log_->write(exchange, what, spec);
}

void Lane::finished(const http::Exchange& exchange, const RequestRecord& what, const Way& way) {
  log(exchange, what, *way.spec);
  if (recorded_ == records_.size()) records_.emplace_back();
  auto& record = records_[recorded_++];
  record.entry = way.entry;
  record.id.assign(what.id);
  record.method.assign(what.method);
  record.target.assign(what.target.substr(0, RequestTraces::target_bytes_max));
  record.tag.assign(what.tag);
  record.what = what;
  if (recorded_ == records_max) return count_now();
  if (recorded_ > 1) return;
  count_timer_.expires_after(options_.count_after);
  count_timer_.async_wait([this](boost::system::error_code error) {
    if (!error) count_now();
  });
}

/// The records go to the desk and come back empty, to be filled again.
void Lane::count_now() {
  if (recorded_ == 0) return;
  auto take = [this, records = std::exchange(records_, {}), number = std::exchange(recorded_, 0)]() mutable {
    desk_.count(records, number);
    asio::post(loop_, [this, records = std::move(records)]() mutable {
      if (records_.empty()) records_ = std::move(records);
    });
  };
  asio::post(desk_loop_, std::move(take));
}

}  // namespace wick::serving
