#include "pod_instance.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/system/system_error.hpp>

#include "wick/base/log.hpp"
#include "wick/os/deadline.hpp"

namespace wick::container {

namespace {

constexpr int start_error_code = 128;  // Kubernetes' StartError

/// One of what runs, while it is in scope.
struct Busy {
  explicit Busy(int& count) : count(count) { ++count; }
  Busy(const Busy&) = delete;
  ~Busy() { --count; }
  int& count;
};

std::unexpected<Error> has_ended() { return fail(Errc::unavailable, "the instance has ended"); }

}  // namespace

PodInstance::PodInstance(PodDoors doors, const InstanceId& id)
    : doors_(std::move(doors)), id_(id), changed_(doors_.executor, asio::steady_timer::time_point::max()) {}

/// One InstanceSpec a container, in PodLife's order.
void PodInstance::lay_out(InstanceSpec spec) {
  const auto init = std::exchange(spec.init, {});
  const auto beside = std::exchange(spec.beside, {});
  life_ = PodLife(init.size(), beside.size());
  places_.clear();
  spec.id = id_;
  spec.pod = id_;
  spec.volumes.clear();
  spec.parkable = false;
  for (const auto* list : {&init, &beside})
    for (const auto& companion : *list) {
      Place place{.spec = spec};
      place.spec.id = {};
      place.spec.name = companion.name;
      place.spec.layers = companion.layers;
      place.spec.process = companion.process;
      place.spec.limits = companion.limits;
      place.spec.allow_root = companion.allow_root;
      place.spec.volume_mounts = companion.volume_mounts;
      place.spec.message_path = companion.message_path;
      places_.push_back(std::move(place));
    }
  places_.push_back({.spec = std::move(spec)});
  for (auto& place : places_) place.since = doors_.clock.wall();
}

void PodInstance::begin(InstanceSpec spec) {
  lay_out(std::move(spec));
  act(life_.begin(), 0);
}

// --- one container

void PodInstance::act(PodLife::Verdict verdict, std::size_t container) {
  if (verdict.over) {
    culprit_ = container;
    Exit exit = places_[container].last.value_or(Exit{.id = id_});
    exit.id = id_;
    if (container != life_.main()) {
      exit.companion = places_[container].spec.name;
      exit.of_init = life_.is_init(container);
    }
    exit_ = std::move(exit);
  }
  for (const auto next : verdict.start) spawn(next, verdict.after);
  notify();
}

void PodInstance::spawn(std::size_t container, Duration after) {
  places_[container].state = Place::State::waiting;
  places_[container].since = doors_.clock.wall();
  auto self = shared_from_this();
  auto task = [](std::shared_ptr<PodInstance> pod, std::size_t which, Duration wait) -> awaitable<void> {
    co_await pod->run(which, wait);
  };
  doors_.tasks.spawn(fmt::format("container {} of {}", places_[container].spec.name, id_.text()),
                     task(std::move(self), container, after));
}

awaitable<void> PodInstance::run(std::size_t container, Duration after) {
  {
    const Busy busy(busy_);
    if (after > Duration(0)) co_await pause(after);
    while (frozen_ && !life_.over()) co_await changed();
    if (!life_.over()) {
      auto launched = co_await doors_.launch(places_[container].spec);
      auto& place = places_[container];
      place.since = doors_.clock.wall();
      if (launched) {
        place.instance = std::move(*launched);
        co_await follow(container);
      } else {
        place.state = Place::State::terminated;
        place.last = Exit{.id = id_,
                          .status = {.code = start_error_code},
                          .message = launched.error().what(),
                          .companion = {},
                          .of_init = false,
                          .not_started = launched.error()};
        act(life_.not_started(container), container);
      }
    }
  }
  notify();
}

/// Until the end of what runs in its place.
awaitable<void> PodInstance::follow(std::size_t container) {
  const auto began = doors_.clock.now();
  const auto instance = places_[container].instance;
  places_[container].state = Place::State::running;
  places_[container].since = doors_.clock.wall();
  notify();
  if (frozen_) (void)co_await instance->freeze();
  // Over since it was asked for: stop() does not know of it.
  if (stopping_) {
    co_await instance->stop(std::chrono::milliseconds(0));
  }
  auto exit = co_await instance->wait_exit();
  auto& place = places_[container];
  place.state = Place::State::terminated;
  place.since = doors_.clock.wall();
  if (!life_.over() && !life_.is_init(container) && container != life_.main())
    log::warn("container ended", {{"instance", id_.text()},
                                  {"container", place.spec.name},
                                  {"status", exit.status.text()},
                                  {"restarts", life_.restarts(container)}});
  const bool well = exit.status.ok() && exit.known;
  place.last = std::move(exit);
  act(life_.ended(container, well, doors_.clock.now() - began), container);
}

/// False when it is over before.
awaitable<bool> PodInstance::pause(Duration limit) {
  auto until_over = [](PodInstance& pod) -> awaitable<void> {
    while (!pod.life_.over()) co_await pod.changed();
  };
  try {
    auto over = until_over(*this);
    co_await with_deadline(doors_.clock, limit, std::move(over));
    co_return false;
  } catch (const DeadlineExceeded&) {
    co_return true;
  }
}

void PodInstance::notify() {
  ++changes_;
  changed_.cancel();
}

/// Returns when something has changed; throws when the caller was cancelled.
awaitable<void> PodInstance::changed() {
  const auto seen = changes_;
  auto waited = co_await changed_.async_wait(asio::as_tuple(use_awaitable));
  if (seen == changes_) throw boost::system::system_error(std::get<0>(waited));
}

// --- from before us

void PodInstance::adopt(std::shared_ptr<Instance> main, std::vector<Found> beside) {
  found_main_ = std::move(main);
  found_ = std::move(beside);
}

void PodInstance::resume(const InstanceSpec& spec) {
  if (!found_main_) return;
  lay_out(spec);
  std::vector<std::size_t> down;
  for (std::size_t i = spec.init.size(); i < life_.main(); ++i) {
    const auto found = std::ranges::find(found_, places_[i].spec.name, &Found::name);
    if (found == found_.end())
      down.push_back(i);
    else
      places_[i].instance = found->instance;
  }
  life_ = PodLife::adopted(spec.init.size(), spec.beside.size(), down);
  for (std::size_t i = spec.init.size(); i < life_.main(); ++i)
    if (const auto found = std::ranges::find(found_, places_[i].spec.name, &Found::name); found != found_.end())
      life_.count_restarts(i, found->restarts);
  for (std::size_t i = 0; i < spec.init.size(); ++i) {
    places_[i].state = Place::State::terminated;
    places_[i].last = Exit{.id = id_};
  }
  main().instance = std::exchange(found_main_, nullptr);
  found_.clear();
  for (std::size_t i = spec.init.size(); i < places_.size(); ++i) {
    auto task = [](std::shared_ptr<PodInstance> pod, std::size_t which) -> awaitable<void> {
      {
        const Busy busy(pod->busy_);
        co_await pod->follow(which);
      }
      pod->notify();
    };
    if (places_[i].instance)
      doors_.tasks.spawn(fmt::format("container {} of {}", places_[i].spec.name, id_.text()),
                         task(shared_from_this(), i));
  }
  // What ended while nobody watched. Nothing can be added to a pod of an earlier runner: then this ends it, and another
  // one takes its place.
  for (const auto i : down) act(life_.ended(i, false, Duration(0)), i);
}

// --- as one

std::vector<std::shared_ptr<Instance>> PodInstance::running() const {
  std::vector<std::shared_ptr<Instance>> out;
  for (const auto& found : found_) out.push_back(found.instance);
  if (found_main_) out.push_back(found_main_);
  for (const auto& place : places_)
    if (place.state == Place::State::running && place.instance && !place.instance->ended())
      out.push_back(place.instance);
  return out;
}

pid_t PodInstance::pid() const {
  if (found_main_) return found_main_->pid();
  return main_runs() ? places_.back().instance->pid() : 0;
}

awaitable<Exit> PodInstance::wait_exit() {
  const auto self = shared_from_this();
  while (!exit_) co_await changed();
  co_return *exit_;
}

awaitable<Result<Fd>> PodInstance::connect(std::uint16_t port) {
  const auto instance = found_main_ ? found_main_ : main_runs() ? main().instance : nullptr;
  if (exit_) co_return has_ended();
  if (!instance) co_return fail(Errc::unavailable, "its main container does not run yet");
  co_return co_await instance->connect(port);
}

awaitable<void> PodInstance::main_running_or_over() {
  while (!found_main_ && !main_runs() && !exit_) co_await changed();
}

awaitable<Result<Fd>> PodInstance::await_listening(std::uint16_t port, std::chrono::milliseconds patience) {
  const auto self = shared_from_this();
  const auto until = doors_.clock.now() + patience;
  if (!found_main_ && !main_runs() && !exit_) {
    try {
      auto running = main_running_or_over();
      co_await with_deadline(doors_.clock, patience, std::move(running));
    } catch (const DeadlineExceeded&) {
      co_return fail(Errc::unavailable, "its main container does not run yet");
    }
  }
  if (exit_) co_return has_ended();
  const auto instance = found_main_ ? found_main_ : main().instance;
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - doors_.clock.now());
  co_return co_await instance->await_listening(port, std::max(left, std::chrono::milliseconds(0)));
}

