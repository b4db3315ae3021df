#include "app/acme/issuer.hpp"

#include <boost/asio/as_tuple.hpp>

#include <fmt/format.h>

#include <algorithm>

#include "app/acme/schedule.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::app::acme {

namespace {

constexpr auto look_interval = std::chrono::minutes(10);  // somebody may have set the wall clock
constexpr auto turn = std::chrono::milliseconds(10);

constexpr auto rest_max = std::chrono::hours(1);  // after a certificate that is already due for renewal

}  // namespace

Issuer::Issuer(IssuerDoors doors, Settings settings, Store store)
    : doors_(std::move(doors)),
      settings_(std::move(settings)),
      store_(std::move(store)),
      bell_(doors_.executor, asio::steady_timer::time_point::max()),
      attending_(doors_.executor) {}

void Issuer::want(std::map<std::string, std::string> hosts) {
  bool shown_changed = false;
  for (auto known = hosts_.begin(); known != hosts_.end();) {
    const bool gone = !hosts.contains(known->first);
    shown_changed = shown_changed || (gone && known->second.certificate);
    known = gone ? hosts_.erase(known) : std::next(known);
  }
  std::vector<std::string> came;
  for (auto& [name, asked] : hosts) {
    const auto known = hosts_.find(name);
    if (known == hosts_.end()) {
      Host host{.asked = std::move(asked), .certificate = store_.certificate(name), .attempts = store_.attempts(name)};
      shown_changed = shown_changed || host.certificate;
      hosts_.emplace(name, std::move(host));
      came.push_back(name);
    } else if (known->second.asked != asked) {
      known->second.asked = std::move(asked);
      known->second.attempts.not_before = {};
      known->second.asked_anew = true;
    }
  }
  if (shown_changed) show_all();
  rung_ = true;
  bell_.cancel();
  for (const auto& name : came) doors_.changed(name);
}

void Issuer::show_all() {
  std::map<std::string, http::Certificate, std::less<>> certificates;
  for (const auto& [name, host] : hosts_) {
    if (!host.certificate) continue;
    certificates.emplace(name, *host.certificate);
    doors_.metrics
        .gauge("wick_certificate_not_after_seconds",
               "When the certificate that an authority gave for a name expires, in seconds since 1970.",
               {{"host", name}})
        .set(
            static_cast<double>(std::chrono::floor<seconds>(host.certificate->not_after()).time_since_epoch().count()));
  }
  doors_.show(std::move(certificates));
}

Issuer::State Issuer::state(const std::string& name) const {
  const auto found = hosts_.find(name);
  if (found == hosts_.end()) return {};
  const auto& [asked, asked_anew, certificate, attempts] = found->second;
  std::string trouble;
  if (attempts.failures > 0 && !asked_anew)
    trouble = fmt::format("{}; next attempt at {}", attempts.problem, to_rfc3339(due(name, found->second)));
  const bool good = certificate && doors_.clock.wall() < certificate->not_after();
  if (good) return {.kind = State::Kind::ready, .message = std::move(trouble)};
  if (!trouble.empty()) return {.kind = State::Kind::failed, .message = std::move(trouble)};
  return {.kind = State::Kind::pending, .message = "asking " + settings_.session.directory};
}

std::vector<std::pair<std::string, Issuer::State>> Issuer::states() const {
  std::vector<std::pair<std::string, State>> all;
  for (const auto& [name, host] : hosts_) all.emplace_back(name, state(name));
  return all;
}

WallTime Issuer::due(const std::string& name, const Host& host) const {
  if (!host.certificate) return host.attempts.not_before;
  const auto renewal = renewal_time(host.certificate->not_before(), host.certificate->not_after(), name);
  return std::max(renewal, host.attempts.not_before);
}

std::optional<std::pair<WallTime, std::string>> Issuer::next() const {
  std::optional<std::pair<WallTime, std::string>> first;
  for (const auto& [name, host] : hosts_) {
    if (attended_.contains(name)) continue;
    if (const auto when = due(name, host); !first || when < first->first) first.emplace(when, name);
  }
  return first;
}

awaitable<bool> Issuer::wait_for_bell() {
  while (!rung_) {
    auto woken = co_await bell_.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(std::get<0>(woken));
  }
  rung_ = false;
  co_return true;
}

/// Each proof is of its own, but an account is asked for once, and who wrote a hook did not expect two at a time.
std::size_t Issuer::at_once() const {
  return store_.account().empty() || std::ranges::count(settings_.challenges, "dns-01") > 0 ? 1 : at_once_max;
}

awaitable<void> Issuer::run() {
  std::exception_ptr end;
  try {
    co_await attend_as_due();
  } catch (...) {
    end = std::current_exception();
  }
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await attending_.stop();
  std::rethrow_exception(end);
}

awaitable<void> Issuer::attend_as_due() {
  while (true) {
    const auto first = next();
    const auto now = doors_.clock.wall();
    const bool free = attended_.empty() || attended_.size() < at_once();
    if (first && first->first <= now && free) {
      attended_.insert(first->second);
      attending_.spawn("certificate of " + first->second, attend(first->second));
      continue;
    }
    Duration pause = look_interval;
    if (first && free) pause = std::min(pause, std::chrono::duration_cast<Duration>(first->first - now) + turn);
    try {
      auto rung = wait_for_bell();
      co_await with_deadline(doors_.clock, pause, std::move(rung));
    } catch (const DeadlineExceeded&) {
    }
  }
}

