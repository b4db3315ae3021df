// The door of the room: equal requests share one build, and few builds run at a time.
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <list>
#include <map>
#include <set>

#include "cache_mounts.hpp"
#include "engine.hpp"
#include "wick/build/build.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/task_group.hpp"

namespace wick::build {

namespace {

constexpr std::size_t builds_at_once = 2;
constexpr std::size_t builds_waiting_max = 64;

/// What makes two requests the same build.
std::string identity(const BuildRequest& request) {
  std::string out;
  const auto add = [&](std::string_view text) { out += fmt::format("{}:{}", text.size(), text); };
  if (const auto* git = std::get_if<GitSource>(&request.source)) {
    add("git");
    add(git->url);
    add(git->ref);
    add(git->allow_local ? "local" : "");
    // Who may not read a private repository does not join the build of somebody who may.
    for (const auto& text : {git->credentials.username, git->credentials.password, git->credentials.ssh_private_key,
                             git->credentials.known_hosts})
      add(text);
  } else {
    const auto& archive = std::get<ArchiveSource>(request.source);
    add(archive.path.string());
    add(archive.commit);
    add(archive.dirty ? "dirty" : "");
  }
  for (const auto& text : {request.subpath, request.dockerfile, request.builder, request.target, request.reference})
    add(text);
  add(request.dockerfile_text ? "text" : "file");
  add(request.dockerfile_text.value_or(""));
  for (const auto* values : {&request.build_args, &request.secrets})
    for (const auto& [name, value] : *values) {
      add(name);
      add(value);
    }
  add(fmt::format("{} {} {} {} {}", to_string(request.egress), request.limits.memory_bytes, request.limits.cpu_millis,
                  request.limits.pids, request.limit.count()));
  return out;
}

}  // namespace

class Builder::Impl {
 public:
  Impl(Executor executor, Clock& clock, WorkerPool& workers, container::Runner& runner, image::ContentStore& store,
       Places places)
      : executor_(executor),
        clock_(clock),
        workers_(workers),
        runner_(runner),
        store_(store),
        places_(std::move(places)),
        bases_(executor, workers, runner, store),
        exits_(std::make_shared<ExitWatch>(executor)),
        cache_mounts_(executor),
        slots_(executor, builds_at_once, builds_waiting_max) {
    runner_.on_exit([exits = exits_](const container::Exit& exit) { exits->ended(exit); });
  }

  void pull_with(PullBase pull) { bases_.pull_with(std::move(pull)); }

  awaitable<std::expected<BuiltImage, BuildFailure>> run(BuildRequest request, OnProgress progress) {
    const auto key = identity(request);
    auto& place = running_[key];
    if (!place) {
      place = std::make_shared<Shared>(executor_);
      auto task = work(place, std::move(request));
      place->tasks.spawn("build", std::move(task));
    }
    const auto shared = place;
    const auto listener = shared->listeners.insert(shared->listeners.end(), std::move(progress));
    ++shared->waiting;
    std::exception_ptr cancelled;
    while (!shared->result && !shared->thrown && !cancelled) {
      auto waited = co_await shared->done.async_wait(asio::as_tuple(use_awaitable));
      const auto state = co_await asio::this_coro::cancellation_state;
      if (state.cancelled() != asio::cancellation_type::none)
        cancelled = std::make_exception_ptr(boost::system::system_error(std::get<0>(waited)));
    }
    shared->listeners.erase(listener);
    if (--shared->waiting == 0) {
      const auto at = running_.find(key);
      if (at != running_.end() && at->second == shared) running_.erase(at);
      if (cancelled) co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
      co_await shared->tasks.stop();  // the last one to leave ends the build
    }
    if (cancelled) std::rethrow_exception(cancelled);
    if (shared->thrown) std::rethrow_exception(shared->thrown);
    co_return *shared->result;
  }

  awaitable<std::vector<KeptLayer>> kept_layers() {
    auto look = [folder = places_.cache / "steps"] {
      std::map<Digest, KeptLayer> kept;  // several steps may make one layer
      auto cache = StepCache::open(folder);
      if (!cache) return kept;
      for (const auto& entry : cache->entries()) {
        if (!entry.result.layer) continue;
        const auto& layer = *entry.result.layer;
        auto& one = kept.try_emplace(layer.digest, KeptLayer{.layer = layer.digest}).first->second;
        one.bytes = layer.size;
        one.used = std::max(one.used, WallTime(std::chrono::seconds(entry.used)));
      }
      return kept;
    };
    auto kept = co_await workers_.run(std::move(look));
    std::vector<KeptLayer> all;
    for (auto& [digest, layer] : kept) all.push_back(layer);
    co_return all;
  }

