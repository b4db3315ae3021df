// The composition: hosts to routes, routes to pools, pools to relays.
//
// The request path holds no lock, starts no timer and looks up one map (the host, in router.hpp).
#include "wick/serving/serving.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <map>
#include <set>
#include <span>

#include "access_log.hpp"
#include "lane.hpp"
#include "refusal.hpp"
#include "router.hpp"
#include "wick/base/log.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/together.hpp"
#include "wick/serving/revision_pool.hpp"
#include "wick/serving/sleep_budget.hpp"

namespace wick::serving {

namespace {

/// A lease, or Errc::cancelled when the client left the queue.
awaitable<Result<Lease>> lease_or_gone(http::Exchange& exchange, RevisionPool& pool, TimePoint now,
                                       TimePoint deadline) {
  std::optional<Result<Lease>> lease;
  auto waiting = keep_value(pool.acquire(now, deadline), lease, true);
  auto gone = keep_value(exchange.wait_gone(), true);
  const auto end = co_await run_together(std::move(waiting), std::move(gone));
  if (end.second_ended_first && !end.second_error) co_return fail(Errc::cancelled, "the client went away");
  if (end.first_error) std::rethrow_exception(end.first_error);
  co_return std::move(*lease);
}

}  // namespace

class Serving::Impl final : private Desk {
 public:
  Impl(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics, ServingOptions options)
      : executor_(executor),
        clock_(clock),
        launcher_(launcher),
        metrics_(metrics),
        unrouted_(metrics.counter("wick_http_unrouted_requests_total", "Requests for a host that nobody serves.")),
        options_(std::move(options)),
        budget_(executor, options_.sleep_bytes_max),
        box_(executor, options_.box),
        router_([this](const RevisionKey& key) { return find(key); }),
        retiring_(executor) {
    if (!options_.access_log) return;
    access_file_ = options_.access_log.duplicate();
    access_log_.emplace(executor, clock, std::move(options_.access_log));
  }

  void set_revision(RevisionSpec spec);
  void remove_revision(const RevisionKey& key);
  void change_routes(const std::vector<RouteChange>& changes);
  bool adopt(const RevisionKey& key, std::shared_ptr<container::Instance> instance);
  awaitable<std::expected<void, model::Failure>> ensure_ready(RevisionKey key);
  awaitable<Result<InstanceHold>> hold(RevisionKey key, container::InstanceId id, std::string container);
  awaitable<void> handle(http::Exchange& exchange);
  http::Handler handler_on(Executor loop, Clock& clock);
  awaitable<Result<http::Response>> call(std::string name_space, std::string service, http::Request request,
                                         milliseconds limit);
  bool serves(std::string_view host) const { return router_.serves(host); }
  std::vector<RevisionView> revisions() const;
  std::optional<RevisionView> revision(const RevisionKey& key) const;
  std::optional<Answered> answered(const RevisionKey& key) const;
  std::vector<RequestTrace> traces(std::string_view name_space, std::string_view service) const;
  void on_change(std::function<void(const RevisionKey&)> callback) { changed_ = std::move(callback); }
  std::size_t queued() const;
  awaitable<void> leave();
  std::map<container::InstanceId, int> in_flight() const;
  void count_elsewhere(const container::InstanceId& id, int requests);
  awaitable<void> stop(bool stop_instances);

 private:
  using ServiceName = Router::ServiceName;

  // As Desk, for the lanes.
  awaitable<Admission> admit(std::string host, std::optional<std::string> tag, TimePoint arrived,
                             Borrower& borrower) override;
  awaitable<Result<Fd>> connect(LoanPtr loan) override;
  void returned(LoanPtr loan) override { loan->lender->returned(loan); }
  void count(std::vector<LaneRecord>& records, std::size_t number) override;

