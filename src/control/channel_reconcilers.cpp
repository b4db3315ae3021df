// Channels and Subscriptions (messaging.knative.dev/v1): a channel is a stream of the event log, a Subscription a
// trigger of it without a filter. As in Knative a Channel makes an InMemoryChannel of its name, and that is the stream;
// the name is Knative's, the events are on disk.
#include <fmt/format.h>

#include <algorithm>

#include "control/event_access.hpp"
#include "control/reconcilers.hpp"
#include "control/subscribing.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

using model::Truth;

/// The channel's subscribers as its status lists them (eventing duck v1 SubscribableStatus).
json::array subscribers_of(World& world, const std::string& name_space, const std::string& channel) {
  json::array subscribers;
  model::FieldErrors ignored;
  for (const auto& object : world.objects().list(model::subscription_kind().resource(), name_space)) {
    const auto& spec = model::decode_subscription(*object, ignored).channel;
    if (spec.name != channel || is_being_deleted(*object)) continue;
    if (model::find_condition(*object, "AddedToChannel").status != Truth::yes) continue;
    subscribers.push_back({{"uid", uid_of(*object)},
                           {"name", name_of(*object)},
                           {"observedGeneration", model::integer_at(*object, {"status", "observedGeneration"})},
                           {"ready", "True"}});
  }
  return subscribers;
}

json::object http_address(const std::string& url) { return {{"name", "http"}, {"url", url}}; }

/// The InMemoryChannel that a Subscription's reference leads to, or why there is none.
std::expected<std::string, std::string> backing_channel(World& world, const model::Reference& channel,
                                                        const std::string& name_space) {
  if (channel.kind != &model::channel_kind() && channel.kind != &model::in_memory_channel_kind())
    return std::unexpected(
        fmt::format("{} is no channel here: messaging.knative.dev/v1 Channel or InMemoryChannel", channel.written));
  for (const auto* kind : {channel.kind, &model::in_memory_channel_kind()}) {
    const auto found = world.objects().find(key_of(*kind, name_space, channel.name));
    if (!found || is_being_deleted(*found))
      return std::unexpected(fmt::format("{} \"{}\" not found", kind->resource(), channel.name));
  }
  return channel.name;
}

void forget_subscription(World& world, const ObjectKey& key) {
  auto& eventing = world.with.eventing;
  eventing.remove_trigger(key.name_space, eventing::subscription_trigger(key.name));
  eventing.remove_trigger(key.name_space, eventing::reply_stream(key.name));
  eventing.remove_broker(key.name_space, eventing::reply_stream(key.name));
}

/// What a Subscription says, in the terms of the log.
class Subscribed {
 public:
  Subscribed(const model::Subscription& subscription, std::string channel, const ObjectKey& key)
      : subscription_(subscription), channel_(std::move(channel)), key_(key) {}

  /// Errors: invalid, for an annotation.
  Result<eventing::TriggerSpec> trigger() const {
    const auto& to = subscription_.subscriber ? *subscription_.subscriber : *subscription_.reply;
    eventing::TriggerSpec spec{.name_space = key_.name_space,
                               .name = eventing::subscription_trigger(key_.name),
                               .broker = eventing::channel_stream(channel_),
                               .filter = {},
                               .subscriber = to_eventing(to, key_.name_space),
                               .delivery = delivery()};
    spec.reply_to = "";
    spec.subscriber.sender = identity_of(model::subscription_kind(), key_.name_space, key_.name);
    if (subscription_.subscriber && subscription_.reply)
      spec.reply_to = stream_of(*subscription_.reply, key_.name_space)
                          .value_or(key_.name_space + "/" + eventing::reply_stream(key_.name));
    if (auto added = add_annotated(subscription_.metadata, spec); !added) return fail(std::move(added.error()));
    return spec;
  }

  /// Answers that go to a Service or a URI wait in a stream of their own, so that a reply that is not taken is tried
  /// again without asking the subscriber once more.
  bool needs_reply_stream() const {
    return subscription_.subscriber && subscription_.reply && !stream_of(*subscription_.reply, key_.name_space);
  }
  eventing::BrokerSpec reply_broker(const model::Channel& channel) const {
    const auto own = channel.delivery.value_or(model::Delivery{});
    return {.name_space = key_.name_space,
            .name = eventing::reply_stream(key_.name),
            .delivery = to_eventing(own, key_.name_space)};
  }
  eventing::TriggerSpec reply_trigger() const {
    eventing::TriggerSpec spec{.name_space = key_.name_space,
                               .name = eventing::reply_stream(key_.name),
                               .broker = eventing::reply_stream(key_.name),
                               .filter = {},
                               .subscriber = to_eventing(*subscription_.reply, key_.name_space),
                               .delivery = delivery()};
    spec.subscriber.sender = identity_of(model::subscription_kind(), key_.name_space, key_.name);
    spec.lenient_replies = true;
    spec.reply_to = "";
    return spec;
  }

