// The CloudEvents project's own vectors (cloudevents/conformance), read from their files.
#include <yaml-cpp/yaml.h>

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "event_fixture.hpp"
#include "shared_data.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using namespace wick::eventing;

namespace {

using Table = std::vector<std::pair<std::string, std::string>>;

/// One scenario of a Gherkin file, as far as these files go.
struct Scenario {
  std::vector<std::string> documents;  // between """
  Table attributes;                    // two-column rows
  std::vector<std::string> examples;   // one-column rows but the first
};

std::vector<Scenario> scenarios_of(const std::string& feature) {
  std::vector<Scenario> scenarios;
  bool in_document = false;
  bool first_row = true;
  std::size_t indent = 0;
  for (const std::string_view raw : split(feature, '\n')) {
    const std::string_view line = trim(raw);
    if (line == "\"\"\"") {
      indent = raw.find('"');
      in_document = !in_document;
      if (in_document) scenarios.back().documents.emplace_back();
    } else if (in_document) {
      scenarios.back().documents.back() += std::string(raw.size() > indent ? raw.substr(indent) : "") + "\n";
    } else if (line.starts_with("Scenario")) {
      scenarios.emplace_back();
    } else if (line.starts_with("|")) {
      const auto cells = split(line, '|');
      if (cells.size() == 4) scenarios.back().attributes.emplace_back(trim(cells[1]), trim(cells[2]));
      if (cells.size() == 3 && !first_row) scenarios.back().examples.emplace_back(trim(cells[1]));
      first_row = false;
    } else {
      first_row = true;
    }
  }
  return scenarios;
}

std::string with_example(std::string text, const std::string& example) {
  for (auto at = text.find("<contentType>"); at != std::string::npos; at = text.find("<contentType>"))
    text.replace(at, 13, example);
  return text;
}

http::Request request_from(const std::string& text) {
  http::Request request;
  const auto end = text.find("\n\n");
  const std::string head = text.substr(0, end);
  const auto lines = split(head, '\n');
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const auto colon = lines[i].find(':');
    request.head.fields.add(std::string(lines[i].substr(0, colon)), std::string(trim(lines[i].substr(colon + 1))));
  }
  request.body = text.substr(end + 2);
  return request;
}

/// An event of the conformance tool's YAML. Its block scalars end with a line feed that the tool does not send in
/// attributes.
CloudEvent event_from(const YAML::Node& node) {
  CloudEvent event;
  for (const auto& attribute : node["ContextAttributes"]) {
    if (attribute.first.as<std::string>() != "Extensions") {
      event.attributes[attribute.first.as<std::string>()] = attribute.second.as<std::string>();
      continue;
    }
    for (const auto& extension : attribute.second)
      event.attributes[extension.first.as<std::string>()] = std::string(trim(extension.second.as<std::string>()));
  }
  if (node["Data"]) event.data = node["Data"].as<std::string>();
  return event;
}

}  // namespace

TEST_CASE("HTTP messages of the conformance features are read as they say") {
  const auto feature = shared_text("testdata/cloudevents/features/http-protocol-binding.feature");
  if (!feature) return;
  int checked = 0;
  for (const Scenario& scenario : scenarios_of(*feature)) {
    for (const std::string& example : scenario.examples) {
      const http::Request request = request_from(with_example(scenario.documents.at(0), example));
      const auto events = decode_message(request.head.fields, request.body);
      REQUIRE(events);
      const CloudEvent& event = events->at(0);
      for (std::size_t i = 1; i < scenario.attributes.size(); ++i)
        CHECK(event.text(scenario.attributes[i].first) == with_example(scenario.attributes[i].second, example));
      CHECK(boost::json::parse(event.data.value()) == boost::json::parse(scenario.documents.at(1)));
      ++checked;
    }
  }
  CHECK(checked == 4);
}

TEST_CASE("events of the conformance tool go through a broker unchanged, in both modes") {
  const std::string file = GENERATE(as<std::string>(), "v1.yaml", "v1.0/v1_minimum.yaml", "v0.3/v03_minimum.yaml");
  const auto text = shared_text("testdata/cloudevents/yaml/" + file);
  if (!text) return;
  for (const YAML::Node& node : YAML::LoadAll(*text)) {
    const CloudEvent event = event_from(node);
    INFO(file << " " << event.text("id"));
    for (const bool structured : {false, true}) {
      BrokerFixture f;
      f.set(f.trigger());
      http::Request request{.head = {.method = "POST", .target = "/default/b"}};
      if (structured) {
        request.head.fields.set("Content-Type", "application/cloudevents+json");
        request.body = encode_json(event);
      } else {
        request.body = encode_binary(event, request.head.fields);
      }
      REQUIRE(f.send(request).head.status == 202);
      f.clock.settle();
      REQUIRE(f.subscriber.calls.size() == 1);
      const auto& sent = f.subscriber.calls[0].request;
      const auto received = decode_message(sent.head.fields, sent.body).value().at(0);
      for (const auto& [name, value] : event.attributes) CHECK(received.text(name) == to_text(value));
      CHECK(std::string(trim(received.data.value_or(""))) == std::string(trim(event.data.value_or(""))));
    }
  }
}