awaitable<Result<void>> PodInstance::park() {
  co_return fail(Errc::unsupported, "an instance of several containers is not parked");
}
awaitable<Result<void>> PodInstance::start() {
  co_return fail(Errc::conflict, "an instance of several containers is started as it is made");
}

/// The main one last: nobody asks the others for anything any more.
awaitable<Result<void>> PodInstance::freeze() {
  const auto self = shared_from_this();
  if (exit_) co_return has_ended();
  frozen_ = true;
  std::vector<std::shared_ptr<Instance>> held;
  for (const auto& instance : running()) {
    auto frozen = co_await instance->freeze();
    if (frozen) {
      held.push_back(instance);
    } else if (!instance->ended()) {
      frozen_ = false;
      for (const auto& one : held) (void)co_await one->thaw();
      notify();
      co_return frozen;
    }
  }
  co_return Result<void>{};
}

awaitable<Result<void>> PodInstance::thaw() {
  const auto self = shared_from_this();
  frozen_ = false;
  Result<void> done;
  for (const auto& instance : running())
    if (auto thawed = co_await instance->thaw(); !thawed && !instance->ended()) done = std::move(thawed);
  notify();
  co_return done;
}

awaitable<void> PodInstance::stop_one(std::shared_ptr<Instance> instance, std::chrono::milliseconds grace) {
  {
    const Busy busy(busy_);
    co_await instance->stop(grace);
  }
  notify();
}

