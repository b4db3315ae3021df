// The real Launcher: records and logs on the front's side, the runner for everything else.
#include "wick/container/launcher.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>

#include "log_files.hpp"
#include "pod_instance.hpp"
#include "shared_connecting.hpp"
#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

namespace wick::container {

namespace {

constexpr auto log_check_interval = 500ms;
constexpr auto ending_grace = 30s;                 // of an instance that a launcher before this one has told to end
constexpr auto flooded_log_check_interval = 20ms;  // bounds what a flood takes of the disk between two looks

bool has_begun(Existing::State state) { return state == Existing::State::running || state == Existing::State::frozen; }

class RunnerInstance final : public Instance {
 public:
  RunnerInstance(Executor executor, Runner& runner, const InstanceId& id, std::filesystem::path log)
      : runner_(runner),
        id_(id),
        log_(std::move(log)),
        changed_(executor, asio::steady_timer::time_point::max()),
        connections_(executor,
                     [this](std::uint16_t port, std::size_t count) { return make_connections(port, count); }) {}

  const InstanceId& id() const override { return id_; }
  pid_t pid() const override { return pid_; }
  bool ended() const override { return ended_; }
  void set_pid(pid_t pid) { pid_ = pid; }

  awaitable<Result<Fd>> connect(std::uint16_t port) override {
    if (ended_) co_return fail(Errc::unavailable, "the instance has ended");
    co_return co_await connections_.connect(port);
  }
  awaitable<Result<Fd>> await_listening(std::uint16_t port, std::chrono::milliseconds patience) override {
    if (ended_) co_return fail(Errc::unavailable, "the instance has ended");
    co_return co_await runner_.await_listening(id_, port, patience);
  }
  awaitable<Result<void>> park() override {
    auto parked = co_await runner_.park(id_);
    co_return settled(std::move(parked));
  }
  awaitable<Result<void>> start() override {
    set_started();  // before its end can be told: what it writes is worth keeping
    auto started = co_await runner_.start(id_);
    co_return settled(std::move(started));
  }
  awaitable<Result<void>> freeze() override {
    auto frozen = co_await runner_.freeze(id_);
    if (!frozen) co_return fail(std::move(frozen.error()));
    frozen_ = true;
    freezer_ = std::move(*frozen);
    co_return Result<void>{};
  }
  awaitable<Result<void>> thaw() override {
    frozen_ = false;
    if (const Fd freezer = std::move(freezer_); freezer && write_all(freezer.get(), thawed_word)) {
      on_thawed_ahead();
      co_return Result<void>{};
    }
    auto thawed = co_await runner_.thaw(id_);
    co_return settled(std::move(thawed));
  }
  bool started() const { return started_; }
  void set_started() {
    if (!std::exchange(started_, true) && on_started) on_started();
  }
  std::function<void()> on_started;
  std::function<void()> on_thawed_ahead;  // it runs, and the runner does not know
  std::function<void()> on_failure;       // a rung was missed: the runner has removed it

  awaitable<Result<Executed>> execute(Process process, std::chrono::milliseconds limit) override {
    if (ended_) co_return fail(Errc::unavailable, "the instance has ended");
    co_return co_await runner_.execute(id_, std::move(process), limit);
  }
  awaitable<Result<Command>> begin_command(Process process, CommandOptions options) override {
    if (ended_) co_return fail(Errc::unavailable, "the instance has ended");
    co_return co_await runner_.begin_command(id_, std::move(process), options);
  }
  awaitable<Result<void>> update_volumes(std::vector<Volume> volumes, std::vector<VolumeMount> mounts) override {
    if (ended_) co_return fail(Errc::unavailable, "the instance has ended");
    co_return co_await runner_.update_volumes(id_, std::move(volumes), std::move(mounts));
  }
  awaitable<Result<Usage>> usage() override { return runner_.usage(id_); }
  awaitable<Result<std::vector<Listening>>> listening() override { return runner_.listening(id_); }
  std::vector<std::string> log_tail(std::size_t lines) const override { return tail_of(log_, lines); }

  awaitable<Exit> wait_exit() override {
    while (!ended_) co_await changed();
    co_return exit_;
  }

