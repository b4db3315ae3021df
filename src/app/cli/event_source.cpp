// wick source: what sends events by itself.
#include <fmt/format.h>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"
#include "wick/model/webhook.hpp"

namespace wick::app::cli {

namespace {

const std::vector<WiringKind> source_kinds{ping_wiring,       binding_wiring, container_wiring,
                                           api_server_wiring, mqtt_wiring,    webhook_wiring};

/// spec.sink and spec.ceOverrides.
Outcome<json::object> source_spec(const SourceOptions& options) {
  auto sink = destination_of(options.to);
  if (!sink) return stop_with(std::move(sink.error()));
  json::object spec{{"sink", std::move(*sink)}};
  json::object extensions;
  for (const auto& extension : options.extensions) {
    const auto equals = extension.find('=');
    if (equals == std::string::npos || equals == 0)
      return stop_with(usage_problem(fmt::format("--ext '{}' is not NAME=VALUE", extension), "--ext team=blue"));
    extensions[extension.substr(0, equals)] = extension.substr(equals + 1);
  }
  if (!extensions.empty()) spec["ceOverrides"] = {{"extensions", std::move(extensions)}};
  return spec;
}

std::string shown_what(const json::value& source) {
  if (const auto schedule = text_at(source, "/spec/schedule"); !schedule.empty()) {
    const auto zone = text_at(source, "/spec/timezone");
    return zone.empty() ? schedule : schedule + " " + zone;
  }
  if (const auto name = text_at(source, "/spec/subject/name"); !name.empty()) return name;
  if (const auto image = text_at(source, "/spec/template/spec/containers/0/image"); !image.empty()) return image;
  if (find_at(source, "/spec/subject/selector")) return "(by labels)";
  if (const auto provider = text_at(source, "/spec/provider"); !provider.empty())
    return provider + " " + text_at(source, "/status/path");
  if (const auto server = text_at(source, "/spec/url"); !server.empty()) {
    std::string topics;
    for (const auto& topic : array_at(source, "/spec/topics"))
      topics += (topics.empty() ? " " : ",") + text_at(topic, "/topic");
    return server + topics;
  }
  std::string kinds;
  for (const auto& resource : array_at(source, "/spec/resources"))
    kinds += (kinds.empty() ? "" : ",") + text_at(resource, "/kind");
  return kinds;
}

}  // namespace

Outcome<void> add_ping(Session& session, const PingOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  (*spec)["schedule"] = options.schedule;
  if (!options.zone.empty()) (*spec)["timezone"] = options.zone;
  if (options.data) {
    auto data = data_of(session, *options.data);
    if (!data) return stop_with(std::move(data.error()));
    const auto document = parse_json(*data);
    if (!options.content_type.empty())
      (*spec)["contentType"] = options.content_type;
    else
      (*spec)["contentType"] = document && document->is_object() ? "application/json" : "text/plain";
    (*spec)["data"] = std::move(*data);
  }
  return create_object(session, ping_wiring, new_object(ping_wiring, session, options.source.name, std::move(*spec)),
                       fmt::format("ping {}: {} to {}", options.source.name, options.schedule, options.source.to));
}

Outcome<void> add_binding(Session& session, const BindingOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  (*spec)["subject"] = {{"apiVersion", "serving.knative.dev/v1"},
                        {"kind", "Service"},
                        {"name", options.service},
                        {"namespace", session.name_space}};
  return create_object(
      session, binding_wiring, new_object(binding_wiring, session, options.source.name, std::move(*spec)),
      fmt::format("binding {}: {} has K_SINK of {}", options.source.name, options.service, options.source.to));
}

Outcome<void> add_container_source(Session& session, const ContainerSourceOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  auto pod = pod_template_of(options.container);
  if (!pod) return stop_with(std::move(pod.error()));
  (*spec)["template"] = std::move(*pod);
  return create_object(
      session, container_wiring, new_object(container_wiring, session, options.source.name, std::move(*spec)),
      fmt::format("container {}: {} sends to {}", options.source.name, options.container.image, options.source.to));
}

json::object mqtt_server_of(const MqttOptions& options) {
  json::object spec{{"url", options.url}};
  if (!options.version.empty()) spec["version"] = options.version;
  if (!options.secret.empty()) spec["auth"] = {{"secret", {{"ref", {{"name", options.secret}}}}}};
  return spec;
}

Outcome<void> add_mqtt_source(Session& session, const MqttSourceOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  for (auto& part : mqtt_server_of(options.server)) (*spec)[part.key()] = std::move(part.value());
  json::array topics;
  std::string named;
  for (const auto& topic : options.topics) {
    topics.push_back({{"topic", topic}, {"qos", options.server.qos}});
    named += (named.empty() ? "" : ",") + topic;
  }
  (*spec)["topics"] = std::move(topics);
  return create_object(
      session, mqtt_wiring, new_object(mqtt_wiring, session, options.source.name, std::move(*spec)),
      fmt::format("mqtt {}: {} {} to {}", options.source.name, options.server.url, named, options.source.to));
}

Outcome<void> add_webhook_source(Session& session, const WebhookSourceOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  (*spec)["provider"] = options.provider;
  (*spec)["secret"] = {{"ref", {{"name", options.secret}}}};
  json::array events;
  for (const auto& event : options.events) events.emplace_back(event);
  if (!events.empty()) (*spec)["events"] = std::move(events);
  const auto made =
      make_object(session, webhook_wiring, new_object(webhook_wiring, session, options.source.name, std::move(*spec)));
  if (!made) return stop_with(made.error());
  if (session.json)
    print_document(session, *made);
  else
    session.terminal.result(fmt::format(
        "webhook {}: what {} delivers at {} goes to {}", options.source.name, options.provider,
        model::webhook_source_path(session.name_space, text_at(*made, "/metadata/uid")), options.source.to));
  return {};
}

Outcome<void> add_api_server_source(Session& session, const ApiServerOptions& options) {
  auto spec = source_spec(options.source);
  if (!spec) return stop_with(std::move(spec.error()));
  json::array resources;
  for (const auto& resource : options.resources) {
    const auto colon = resource.find(':');
    if (colon == std::string::npos || colon == 0)
      return stop_with(usage_problem(fmt::format("--resource '{}' is not KIND:APIVERSION", resource),
                                     "--resource Service:serving.knative.dev/v1"));
    resources.push_back({{"kind", resource.substr(0, colon)}, {"apiVersion", resource.substr(colon + 1)}});
  }
  (*spec)["resources"] = std::move(resources);
  (*spec)["mode"] = options.whole ? "Resource" : "Reference";
  return create_object(session, api_server_wiring,
                       new_object(api_server_wiring, session, options.source.name, std::move(*spec)),
                       fmt::format("apiserver {}: changes go to {}", options.source.name, options.source.to));
}

Outcome<void> list_sources(Session& session) {
  std::vector<std::vector<std::string>> rows{{"NAME", "KIND", "WHAT", "TO", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& kind : source_kinds) {
    auto list = list_objects(session, kind);
    if (!list) return stop_with(std::move(list.error()));
    for (const auto& source : array_at(*list, "/items")) {
      const auto name = text_at(source, "/metadata/name"), to = shown_destination(source, "/spec/sink");
      const auto ready = readiness_of(source);
      rows.push_back({name, std::string(kind.word), shown_what(source), to, ready.status, ready.because});
      documents.push_back({{"name", name},
                           {"kind", kind.kind},
                           {"what", shown_what(source)},
                           {"to", to},
                           {"ready", ready.status == "True"},
                           {"because", ready.because}});
    }
  }
  print_list(session, rows, documents, "no sources. hint: wick source ping NAME --schedule '* * * * *' --to SERVICE");
  return {};
}

Outcome<void> describe_source(Session& session, const std::string& name) {
  return describe_object(session, source_kinds, name);
}
Outcome<void> remove_source(Session& session, const std::string& name) {
  return remove_object(session, source_kinds, name);
}

}  // namespace wick::app::cli
