// What is deployed, looked at and called.
#include "app/cli/command_line.hpp"

#include <fmt/format.h>

#include "app/cli/dev.hpp"
#include "wick/base/time.hpp"

namespace wick::app::cli {

namespace {

constexpr int port_max = 65535;

}  // namespace

CommandLine::CommandLine()
    : app_("Wick: Knative on one machine. From source or image to an answering URL, and events to it.", "wick") {
  app_.fallthrough();
  app_.require_subcommand(0, 1);
  app_.option_defaults()->always_capture_default(false);
  app_.add_option("-n,--namespace", name_space, "where the service lives (default: $WICK_NAMESPACE, else default)")
      ->type_name("NAME");
  app_.add_flag("--json", json, "one JSON document; a line each where it streams");
  app_.set_version_flag("--version", std::string("wick ") + WICK_VERSION);
  app_.footer(
      "Exit codes: 0 ok, 1 failed, 2 usage, 3 no daemon, 4 build failed, 5 not ready, 6 not found, 7 refused, 8 "
      "timed out, 130 interrupted.\n"
      "wick help VERB and wick help E_SLUG say more.");
  add_deploy();
  add_dev();
  add_build();
  add_looking();
  add_calling();
  add_secrets();
  add_images();
  add_traffic();
  add_sinks();
  add_events();
  add_channels();
  add_flows();
  add_domains();
  add_sources();
  add_git();
  add_previews();
  add_webhooks();
  add_access();
  add_rest();
}

CLI::App& CommandLine::verb(CLI::App& parent, const std::string& name, const std::string& about, Verb run) {
  auto* sub = parent.add_subcommand(name, about);
  sub->callback([this, run = std::move(run)] { chosen = run; });
  return *sub;
}

void CommandLine::add_build_flags(CLI::App& sub, DeployOptions& options) {
  sub.add_option("--path", options.build.subpath, "folder of the source to build")->type_name("SUBDIR");
  sub.add_option("--name", options.name, "name of the service (default: from the folder, repository or image)")
      ->type_name("NAME");
  sub.add_option("--dockerfile", options.build.dockerfile, "another Dockerfile than the one at the top")
      ->type_name("FILE");
  sub.add_option("--builder", options.build.builder, "build with this language's builder, whatever else fits")
      ->type_name("NAME");
  sub.add_option("--target", options.build.target, "stage of the Dockerfile")->type_name("STAGE");
  add_repeated(sub, "--build-arg", options.build.build_args, "value for an ARG of the Dockerfile")->type_name("K=V");
  add_repeated(sub, "--secret", options.build.secrets, "value for RUN --mount=type=secret, kept nowhere")
      ->type_name("id=ID[,src=FILE|,env=NAME]");
  sub.add_flag("--allow-local", options.build.allow_local, "let the daemon read file:// URLs of its own machine");
  sub.add_option("--git-secret", options.build.git_secret, "secret with the login or ssh key of the repository")
      ->type_name("NAME");
}

void CommandLine::add_detach_flag(CLI::App& sub, DeployOptions& options) {
  sub.add_flag("--detach", options.detach, "do not wait: print what was started");
}

void CommandLine::add_deploy() {
  auto options = std::make_shared<DeployOptions>();
  auto& sub = verb(app_, "deploy", "Build and serve a folder, a git URL or an image",
                   [options](Session& session) { return deploy(session, *options); });
  sub.alias("up");
  sub.add_option("source", options->source, "folder, GIT_URL[#ref] or image (default: this folder)");
  add_build_flags(sub, *options);
  add_detach_flag(sub, *options);
  sub.add_flag("--follow{1m}", options->follow,
               "look at the git URL's branch from now on and deploy what comes: --follow=30s, --follow=off");
  sub.add_flag("--preview", options->preview,
               "as a preview of the service: its own URL, none of the traffic, the service's settings");
  sub.add_option("--branch", options->branch, "the branch that it is the preview of (default: the source's)")
      ->type_name("NAME");
  add_service_flags(sub, options);
}

void CommandLine::add_dev() {
  auto options = std::make_shared<DeployOptions>();
  auto& sub = verb(app_, "dev", "Serve a folder while it is worked on: every save is built and swapped in",
                   [options](Session& session) { return develop(session, *options); });
  sub.add_option("source", options->source, "folder (default: this folder)");
  add_build_flags(sub, *options);
  add_service_flags(sub, options);
}

void CommandLine::add_service_flags(CLI::App& sub, const std::shared_ptr<DeployOptions>& options) {
  auto& service = options->service;
  add_repeated(sub, "--env,-e", service.env, "set a variable, K- removes it")->type_name("K=V");
  sub.add_option("--port", service.port, "port the program listens on (default: it reads $PORT)")
      ->check(CLI::Range(1, port_max));
  sub.add_option("--min", service.min_scale, "instances kept even when idle")->check(CLI::NonNegativeNumber);
  sub.add_option("--max", service.max_scale, "most instances, 0 for no limit")->check(CLI::NonNegativeNumber);
  sub.add_option("--concurrency", service.concurrency, "most requests at once an instance, 0 for no limit")
      ->check(CLI::NonNegativeNumber);
  sub.add_option("--idle", service.idle, "idle time before an instance goes, e.g. 60s")->check(duration_check());
  add_repeated(sub, "--pull-secret", service.pull_secrets, "Secret with credentials for the image's registry")
      ->type_name("NAME");
  sub.add_option("--timeout-start", service.start_limit, "how long a start may take before it has failed, e.g. 30s")
      ->check(duration_check());
  sub.add_option("--memory", service.memory, "e.g. 256Mi")->type_name("QUANTITY");
  sub.add_option("--cpu", service.cpu, "e.g. 500m or 2")->type_name("QUANTITY");
  sub.add_option_function<std::string>(
         "--timeout", [options](const std::string& text) { options->ready_limit = *parse_go_duration(text); },
         "how long to wait for the revision (default 10m)")
      ->check(duration_check());
}

void CommandLine::add_build() {
  auto options = std::make_shared<DeployOptions>();
  options->build_only = true;
  auto& sub = verb(app_, "build", "Build an image and do not serve it",
                   [options](Session& session) { return deploy(session, *options); });
  sub.add_option("source", options->source, "folder or GIT_URL[#ref] (default: this folder)");
  add_build_flags(sub, *options);
  add_detach_flag(sub, *options);
  sub.add_flag("--explain", options->explain, "build nothing: print the plan as a Dockerfile, and why it is so");
}

void CommandLine::add_looking() {
  verb(app_, "ps", "List services", list_services).alias("ls");

  auto logs = std::make_shared<LogsOptions>();
  auto& show =
      verb(app_, "logs", "What a service printed", [logs](Session& session) { return show_logs(session, *logs); });
  show.add_option("name", logs->name, "service")->required();
  show.add_flag("-f,--follow", logs->follow, "go on with what comes");
  show.add_option("--tail", logs->tail, "last lines only")->check(CLI::NonNegativeNumber)->type_name("N");
  show.add_option("-c,--container", logs->container, "of several containers this one (default: the one that serves)")
      ->type_name("NAME");
  show.add_flag("--failed", logs->failed, "of the instance that failed last");
  show.add_flag("--build", logs->build, "of the newest build");

  auto exec = std::make_shared<ExecOptions>();
  auto& beside = verb(app_, "exec", "Run a command beside a service's program",
                      [exec](Session& session) { return run_command(session, *exec); });
  beside.add_option("name", exec->name, "service (its newest instance), or an instance")->required();
  beside.add_option("-c,--container", exec->container, "in this one of several (default: the one that serves)")
      ->type_name("NAME");
  beside.add_flag("-i,--stdin", exec->input, "pass on what is typed or piped in");
  beside.add_flag("-t,--tty", exec->terminal, "with a terminal: wick exec -it hello -- sh");
  beside.add_option("command", exec->command, "after --: the command and its arguments")->required()->take_all();

  auto why = std::make_shared<std::string>();
  verb(app_, "why", "Why a service is as it is, or what became of an event",
       [why](Session& session) { return explain(session, *why); })
      .add_option("name", *why, "service, or event id")
      ->required();

  auto open = std::make_shared<std::string>();
  verb(app_, "open", "Open a service in the browser", [open](Session& session) { return open_service(session, *open); })
      .add_option("name", *open, "service")
      ->required();

  auto remove = std::make_shared<RemoveOptions>();
  auto& rm =
      verb(app_, "rm", "Remove services", [remove](Session& session) { return remove_services(session, *remove); });
  rm.add_option("names", remove->names, "services")->required();
  rm.add_flag("-y,--yes", remove->yes, "do not ask");
}

void CommandLine::add_calling() {
  auto call = std::make_shared<InvokeOptions>();
  auto& sub = verb(app_, "invoke", "Call a service through the daemon",
                   [call](Session& session) { return invoke(session, *call); });
  sub.add_option("name", call->name, "service")->required();
  sub.add_option("path", call->path, "path and query (default: /)");
  sub.add_option("-X,--request", call->method, "method (default: GET, POST with data)")->type_name("METHOD");
  add_repeated(sub, "-H,--header", call->headers, "header field")->type_name("'Name: value'");
  sub.add_option("-d,--data", call->data, "body; @FILE and @- read it")->type_name("DATA");
  sub.add_flag("--trace", call->trace, "then print where its time went: route, start, listen, answer");
  sub.add_option_function<std::string>(
         "--timeout", [call](const std::string& text) { call->limit = *parse_go_duration(text); },
         "how long to wait for the answer (default 5m)")
      ->check(duration_check());
}

void CommandLine::add_traffic() {
  auto traffic = std::make_shared<TrafficOptions>();
  auto& change = verb(app_, "traffic", "Show or change which revision gets how much",
                      [traffic](Session& session) { return change_traffic(session, *traffic); });
  change.add_option("name", traffic->name, "service")->required();
  change.add_option("shares", traffic->shares, "shares that add up to 100; latest follows the newest revision")
      ->type_name("REVISION=PERCENT");
  add_repeated(change, "--tag", traffic->tags, "give a revision an address of its own")->type_name("REVISION=TAG");
  add_repeated(change, "--untag", traffic->untags, "take a tag away")->type_name("TAG");

  auto back = std::make_shared<std::pair<std::string, std::string>>();
  auto& rollback = verb(app_, "rollback", "Give all traffic to the revision before, or to a named one",
                        [back](Session& session) { return roll_back(session, back->first, back->second); });
  rollback.add_option("name", back->first, "service")->required();
  rollback.add_option("revision", back->second, "revision (default: the one before)");

  auto rollout = std::make_shared<RolloutOptions>();
  auto& out = verb(app_, "rollout", "How traffic comes to a new revision: show, set, take back, finish",
                   [rollout](Session& session) { return roll_out(session, *rollout); });
  out.add_option("name", rollout->name, "service")->required();
  out.add_option("--over", rollout->over, "time from 1 % to everything, e.g. 5m; 0s is at once")
      ->check(duration_check());
  out.add_option("--rollback-on-error-rate", rollout->error_rate,
                 "take it back when 5xx answers are this many percentage points above the revision before")
      ->type_name("POINTS");
  out.add_option("--rollback-on-latency", rollout->latency,
                 "take it back when its 95th percentile is this many times that of the revision before")
      ->type_name("FACTOR");
  auto* abort = out.add_flag("--abort", rollout->abort, "take the newest revision back");
  out.add_flag("--finish", rollout->finish, "give the newest revision everything now")->excludes(abort);
}

void CommandLine::add_named(CLI::App& group, const char* thing, Outcome<void> (*list)(Session&),
                            Outcome<void> (*show)(Session&, const std::string&),
                            Outcome<void> (*remove)(Session&, const std::string&)) {
  verb(group, "ls", fmt::format("List {}s", thing).c_str(), list);
  for (const auto& [word, about, act] :
       {std::tuple{"show", "Its parts and conditions", show}, {"rm", "Remove it", remove}}) {
    auto name = std::make_shared<std::string>();
    verb(group, word, about, [name, act](Session& session) { return act(session, *name); })
        .add_option("name", *name, thing)
        ->required();
  }
}

void CommandLine::add_rest() {
  auto out = std::make_shared<ExportOptions>();
  auto& exporting = verb(app_, "export", "Print manifests that a Knative cluster accepts",
                         [out](Session& session) { return export_manifests(session, *out); });
  exporting.add_option("names", out->names, "services (default: everything in the namespace)");
  exporting.add_flag("-A,--all-namespaces", out->all_namespaces, "of every namespace");
  exporting.add_flag("--secrets", out->secrets, "with the values of Secrets");
  auto files = std::make_shared<std::vector<std::string>>();
  auto& applying = verb(app_, "apply", "Create or change what manifests say",
                        [files](Session& session) { return apply_files(session, *files); });
  add_repeated(applying, "-f,--filename", *files, "YAML or JSON file, or a folder of them; - is stdin")
      ->required()
      ->type_name("FILE");
  verb(app_, "doctor", "Check what this machine can do", doctor);
  verb(app_, "info", "What the daemon says of itself", show_info);
  verb(app_, "version", "Version of this program and of the daemon", show_version);
  auto shell = std::make_shared<std::string>();
  verb(app_, "completion", "Completion script for a shell",
       [shell](Session& session) { return print_completion(session, *shell); })
      .add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  verb(app_, "__names", "", complete_names).group("");
  auto* help = app_.add_subcommand("help", "Help on a verb or an error's slug");
  help->add_option("topic", help_words, "verb or E_SLUG");
  help->callback([this] { wants_help = true; });
  for (const auto& [role, about] : {std::pair{"serve", "The daemon: front of everything (see wick serve --help)"},
                                    std::pair{"runner", "The daemon's root half (see wick runner --help)"}})
    app_.add_subcommand(role, about)->allow_extras();
}

CLI::Validator CommandLine::duration_check() {
  return CLI::Validator(
      [](const std::string& text) {
        return parse_go_duration(text) ? std::string() : fmt::format("'{}' is not a duration like 60s or 1m30s", text);
      },
      "DURATION");
}

}  // namespace wick::app::cli
