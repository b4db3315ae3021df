// Instances as Pods: enough for kubectl get, describe, wait and logs, and for clients that select them by Knative's
// labels.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <optional>

#include "api/answer.hpp"
#include "api/log_reader.hpp"
#include "api/views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr auto poll_period = 200ms;  // how late a line may be seen
constexpr std::uint64_t tail_lines_max = 100'000;
constexpr std::string_view revision_label = "serving.knative.dev/revision";

json::object pod_schema() {
  return {{"type", "object"},
          {"description", "One instance of a revision, as Kubernetes would show it. Read only."},
          {"properties",
           {{"apiVersion", {{"type", "string"}}},
            {"kind", {{"type", "string"}}},
            {"metadata", {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}},
            {"spec", {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}},
            {"status", {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}}}}};
}

json::object condition(std::string_view type, bool holds, const std::string& since) {
  return {{"type", type}, {"status", holds ? "True" : "False"}, {"lastTransitionTime", since}};
}

/// The uid of a Pod: the instance's id in a UUID's form.
std::string uid_of(std::string_view instance) {
  return fmt::format("{}-{}-{}-8000-000000000000", instance.substr(0, 8), instance.substr(8, 4),
                     "8" + std::string(instance.substr(13, 3)));
}

/// How the instance before this one ended: what Kubernetes, that starts a container again in its Pod, has as its last
/// state.
json::object last_state(const json::object& revision, const std::optional<model::Failure>& failure) {
  if (!failure || !failure->exit_code) return {};
  json::object terminated{{"exitCode", *failure->exit_code},
                          {"reason", failure->slug == "E_OUT_OF_MEMORY" ? "OOMKilled"
                                     : *failure->exit_code == 0         ? "Completed"
                                                                        : "Error"},
                          {"startedAt", to_rfc3339(failure->when - failure->elapsed)},
                          {"finishedAt", to_rfc3339(failure->when)}};
  auto message = failure->message;
  const auto* containers = model::find_value(revision, {"spec", "containers"});
  const auto* first = containers && containers->is_array() && !containers->get_array().empty()
                          ? containers->get_array()[0].if_object()
                          : nullptr;
  const bool from_log = !first || model::text_at(*first, {"terminationMessagePolicy"}) != "File";
  if (message.empty() && from_log) message = fmt::format("{}", fmt::join(failure->last_output, "\n"));
  if (!message.empty()) terminated["message"] = std::move(message);
  return {{"terminated", std::move(terminated)}};
}

json::object to_pod(const json::object& revision, const serving::RevisionView& view,
                    const serving::InstanceView& instance) {
  const auto& key = view.key;
  const std::string id(instance.id.text());
  const auto since = to_rfc3339(instance.since);
  const bool ready = instance.state == "ready" || instance.state == "frozen";
  json::object labels;
  if (const auto* own = model::find_value(revision, {"metadata", "labels"}); own && own->is_object())
    labels = own->get_object();
  labels["app"] = key.name;
  labels[revision_label] = key.name;
  labels["serving.knative.dev/revisionUID"] = model::text_at(revision, {"metadata", "uid"});
  json::object metadata{{"name", PodName{key.name, id}.text()}, {"generateName", key.name + "-"},
                        {"namespace", key.name_space},          {"uid", uid_of(id)},
                        {"creationTimestamp", since},           {"labels", std::move(labels)}};
  if (const auto* annotations = model::find_value(revision, {"metadata", "annotations"}))
    metadata["annotations"] = *annotations;
  metadata["ownerReferences"] = json::array{model::owner_reference(model::revision_kind(), revision)};
  if (instance.state == "stopping") metadata["deletionTimestamp"] = since;

  json::object spec;
  json::array statuses;
  if (const auto* own = model::find_value(revision, {"spec"}); own && own->is_object()) spec = own->get_object();
  for (const auto key_of_revision : {"containerConcurrency", "timeoutSeconds"}) spec.erase(key_of_revision);
  spec["restartPolicy"] = "Always";
  spec["nodeName"] = "wick";
  if (const auto* containers = spec.if_contains("containers"); containers && containers->is_array())
    for (const auto& container : containers->get_array()) {
      if (!container.is_object()) continue;
      const auto image = model::text_at(container.get_object(), {"image"});
      json::object status{{"name", model::text_at(container.get_object(), {"name"})},
                          {"image", image},
                          {"imageID", image},
                          {"containerID", "wick://" + id},
                          {"ready", ready},
                          {"started", true},
                          {"restartCount", view.restarts},
                          {"state", {{"running", {{"startedAt", since}}}}},
                          {"lastState", last_state(revision, view.last_failure)}};
      statuses.push_back(std::move(status));
    }
  json::array conditions;
  for (const auto type : {"PodScheduled", "Initialized"}) conditions.push_back(condition(type, true, since));
  for (const auto type : {"ContainersReady", "Ready"}) conditions.push_back(condition(type, ready, since));
  json::object status{{"phase", "Running"},
                      {"startTime", since},
                      {"hostIP", "127.0.0.1"},
                      {"podIP", "127.0.0.1"},
                      {"qosClass", "BestEffort"},
                      {"conditions", std::move(conditions)},
                      {"containerStatuses", std::move(statuses)}};
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(spec)},
          {"status", std::move(status)}};
}

}  // namespace