  awaitable<void> wait_at_most(std::chrono::milliseconds grace) {
    SteadyClock clock;
    try {
      auto ending = wait_exit();
      co_await with_deadline(clock, grace, std::move(ending));
    } catch (const DeadlineExceeded&) {
    }
  }

  awaitable<void> stop(std::chrono::milliseconds grace) override {
    if (!ended_ && !stopping_) {
      stopping_ = true;
      if (frozen_) co_await thaw();  // else it would not even hear of it
      auto signalled = co_await runner_.signal(id_, SIGTERM);
      if (signalled) co_await wait_at_most(grace);
      if (!ended_) {
        auto removed = co_await runner_.remove(id_);  // SIGKILL; the exit notice comes before its reply
        if (!removed)
          log::warn("cannot remove instance", {{"instance", id_.text()}, {"error", removed.error().what()}});
        // With the runner gone nobody will tell us: its next life knows what still runs.
        if (!removed && removed.error().code() == Errc::unavailable) stop_waiting();
      }
    }
    while (!given_back_) co_await changed();
  }

  void stop_waiting() {
    if (!stopping_ || given_back_) return;
    end(Exit{.id = id_, .status = {.code = 255}, .known = false});
    set_given_back();
  }

  void end(const Exit& exit) {
    if (ended_) return;
    exit_ = exit;
    ended_ = true;
    changed_.cancel();
  }
  void set_given_back() {
    given_back_ = true;
    changed_.cancel();
  }

 private:
  awaitable<Result<std::vector<Fd>>> make_connections(std::uint16_t port, std::size_t count) {
    auto connected = co_await runner_.connect(id_, port, count);
    // The runner died under it: the next one knows the instance too.
    if (!connected && connected.error().code() == Errc::io && !ended_)
      connected = co_await runner_.connect(id_, port, count);
    co_return connected;
  }

  Result<void> settled(Result<void> done) {
    if (!done && on_failure) on_failure();
    return done;
  }

  /// Returns when something about the end has changed; throws when the caller was cancelled.
  awaitable<void> changed() {
    const bool ended = ended_;
    const bool given_back = given_back_;
    auto waited = co_await changed_.async_wait(asio::as_tuple(use_awaitable));
    if (ended == ended_ && given_back == given_back_) throw boost::system::system_error(std::get<0>(waited));
  }

  Runner& runner_;
  InstanceId id_;
  pid_t pid_ = 0;
  std::filesystem::path log_;
  asio::steady_timer changed_;
  bool started_ = false;
  bool frozen_ = false;
  Fd freezer_;  // while frozen, where the runner gave one
  bool ended_ = false;
  bool stopping_ = false;
  bool given_back_ = false;
  Exit exit_;
  SharedConnecting connections_;
};

}  // namespace

class RunnerLauncher::Impl {
 public:
  Impl(Executor executor, Runner& runner, std::filesystem::path folder, LogOptions options)
      : executor_(executor), runner_(runner), logs_(std::move(folder), options), tasks_(executor) {
    tasks_.spawn("logs", watch_logs());
  }

  awaitable<Result<std::shared_ptr<Instance>>> prepare(InstanceSpec spec, std::string owner) {
    if (spec.is_pod()) co_return fail(Errc::unsupported, "an instance of several containers is not made ahead");
    if (spec.id.empty()) spec.id = InstanceId::random();
    auto log = logs_.open_waiting(spec, std::move(owner));
    if (!log) co_return fail(std::move(log.error()));
    auto made = make(spec.id);
    auto prepared = co_await prepare(made, std::move(spec), std::move(*log));
    if (!prepared) co_return fail(std::move(prepared.error()));
    co_return made;
  }

  awaitable<Result<std::shared_ptr<Instance>>> launch(InstanceSpec spec, std::string owner) {
    if (spec.id.empty()) spec.id = InstanceId::random();
    if (spec.is_pod()) co_return co_await launch_pod(std::move(spec), std::move(owner));
    auto log = logs_.open(spec, std::move(owner), wall_now());
    if (!log) co_return fail(std::move(log.error()));
    auto made = make(spec.id);
    made->set_started();
    Unfinished unfinished(*this, made->id());
    auto prepared = co_await prepare(made, std::move(spec), std::move(*log));
    if (!prepared) co_return fail(std::move(prepared.error()));
    auto started = co_await made->start();
    if (!started) co_return fail(std::move(started.error()));
    unfinished.done();
    co_return made;
  }