 private:
  std::optional<eventing::Delivery> delivery() const {
    if (!subscription_.delivery) return std::nullopt;
    return to_eventing(*subscription_.delivery, key_.name_space);
  }

  const model::Subscription& subscription_;
  std::string channel_;
  const ObjectKey& key_;
};

/// status.physicalSubscription; false when something cannot be resolved, which ReferencesResolved then says.
bool resolve_all(World& world, const model::Subscription& subscription, const model::Channel& channel,
                 const std::string& name_space, model::Conditions& conditions, json::object& physical) {
  const auto add = [&](const std::optional<model::Destination>& destination, const char* field, const char* key,
                       const char* reason) {
    if (!destination) return true;
    const auto resolved = resolve(world, *destination, name_space);
    if (resolved.problem.empty()) {
      physical[key] = resolved.uri;
      return true;
    }
    conditions.mark_false("ReferencesResolved", reason,
                          fmt::format("Failed to resolve spec.{}: {}", field, resolved.problem));
    return false;
  };
  // A Subscription without a dead letter sink of its own has its channel's.
  const bool own = subscription.delivery && subscription.delivery->dead_letter;
  const auto sink = own                ? subscription.delivery->dead_letter
                    : channel.delivery ? channel.delivery->dead_letter
                                       : std::nullopt;
  if (!add(subscription.subscriber, "subscriber", "subscriberUri", "SubscriberResolveFailed") ||
      !add(subscription.reply, "reply", "replyUri", "ReplyResolveFailed") ||
      !add(sink, "delivery.deadLetterSink", "deadLetterSinkUri", "DeadLetterSinkResolveFailed"))
    return false;
  conditions.mark_true("ReferencesResolved");
  return true;
}

/// In force when this returns true: what the channel takes from then on comes to the subscriber.
awaitable<bool> subscribe(World& world, const Subscribed& subscribed, const model::Channel& channel,
                          eventing::TriggerSpec spec) {
  auto& eventing = world.with.eventing;
  const auto name_space = spec.name_space, name = spec.name;
  if (subscribed.needs_reply_stream()) {
    auto replies = subscribed.reply_trigger();
    const auto reply_name = replies.name;
    eventing.set_broker(subscribed.reply_broker(channel));
    eventing.set_trigger(std::move(replies));
    const bool there = co_await eventing.await_trigger(name_space, reply_name, trigger_start_limit);
    if (!there) co_return false;
  }
  eventing.set_trigger(std::move(spec));
  co_return co_await eventing.await_trigger(name_space, name, trigger_start_limit);
}

}  // namespace

