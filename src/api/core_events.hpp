// Core Events: what happened to Knative's objects, told from the changes of the object table with Knative's reasons and
// sentences. Kept in memory as long as Kubernetes keeps them, an hour, and at most events_max.
#pragma once

#include <boost/json/object.hpp>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "wick/model/condition.hpp"
#include "wick/model/resource.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

const model::Kind& core_event_kind();

class CoreEvents {
 public:
  static constexpr std::size_t events_max = 2'000;
  static constexpr auto kept = std::chrono::hours(1);

  /// Both outlive it.
  CoreEvents(store::Objects& objects, Clock& clock);

  /// Oldest first.
  std::vector<boost::json::object> list();

 private:
  struct Seen {
    model::Truth ready = model::Truth::unknown;
    std::string latest_ready;
    std::string missed;  // ticks of a PingSource
  };

  void on_change(const store::Change& change);
  void tell_missed_at_start(const model::Kind& kind, const boost::json::object& object);
  void on_created(const model::Kind& kind, const boost::json::object& object);
  void on_modified(const model::Kind& kind, const Seen& before, const boost::json::object& after);
  void tell(const model::Kind& kind, const boost::json::object& about, std::string_view type, std::string_view reason,
            std::string message);
  void forget_old();

  struct Told {
    WallTime when;
    std::uint64_t count;  // of all that were told
    const model::Kind* kind;
    std::string name_space, name, uid, version;  // of whom
    std::string type, reason, message;
  };
  static boost::json::object event_of(const Told& told);
  static Seen seen_in(const boost::json::object& object);

  store::Objects& objects_;
  Clock& clock_;
  std::map<store::ObjectKey, Seen> before_;  // the last state of what events are told of
  std::deque<Told> told_;
  std::uint64_t count_ = 0;
  store::Objects::Subscription subscription_;
};

}  // namespace wick::api