  awaitable<Result<std::vector<Adopted>>> adopt() {
    // An end may be told between the list and our looking at it.
    early_exits_.emplace();
    auto existing = co_await runner_.list();
    const auto early = std::move(*early_exits_);
    early_exits_.reset();
    if (!existing) co_return fail(std::move(existing.error()));
    std::vector<Adopted> adopted;
    for (const auto& known : *existing) {
      if (running_.contains(known.id)) continue;  // launched since
      const auto* record = logs_.find(known.id);
      if (record && known.state == Existing::State::ending) {
        logs_.set_running(known.id);
        auto instance = make(known.id);
        instance->set_pid(known.pid);
        instance->set_started();
        tasks_.spawn("end " + std::string(known.id.text()), see_the_end_of(std::move(instance)));
        continue;
      }
      if (!record || !has_begun(known.state)) {
        log::info("removing an instance of an earlier life", {{"instance", known.id.text()}});
        tasks_.spawn("remove " + std::string(known.id.text()), give_back(known.id));
        continue;
      }
      logs_.set_running(known.id);
      auto instance = make(known.id);
      instance->set_pid(known.pid);
      instance->set_started();
      if (known.state == Existing::State::frozen)
        if (auto thawed = co_await instance->thaw(); !thawed) continue;
      adopted.push_back({.instance = instance, .owner = record->owner, .id_range = known.id_range});
    }
    auto whole = gather_pods(std::move(adopted));
    for (const auto& exit : early) ended(exit);
    co_return whole;
  }

  void ended(const Exit& exit) {
    if (early_exits_) early_exits_->push_back(exit);
    auto found = running_.find(exit.id);
    if (found == running_.end()) return;  // a build step, or one of adopt()'s
    note_end(*found->second, exit);
    if (tasks_.closed()) found->second->set_given_back();  // the next life's adopt() removes it
    tasks_.spawn("remove " + std::string(exit.id.text()), give_back(exit.id));
  }

  /// The runner is another one: whoever it does not know has ended while nobody watched.
  void resync() {
    if (!tasks_.closed()) tasks_.spawn("resync with the runner", look_who_is_left());
  }

  /// The runner goes next: nobody would be told of the ends that are waited for. Its next life sees to them.
  awaitable<void> stop() {
    co_await tasks_.stop();
    for (const auto& [id, instance] : running_) instance->stop_waiting();
  }
  std::vector<LogFile> logs(std::string_view owner) const { return logs_.of(owner); }
  std::optional<std::string> owner_of(const InstanceId& id) const {
    const auto* record = logs_.find(id);
    return record ? std::optional(record->owner) : std::nullopt;
  }

 private:
  // --- pods

  PodDoors pod_doors(const std::string& owner) {
    return {.executor = executor_,
            .clock = clock_,
            .tasks = tasks_,
            .launch = [this, owner](InstanceSpec spec) { return launch(std::move(spec), owner); },
            .close = [this](InstanceId pod, Exit exit,
                            bool main_ran) { return close_pod(pod, std::move(exit), main_ran); }};
  }

  awaitable<Result<std::shared_ptr<Instance>>> launch_pod(InstanceSpec spec, std::string owner) {
    if (spec.init.size() + spec.beside.size() > companions_max)
      co_return fail(Errc::invalid, fmt::format("an instance has at most {} containers", companions_max + 1));
    // Whose it is is asked as soon as it has a gateway: the record of its main container, long before that starts.
    InstanceSpec main = spec;
    main.pod = spec.id;
    if (auto log = logs_.open(main, owner, wall_now()); !log) co_return fail(std::move(log.error()));
    UnfinishedPod unfinished(*this, spec.id);
    auto opened = co_await runner_.open_pod(spec);
    if (!opened) co_return fail(std::move(opened.error()));
    auto pod = std::make_shared<PodInstance>(pod_doors(owner), spec.id);
    pod->begin(std::move(spec));
    unfinished.done();
    co_return pod;
  }

