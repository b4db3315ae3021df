#include "engine.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>

#include "patterns.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::size_t ignore_file_bytes_max = 1 << 20;
constexpr std::size_t project_file_bytes_max = 1 << 20;  // package.json, Procfile, …

/// When an image was made is not part of what it is: the same content has the same digest, whatever commit or upload it
/// came from. The date is the one that Cloud Native Buildpacks use (zip knows no earlier one).
constexpr std::int64_t created_always = 315532801;  // 1980-01-01T00:00:01Z

std::string rfc3339(std::int64_t unix_seconds) { return to_rfc3339(WallTime(std::chrono::seconds(unix_seconds))); }

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

std::int64_t newest_file(const Listing& listing) {
  std::int64_t newest = 0;
  for (const auto& entry : listing.entries)
    if (entry.kind == SourceEntry::Kind::file) newest = std::max(newest, entry.mtime);
  return newest;
}

}  // namespace

Engine::Engine(Parts parts, BuildRequest request, OnProgress progress)
    : parts_(parts),
      request_(std::move(request)),
      progress_(std::move(progress)),
      started_(parts.clock.now()),
      build_args_(request_.build_args) {}

awaitable<std::expected<BuiltImage, BuildFailure>> Engine::run() {
  Result<BuiltImage> built;
  try {
    auto work = build();
    built = co_await with_deadline(parts_.clock, request_.limit, std::move(work));
  } catch (const DeadlineExceeded&) {
    const auto minutes = std::chrono::duration<double, std::ratio<60>>(request_.limit).count();
    built = fail(
        Errc::timed_out,
        fmt::format("the build took longer than {:.3g} minutes{}", minutes, doing_.empty() ? "" : ", in " + doing_),
        "raise the build's time limit, or make the step shorter");
  }
  if (!built) {
    report(Progress::Kind::failed, built.error().what());
    co_return std::unexpected(failure_of(std::move(built.error())));
  }
  report(Progress::Kind::finished, fmt::format("{} {}", request_.reference, built->image.digest.text()));
  co_return std::move(*built);
}

/// The recipe.
awaitable<Result<BuiltImage>> Engine::build() {
  enter("fetch", "fetching the source");
  auto source = co_await fetch_source();
  if (!source) co_return fail(std::move(source.error()));

  auto built = co_await build_from(**source);
  co_await drop(parts_.workers, std::move(*source));
  co_return built;
}

awaitable<Result<BuiltImage>> Engine::build_from(const Fetched& source) {
  enter("detect", "looking at the source");
  auto context = co_await open_context(source);
  if (!context) co_return fail(std::move(context.error()));
  auto instructions = co_await find_instructions(*context);
  if (!instructions) co_return fail(std::move(instructions.error()));
  report(Progress::Kind::output, instructions->title);

  enter("build", "building " + request_.reference);
  auto plan = co_await make_plan_of(instructions->file);
  if (!plan) co_return fail(std::move(plan.error()));
  auto result = co_await run_stages(*plan, instructions->file, *context);
  if (!result) co_return fail(std::move(result.error()));

  enter("assemble", "writing the image");
  auto built = co_await assemble(*plan, std::move(*result));
  co_return built;
}

awaitable<Result<std::unique_ptr<Fetched>>> Engine::fetch_source() {
  if (const auto* archive = std::get_if<ArchiveSource>(&request_.source))
    commit_ = archive->commit + (archive->dirty ? "-dirty" : "");
  auto on_line = [this](std::string line) { report(Progress::Kind::output, std::move(line)); };
  auto fetched =
      co_await fetch(parts_.clock, parts_.workers, request_.source, parts_.places.work, {}, std::move(on_line));
  if (!fetched) co_return fetched;
  if (!(*fetched)->commit.empty()) commit_ = (*fetched)->commit;
  for (auto& warning : (*fetched)->warnings) warnings_.push_back(warning);
  co_return fetched;
}

