// wick event graph: who sends what to whom, from the objects, and how much of it, from the daemon's counters.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdlib>
#include <map>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

constexpr WiringKind broker_wiring{"broker", "eventing.knative.dev/v1", "Broker", "brokers"};
constexpr WiringKind trigger_wiring{"trigger", "eventing.knative.dev/v1", "Trigger", "triggers"};
constexpr WiringKind memory_channel_wiring{"channel", "messaging.knative.dev/v1", "InMemoryChannel",
                                           "inmemorychannels"};
constexpr WiringKind transform_wiring{"transform", "eventing.knative.dev/v1alpha1", "EventTransform",
                                      "eventtransforms"};
constexpr auto rate_window = seconds(1);

/// One arrow. `series` names the counter of what went along it: empty where nothing counts that.
struct Edge {
  std::string from, to;
  std::string by;      // "trigger greet"
  std::string filter;  // "type=demo.greet"
  std::string series;
  bool dashed = false;  // answers and dead letters
};

struct Graph {
  std::map<std::string, std::string> nodes;  // by name: the series of what it accepted, or ""
  std::vector<Edge> edges;

  void add(Edge edge) {
    if (edge.to.empty() || edge.from.empty()) return;
    nodes.try_emplace(edge.from);
    nodes.try_emplace(edge.to);
    edges.push_back(std::move(edge));
  }
};

/// A destination as a node: a service's bare name gets its kind, an InMemoryChannel is the channel of its name.
std::string node_of(const json::value& object, std::string_view pointer) {
  const auto text = shown_destination(object, pointer);
  if (text.starts_with("imc:")) return "channel:" + text.substr(4);
  const bool named = text.find(':') != std::string::npos;
  return text.empty() || named ? text : "service:" + text;
}

std::string filter_text(const json::value& trigger) {
  std::string text;
  if (const auto* attributes = find_at(trigger, "/spec/filter/attributes"); attributes && attributes->is_object())
    for (const auto& [key, value] : attributes->get_object())
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", std::string_view(key),
                          value.is_string() ? std::string_view(value.get_string()) : "");
  if (!array_at(trigger, "/spec/filters").empty()) text += text.empty() ? "filters" : " and filters";
  return text;
}

std::string accepted_series(const Session& session, std::string_view stream) {
  return fmt::format("wick_events_total{{broker=\"{}/{}\",kind=\"accepted\"}}", session.name_space, stream);
}
std::string sent_series(const Session& session, std::string_view trigger) {
  return fmt::format("wick_event_dispatch_seconds_count{{trigger=\"{}/{}\"}}", session.name_space, trigger);
}

void add_dead_letters(Graph& graph, const json::value& object, const std::string& from, const std::string& by) {
  graph.add({.from = from,
             .to = node_of(object, "/spec/delivery/deadLetterSink"),
             .by = "dead letters of " + by,
             .dashed = true});
}

