// Instances as Pods: enough for kubectl get, describe, wait and logs, and for clients that select them by Knative's
// labels.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <optional>

#include "api/answer.hpp"
#include "api/log_reader.hpp"
#include "api/views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

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

json::object terminated(const container::Exit& exit, WallTime when) {
  const int code = exit.status.signal == 0 ? exit.status.code : 128 + exit.status.signal;
  json::object state{{"exitCode", code},
                     {"reason", exit.out_of_memory ? "OOMKilled"
                                : exit.not_started ? "StartError"
                                : code == 0        ? "Completed"
                                                   : "Error"},
                     {"finishedAt", to_rfc3339(when)}};
  if (!exit.message.empty()) state["message"] = to_utf8(exit.message);
  return {{"terminated", std::move(state)}};
}

/// One container of an instance that has several, as it is.
void tell_state(json::object& status, const container::ContainerView& view, bool pod_ready) {
  using View = container::ContainerView;
  const auto since = to_rfc3339(view.since);
  status["containerID"] = "wick://" + std::string(view.id.text());
  status["restartCount"] = view.restarts;
  status["started"] = view.state == View::State::running;
  const bool init_done = view.kind == View::Kind::init && view.last && view.last->status.ok();
  status["ready"] = init_done || (view.state == View::State::running && (view.kind == View::Kind::beside || pod_ready));
  status["lastState"] = json::object{};
  if (view.state == View::State::running) {
    status["state"] = {{"running", {{"startedAt", since}}}};
    if (view.last) status["lastState"] = terminated(*view.last, view.since);
  } else if (view.state == View::State::terminated && view.last) {
    status["state"] = terminated(*view.last, view.since);
  } else {
    status["state"] = {{"waiting",
                        {{"reason", view.last                       ? "CrashLoopBackOff"
                                    : view.kind == View::Kind::init ? "PodInitializing"
                                                                    : "ContainerCreating"}}}};
    if (view.last) status["lastState"] = terminated(*view.last, view.since);
  }
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
  json::array init_statuses;
  const container::ContainerView* main = nullptr;
  for (const auto& view_of_one : instance.containers)
    if (view_of_one.kind == container::ContainerView::Kind::main) main = &view_of_one;
  if (main) {
    auto& annotations = metadata["annotations"];
    if (!annotations.is_object()) annotations.emplace_object();
    annotations.get_object()["kubectl.kubernetes.io/default-container"] = main->name;
  }
  if (const auto* own = model::find_value(revision, {"spec"}); own && own->is_object()) spec = own->get_object();
  for (const auto key_of_revision : {"containerConcurrency", "timeoutSeconds"}) spec.erase(key_of_revision);
  spec["restartPolicy"] = "Always";
  spec["nodeName"] = "wick";
  for (auto [list, into] : {std::pair{"initContainers", &init_statuses}, {"containers", &statuses}}) {
    const auto* containers = spec.if_contains(list);
    if (!containers || !containers->is_array()) continue;
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
      for (const auto& one : instance.containers)
        if (one.name == status.at("name").get_string()) tell_state(status, one, ready);
      into->push_back(std::move(status));
    }
  }
  const bool initialized = !main || main->state != container::ContainerView::State::waiting;
  json::array conditions;
  conditions.push_back(condition("PodScheduled", true, since));
  conditions.push_back(condition("Initialized", initialized, since));
  for (const auto type : {"ContainersReady", "Ready"}) conditions.push_back(condition(type, ready, since));
  json::object status{{"phase", "Running"},
                      {"startTime", since},
                      {"hostIP", "127.0.0.1"},
                      {"podIP", "127.0.0.1"},
                      {"qosClass", "BestEffort"},
                      {"conditions", std::move(conditions)},
                      {"containerStatuses", std::move(statuses)}};
  if (!init_statuses.empty()) status["initContainerStatuses"] = std::move(init_statuses);
  if (!initialized) status["phase"] = "Pending";
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
  bool previous = false;
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
  if (request.tail) request.tail = std::min(*request.tail, LogReader::tail_lines_max);
  request.previous = is_true(query("previous"));
  return request;
}

}  // namespace

