#include "control/container_sources.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "control/event_access.hpp"
#include "control/pod_spec.hpp"
#include "control/sources.hpp"
#include "control/subscribing.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

constexpr std::string_view sources_folder = "containersources/";
constexpr auto restart_pause_first = 10s;  // the kubelet's own
constexpr auto restart_pause_max = 300s;
constexpr auto runs_well_after = 600s;  // the next end is the first again
constexpr auto source_stop_grace = 30s;

std::string overrides_text(const json::object& source) {
  const auto* overrides = model::find_value(source, {"spec", "ceOverrides"});
  return overrides ? json::serialize(*overrides) : std::string();
}

void put_variable(json::object& container, std::string_view name, const std::string& value) {
  auto& env = container["env"];
  json::array next;
  if (env.is_array())
    for (const auto& one : env.get_array())
      if (!one.is_object() || model::text_at(one.get_object(), {"name"}) != name) next.push_back(one);
  next.push_back({{"name", name}, {"value", value}});
  env = std::move(next);
}

/// spec.template with the sink in every container.
json::object template_with_sink(const json::object& source, const std::string& sink) {
  const auto* given = model::find_value(source, {"spec", "template"});
  json::object pod = given && given->is_object() ? given->get_object() : json::object();
  auto& spec = model::object_at(pod, {"spec"});
  for (const auto list : {"containers", "initContainers"})
    if (auto* containers = spec.if_contains(list); containers && containers->is_array())
      for (auto& container : containers->get_array())
        if (container.is_object()) {
          put_variable(container.get_object(), "K_SINK", sink);
          put_variable(container.get_object(), "K_CE_OVERRIDES", overrides_text(source));
        }
  return pod;
}

/// What an instance was started for: another one has to be started where this differs.
std::string fingerprint(const json::object& source, const std::string& sink) {
  return md5_hex(json::serialize(template_with_sink(source, sink)));
}

awaitable<void> stop_source(std::shared_ptr<container::Instance> instance) {
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await instance->stop(source_stop_grace);
}

}  // namespace

struct ContainerSources::Running {
  explicit Running(Executor executor) : task(executor) {}
  ObjectKey key;
  std::string uid;
  std::string what;  // fingerprint
  std::string sink;
  std::shared_ptr<container::Instance> instance;
  std::string problem;  // why nothing runs now
  int restarts = 0;
  TaskGroup task;
};

ContainerSources::ContainerSources(World& world) : world_(world) {}
ContainerSources::~ContainerSources() = default;

std::string ContainerSources::owner_of(const ObjectKey& key) {
  return fmt::format("{}/{}{}", key.name_space, sources_folder, key.name);
}

bool ContainerSources::adopt(const std::string& owner, std::shared_ptr<container::Instance> instance) {
  const auto slash = owner.find('/');
  const auto rest = std::string_view(owner).substr(slash + 1);
  if (!rest.starts_with(sources_folder)) return false;
  const auto key =
      key_of(model::container_source_kind(), owner.substr(0, slash), std::string(rest.substr(sources_folder.size())));
  const auto source = world_.objects().find(key);
  if (!source || is_being_deleted(*source) || running_.contains(key)) return false;
  if (model::text_at(*source, {"status", "instance"}) != instance->id().text()) return false;
  begin(key, *source, model::text_at(*source, {"status", "sinkUri"}), std::move(instance));
  return true;
}

void ContainerSources::begin(const ObjectKey& key, const json::object& source, std::string sink,
                             std::shared_ptr<container::Instance> adopted) {
  auto running = std::make_shared<Running>(world_.with.executor);
  running->key = key;
  running->uid = uid_of(source);
  running->what = fingerprint(source, sink);
  running->sink = std::move(sink);
  running->instance = std::move(adopted);
  running_[key] = running;
  running->task.spawn("container source " + key.name, run(running));
}

awaitable<void> ContainerSources::end(ObjectKey key) {
  const auto found = running_.find(key);
  if (found == running_.end()) co_return;
  const auto running = found->second;
  running_.erase(found);
  co_await running->task.stop();
  if (running->instance) co_await running->instance->stop(source_stop_grace);
}

awaitable<void> ContainerSources::stop(bool stop_instances) {
  const auto all = std::move(running_);
  running_.clear();
  TaskGroup ending(world_.with.executor);
  for (const auto& [key, running] : all) {
    co_await running->task.stop();
    if (stop_instances && running->instance)
      ending.spawn("end of container source " + key.name, stop_source(running->instance));
  }
  co_await ending.join();
}