/// The folder that is built, listed. Times: a git checkout has only its commit's; an upload keeps its files' own, and
/// nothing in the image is later than the newest of them. So the same source gives the same image, whenever and
/// wherever it is built.
awaitable<Result<Context>> Engine::open_context(const Fetched& source) {
  auto open = [folder = source.folder, subpath = request_.subpath]() -> Result<SourceTree> {
    auto whole = SourceTree::open(folder);
    const auto wanted = rooted_path(subpath);
    if (!whole || wanted.empty()) return whole;
    const auto resolved = whole->listing().resolve(wanted);
    if (!resolved || !whole->listing().has_folder(*resolved))
      return fail(Errc::not_found, fmt::format("the source has no folder '{}'", printable(subpath)), "check --path");
    return SourceTree::open(folder / *resolved);
  };
  auto tree = co_await parts_.workers.run(std::move(open));
  if (!tree) co_return fail(std::move(tree.error()));
  Context context{.tree = std::move(*tree), .same_time = std::holds_alternative<GitSource>(request_.source)};
  context.epoch = context.same_time ? source.commit_time : newest_file(context.tree.listing());
  if (const auto given = build_args_.find("SOURCE_DATE_EPOCH"); given != build_args_.end()) {
    const auto seconds = parse_unsigned(given->second);
    if (!seconds || *seconds > 253402300799)
      co_return fail(Errc::invalid,
                     fmt::format("SOURCE_DATE_EPOCH is a number of seconds, not '{}'", printable(given->second)));
    context.epoch = static_cast<std::int64_t>(*seconds);
  }
  epoch_ = context.epoch;
  co_return context;
}

awaitable<Result<Engine::Instructions>> Engine::find_instructions(Context& context) {
  const auto& listing = context.tree.listing();
  std::string path = rooted_path(request_.dockerfile);
  if (path.empty())
    for (const char* usual : {"Containerfile", "Dockerfile"})
      if (listing.resolve(usual)) path = usual;
  if (path.empty() || !request_.builder.empty()) co_return co_await instructions_of_builder(context);
  if (!listing.resolve(path))
    co_return fail(Errc::not_found, fmt::format("the source has no file '{}'", printable(path)),
                   "check the name of the Dockerfile");

  struct Texts {
    Result<std::string> dockerfile;
    std::optional<std::string> ignore;
  };
  auto read = [&context, path] {
    Texts out{.dockerfile = context.tree.read(path, Dockerfile::bytes_max)};
    for (const auto& name : {path + ".dockerignore", std::string(".dockerignore")})
      if (!out.ignore && context.tree.listing().resolve(name))
        if (auto text = context.tree.read(name, ignore_file_bytes_max)) out.ignore = std::move(*text);
    return out;
  };
  auto texts = co_await parts_.workers.run(std::move(read));
  if (!texts.dockerfile) co_return fail(std::move(texts.dockerfile.error()));
  std::vector<std::string> patterns{".git"};
  if (texts.ignore)
    for (auto& pattern : read_ignore_file(*texts.ignore)) patterns.push_back(std::move(pattern));
  auto rules = IgnoreRules::compile(patterns);
  if (!rules) co_return fail(std::move(rules.error()).within(".dockerignore"));
  context.ignored = std::move(*rules);
  auto parsed = parse_dockerfile(*texts.dockerfile, path);
  if (!parsed) co_return fail(std::move(parsed.error()));
  detected_ = path;
  co_return Instructions{.file = std::move(*parsed), .title = path};
}

awaitable<Result<Engine::Instructions>> Engine::instructions_of_builder(Context& context) {
  auto find = [this, &context]() -> Result<std::pair<Detected, std::vector<std::string>>> {
    auto recipes = load_recipes(parts_.places.builders);
    if (!recipes) return fail(std::move(recipes.error()));
    const Project project{.listing = context.tree.listing(),
                          .read = [&](const std::string& path) -> std::optional<std::string> {
                            if (!context.tree.listing().resolve(path)) return std::nullopt;
                            auto text = context.tree.read(path, project_file_bytes_max);
                            if (!text) return std::nullopt;
                            return std::move(*text);
                          }};
    auto detected = detect(*recipes, project, request_.builder);
    if (!detected) return fail(std::move(detected.error()));
    std::vector<std::string> patterns{".git"};
    patterns.insert(patterns.end(), detected->ignore.begin(), detected->ignore.end());
    if (const auto text = project.read(".dockerignore"))
      for (auto& pattern : read_ignore_file(*text)) patterns.push_back(std::move(pattern));
    return std::pair(std::move(*detected), std::move(patterns));
  };
  auto found = co_await parts_.workers.run(std::move(find));
  if (!found) co_return fail(std::move(found.error()));
  auto& [detected, patterns] = *found;
  auto rules = IgnoreRules::compile(patterns);
  if (!rules) co_return fail(std::move(rules.error()).within(".dockerignore"));
  context.ignored = std::move(*rules);
  warnings_.insert(warnings_.end(), detected.warnings.begin(), detected.warnings.end());
  auto parsed = parse_dockerfile(detected.dockerfile, fmt::format("builder {}", detected.name));
  if (!parsed) co_return fail(std::move(parsed.error()));
  detected_ = detected.title;
  co_return Instructions{.file = std::move(*parsed), .title = detected.title};
}