std::vector<std::string> container_names(const json::object& revision, std::string_view list) {
  std::vector<std::string> names;
  const auto* containers = model::find_value(revision, {"spec", list});
  if (!containers || !containers->is_array()) return names;
  for (const auto& container : containers->get_array())
    if (container.is_object()) names.push_back(model::text_at(container.get_object(), {"name"}));
  return names;
}

Result<void> check_container(const json::object& revision, const std::string& name, std::string_view pod) {
  const auto containers = container_names(revision, "containers");
  const auto init = container_names(revision, "initContainers");
  const auto has = [&](const std::vector<std::string>& names) { return std::ranges::find(names, name) != names.end(); };
  if (name.empty() || has(containers) || has(init)) return {};
  // The kubelet's and the API server's words.
  auto text = fmt::format("container {} is not valid for pod {}", printable(name), pod);
  if (containers.size() + init.size() > 1) text += fmt::format(", choose one of: [{}]", fmt::join(containers, " "));
  if (!init.empty()) text += fmt::format(" or one of the init containers: [{}]", fmt::join(init, " "));
  return fail(Errc::invalid, std::move(text));
}

awaitable<void> pod_log(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  auto request = log_request_of(exchange);
  if (!request) {
    co_await respond_error(exchange, request.error());
    co_return;
  }
  const auto pod = PodName::parse(name);
  const auto container = http::query_value(exchange.head().query(), "container").value_or(std::string());
  using LogFile = container::RunnerLauncher::LogFile;
  const auto is_main = [&](const LogFile& file) { return file.id.text() == pod->instance; };
  /// Newest first: the first is what runs, or ran last.
  const auto files = [&]() -> std::vector<LogFile> {
    if (!pod) return {};
    auto all = doors.logs(name_space + "/" + pod->revision);
    std::erase_if(all, [&](const LogFile& file) { return !is_main(file) && file.pod.text() != pod->instance; });
    return all;
  };
  const auto found = files();
  const auto main = pod ? std::ranges::find_if(found, is_main) : found.end();
  if (main == found.end()) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(pod_kind(), name));
    co_return;
  }
  const auto revision = doors.objects.find({model::revision_kind().resource(), name_space, pod->revision});
  if (const auto checked = revision ? check_container(*revision, container, name) : Result<void>{}; !checked) {
    co_await respond_failure(exchange, 400, "BadRequest", checked.error().message());
    co_return;
  }
  const bool of_main = container.empty() || main->pod.empty() || main->container == container;
  std::vector<LogFile> runs;
  for (const auto& one : found)
    if (of_main ? is_main(one) : one.container == container) runs.push_back(one);
  if (request->previous) {
    if (of_main || runs.size() < 2) {
      co_await respond_failure(
          exchange, 400, "BadRequest",
          of_main ? "an instance that ended is never started again: there is no previous one"
                  : fmt::format("previous terminated container \"{}\" in pod \"{}\" not found", container, name));
      co_return;
    }
    runs.erase(runs.begin());
  }
  if (runs.empty()) {
    co_await respond_failure(
        exchange, 400, "BadRequest",
        fmt::format("container \"{}\" in pod \"{}\" is waiting to start: PodInitializing", container, name));
    co_return;
  }
  const auto file = std::optional(runs.front());
  const auto find_file = [&]() -> std::optional<LogFile> {
    for (auto& one : files())
      if (one.id == file->id) return one;
    return std::nullopt;
  };
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
      co_await doors.clock.sleep(LogReader::poll_period);
    }
    co_await exchange.finish();
  };
  co_await while_connected(exchange, doors.clock, std::nullopt, body);
}

}  // namespace wick::api
