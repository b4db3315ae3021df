// The stages of a plan, side by side: each starts when those it takes from have ended, and the first failure ends all.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <set>

#include "engine.hpp"
#include "patterns.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

namespace wick::build {

namespace {

/// Certificate authorities that the machine's operator added (update-ca-certificates(8)): behind a proxy that opens
/// TLS, nothing can be installed without them. They go to RUN as $WICK_EXTRA_CA, PEM texts one after the other.
std::vector<std::string> extra_authorities() {
  constexpr std::size_t bytes_max = 64 << 10;  // a process' environment travels in 256 KiB
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (std::filesystem::directory_iterator at("/usr/local/share/ca-certificates", error), end; !error && at != end;
       at.increment(error))
    if (at->path().extension() == ".crt") files.push_back(at->path());
  std::ranges::sort(files);
  std::string all;
  for (const auto& file : files)
    if (const auto text = read_file(file, bytes_max); text && all.size() + text->size() < bytes_max)
      all += *text + "\n";
  if (all.empty()) return {};
  return {"WICK_EXTRA_CA=" + all};
}

/// Stages of the plan that stage `index` waits for.
std::set<std::size_t> needs_of(const StagePlan& stage) {
  std::set<std::size_t> out;
  if (stage.base_stage) out.insert(*stage.base_stage);
  for (const auto& step : stage.steps) {
    if (const auto* copy = std::get_if<CopyStep>(&step.action); copy && copy->from == CopyStep::From::stage)
      out.insert(copy->stage);
    if (const auto* run = std::get_if<RunStep>(&step.action))
      for (const auto& mount : run->mounts)
        if (mount.from && mount.from->kind == TakeFrom::Kind::stage) out.insert(mount.from->stage);
  }
  return out;
}

std::string digests_text(const std::vector<image::Descriptor>& layers) {
  std::string out;
  for (const auto& layer : layers) out += layer.digest.text() + "\n";
  return out;
}

}  // namespace

struct Engine::Stages {
  Stages(Executor executor, std::size_t count)
      : done(count),
        failed(count),
        tails(count),
        changed(executor, asio::steady_timer::time_point::max()),
        tasks(executor) {}

  std::vector<std::optional<StageResult>> done;
  std::vector<bool> failed;                    // of out of memory
  std::vector<std::deque<std::string>> tails;  // last lines of the RUN that runs
  std::optional<Error> error;                  // the first
  std::exception_ptr thrown;
  asio::steady_timer changed;
  TaskGroup tasks;

  void tell() { changed.cancel(); }
  bool over() const {
    return error || thrown || std::ranges::all_of(done, [](const auto& stage) { return stage.has_value(); });
  }
};

awaitable<Result<Engine::StageResult>> Engine::run_stages(const Plan& plan, const Dockerfile& file,
                                                          const Context& context) {
  auto executor = co_await asio::this_coro::executor;
  network_environment_ = co_await parts_.workers.run(extra_authorities);
  Stages stages(executor, plan.stages.size());
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    auto task = stage_task(plan, i, file, context, stages);
    stages.tasks.spawn("stage " + plan.stages[i].name, std::move(task));
  }
  std::exception_ptr cancelled;
  while (!stages.over() && !cancelled) {
    auto waited = co_await stages.changed.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none)
      cancelled = std::make_exception_ptr(boost::system::system_error(std::get<0>(waited)));
  }
  if (cancelled) co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  co_await stages.tasks.stop();
  if (cancelled) std::rethrow_exception(cancelled);
  if (stages.thrown) std::rethrow_exception(stages.thrown);
  if (stages.error) co_return fail(std::move(*stages.error));
  co_return std::move(*stages.done.back());
}

