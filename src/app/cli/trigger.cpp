#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "app/cli/wiring.hpp"

namespace wick::app::cli {

namespace {

Outcome<json::object> filter_of(const std::vector<std::string>& filters) {
  json::object attributes;
  for (const auto& filter : filters) {
    const auto equals = filter.find('=');
    if (equals == std::string::npos || equals == 0)
      return stop_with(usage_problem(fmt::format("--filter '{}' is not ATTRIBUTE=VALUE", filter),
                                     "--filter type=com.example.order"));
    attributes[filter.substr(0, equals)] = filter.substr(equals + 1);
  }
  return attributes;
}

std::string shown_filter(const json::value& trigger) {
  std::string text;
  if (const auto* attributes = find_at(trigger, "/spec/filter/attributes"); attributes && attributes->is_object())
    for (const auto& [key, value] : attributes->get_object()) {
      if (!text.empty()) text += ',';
      text +=
          fmt::format("{}={}", std::string_view(key), value.is_string() ? std::string_view(value.get_string()) : "");
    }
  return text.empty() ? "(all)" : text;
}

std::string shown_subscriber(const json::value& trigger) { return shown_destination(trigger, "/spec/subscriber"); }

}  // namespace

Outcome<void> add_trigger(Session& session, const TriggerOptions& options) {
  auto attributes = filter_of(options.filters);
  if (!attributes) return stop_with(std::move(attributes.error()));
  auto subscriber = destination_of(options.to);
  if (!subscriber) return stop_with(std::move(subscriber.error()));
  json::object spec{{"broker", options.broker}, {"subscriber", std::move(*subscriber)}};
  if (!attributes->empty()) spec["filter"] = {{"attributes", std::move(*attributes)}};
  const json::object trigger{{"apiVersion", "eventing.knative.dev/v1"},
                             {"kind", "Trigger"},
                             {"metadata", {{"name", options.name}, {"namespace", session.name_space}}},
                             {"spec", std::move(spec)}};
  auto made = session.client.post(trigger_path(session.name_space), trigger);
  if (!made) {
    auto problem = std::move(made.error());
    if (problem.exit == ExitCode::refused)
      problem.hint = fmt::format("wick trigger rm {} first, or take another name", options.name);
    return stop_with(std::move(problem).within(fmt::format("trigger {} was not added", options.name)));
  }
  if (session.json)
    print_document(session, *made);
  else
    session.terminal.result(fmt::format("trigger {}: {} from broker {} to {}", options.name, shown_filter(*made),
                                        options.broker, options.to));
  return {};
}

Outcome<void> list_triggers(Session& session) {
  auto list = session.client.get(trigger_path(session.name_space));
  if (!list) return stop_with(std::move(list.error()));
  std::vector<std::vector<std::string>> rows{{"NAME", "BROKER", "FILTER", "TO", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& trigger : array_at(*list, "/items")) {
    const auto* ready = condition_of(trigger, "Ready");
    const auto status = ready ? text_at(*ready, "/status") : "Unknown";
    const auto because = ready && status != "True" ? text_at(*ready, "/message") : "";
    const auto name = text_at(trigger, "/metadata/name"), broker = text_at(trigger, "/spec/broker");
    rows.push_back({name, broker, shown_filter(trigger), shown_subscriber(trigger), status, safe_line(because)});
    const auto* filter = find_at(trigger, "/spec/filter/attributes");
    documents.push_back({{"name", name},
                         {"broker", broker},
                         {"filter", filter ? *filter : json::object()},
                         {"to", shown_subscriber(trigger)},
                         {"ready", status == "True"},
                         {"because", because}});
  }
  if (session.json)
    print_document(session, documents);
  else if (documents.empty())
    session.terminal.say("no triggers. hint: wick trigger add NAME --filter type=T --to SERVICE");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> remove_trigger(Session& session, const std::string& name) {
  if (auto gone = session.client.remove(trigger_path(session.name_space, name)); !gone)
    return stop_with(std::move(gone.error()).within(fmt::format("trigger {} was not removed", name)));
  if (session.json)
    print_document(session, json::object{{"name", name}, {"removed", true}});
  else
    session.terminal.result(fmt::format("trigger {} removed", name));
  return {};
}

}  // namespace wick::app::cli