Outcome<Graph> read_graph(Session& session) {
  Graph graph;
  const auto each = [&](const WiringKind& kind, auto&& take) -> Outcome<void> {
    auto list = list_objects(session, kind);
    if (!list) return stop_with(std::move(list.error()));
    for (const auto& object : array_at(*list, "/items")) take(object, text_at(object, "/metadata/name"));
    return {};
  };
  std::vector<Outcome<void>> read;
  read.push_back(each(broker_wiring, [&](const json::value& broker, const std::string& name) {
    graph.nodes["broker:" + name] = accepted_series(session, name);
    add_dead_letters(graph, broker, "broker:" + name, "broker " + name);
  }));
  read.push_back(each(memory_channel_wiring, [&](const json::value& channel, const std::string& name) {
    graph.nodes["channel:" + name] = accepted_series(session, "channels/" + name);
    add_dead_letters(graph, channel, "channel:" + name, "channel " + name);
  }));
  read.push_back(each(trigger_wiring, [&](const json::value& trigger, const std::string& name) {
    const auto from = "broker:" + text_at(trigger, "/spec/broker");
    graph.add({.from = from,
               .to = node_of(trigger, "/spec/subscriber"),
               .by = "trigger " + name,
               .filter = filter_text(trigger),
               .series = sent_series(session, name)});
    add_dead_letters(graph, trigger, from, "trigger " + name);
  }));
  read.push_back(each(subscription_wiring, [&](const json::value& subscription, const std::string& name) {
    const auto from = "channel:" + text_at(subscription, "/spec/channel/name");
    const auto to = node_of(subscription, "/spec/subscriber"), reply = node_of(subscription, "/spec/reply");
    graph.add({.from = from,
               .to = to.empty() ? reply : to,
               .by = "subscription " + name,
               .series = sent_series(session, "subscriptions/" + name)});
    graph.add({.from = to, .to = reply, .by = "answers to subscription " + name, .dashed = true});
    add_dead_letters(graph, subscription, from, "subscription " + name);
  }));
  for (const auto& [kind, suffix] : {std::pair{sequence_wiring, "-kn-sequence-0"}, {parallel_wiring, "-kn-parallel"}})
    read.push_back(each(kind, [&](const json::value&, const std::string& name) {
      graph.add({.from = fmt::format("{}:{}", kind.word, name), .to = fmt::format("channel:{}{}", name, suffix)});
    }));
  for (const auto& kind : {ping_wiring, container_wiring, api_server_wiring, mqtt_wiring, webhook_wiring})
    read.push_back(each(kind, [&](const json::value& source, const std::string& name) {
      graph.add({.from = fmt::format("{}:{}", kind.word, name),
                 .to = node_of(source, "/spec/sink"),
                 .by = text_at(source, "/spec/schedule") + text_at(source, "/spec/template/spec/containers/0/image") +
                       text_at(source, "/spec/url") + text_at(source, "/spec/provider")});
    }));
  read.push_back(each(mqtt_sink_wiring, [&](const json::value& sink, const std::string& name) {
    graph.add({.from = "mqttsink:" + name, .to = text_at(sink, "/spec/url"), .by = text_at(sink, "/spec/topic")});
  }));
  read.push_back(each(transform_wiring, [&](const json::value& transform, const std::string& name) {
    graph.nodes.try_emplace("transform:" + name);
    graph.add({.from = "transform:" + name, .to = node_of(transform, "/spec/sink"), .by = "transform " + name});
  }));
  read.push_back(each(binding_wiring, [&](const json::value& binding, const std::string& name) {
    const auto subject = text_at(binding, "/spec/subject/name");
    graph.add({.from = subject.empty() ? "binding:" + name : "service:" + subject,
               .to = node_of(binding, "/spec/sink"),
               .by = "binding " + name});
  }));
  for (auto& outcome : read)
    if (!outcome) return stop_with(std::move(outcome.error()));
  return graph;
}

/// The daemon's counters by series, as Prometheus' text format has them.
using Counters = std::map<std::string, double, std::less<>>;

Outcome<Counters> read_counters(Session& session) {
  http::Request request;
  request.head.method = "GET";
  request.head.authority = "wick";
  request.head.target = "/metrics";
  auto answer = session.client.send(std::move(request), 10s);
  if (!answer) return stop_with(std::move(answer.error()));
  if (answer->head.status != 200) return stop_with(problem_of(answer->head.status, answer->body));
  Counters counters;
  for (const auto line : split(answer->body, '\n'))
    if (const auto space = line.rfind(' '); line.starts_with("wick_event") && space != line.npos)
      counters[std::string(line.substr(0, space))] = std::strtod(std::string(line.substr(space + 1)).c_str(), nullptr);
  return counters;
}

/// A count, and how fast it grew.
struct Flow {
  std::int64_t count = 0;
  double rate = 0;
};

class Flows {
 public:
  Flows(Counters before, Counters after) : before_(std::move(before)), after_(std::move(after)) {}
  Flow of(const std::string& series) const {
    const auto now = at(after_, series);
    return {static_cast<std::int64_t>(now), (now - at(before_, series)) / static_cast<double>(rate_window.count())};
  }
  std::string shown(const std::string& series, std::string_view word) const {
    if (series.empty()) return {};
    const auto flow = of(series);
    return fmt::format("{} {}, {:.0f}/s", flow.count, word, flow.rate);
  }

