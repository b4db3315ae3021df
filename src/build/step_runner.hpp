// Runs one step of a plan on top of layers and turns what it changed into a layer.
#pragma once

#include <deque>
#include <map>

#include "bases.hpp"
#include "cache_mounts.hpp"
#include "fetch.hpp"
#include "plan.hpp"
#include "selection.hpp"
#include "step_cache.hpp"
#include "wick/build/build.hpp"

namespace wick::build {

/// Exits by instance, from the runner's one callback to whoever waits.
class ExitWatch {
 public:
  explicit ExitWatch(Executor executor) : executor_(executor) {}

  class Waiter {
   public:
    Waiter(ExitWatch& watch, container::InstanceId id);
    Waiter(const Waiter&) = delete;
    ~Waiter();
    /// Called at once when the exit is known already.
    void on_exit(std::function<void()> callback);
    awaitable<container::Exit> wait();
    const std::optional<container::Exit>& exit() const { return exit_; }

   private:
    friend class ExitWatch;
    ExitWatch& watch_;
    container::InstanceId id_;
    std::optional<container::Exit> exit_;
    asio::steady_timer ended_;
    std::function<void()> callback_;
  };

  void ended(const container::Exit& exit);

 private:
  Executor executor_;
  std::map<container::InstanceId, Waiter*> waiters_;
};

/// The source a build's COPY steps take from.
struct Context {
  SourceTree tree;
  Listing visible;         // what the ignore file leaves of it
  std::int64_t epoch = 0;  // SOURCE_DATE_EPOCH: no file of the image is later
  bool dated = true;       // false: the source has no file, so nothing says what late is
  bool same_time = false;  // files have no times of their own (git): all get `epoch`
};

struct StepSettings {
  container::Limits limits;
  EgressPolicy egress;                           // of RUN steps
  std::function<void(std::string)> on_output;    // one line each
  std::vector<std::string> network_environment;  // for a RUN that has a network; in no key and no image
  std::map<std::string, std::string> secrets;
};

/// What ADD fetched: a file of a URL, or a git repository.
struct Remote {
  std::unique_ptr<Fetched> fetched;
  SourceTree tree;
  Selection selection;
  std::int64_t epoch = 0;
  bool same_time = false;
};

/// What is below a step, and what it copies from.
struct StepInputs {
  std::vector<image::Descriptor> layers;
  std::vector<image::Descriptor> from;  // layers of the stage or image that COPY --from names
  std::string from_name;
  std::shared_ptr<const Selection> selection;  // of a COPY from the source
  std::vector<std::shared_ptr<const Remote>> remotes;
  std::vector<std::vector<image::Descriptor>> mounted;  // RUN: for each mount what it is from; empty: the source
};

class StepRunner {
 public:
  struct Parts {
    WorkerPool& workers;
    container::Runner& runner;
    image::ContentStore& store;
    ExitWatch& exits;
    CacheMounts& cache_mounts;
    LayersInUse::Pins& pins;
    std::filesystem::path work;
  };
  StepRunner(Parts parts, const Context& context, StepSettings settings)
      : parts_(parts), context_(context), settings_(std::move(settings)) {}

  /// Errors: build_failed with the exit of a RUN as message; what a verb says. Nothing stays behind, cancelled or not.
  awaitable<Result<StepResult>> run(const Step& step, const StepInputs& inputs);

  bool out_of_memory() const { return out_of_memory_; }

 private:
  awaitable<Result<void>> act(container::InstanceId id, const Step& step, const StepInputs& inputs);
  awaitable<Result<void>> command(container::InstanceId id, const RunStep& step, const StepInputs& inputs);
  awaitable<Result<void>> execute(container::InstanceSpec spec);
  /// What a RUN holds while it runs: opened steps and uses of caches.
  struct Held {
    std::vector<container::InstanceId> steps;
    std::vector<CacheMounts::Use> caches;
  };
  awaitable<Result<void>> mounts(const RunStep& step, const StepInputs& inputs, container::InstanceSpec& spec,
                                 Held& held);
  awaitable<Result<container::InstanceId>> open_bind(const Mount& mount, const std::vector<image::Descriptor>& from,
                                                     Held& held);
  struct Origin {
    const SourceTree& tree;
    const Selection& selection;
    std::int64_t epoch;
    bool same_time;
  };
  awaitable<Result<void>> copy_entries(container::InstanceId id, const CopyStep& step, Origin origin,
                                       container::UserIds ids, bool into_folder);
  /// True when it was an archive, and is unpacked now.
  awaitable<Result<bool>> unpack_archive(container::InstanceId id, const CopyStep& step, const Origin& origin,
                                         const Selected& selected, container::UserIds ids);
  awaitable<Result<void>> copy(container::InstanceId id, const CopyStep& step, const StepInputs& inputs,
                               bool into_folder);
  awaitable<Result<void>> copy_from(container::InstanceId id, const CopyStep& step, const StepInputs& inputs,
                                    bool into_folder);
  awaitable<Result<void>> folder(container::InstanceId id, const FolderStep& step, const StepInputs& inputs);
  awaitable<Result<container::UserIds>> ids_of(std::string user, const StepInputs& inputs);
  awaitable<Result<StepResult>> commit(container::InstanceId id);
  Result<Fd> scratch_file() const;

  Parts parts_;
  const Context& context_;
  StepSettings settings_;
  bool out_of_memory_ = false;
};

}  // namespace wick::build
