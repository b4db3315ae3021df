// The table of verbs and flags. The only file that sees CLI11.
#include "app/cli/cli.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <iostream>

#include "app/cli/deploy.hpp"
#include "app/cli/dev.hpp"
#include "app/cli/verbs.hpp"
#include "wick/base/time.hpp"

namespace wick::app::cli {

namespace {

using Verb = std::function<Outcome<void>(Session&)>;

constexpr const char* default_socket = "/run/wick/wick.sock";
constexpr int port_max = 65535;

/// A flag that may be given several times, one value each.
template <class T>
CLI::Option* add_repeated(CLI::App& verb, const char* flag, T& values, const char* about) {
  return verb.add_option(flag, values, about)->take_all()->allow_extra_args(false);
}

class CommandLine {
 public:
  CommandLine()
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

  CLI::App& app() { return app_; }
  Verb chosen;
  std::string name_space;
  bool json = false;
  std::vector<std::string> help_words;
  bool wants_help = false;

 private:
  CLI::App& verb(CLI::App& parent, const std::string& name, const std::string& about, Verb run) {
    auto* sub = parent.add_subcommand(name, about);
    sub->callback([this, run = std::move(run)] { chosen = run; });
    return *sub;
  }

  static void add_build_flags(CLI::App& sub, DeployOptions& options) {
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
  static void add_detach_flag(CLI::App& sub, DeployOptions& options) {
    sub.add_flag("--detach", options.detach, "do not wait: print what was started");
  }

  void add_deploy() {
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

  void add_dev() {
    auto options = std::make_shared<DeployOptions>();
    auto& sub = verb(app_, "dev", "Serve a folder while it is worked on: every save is built and swapped in",
                     [options](Session& session) { return develop(session, *options); });
    sub.add_option("source", options->source, "folder (default: this folder)");
    add_build_flags(sub, *options);
    add_service_flags(sub, options);
  }

  static void add_service_flags(CLI::App& sub, const std::shared_ptr<DeployOptions>& options) {
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

  void add_build() {
    auto options = std::make_shared<DeployOptions>();
    options->build_only = true;
    auto& sub = verb(app_, "build", "Build an image and do not serve it",
                     [options](Session& session) { return deploy(session, *options); });
    sub.add_option("source", options->source, "folder or GIT_URL[#ref] (default: this folder)");
    add_build_flags(sub, *options);
    add_detach_flag(sub, *options);
    sub.add_flag("--explain", options->explain, "build nothing: print the plan as a Dockerfile, and why it is so");
  }

  void add_looking() {
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
    verb(app_, "open", "Open a service in the browser",
         [open](Session& session) { return open_service(session, *open); })
        .add_option("name", *open, "service")
        ->required();

    auto remove = std::make_shared<RemoveOptions>();
    auto& rm =
        verb(app_, "rm", "Remove services", [remove](Session& session) { return remove_services(session, *remove); });
    rm.add_option("names", remove->names, "services")->required();
    rm.add_flag("-y,--yes", remove->yes, "do not ask");
  }

  void add_images() {
    auto& image = *app_.add_subcommand("image", "Images on the daemon's machine");
    image.require_subcommand(1);
    verb(image, "ls", "List images", list_images);
    auto shown = std::make_shared<std::string>();
    verb(image, "inspect", "Manifest and configuration of an image",
         [shown](Session& session) { return inspect_image(session, *shown); })
        .add_option("name", *shown, "image, or its digest")
        ->required();
    auto gone = std::make_shared<std::vector<std::string>>();
    verb(image, "rm", "Remove images by name; services that run them go on",
         [gone](Session& session) { return remove_images(session, *gone); })
        .add_option("names", *gone, "images")
        ->required();
    auto pulled = std::make_shared<std::vector<std::string>>();
    verb(image, "pull", "Fetch images from their registries, with your docker login",
         [pulled](Session& session) { return pull_images(session, *pulled); })
        .add_option("names", *pulled, "images: REGISTRY/NAME:TAG")
        ->required();
    auto push = std::make_shared<PushOptions>();
    auto& pushing = verb(image, "push", "Send an image to a registry, with your docker login",
                         [push](Session& session) { return push_image(session, *push); });
    pushing.add_option("name", push->name, "image that is here")->required();
    pushing.add_option("to", push->to, "REGISTRY/NAME:TAG (default: its own name)");
    auto load = std::make_shared<LoadOptions>();
    auto& loading = verb(image, "load", "Take images from an OCI or docker archive",
                         [load](Session& session) { return load_images(session, *load); });
    loading.add_option("file", load->file, "archive (default: stdin)");
    loading.add_option("-i,--input", load->file, "the same")->type_name("FILE");
    loading.add_option("--name", load->name, "only this image; a single one gets this name")->type_name("NAME");
    auto prune = std::make_shared<PruneOptions>();
    verb(image, "prune", "Remove what no image name and no revision needs", [prune](Session& session) {
      return prune_images(session, *prune);
    }).add_flag("-y,--yes", prune->yes, "do not ask");
    verb(image, "gc", "Free what is over the daemon's limits, build cache that was not used for longest first",
         collect_images);
    auto verified = std::make_shared<std::vector<std::string>>();
    verb(image, "verify", "Read every byte of images and compare the digests", [verified](Session& session) {
      return verify_images(session, *verified);
    }).add_option("names", *verified, "images (default: all)");
    auto save = std::make_shared<SaveOptions>();
    auto& saving = verb(image, "save", "Write images to an archive that docker load and skopeo take",
                        [save](Session& session) { return save_images(session, *save); });
    saving.add_option("names", save->names, "images")->required();
    saving.add_flag("--zstd", save->compress,
                    "compressed, on all cores: docker load (23 or newer), podman and skopeo take it");
    saving.add_option("-o,--output", save->file, "file (default: stdout)")->type_name("FILE");
  }

  void add_calling() {
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

  void add_secrets() {
    auto& secret = *app_.add_subcommand("secret", "Keys and passwords that services and builds use");
    secret.require_subcommand(1);
    auto set = std::make_shared<SecretOptions>();
    auto& setting = verb(secret, "set", "Make a secret, or replace it",
                         [set](Session& session) { return set_secret(session, *set); });
    setting.add_option("name", set->name, "secret")->required();
    setting.add_option("values", set->values, "KEY=VALUE; @FILE and @- read the value")->required();
    setting.add_option("--type", set->type, "Kubernetes' type (default: told by the keys)")->type_name("TYPE");
    verb(secret, "ls", "List secrets", list_secrets);
    auto key = std::make_shared<KeyFileOptions>();
    auto& rotate = verb(secret, "rotate-key", "Put a new key before those that secrets are encrypted with (root)",
                        [key](Session& session) { return rotate_secret_key(session, *key); });
    rotate.add_option("--key-file", key->file, "where the daemon has it (default: /etc/wick/secret.key)")
        ->type_name("FILE");
    rotate.add_flag("--drop-old", key->drop_old, "leave only the first, once the daemon uses it alone");
    auto removed = std::make_shared<std::string>();
    verb(secret, "rm", "Remove a secret", [removed](Session& session) { return remove_secret(session, *removed); })
        .add_option("name", *removed, "secret")
        ->required();
  }

  void add_traffic() {
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

  /// ls, show and rm of a group whose things are found by name.
  void add_named(CLI::App& group, const char* thing, Outcome<void> (*list)(Session&),
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

  static constexpr const char* destination_about =
      "SERVICE, broker:NAME, channel:NAME, sequence:NAME, parallel:NAME, jobsink:NAME, transform:NAME or a URL";

  void add_channels() {
    auto& channel = *app_.add_subcommand("channel", "Channels: every event to every subscription");
    channel.require_subcommand(1);
    auto name = std::make_shared<std::string>();
    verb(channel, "add", "Make a channel", [name](Session& session) { return add_channel(session, *name); })
        .add_option("name", *name, "channel")
        ->required();
    auto subscribe = std::make_shared<SubscribeOptions>();
    auto& subscribing = verb(channel, "subscribe", "Send a channel's events to a destination",
                             [subscribe](Session& session) { return subscribe_channel(session, *subscribe); });
    subscribing.add_option("name", subscribe->name, "subscription")->required();
    subscribing.add_option("channel", subscribe->channel, "channel")->required();
    subscribing.add_option("--to", subscribe->to, destination_about)->type_name("DESTINATION");
    subscribing.add_option("--reply", subscribe->reply, "where the answers go (default: nowhere)")
        ->type_name("DESTINATION");
    subscribing.add_option("--retry", subscribe->retry, "attempts after the first (default: the channel's, else 0)")
        ->check(CLI::Range(0, 1000));
    subscribing.add_option("--dead-letter", subscribe->dead_letter, "gets what is not taken")->type_name("DESTINATION");
    auto gone = std::make_shared<std::string>();
    verb(channel, "unsubscribe", "Remove a subscription",
         [gone](Session& session) { return unsubscribe_channel(session, *gone); })
        .add_option("name", *gone, "subscription")
        ->required();
    add_named(channel, "channel", list_channels, describe_channel, remove_channel);
  }

  void add_domains() {
    auto& domain = *app_.add_subcommand("domain", "Domains of your own for services");
    domain.require_subcommand(1);
    auto options = std::make_shared<DomainOptions>();
    auto& add = verb(domain, "add", "Serve a service at a domain, once its DNS points here",
                     [options](Session& session) { return add_domain(session, *options); });
    add.add_option("name", options->name, "domain, e.g. shop.example.com")->required();
    add.add_option("service", options->service, "service")->required();
    add.add_option("--cert", options->certificate,
                   "its certificate and what is above it (PEM), in place of one by ACME")
        ->type_name("FILE");
    add.add_option("--key", options->key, "the certificate's key (PEM)")->type_name("FILE");
    add.add_flag("!--no-dns-check", options->check_dns, "map it wherever the name leads");
    add.add_flag("!--no-wait", options->wait, "do not wait for the certificate");
    verb(domain, "ls", "List domains", list_domains);
    auto gone = std::make_shared<std::string>();
    verb(domain, "rm", "Remove it", [gone](Session& session) { return remove_domain(session, *gone); })
        .add_option("name", *gone, "domain")
        ->required();
  }

  void add_flows() {
    auto& flow = *app_.add_subcommand("flow", "Sequences and parallels of services");
    flow.require_subcommand(1);
    auto sequence = std::make_shared<FlowOptions>();
    auto& chain = verb(flow, "sequence", "Services one after the other: the answer of one is the event of the next",
                       [sequence](Session& session) { return add_sequence(session, *sequence); });
    chain.add_option("name", sequence->name, "sequence")->required();
    add_repeated(chain, "--step", sequence->parts, destination_about)->required()->type_name("DESTINATION");
    chain.add_option("--reply", sequence->reply, "gets the last answer")->type_name("DESTINATION");
    auto parallel = std::make_shared<FlowOptions>();
    auto& branches = verb(flow, "parallel", "Every event into each branch",
                          [parallel](Session& session) { return add_parallel(session, *parallel); });
    branches.add_option("name", parallel->name, "parallel")->required();
    add_repeated(branches, "--branch", parallel->parts,
                 "what gets the events; a filter before it lets pass what it answers")
        ->required()
        ->type_name("[FILTER,]DESTINATION");
    branches.add_option("--reply", parallel->reply, "gets the answers")->type_name("DESTINATION");
    add_named(flow, "flow", list_flows, describe_flow, remove_flow);
  }

  void add_source_options(CLI::App& verb, SourceOptions& options) {
    verb.add_option("name", options.name, "source")->required();
    verb.add_option("--to", options.to, destination_about)->required()->type_name("DESTINATION");
    add_repeated(verb, "--ext", options.extensions, "extension attribute of every event")->type_name("K=V");
  }

  void add_sources() {
    auto& source = *app_.add_subcommand("source", "What sends events by itself");
    source.require_subcommand(1);
    auto ping = std::make_shared<PingOptions>();
    auto& pinging =
        verb(source, "ping", "An event on a schedule", [ping](Session& session) { return add_ping(session, *ping); });
    add_source_options(pinging, ping->source);
    pinging.add_option("--schedule", ping->schedule,
                       "cron: five fields, or six with seconds first (default: every minute)");
    pinging.add_option("--timezone", ping->zone, "IANA name (default: UTC)");
    pinging.add_option("--data,-d", ping->data, "data; @FILE and @- read it");
    pinging.add_option("--content-type", ping->content_type, "of the data (default: by what it is)");
    auto binding = std::make_shared<BindingOptions>();
    auto& bound = verb(source, "binding", "Tell a service where its events go: K_SINK",
                       [binding](Session& session) { return add_binding(session, *binding); });
    add_source_options(bound, binding->source);
    bound.add_option("--service", binding->service, "service")->required();
    auto changes = std::make_shared<ApiServerOptions>();
    auto& watching = verb(source, "apiserver", "Changes of objects as events",
                          [changes](Session& session) { return add_api_server_source(session, *changes); });
    add_source_options(watching, changes->source);
    add_repeated(watching, "--resource", changes->resources, "what to watch, e.g. Service:serving.knative.dev/v1")
        ->required()
        ->type_name("KIND:APIVERSION");
    watching.add_flag("--whole", changes->whole, "send whole objects, not references to them");
    auto running = std::make_shared<ContainerSourceOptions>();
    auto& contained = verb(source, "container", "A container that runs always and sends events to K_SINK",
                           [running](Session& session) { return add_container_source(session, *running); });
    add_source_options(contained, running->source);
    add_container_options(contained, running->container);
    add_named(source, "source", list_sources, describe_source, remove_source);
  }

  void add_container_options(CLI::App& verb, ContainerOptions& options) {
    verb.add_option("--image", options.image, "what runs")->required()->type_name("IMAGE");
    add_repeated(verb, "--env", options.environment, "variable of the container")->type_name("K=V");
    verb.add_option("arguments", options.arguments, "arguments of the container, after --");
  }

  void add_sinks() {
    auto& sink = *app_.add_subcommand("sink", "What takes events and is no service");
    sink.require_subcommand(1);
    auto job = std::make_shared<JobSinkOptions>();
    auto& making = verb(sink, "job", "A container for every event, run to its end",
                        [job](Session& session) { return add_job_sink(session, *job); });
    making.add_option("name", job->name, "sink")->required();
    add_container_options(making, job->container);
    making.add_option("--retries", job->retries, "how often one that fails is tried again (default: 6)")
        ->check(CLI::NonNegativeNumber);
    making.add_option("--at-once", job->at_once, "how many run at once (default: 10)")->check(CLI::Range(1, 1000));
    add_named(sink, "sink", list_sinks, describe_sink, remove_sink);
  }

  void add_events() {
    auto& trigger = *app_.add_subcommand("trigger", "Which events go to which service");
    trigger.require_subcommand(1);
    auto add = std::make_shared<TriggerOptions>();
    auto& adding = verb(trigger, "add", "Send matching events to a service",
                        [add](Session& session) { return add_trigger(session, *add); });
    adding.add_option("name", add->name, "trigger")->required();
    add_repeated(adding, "--filter", add->filters, "attribute that must match exactly; all of them must")
        ->type_name("K=V");
    adding.add_option("--to", add->to, destination_about)->required()->type_name("SERVICE");
    adding.add_option("--broker", add->broker, "broker (default: default)")->type_name("NAME");
    verb(trigger, "ls", "List triggers", list_triggers);
    auto removed = std::make_shared<std::string>();
    verb(trigger, "rm", "Remove a trigger", [removed](Session& session) { return remove_trigger(session, *removed); })
        .add_option("name", *removed, "trigger")
        ->required();

    auto& event = *app_.add_subcommand("event", "Send events and watch them");
    event.require_subcommand(1);
    auto output = std::make_shared<std::string>("text");
    verb(event, "graph", "Who sends what to whom, and how much",
         [output](Session& session) { return show_event_graph(session, *output); })
        .add_option("-o,--output", *output, "text, dot (Graphviz) or json")
        ->check(CLI::IsMember({"text", "dot", "json"}));
    auto send = std::make_shared<SendOptions>();
    auto& sending = verb(event, "send", "Hand a CloudEvent to a broker",
                         [send](Session& session) { return send_event(session, *send); });
    sending.add_option("--type", send->type, "event type")->required();
    sending.add_option("--source", send->source, "event source (default: /wick/cli)");
    sending.add_option("--id", send->id, "event id (default: a random one)");
    sending.add_option("--subject", send->subject, "event subject");
    sending.add_option("--data,-d", send->data, "data; @FILE and @- read it");
    sending.add_option("--content-type", send->content_type,
                       "of the data (default: application/json where it is JSON)");
    add_repeated(sending, "--ext", send->extensions, "extension attribute")->type_name("K=V");
    sending.add_option("--broker", send->broker, "broker (default: default)")->type_name("NAME");
    auto tail = std::make_shared<TailOptions>();
    auto& tailing = verb(event, "tail", "What a broker took and delivered",
                         [tail](Session& session) { return tail_events(session, *tail); });
    tailing.add_flag("-f,--follow", tail->follow, "go on with what comes");
    tailing.add_option("--tail", tail->tail, "how many past records (default 20)")
        ->check(CLI::NonNegativeNumber)
        ->type_name("N");
    tailing.add_option("--broker", tail->broker, "broker (default: default)")->type_name("NAME");
    auto shown = std::make_shared<EventTokenOptions>();
    auto& showing = verb(event, "token", "A token to send with from outside, where senders are asked who they are",
                         [shown](Session& session) { return make_event_token(session, *shown); });
    showing.add_option("--to", shown->to, "what it is for")->required()->type_name("DESTINATION");
    showing.add_option("--as", shown->account, "service account that it stands for (default: default)")
        ->type_name("NAME");
    showing
        .add_option_function<std::string>(
            "--ttl", [shown](const std::string& text) { shown->lifetime = *parse_go_duration(text); },
            "how long it is good for (default: 1h)")
        ->check(duration_check());
    add_stored_events(event);
  }

  void add_stored_events(CLI::App& event) {
    auto list = std::make_shared<ListEventsOptions>();
    auto& listing = verb(event, "list", "What a broker's log holds, oldest first",
                         [list](Session& session) { return list_events(session, *list); });
    listing.add_option("--after", list->after, "begin after this position")->type_name("POSITION");
    listing.add_option("--count", list->count, "at most so many (default 100)")->check(CLI::Range(1, 1000));
    listing.add_option("--broker", list->broker, "broker (default: default)")->type_name("NAME");
    auto retry = std::make_shared<RetryOptions>();
    auto& retrying = verb(event, "retry", "Deliver an event once more where it became a dead letter",
                          [retry](Session& session) { return retry_event(session, *retry); });
    retrying.add_option("id", retry->id, "event id")->required();
    retrying.add_option("--trigger", retry->trigger, "to this trigger, whatever became of it")->type_name("NAME");
    auto replay = std::make_shared<ReplayOptions>();
    auto& replaying = verb(event, "replay", "Deliver a stretch of the log to a trigger once more",
                           [replay](Session& session) { return replay_events(session, *replay); });
    replaying.add_option("trigger", replay->trigger, "trigger")->required();
    replaying.add_option("--from", replay->first, "first position")->required()->type_name("POSITION");
    replaying.add_option("--to", replay->last, "last position")->required()->type_name("POSITION");

    auto& dlq = *app_.add_subcommand("dlq", "Events that nobody took");
    dlq.require_subcommand(1);
    verb(dlq, "ls", "List dead letters, newest first", list_dead_letters);
    auto retried = std::make_shared<DeadLetterOptions>();
    add_dead_letters(verb(dlq, "retry", "Deliver dead letters once more",
                          [retried](Session& session) { return retry_dead_letters(session, *retried); }),
                     *retried);
    auto purged = std::make_shared<DeadLetterOptions>();
    auto& purging = verb(dlq, "purge", "Forget dead letters",
                         [purged](Session& session) { return purge_dead_letters(session, *purged); });
    add_dead_letters(purging, *purged);
    purging.add_flag("-y,--yes", purged->yes, "do not ask");
  }

  static void add_dead_letters(CLI::App& verb, DeadLetterOptions& options) {
    verb.add_option("trigger", options.trigger, "trigger")->required();
    verb.add_option("--position", options.position, "only the event at this position")->type_name("POSITION");
  }

  void add_git() {
    auto& git = *app_.add_subcommand("git", "Deploy by git push");
    git.require_subcommand(1);
    auto remote = std::make_shared<GitRemoteOptions>();
    auto& showing = verb(git, "remote", "Print the URL that git push deploys to, or set it up here",
                         [remote](Session& session) { return git_remote_of(session, *remote); });
    showing.add_option("service", remote->name, "name of the service (default: as this folder is called)");
    showing.add_flag("--add", remote->add, "make it a remote of this repository, with a token that may deploy");
    showing.add_option("--remote", remote->remote, "name of the remote (default: wick)")->type_name("NAME");
    auto name = std::make_shared<std::string>();
    auto branch = std::make_shared<std::string>();
    auto& choosing = verb(git, "branch", "Show or set the branch whose pushes are deployed",
                          [name, branch](Session& session) { return git_branch_of(session, *name, *branch); });
    choosing.add_option("service", *name, "name of the service")->required();
    choosing.add_option("branch", *branch, "the branch (default: show it)");
    auto followed = std::make_shared<std::string>();
    auto interval = std::make_shared<std::string>();
    auto& following =
        verb(git, "follow", "Show or set how often the branch that a service was deployed from is looked at",
             [followed, interval](Session& session) { return git_follow_of(session, *followed, *interval); });
    following.add_option("service", *followed, "name of the service")->required();
    following.add_option("interval", *interval, "such as 1m, at least 5s; off ends it (default: show it)");
  }

  void add_previews() {
    auto& preview = *app_.add_subcommand("preview", "Branches of a service with URLs of their own");
    preview.require_subcommand(1);
    auto service = std::make_shared<std::string>();
    verb(preview, "ls", "List previews", [service](Session& session) {
      return list_previews(session, *service);
    }).add_option("service", *service, "of this service (default: of all)");
    auto removed = std::make_shared<std::pair<std::string, std::string>>();
    auto& removing = verb(preview, "rm", "Remove a preview and its revisions", [removed](Session& session) {
      return remove_preview_of(session, removed->first, removed->second);
    });
    removing.add_option("service", removed->first, "name of the service")->required();
    removing.add_option("preview", removed->second, "the branch, or the tag")->required();
    auto shown = std::make_shared<std::pair<std::string, std::string>>();
    auto& choosing =
        verb(preview, "branches", "Show or set which branches become previews when they are pushed",
             [shown](Session& session) { return preview_branches_of(session, shown->first, shown->second); });
    choosing.add_option("service", shown->first, "name of the service")->required();
    choosing.add_option("patterns", shown->second, "such as 'feature/*,fix-*'; off for none (default: show them)");
  }

  void add_webhooks() {
    auto& webhook = *app_.add_subcommand("webhook", "Deploy what is pushed to GitHub, GitLab, Gitea and others");
    webhook.require_subcommand(1);
    auto options = std::make_shared<WebhookOptions>();
    auto& adding = verb(webhook, "add", "Make a webhook and print its URL and secret, this once",
                        [options](Session& session) { return add_webhook(session, *options); });
    adding.add_option("service", options->service, "name of a service that was deployed from a git URL")->required();
    adding.add_option("--provider", options->provider, "github, gitlab, gitea or generic (default: github)")
        ->check(CLI::IsMember({"github", "gitlab", "gitea", "generic"}));
    adding.add_option("--branch", options->branch, "the branch that counts (default: the one it was deployed from)")
        ->type_name("NAME");
    verb(webhook, "ls", "List webhooks", list_webhooks);
    auto name = std::make_shared<std::string>();
    verb(webhook, "rm", "Remove a webhook, or all of a service",
         [name](Session& session) { return remove_webhooks(session, *name); })
        .add_option("name", *name, "name of a webhook or a service")
        ->required();
  }

  void add_token_flags(CLI::App& sub, TokenOptions& options) {
    sub.add_option("--scope", options.scope, "read, deploy or admin (default: admin)")
        ->check(CLI::IsMember({"read", "deploy", "admin"}));
    sub.add_option("--only", options.limited_to, "nothing outside this namespace")->type_name("NAMESPACE");
    sub.add_option_function<std::string>(
           "--ttl", [&options](const std::string& text) { options.ttl = *parse_go_duration(text); },
           "how long the token is good for (default: until it is revoked)")
        ->check(duration_check());
  }

  void add_access() {
    auto& token = *app_.add_subcommand("token", "Who may call the API over TCP");
    token.require_subcommand(1);
    auto create = std::make_shared<TokenOptions>();
    auto& creating = verb(token, "create", "Make a token and print it, this once",
                          [create](Session& session) { return create_token(session, *create); });
    creating.add_option("name", create->name, "what it is for")->required();
    add_token_flags(creating, *create);
    verb(token, "ls", "List tokens", list_tokens);
    auto revoked = std::make_shared<std::string>();
    verb(token, "rm", "Make a token worthless", [revoked](Session& session) { return revoke_token(session, *revoked); })
        .add_option("id", *revoked, "id of the token")
        ->required();
    auto config = std::make_shared<TokenOptions>();
    config->name = "kubeconfig";
    auto& printing = verb(app_, "kubeconfig", "Print a kubeconfig for kubectl and kn, with a new token",
                          [config](Session& session) { return print_kubeconfig(session, *config); });
    add_token_flags(printing, *config);
    auto rows = std::make_shared<int>(20);
    verb(app_, "audit", "Who changed what", [rows](Session& session) { return show_audit(session, *rows); })
        .add_option("--tail", *rows, "how many rows (default 20)")
        ->check(CLI::PositiveNumber)
        ->type_name("N");
  }

  void add_rest() {
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

  static CLI::Validator duration_check() {
    return CLI::Validator(
        [](const std::string& text) {
          return parse_go_duration(text) ? std::string()
                                         : fmt::format("'{}' is not a duration like 60s or 1m30s", text);
        },
        "DURATION");
  }

  CLI::App app_;
};

std::string socket_path(const Surroundings& surroundings) {
  if (auto socket = surroundings.environment("WICK_SOCKET"); socket && !socket->empty()) return *socket;
  if (auto folder = surroundings.environment("XDG_RUNTIME_DIR"); folder && !folder->empty()) {
    auto socket = *folder + "/wick.sock";
    if (::access(socket.c_str(), F_OK) == 0) return socket;
  }
  return default_socket;
}

/// The verb as far as it was understood, for the hint: "wick help event send".
std::string verb_words(const CLI::App& app) {
  std::string words;
  for (const auto* sub = &app; !sub->get_subcommands().empty();) {
    sub = sub->get_subcommands().front();
    words += " " + sub->get_name();
  }
  return words;
}

Outcome<void> print_help(CommandLine& line, Terminal& terminal) {
  if (line.help_words.size() == 1)
    if (auto topic = help_topic(line.help_words.front())) {
      terminal.result(*topic);
      return {};
    }
  CLI::App* app = &line.app();
  std::string before;  // "wick event " before "send"
  for (const auto& word : line.help_words) {
    const auto named = app->get_subcommands([&](const CLI::App* sub) { return sub->check_name(word); });
    if (named.empty())
      return stop_with(usage_problem(fmt::format("there is no help on '{}'", word), "wick help lists the verbs"));
    before += (before.empty() ? "" : " ") + app->get_name();
    app = named.front();
  }
  // Without the words just parsed: CLI11 would print the help of the verb `help`.
  line.app().clear();
  terminal.result_bytes(app->help(before));
  return {};
}

Outcome<void> run_verb(CommandLine& line, Surroundings& surroundings, Terminal& terminal) {
  if (line.wants_help || !line.chosen) return print_help(line, terminal);
  Client client(socket_path(surroundings));
  Session session{.terminal = terminal, .client = client, .json = line.json};
  if (!line.name_space.empty())
    session.name_space = line.name_space;
  else if (auto from = surroundings.environment("WICK_NAMESPACE"); from && !from->empty())
    session.name_space = *from;
  return line.chosen(session);
}

}  // namespace

int run(std::vector<std::string> arguments, Surroundings surroundings) {
  Terminal terminal(surroundings);
  CommandLine line;
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    line.app().parse(std::move(arguments));
  } catch (const CLI::CallForVersion& version) {
    terminal.result(version.what());
    return 0;
  } catch (const CLI::CallForHelp&) {
    terminal.result_bytes(line.app().help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto problem = usage_problem(error.what(), "wick help" + verb_words(line.app()));
    terminal.say(problem);
    return static_cast<int>(problem.exit);
  }
  const auto done = run_verb(line, surroundings, terminal);
  if (done) return 0;
  if (!done.error().what.empty()) terminal.say(done.error());  // nothing to say: a command's own exit code
  return static_cast<int>(done.error().exit);
}

}  // namespace wick::app::cli

namespace wick::app {

int run_cli(int argc, char** argv) {
  // A reader that has enough (`wick logs hello | head`) ends the verb by a failed write, not by a signal.
  std::signal(SIGPIPE, SIG_IGN);
  cli::Surroundings surroundings{.in = std::cin,
                                 .out = std::cout,
                                 .err = std::cerr,
                                 .in_is_terminal = ::isatty(0) == 1,
                                 .out_is_terminal = ::isatty(1) == 1,
                                 .err_is_terminal = ::isatty(2) == 1,
                                 .environment = [](std::string_view name) -> std::optional<std::string> {
                                   const char* value = std::getenv(std::string(name).c_str());
                                   return value ? std::optional<std::string>(value) : std::nullopt;
                                 }};
  return cli::run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc), std::move(surroundings));
}

}  // namespace wick::app
