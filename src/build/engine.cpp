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

constexpr std::size_t output_lines_kept = 50;  // of a step that failed
constexpr std::size_t ignore_file_bytes_max = 1 << 20;
constexpr std::size_t project_file_bytes_max = 1 << 20;  // package.json, Procfile, …

/// When an image was made is not part of what it is: the same content has the same digest, whatever commit or upload it
/// came from. The date is the one that Cloud Native Buildpacks use (zip knows no earlier one).
constexpr std::int64_t created_always = 315532801;  // 1980-01-01T00:00:01Z

std::string rfc3339(std::int64_t unix_seconds) { return to_rfc3339(WallTime(std::chrono::seconds(unix_seconds))); }

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
      build_args_(request_.build_args),
      pins_(parts.layers_in_use) {}

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

  auto made = co_await make_from(**source);
  // Before the image is made durable, which writes out what else is fresh on that file system.
  co_await drop(parts_.workers, std::move(*source));
  if (!made) co_return fail(std::move(made.error()));

  enter("assemble", "writing the image");
  auto built = co_await assemble(std::move(*made));
  co_return built;
}

awaitable<Result<Engine::Made>> Engine::make_from(const Fetched& source) {
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
  Made made{.config = plan->stages.back().config, .result = std::move(*result)};
  if (by_builder_) name_base(*plan, made.config);
  co_return made;
}

awaitable<Result<std::unique_ptr<Fetched>>> Engine::fetch_source() {
  if (const auto* archive = std::get_if<ArchiveSource>(&request_.source))
    commit_ = archive->commit + (archive->dirty ? "-dirty" : "");
  auto on_line = [this](std::string line) { report(Progress::Kind::output, std::move(line)); };
  std::variant<GitSource, ArchiveSource, UrlSource> wanted;
  std::visit([&](const auto& each) { wanted = each; }, request_.source);
  auto fetched =
      co_await fetch(parts_.clock, parts_.workers, std::move(wanted), parts_.places.work, {}, std::move(on_line));
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
  context.dated = context.epoch > 0;
  if (const auto given = build_args_.find("SOURCE_DATE_EPOCH"); given != build_args_.end()) {
    const auto seconds = parse_unsigned(given->second);
    if (!seconds || *seconds > 253402300799)
      co_return fail(Errc::invalid,
                     fmt::format("SOURCE_DATE_EPOCH is a number of seconds, not '{}'", printable(given->second)));
    context.epoch = static_cast<std::int64_t>(*seconds);
    context.dated = true;
  }
  epoch_ = context.epoch;
  co_return context;
}

awaitable<Result<Engine::Instructions>> Engine::find_instructions(Context& context) {
  const auto& listing = context.tree.listing();
  std::string path = rooted_path(request_.dockerfile);
  const auto& given = request_.dockerfile_text;
  if (given && path.empty()) path = "Dockerfile";
  if (path.empty())
    for (const char* usual : {"Containerfile", "Dockerfile"})
      if (listing.resolve(usual)) path = usual;
  if (path.empty() || !request_.builder.empty()) co_return co_await instructions_of_builder(context);
  if (!given && !listing.resolve(path))
    co_return fail(Errc::not_found, fmt::format("the source has no file '{}'", printable(path)),
                   "check the name of the Dockerfile");

  struct Texts {
    Result<std::string> dockerfile;
    std::optional<std::string> ignore;
  };
  auto read = [&context, path, given] {
    Texts out{.dockerfile = given ? Result<std::string>(*given) : context.tree.read(path, Dockerfile::bytes_max)};
    for (const auto& name : {path + ".dockerignore", std::string(".dockerignore")})
      if (!out.ignore && context.tree.listing().resolve(name))
        if (auto text = context.tree.read(name, ignore_file_bytes_max)) out.ignore = std::move(*text);
    return out;
  };
  auto texts = co_await parts_.workers.run(std::move(read));
  if (!texts.dockerfile) co_return fail(std::move(texts.dockerfile.error()));
  file_name_ = path;
  file_text_ = *texts.dockerfile;
  std::vector<std::string> patterns{".git"};
  if (texts.ignore)
    for (auto& pattern : read_ignore_file(*texts.ignore)) patterns.push_back(std::move(pattern));
  auto rules = IgnoreRules::compile(patterns);
  if (!rules) co_return fail(std::move(rules.error()).within(".dockerignore"));
  context.visible = without_ignored(listing, *rules);
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
    auto detected = detect(*recipes, project, request_.builder, parts_.places.bases);
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
  context.visible = without_ignored(context.tree.listing(), *rules);
  warnings_.insert(warnings_.end(), detected.warnings.begin(), detected.warnings.end());
  auto parsed = parse_dockerfile(detected.dockerfile, fmt::format("builder {}", detected.name));
  if (!parsed) co_return fail(std::move(parsed.error()));
  for (auto& instruction : parsed->instructions)
    if (instruction.keyword == "run" && !instruction.comment.empty()) instruction.title = "RUN " + instruction.comment;
  detected_ = detected.title;
  by_builder_ = true;
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
    auto base = co_await parts_.bases.resolve(name, on_line, pins_);
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

/// A step counts as done when the runner still has its layer, or can have it from a blob.
awaitable<std::optional<StepResult>> Engine::find_cached(Digest key) {
  auto look = [this, key] { return parts_.cache.find(key); };
  auto found = co_await parts_.workers.run(std::move(look));
  if (found && found->layer) {
    auto provided = co_await parts_.bases.provide(*found->layer, pins_);
    if (!provided) co_return std::nullopt;
  }
  co_return found;
}

awaitable<Result<BuiltImage>> Engine::assemble(Made made) {
  auto& [config, result] = made;
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

/// Nobody wrote a FROM that could be looked up: the image says what it stands on (OCI image-spec annotations.md).
void Engine::name_base(const Plan& plan, image::ImageConfig& config) const {
  const auto* stage = &plan.stages.back();
  while (stage->base_stage) stage = &plan.stages[*stage->base_stage];
  const auto base = bases_.find(stage->image);
  if (base == bases_.end()) return;  // scratch
  config.labels["org.opencontainers.image.base.name"] = stage->image;
  config.labels["org.opencontainers.image.base.digest"] = base->second.digest.text();
}

void Engine::enter(std::string phase, std::string text) {
  phase_ = std::move(phase);
  report(Progress::Kind::started, std::move(text));
}

void Engine::report(Progress::Kind kind, std::string text) {
  const auto elapsed = std::chrono::duration_cast<milliseconds>(parts_.clock.now() - started_);
  if (progress_) progress_({.kind = kind, .step = phase_, .text = std::move(text), .elapsed = elapsed});
}

void Engine::hear_output(std::deque<std::string>& tail, std::string line) {
  for (const auto& [id, secret] : request_.secrets) {
    const auto text = trim(secret);  // a file's value ends with a newline that nobody prints
    if (text.empty()) continue;
    for (auto at = line.find(text); at != std::string::npos; at = line.find(text, at))
      line.replace(at, text.size(), "***");
  }
  tail.push_back(line);
  if (tail.size() > output_lines_kept) tail.pop_front();
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
  if (failure.last_output.empty()) failure.last_output = excerpt(file_text_, file_name_, error.what());
  if (error.code() == Errc::build_failed) failure.slug = out_of_memory_ ? "E_OUT_OF_MEMORY" : "E_BUILD_STEP";
  return {.error = std::move(error), .failure = std::move(failure)};
}

}  // namespace wick::build
