// wick flow: sequences and parallels.
#include <fmt/format.h>

#include "app/cli/read_json.hpp"
#include "app/cli/wiring.hpp"

namespace wick::app::cli {

namespace {

const std::vector<WiringKind> flow_kinds{sequence_wiring, parallel_wiring};

Outcome<void> add_reply(json::object& spec, const std::string& reply) {
  if (reply.empty()) return {};
  auto destination = destination_of(reply);
  if (!destination) return stop_with(std::move(destination.error()));
  spec["reply"] = std::move(*destination);
  return {};
}

std::string shown_parts(const json::value& flow) {
  std::string text;
  for (const auto& step : array_at(flow, "/spec/steps"))
    text += (text.empty() ? "" : " → ") + shown_destination(step, "");
  for (const auto& branch : array_at(flow, "/spec/branches")) {
    const auto filter = shown_destination(branch, "/filter");
    text +=
        (text.empty() ? "" : " | ") + (filter.empty() ? "" : filter + " → ") + shown_destination(branch, "/subscriber");
  }
  return text;
}

}  // namespace

Outcome<void> add_sequence(Session& session, const FlowOptions& options) {
  json::array steps;
  for (const auto& step : options.parts) {
    auto destination = destination_of(step);
    if (!destination) return stop_with(std::move(destination.error()));
    steps.push_back(std::move(*destination));
  }
  json::object spec{{"steps", std::move(steps)}};
  if (auto added = add_reply(spec, options.reply); !added) return added;
  return create_object(session, sequence_wiring, new_object(sequence_wiring, session, options.name, std::move(spec)),
                       fmt::format("sequence {}: http://{}-kn-sequence-0-kn-channel.{}.svc.cluster.local", options.name,
                                   options.name, session.name_space));
}

Outcome<void> add_parallel(Session& session, const FlowOptions& options) {
  json::array branches;
  for (const auto& part : options.parts) {
    const auto comma = part.find(',');
    json::object branch;
    auto subscriber = destination_of(comma == std::string::npos ? part : part.substr(comma + 1));
    if (!subscriber) return stop_with(std::move(subscriber.error()));
    branch["subscriber"] = std::move(*subscriber);
    if (comma != std::string::npos) {
      auto filter = destination_of(part.substr(0, comma));
      if (!filter) return stop_with(std::move(filter.error()));
      branch["filter"] = std::move(*filter);
    }
    branches.push_back(std::move(branch));
  }
  json::object spec{{"branches", std::move(branches)}};
  if (auto added = add_reply(spec, options.reply); !added) return added;
  return create_object(session, parallel_wiring, new_object(parallel_wiring, session, options.name, std::move(spec)),
                       fmt::format("parallel {}: http://{}-kn-parallel-kn-channel.{}.svc.cluster.local", options.name,
                                   options.name, session.name_space));
}

Outcome<void> list_flows(Session& session) {
  std::vector<std::vector<std::string>> rows{{"NAME", "KIND", "PARTS", "REPLY", "READY", "BECAUSE"}};
  json::array documents;
  for (const auto& kind : flow_kinds) {
    auto list = list_objects(session, kind);
    if (!list) return stop_with(std::move(list.error()));
    for (const auto& flow : array_at(*list, "/items")) {
      const auto name = text_at(flow, "/metadata/name"), reply = shown_destination(flow, "/spec/reply");
      const auto ready = readiness_of(flow);
      rows.push_back({name, std::string(kind.word), shown_parts(flow), reply, ready.status, ready.because});
      documents.push_back({{"name", name},
                           {"kind", kind.kind},
                           {"parts", shown_parts(flow)},
                           {"reply", reply},
                           {"url", text_at(flow, "/status/address/url")},
                           {"ready", ready.status == "True"},
                           {"because", ready.because}});
    }
  }
  print_list(session, rows, documents, "no flows. hint: wick flow sequence NAME --step SERVICE --step SERVICE");
  return {};
}

Outcome<void> describe_flow(Session& session, const std::string& name) {
  return describe_object(session, flow_kinds, name);
}
Outcome<void> remove_flow(Session& session, const std::string& name) {
  return remove_object(session, flow_kinds, name);
}

}  // namespace wick::app::cli
