// A Service as a person asks for it: `wick ps`, `wick why`, `wick invoke`.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "api/answer.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace {

constexpr milliseconds invoke_limit{600'000};  // the largest timeoutSeconds
constexpr std::size_t invoke_bytes_max = 32 << 20;

json::object to_json(const serving::InstanceView& instance, const std::string& revision) {
  return {{"id", instance.id.text()},
          {"revision", revision},
          {"pid", instance.pid},
          {"state", instance.state},
          {"inFlight", instance.in_flight},
          {"since", to_rfc3339(instance.since)},
          {"startMs", instance.start_elapsed.count()}};
}

/// Steps with the time at which each was done, in milliseconds since the request arrived.
json::array timeline_of(const serving::RequestTrace& trace) {
  json::array steps;
  const auto add = [&steps](std::string_view step, std::chrono::microseconds at) {
    steps.push_back(json::object{{"step", step}, {"ms", static_cast<double>(at.count()) / 1000}});
  };
  if (trace.wake) {
    using From = serving::WakeSteps::From;
    add("routed", trace.wake->queued);
    switch (trace.wake->from) {
      case From::other:
        add("joined a start under way", trace.wake->queued);
        break;
      case From::nothing:
        add("start from nothing", trace.wake->woken);
        break;
      case From::prepared:
        add("start of a spare", trace.wake->woken);
        break;
      case From::frozen:
        add("thaw", trace.wake->woken);
        break;
    }
    add("running", trace.wake->started);
    add("listening, connected", trace.wake->listening);
    add("request has its slot", trace.wake->leased);
  }
  add("answered", trace.exact);
  return steps;
}

json::object to_json(const serving::RequestTrace& trace) {
  return {{"timeline", timeline_of(trace)},
          {"requestId", trace.request_id},
          {"when", to_rfc3339_nano(trace.when)},
          {"method", trace.method},
          {"target", trace.target},
          {"status", trace.status},
          {"totalMs", trace.total.count()},
          {"queuedMs", std::chrono::duration_cast<milliseconds>(trace.queued).count()},
          {"cold", trace.cold},
          {"revision", trace.revision},
          {"instance", trace.instance}};
}

store::ObjectValue find_service(const Doors& doors, const std::string& name_space, const std::string& name) {
  return doors.objects.find({model::service_kind().resource(), name_space, name});
}

const json::array& traffic_of(const json::object& service) {
  static const json::array none;
  const auto* traffic = model::find_value(service, {"status", "traffic"});
  return traffic && traffic->is_array() ? traffic->get_array() : none;
}

/// Revisions that have traffic or are newest: those whose instances belong to the picture.
std::set<std::string> shown_revisions(const json::object& service) {
  std::set<std::string> names;
  for (const auto& entry : traffic_of(service)) names.insert(model::text_at(entry.as_object(), {"revisionName"}));
  names.insert(model::text_at(service, {"status", "latestCreatedRevisionName"}));
  names.erase("");
  return names;
}

/// "hello-00002 keeps 100 % of the traffic": what serves now.
std::string serving_text(const json::object& service) {
  std::string text;
  for (const auto& entry : traffic_of(service)) {
    const auto percent = model::integer_at(entry.as_object(), {"percent"});
    if (percent > 0)
      text += fmt::format("{}{} {} %", text.empty() ? "" : ", ", model::text_at(entry.as_object(), {"revisionName"}),
                          percent);
  }
  return text;
}

json::object row(const Doors& doors, const json::object& service) {
  const auto name_space = model::text_at(service, {"metadata", "namespace"});
  const auto ready = model::find_condition(service, "Ready");
  json::array instances;
  int desired = 0;
  std::size_t queued = 0;
  for (const auto& revision : shown_revisions(service)) {
    const auto view = doors.serving.revision({name_space, revision});
    if (!view) continue;
    desired += view->desired;
    queued += view->queued;
    for (const auto& instance : view->instances) instances.push_back(to_json(instance, revision));
  }
  auto revision = model::text_at(service, {"status", "latestReadyRevisionName"});
  if (revision.empty()) revision = model::text_at(service, {"status", "latestCreatedRevisionName"});
  return {{"name", model::text_at(service, {"metadata", "name"})},
          {"url", model::text_at(service, {"status", "url"})},
          {"ready", ready.status == model::Truth::yes},
          {"reason", ready.reason},
          {"message", ready.message},
          {"revision", revision},
          {"traffic", traffic_of(service)},
          {"instances", std::move(instances)},
          {"desired", desired},
          {"queued", queued}};
}

}  // namespace

awaitable<void> ps(const Doors& doors, http::Exchange& exchange, std::string name_space) {
  json::array rows;
  for (const auto& service : doors.objects.list(model::service_kind().resource(), name_space))
    rows.push_back(row(doors, *service));
  co_await respond_json(exchange, 200, rows);
}

awaitable<void> why(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  const auto service = find_service(doors, name_space, name);
  if (!service) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::service_kind(), name));
    co_return;
  }
  const auto ready = model::find_condition(*service, "Ready");
  json::object answer{{"service", name},
                      {"url", model::text_at(*service, {"status", "url"})},
                      {"ready", ready.status == model::Truth::yes},
                      {"reason", ready.reason},
                      {"message", ready.message},
                      {"serving", serving_text(*service)}};
  // The newest revision's verdict; else what last went wrong with an instance of what serves.
  if (const auto* failure = model::find_value(*service, {"status", "lastFailure"})) {
    answer["failure"] = *failure;
  } else {
    for (const auto& revision : shown_revisions(*service))
      if (const auto view = doors.serving.revision({name_space, revision}); view && view->last_failure)
        answer["failure"] = view->last_failure->to_json();
  }
  json::array requests;
  for (const auto& trace : doors.serving.traces(name_space, name)) requests.push_back(to_json(trace));
  answer["requests"] = std::move(requests);
  co_await respond_json(exchange, 200, answer);
}

awaitable<void> invoke(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  if (!find_service(doors, name_space, name)) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(model::service_kind(), name));
    co_return;
  }
  http::Request request{.head = exchange.head(), .body = {}};
  // What follows …/proxy goes on as it came, escapes and query included.
  constexpr std::string_view marker = "/proxy";
  const auto& target = exchange.head().target;
  const auto at = target.find(marker, target.find("/services/") + 10 + 1);
  request.head.target = at == target.npos ? "/" : target.substr(at + marker.size());
  if (!request.head.target.starts_with('/')) request.head.target.insert(0, "/");
  request.head.authority = fmt::format("{}.{}.svc.cluster.local", name, name_space);
  request.head.fields.set("Host", request.head.authority);
  for (const auto field :
       {"Connection", "Transfer-Encoding", "Content-Length", "Expect", "Upgrade", "TE", "Keep-Alive"})
    request.head.fields.erase(field);
  auto body = co_await exchange.read_all(invoke_bytes_max);
  if (!body) {
    co_await respond_error(exchange, body.error());
    co_return;
  }
  request.body = std::move(*body);
  auto answer = co_await doors.serving.call(name_space, name, std::move(request), invoke_limit);
  if (!answer) {
    co_await http::respond_error(exchange, http_status(answer.error().code()), answer.error());
    co_return;
  }
  for (const auto field : {"Connection", "Transfer-Encoding", "Content-Length", "Keep-Alive"})
    answer->head.fields.erase(field);
  co_await exchange.respond(std::move(answer->head), std::move(answer->body));
}

}  // namespace wick::api