  awaitable<void> forget_layers(std::vector<Digest> layers) {
    auto forget = [folder = places_.cache / "steps", gone = std::set<Digest>(layers.begin(), layers.end())] {
      auto cache = StepCache::open(folder);
      if (!cache) return;
      for (const auto& entry : cache->entries())
        if (entry.result.layer && gone.contains(entry.result.layer->digest)) cache->forget(entry.key);
    };
    co_await workers_.run(std::move(forget));
  }

  void watch_use() { layers_in_use_.look_anew(); }
  bool uses(const Digest& layer) const { return layers_in_use_.contains(layer); }

 private:
  struct Shared {
    explicit Shared(Executor executor) : done(executor, asio::steady_timer::time_point::max()), tasks(executor) {}
    std::list<OnProgress> listeners;
    std::size_t waiting = 0;
    std::optional<std::expected<BuiltImage, BuildFailure>> result;
    std::exception_ptr thrown;
    asio::steady_timer done;
    TaskGroup tasks;
  };

  awaitable<void> work(std::shared_ptr<Shared> shared, BuildRequest request) {
    try {
      auto result = co_await build(shared, std::move(request));
      shared->result.emplace(std::move(result));
    } catch (...) {
      shared->thrown = std::current_exception();
    }
    shared->done.cancel();
  }

  awaitable<std::expected<BuiltImage, BuildFailure>> build(std::shared_ptr<Shared> shared, BuildRequest request) {
    auto open = [this]() -> Result<StepCache> {
      if (auto made = make_folders(places_.work, 0700); !made) return fail(std::move(made.error()));
      return StepCache::open(places_.cache / "steps");
    };
    auto slot = co_await slots_.acquire();
    if (!slot) co_return failed(std::move(slot.error()));
    auto cache = co_await workers_.run(std::move(open));
    if (!cache) co_return failed(std::move(cache.error()));
    auto tell = [listeners = &shared->listeners](const Progress& progress) {
      for (const auto& listener : *listeners)
        if (listener) listener(progress);
    };
    Engine engine({clock_, workers_, runner_, store_, bases_, *exits_, cache_mounts_, layers_in_use_, *cache, places_},
                  std::move(request), std::move(tell));
    auto result = co_await engine.run();
    co_return result;
  }

  std::unexpected<BuildFailure> failed(Error error) const {
    model::Failure failure{.step = "build",
                           .slug = slug(error.code()),
                           .because = error.what(),
                           .hint = error.hint(),
                           .when = clock_.wall()};
    return std::unexpected(BuildFailure{.error = std::move(error), .failure = std::move(failure)});
  }

  Executor executor_;
  Clock& clock_;
  WorkerPool& workers_;
  container::Runner& runner_;
  image::ContentStore& store_;
  Places places_;
  Bases bases_;
  std::shared_ptr<ExitWatch> exits_;  // the runner keeps the callback for longer than we may live
  CacheMounts cache_mounts_;
  LayersInUse layers_in_use_;
  Slots slots_;
  std::map<std::string, std::shared_ptr<Shared>> running_;
};

Builder::Builder(Executor executor, Clock& clock, WorkerPool& workers, container::Runner& runner,
                 image::ContentStore& store, Places places)
    : impl_(std::make_unique<Impl>(executor, clock, workers, runner, store, std::move(places))) {}
Builder::~Builder() = default;

awaitable<std::expected<BuiltImage, BuildFailure>> Builder::run(BuildRequest request, OnProgress progress) {
  auto result = co_await impl_->run(std::move(request), std::move(progress));
  co_return result;
}

awaitable<std::vector<KeptLayer>> Builder::kept_layers() { return impl_->kept_layers(); }
awaitable<void> Builder::forget_layers(std::vector<Digest> layers) { return impl_->forget_layers(std::move(layers)); }
void Builder::pull_with(PullBase pull) { impl_->pull_with(std::move(pull)); }
void Builder::watch_use() { impl_->watch_use(); }
bool Builder::uses(const Digest& layer) const { return impl_->uses(layer); }

}  // namespace wick::build
