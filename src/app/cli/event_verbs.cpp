// Verbs about events: triggers, channels, flows, sources, sinks, and what a broker holds.
#include "app/cli/command_line.hpp"

#include "app/cli/wiring.hpp"
#include "wick/base/time.hpp"

namespace wick::app::cli {

void CommandLine::add_channels() {
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
  subscribing.add_option("--to", subscribe->to, destination_words)->type_name("DESTINATION");
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

void CommandLine::add_flows() {
  auto& flow = *app_.add_subcommand("flow", "Sequences and parallels of services");
  flow.require_subcommand(1);
  auto sequence = std::make_shared<FlowOptions>();
  auto& chain = verb(flow, "sequence", "Services one after the other: the answer of one is the event of the next",
                     [sequence](Session& session) { return add_sequence(session, *sequence); });
  chain.add_option("name", sequence->name, "sequence")->required();
  add_repeated(chain, "--step", sequence->parts, destination_words)->required()->type_name("DESTINATION");
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

void CommandLine::add_source_options(CLI::App& verb, SourceOptions& options) {
  verb.add_option("name", options.name, "source")->required();
  verb.add_option("--to", options.to, destination_words)->required()->type_name("DESTINATION");
  add_repeated(verb, "--ext", options.extensions, "extension attribute of every event")->type_name("K=V");
}

void CommandLine::add_sources() {
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
  auto mqtt = std::make_shared<MqttSourceOptions>();
  auto& subscribed = verb(source, "mqtt", "Messages of an MQTT server as events",
                          [mqtt](Session& session) { return add_mqtt_source(session, *mqtt); });
  add_source_options(subscribed, mqtt->source);
  add_mqtt_options(subscribed, mqtt->server);
  add_repeated(subscribed, "--topic", mqtt->topics, "what to subscribe to; + is one level, # all that follow")
      ->required()
      ->type_name("FILTER");
  auto delivered = std::make_shared<WebhookSourceOptions>();
  auto& receiving = verb(source, "webhook", "Signed deliveries of webhooks as events",
                         [delivered](Session& session) { return add_webhook_source(session, *delivered); });
  add_source_options(receiving, delivered->source);
  receiving.add_option("--secret", delivered->secret, "secret whose key \"secret\" is what deliveries are signed with")
      ->required()
      ->type_name("NAME");
  receiving.add_option("--provider", delivered->provider, "who delivers (default: generic)")
      ->check(CLI::IsMember({"github", "gitlab", "gitea", "generic"}));
  add_repeated(receiving, "--event", delivered->events, "only these, as the forge names them")->type_name("NAME");
  add_named(source, "source", list_sources, describe_source, remove_source);
}

void CommandLine::add_container_options(CLI::App& verb, ContainerOptions& options) {
  verb.add_option("--image", options.image, "what runs")->required()->type_name("IMAGE");
  add_repeated(verb, "--env", options.environment, "variable of the container")->type_name("K=V");
  verb.add_option("arguments", options.arguments, "arguments of the container, after --");
}

void CommandLine::add_mqtt_options(CLI::App& verb, MqttOptions& options) {
  verb.add_option("--url", options.url, "the server: mqtt://HOST[:PORT], or mqtts:// for TLS")->required();
  verb.add_option("--qos", options.qos, "0, 1 (default) or 2")->check(CLI::Range(0, 2));
  verb.add_option("--mqtt-version", options.version, "5 (default) or 3.1.1")->check(CLI::IsMember({"5", "3.1.1"}));
  verb.add_option("--secret", options.secret, "secret with username, password, ca.crt, tls.crt, tls.key as needed")
      ->type_name("NAME");
}

void CommandLine::add_sinks() {
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
  auto mqtt = std::make_shared<MqttSinkOptions>();
  auto& publishing = verb(sink, "mqtt", "Events as messages on an MQTT server",
                          [mqtt](Session& session) { return add_mqtt_sink(session, *mqtt); });
  publishing.add_option("name", mqtt->name, "sink")->required();
  add_mqtt_options(publishing, mqtt->server);
  publishing.add_option("--topic", mqtt->topic, "where to publish; {type} is that attribute of the event")->required();
  publishing.add_flag("--retain", mqtt->retain, "the server keeps the last one of each topic");
  publishing.add_flag("--structured", mqtt->structured, "the whole event as JSON, not its attributes as properties");
  auto transform = std::make_shared<TransformOptions>();
  auto& changing = verb(sink, "transform", "Change every event by a JSONata expression",
                        [transform](Session& session) { return add_transform(session, *transform); });
  changing.add_option("name", transform->name, "transform")->required();
  changing.add_option("--expression,-e", transform->expression, "JSONata over the event; @FILE and @- read it")
      ->required();
  auto* onward = changing.add_option("--to", transform->to, destination_words)->type_name("DESTINATION");
  auto* reply = changing.add_option("--reply", transform->reply, "JSONata over the answer of --to; @FILE reads it");
  reply->needs(onward);
  changing.add_flag("--discard-reply", transform->discard, "the answer of --to is dropped")
      ->needs(onward)
      ->excludes(reply);
  add_named(sink, "sink", list_sinks, describe_sink, remove_sink);
}

void CommandLine::add_events() {
  auto& trigger = *app_.add_subcommand("trigger", "Which events go to which service");
  trigger.require_subcommand(1);
  auto add = std::make_shared<TriggerOptions>();
  auto& adding = verb(trigger, "add", "Send matching events to a service",
                      [add](Session& session) { return add_trigger(session, *add); });
  adding.add_option("name", add->name, "trigger")->required();
  add_repeated(adding, "--filter", add->filters, "attribute that must match exactly; all of them must")
      ->type_name("K=V");
  adding.add_option("--to", add->to, destination_words)->required()->type_name("SERVICE");
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
  sending.add_option("--content-type", send->content_type, "of the data (default: application/json where it is JSON)");
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

void CommandLine::add_stored_events(CLI::App& event) {
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

void CommandLine::add_dead_letters(CLI::App& verb, DeadLetterOptions& options) {
  verb.add_option("trigger", options.trigger, "trigger")->required();
  verb.add_option("--position", options.position, "only the event at this position")->type_name("POSITION");
}

}  // namespace wick::app::cli
