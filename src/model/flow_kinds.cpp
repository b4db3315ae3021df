// messaging.knative.dev and flows.knative.dev: kept, checked and defaulted (eventing.md 1.1, 1.6).
#include "model/immutable.hpp"
#include "model/kinds.hpp"
#include "model/schema.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

namespace {

constexpr std::string_view messaging = "messaging.knative.dev";
constexpr std::string_view flows = "flows.knative.dev";

json::object channel_schema() {
  return resource_outline(R"(
spec
  channelTemplate            | The kind of channel behind this one. It cannot be changed.
    apiVersion
    kind
    spec any
  delivery @delivery
  subscribers any            | Set by Subscriptions.
status
  @conditions
  channel any
  subscribers any
  deadLetterSinkUri
  policies any
  address @address
)",
                          "Hands every event to every one of its Subscriptions.");
}

json::object subscription_schema() {
  return resource_outline(R"(
spec
  channel                    | The channel to listen to. It cannot be changed.
    apiVersion
    kind
    name
    namespace
    group
    address
  subscriber @destination    | Gets the events.
  reply @destination         | Gets the subscriber's answers.
  delivery @delivery
status
  @conditions
  physicalSubscription any
  auth any
)",
                          "What a Channel hands its events to.");
}

json::object sequence_schema() {
  return resource_outline(R"(
spec
  channelTemplate
    apiVersion
    kind
    spec any
  steps[]                    | One after the other: the answer of one is the event of the next.
    ref
      apiVersion
      kind
      name
      namespace
      group
      address
    uri
    CACerts
    audience
    delivery @delivery
  reply @destination         | Gets the answer of the last step.
status
  @conditions
  channelStatuses any
  subscriptionStatuses any
  address @address
)",
                          "A chain of functions.");
}

json::object parallel_schema() {
  return resource_outline(R"(
spec
  channelTemplate
    apiVersion
    kind
    spec any
  branches[]                 | Every event goes into each of them.
    filter @destination      | Answers with an event to let it pass.
    subscriber @destination
    reply @destination
    delivery @delivery
  reply @destination         | For branches that have none.
status
  @conditions
  ingressChannelStatus any
  branchStatuses any
  address @address
)",
                          "Branches that work on the same events.");
}

void default_channel_template(json::object& object) {
  auto* spec = object_if(object, {"spec"});
  if (!spec) return;
  auto& channel = (*spec)["channelTemplate"];
  if (channel.is_null()) channel = {{"apiVersion", "messaging.knative.dev/v1"}, {"kind", "InMemoryChannel"}};
}

void mark_subscribable(json::object& object) {
  if (auto* annotations = object_if(object, {"metadata", "annotations"}))
    (*annotations)["messaging.knative.dev/subscribable"] = "v1";
}

void default_channel(json::object& object) {
  mark_subscribable(object);
  default_channel_template(object);
}

/// Reads metadata and gives the reader of spec.
ObjectReader begin(ObjectReader& root, Metadata& metadata) {
  metadata = decode_metadata(root.object("metadata"));
  check_name_dns1123(metadata, root.errors());
  return root.object("spec");
}

void check_channel_template(ObjectReader& spec) {
  auto channel = spec.object("channelTemplate");
  if (!channel.present()) {
    spec.errors().missing(spec.path("channelTemplate"));
    return;
  }
  for (const auto key : {"apiVersion", "kind"})
    if (channel.text(key).empty()) spec.errors().missing(channel.path(key));
  channel.ignore("spec");
  channel.refuse_rest();
}

void check_channel(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  check_channel_template(spec);
  if (auto delivery = spec.object("delivery"); delivery.present())
    check_delivery(std::move(delivery), metadata.name_space);
  spec.refuse_rest();
  if (old) check_immutable(object, *old, {"spec", "channelTemplate"}, "spec.channelTemplate", errors);
}

void check_in_memory_channel(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  if (auto delivery = spec.object("delivery"); delivery.present())
    check_delivery(std::move(delivery), metadata.name_space);
  spec.refuse_rest();
}

