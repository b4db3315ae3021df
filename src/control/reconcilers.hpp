// The reconcilers, one a kind. Each looks the object up itself, is idempotent, and takes the object's absence for its
// deletion. An error is tried again with backoff; what a person has to mend is a condition, not an error.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "control/rollout.hpp"
#include "control/world.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/task_group.hpp"

namespace wick::control {

/// Why a traffic target has no revision.
struct Missing {
  model::Truth status;  // no: it will not come by itself
  std::string reason;
  std::string message;
};

/// Service → Configuration and Route of the same name.
awaitable<Result<void>> reconcile_service(World& world, ObjectKey key);
/// Configuration → a Revision a template; keeps the history short.
awaitable<Result<void>> reconcile_configuration(World& world, ObjectKey key);
/// DomainMapping → the claim on its name.
awaitable<Result<void>> reconcile_domain_mapping(World& world, ObjectKey key);
awaitable<Result<void>> reconcile_broker(World& world, ObjectKey key);
awaitable<Result<void>> reconcile_trigger(World& world, ObjectKey key);
awaitable<Result<void>> reconcile_in_memory_channel(World& world, ObjectKey key);
/// Channel → the InMemoryChannel of its name.
awaitable<Result<void>> reconcile_channel(World& world, ObjectKey key);
awaitable<Result<void>> reconcile_subscription(World& world, ObjectKey key);
/// Sequence or Parallel → its channels and subscriptions.
awaitable<Result<void>> reconcile_flow(World& world, const model::Kind& kind, ObjectKey key);
/// A kind that is stored and checked while what acts on it is not part of this version: its status says so.
bool is_kept_only(const model::Kind& kind);
awaitable<Result<void>> reconcile_kept(World& world, const model::Kind& kind, ObjectKey key);
/// On a Trigger: the JSON of a reference to what has to be ready before it.
inline constexpr std::string_view dependency_annotation = "knative.dev/dependency";
/// Makes the Broker where it is missing.
awaitable<Result<void>> ensure_broker(World& world, std::string name_space, std::string name);

/// Route → status.traffic and routing state of the revisions; moves a rollout along.
class RouteReconciler {
 public:
  explicit RouteReconciler(World& world) : world_(world) {}
  awaitable<Result<void>> reconcile(ObjectKey key);

 private:
  /// What the two revisions that a rollout compares had answered when it began.
  struct Baseline {
    std::string newest;
    serving::Answered of_newest;
    serving::Answered of_previous;
  };
  RolloutGroup next(const json::object& route, const RolloutGoal& goal, const Rollout& before);
  void judge(const json::object& route, RolloutGroup& group);
  std::expected<json::array, Missing> resolve(const json::object& route, Rollout& rollout);
  json::object status_of(const json::object& route, const std::expected<json::array, Missing>& traffic,
                         const Rollout& rollout);

  World& world_;
  std::map<std::string, Baseline> baselines_;  // by namespace/route/configuration/tag, while a rollout is judged
};

/// Where an image may come from: at the start of the daemon nobody waits for a registry.
enum class Reach { this_machine, registries };

/// Revision → a spec that serving runs, and the verdict of its first start.
class RevisionReconciler {
 public:
  explicit RevisionReconciler(World& world) : world_(world) {}
  awaitable<Result<void>> reconcile(ObjectKey key);
  /// At once, without waiting for a reconcile in progress: what waits for its start ends.
  void forget(const ObjectKey& key);
  /// A Secret or ConfigMap that the revision refers to changed: what starts from now on gets the new values.
  void values_changed(const ObjectKey& key);
  /// Makes the revision known to serving without waiting for an instance: for the start of the daemon.
  awaitable<Result<void>> restore(ObjectKey key);

 private:
  struct Known {
    std::string uid;
    serving::RevisionSpec spec;
    json::array statuses;                // of its containers, each with its image: "repo@sha256:…"
    json::array init_statuses;           // of its init containers
    std::optional<bool> told_reachable;  // what serving was last told
    bool stale = false;                  // its values changed: to be learnt anew
  };
  awaitable<Result<void>> learn(const ObjectKey& key, const json::object& object, Reach reach);
  awaitable<Result<void>> write_status(ObjectKey key, model::Conditions conditions,
                                       std::optional<model::Failure> failure);
  void set_in_force(const ObjectKey& key, const json::object& object);

