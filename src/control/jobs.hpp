// batch/v1 Jobs: each a container that is run to its end, at most so many at once. All that has to outlast the daemon
// is in the object: a Job without an end in its status is run, one with an end never is again.
//
//   waiting ──a place is free──► running ──exit 0──► Complete
//      ▲                            │ └─backoffLimit reached, or activeDeadlineSeconds─► Failed
//      └───────after a pause────────┘
//
// A container goes on without the daemon and is adopted by the next one. One that ended while no daemon ran left no
// exit status behind: it is run again (Kubernetes: "the same program may sometimes be started twice"). So may be,
// before Linux 6.15, an adopted one, whose parent is another process than the runner (PIDFD_GET_INFO).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "control/world.hpp"
#include "wick/container/launcher.hpp"
#include "wick/os/task_group.hpp"

namespace wick::control {

class Jobs {
 public:
  static constexpr std::size_t running_max = 64;          // of all …
  static constexpr std::size_t running_max_of_sink = 10;  // … and of one JobSink, where wick.dev/max-in-flight is none
  static constexpr std::size_t finished_kept_max = 1000;  // of one JobSink: the oldest go first

  explicit Jobs(World& world);
  ~Jobs();
  awaitable<Result<void>> reconcile(ObjectKey key);
  /// An instance of an earlier life; false when no unfinished Job is its owner.
  bool adopt(const std::string& owner, std::shared_ptr<container::Instance> instance);
  /// Of the logs and of adopt(): "namespace/jobs/NAME".
  static std::string owner_of(const ObjectKey& key);
  /// Instances go on, unless `stop_instances`: then they are run anew at the next start.
  awaitable<void> stop(bool stop_instances);

 private:
  struct Run;
  using RunPointer = std::shared_ptr<Run>;
  using Queue = std::map<std::uint64_t, ObjectKey>;  // by the version with which it came, or failed last
  static std::string queue_of(const json::object& job);
  void wait(const ObjectKey& key, const json::object& job);
  void wait_no_more(const ObjectKey& key);
  bool has_room(const std::string& queue, const json::object& job) const;
  void start_waiting();
  void begin(ObjectKey key, const json::object& job, std::shared_ptr<container::Instance> adopted);
  awaitable<void> run(RunPointer run);
  awaitable<Result<void>> launch(RunPointer run);
  awaitable<container::Exit> wait_end(RunPointer run, bool& too_long);
  awaitable<void> finish(RunPointer run, container::Exit exit, bool too_long);
  awaitable<void> failed_to_start(RunPointer run, Error error);
  awaitable<void> write(ObjectKey key, std::string uid, json::object status);
  void end(const RunPointer& run);
  awaitable<void> forget(RunPointer run);
  awaitable<Result<void>> settle(ObjectKey key, const json::object& job);

  World& world_;
  std::map<ObjectKey, RunPointer> runs_;
  std::map<std::string, Queue> waiting_;  // of each JobSink, and of the Jobs of none in each namespace
  std::map<ObjectKey, std::pair<std::string, std::uint64_t>> places_;  // in waiting_
  std::map<ObjectKey, TimePoint> pauses_;                              // until they are tried again
  bool stopping_ = false;
  TaskGroup tasks_;
};

/// Its label; empty for a Job that no JobSink made.
std::string job_sink_of(const json::object& job);

/// Complete, Failed or neither.
enum class JobEnd { none, complete, failed };
JobEnd end_of(const json::object& job);

}  // namespace wick::control