awaitable<void> Engine::stage_task(const Plan& plan, std::size_t index, const Dockerfile& file, const Context& context,
                                   Stages& stages) {
  try {
    for (const auto needed : needs_of(plan.stages[index]))
      while (!stages.done[needed]) {
        auto waited = co_await stages.changed.async_wait(asio::as_tuple(use_awaitable));
        const auto state = co_await asio::this_coro::cancellation_state;
        if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(std::get<0>(waited));
      }
    auto ran = co_await run_stage(plan, index, file, context, stages);
    if (ran) {
      stages.done[index] = std::move(*ran);
    } else if (!stages.error && !stages.thrown) {
      stages.error = std::move(ran.error());
      output_tail_ = stages.tails[index];
      out_of_memory_ = stages.failed[index];
    }
  } catch (...) {
    if (!stages.error && !stages.thrown) stages.thrown = std::current_exception();
  }
  stages.tell();
}

awaitable<Result<Engine::StageResult>> Engine::run_stage(const Plan& plan, std::size_t index, const Dockerfile& file,
                                                         const Context& context, Stages& stages) {
  const auto& stage = plan.stages[index];
  StageResult result;
  if (stage.base_stage) {
    result = *stages.done[*stage.base_stage];
  } else if (stage.image != "scratch") {
    result.layers = bases_.at(stage.image).layers;
    result.history = bases_.at(stage.image).config.history;
  }
  StepSettings settings{.limits = request_.limits, .egress = request_.egress, .secrets = request_.secrets};
  settings.on_output = [this, &tail = stages.tails[index]](std::string line) { hear_output(tail, std::move(line)); };
  settings.network_environment = network_environment_;
  StepRunner runner(
      {parts_.workers, parts_.runner, parts_.store, parts_.exits, parts_.cache_mounts, pins_, parts_.places.work},
      context, std::move(settings));
  for (const auto& step : stage.steps) {
    if (!step.makes_layer()) {
      result.history.push_back({.created_by = step.created_by, .empty_layer = true});
      continue;
    }
    const auto doing = fmt::format("{}:{}: {}", file.name, step.line, step.text);
    doing_ = doing;
    stages.tails[index].clear();
    auto made = co_await run_step(plan, step, context, runner, result, stages);
    if (!made) {
      stages.failed[index] = runner.out_of_memory();
      auto error = Error(made.error().code(), fmt::format("{}: {}", doing, made.error().what()));
      co_return fail(std::move(error).hint(made.error().hint()));
    }
    if (made->layer) result.layers.push_back(*made->layer);
    result.history.push_back({.created_by = step.created_by, .empty_layer = !made->layer});
  }
  co_return result;
}

awaitable<Result<StepResult>> Engine::run_step(const Plan& plan, const Step& step, const Context& context,
                                               StepRunner& runner, const StageResult& stage, const Stages& stages) {
  const auto label = fmt::format("[{}/{}] {}", ++steps_begun_, steps_total_, step.text);
  StepInputs inputs{.layers = stage.layers};
  if (const auto* copy = std::get_if<CopyStep>(&step.action)) {
    if (copy->from == CopyStep::From::stage) {
      inputs.from = stages.done[copy->stage]->layers;
      inputs.from_name = "stage " + plan.stages[copy->stage].name;
    } else if (copy->from == CopyStep::From::image) {
      inputs.from = bases_.at(copy->image).layers;
      inputs.from_name = "image " + copy->image;
    }
  } else if (const auto* run = std::get_if<RunStep>(&step.action)) {
    for (const auto& mount : run->mounts) {
      auto& from = inputs.mounted.emplace_back();
      if (!mount.from) continue;
      if (mount.from->kind == TakeFrom::Kind::stage) from = stages.done[mount.from->stage]->layers;
      if (mount.from->kind == TakeFrom::Kind::image) from = bases_.at(mount.from->image).layers;
    }
  }
  auto digest = co_await inputs_of(step, context, inputs);
  if (!digest) co_return fail(std::move(digest.error()));
  std::vector<Digest> below;
  for (const auto& layer : inputs.layers) below.push_back(layer.digest);
  const auto key = step_key(step, below, *digest);
  auto cached = co_await find_cached(key);
  if (cached) {
    report(Progress::Kind::cached, label);
    co_return *cached;
  }
  report(Progress::Kind::started, label);
  ++steps_run_;
  auto made = co_await runner.run(step, inputs);
  if (!made) co_return made;
  auto keep = [this, key, result = *made] { return parts_.cache.put(key, result); };
  auto kept = co_await parts_.workers.run(std::move(keep));
  if (!kept) log::warn("step not cached", {{"error", kept.error().what()}});
  report(Progress::Kind::finished, label);
  co_return made;
}