void check_subscription(const json::object& object, const json::object* old, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  if (auto channel = spec.object("channel"); channel.present())
    check_reference(std::move(channel), metadata.name_space);
  else
    errors.add("missing field(s)", {spec.path("channel")}, "the Subscription must reference a channel");
  auto subscriber = spec.object("subscriber");
  auto reply = spec.object("reply");
  if (!subscriber.present() && !reply.present())
    errors.add("missing field(s)", {spec.path("reply"), spec.path("subscriber")},
               "the Subscription must reference at least one of (reply or a subscriber)");
  for (auto* destination : {&subscriber, &reply})
    if (destination->present()) check_destination(*destination, metadata.name_space);
  if (auto delivery = spec.object("delivery"); delivery.present())
    check_delivery(std::move(delivery), metadata.name_space);
  spec.refuse_rest();
  if (old) check_immutable(object, *old, {"spec", "channel"}, "spec.channel", errors);
}

void check_sequence(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto steps = spec.objects("steps");
  if (steps.empty()) errors.missing(spec.path("steps"));
  for (auto& step : steps) {
    if (auto delivery = step.object("delivery"); delivery.present())
      check_delivery(std::move(delivery), metadata.name_space);
    check_destination(step, metadata.name_space);
  }
  check_channel_template(spec);
  if (auto reply = spec.object("reply"); reply.present()) check_destination(std::move(reply), metadata.name_space);
  spec.refuse_rest();
}

void check_parallel(const json::object& object, const json::object*, FieldErrors& errors) {
  ObjectReader root(object, errors);
  Metadata metadata;
  auto spec = begin(root, metadata);
  auto branches = spec.objects("branches");
  if (branches.empty()) errors.missing(spec.path("branches"));
  for (auto& branch : branches) {
    for (const auto key : {"filter", "reply"})
      if (auto part = branch.object(key); part.present()) check_destination(std::move(part), metadata.name_space);
    check_destination(branch.object("subscriber"), metadata.name_space);
    if (auto delivery = branch.object("delivery"); delivery.present())
      check_delivery(std::move(delivery), metadata.name_space);
    branch.refuse_rest();
  }
  check_channel_template(spec);
  if (auto reply = spec.object("reply"); reply.present()) check_destination(std::move(reply), metadata.name_space);
  spec.refuse_rest();
}

Kind flow_row(std::string_view group, std::string_view kind, std::string_view plural, std::string_view singular,
              std::vector<std::string_view> short_names) {
  Kind row{.group = group,
           .version = "v1",
           .kind = kind,
           .plural = plural,
           .singular = singular,
           .short_names = std::move(short_names),
           .categories = {"all", "knative", group.substr(0, group.find('.'))},
           .columns = {{"URL", "string", ".status.address.url"}, age_column, ready_column, reason_column},
           .ducks = {"duck.knative.dev/addressable"},
           .webhook = "webhook.eventing.knative.dev"};
  return row;
}

}  // namespace

std::vector<Kind> flow_kinds() {
  auto channel = flow_row(messaging, "Channel", "channels", "channel", {"ch"});
  channel.schema = channel_schema;
  channel.defaults = default_channel;
  channel.check = check_channel;
  auto memory = flow_row(messaging, "InMemoryChannel", "inmemorychannels", "inmemorychannel", {"imc"});
  memory.schema = channel_schema;
  memory.defaults = mark_subscribable;
  memory.check = check_in_memory_channel;
  auto subscription = flow_row(messaging, "Subscription", "subscriptions", "subscription", {"sub"});
  subscription.columns = {age_column, ready_column, reason_column};
  subscription.ducks = {};
  subscription.schema = subscription_schema;
  subscription.check = check_subscription;
  auto sequence = flow_row(flows, "Sequence", "sequences", "sequence", {});
  sequence.schema = sequence_schema;
  sequence.defaults = default_channel_template;
  sequence.check = check_sequence;
  auto parallel = flow_row(flows, "Parallel", "parallels", "parallel", {});
  parallel.schema = parallel_schema;
  parallel.defaults = default_channel_template;
  parallel.check = check_parallel;
  return {std::move(channel), std::move(memory), std::move(subscription), std::move(sequence), std::move(parallel)};
}

}  // namespace wick::model
