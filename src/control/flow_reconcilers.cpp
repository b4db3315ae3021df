// Sequence and Parallel (flows.knative.dev/v1): no machinery of their own, only the channels and subscriptions that
// Knative makes of them, by its names (pkg/reconciler/{sequence,parallel}/resources). An answer is in the next channel
// in the transaction that settles the step before, so a flow loses nothing between two steps.
#include <fmt/format.h>

#include <set>

#include "control/reconcilers.hpp"
#include "control/subscribing.hpp"
#include "wick/base/text.hpp"

namespace wick::control {

namespace {

using model::Truth;

json::object status_entry(const model::Kind& kind, std::string_view field, const ObjectKey& key,
                          const ObjectValue& object) {
  json::object ready{{"type", "Ready"},
                     {"status", "Unknown"},
                     {"reason", "NoReady"},
                     {"message", fmt::format("{} does not have Ready condition",
                                             &kind == &model::subscription_kind() ? "Subscription" : "Channel")}};
  if (const auto* list = object ? model::find_value(*object, {"status", "conditions"}) : nullptr)
    for (const auto& condition : list->as_array())
      if (model::text_at(condition.as_object(), {"type"}) == "Ready") ready = condition.as_object();
  return {{field, reference_to(kind, key.name_space, key.name)}, {"ready", std::move(ready)}};
}

bool is_ready(const ObjectValue& object) {
  return object && is_current(*object) && model::find_condition(*object, "Ready").status == Truth::yes;
}

/// The channels and subscriptions of one flow, as they are made.
class FlowParts {
 public:
  FlowParts(World& world, const model::Kind& kind, ObjectKey key, const json::object& flow)
      : world_(world), kind_(kind), key_(std::move(key)), flow_(flow) {
    const auto* found =
        model::find_kind_by_name(model::text_at(flow, {"spec", "channelTemplate", "apiVersion"}), template_kind());
    if (found == &model::channel_kind() || found == &model::in_memory_channel_kind()) channel_kind_ = found;
  }

  bool has_channels() const { return channel_kind_ != nullptr; }
  std::string unsupported() const {
    return fmt::format("{} {} is no channel here: messaging.knative.dev/v1 Channel or InMemoryChannel",
                       printable(model::text_at(flow_, {"spec", "channelTemplate", "apiVersion"})),
                       printable(template_kind()));
  }
  /// What a flow may not have because somebody else does; empty when there is no such thing.
  const std::string& conflict() const { return conflict_; }
  bool channels_ready() const { return channels_ready_; }
  bool subscriptions_ready() const { return subscriptions_ready_; }

  awaitable<Result<json::object>> channel(std::string name) {
    json::object spec;
    if (const auto* own = model::find_value(flow_, {"spec", "channelTemplate", "spec"}); own && own->is_object())
      spec = own->get_object();
    auto made = co_await ensure(*channel_kind_, name, std::move(spec));
    if (!made) co_return fail(std::move(made.error()));
    channels_ready_ = channels_ready_ && is_ready(*made);
    if (const auto* address = *made ? model::find_value(**made, {"status", "address"}) : nullptr; address)
      addresses_[name] = *address;
    co_return status_entry(*channel_kind_, "channel", key_of(*channel_kind_, key_.name_space, name), *made);
  }

  awaitable<Result<json::object>> subscription(std::string name, std::string channel, json::object rest) {
    json::object spec{
        {"channel",
         {{"apiVersion", channel_kind_->api_version()}, {"kind", channel_kind_->kind}, {"name", std::move(channel)}}}};
    for (auto& [field, value] : rest)
      if (!value.is_null()) spec[field] = std::move(value);
    auto made = co_await ensure(model::subscription_kind(), name, std::move(spec));
    if (!made) co_return fail(std::move(made.error()));
    subscriptions_ready_ = subscriptions_ready_ && is_ready(*made);
    co_return status_entry(model::subscription_kind(), "subscription",
                           key_of(model::subscription_kind(), key_.name_space, name), *made);
  }

  json::object to_channel(const std::string& name) const {
    return {{"ref", {{"apiVersion", channel_kind_->api_version()}, {"kind", channel_kind_->kind}, {"name", name}}}};
  }
  json::value address_of_channel(const std::string& name) const {
    const auto found = addresses_.find(name);
    return found == addresses_.end() ? json::value() : found->second;
  }