 private:
  static double at(const Counters& counters, const std::string& series) {
    const auto found = counters.find(series);
    return found == counters.end() ? 0 : found->second;
  }
  Counters before_, after_;
};

std::string label_of(const Edge& edge) {
  return edge.by + (edge.filter.empty() || edge.by.empty() ? "" : "  ") + edge.filter;
}

void print_text(Session& session, const Graph& graph, const Flows& flows) {
  std::vector<std::vector<std::string>> rows{{"FROM", "TO", "BY", "EVENTS"}};
  for (const auto& [node, series] : graph.nodes) {
    const bool sends = std::ranges::any_of(graph.edges, [&](const Edge& edge) { return edge.from == node; });
    if (!series.empty() || sends) rows.push_back({safe_line(node), "", "", flows.shown(series, "accepted")});
    for (const auto& edge : graph.edges)
      if (edge.from == node)
        rows.push_back({"", (edge.dashed ? "⇢ " : "→ ") + safe_line(edge.to), safe_line(label_of(edge)),
                        flows.shown(edge.series, "sent")});
  }
  session.terminal.result_bytes(table(rows));
}

std::string dot_string(std::string_view text) {
  std::string out = "\"";
  for (const char c : safe_line(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

/// Graphviz.
void print_dot(Session& session, const Graph& graph, const Flows& flows) {
  session.terminal.result("digraph events {\n  rankdir=LR;");
  for (const auto& [node, series] : graph.nodes)
    session.terminal.result(fmt::format("  {} [shape={}];", dot_string(node),
                                        node.starts_with("service:")   ? "box"
                                        : node.starts_with("broker:")  ? "cylinder"
                                        : node.starts_with("channel:") ? "cds"
                                                                       : "ellipse"));
  for (const auto& edge : graph.edges) {
    auto label = label_of(edge);
    if (!edge.series.empty()) label += "  " + flows.shown(edge.series, "sent");
    session.terminal.result(fmt::format("  {} -> {} [label={}{}];", dot_string(edge.from), dot_string(edge.to),
                                        dot_string(label), edge.dashed ? ", style=dashed" : ""));
  }
  session.terminal.result("}");
}

json::object to_document(const Graph& graph, const Flows& flows) {
  json::array nodes, edges;
  for (const auto& [node, series] : graph.nodes) {
    json::object entry{{"id", node}};
    if (!series.empty()) {
      const auto flow = flows.of(series);
      entry["accepted"] = flow.count;
      entry["acceptedPerSecond"] = flow.rate;
    }
    nodes.push_back(std::move(entry));
  }
  for (const auto& edge : graph.edges) {
    json::object entry{{"from", edge.from}, {"to", edge.to}, {"by", edge.by}, {"filter", edge.filter}};
    entry["kind"] = !edge.dashed ? "events" : edge.by.starts_with("dead") ? "deadLetters" : "answers";
    if (!edge.series.empty()) {
      const auto flow = flows.of(edge.series);
      entry["sent"] = flow.count;
      entry["sentPerSecond"] = flow.rate;
    }
    edges.push_back(std::move(entry));
  }
  return {{"nodes", std::move(nodes)}, {"edges", std::move(edges)}};
}

}  // namespace

Outcome<void> show_event_graph(Session& session, const std::string& output) {
  auto graph = read_graph(session);
  if (!graph) return stop_with(std::move(graph.error()));
  auto before = read_counters(session);
  if (!before) return stop_with(std::move(before.error()));
  asio::io_context nobody_else;
  asio::steady_timer(nobody_else, rate_window).wait();
  auto after = read_counters(session);
  if (!after) return stop_with(std::move(after.error()));
  const Flows flows(std::move(*before), std::move(*after));
  if (session.json || output == "json")
    print_document(session, to_document(*graph, flows));
  else if (output == "dot")
    print_dot(session, *graph, flows);
  else if (graph->edges.empty())
    session.terminal.say("nothing sends events anywhere. hint: wick trigger add NAME --to SERVICE");
  else
    print_text(session, *graph, flows);
  return {};
}

}  // namespace wick::app::cli
