// Several containers as one Instance: it is ready when its main one is and the others run, and ends as a whole.
// pod_life.hpp has the order of things; every container is an ordinary instance of the runner, that runs in the pod.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "pod_life.hpp"
#include "wick/container/launcher.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container {

/// What a PodInstance needs of who made it.
struct PodDoors {
  Executor executor;
  Clock& clock;
  TaskGroup& tasks;
  std::function<awaitable<Result<std::shared_ptr<Instance>>>(InstanceSpec)> launch;
  /// Everything in it has ended. `main_ran` is false where its main container never began.
  std::function<awaitable<void>(InstanceId pod, Exit exit, bool main_ran)> close;
};

class PodInstance final : public Instance, public std::enable_shared_from_this<PodInstance> {
 public:
  struct Found {
    std::string name;
    std::shared_ptr<Instance> instance;
    int restarts = 0;
  };

  PodInstance(PodDoors doors, const InstanceId& id);
  /// Starts what `spec` says, once.
  void begin(InstanceSpec spec);
  /// What runs of it since before us; nothing is started, or followed, before resume().
  void adopt(std::shared_ptr<Instance> main, std::vector<Found> beside);

  const InstanceId& id() const override { return id_; }
  pid_t pid() const override;
  awaitable<Result<Fd>> connect(std::uint16_t port) override;
  awaitable<Exit> wait_exit() override;
  bool ended() const override { return exit_.has_value(); }
  awaitable<Result<Fd>> await_listening(std::uint16_t port, std::chrono::milliseconds patience) override;
  awaitable<Result<void>> park() override;
  awaitable<Result<void>> start() override;
  awaitable<Result<void>> freeze() override;
  awaitable<Result<void>> thaw() override;
  awaitable<void> stop(std::chrono::milliseconds grace) override;
  awaitable<Result<Executed>> execute(Process process, std::chrono::milliseconds limit) override;
  awaitable<Result<Command>> begin_command(Process process, CommandOptions options) override;
  /// `mounts` are the main container's; the others keep theirs.
  awaitable<Result<void>> update_volumes(std::vector<Volume> volumes, std::vector<VolumeMount> mounts) override;
  /// Of all that runs in it, added up.
  awaitable<Result<Usage>> usage() override;
  /// Nothing: who of them listens cannot be told.
  awaitable<Result<std::vector<Listening>>> listening() override;
  /// Of the container that ended it, before that of the main one.
  std::vector<std::string> log_tail(std::size_t lines) const override;
  void resume(const InstanceSpec& spec) override;
  awaitable<Result<void>> await_companions() override;
  std::vector<ContainerView> containers() const override;
  std::shared_ptr<Instance> container(std::string_view name) const override;

 private:
  struct Place {
    InstanceSpec spec;
    std::shared_ptr<Instance> instance;  // the last one
    std::optional<Exit> last;
    WallTime since{};
    enum class State { waiting, running, terminated } state = State::waiting;
  };
  void lay_out(InstanceSpec spec);
  std::vector<std::shared_ptr<Instance>> running() const;
  Place& main() { return places_.back(); }
  bool main_runs() const { return !places_.empty() && places_.back().state == Place::State::running; }
  void act(PodLife::Verdict verdict, std::size_t container);
  void spawn(std::size_t container, Duration after);
  awaitable<void> run(std::size_t container, Duration after);
  awaitable<void> follow(std::size_t container);
  awaitable<Exit> run_to_end(std::size_t container);
  awaitable<void> stop_one(std::shared_ptr<Instance> instance, std::chrono::milliseconds grace);
  awaitable<bool> pause(Duration limit);
  awaitable<void> changed();
  awaitable<void> main_running_or_over();
  void notify();

  PodDoors doors_;
  InstanceId id_;
  PodLife life_{0, 0};
  std::vector<Place> places_;  // as PodLife counts
  std::vector<Found> found_;   // until resume()
  std::shared_ptr<Instance> found_main_;
  std::optional<Exit> exit_;
  std::size_t culprit_ = 0;
  bool frozen_ = false;
  bool stopping_ = false;
  bool given_back_ = false;
  int busy_ = 0;  // run() and stop_one() under way
  asio::steady_timer changed_;
  std::uint64_t changes_ = 0;
};

}  // namespace wick::container