/// One digest for what a step takes in besides the layers below it; for a COPY from the source the selection is found
/// on the way, and what an ADD names elsewhere is fetched.
awaitable<Result<Digest>> Engine::inputs_of(const Step& step, const Context& context, StepInputs& inputs) {
  if (const auto* run = std::get_if<RunStep>(&step.action)) co_return co_await inputs_of_mounts(*run, context, inputs);
  const auto* copy = std::get_if<CopyStep>(&step.action);
  if (!copy) co_return Digest::of("");
  if (copy->from != CopyStep::From::context) {
    std::string all = digests_text(inputs.from);
    for (const auto& file : copy->files) all += fmt::format("{} {}\n", file.name, Digest::of(file.content).text());
    co_return Digest::of(all);
  }
  std::string all;
  for (const auto& remote : copy->remotes) {
    auto fetched = co_await fetch_remote(*copy, remote);
    if (!fetched) co_return fail(std::move(fetched.error()));
    auto hash = [copy, remote = *fetched] { return selection_digest(remote->tree, remote->selection, *copy); };
    auto digest = co_await parts_.workers.run(std::move(hash));
    if (!digest) co_return digest;
    all += digest->text();
    inputs.remotes.push_back(std::move(*fetched));
  }
  using Found = std::pair<std::shared_ptr<const Selection>, Digest>;
  auto find = [&context, copy]() -> Result<Found> {
    auto selection = select(context.tree.listing(), context.visible, *copy);
    if (!selection) return fail(std::move(selection.error()));
    auto digest = selection_digest(context.tree, *selection, *copy);
    if (!digest) return fail(std::move(digest.error()));
    return Found(std::make_shared<const Selection>(std::move(*selection)), *digest);
  };
  auto found = co_await parts_.workers.run(std::move(find));
  if (!found) co_return fail(std::move(found.error()));
  inputs.selection = found->first;
  if (all.empty()) co_return found->second;
  co_return Digest::of(all + found->second.text());
}

/// Bind mounts of the source count with their content, those of stages and images with their layers.
awaitable<Result<Digest>> Engine::inputs_of_mounts(const RunStep& run, const Context& context,
                                                   const StepInputs& inputs) {
  std::string all;
  for (std::size_t i = 0; i < run.mounts.size(); ++i) {
    const auto& mount = run.mounts[i];
    if (!mount.from) continue;
    all += digests_text(inputs.mounted[i]);
    if (mount.from->kind != TakeFrom::Kind::context) continue;
    auto hash = [&context, source = mount.source]() -> Result<Digest> {
      if (!source.empty() && !context.visible.find(source))
        return fail(Errc::not_found, fmt::format("'{}' is not in the source", printable(source)));
      Selection selection;
      for (const auto& entry : context.visible.entries)
        if (source.empty() || entry.path == source || entry.path.starts_with(source + "/"))
          selection.entries.push_back({entry.path, &entry});
      CopyStep step;
      step.destination = "/";
      return selection_digest(context.tree, selection, step);
    };
    auto digest = co_await parts_.workers.run(std::move(hash));
    if (!digest) co_return digest;
    all += digest->text();
  }
  co_return Digest::of(all);
}

}  // namespace wick::build