  awaitable<void> close_pod(InstanceId pod, Exit exit, bool main_ran) {
    if (!main_ran) logs_.set_ended(pod, exit);
    auto closed = co_await runner_.close_pod(pod);
    if (!closed && closed.error().code() != Errc::io)
      log::warn("cannot close a pod", {{"instance", pod.text()}, {"error", closed.error().what()}});
  }

  class UnfinishedPod {
   public:
    UnfinishedPod(Impl& impl, const InstanceId& id) : impl_(&impl), id_(id) {}
    UnfinishedPod(const UnfinishedPod&) = delete;
    ~UnfinishedPod() {
      if (!impl_) return;
      const Exit never{.id = id_, .status = {.code = 255}, .known = false};
      impl_->tasks_.spawn("close pod " + std::string(id_.text()), impl_->close_pod(id_, never, false));
    }
    void done() { impl_ = nullptr; }

   private:
    Impl* impl_;
    InstanceId id_;
  };

  /// Containers of one pod become one instance; what its main container does not run in any more, or not yet, goes.
  std::vector<Adopted> gather_pods(std::vector<Adopted> found) {
    std::vector<Adopted> out;
    std::map<InstanceId, std::vector<PodInstance::Found>> beside;
    std::map<InstanceId, Adopted> mains;
    for (auto& one : found) {
      const auto* record = logs_.find(one.instance->id());
      const InstanceId pod = record ? record->pod : InstanceId();
      if (pod.empty())
        out.push_back(std::move(one));
      else if (pod == one.instance->id())
        mains.emplace(pod, std::move(one));
      else
        beside[pod].push_back({.name = record->container,
                               .instance = std::move(one.instance),
                               .restarts = logs_.ended_runs(pod, record->container)});
    }
    for (auto& [id, main] : mains) {
      auto pod = std::make_shared<PodInstance>(pod_doors(main.owner), id);
      pod->adopt(std::move(main.instance), std::exchange(beside[id], {}));
      out.push_back({.instance = std::move(pod), .owner = main.owner, .id_range = main.id_range});
    }
    for (auto& [id, left] : beside)
      for (auto& one : left) {
        log::info("removing a container without its instance", {{"instance", one.instance->id().text()}});
        auto stop = [](std::shared_ptr<Instance> instance) -> awaitable<void> {
          co_await instance->stop(std::chrono::milliseconds(0));
        };
        tasks_.spawn("stop a container", stop(std::move(one.instance)));
      }
    return out;
  }

  std::shared_ptr<RunnerInstance> make(const InstanceId& id) {
    auto instance = std::make_shared<RunnerInstance>(executor_, runner_, id, logs_.path_of(id));
    // The record is written after the caller has its answer.
    instance->on_started = [this, id] {
      if (!tasks_.closed()) tasks_.spawn("record of " + std::string(id.text()), begin_log(id));
    };
    instance->on_thawed_ahead = [this, id] {
      if (!tasks_.closed()) tasks_.spawn("thaw " + std::string(id.text()), tell_thawed(id));
    };
    instance->on_failure = [this, id] { abandon(id); };
    running_.emplace(id, instance);
    return instance;
  }

  awaitable<void> begin_log(InstanceId id) {
    co_await asio::post(executor_, use_awaitable);
    logs_.begin(id, wall_now());
  }

  awaitable<void> tell_thawed(InstanceId id) {
    auto thawed = co_await runner_.thaw(id);
    // A runner that died under it has a next one, and that one looks at the kernel's state.
    if (!thawed && thawed.error().code() != Errc::io) abandon(id);
  }

  awaitable<Result<void>> prepare(std::shared_ptr<RunnerInstance> instance, InstanceSpec spec, Fd log) {
    Unfinished unfinished(*this, instance->id());
    auto prepared = co_await runner_.prepare(std::move(spec), std::move(log));
    if (!prepared) co_return fail(std::move(prepared.error()));
    instance->set_pid(prepared->pid);
    unfinished.done();
    co_return Result<void>{};
  }