awaitable<void> PodInstance::stop(std::chrono::milliseconds grace) {
  const auto self = shared_from_this();
  if (!stopping_) {
    stopping_ = true;
    life_.end();
    frozen_ = false;
    notify();
    // All at once, as the kubelet does; what is still on its way up is stopped by follow().
    std::vector<std::shared_ptr<Instance>> all = running();
    for (const auto& place : places_)  // those that ended may still be given back
      if (place.instance && place.state != Place::State::running) all.push_back(place.instance);
    for (auto& instance : all) {
      auto task = [](std::shared_ptr<PodInstance> pod, std::shared_ptr<Instance> one,
                     std::chrono::milliseconds limit) -> awaitable<void> { co_await pod->stop_one(one, limit); };
      doors_.tasks.spawn("stop a container of " + std::string(id_.text()), task(self, std::move(instance), grace));
    }
    while (busy_ > 0) co_await changed();
    const bool main_ran = found_main_ || (!places_.empty() && places_.back().instance);
    if (!exit_) {
      exit_ =
          !places_.empty() && places_.back().last ? *places_.back().last : Exit{.id = id_, .status = {.signal = 15}};
      exit_->id = id_;
    }
    notify();
    co_await doors_.close(id_, *exit_, main_ran);
    given_back_ = true;
    notify();
  }
  while (!given_back_) co_await changed();
}

