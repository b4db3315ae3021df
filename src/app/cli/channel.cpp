// wick channel: channels and their subscriptions.
#include <fmt/format.h>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"

namespace wick::app::cli {

Outcome<void> add_channel(Session& session, const std::string& name) {
  return create_object(
      session, channel_wiring, new_object(channel_wiring, session, name, {}),
      fmt::format("channel {}: http://{}-kn-channel.{}.svc.cluster.local", name, name, session.name_space));
}

Outcome<void> list_channels(Session& session) {
  auto channels = list_objects(session, channel_wiring);
  if (!channels) return stop_with(std::move(channels.error()));
  auto subscriptions = list_objects(session, subscription_wiring);
  if (!subscriptions) return stop_with(std::move(subscriptions.error()));
  std::vector<std::vector<std::string>> rows{{"NAME", "SUBSCRIPTION", "TO", "REPLY", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& channel : array_at(*channels, "/items")) {
    const auto name = text_at(channel, "/metadata/name");
    const auto [status, because] = readiness_of(channel);
    rows.push_back({name, "", "", "", status, because});
    json::array listed;
    for (const auto& subscription : array_at(*subscriptions, "/items")) {
      if (text_at(subscription, "/spec/channel/name") != name) continue;
      const auto own = text_at(subscription, "/metadata/name");
      const auto to = shown_destination(subscription, "/spec/subscriber");
      const auto reply = shown_destination(subscription, "/spec/reply");
      const auto ready = readiness_of(subscription);
      rows.push_back({name, own, to, reply, ready.status, ready.because});
      listed.push_back({{"name", own}, {"to", to}, {"reply", reply}, {"ready", ready.status == "True"}});
    }
    documents.push_back({{"name", name},
                         {"url", text_at(channel, "/status/address/url")},
                         {"ready", status == "True"},
                         {"because", because},
                         {"subscriptions", std::move(listed)}});
  }
  print_list(session, rows, documents, "no channels. hint: wick channel add NAME");
  return {};
}

Outcome<void> describe_channel(Session& session, const std::string& name) {
  return describe_object(session, {channel_wiring, subscription_wiring}, name);
}

Outcome<void> remove_channel(Session& session, const std::string& name) {
  return remove_object(session, {channel_wiring}, name);
}

Outcome<void> subscribe_channel(Session& session, const SubscribeOptions& options) {
  json::object spec{
      {"channel",
       {{"apiVersion", channel_wiring.api_version}, {"kind", channel_wiring.kind}, {"name", options.channel}}}};
  for (const auto& [field, text] : {std::pair{"subscriber", options.to}, {"reply", options.reply}}) {
    if (text.empty()) continue;
    auto destination = destination_of(text);
    if (!destination) return stop_with(std::move(destination.error()));
    spec[field] = std::move(*destination);
  }
  if (options.retry)
    spec["delivery"] = {{"retry", *options.retry}, {"backoffPolicy", "exponential"}, {"backoffDelay", "PT0.2S"}};
  if (!options.dead_letter.empty()) {
    auto sink = destination_of(options.dead_letter);
    if (!sink) return stop_with(std::move(sink.error()));
    auto& delivery = spec["delivery"];
    if (!delivery.is_object()) delivery.emplace_object();
    delivery.as_object()["deadLetterSink"] = std::move(*sink);
  }
  return create_object(session, subscription_wiring,
                       new_object(subscription_wiring, session, options.name, std::move(spec)),
                       fmt::format("subscription {}: from channel {} to {}{}", options.name, options.channel,
                                   options.to.empty() ? options.reply : options.to,
                                   options.to.empty() || options.reply.empty() ? "" : ", answers to " + options.reply));
}

Outcome<void> unsubscribe_channel(Session& session, const std::string& name) {
  return remove_object(session, {subscription_wiring}, name);
}

}  // namespace wick::app::cli