awaitable<void> Issuer::attend(std::string name) {
  struct Attended {
    Issuer& issuer;
    const std::string& name;
    ~Attended() {
      issuer.attended_.erase(name);
      issuer.rung_ = true;
      issuer.bell_.cancel();
    }
  } const attended{*this, name};
  const auto asked = hosts_.at(name).asked;
  const auto by = hosts_.at(name).attempts.by;
  const auto& types = settings_.challenges;
  const auto chosen = std::ranges::find(types, by) == types.end() ? types.front() : by;
  auto outcome = co_await ask(name, chosen);
  if (outcome)
    co_await keep(name, std::move(*outcome));
  else
    co_await note(name, chosen, std::move(outcome.error()));
  // Somebody may have asked meanwhile.
  if (const auto host = hosts_.find(name); host != hosts_.end() && host->second.asked == asked)
    host->second.asked_anew = false;
  doors_.changed(name);
}

awaitable<Outcome<Issued>> Issuer::ask(const std::string& name, const std::string& by) {
  auto read = [this] { return store_.account_key(); };
  auto key = co_await doors_.workers.run(std::move(read));
  if (!key) co_return std::unexpected(Failure{.kind = Failure::Kind::refused, .error = std::move(key.error())});
  const auto before = store_.account();
  Session session(doors_.clock, doors_.call, settings_.session, std::move(*key), before);
  log::info("asking for a certificate",
            {{"host", name}, {"challenge", by}, {"authority", settings_.session.directory}});
  Show show = [this](Proof proof) { return doors_.challenges.show(std::move(proof)); };
  auto outcome = co_await session.issue(name, by, std::move(show));
  if (session.account() != before) {
    auto write = [this, account = session.account()] { return store_.keep_account(account); };
    auto kept = co_await doors_.workers.run(std::move(write));
    if (!kept) log::warn("an ACME account was not kept", {{"error", kept.error().what()}});
  }
  co_return outcome;
}

awaitable<void> Issuer::keep(const std::string& name, Issued issued) {
  auto write = [this, name, &issued]() -> Result<void> {
    if (auto kept = store_.keep_certificate(name, issued.chain, issued.key); !kept) return kept;
    return store_.keep_attempts(name, {});
  };
  auto kept = co_await doors_.workers.run(std::move(write));
  if (!kept)
    log::error("a certificate was not kept, the next start asks for another",
               {{"host", name}, {"error", kept.error().what()}});
  log::info("certificate", {{"names", name}, {"until", to_rfc3339(issued.certificate.not_after())}});
  doors_.metrics
      .counter("wick_acme_attempts_total", "Certificates asked for, by what came of it.", {{"result", "issued"}})
      .add();
  const auto host = hosts_.find(name);
  if (host == hosts_.end()) co_return;  // nobody wants it any more
  // A clock that is wrong, or a life of minutes, must not make us ask without a rest.
  const auto life = issued.certificate.not_after() - issued.certificate.not_before();
  host->second.attempts = {.not_before = doors_.clock.wall() + std::min<WallTime::duration>(life / 4, rest_max)};
  host->second.certificate = std::move(issued.certificate);
  show_all();
}

std::string Issuer::challenge_after(const std::string& by) const {
  const auto& types = settings_.challenges;
  const auto place = std::ranges::find(types, by);
  return place == types.end() || std::next(place) == types.end() ? types.front() : *std::next(place);
}

awaitable<void> Issuer::note(const std::string& name, const std::string& by, Failure failure) {
  auto problem = failure.error.what();
  if (!failure.error.hint().empty()) problem += " (" + failure.error.hint() + ")";
  const bool challenge = failure.kind == Failure::Kind::challenge;
  if (challenge && doors_.look_up) {
    auto look = [this, name] { return doors_.look_up(name); };
    const auto seen = co_await doors_.workers.run(std::move(look));
    if (!seen.empty()) problem += "; " + seen;
  }
  doors_.metrics
      .counter("wick_acme_attempts_total", "Certificates asked for, by what came of it.", {{"result", "failed"}})
      .add();
  const auto host = hosts_.find(name);
  if (host == hosts_.end()) co_return;
  auto& attempts = host->second.attempts;
  ++attempts.failures;
  attempts.not_before = doors_.clock.wall() + wait_after(failure, attempts.failures, name);
  attempts.problem = printable(problem, 1000);
  attempts.by = challenge ? challenge_after(by) : by;
  log::warn("no certificate", {{"host", name},
                               {"error", attempts.problem},
                               {"failures", attempts.failures},
                               {"next", to_rfc3339(attempts.not_before)}});
  auto write = [this, name, kept = attempts] { return store_.keep_attempts(name, kept); };
  auto kept = co_await doors_.workers.run(std::move(write));
  if (!kept) log::warn("a failed attempt was not kept", {{"host", name}, {"error", kept.error().what()}});
}

}  // namespace wick::app::acme
