// From a spec to a running Instance and back to nothing. `serving` sees only this; tests put a FakeLauncher in its
// place.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/container/runner.hpp"

namespace wick::container {

/// One container of an instance that has several.
struct ContainerView {
  std::string name;
  enum class Kind : std::uint8_t { init, beside, main } kind = Kind::main;
  enum class State : std::uint8_t { waiting, running, terminated } state = State::waiting;
  InstanceId id;  // of its newest run; empty: it never ran
  pid_t pid = 0;
  int restarts = 0;
  WallTime since{};          // in this state
  std::optional<Exit> last;  // how its run before this one ended, or this one
};

/// One thing that runs, will run, or is held. Dropping the last reference does not stop it: instances outlive the
/// daemon; call stop().
class Instance {
 public:
  virtual ~Instance() = default;

  virtual const InstanceId& id() const = 0;
  virtual pid_t pid() const = 0;
  /// A connected socket to the instance's `port`. Errors: unavailable while nobody listens or after the end.
  virtual awaitable<Result<Fd>> connect(std::uint16_t port) = 0;
  /// Returns once the instance has ended, at once if it has already. Any number of callers may wait.
  virtual awaitable<Exit> wait_exit() = 0;
  virtual bool ended() const = 0;
  /// The same as connect() once somebody listens, waited for at most `patience` (Runner::await_listening).
  virtual awaitable<Result<Fd>> await_listening(std::uint16_t port, std::chrono::milliseconds patience) = 0;

  // --- the ladder (Runner's verbs of the same names). After a failed park, start or thaw it has ended.
  virtual awaitable<Result<void>> park() = 0;
  virtual awaitable<Result<void>> start() = 0;
  virtual awaitable<Result<void>> freeze() = 0;
  virtual awaitable<Result<void>> thaw() = 0;

  /// SIGTERM, at most `grace` to end, SIGKILL, then everything given back. Safe to call twice.
  virtual awaitable<void> stop(std::chrono::milliseconds grace) = 0;
  /// As Runner::execute.
  virtual awaitable<Result<Executed>> execute(Process process, std::chrono::milliseconds limit) = 0;
  /// As Runner::begin_command.
  virtual awaitable<Result<Command>> begin_command(Process process, CommandOptions options) = 0;
  /// As Runner::update_volumes.
  virtual awaitable<Result<void>> update_volumes(std::vector<Volume> volumes, std::vector<VolumeMount> mounts) = 0;
  virtual awaitable<Result<Usage>> usage() = 0;
  virtual awaitable<Result<std::vector<Listening>>> listening() = 0;
  /// The last `lines` lines of stdout and stderr, at most 64 KiB.
  virtual std::vector<std::string> log_tail(std::size_t lines) const = 0;

  // --- one of several containers; otherwise these are of no effect
  /// An adopted one learns what its containers are: from then on one that ends is started again.
  virtual void resume(const InstanceSpec& /*spec*/) {}
  /// Returns once everything beside the main container runs. Errors: unavailable when the instance ended instead.
  virtual awaitable<Result<void>> await_companions() { co_return Result<void>{}; }
  /// In the order of the spec, init ones first and main last. Empty where there is only one.
  virtual std::vector<ContainerView> containers() const { return {}; }
  /// The newest run of one of them; nullptr where that never ran or is not known.
  virtual std::shared_ptr<Instance> container(std::string_view /*name*/) const { return nullptr; }
};

class Launcher {
 public:
  virtual ~Launcher() = default;
  /// Everything up to the exec: what start() or park() goes on from. `owner` ("namespace/revision") is kept with the
  /// log and given back by adopt(). One that ends before it was started leaves no log.
  virtual awaitable<Result<std::shared_ptr<Instance>>> prepare(InstanceSpec spec, std::string owner) = 0;
  /// Prepares and starts; returns when the process was exec'd, which is before it listens. Of a spec with several
  /// containers (a pod) it returns before any of them was started: what becomes of them is the instance's end, its
  /// await_listening() and await_companions().
  virtual awaitable<Result<std::shared_ptr<Instance>>> launch(InstanceSpec spec, std::string owner) = 0;
};

struct LogOptions {
  std::uint64_t bytes_max = 16 << 20;  // per instance; past it the older half is dropped (looked at twice a second)
  std::size_t keep_ended = 5;          // ended instances of an owner whose log and record stay
};

/// The real Launcher. Logs are `<folder>/<id>.log` beside `<id>.json` (owner, spec); both stay for `keep_ended` ended
/// instances an owner. An instance that ends is given back by itself; stop() only hurries it.
class RunnerLauncher final : public Launcher {
 public:
  RunnerLauncher(Executor executor, Runner& runner, std::string folder, LogOptions options = {});
  ~RunnerLauncher() override;
  awaitable<Result<std::shared_ptr<Instance>>> prepare(InstanceSpec spec, std::string owner) override;
  awaitable<Result<std::shared_ptr<Instance>>> launch(InstanceSpec spec, std::string owner) override;

  struct Adopted {
    std::shared_ptr<Instance> instance;
    std::string owner;
    std::uint32_t id_range = 0;
  };
  /// After a restart: what still runs and has a record here; the frozen ones are thawed. What the runner knows and we
  /// do not is removed, and so is what was prepared or parked for the life before.
  awaitable<Result<std::vector<Adopted>>> adopt();
  awaitable<void> stop();  // stops watching logs and exits; instances go on

  struct LogFile {
    InstanceId id;
    std::string owner;
    std::string path;
    bool running = false;
    InstanceId pod;         // the instance whose container it is; empty: the instance itself
    std::string container;  // its name, where it has one
  };
  /// Whose instance that is; nothing for what was not launched here, a build step.
  std::optional<std::string> owner_of(const InstanceId& id) const;
  /// Logs of `owner`, newest first, ended instances included.
  std::vector<LogFile> logs(std::string_view owner) const;

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;  // the runner's exit callback holds it weakly
};

}  // namespace wick::container