const model::Kind& pod_kind() {
  static const model::Kind kind{.group = "",
                                .version = "v1",
                                .kind = "Pod",
                                .plural = "pods",
                                .singular = "pod",
                                .short_names = {"po"},
                                .namespaced = true,
                                .has_status = false,
                                .categories = {"all"},
                                .columns = {{"Ready", "string", "@ready"},
                                            {"Status", "string", "@status"},
                                            {"Restarts", "integer", ".status.containerStatuses[*].restartCount"},
                                            {"Age", "date", ".metadata.creationTimestamp"},
                                            {"Node", "string", ".spec.nodeName", 1}},
                                .schema = pod_schema};
  return kind;
}

std::optional<PodName> PodName::parse(std::string_view text) {
  const auto dash = text.rfind('-');
  if (dash == text.npos || dash == 0) return std::nullopt;
  return PodName{std::string(text.substr(0, dash)), std::string(text.substr(dash + 1))};
}

std::vector<json::object> list_pods(const Doors& doors) {
  std::vector<json::object> pods;
  for (const auto& view : doors.serving.revisions()) {
    const auto revision = doors.objects.find({model::revision_kind().resource(), view.key.name_space, view.key.name});
    if (!revision) continue;
    for (const auto& instance : view.instances)
      if (!instance.id.empty()) pods.push_back(to_pod(*revision, view, instance));
  }
  return pods;
}

namespace {

struct LogRequest {
  bool follow = false;
  std::optional<std::uint64_t> tail;
  std::optional<std::uint64_t> bytes_left;
};

Result<LogRequest> log_request_of(const http::Exchange& exchange) {
  const auto query = [&](std::string_view name) {
    return http::query_value(exchange.head().query(), name).value_or(std::string());
  };
  LogRequest request;
  request.follow = is_true(query("follow"));
  for (auto [name, into] : {std::pair{"tailLines", &request.tail}, {"limitBytes", &request.bytes_left}}) {
    const auto text = query(name);
    if (text.empty()) continue;
    *into = parse_unsigned(text);
    if (!*into) return fail(Errc::invalid, fmt::format("{} must be a number, not '{}'", name, printable(text)));
  }
  if (request.tail) request.tail = std::min(*request.tail, tail_lines_max);
  if (is_true(query("previous")))
    return fail(Errc::invalid, "an instance that ended is never started again: there is no previous one");
  return request;
}

}  // namespace

bool has_container(const json::object& revision, const std::string& name) {
  const auto* containers = model::find_value(revision, {"spec", "containers"});
  if (name.empty() || !containers || !containers->is_array()) return true;
  for (const auto& container : containers->get_array())
    if (container.is_object() && model::text_at(container.get_object(), {"name"}) == name) return true;
  return false;
}

awaitable<void> pod_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  auto request = log_request_of(exchange);
  if (!request) {
    co_await respond_error(exchange, request.error());
    co_return;
  }
  const auto pod = PodName::parse(name);
  const auto find_file = [&]() -> std::optional<container::RunnerLauncher::LogFile> {
    if (!pod) return std::nullopt;
    for (auto& file : doors.logs(name_space + "/" + pod->revision))
      if (file.id.text() == pod->instance) return file;
    return std::nullopt;
  };
  const auto file = find_file();
  if (!file) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(pod_kind(), name));
    co_return;
  }
  const auto container = http::query_value(exchange.head().query(), "container").value_or(std::string());
  const auto revision = doors.objects.find({model::revision_kind().resource(), name_space, pod->revision});
  if (revision && !has_container(*revision, container)) {
    co_await respond_failure(exchange, 400, "BadRequest",
                             fmt::format("container {} is not valid for pod {}", printable(container), name));
    co_return;
  }
  auto reader = std::make_shared<LogReader>(file->path, [](std::string_view line) { return std::string(line) + "\n"; });
  http::ResponseHead head{.status = 200};
  head.fields.set("Content-Type", "text/plain");
  for (const auto ignored : {"sinceSeconds", "sinceTime", "timestamps"})
    if (const auto value = http::query_value(exchange.head().query(), ignored); value && *value != "false")
      head.fields.add("Warning", fmt::format("299 - \"{} is ignored: lines are kept without their time\"", ignored));
  auto started = co_await exchange.start(std::move(head));
  if (!started) co_return;
  auto body = [&](Wakeup& wakeup) -> awaitable<void> {
    if (request->tail) {
      auto skip = [reader, lines = *request->tail] { reader->skip_to_tail(lines); };
      co_await doors.workers.run(skip);
    }
    while (true) {
      // Asked before reading: what an instance wrote before it ended is read after.
      const auto now = find_file();
      const bool ended = !now || !now->running;
      for (bool more = true; more;) {
        auto read = [reader, ended] {
          std::pair<std::string, bool> got;
          got.first = reader->read(got.second);
          if (ended && !got.second) got.first += reader->rest();
          return got;
        };
        auto got = co_await doors.workers.run(read);
        more = got.second;
        auto& text = got.first;
        if (request->bytes_left) {
          if (text.size() > *request->bytes_left) text.resize(*request->bytes_left);
          *request->bytes_left -= text.size();
        }
        if (!text.empty())
          if (auto written = co_await exchange.write(text); !written) co_return;
        if (request->bytes_left == 0u) more = false;
      }
      if (!request->follow || ended || wakeup.ended() || request->bytes_left == 0u) break;
      co_await doors.clock.sleep(poll_period);
    }
    co_await exchange.finish();
  };
  co_await while_connected(exchange, doors.clock, std::nullopt, body);
}

}  // namespace wick::api
