// Certificates for the names of this box that bring none: asked for, kept, renewed at two thirds of their life.
//
// States of a name:
//   unwanted → pending    (want(): kept certificate and attempts are read)
//   pending  → ready      (attend(): a certificate came)
//   pending  → failed     (attend(): it did not; due again after wait_after())
//   failed   → ready      (attend())
//   ready    → ready      (attend() at renewal_time(), or it failed and the old one is still good)
//   ready    → failed     (the clock: it expired)
//   any      → unwanted   (want(): files stay, for a name that comes back)
// Invariants: 1. a name is attended to by one task at a time, and at most at_once_max names are (one, until there is an
// account, and where a program of the box's owner sets records); 2. what is shown is on disk first, where that is
// possible; 3. a certificate that is good is shown whatever fails.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/acme/challenges.hpp"
#include "app/acme/session.hpp"
#include "app/acme/store.hpp"
#include "wick/base/metrics.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"

namespace wick::app::acme {

struct IssuerDoors {
  Executor executor;
  Clock& clock;
  WorkerPool& workers;
  Metrics& metrics;
  Call call;
  Challenges& challenges;
  /// All certificates there are now, by name.
  std::function<void(std::map<std::string, http::Certificate, std::less<>>)> show;
  /// What state() says of a name is another thing now.
  std::function<void(const std::string& host)> changed;
  /// A sentence on where a name leads, for people; blocks. May be empty.
  std::function<std::string(const std::string& host)> look_up;
};

class Issuer {
 public:
  struct Settings {
    Session::Options session;
    std::vector<std::string> challenges{"http-01", "tls-alpn-01"};  // one after the other, where one fails
  };
  struct State {
    enum class Kind { unwanted, pending, ready, failed };
    Kind kind = Kind::unwanted;
    std::string message;  // what happens, or what went wrong and when it is tried again
  };

  Issuer(IssuerDoors doors, Settings settings, Store store);

  /// The names, each with a text that asks for an attempt at once when it changes.
  void want(std::map<std::string, std::string> hosts);
  State state(const std::string& host) const;
  std::vector<std::pair<std::string, State>> states() const;
  /// Until it is cancelled.
  awaitable<void> run();

  static constexpr std::size_t at_once_max = 4;

 private:
  struct Host {
    std::string asked;
    bool asked_anew = false;  // since the last attempt
    std::optional<http::Certificate> certificate;
    Attempts attempts;
  };
  WallTime due(const std::string& name, const Host& host) const;
  /// Of the names that nobody attends to.
  std::optional<std::pair<WallTime, std::string>> next() const;
  std::size_t at_once() const;
  awaitable<void> attend_as_due();
  awaitable<void> attend(std::string name);
  awaitable<Outcome<Issued>> ask(const std::string& name, const std::string& by);
  awaitable<void> keep(const std::string& name, Issued issued);
  awaitable<void> note(const std::string& name, const std::string& by, Failure failure);
  std::string challenge_after(const std::string& by) const;
  void show_all();
  awaitable<bool> wait_for_bell();

  IssuerDoors doors_;
  Settings settings_;
  Store store_;
  std::map<std::string, Host> hosts_;
  std::set<std::string> attended_;
  asio::steady_timer bell_;
  bool rung_ = false;
  TaskGroup attending_;
};

}  // namespace wick::app::acme