awaitable<Result<void>> ContainerSources::reconcile(ObjectKey key) {
  auto object = world_.objects().find(key);
  const auto before = running_.find(key);
  if (before != running_.end() && (!object || before->second->uid != uid_of(*object))) co_await end(key);
  if (!object) co_return Result<void>();
  auto ranged = co_await with_id_range(world_, key, object);
  if (!ranged) co_return fail(std::move(ranged.error()));
  object = *ranged;

  model::Conditions conditions("Ready", {"SinkBindingReady", "ReceiveAdapterReady", "OIDCIdentityCreated"}, *object,
                               world_.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  judge_identity(world_, model::container_source_kind(), key, conditions, status);
  model::FieldErrors ignored;
  model::ObjectReader root(*object, ignored);
  const auto destination = model::decode_destination(root.object("spec").object("sink"), key.name_space);
  const auto sink = resolve(world_, destination, key.name_space);
  auto found = running_.find(key);
  if (!sink.problem.empty()) {
    conditions.mark_false("SinkBindingReady", "NotFound", sink.problem);
    // What runs goes on with the sink that it knows.
    if (found == running_.end())
      conditions.mark_unknown("ReceiveAdapterReady", "SinkNotResolved", "nothing runs before the sink is there");
  } else {
    conditions.mark_true("SinkBindingReady");
    status["sinkUri"] = sink.uri;
    const auto what = fingerprint(*object, sink.uri);
    if (world_.with.launcher && (found == running_.end() || found->second->what != what)) {
      co_await end(key);
      begin(key, *object, sink.uri, nullptr);
    }
    found = running_.find(key);
  }
  if (found != running_.end()) {
    const auto& running = *found->second;
    if (running.instance) {
      conditions.mark_true("ReceiveAdapterReady");
      status["instance"] = running.instance->id().text();
    } else if (!running.problem.empty()) {
      conditions.mark_false("ReceiveAdapterReady", running.restarts > 0 ? "CrashLoopBackOff" : "NotStarted",
                            running.problem);
    } else {
      conditions.mark_unknown("ReceiveAdapterReady", "Starting", "the container is being started");
    }
    if (running.restarts > 0) status["restarts"] = running.restarts;
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world_, std::move(key), std::move(status));
  co_return written;
}

/// The status has to say it.
void ContainerSources::tell(RunningPointer running, std::string problem) {
  running->problem = std::move(problem);
  world_.enqueue(running->key);
}

awaitable<Result<void>> ContainerSources::launch(RunningPointer running) {
  const auto source = world_.objects().find(running->key);
  if (!source) co_return fail(Errc::not_found, "the source went");
  auto instance = co_await instance_for(world_, running->key, template_with_sink(*source, running->sink),
                                        id_range_of(*source).value_or(1));
  if (!instance) co_return fail(std::move(instance.error()));
  auto launched = co_await world_.with.launcher->launch(std::move(*instance), owner_of(running->key));
  if (!launched) co_return fail(std::move(launched.error()));
  running->instance = std::move(*launched);
  co_return Result<void>();
}

awaitable<void> ContainerSources::run(RunningPointer running) {
  Duration pause = restart_pause_first;
  while (true) {
    const auto began = world_.with.clock.now();
    if (!running->instance) {
      auto launched = co_await launch(running);
      if (!launched) {
        log::warn("container source not started", {{"source", running->key.name}, {"error", launched.error().what()}});
        tell(running, launched.error().what());
      }
    }
    if (running->instance) {
      tell(running, {});
      auto instance = running->instance;
      const auto exit = co_await instance->wait_exit();
      running->instance.reset();
      ++running->restarts;
      const auto how = exit.not_started     ? exit.not_started->what()
                       : exit.out_of_memory ? std::string("out of memory")
                                            : exit.status.text();
      log::info("container source ended", {{"source", running->key.name}, {"how", how}});
      if (world_.with.clock.now() - began > runs_well_after) pause = restart_pause_first;
      tell(running, fmt::format("the container ended ({}), restarted in {} s", how,
                                std::chrono::duration_cast<std::chrono::seconds>(pause).count()));
    }
    co_await world_.with.clock.sleep(pause);
    pause = std::min<Duration>(pause * 2, restart_pause_max);
  }
}

}  // namespace wick::control