  /// A launch that fails or is cancelled leaves nothing behind.
  class Unfinished {
   public:
    Unfinished(Impl& impl, const InstanceId& id) : impl_(&impl), id_(id) {}
    Unfinished(const Unfinished&) = delete;
    ~Unfinished() {
      if (impl_) impl_->abandon(id_);
    }
    void done() { impl_ = nullptr; }

   private:
    Impl* impl_;
    InstanceId id_;
  };

  void note_end(RunnerInstance& instance, const Exit& exit) {
    if (instance.started()) {
      logs_.begin(exit.id, wall_now());
      logs_.set_ended(exit.id, exit);
    } else {
      logs_.forget(exit.id);
    }
    instance.end(exit);
  }

  void abandon(const InstanceId& id) {
    auto found = running_.find(id);
    if (found == running_.end() || found->second->ended()) return;
    const Exit exit{.id = id, .status = {.code = 255}, .known = false};
    note_end(*found->second, exit);
    tasks_.spawn("remove " + std::string(id.text()), give_back(id));
  }

  awaitable<void> see_the_end_of(std::shared_ptr<RunnerInstance> instance) {
    co_await instance->wait_at_most(ending_grace);
    if (!instance->ended()) co_await give_back(instance->id());
  }

  awaitable<void> give_back(InstanceId id) {
    auto removed = co_await runner_.remove(id);
    if (!removed) log::warn("cannot remove instance", {{"instance", id.text()}, {"error", removed.error().what()}});
    if (auto found = running_.find(id); found != running_.end()) {
      found->second->set_given_back();
      running_.erase(found);
    }
  }

  awaitable<void> look_who_is_left() {
    std::vector<InstanceId> ours;
    for (const auto& [id, instance] : running_)
      if (instance->pid() != 0 && !instance->ended()) ours.push_back(id);
    auto existing = co_await runner_.list();
    if (!existing) co_return;
    for (const auto& id : ours) {
      const auto known = std::ranges::find(*existing, id, &Existing::id);
      if (known == existing->end() || known->state == Existing::State::stopped)
        ended(Exit{.id = id, .status = {.code = 255}, .known = false});
    }
  }

  awaitable<void> watch_logs() {
    asio::steady_timer timer(executor_);
    bool is_flooded = false;
    while (true) {
      timer.expires_after(is_flooded ? flooded_log_check_interval : log_check_interval);
      co_await timer.async_wait(use_awaitable);
      is_flooded = logs_.shorten();
    }
  }

  Executor executor_;
  Runner& runner_;
  SteadyClock clock_;
  LogFiles logs_;
  std::map<InstanceId, std::shared_ptr<RunnerInstance>> running_;  // started by us or adopted, not yet given back
  std::optional<std::vector<Exit>> early_exits_;                   // while adopt() waits for the list
  TaskGroup tasks_;
};

RunnerLauncher::RunnerLauncher(Executor executor, Runner& runner, std::string folder, LogOptions options)
    : impl_(std::make_shared<Impl>(executor, runner, std::move(folder), options)) {
  runner.on_exit([weak = std::weak_ptr(impl_)](const Exit& exit) {
    if (auto impl = weak.lock()) impl->ended(exit);
  });
  runner.on_restart([weak = std::weak_ptr(impl_)] {
    if (auto impl = weak.lock()) impl->resync();
  });
}
RunnerLauncher::~RunnerLauncher() = default;

awaitable<Result<std::shared_ptr<Instance>>> RunnerLauncher::prepare(InstanceSpec spec, std::string owner) {
  return impl_->prepare(std::move(spec), std::move(owner));
}

awaitable<Result<std::shared_ptr<Instance>>> RunnerLauncher::launch(InstanceSpec spec, std::string owner) {
  return impl_->launch(std::move(spec), std::move(owner));
}
awaitable<Result<std::vector<RunnerLauncher::Adopted>>> RunnerLauncher::adopt() { return impl_->adopt(); }
awaitable<void> RunnerLauncher::stop() { return impl_->stop(); }
std::optional<std::string> RunnerLauncher::owner_of(const InstanceId& id) const { return impl_->owner_of(id); }
std::vector<RunnerLauncher::LogFile> RunnerLauncher::logs(std::string_view owner) const { return impl_->logs(owner); }

}  // namespace wick::container