awaitable<Result<Plan>> Engine::make_plan_of(const Dockerfile& file) {
  const PlanRequest request{.build_args = build_args_, .target = request_.target};
  auto outlined = outline(file, request);
  if (!outlined) co_return fail(std::move(outlined.error()));
  std::map<std::string, image::ImageConfig> configs;
  auto on_line = [this](std::string line) { report(Progress::Kind::output, std::move(line)); };
  for (const auto& name : outlined->images) {
    doing_ = "FROM " + name;
    auto base = co_await parts_.bases.resolve(name, on_line);
    if (!base) {
      // Blame the line that names it.
      for (const auto& stage : outlined->stages)
        if (stage.needed && stage.image == name)
          co_return fail(instruction_error(file.name, file.instructions[stage.from], base.error().what(),
                                           base.error().hint(), base.error().code()));
      co_return fail(std::move(base.error()).within(file.name));
    }
    configs[name] = base->config;
    bases_[name] = std::move(*base);
  }
  auto plan = make_plan(file, *outlined, request, configs);
  if (!plan) co_return fail(std::move(plan.error()));
  warnings_.insert(warnings_.end(), plan->warnings.begin(), plan->warnings.end());
  for (const auto& stage : plan->stages)
    steps_total_ += static_cast<std::size_t>(std::ranges::count_if(stage.steps, &Step::makes_layer));
  co_return plan;
}

awaitable<Result<Engine::StageResult>> Engine::run_stages(const Plan& plan, const Dockerfile& file,
                                                          const Context& context) {
  auto authorities = co_await parts_.workers.run(extra_authorities);
  StepSettings settings{.limits = request_.limits, .egress = request_.egress};
  settings.on_output = [this](std::string line) { hear_output(std::move(line)); };
  settings.network_environment = std::move(authorities);
  StepRunner runner({parts_.workers, parts_.runner, parts_.store, parts_.exits, parts_.places.work}, context,
                    std::move(settings));
  std::vector<StageResult> done;
  for (std::size_t i = 0; i < plan.stages.size(); ++i) {
    auto ran = co_await run_stage(plan, i, file, context, runner, done);
    out_of_memory_ = runner.out_of_memory();
    if (!ran) co_return fail(std::move(ran.error()));
  }
  co_return std::move(done.back());
}

awaitable<Result<void>> Engine::run_stage(const Plan& plan, std::size_t index, const Dockerfile& file,
                                          const Context& context, StepRunner& runner, std::vector<StageResult>& done) {
  const auto& stage = plan.stages[index];
  StageResult result;
  if (stage.base_stage) {
    result = done[*stage.base_stage];
  } else if (stage.image != "scratch") {
    result.layers = bases_.at(stage.image).layers;
    result.history = bases_.at(stage.image).config.history;
  }
  for (const auto& step : stage.steps) {
    if (!step.makes_layer()) {
      result.history.push_back({.created_by = step.created_by, .empty_layer = true});
      continue;
    }
    doing_ = fmt::format("{}:{}: {}", file.name, step.line, step.text);
    auto made = co_await run_step(plan, step, context, runner, result, done);
    if (!made) {
      auto error = Error(made.error().code(), fmt::format("{}: {}", doing_, made.error().what()));
      co_return fail(std::move(error).hint(made.error().hint()));
    }
    if (made->layer) result.layers.push_back(*made->layer);
    result.history.push_back({.created_by = step.created_by, .empty_layer = !made->layer});
  }
  done.push_back(std::move(result));
  co_return Result<void>{};
}