awaitable<Result<Executed>> PodInstance::execute(Process process, std::chrono::milliseconds limit) {
  const auto instance = found_main_ ? found_main_ : main_runs() ? main().instance : nullptr;
  if (!instance) co_return fail(Errc::unavailable, "its main container does not run");
  co_return co_await instance->execute(std::move(process), limit);
}

awaitable<Result<Command>> PodInstance::begin_command(Process process, CommandOptions options) {
  const auto instance = found_main_ ? found_main_ : main_runs() ? main().instance : nullptr;
  if (!instance) co_return fail(Errc::unavailable, "its main container does not run");
  co_return co_await instance->begin_command(std::move(process), options);
}

/// Through each that has some mounted: a volume is mounted as a whole by at least one of them, or does not change.
awaitable<Result<void>> PodInstance::update_volumes(std::vector<Volume> volumes, std::vector<VolumeMount>) {
  const auto self = shared_from_this();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto instance = places_[i].instance;
    if (places_[i].state != Place::State::running || places_[i].spec.volume_mounts.empty()) continue;
    auto mounts = places_[i].spec.volume_mounts;
    auto updated = co_await instance->update_volumes(volumes, std::move(mounts));
    if (!updated && !instance->ended()) co_return updated;
  }
  co_return Result<void>{};
}

awaitable<Result<Usage>> PodInstance::usage() {
  const auto self = shared_from_this();
  Usage sum;
  for (const auto& instance : running()) {
    auto one = co_await instance->usage();
    if (!one) continue;
    sum.memory_bytes += one->memory_bytes;
    sum.memory_peak_bytes += one->memory_peak_bytes;
    sum.memory_limit_bytes += one->memory_limit_bytes;
    sum.cpu_usec += one->cpu_usec;
    sum.pids += one->pids;
    sum.oom_kills += one->oom_kills;
  }
  co_return sum;
}

awaitable<Result<std::vector<Listening>>> PodInstance::listening() { co_return std::vector<Listening>{}; }

std::vector<std::string> PodInstance::log_tail(std::size_t lines) const {
  if (found_main_) return found_main_->log_tail(lines);
  if (places_.empty()) return {};
  const auto& place = places_[exit_ ? culprit_ : places_.size() - 1];
  return place.instance ? place.instance->log_tail(lines) : std::vector<std::string>{};
}

awaitable<Result<void>> PodInstance::await_companions() {
  const auto self = shared_from_this();
  const auto all_run = [this] {
    for (std::size_t i = 0; i < places_.size(); ++i)
      if (!life_.is_init(i) && places_[i].state != Place::State::running) return false;
    return true;
  };
  while (!exit_ && !all_run()) co_await changed();
  if (exit_) co_return has_ended();
  life_.settle();
  co_return Result<void>{};
}

std::vector<ContainerView> PodInstance::containers() const {
  std::vector<ContainerView> out;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const auto& place = places_[i];
    using Kind = ContainerView::Kind;
    out.push_back({.name = place.spec.name,
                   .kind = life_.is_init(i)    ? Kind::init
                           : i == life_.main() ? Kind::main
                                               : Kind::beside,
                   .state = static_cast<ContainerView::State>(place.state),
                   .id = place.instance ? place.instance->id() : InstanceId(),
                   .pid = place.state == Place::State::running ? place.instance->pid() : 0,
                   .restarts = life_.restarts(i),
                   .since = place.since,
                   .last = place.last});
  }
  return out;
}

std::shared_ptr<Instance> PodInstance::container(std::string_view name) const {
  const auto found = std::ranges::find_if(places_, [&](const Place& place) { return place.spec.name == name; });
  return found == places_.end() ? nullptr : found->instance;
}

}  // namespace wick::container