  /// Takes away what an earlier spec needed and this one does not.
  awaitable<Result<void>> remove_others() {
    std::vector<ObjectKey> others;
    for (const auto* kind : {&model::subscription_kind(), &model::channel_kind(), &model::in_memory_channel_kind()})
      for (const auto& object : world_.objects().list(kind->resource(), key_.name_space))
        if (model::controller_uid(*object) == uid_of(flow_) && !made_.contains(key_of(*kind, *object)))
          others.push_back(key_of(*kind, *object));
    for (auto& key : others) {
      auto removed = co_await world_.objects().request_removal(std::move(key));
      if (!removed && removed.error().code() != Errc::not_found) co_return fail(std::move(removed.error()));
    }
    co_return Result<void>();
  }

 private:
  std::string template_kind() const { return model::text_at(flow_, {"spec", "channelTemplate", "kind"}); }

  /// nullptr when the name is somebody else's.
  awaitable<Result<ObjectValue>> ensure(const model::Kind& kind, const std::string& name, json::object spec) {
    const auto key = key_of(kind, key_.name_space, name);
    made_.insert(key);
    json::object child{{"metadata",
                        {{"name", name},
                         {"namespace", key_.name_space},
                         {"ownerReferences", json::array{model::owner_reference(kind_, flow_)}}}},
                       {"spec", std::move(spec)}};
    model::apply_defaults(kind, child);
    auto made = co_await ensure_child(world_, kind, key, std::move(child));
    if (!made && made.error().code() == Errc::conflict) {
      conflict_ = made.error().message();
      co_return ObjectValue();
    }
    co_return made;
  }