awaitable<Result<StepResult>> Engine::run_step(const Plan& plan, const Step& step, const Context& context,
                                               StepRunner& runner, const StageResult& stage,
                                               const std::vector<StageResult>& done) {
  const auto label = fmt::format("[{}/{}] {}", ++steps_begun_, steps_total_, step.text);
  output_tail_.clear();
  StepInputs inputs{.layers = stage.layers};
  if (const auto* copy = std::get_if<CopyStep>(&step.action)) {
    if (copy->from == CopyStep::From::stage) {
      inputs.from = done[copy->stage].layers;
      inputs.from_name = "stage " + plan.stages[copy->stage].name;
    } else if (copy->from == CopyStep::From::image) {
      inputs.from = bases_.at(copy->image).layers;
      inputs.from_name = "image " + copy->image;
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
/// on the way.
awaitable<Result<Digest>> Engine::inputs_of(const Step& step, const Context& context, StepInputs& inputs) {
  const auto* copy = std::get_if<CopyStep>(&step.action);
  if (!copy) co_return Digest::of("");
  if (copy->from != CopyStep::From::context) {
    std::string all;
    for (const auto& layer : inputs.from) all += layer.digest.text() + "\n";
    for (const auto& file : copy->files) all += fmt::format("{} {}\n", file.name, Digest::of(file.content).text());
    co_return Digest::of(all);
  }
  using Found = std::pair<std::shared_ptr<const Selection>, Digest>;
  auto find = [&context, copy]() -> Result<Found> {
    auto selection = select(context.tree.listing(), context.ignored, *copy);
    if (!selection) return fail(std::move(selection.error()));
    auto digest = selection_digest(context.tree, *selection, *copy);
    if (!digest) return fail(std::move(digest.error()));
    return Found(std::make_shared<const Selection>(std::move(*selection)), *digest);
  };
  auto found = co_await parts_.workers.run(std::move(find));
  if (!found) co_return fail(std::move(found.error()));
  inputs.selection = found->first;
  co_return found->second;
}

/// A step counts as done when its layer is still there, as a blob and at the runner.
awaitable<std::optional<StepResult>> Engine::find_cached(Digest key) {
  auto look = [this, key]() -> std::optional<StepResult> {
    auto found = parts_.cache.find(key);
    if (found && found->layer && !parts_.store.has_blob(found->layer->digest)) {
      parts_.cache.forget(key);
      return std::nullopt;
    }
    return found;
  };
  auto found = co_await parts_.workers.run(std::move(look));
  if (found && found->layer) {
    auto provided = co_await parts_.bases.provide(*found->layer);
    if (!provided) co_return std::nullopt;
  }
  co_return found;
}

awaitable<Result<BuiltImage>> Engine::assemble(const Plan& plan, StageResult result) {
  auto config = plan.stages.back().config;
  config.created = rfc3339(build_args_.contains("SOURCE_DATE_EPOCH") ? epoch_ : created_always);
  config.history = std::move(result.history);
  config.diff_ids.clear();
  for (const auto& layer : result.layers) config.diff_ids.push_back(layer.digest);
  auto put = [this, config = std::move(config), layers = std::move(result.layers)] {
    return parts_.store.put_image(config, layers, request_.reference);
  };
  auto image = co_await parts_.workers.run(std::move(put));
  if (!image) co_return fail(std::move(image.error()));
  co_return BuiltImage{.image = std::move(*image),
                       .commit = commit_,
                       .detected = detected_,
                       .unchanged = steps_run_ == 0,
                       .warnings = warnings_};
}

void Engine::enter(std::string phase, std::string text) {
  phase_ = std::move(phase);
  report(Progress::Kind::started, std::move(text));
}

void Engine::report(Progress::Kind kind, std::string text) {
  const auto elapsed = std::chrono::duration_cast<milliseconds>(parts_.clock.now() - started_);
  if (progress_) progress_({.kind = kind, .step = phase_, .text = std::move(text), .elapsed = elapsed});
}

void Engine::hear_output(std::string line) {
  output_tail_.push_back(line);
  if (output_tail_.size() > model::Failure::output_lines_max) output_tail_.pop_front();
  report(Progress::Kind::output, std::move(line));
}

BuildFailure Engine::failure_of(Error error) const {
  model::Failure failure{
      .step = phase_,
      .slug = slug(error.code()),
      .because = error.what(),
      .last_output = {output_tail_.begin(), output_tail_.end()},
      .hint = error.hint(),
      .elapsed = std::chrono::duration_cast<milliseconds>(parts_.clock.now() - started_),
      .when = parts_.clock.wall(),
  };
  if (error.code() == Errc::build_failed) failure.slug = out_of_memory_ ? "E_OUT_OF_MEMORY" : "E_BUILD_STEP";
  return {.error = std::move(error), .failure = std::move(failure)};
}

}  // namespace wick::build