awaitable<Result<void>> reconcile_in_memory_channel(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) {
    world.with.eventing.remove_broker(key.name_space, eventing::channel_stream(key.name));
    world.with.eventing.remove_access_rules(key.name_space, eventing::channel_stream(key.name));
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto channel = model::decode_channel(*object, ignored);
  model::Conditions conditions("Ready",
                               {"DispatcherReady", "ServiceReady", "EndpointsReady", "Addressable",
                                "ChannelServiceReady", "DeadLetterSinkResolved", "EventPoliciesReady"},
                               *object, world.now());
  for (const auto type : {"DispatcherReady", "ServiceReady", "EndpointsReady", "Addressable", "ChannelServiceReady"})
    conditions.mark_true(type);
  json::object status{{"observedGeneration", generation_of(*object)},
                      {"address", http_address(address_of(model::in_memory_channel_kind(), key.name_space, key.name))},
                      {"subscribers", subscribers_of(world, key.name_space, key.name)}};
  judge_dead_letter(world, channel.delivery, key.name_space, conditions, status);
  const auto stream = eventing::channel_stream(key.name);
  judge_policies(world, model::in_memory_channel_kind(), *object, stream, conditions, status);
  world.with.eventing.set_broker({.name_space = key.name_space,
                                  .name = stream,
                                  .delivery = to_eventing(channel.delivery.value_or(model::Delivery{}), key.name_space),
                                  .host = channel_host(key.name_space, key.name)});
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

awaitable<Result<void>> reconcile_channel(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();  // its InMemoryChannel goes with it
  model::FieldErrors ignored;
  const auto channel = model::decode_channel(*object, ignored);
  model::Conditions conditions("Ready", {"BackingChannelReady", "Addressable", "DeadLetterSinkResolved"}, *object,
                               world.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  judge_dead_letter(world, channel.delivery, key.name_space, conditions, status);
  const auto& backing = model::in_memory_channel_kind();
  if (channel.template_kind != backing.kind || channel.template_api_version != backing.api_version()) {
    conditions.mark_false("BackingChannelReady", "ChannelTemplateNotSupported",
                          fmt::format("{} {} is no channel here: every channel is on disk, by the name of {} {}",
                                      printable(channel.template_api_version), printable(channel.template_kind),
                                      backing.api_version(), backing.kind));
    conditions.mark_unknown("Addressable");
  } else {
    json::object spec;
    if (const auto* delivery = model::find_value(*object, {"spec", "delivery"})) spec["delivery"] = *delivery;
    json::object child{{"metadata",
                        {{"name", key.name},
                         {"namespace", key.name_space},
                         {"ownerReferences", json::array{model::owner_reference(model::channel_kind(), *object)}}}},
                       {"spec", std::move(spec)}};
    model::apply_defaults(backing, child);
    auto made = co_await ensure_child(world, backing, key_of(backing, key.name_space, key.name), std::move(child));
    // One that somebody else made stands in for ours, as in Knative.
    if (!made && made.error().code() != Errc::conflict) co_return fail(std::move(made.error()));
    const auto found = world.objects().find(key_of(backing, key.name_space, key.name));
    const auto ready = found ? model::find_condition(*found, "Ready") : model::Condition{};
    if (!found || !is_current(*found))
      conditions.mark_unknown("BackingChannelReady", "BackingChannelNotConfigured",
                              "BackingChannel has not yet been reconciled.");
    else
      conditions.copy("BackingChannelReady", ready);
    status["channel"] = reference_to(backing, key.name_space, key.name);
    if (const auto* address = found ? model::find_value(*found, {"status", "address"}) : nullptr) {
      status["address"] = *address;
      conditions.mark_true("Addressable");
    } else {
      conditions.mark_false("Addressable", "EmptyHostname", "hostname is the empty string");
    }
    if (const auto* subscribers = found ? model::find_value(*found, {"status", "subscribers"}) : nullptr)
      status["subscribers"] = *subscribers;
  }
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

awaitable<Result<void>> reconcile_subscription(World& world, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) {
    forget_subscription(world, key);
    co_return Result<void>();
  }
  model::FieldErrors ignored;
  const auto subscription = model::decode_subscription(*object, ignored);
  model::Conditions conditions("Ready", {"ReferencesResolved", "AddedToChannel", "ChannelReady", "OIDCIdentityCreated"},
                               *object, world.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  judge_identity(world, model::subscription_kind(), key, conditions, status);
  json::object physical;
  const auto channel_name = backing_channel(world, subscription.channel, key.name_space);
  if (!channel_name) {
    // With its channel goes what waited in it.
    forget_subscription(world, key);
    conditions.mark_false("ReferencesResolved", "ChannelReferenceFailed",
                          "Failed to get Spec.Channel or backing channel: " + channel_name.error());
  } else {
    const auto backing = world.objects().find(key_of(model::in_memory_channel_kind(), key.name_space, *channel_name));
    const auto channel = model::decode_channel(*backing, ignored);
    const Subscribed subscribed(subscription, *channel_name, key);
    auto spec = subscribed.trigger();
    // What cannot be resolved changes nothing: a subscription that was in force goes on as it was.
    if (!resolve_all(world, subscription, channel, key.name_space, conditions, physical)) {
      if (model::find_condition(*object, "AddedToChannel").status == Truth::yes) conditions.mark_true("AddedToChannel");
    } else if (!spec) {
      conditions.mark_false("AddedToChannel", "AnnotationInvalid", spec.error().what());
    } else {
      const bool started = co_await subscribe(world, subscribed, channel, std::move(*spec));
      if (started) {
        conditions.mark_true("AddedToChannel");
        conditions.mark_true("ChannelReady");
      } else {
        conditions.mark_unknown("ChannelReady", "SubscriptionNotMarkedReadyByChannel",
                                "Subscription marked by Channel as Unknown");
        world.enqueue_after(key, 1s);
      }
    }
  }
  status["physicalSubscription"] = std::move(physical);
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