  World& world_;
  std::map<ObjectKey, Known> known_;
};

/// BuildRun → an image, and the Service that the annotation asks for.
class BuildRunReconciler {
 public:
  explicit BuildRunReconciler(World& world);
  awaitable<Result<void>> reconcile(ObjectKey key);
  awaitable<void> stop();

 private:
  struct Run {
    explicit Run(Executor executor) : task(executor) {}
    std::string uid;
    TaskGroup task;
  };
  awaitable<void> run(ObjectKey key, std::string uid);
  awaitable<void> cancel(ObjectKey key);

  World& world_;
  Slots slots_;
  std::map<ObjectKey, std::shared_ptr<Run>> runs_;
};

struct SourceSink;

/// PingSource → its events, each at its time.
class PingSources {
 public:
  explicit PingSources(World& world);
  ~PingSources();
  awaitable<Result<void>> reconcile(ObjectKey key);
  awaitable<void> stop();

 private:
  struct Running;
  awaitable<Result<void>> run_as_told(ObjectKey key, const json::object& source, const SourceSink& sink,
                                      model::Conditions& conditions);
  awaitable<void> end(ObjectKey key);
  awaitable<void> run(std::shared_ptr<Running> running, WallTime last);
  awaitable<bool> send(std::shared_ptr<Running> running, WallTime tick);
  awaitable<WallTime> give_up(std::shared_ptr<Running> running, WallTime first);

  World& world_;
  std::map<ObjectKey, std::shared_ptr<Running>> running_;
  std::set<std::string> known_;  // uids that ticked since the start
};

/// ApiServerSource → an event for each change of the objects it watches.
class ApiServerSources {
 public:
  explicit ApiServerSources(World& world);
  ~ApiServerSources();
  awaitable<Result<void>> reconcile(ObjectKey key);
  void on_change(const model::Kind& kind, const store::Change& change);
  awaitable<void> stop();

 private:
  struct Watching;
  std::set<std::string> namespaces_of(const json::object& source) const;
  std::shared_ptr<Watching> read(const json::object& source, model::Conditions& conditions);
  awaitable<void> end(ObjectKey key);
  awaitable<void> send_waiting(std::shared_ptr<Watching> watching);

  World& world_;
  std::map<ObjectKey, std::shared_ptr<Watching>> watching_;
};

/// The registry of event types, filled by what brokers and channels take while the ConfigMap config-features of
/// knative-eventing says `eventtype-auto-create: enabled` (Knative's feature flag).
class EventTypes {
 public:
  explicit EventTypes(World& world);
  /// Looks at the flag: at the start, and when the ConfigMap changes.
  void configure();
  static bool is_flag(const ObjectKey& key);
  /// One that was deleted is made again when its like comes.
  void forget(const ObjectKey& key) { seen_.erase(key.name_space + "/" + key.name); }
  awaitable<void> stop();

 private:
  void see(const std::string& stream, const eventing::CloudEvent& event);
  awaitable<void> create(ObjectKey key, json::object object);

  World& world_;
  std::set<std::string> seen_;  // names that are there, or about to be
  TaskGroup tasks_;
};

/// On a Service or Configuration: the SinkBinding whose variables it has.
inline constexpr std::string_view bound_annotation = "wick.dev/sink-binding";
awaitable<Result<void>> reconcile_sink_binding(World& world, ObjectKey key);
/// True when the binding's subject is this object, by name or by its labels.
bool binds(const json::object& binding, const model::Kind& kind, const json::object& subject);
/// True when it has the variables of that binding.
bool is_bound_by(const json::object& subject, std::string_view binding);
/// Brings a Service's or Configuration's containers to what SinkBindings say. True when that changed it: its reconciler
/// is then called anew.
awaitable<Result<bool>> bind_sink(World& world, const model::Kind& kind, ObjectKey key, ObjectValue subject);

/// Removes what belongs to an object that is gone: children by ownerReferences, everything in a namespace.
awaitable<void> cascade(World& world, const model::Kind& kind, ObjectValue gone);
bool is_being_deleted(const json::object& object);
/// The next step of an object that has a deletionTimestamp: nothing acts on it any more but its finalizers.
awaitable<Result<void>> go_on_deleting(World& world, ObjectKey key, ObjectValue object);
/// What goes because its owner did.
awaitable<void> remove_owned(World& world, ObjectKey key);
/// At start: children whose owner went while nobody looked.
awaitable<void> collect_orphans(World& world);

}  // namespace wick::control
