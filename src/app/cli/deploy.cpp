// The order is the story: name it, see what is there, hand the source over, follow the build, wait for the revision,
// say the URL.
#include "app/cli/deploy.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "app/cli/build_secrets.hpp"
#include "app/cli/folder.hpp"
#include "app/cli/git_build.hpp"
#include "app/cli/git_state.hpp"
#include "app/cli/plan.hpp"
#include "app/cli/public_url.hpp"
#include "app/cli/watch.hpp"
#include "wick/base/text.hpp"
#include "wick/model/preview.hpp"

namespace wick::app::cli {

namespace {

/// Why this revision, that `owner` made, is not ready.
Problem revision_problem(Session& session, const std::string& revision, const json::value& owner) {
  const auto headline = fmt::format("{} did not become ready", revision);
  const auto path = resource_path("serving.knative.dev/v1", session.name_space, "revisions", revision);
  if (auto found = session.client.find(path); found && *found)
    if (const auto failure = failure_of(**found)) return problem_of(*failure, ExitCode::not_ready, headline);
  Problem problem{.exit = ExitCode::not_ready, .what = headline, .slug = "E_NOT_READY"};
  if (const auto* ready = condition_of(owner, "Ready")) problem.because = text_at(*ready, "/message");
  return problem;
}

constexpr milliseconds build_limit{6 * 3600'000};  // without any news of a build: the longest one there may be
constexpr std::size_t run_name_max = 63;

/// "hello-3f9c1": the build's name, of a length a label may have.
std::string run_name_for(std::string_view name) {
  return fmt::format("{}-{}", name.substr(0, run_name_max - 6), random_hex(3).substr(0, 5));
}

std::int64_t generation_of(const json::value& service) { return number_at(service, "/metadata/generation"); }

bool is_settled(const json::value& service) {
  if (number_at(service, "/status/observedGeneration", -1) != generation_of(service)) return false;
  const auto* ready = condition_of(service, "Ready");
  return ready && text_at(*ready, "/status") != "Unknown";
}

Problem still_going(Problem problem, std::string_view name, std::string_view follow) {
  if (problem.exit != ExitCode::interrupted) return problem;
  problem.because = fmt::format("this terminal no longer follows; the deploy of {} goes on", name);
  problem.hint = fmt::format("follow it: {}; how it ended: wick why {}", follow, name);
  return problem;
}

Outcome<UploadOrigin> upload_folder(Session& session, Progress& progress, const Folder& folder) {
  FolderTar tar(folder);
  http::Fields fields;
  if (!folder.commit.empty()) fields.set("X-Wick-Commit", folder.commit);
  if (folder.dirty) fields.set("X-Wick-Dirty", "true");
  auto answer = session.client.upload(wick_path(session.name_space, "uploads"), std::move(fields), tar);
  if (!answer) {
    auto problem = std::move(answer.error());
    if (problem.exit == ExitCode::interrupted) {
      problem.because = "nothing was deployed";
      return stop_with(std::move(problem));
    }
    return stop_with(
        std::move(problem).within(fmt::format("the folder {} could not be handed over", folder.root.string())));
  }
  auto text = fmt::format("{} files, {}", folder.files, human_bytes(folder.bytes));
  if (!folder.commit.empty())
    text += fmt::format(", commit {}{}", folder.commit.substr(0, 12), folder.dirty ? " and uncommitted changes" : "");
  progress.finished("upload", text);
  return UploadOrigin{.upload = text_at(*answer, "/name"), .commit = folder.commit, .dirty = folder.dirty};
}

Problem build_problem(std::string_view name, const json::value& run) {
  const auto headline = fmt::format("the build of {} failed", name);
  if (auto failure = failure_of(run)) {
    auto problem = problem_of(*failure, ExitCode::build_failed, headline);
    if (!failure->step.empty())
      problem.because =
          fmt::format("step {} after {}: {}", failure->step, human_duration(failure->elapsed), failure->because);
    return std::move(problem).or_hint("fix it and run wick deploy again; the whole log: wick logs " +
                                      std::string(name) + " --build");
  }
  Problem problem{.exit = ExitCode::build_failed, .what = headline, .slug = "E_BUILD_FAILED"};
  if (const auto* succeeded = condition_of(run, "Succeeded")) problem.because = text_at(*succeeded, "/message");
  problem.hint = fmt::format("the whole log: wick logs {} --build", name);
  return problem;
}

/// One look at a build's log: prints what was not printed before. A build that has not begun has no log yet.
Outcome<void> print_log(Session& session, Progress& progress, const std::string& run_name, std::size_t& printed,
                        const std::function<bool()>& is_superseded) {
  std::size_t line_number = 0;
  const auto on_line = [&](const json::value& line) {
    if (line_number++ >= printed) progress.event(line);
    return Client::Next::go_on;
  };
  bool given_up = false;
  const auto on_tick = [&] {
    progress.tick();
    given_up = is_superseded && is_superseded();
    return given_up ? Client::Next::stop : Client::Next::go_on;
  };
  auto followed = session.client.follow(
      wick_path(session.name_space, fmt::format("buildruns/{}/log?follow=true", run_name)), on_line, on_tick);
  printed = line_number;
  if (given_up) return stop_with(superseded());
  return followed;
}

/// Follows the log until the verdict is there. With a deploy in it, until the Service was written too.
Outcome<json::value> follow_build(Session& session, Progress& progress, std::string_view name,
                                  const std::string& run_name, const DeployOptions& options) {
  const bool deploys = !options.build_only;
  const auto ended = [&](const json::value& run) {
    const auto* succeeded = condition_of(run, "Succeeded");
    const auto status = succeeded ? text_at(*succeeded, "/status") : std::string();
    return status == "False" ||
           (status == "True" && (!deploys || find_at(run, "/status/service") || find_at(run, "/status/preview")));
  };
  std::size_t printed = 0;
  std::string seen_version;
  while (true) {
    if (auto followed = print_log(session, progress, run_name, printed, options.superseded); !followed)
      return stop_with(std::move(followed.error()));
    // The log ended: with the build, or because it has not begun. Then there is more to print after the next change.
    const auto news = [&](const json::value& run) {
      return ended(run) || text_at(run, "/metadata/resourceVersion") != seen_version;
    };
    auto run = await_object(
        session, build_run_path(session.name_space), run_name, news,
        {.limit = build_limit, .on_change = {}, .on_tick = [&] { progress.tick(); }, .superseded = options.superseded});
    if (!run) return run;
    seen_version = text_at(*run, "/metadata/resourceVersion");
    if (!ended(*run)) continue;
    if (text_at(*condition_of(*run, "Succeeded"), "/status") == "False") return stop_with(build_problem(name, *run));
    return run;
  }
}

void say_traffic(Progress& progress, const json::value& service) {
  std::string text;
  for (const auto& target : array_at(service, "/status/traffic"))
    if (const auto percent = number_at(target, "/percent"); percent > 0)
      text += fmt::format("{}{} % → {}", text.empty() ? "" : ", ", percent, text_at(target, "/revisionName"));
  if (!text.empty()) progress.note("route", text);
}

/// Waits for the verdict on the Service's newest generation and tells it.
Outcome<Deployed> await_ready(Session& session, Progress& progress, const std::string& name,
                              const DeployOptions& options, const json::value* before) {
  const auto service_before = before ? generation_of(*before) : 0;
  // The revision of before: what is newest until the daemon has made one of the new generation.
  std::string revision = before ? text_at(*before, "/status/latestCreatedRevisionName") : std::string();
  bool unchanged = false;
  const auto on_change = [&](const json::value& service) {
    unchanged = generation_of(service) == service_before;
    if (number_at(service, "/status/observedGeneration", -1) != generation_of(service)) return;
    const auto newest = text_at(service, "/status/latestCreatedRevisionName");
    if (newest == revision || newest.empty() || unchanged) return;
    revision = newest;
    progress.started("start", "revision " + revision);
  };
  WatchOptions watching{.limit = options.ready_limit,
                        .on_change = on_change,
                        .on_tick = [&] { progress.tick(); },
                        .superseded = options.superseded};
  auto service = await_object(session, service_path(session.name_space), name, is_settled, std::move(watching));
  if (!service) return stop_with(std::move(service.error()));

  revision = text_at(*service, "/status/latestCreatedRevisionName");
  if (text_at(*condition_of(*service, "Ready"), "/status") == "False") {
    auto problem = not_ready_problem(session, *service);
    if (const auto failure = failure_of(*service))
      progress.failed(failure->step, revision, failure->elapsed);
    else
      progress.failed("start", revision);
    return stop_with(std::move(problem));
  }
  if (unchanged)
    progress.note("unchanged", revision);
  else
    progress.finished("ready", revision);
  if (!unchanged) say_traffic(progress, *service);

  auto url = public_url(session, text_at(*service, "/status/url"));
  if (session.json) progress.document("ready", {{"revision", revision}, {"url", url}, {"unchanged", unchanged}});
  return Deployed{.revision = std::move(revision), .url = std::move(url), .unchanged = unchanged};
}

/// What the BuildRun of a preview says. The branch is the one that is named, else the one that the source is at.
Outcome<std::string> preview_order(Session& session, const std::string& name,
                                   const std::variant<GitUrlSource, const Folder*>& source,
                                   const DeployOptions& options) {
  auto branch = options.branch;
  if (const auto* git = std::get_if<GitUrlSource>(&source); branch.empty() && git) branch = git->ref;
  if (const auto* folder = std::get_if<const Folder*>(&source); branch.empty() && folder)
    branch = GitState::open((*folder)->root).branch();
  if (branch.empty())
    return stop_with(usage_problem("a preview is of a branch, and the source is at none",
                                   "wick deploy --preview --branch NAME, or GIT_URL#NAME"));
  if (auto fits = check_environment(options.service.env); !fits) return stop_with(std::move(fits.error()));
  auto service = session.client.find(service_path(session.name_space, name));
  if (!service) return stop_with(std::move(service.error()));
  if (!*service)
    return stop_with({.exit = ExitCode::not_found,
                      .what = fmt::format("there is no service {} for a preview", name),
                      .slug = "E_NOT_FOUND",
                      .because = "a preview takes its settings from the service",
                      .last_output = {},
                      .notes = {},
                      .hint = fmt::format("wick deploy --name {} first, without --preview", name)});
  return model::to_text({.service = name, .branch = branch, .env = options.service.env});
}

Outcome<Deployed> await_preview(Session& session, Progress& progress, const std::string& name, const json::value& run,
                                const DeployOptions& options) {
  const auto generation = number_at(run, "/status/preview/generation");
  const auto is_told = [&](const json::value& configuration) {
    const auto* ready = condition_of(configuration, "Ready");
    return number_at(configuration, "/status/observedGeneration", -1) >= generation && ready &&
           text_at(*ready, "/status") != "Unknown";
  };
  const auto on_tick = [&] { progress.tick(); };
  const WatchOptions watching{
      .limit = options.ready_limit, .on_change = {}, .on_tick = on_tick, .superseded = options.superseded};
  auto configuration =
      await_object(session, resource_path("serving.knative.dev/v1", session.name_space, "configurations"),
                   text_at(run, "/status/preview/configuration"), is_told, watching);
  if (!configuration) return stop_with(std::move(configuration.error()));
  const auto revision = text_at(*configuration, "/status/latestCreatedRevisionName");
  if (text_at(*condition_of(*configuration, "Ready"), "/status") == "False") {
    progress.failed("start", revision);
    const auto serves = text_at(*configuration, "/status/latestReadyRevisionName");
    auto problem = revision_problem(session, revision, *configuration);
    problem.notes.push_back(serves.empty() ? fmt::format("The preview does not serve; {} is as it was.", name)
                                           : fmt::format("{} still serves the preview.", serves));
    return stop_with(
        std::move(problem).or_hint(fmt::format("fix and run it again; full output: wick logs {} --failed", name)));
  }
  const auto tag = text_at(run, "/status/preview/tag");
  std::string url;
  const auto is_routed = [&](const json::value& service) {
    for (const auto& target : array_at(service, "/status/traffic"))
      if (text_at(target, "/tag") == tag && text_at(target, "/revisionName") == revision) {
        url = text_at(target, "/url");
        return true;
      }
    return false;
  };
  auto service = await_object(session, service_path(session.name_space), name, is_routed, watching);
  if (!service) return stop_with(std::move(service.error()));
  progress.finished("preview", revision);
  url = public_url(session, url);
  if (session.json) progress.document("ready", {{"revision", revision}, {"url", url}, {"preview", tag}});
  return Deployed{.revision = revision, .url = std::move(url), .unchanged = false};
}

/// The same name again may mean another image by now. A tag that has moved makes a revision, as another template does;
/// what cannot be looked up is left to the revision to tell.
void note_moved_tag(Session& session, const ImageSource& image, const json::value& existing, json::object& manifest) {
  constexpr const char* noted = "wick.dev/image-digest";
  if (text_at(existing, "/spec/template/spec/containers/0/image") != image.reference) return;
  std::string secrets;
  for (const auto& secret : array_at(existing, "/spec/template/spec/imagePullSecrets"))
    secrets += (secrets.empty() ? "" : ",") + http::percent_encode(text_at(secret, "/name"));
  auto now = session.client.post(
      wick_path(session.name_space,
                fmt::format("imageresolve?name={}&secrets={}", http::percent_encode(image.reference), secrets)),
      json::object());
  const auto revision = text_at(existing, "/status/latestCreatedRevisionName");
  if (!now || revision.empty()) return;
  const auto running =
      session.client.get(resource_path("serving.knative.dev/v1", session.name_space, "revisions", revision));
  if (!running) return;
  const auto pinned = text_at(*running, "/status/containerStatuses/0/imageDigest");
  const auto digest = text_at(*now, "/digest");
  if (pinned.empty() || pinned.ends_with(digest)) return;
  auto& metadata = manifest["spec"].as_object()["template"].as_object()["metadata"];
  if (!metadata.is_object()) metadata = json::object();
  auto& annotations = metadata.get_object()["annotations"];
  if (!annotations.is_object()) annotations = json::object();
  annotations.get_object()[noted] = digest;
}

Outcome<Deployed> deploy_image(Session& session, Progress& progress, const std::string& name, const ImageSource& image,
                               const DeployOptions& options) {
  auto before = session.client.find(service_path(session.name_space, name));
  if (!before) return stop_with(std::move(before.error()));
  const json::value* existing = *before ? &**before : nullptr;
  auto manifest = service_manifest(name, session.name_space, image.reference, options.service, existing);
  if (!manifest) return stop_with(std::move(manifest.error()));
  if (existing) {
    note_moved_tag(session, image, *existing, *manifest);
    manifest->at("metadata").get_object()["resourceVersion"] = text_at(*existing, "/metadata/resourceVersion");
  }
  auto written = existing ? session.client.put(service_path(session.name_space, name), *manifest)
                          : session.client.post(service_path(session.name_space), *manifest);
  if (!written) return stop_with(std::move(written.error()).within(fmt::format("{} was not deployed", name)));
  if (options.detach) {
    session.json ? progress.document("accepted", {{"service", name}}) : (void)session.terminal.result(name);
    return Deployed{};
  }
  auto ready = await_ready(session, progress, name, options, existing);
  if (!ready) return stop_with(still_going(std::move(ready.error()), name, "wick logs -f " + name));
  return ready;
}

/// A build that nobody wants any more. Whether it can still be told is not worth a word.
void cancel_build(Session& session, const std::string& run_name) {
  const json::value cancelled{{"spec", {{"state", "BuildRunCanceled"}}}};
  (void)session.client.merge_patch(build_run_path(session.name_space, run_name), cancelled);
}

Outcome<Deployed> deploy_source(Session& session, Progress& progress, const std::string& name,
                                const std::variant<GitUrlSource, const Folder*>& source, const DeployOptions& options) {
  std::optional<json::value> before;
  json::object manifest;
  std::string preview;
  if (options.preview) {
    auto order = preview_order(session, name, source, options);
    if (!order) return stop_with(std::move(order.error()));
    preview = std::move(*order);
  } else if (!options.build_only) {
    auto found = session.client.find(service_path(session.name_space, name));
    if (!found) return stop_with(std::move(found.error()));
    before = std::move(*found);
    auto wanted = service_manifest(name, session.name_space, "", options.service, before ? &*before : nullptr);
    if (!wanted) return stop_with(std::move(wanted.error()));
    manifest = std::move(*wanted);
  }

  std::variant<GitOrigin, UploadOrigin> origin;
  if (const auto* git = std::get_if<GitUrlSource>(&source)) {
    origin = GitOrigin{.url = git->url, .ref = git->ref};
  } else {
    auto uploaded = upload_folder(session, progress, *std::get<const Folder*>(source));
    if (!uploaded) return stop_with(std::move(uploaded.error()));
    origin = std::move(*uploaded);
  }
  const auto run_name = run_name_for(name);
  auto ticket = hand_over_secrets(session, options.build.secrets);
  if (!ticket) return stop_with(std::move(ticket.error()));
  auto run = build_run_manifest(run_name, name, session.name_space, origin, options.build, manifest, *ticket, preview);
  if (!run) return stop_with(std::move(run.error()));
  auto accepted = session.client.post(build_run_path(session.name_space), *run);
  if (!accepted) return stop_with(std::move(accepted.error()).within(fmt::format("{} was not deployed", name)));
  // From here on the daemon has the work: a failure of ours ends the watching only.
  if (options.detach) {
    session.json ? progress.document("accepted", {{"buildRun", run_name}}) : (void)session.terminal.result(run_name);
    return Deployed{};
  }
  const auto follow = fmt::format("wick logs {} --build -f", name);
  auto built = follow_build(session, progress, name, run_name, options);
  if (!built && options.superseded && options.superseded()) cancel_build(session, run_name);
  if (!built) return stop_with(still_going(std::move(built.error()), name, follow));
  if (options.build_only) {
    const auto digest = text_at(*built, "/status/output/digest");
    session.json ? progress.document("built", {{"image", name}, {"digest", digest}})
                 : (void)session.terminal.result(digest);
    return Deployed{};
  }
  auto ready = options.preview ? await_preview(session, progress, name, *built, options)
                               : await_ready(session, progress, name, options, before ? &*before : nullptr);
  if (!ready) return stop_with(still_going(std::move(ready.error()), name, follow));
  return ready;
}

Outcome<Deployed> deploy_any(Session& session, Progress& progress, const std::string& name, const Source& source,
                             const DeployOptions& options) {
  if (const auto* image = std::get_if<ImageSource>(&source))
    return deploy_image(session, progress, name, *image, options);
  if (const auto* git = std::get_if<GitUrlSource>(&source))
    return deploy_source(session, progress, name, *git, options);
  const auto& path = std::get<FolderSource>(source).path;
  progress.started("upload", path.string());
  auto folder = list_folder(path, options.build.dockerfile);
  if (!folder) return stop_with(std::move(folder.error()));
  return deploy_source(session, progress, name, &*folder, options);
}

Outcome<void> check_local(const Source& source, const DeployOptions& options) {
  const auto* git = std::get_if<GitUrlSource>(&source);
  if (!git || !git->is_local() || options.build.allow_local) return {};
  return stop_with({.exit = ExitCode::refused,
                    .what = fmt::format("{} is a path on the daemon's machine", git->url),
                    .slug = "E_DENIED",
                    .because = "the daemon reads files of its own machine only when told so",
                    .hint = "wick deploy " + git->url + " --allow-local, or deploy the folder itself"});
}

}  // namespace

std::optional<model::Failure> failure_of(const json::value& resource) {
  for (const char* place : {"/status/lastFailure", "/status/failure"})
    if (const auto* value = find_at(resource, place); value && value->is_object())
      if (auto failure = model::Failure::from_json(*value)) return std::move(*failure);
  return std::nullopt;
}

Problem not_ready_problem(Session& session, const json::value& service) {
  const auto name = text_at(service, "/metadata/name");
  const auto revision = text_at(service, "/status/latestCreatedRevisionName");
  const auto headline = fmt::format("{} did not become ready", revision.empty() ? name : revision);
  auto failure = failure_of(service);
  if (!failure && !revision.empty()) {
    const auto path = resource_path("serving.knative.dev/v1", session.name_space, "revisions", revision);
    if (auto found = session.client.find(path); found && *found) failure = failure_of(**found);
  }
  Problem problem{.exit = ExitCode::not_ready, .what = headline, .slug = "E_NOT_READY"};
  if (failure)
    problem = problem_of(*failure, ExitCode::not_ready, headline);
  else if (const auto* ready = condition_of(service, "Ready"))
    problem.because = text_at(*ready, "/message");

  bool serves = false;
  for (const auto& target : array_at(service, "/status/traffic")) {
    const auto percent = number_at(target, "/percent");
    const auto serving = text_at(target, "/revisionName");
    if (percent <= 0 || serving.empty() || serving == revision) continue;
    problem.notes.push_back(fmt::format("{} still serves {} % of the traffic.", serving, percent));
    serves = true;
  }
  if (!serves) problem.notes.push_back(fmt::format("No revision of {} serves.", name));
  return std::move(problem).or_hint(fmt::format("fix and run wick deploy; full output: wick logs {} --failed", name));
}

Outcome<std::string> service_name(const Source& source, const DeployOptions& options) {
  auto name = options.name.empty() ? default_name(source, options.build.subpath) : Outcome<std::string>(options.name);
  if (name && !is_dns_label(*name))
    return stop_with(usage_problem(fmt::format("'{}' is not a service name", *name),
                                   "a to z, 0 to 9 and '-', at most 63, starting with a letter"));
  return name;
}

Outcome<void> deploy(Session& session, DeployOptions options) {
  auto source = parse_source(options.source);
  if (!source) return stop_with(std::move(source.error()));
  if (auto allowed = check_local(*source, options); !allowed) return allowed;
  if (!options.follow.empty() && !std::holds_alternative<GitUrlSource>(*source))
    return stop_with(usage_problem("only the branch of a git URL can be followed",
                                   "wick deploy https://host/name.git#main --follow; for a folder: wick dev"));
  if (options.preview && (std::holds_alternative<ImageSource>(*source) || !options.follow.empty()))
    return stop_with(usage_problem("a preview is built from a folder or a git URL, and is not followed by itself",
                                   "branches are followed where the service's wick.dev/previews names them"));
  if (!options.preview && !options.branch.empty())
    return stop_with(usage_problem("--branch names the branch of a preview", "wick deploy --preview --branch NAME"));
  if (options.explain) return show_plan(session, *source, options.build);
  auto name = service_name(*source, options);
  if (!name) return stop_with(std::move(name.error()));

  Progress progress(session, *name);
  const auto* image = std::get_if<ImageSource>(&*source);
  if (image && options.build_only)
    return stop_with(usage_problem(fmt::format("'{}' is an image already", image->reference),
                                   "wick build takes a folder or a git URL"));
  auto done = deploy_any(session, progress, *name, *source, options);
  if (!done && session.json) progress.document("failed", json_of(done.error()));
  // A deploy that failed is followed too: the next push may mend it.
  if (!options.follow.empty() && (done || done.error().exit == ExitCode::not_ready))
    if (auto followed = follow_last_deploy(session, *name, options.follow); !followed) return followed;
  if (!done) return stop_with(std::move(done.error()));
  if (session.json || done->revision.empty()) return {};
  session.terminal.result(done->url);
  if (session.terminal.err_is_terminal())
    session.terminal.say(fmt::format("next: wick logs -f {}    wick open {}", *name, *name));
  return {};
}

Outcome<Deployed> deploy_folder(Session& session, Progress& progress, const std::string& name, const Folder& folder,
                                const DeployOptions& options) {
  progress.started("upload", folder.root.string());
  return deploy_source(session, progress, name, &folder, options);
}

}  // namespace wick::app::cli
