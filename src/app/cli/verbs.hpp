// The verbs besides deploy: each reads what the daemon has, or writes one thing, and prints it.
// Every one reports not_found, refused and an unreachable daemon as what they are; what else it can meet stands with
// it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "app/cli/session.hpp"

namespace wick::app::cli {

Outcome<void> list_services(Session& session);

struct LogsOptions {
  std::string name;
  bool follow = false;
  bool failed = false;  // of the newest instance that failed
  bool build = false;   // of the newest build in place of the program
  std::optional<int> tail;
  std::string container;  // of several; empty: the one that serves
};
Outcome<void> show_logs(Session& session, const LogsOptions& options);

struct ExecOptions {
  std::string name;  // of a service (its newest instance), a pod, or an instance's id
  bool input = false;
  bool terminal = false;
  std::string container;  // of several; empty: the one that serves
  std::vector<std::string> command;
};
/// A command beside the program, as its user. Its exit code is ours; Ctrl-C goes to it where it has a terminal, and
/// ends it elsewhere.
Outcome<void> run_command(Session& session, const ExecOptions& options);

/// The last failure, what waits, and the last requests of a service; or, where no service has the name, what became of
/// the event with that id.
Outcome<void> explain(Session& session, const std::string& name);

struct RemoveOptions {
  std::vector<std::string> names;
  bool yes = false;
};
/// Says what will be lost and asks; without a terminal it wants --yes.
Outcome<void> remove_services(Session& session, const RemoveOptions& options);

struct InvokeOptions {
  std::string name;
  std::string path = "/";
  std::string method;                // empty: GET, or POST with data
  std::vector<std::string> headers;  // "Name: value"
  std::optional<std::string> data;   // "@file" and "@-" read
  milliseconds limit{300'000};
  bool trace = false;  // then the daemon's timeline of the request, on stderr
};
/// The body on stdout as it is. An answer of 400 and above is a failure (exit 1), told apart by who made it.
Outcome<void> invoke(Session& session, const InvokeOptions& options);

struct TrafficOptions {
  std::string name;
  std::vector<std::string> shares;  // "REVISION=PERCENT"; none and no tags: show
  std::vector<std::string> tags;    // "REVISION=TAG"
  std::vector<std::string> untags;
};
/// Shows or changes which revision gets how much; returns when it is in force.
Outcome<void> change_traffic(Session& session, const TrafficOptions& options);
/// Everything to `revision`, or to the newest ready one that is older than what serves.
Outcome<void> roll_back(Session& session, const std::string& name, const std::string& revision);

struct RolloutOptions {
  std::string name;
  std::optional<std::string> over;        // how long the way to a new revision takes
  std::optional<std::string> error_rate;  // percentage points
  std::optional<std::string> latency;     // factor
  bool abort = false;
  bool finish = false;
};
/// Shows or sets how traffic comes to the newest revision; takes the one under way back or finishes it.
Outcome<void> roll_out(Session& session, const RolloutOptions& options);

/// Opens a browser where there is one; prints the URL in any case.
Outcome<void> open_service(Session& session, const std::string& name);

/// Every document of YAML or JSON files ("-" is stdin) and folders of them, three-way merged as kubectl does it: the
/// same file twice changes nothing.
Outcome<void> apply_files(Session& session, const std::vector<std::string>& files);

struct SecretOptions {
  std::string name;
  std::string type;                 // empty: by its keys
  std::vector<std::string> values;  // "KEY=VALUE", "KEY=@FILE", "KEY=@-"
};
/// Makes it, or replaces all of it. No value is printed, and none is repeated in an error.
Outcome<void> set_secret(Session& session, const SecretOptions& options);
/// Names, types and keys; no values.
Outcome<void> list_secrets(Session& session);
Outcome<void> remove_secret(Session& session, const std::string& name);

struct KeyFileOptions {
  std::string file = "/etc/wick/secret.key";
  bool drop_old = false;
};
/// Puts a new key before those in the file that Secrets are encrypted with; or leaves only the first, once the daemon
/// has sealed every Secret with it. Other than every other verb it changes a file of this machine.
Outcome<void> rotate_secret_key(Session& session, const KeyFileOptions& options);

struct ExportOptions {
  std::vector<std::string> names;  // services; empty: everything in the namespace
  bool all_namespaces = false;
  bool secrets = false;  // with the values of Secrets, which are left out otherwise
};
/// Manifests on stdout, as a Knative cluster takes them: without what only a server says. Applied to an empty daemon
/// they export as the same text.
Outcome<void> export_manifests(Session& session, const ExportOptions& options);

struct GitRemoteOptions {
  std::string name;  // of the service; empty: as the folder is called
  bool add = false;  // make it a remote of the repository here, with a token in a file that only its owner reads
  std::string remote = "wick";
};
/// The URL that `git push` deploys to.
Outcome<void> git_remote_of(Session& session, GitRemoteOptions options);
/// Shows or sets the branch whose pushes are deployed.
Outcome<void> git_branch_of(Session& session, const std::string& name, const std::string& branch);
/// Shows or sets how often the branch that a service was deployed from is looked at; "off" ends it.
Outcome<void> git_follow_of(Session& session, const std::string& name, const std::string& interval);

/// Of one service, or of all in the namespace: tag, branch, revision and URL.
Outcome<void> list_previews(Session& session, const std::string& service);
/// By its branch or its tag.
Outcome<void> remove_preview_of(Session& session, const std::string& service, const std::string& preview);
/// Shows or sets the annotation wick.dev/previews; "off" removes it.
Outcome<void> preview_branches_of(Session& session, const std::string& service, const std::string& patterns);

struct WebhookOptions {
  std::string service;
  std::string provider = "github";  // gitlab, gitea, generic
  std::string branch;               // empty: the Build's, else the repository's default branch
};
/// Makes one, and the Build that it rings of the service's last deploy from git; prints URL and secret, this once.
Outcome<void> add_webhook(Session& session, const WebhookOptions& options);
Outcome<void> list_webhooks(Session& session);
/// By its own name, or all of a service.
Outcome<void> remove_webhooks(Session& session, const std::string& name);

struct TokenOptions {
  std::string name;
  std::string scope = "admin";  // read, deploy, admin
  std::string limited_to;       // a namespace; empty: all
  std::optional<milliseconds> ttl;
};
/// Prints the token alone: it is shown this once.
Outcome<void> create_token(Session& session, const TokenOptions& options);
Outcome<void> list_tokens(Session& session);
Outcome<void> revoke_token(Session& session, const std::string& id);
/// Makes a token and prints a kubeconfig with it: kubectl and kn need nothing else.
Outcome<void> print_kubeconfig(Session& session, const TokenOptions& options);
/// The newest rows of the audit trail, and whether it is whole.
Outcome<void> show_audit(Session& session, int rows);

struct TriggerOptions {
  std::string name;
  std::string broker = "default";
  std::vector<std::string> filters;  // "attribute=value"
  std::string to;                    // a service, or a URL
};
Outcome<void> add_trigger(Session& session, const TriggerOptions& options);
Outcome<void> list_triggers(Session& session);
Outcome<void> remove_trigger(Session& session, const std::string& name);

/// channel: a Channel by its name, and what is subscribed to it.
Outcome<void> add_channel(Session& session, const std::string& name);
Outcome<void> list_channels(Session& session);
Outcome<void> describe_channel(Session& session, const std::string& name);
Outcome<void> remove_channel(Session& session, const std::string& name);
struct SubscribeOptions {
  std::string name, channel;
  std::string to, reply;     // destinations as destination_of() reads them; one of them at least
  std::optional<int> retry;  // attempts after the first
  std::string dead_letter;
};
Outcome<void> subscribe_channel(Session& session, const SubscribeOptions& options);
Outcome<void> unsubscribe_channel(Session& session, const std::string& name);

struct DomainOptions {
  std::string name;
  std::string service;
  std::string certificate, key;  // files of one's own; empty: the daemon's business
  bool check_dns = true;
  bool wait = true;  // for the certificate, or the reason why there is none
};
/// Looks where the name leads, maps it, and waits for its certificate. Once more for a mapping of the same service: the
/// certificate is tried for at once. Errors: E_DNS, not found, refused (it leads elsewhere), not ready.
Outcome<void> add_domain(Session& session, const DomainOptions& options);
Outcome<void> list_domains(Session& session);
/// With the Secret that add_domain made for it.
Outcome<void> remove_domain(Session& session, const std::string& name);

struct FlowOptions {
  std::string name;
  std::vector<std::string> parts;  // steps; or branches, each "SUBSCRIBER" or "FILTER,SUBSCRIBER"
  std::string reply;
};
Outcome<void> add_sequence(Session& session, const FlowOptions& options);
Outcome<void> add_parallel(Session& session, const FlowOptions& options);
Outcome<void> list_flows(Session& session);
Outcome<void> describe_flow(Session& session, const std::string& name);
Outcome<void> remove_flow(Session& session, const std::string& name);

struct SourceOptions {
  std::string name;
  std::string to;
  std::vector<std::string> extensions;  // "name=value", on every event
};
struct PingOptions {
  SourceOptions source;
  std::string schedule = "* * * * *";
  std::string zone;
  std::string content_type;         // empty: application/json where the data is a JSON object, else text/plain
  std::optional<std::string> data;  // "@file" and "@-" read
};
Outcome<void> add_ping(Session& session, const PingOptions& options);
struct BindingOptions {
  SourceOptions source;
  std::string service;
};
Outcome<void> add_binding(Session& session, const BindingOptions& options);
struct ApiServerOptions {
  SourceOptions source;
  std::vector<std::string> resources;  // "KIND:APIVERSION"
  bool whole = false;                  // whole objects, not references to them
};
Outcome<void> add_api_server_source(Session& session, const ApiServerOptions& options);
/// One container that runs by itself: of a source, or for every event of a sink.
struct ContainerOptions {
  std::string image;
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<std::string> arguments;
};
struct ContainerSourceOptions {
  SourceOptions source;
  ContainerOptions container;
};
Outcome<void> add_container_source(Session& session, const ContainerSourceOptions& options);
/// An MQTT server, and how it is spoken to.
struct MqttOptions {
  std::string url;
  std::string version;  // empty: 5
  std::string secret;   // a Secret's name; empty: none
  int qos = 1;
};
struct MqttSourceOptions {
  SourceOptions source;
  MqttOptions server;
  std::vector<std::string> topics;  // filters
};
Outcome<void> add_mqtt_source(Session& session, const MqttSourceOptions& options);
struct WebhookSourceOptions {
  SourceOptions source;
  std::string provider = "generic";
  std::string secret;               // a Secret's name
  std::vector<std::string> events;  // none: all
};
Outcome<void> add_webhook_source(Session& session, const WebhookSourceOptions& options);
Outcome<void> list_sources(Session& session);
Outcome<void> describe_source(Session& session, const std::string& name);
Outcome<void> remove_source(Session& session, const std::string& name);

struct JobSinkOptions {
  std::string name;
  ContainerOptions container;
  int retries = 6;
  int at_once = 0;  // 0: as many as the daemon's default
};
Outcome<void> add_job_sink(Session& session, const JobSinkOptions& options);
struct MqttSinkOptions {
  std::string name;
  MqttOptions server;
  std::string topic;  // with attributes as {type}
  bool retain = false;
  bool structured = false;
};
Outcome<void> add_mqtt_sink(Session& session, const MqttSinkOptions& options);
struct TransformOptions {
  std::string name;
  std::string expression;  // JSONata; @FILE and @- read it
  std::string to;          // empty: the result is the answer
  std::string reply;       // over the sink's answer; empty: it is passed on
  bool discard = false;    // the sink's answer
};
Outcome<void> add_transform(Session& session, const TransformOptions& options);
Outcome<void> list_sinks(Session& session);
Outcome<void> describe_sink(Session& session, const std::string& name);
Outcome<void> remove_sink(Session& session, const std::string& name);

/// Who sends what to whom, with counts and rates (measured for a second): "text", "dot" or "json".
Outcome<void> show_event_graph(Session& session, const std::string& output);

struct SendOptions {
  std::string broker = "default";
  std::string type;
  std::string source = "/wick/cli";
  std::string id;  // empty: a random one
  std::string subject;
  std::string content_type;             // empty: application/json where the data is JSON, else text/plain
  std::vector<std::string> extensions;  // "name=value"
  std::optional<std::string> data;      // "@file" and "@-" read
};
Outcome<void> send_event(Session& session, const SendOptions& options);

struct EventTokenOptions {
  std::string to;
  std::string account = "default";
  milliseconds lifetime = std::chrono::hours(1);
};
Outcome<void> make_event_token(Session& session, const EventTokenOptions& options);

struct TailOptions {
  std::string broker = "default";
  bool follow = false;
  int tail = 20;
};
Outcome<void> tail_events(Session& session, const TailOptions& options);

struct ListEventsOptions {
  std::string broker = "default";
  std::uint64_t after = 0;  // a position of the log
  int count = 100;
};
/// What the broker's log still holds, oldest first.
Outcome<void> list_events(Session& session, const ListEventsOptions& options);

/// What became of an event: for each trigger matched or why not, every attempt, replies and cause.
Outcome<void> explain_event(Session& session, const std::string& id);

struct RetryOptions {
  std::string id;       // of the event
  std::string trigger;  // empty: every trigger for which it is a dead letter; else once more, whatever became of it
};
Outcome<void> retry_event(Session& session, const RetryOptions& options);

struct ReplayOptions {
  std::string trigger;
  std::uint64_t first = 1;  // positions, as `wick event list` shows them
  std::uint64_t last = 0;
};
Outcome<void> replay_events(Session& session, const ReplayOptions& options);

struct DeadLetterOptions {
  std::string trigger;
  std::uint64_t position = 0;  // 0: all of the trigger
  bool yes = false;            // purge without asking
};
Outcome<void> list_dead_letters(Session& session);
Outcome<void> retry_dead_letters(Session& session, const DeadLetterOptions& options);
Outcome<void> purge_dead_letters(Session& session, const DeadLetterOptions& options);

/// Images on the daemon's machine, by name.
Outcome<void> list_images(Session& session);
/// Manifest and configuration.
Outcome<void> inspect_image(Session& session, const std::string& name);
/// The names; what nothing else has goes with the next prune.
Outcome<void> remove_images(Session& session, const std::vector<std::string>& names);

struct LoadOptions {
  std::string file = "-";  // stdin
  std::string name;        // empty: all images of the archive, under the names they have there
};
/// An OCI or docker archive, plain or compressed.
Outcome<void> load_images(Session& session, const LoadOptions& options);

/// From its registry, with the user's own credentials for it (docker's config.json).
Outcome<void> pull_images(Session& session, const std::vector<std::string>& names);
struct PushOptions {
  std::string name;
  std::string to;  // empty: `name`
};
Outcome<void> push_image(Session& session, const PushOptions& options);

struct PruneOptions {
  bool yes = false;
};
/// Asks, removes what nothing needs and says what that freed.
Outcome<void> prune_images(Session& session, const PruneOptions& options);

/// What the daemon does by itself when images use more than they may, now.
Outcome<void> collect_images(Session& session);
/// Reads every byte of the images, of all when none is named. Exit 1 when one is damaged.
Outcome<void> verify_images(Session& session, const std::vector<std::string>& names);

struct SaveOptions {
  std::vector<std::string> names;
  std::string file = "-";  // stdout
  bool compress = false;   // zstd
};
/// An archive for `docker load`, `skopeo copy oci-archive:` and `wick image load`. A file has its name once it is
/// whole.
Outcome<void> save_images(Session& session, const SaveOptions& options);

/// Exit 1 when a check failed; warnings are fine.
Outcome<void> doctor(Session& session);
Outcome<void> show_info(Session& session);
/// Ours, and the daemon's where it answers.
Outcome<void> show_version(Session& session);

/// A script for `shell`: bash, zsh or fish.
Outcome<void> print_completion(Session& session, const std::string& shell);
/// Names of services, a line each; nothing at all when the daemon does not answer.
Outcome<void> complete_names(Session& session);

/// What a slug means and what to do; the topics of `wick help`.
std::optional<std::string> help_topic(std::string_view topic);

/// `text`, or the bytes of the file it names with '@' ("@-": stdin).
Outcome<std::string> data_of(Session& session, const std::string& text);

}  // namespace wick::app::cli
