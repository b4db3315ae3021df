#include "app/cli/wiring.hpp"

#include <fmt/format.h>

#include "app/cli/read_json.hpp"

namespace wick::app::cli {

namespace {

struct DestinationKind {
  std::string_view prefix, api_version, kind, plural;
};
constexpr DestinationKind destination_kinds[]{
    {"ksvc", "serving.knative.dev/v1", "Service", "services"},
    {"broker", "eventing.knative.dev/v1", "Broker", "brokers"},
    {"channel", "messaging.knative.dev/v1", "Channel", "channels"},
    {"sequence", "flows.knative.dev/v1", "Sequence", "sequences"},
    {"parallel", "flows.knative.dev/v1", "Parallel", "parallels"},
    {"imc", "messaging.knative.dev/v1", "InMemoryChannel", "inmemorychannels"},
    {"jobsink", "sinks.knative.dev/v1alpha1", "JobSink", "jobsinks"},
    {"transform", "eventing.knative.dev/v1alpha1", "EventTransform", "eventtransforms"},
    {"integrationsink", "sinks.knative.dev/v1alpha1", "IntegrationSink", "integrationsinks"},
    {"mqttsink", "sinks.wick.dev/v1alpha1", "MQTTSink", "mqttsinks"}};

std::string object_path(const Session& session, const WiringKind& kind, std::string_view name = {}) {
  return resource_path(kind.api_version, session.name_space, kind.plural, name);
}

}  // namespace

Outcome<json::object> destination_of(const std::string& text) {
  if (text.starts_with("http://") || text.starts_with("https://")) return json::object{{"uri", text}};
  const auto colon = text.find(':');
  const auto prefix = colon == std::string::npos ? std::string("ksvc") : text.substr(0, colon);
  for (const auto& known : destination_kinds)
    if (known.prefix == prefix)
      return json::object{{"ref",
                           {{"apiVersion", known.api_version},
                            {"kind", known.kind},
                            {"name", colon == std::string::npos ? text : text.substr(colon + 1)}}}};
  return stop_with(usage_problem(fmt::format("'{}' is no place that takes events", text), destination_words));
}

std::string_view plural_of_destination(std::string_view kind) {
  for (const auto& known : destination_kinds)
    if (known.kind == kind) return known.plural;
  return {};
}

std::string shown_destination(const json::value& object, std::string_view pointer) {
  const auto* destination = find_at(object, pointer);
  if (!destination) return {};
  const auto name = text_at(*destination, "/ref/name"), uri = text_at(*destination, "/uri");
  const auto kind = text_at(*destination, "/ref/kind");
  for (const auto& known : destination_kinds)
    if (known.kind == kind && kind != "Service") return fmt::format("{}:{}{}", known.prefix, name, uri);
  return name + uri;
}

Readiness readiness_of(const json::value& object) {
  const auto* ready = condition_of(object, "Ready");
  Readiness readiness{.status = ready ? text_at(*ready, "/status") : "Unknown", .because = {}};
  if (ready && readiness.status != "True") readiness.because = safe_line(text_at(*ready, "/message"));
  return readiness;
}

json::object new_object(const WiringKind& kind, const Session& session, const std::string& name, json::object spec) {
  return {{"apiVersion", kind.api_version},
          {"kind", kind.kind},
          {"metadata", {{"name", name}, {"namespace", session.name_space}}},
          {"spec", std::move(spec)}};
}

Outcome<json::value> make_object(Session& session, const WiringKind& kind, json::object object) {
  const auto name = text_at(object, "/metadata/name");
  auto made = session.client.post(object_path(session, kind), std::move(object));
  if (!made) {
    auto problem = std::move(made.error());
    if (problem.exit == ExitCode::refused) problem.hint = fmt::format("remove {} first, or take another name", name);
    return stop_with(std::move(problem).within(fmt::format("{} {} was not added", kind.word, name)));
  }
  return made;
}

Outcome<void> create_object(Session& session, const WiringKind& kind, json::object object, const std::string& line) {
  const auto made = make_object(session, kind, std::move(object));
  if (!made) return stop_with(made.error());
  if (session.json)
    print_document(session, *made);
  else
    session.terminal.result(line);
  return {};
}

Outcome<json::value> list_objects(Session& session, const WiringKind& kind) {
  return session.client.get(object_path(session, kind));
}

Outcome<std::pair<WiringKind, json::value>> find_object(Session& session, const std::vector<WiringKind>& kinds,
                                                        const std::string& name) {
  const auto slash = name.find('/');
  const auto word = slash == std::string::npos ? std::string() : name.substr(0, slash);
  const auto bare = slash == std::string::npos ? name : name.substr(slash + 1);
  std::vector<std::pair<WiringKind, json::value>> found;
  std::string words;
  for (const auto& kind : kinds) {
    words += (words.empty() ? "" : ", ") + std::string(kind.word);
    if (!word.empty() && word != kind.word) continue;
    auto object = session.client.get(object_path(session, kind, bare));
    if (object)
      found.emplace_back(kind, std::move(*object));
    else if (object.error().exit != ExitCode::not_found)
      return stop_with(std::move(object.error()));
  }
  if (found.size() == 1) return std::move(found.front());
  if (found.empty())
    return stop_with(Problem{.exit = ExitCode::not_found,
                             .what = fmt::format("there is no {} {} in namespace {}", words, bare, session.name_space),
                             .hint = {}});
  return stop_with(usage_problem(fmt::format("several things are called {}", bare),
                                 fmt::format("{}/{} says which", found.front().first.word, bare)));
}

Outcome<void> describe_object(Session& session, const std::vector<WiringKind>& kinds, const std::string& name) {
  auto found = find_object(session, kinds, name);
  if (!found) return stop_with(std::move(found.error()));
  const auto& [kind, object] = *found;
  if (session.json) {
    print_document(session, object);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{kind.kind.data(), text_at(object, "/metadata/name")}};
  const auto add = [&](const char* title, const std::string& value) {
    if (!value.empty()) rows.push_back({title, safe_line(value)});
  };
  add("URL", text_at(object, "/status/address/url"));
  add("Server", text_at(object, "/spec/url"));
  add("Topic", text_at(object, "/spec/topic"));
  add("Schedule", text_at(object, "/spec/schedule"));
  add("Zone", text_at(object, "/spec/timezone"));
  add("Data", text_at(object, "/spec/data"));
  add("Mode", text_at(object, "/spec/mode"));
  add("Expression", text_at(object, "/spec/jsonata/expression"));
  add("Answer", text_at(object, "/spec/reply/jsonata/expression"));
  add("Subject", text_at(object, "/spec/subject/name"));
  add("Channel", text_at(object, "/spec/channel/name"));
  add("To", shown_destination(object, "/spec/sink") + shown_destination(object, "/spec/subscriber"));
  std::size_t number = 0;
  for (const auto& step : array_at(object, "/spec/steps"))
    rows.push_back({fmt::format("Step {}", number++), shown_destination(step, "")});
  for (const auto& branch : array_at(object, "/spec/branches")) {
    const auto filter = shown_destination(branch, "/filter"), reply = shown_destination(branch, "/reply");
    rows.push_back({fmt::format("Branch {}", number++),
                    fmt::format("{}{}{}", filter.empty() ? "" : filter + " → ",
                                shown_destination(branch, "/subscriber"), reply.empty() ? "" : " → " + reply)});
  }
  add("Reply", shown_destination(object, "/spec/reply"));
  for (const auto& condition : array_at(object, "/status/conditions")) {
    const auto message = text_at(condition, "/message"), status = text_at(condition, "/status");
    const bool info = text_at(condition, "/severity") == "Info";
    rows.push_back(
        {text_at(condition, "/type"), status == "True" && !info ? status : safe_line(status + "  " + message)});
  }
  session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> remove_object(Session& session, const std::vector<WiringKind>& kinds, const std::string& name) {
  auto found = find_object(session, kinds, name);
  if (!found) return stop_with(std::move(found.error()));
  const auto& kind = found->first;
  const auto bare = text_at(found->second, "/metadata/name");
  if (auto gone = session.client.remove(object_path(session, kind, bare)); !gone)
    return stop_with(std::move(gone.error()).within(fmt::format("{} {} was not removed", kind.word, bare)));
  if (session.json)
    print_document(session, json::object{{"kind", kind.kind}, {"name", bare}, {"removed", true}});
  else
    session.terminal.result(fmt::format("{} {} removed", kind.word, bare));
  return {};
}

void print_list(Session& session, const std::vector<std::vector<std::string>>& rows, const json::array& documents,
                std::string_view hint) {
  if (session.json)
    print_document(session, documents);
  else if (documents.empty())
    session.terminal.say(hint);
  else
    session.terminal.result_bytes(table(rows));
}

}  // namespace wick::app::cli