  World& world_;
  const model::Kind& kind_;
  ObjectKey key_;
  const json::object& flow_;
  const model::Kind* channel_kind_ = nullptr;
  std::set<ObjectKey> made_;
  std::map<std::string, json::value> addresses_;
  std::string conflict_;
  bool channels_ready_ = true;
  bool subscriptions_ready_ = true;
};

json::value value_or_null(const json::object& object, std::string_view field) {
  const auto* value = object.if_contains(field);
  return value ? *value : json::value();
}

/// `missing`: what the kind says of what is not there yet: Unknown for a Sequence, False for a Parallel.
void judge_parts(const FlowParts& parts, Truth missing, model::Conditions& conditions) {
  if (!parts.conflict().empty()) {
    for (const auto type : {"ChannelsReady", "SubscriptionsReady"})
      conditions.mark_false(type, "NotOwned", parts.conflict());
    return;
  }
  if (parts.channels_ready())
    conditions.mark_true("ChannelsReady");
  else
    conditions.mark("ChannelsReady", missing, "ChannelsNotReady", "Channels are not ready yet, or there are none");
  if (parts.subscriptions_ready())
    conditions.mark_true("SubscriptionsReady");
  else
    conditions.mark("SubscriptionsReady", missing, "SubscriptionsNotReady",
                    "Subscriptions are not ready yet, or there are none");
}

void judge_address(const json::value& address, Truth missing, model::Conditions& conditions, json::object& status) {
  if (address.is_null()) {
    conditions.mark("Addressable", missing, "emptyAddress", "addressable is nil");
    return;
  }
  conditions.mark_true("Addressable");
  status["address"] = address;
}

/// Channels first, then subscriptions from the end: what enters finds the way on.
awaitable<Result<void>> make_sequence(FlowParts& parts, const json::object& sequence, json::object& status) {
  const auto name = name_of(sequence);
  const auto& steps = sequence.at("spec").at("steps").as_array();
  json::array channels, subscriptions(steps.size());
  std::vector<std::string> names;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    names.push_back(child_name(name, fmt::format("-kn-sequence-{}", i)));
    auto made = co_await parts.channel(names[i]);
    if (!made) co_return fail(std::move(made.error()));
    channels.push_back(std::move(*made));
  }
  for (std::size_t i = steps.size(); i-- > 0;) {
    auto subscriber = steps[i].as_object();
    json::object rest{{"delivery", value_or_null(subscriber, "delivery")}};
    subscriber.erase("delivery");
    rest["subscriber"] = std::move(subscriber);
    rest["reply"] = i + 1 < steps.size() ? json::value(parts.to_channel(names[i + 1]))
                                         : value_or_null(sequence.at("spec").as_object(), "reply");
    auto made = co_await parts.subscription(names[i], names[i], std::move(rest));
    if (!made) co_return fail(std::move(made.error()));
    subscriptions[i] = std::move(*made);
  }
  status["channelStatuses"] = std::move(channels);
  status["subscriptionStatuses"] = std::move(subscriptions);
  co_return Result<void>();
}

awaitable<Result<void>> make_branch(FlowParts& parts, const json::object& parallel, std::size_t number,
                                    const json::object& branch, json::object& status) {
  const auto name = name_of(parallel);
  const auto entrance = child_name(name, "-kn-parallel");
  const auto channel = child_name(name, fmt::format("-kn-parallel-{}", number));
  const auto filter = child_name(name, fmt::format("-kn-parallel-filter-{}", number));
  auto reply = value_or_null(branch, "reply");
  if (reply.is_null()) reply = value_or_null(parallel.at("spec").as_object(), "reply");
  const auto delivery = value_or_null(branch, "delivery");
  auto made_channel = co_await parts.channel(channel);
  if (!made_channel) co_return fail(std::move(made_channel.error()));
  json::object after{{"subscriber", value_or_null(branch, "subscriber")}, {"reply", reply}, {"delivery", delivery}};
  auto made_subscription = co_await parts.subscription(channel, channel, std::move(after));
  if (!made_subscription) co_return fail(std::move(made_subscription.error()));
  // Without a filter every event goes straight on to the branch.
  json::object before{
      {"subscriber", value_or_null(branch, "filter")}, {"reply", parts.to_channel(channel)}, {"delivery", delivery}};
  auto made_filter = co_await parts.subscription(filter, entrance, std::move(before));
  if (!made_filter) co_return fail(std::move(made_filter.error()));
  status = {{"filterSubscriptionStatus", std::move(*made_filter)},
            {"filterChannelStatus", std::move(*made_channel)},
            {"subscriptionStatus", std::move(*made_subscription)}};
  co_return Result<void>();
}

awaitable<Result<void>> make_parallel(FlowParts& parts, const json::object& parallel, json::object& status) {
  auto entrance = co_await parts.channel(child_name(name_of(parallel), "-kn-parallel"));
  if (!entrance) co_return fail(std::move(entrance.error()));
  const auto& branches = parallel.at("spec").at("branches").as_array();
  json::array statuses;
  for (std::size_t i = 0; i < branches.size(); ++i) {
    json::object branch;
    auto made = co_await make_branch(parts, parallel, i, branches[i].as_object(), branch);
    if (!made) co_return made;
    statuses.push_back(std::move(branch));
  }
  status["ingressChannelStatus"] = std::move(*entrance);
  status["branchStatuses"] = std::move(statuses);
  co_return Result<void>();
}

}  // namespace

awaitable<Result<void>> reconcile_flow(World& world, const model::Kind& kind, ObjectKey key) {
  const auto object = world.objects().find(key);
  if (!object) co_return Result<void>();  // what it made goes with it
  const bool is_sequence = &kind == &model::sequence_kind();
  const Truth missing = is_sequence ? Truth::unknown : Truth::no;
  model::Conditions conditions("Ready", {"ChannelsReady", "SubscriptionsReady", "Addressable"}, *object, world.now());
  json::object status{{"observedGeneration", generation_of(*object)}};
  FlowParts parts(world, kind, key, *object);
  if (!parts.has_channels()) {
    conditions.mark_false("ChannelsReady", "ChannelTemplateNotSupported", parts.unsupported());
  } else {
    auto made =
        is_sequence ? co_await make_sequence(parts, *object, status) : co_await make_parallel(parts, *object, status);
    if (!made) co_return made;
    judge_parts(parts, missing, conditions);
    const auto entrance = child_name(key.name, is_sequence ? "-kn-sequence-0" : "-kn-parallel");
    judge_address(parts.address_of_channel(entrance), missing, conditions, status);
  }
  auto removed = co_await parts.remove_others();
  if (!removed) co_return removed;
  status["conditions"] = conditions.to_json();
  auto written = co_await write_status(world, std::move(key), std::move(status));
  co_return written;
}

}  // namespace wick::control