  void routes_changed();
  EntryPtr find(const RevisionKey& key) const;
  std::shared_ptr<RequestTraces> traces_of(const ServiceName& service);
  void tell_reachable(const RevisionKey& key, Entry& entry);
  awaitable<void> retire(EntryPtr entry);
  awaitable<void> refuse(http::Exchange& exchange, Entry& entry, RequestRecord& record, const Error& error,
                         TimePoint arrived);
  void record(Entry& entry, RequestRecord& record, Duration total);
  void log_unrouted(const http::Exchange& exchange, int status);
  awaitable<void> refuse_unrouted(http::Exchange& exchange, Router::Found found);
  awaitable<Result<http::Response>> call_through(EntryPtr entry, http::Request request, TimePoint deadline,
                                                 RequestRecord& record);

  Executor executor_;
  Clock& clock_;
  container::Launcher& launcher_;
  Metrics& metrics_;
  Counter& unrouted_;
  ServingOptions options_;
  SleepBudget budget_;  // outlives the pools
  Box box_;
  std::function<void(const RevisionKey&)> changed_;
  std::map<RevisionKey, EntryPtr> entries_;
  std::map<ServiceName, std::shared_ptr<RequestTraces>> traces_;
  Router router_;
  std::map<RevisionKey, std::size_t> hosts_to_;  // how many there are to each revision that has one
  std::uint64_t calls_ = 0;
  bool stopping_ = false;
  bool stopped_ = false;
  struct Elsewhere {
    EntryPtr entry;  // outlives the leases
    std::vector<Lease> leases;
  };
  std::map<container::InstanceId, Elsewhere> elsewhere_;
  std::optional<AccessLog> access_log_;
  Fd access_file_;  // for more loops
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::uint64_t routes_ = 0;  // their number, for the lanes
  TaskGroup retiring_;
};

// --- what there is

void Serving::Impl::routes_changed() {
  router_.revisions_changed();
  ++routes_;
  for (const auto& lane : lanes_) lane->routes_changed(routes_);
}

EntryPtr Serving::Impl::find(const RevisionKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second;
}

std::shared_ptr<RequestTraces> Serving::Impl::traces_of(const ServiceName& service) {
  auto& traces = traces_[service];
  if (!traces) traces = std::make_shared<RequestTraces>();
  return traces;
}

void Serving::Impl::set_revision(RevisionSpec spec) {
  if (stopping_) return;
  if (const auto known = find(spec.key)) {
    known->pool.set_spec(std::move(spec));
    return routes_changed();
  }
  const PoolOptions options{.queue_limit = options_.queue_limit,
                            .idle_connection_limit = options_.idle_connection_limit,
                            .budget = &budget_,
                            .box = &box_};
  const auto key = spec.key;
  auto changed = [this, key] {
    if (changed_) changed_(key);
  };
  auto traces = traces_of({key.name_space, spec.service});
  entries_[key] = std::make_shared<Entry>(executor_, clock_, launcher_, metrics_, std::move(spec), options,
                                          std::move(changed), std::move(traces));
  tell_reachable(key, *entries_[key]);
  routes_changed();
}

void Serving::Impl::remove_revision(const RevisionKey& key) {
  auto node = entries_.extract(key);
  if (node.empty()) return;
  routes_changed();
  const ServiceName service{key.name_space, node.mapped()->pool.spec().service};
  const bool last = std::ranges::none_of(entries_, [&](const auto& each) {
    return each.first.name_space == service.first && each.second->pool.spec().service == service.second;
  });
  if (last) traces_.erase(service);
  retiring_.spawn("remove " + key.text(), retire(std::move(node.mapped())));
}

awaitable<void> Serving::Impl::retire(EntryPtr entry) { co_await entry->pool.drain(); }

void Serving::Impl::change_routes(const std::vector<RouteChange>& changes) {
  std::set<RevisionKey> touched;
  for (const auto& change : changes) {
    if (const auto before = router_.route_of(change.host))
      for (const auto& target : before->targets) {
        touched.insert(target.revision);
        if (--hosts_to_[target.revision] == 0) hosts_to_.erase(target.revision);
      }
    if (change.route)
      for (const auto& target : change.route->targets) {
        touched.insert(target.revision);
        ++hosts_to_[target.revision];
      }
    router_.set_route(change);
  }
  routes_changed();
  for (const auto& key : touched)
    if (const auto entry = find(key)) tell_reachable(key, *entry);
}

/// A revision that never was in a route is a new one, not one that traffic has left.
void Serving::Impl::tell_reachable(const RevisionKey& key, Entry& entry) {
  const bool reachable = hosts_to_.contains(key);
  if (reachable) entry.routed_once = true;
  entry.pool.set_reachable(reachable || !entry.routed_once);
}

bool Serving::Impl::adopt(const RevisionKey& key, std::shared_ptr<container::Instance> instance) {
  const auto entry = find(key);
  if (!entry) return false;
  entry->pool.adopt(std::move(instance));
  return true;
}

awaitable<std::expected<void, model::Failure>> Serving::Impl::ensure_ready(RevisionKey key) {
  const auto entry = find(key);
  if (!entry) {
    model::Failure unknown{.step = "start",
                           .slug = slug(Errc::not_found),
                           .because = fmt::format("there is no revision {}", key.text()),
                           .when = clock_.wall()};
    co_return std::unexpected(std::move(unknown));
  }
  co_return co_await entry->pool.ensure_ready();
}

awaitable<Result<InstanceHold>> Serving::Impl::hold(RevisionKey key, container::InstanceId id, std::string container) {
  const auto entry = find(key);
  if (!entry) co_return fail(Errc::not_found, fmt::format("there is no revision {}", key.text()));
  co_return co_await entry->pool.hold(std::move(id), std::move(container), entry);
}

// --- requests

awaitable<void> Serving::Impl::handle(http::Exchange& exchange) {
  const auto now = clock_.now();
  const auto& head = exchange.head();
  const auto choice = router_.choose(head);
  if (choice.found != Router::Found::revision) co_return co_await refuse_unrouted(exchange, choice.found);
  const auto& entry = choice.entry;
  RequestRecord what{.id = exchange.id(), .method = head.method, .target = head.target, .when = clock_.wall()};
  const auto& spec = entry->pool.spec();
  const auto limit = spec.timeout;
  http::RelayOptions options{.request_limit = limit,
                             .response_start_limit = spec.response_start_limit,
                             .idle_limit = spec.idle_limit,
                             .trust_forwarded = options_.trust_forwarded};
  // By value: the table may be replaced while the request waits.
  if (!choice.extra->empty()) options.extra_fields = *choice.extra;
  if (!choice.tag.empty()) what.tag = entry->metrics.tag(choice.tag);
  auto lease = entry->pool.try_acquire(now);
  if (!lease) {
    what.cold = !entry->pool.has_ready();
    const auto asked = clock_.now();
    auto waited = co_await lease_or_gone(exchange, entry->pool, now, now + limit);
    const auto leased = clock_.now();
    what.queued = leased - now;
    if (!waited) co_return co_await refuse(exchange, *entry, what, waited.error(), now);
    lease = std::move(*waited);
    what.wake = lease.wake_steps(now, asked, leased);
    options.request_limit -= std::chrono::duration_cast<milliseconds>(what.queued);
  }
  what.instance = lease.instance();
  auto outcome = co_await http::relay(exchange, lease.upstream(), std::move(options));
  const auto ended = clock_.now();
  lease.reset(ended);
  what.status = outcome.status;
  what.request_bytes = outcome.request_bytes;
  what.response_bytes = outcome.response_bytes;
  record(*entry, what, ended - now);
  if (access_log_) access_log_->write(exchange, what, entry->pool.spec());
}

// --- requests on other loops

http::Handler Serving::Impl::handler_on(Executor loop, Clock& clock) {
  LaneOptions options{.trust_forwarded = options_.trust_forwarded,
                      .idle_connection_limit = options_.idle_connection_limit,
                      .access_log = access_file_.duplicate()};
  Desk& desk = *this;
  lanes_.push_back(std::make_unique<Lane>(std::move(loop), clock, executor_, desk, std::move(options)));
  lanes_.back()->routes_changed(routes_);
  return [lane = lanes_.back().get()](http::Exchange& exchange) { return lane->handle(exchange); };
}

awaitable<Admission> Serving::Impl::admit(std::string host, std::optional<std::string> tag, TimePoint arrived,
                                          Borrower& borrower) {
  const auto choice = router_.choose(host, tag);
  Admission admission{.found = choice.found};
  if (choice.found == Router::Found::nothing) unrouted_.add();
  if (choice.found != Router::Found::revision) co_return admission;
  const auto entry = choice.entry;
  auto& pool = entry->pool;
  const auto spec = pool.shared_spec();
  admission.way = {.entry = entry,
                   .revision = spec->key,
                   .spec = spec,
                   .tag = std::string(choice.tag),
                   .extra = *choice.extra,
                   .lasts = choice.only && !tag && pool.lends_freely(),
                   .routes = routes_};
  auto lease = pool.try_acquire(arrived);
  if (!lease) {
    admission.cold = !pool.has_ready();
    const auto asked = clock_.now();
    auto waited = co_await pool.acquire(arrived, arrived + spec->timeout);
    const auto leased = clock_.now();
    admission.queued = leased - arrived;
    if (!waited) {
      admission.refused = std::move(waited.error());
      co_return admission;
    }
    lease = std::move(*waited);
    admission.wake = lease.wake_steps(arrived, asked, leased);
  }
  pool.lend(borrower);
  admission.loan = pool.loan_of(lease, borrower);
  admission.connection = lease.take_connection();
  admission.alone = spec->container_concurrency > 0;
  admission.ticket = TicketPtr(new Ticket{entry, std::move(lease)}, [loop = executor_](Ticket* ticket) {
    asio::post(loop, [owned = std::unique_ptr<Ticket>(ticket)] {
      if (owned->connection) owned->lease.upstream().keep(std::move(owned->connection));
    });
  });
  co_return admission;
}

awaitable<Result<Fd>> Serving::Impl::connect(LoanPtr loan) {
  const auto instance = loan->instance.lock();
  if (!instance) co_return fail(Errc::unavailable, "the instance has ended");
  co_return co_await instance->connect(loan->spec->port);
}

void Serving::Impl::count(std::vector<LaneRecord>& records, std::size_t number) {
  for (auto& each : std::span(records).first(number)) {
    const auto entry = each.entry.lock();
    each.entry.reset();
    if (!entry) continue;
    each.what.id = each.id;
    each.what.method = each.method;
    each.what.target = each.target;
    each.what.tag = each.tag.empty() ? std::string_view() : entry->metrics.tag(each.tag);
    record(*entry, each.what, each.what.total);
  }
}

awaitable<void> Serving::Impl::refuse_unrouted(http::Exchange& exchange, Router::Found found) {
  if (found == Router::Found::nothing) unrouted_.add();
  const int status = co_await respond_unrouted(exchange, found);
  log_unrouted(exchange, status);
}

void Serving::Impl::log_unrouted(const http::Exchange& exchange, int status) {
  if (!access_log_) return;
  const RequestRecord what{.id = exchange.id(), .when = clock_.wall(), .status = status};
  access_log_->write(exchange, what, RevisionSpec{});
}

awaitable<void> Serving::Impl::refuse(http::Exchange& exchange, Entry& entry, RequestRecord& what, const Error& error,
                                      TimePoint arrived) {
  what.status = co_await respond_refused(exchange, error);
  record(entry, what, clock_.now() - arrived);
  if (access_log_) access_log_->write(exchange, what, entry.pool.spec());
}

void Serving::Impl::record(Entry& entry, RequestRecord& what, Duration total) {
  what.total = total;
  entry.metrics.count(what);
  entry.traces->add(what, entry.pool.spec().key.name);
}

awaitable<Result<http::Response>> Serving::Impl::call(std::string name_space, std::string service,
                                                      http::Request request, milliseconds limit) {
  const auto choice = router_.choose(ServiceName{name_space, service});
  if (choice.found == Router::Found::nothing)
    co_return fail(Errc::not_found, fmt::format("there is no service {}/{}", name_space, service));
  const auto entry = choice.entry;
  if (!entry) co_return fail(Errc::unavailable, fmt::format("service {}/{} has no revision yet", name_space, service));
  const auto now = clock_.now();
  const auto id = fmt::format("call-{}", ++calls_);
  const auto method = request.head.method;
  const auto target = request.head.target;
  RequestRecord what{.id = id, .method = method, .target = target, .when = clock_.wall()};
  Result<http::Response> response = fail(Errc::timed_out, fmt::format("no answer within {} ms", limit.count()));
  try {
    auto calling = call_through(entry, std::move(request), now + limit, what);
    response = co_await with_deadline(clock_, limit, std::move(calling));
  } catch (const DeadlineExceeded&) {
    // `response` says so already.
  }
  what.status = response ? response->head.status : status_of(response.error().code());
  record(*entry, what, clock_.now() - now);
  co_return response;
}

awaitable<Result<http::Response>> Serving::Impl::call_through(EntryPtr entry, http::Request request, TimePoint deadline,
                                                              RequestRecord& what) {
  const auto now = clock_.now();
  auto lease = entry->pool.try_acquire(now);
  if (!lease) {
    what.cold = !entry->pool.has_ready();
    const auto asked = clock_.now();
    auto waited = co_await entry->pool.acquire(now, deadline);
    const auto leased = clock_.now();
    what.queued = leased - now;
    if (!waited) co_return fail(std::move(waited.error()));
    lease = std::move(*waited);
    what.wake = lease.wake_steps(now, asked, leased);
  }
  what.instance = lease.instance();
  const auto left = std::chrono::duration_cast<milliseconds>(deadline - clock_.now());
  co_return co_await http::call(lease.upstream(), clock_, std::move(request), std::max(left, milliseconds(1)));
}

// --- views, end

std::vector<RevisionView> Serving::Impl::revisions() const {
  std::vector<RevisionView> views;
  views.reserve(entries_.size());
  for (const auto& [key, entry] : entries_) views.push_back(entry->pool.view());
  return views;
}

std::optional<RevisionView> Serving::Impl::revision(const RevisionKey& key) const {
  const auto entry = find(key);
  return entry ? std::optional(entry->pool.view()) : std::nullopt;
}

std::optional<Answered> Serving::Impl::answered(const RevisionKey& key) const {
  const auto entry = find(key);
  return entry ? std::optional(entry->metrics.answered()) : std::nullopt;
}

std::vector<RequestTrace> Serving::Impl::traces(std::string_view name_space, std::string_view service) const {
  const auto found = traces_.find({std::string(name_space), std::string(service)});
  return found == traces_.end() ? std::vector<RequestTrace>{} : found->second->newest_first();
}

std::size_t Serving::Impl::queued() const {
  std::size_t all = 0;
  for (const auto& [key, entry] : entries_) all += entry->pool.waiting();
  return all;
}

awaitable<void> Serving::Impl::leave() {
  stopping_ = true;
  for (const auto& lane : lanes_)
    for (const auto& [key, entry] : entries_) entry->pool.forget(*lane);
  TaskGroup ending(executor_);
  for (const auto& [key, entry] : entries_) ending.spawn("let go of " + key.text(), entry->pool.let_go());
  co_await ending.join();
  elsewhere_.clear();
}

std::map<container::InstanceId, int> Serving::Impl::in_flight() const {
  std::map<container::InstanceId, int> counts;
  for (const auto& [key, entry] : entries_) entry->pool.count_in_flight(counts);
  return counts;
}

void Serving::Impl::count_elsewhere(const container::InstanceId& id, int requests) {
  if (stopping_) return;
  const auto wanted = static_cast<std::size_t>(std::max(0, requests));
  auto& known = elsewhere_[id];
  while (known.leases.size() > wanted) known.leases.pop_back();
  if (wanted == 0) {
    elsewhere_.erase(id);
    return;
  }
  const auto now = clock_.now();
  while (known.leases.size() < wanted) {
    Lease lease = known.entry ? known.entry->pool.lease_elsewhere(id, now) : Lease();
    for (auto each = entries_.begin(); !known.entry && each != entries_.end(); ++each)
      if ((lease = each->second->pool.lease_elsewhere(id, now))) known.entry = each->second;
    if (!lease) break;  // it has ended
    known.leases.push_back(std::move(lease));
  }
}

awaitable<void> Serving::Impl::stop(bool stop_instances) {
  const bool again = std::exchange(stopped_, true);
  stopping_ = true;
  elsewhere_.clear();
  for (const auto& lane : lanes_) {
    if (again) break;  // their loops may be gone
    for (const auto& [key, entry] : entries_) entry->pool.forget(*lane);
    co_await lane->stop();
  }
  TaskGroup ending(executor_);
  for (const auto& [key, entry] : entries_)
    ending.spawn("stop " + key.text(), stop_instances ? entry->pool.drain() : entry->pool.leave());
  co_await ending.join();
  co_await retiring_.join();
  co_await box_.stop();
  if (access_log_) co_await access_log_->stop();
}

Serving::Serving(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics,
                 ServingOptions options)
    : impl_(std::make_unique<Impl>(executor, clock, launcher, metrics, std::move(options))) {}
Serving::~Serving() = default;
void Serving::set_revision(RevisionSpec spec) { impl_->set_revision(std::move(spec)); }
void Serving::remove_revision(const RevisionKey& key) { impl_->remove_revision(key); }
void Serving::change_routes(const std::vector<RouteChange>& changes) { impl_->change_routes(changes); }
bool Serving::adopt(const RevisionKey& key, std::shared_ptr<container::Instance> instance) {
  return impl_->adopt(key, std::move(instance));
}
awaitable<std::expected<void, model::Failure>> Serving::ensure_ready(RevisionKey key) {
  return impl_->ensure_ready(std::move(key));
}
awaitable<Result<InstanceHold>> Serving::hold(RevisionKey key, container::InstanceId id, std::string container) {
  return impl_->hold(std::move(key), std::move(id), std::move(container));
}
http::Handler Serving::handler() {
  return [impl = impl_.get()](http::Exchange& exchange) { return impl->handle(exchange); };
}
http::Handler Serving::handler_on(Executor loop, Clock& clock) { return impl_->handler_on(std::move(loop), clock); }
awaitable<Result<http::Response>> Serving::call(std::string name_space, std::string service, http::Request request,
                                                milliseconds limit) {
  return impl_->call(std::move(name_space), std::move(service), std::move(request), limit);
}
bool Serving::serves(std::string_view host) const { return impl_->serves(host); }
std::vector<RevisionView> Serving::revisions() const { return impl_->revisions(); }
std::optional<RevisionView> Serving::revision(const RevisionKey& key) const { return impl_->revision(key); }
std::optional<Answered> Serving::answered(const RevisionKey& key) const { return impl_->answered(key); }
std::vector<RequestTrace> Serving::traces(std::string_view name_space, std::string_view service) const {
  return impl_->traces(name_space, service);
}
void Serving::on_change(std::function<void(const RevisionKey&)> callback) { impl_->on_change(std::move(callback)); }
std::size_t Serving::queued() const { return impl_->queued(); }
awaitable<void> Serving::leave() { return impl_->leave(); }
std::map<container::InstanceId, int> Serving::in_flight() const { return impl_->in_flight(); }
void Serving::count_elsewhere(const container::InstanceId& id, int requests) { impl_->count_elsewhere(id, requests); }
awaitable<void> Serving::stop(bool stop_instances) { return impl_->stop(stop_instances); }

}  // namespace wick::serving
