// wick sink: what takes events and is no service.
#include <fmt/format.h>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"

namespace wick::app::cli {

namespace {

constexpr WiringKind transform_wiring{"transform", "eventing.knative.dev/v1alpha1", "EventTransform",
                                      "eventtransforms"};
const std::vector<WiringKind> sink_kinds{job_sink_wiring, mqtt_sink_wiring, transform_wiring};

}  // namespace

Outcome<json::object> pod_template_of(const ContainerOptions& options) {
  json::object container{{"name", "user-container"}, {"image", options.image}};
  json::array environment, arguments;
  for (const auto& variable : options.environment) {
    const auto equals = variable.find('=');
    if (equals == std::string::npos || equals == 0)
      return stop_with(usage_problem(fmt::format("--env '{}' is not NAME=VALUE", variable), "--env LEVEL=debug"));
    environment.push_back({{"name", variable.substr(0, equals)}, {"value", variable.substr(equals + 1)}});
  }
  for (const auto& argument : options.arguments) arguments.emplace_back(argument);
  if (!environment.empty()) container["env"] = std::move(environment);
  if (!arguments.empty()) container["args"] = std::move(arguments);
  return json::object{{"spec", {{"containers", json::array{std::move(container)}}}}};
}

Outcome<void> add_job_sink(Session& session, const JobSinkOptions& options) {
  auto pod = pod_template_of(options.container);
  if (!pod) return stop_with(std::move(pod.error()));
  (*pod)["spec"].as_object()["restartPolicy"] = "Never";
  json::object spec{{"job", {{"spec", {{"backoffLimit", options.retries}, {"template", std::move(*pod)}}}}}};
  auto object = new_object(job_sink_wiring, session, options.name, std::move(spec));
  if (options.at_once > 0)
    object["metadata"].as_object()["annotations"] = {{"wick.dev/max-in-flight", std::to_string(options.at_once)}};
  return create_object(session, job_sink_wiring, std::move(object),
                       fmt::format("job sink {}: {} for every event; send to jobsink:{}", options.name,
                                   options.container.image, options.name));
}

Outcome<void> add_mqtt_sink(Session& session, const MqttSinkOptions& options) {
  auto spec = mqtt_server_of(options.server);
  spec["topic"] = options.topic;
  spec["qos"] = options.server.qos;
  if (options.retain) spec["retain"] = true;
  if (options.structured) spec["contentMode"] = "structured";
  return create_object(session, mqtt_sink_wiring, new_object(mqtt_sink_wiring, session, options.name, std::move(spec)),
                       fmt::format("mqtt sink {}: {} {}; send to mqttsink:{}", options.name, options.server.url,
                                   options.topic, options.name));
}

Outcome<void> add_transform(Session& session, const TransformOptions& options) {
  auto expression = data_of(session, options.expression);
  if (!expression) return stop_with(std::move(expression.error()));
  json::object spec{{"jsonata", {{"expression", std::move(*expression)}}}};
  std::string line = fmt::format("transform {}: send to transform:{}", options.name, options.name);
  if (!options.to.empty()) {
    auto sink = destination_of(options.to);
    if (!sink) return stop_with(std::move(sink.error()));
    spec["sink"] = std::move(*sink);
    line += "; what comes out goes to " + options.to;
  }
  if (options.discard) {
    spec["reply"] = {{"discard", true}};
  } else if (!options.reply.empty()) {
    auto reply = data_of(session, options.reply);
    if (!reply) return stop_with(std::move(reply.error()));
    spec["reply"] = {{"jsonata", {{"expression", std::move(*reply)}}}};
  }
  return create_object(session, transform_wiring, new_object(transform_wiring, session, options.name, std::move(spec)),
                       line);
}

Outcome<void> list_sinks(Session& session) {
  std::vector<std::vector<std::string>> rows{{"NAME", "KIND", "WHAT", "URL", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& kind : sink_kinds) {
    auto list = list_objects(session, kind);
    if (!list) return stop_with(std::move(list.error()));
    for (const auto& sink : array_at(*list, "/items")) {
      const auto name = text_at(sink, "/metadata/name"), url = text_at(sink, "/status/address/url");
      auto what = text_at(sink, "/spec/job/spec/template/spec/containers/0/image") +
                  safe_line(text_at(sink, "/spec/jsonata/expression"));
      if (const auto server = text_at(sink, "/spec/url"); !server.empty())
        what = server + " " + text_at(sink, "/spec/topic");
      const auto ready = readiness_of(sink);
      rows.push_back({name, std::string(kind.word), what, url, ready.status, ready.because});
      documents.push_back({{"name", name},
                           {"kind", kind.kind},
                           {"what", what},
                           {"url", url},
                           {"ready", ready.status == "True"},
                           {"because", ready.because}});
    }
  }
  print_list(session, rows, documents, "no sinks. hint: wick sink job NAME --image IMAGE");
  return {};
}

Outcome<void> describe_sink(Session& session, const std::string& name) {
  return describe_object(session, sink_kinds, name);
}
Outcome<void> remove_sink(Session& session, const std::string& name) {
  return remove_object(session, sink_kinds, name);
}

}  // namespace wick::app::cli
