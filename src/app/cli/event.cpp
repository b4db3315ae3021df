#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

/// CloudEvents HTTP binding 3.1.3.2: everything but printable ASCII, and '"' and '%', is percent-encoded in a header.
std::string header_value(std::string_view text) {
  std::string value;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = byte > 0x20 && byte < 0x7f && c != '"' && c != '%';
    plain ? value.append(1, c) : value.append(fmt::format("%{:02X}", byte));
  }
  return value;
}

Outcome<void> add_extensions(http::Fields& fields, const std::vector<std::string>& extensions) {
  for (const auto& extension : extensions) {
    const auto equals = extension.find('=');
    if (equals == std::string::npos || equals == 0)
      return stop_with(usage_problem(fmt::format("--ext '{}' is not NAME=VALUE", extension), "--ext partition=eu"));
    fields.set("ce-" + to_lower(extension.substr(0, equals)), header_value(extension.substr(equals + 1)));
  }
  return {};
}

/// "08:10:32.123" of an RFC 3339 time.
std::string clock_time(const std::string& when) {
  const auto begin = when.find('T');
  if (begin == std::string::npos) return when;
  auto text = when.substr(begin + 1, 12);
  if (const auto zone = text.find_first_of("Z+-"); zone != std::string::npos) text.resize(zone);
  if (text.size() == 8) text += '.';
  text.resize(12, '0');
  return text;
}

/// As it came, with the "ts" that every line of a stream has.
std::string json_line(const json::value& record) {
  json::object line{{"ts", text_at(record, "/when")}};
  if (record.is_object())
    for (const auto& [key, value] : record.get_object()) line[key] = value;
  return json::serialize(line);
}

std::string shown_record(Terminal& terminal, const json::value& record) {
  const auto kind = text_at(record, "/kind");
  auto line = fmt::format("{}  {:<13} {}  {}", clock_time(text_at(record, "/when")), kind, text_at(record, "/type"),
                          text_at(record, "/id"));
  if (const auto source = text_at(record, "/source"); kind == "accepted" && !source.empty()) line += "  from " + source;
  if (const auto trigger = text_at(record, "/trigger"); !trigger.empty()) line += "  → " + trigger;
  if (const auto status = number_at(record, "/status"); status != 0) line += fmt::format("  {}", status);
  if (kind != "accepted" && number_at(record, "/elapsedMs", -1) >= 0)
    line += fmt::format(" in {}", human_duration(milliseconds(number_at(record, "/elapsedMs"))));
  if (const auto attempt = number_at(record, "/attempt"); attempt > 1) line += fmt::format("  attempt {}", attempt);
  if (const auto detail = text_at(record, "/detail"); !detail.empty()) line += "  " + detail;
  line = safe_line(line);
  const bool bad = kind == "failed" || kind == "dropped" || kind == "dead_lettered";
  return bad ? terminal.out_colour(Colour::red, line) : line;
}

}  // namespace

Outcome<void> send_event(Session& session, const SendOptions& options) {
  const auto id = options.id.empty() ? random_hex(8) : options.id;
  http::Request request;
  request.head.method = "POST";
  request.head.authority = "wick";
  request.head.target =
      wick_path(session.name_space, fmt::format("brokers/{}/events", http::percent_encode(options.broker)));
  auto& fields = request.head.fields;
  fields.set("ce-specversion", "1.0");
  fields.set("ce-id", header_value(id));
  fields.set("ce-type", header_value(options.type));
  fields.set("ce-source", header_value(options.source));
  if (!options.subject.empty()) fields.set("ce-subject", header_value(options.subject));
  if (auto added = add_extensions(fields, options.extensions); !added) return added;
  if (options.data) {
    auto data = data_of(session, *options.data);
    if (!data) return stop_with(std::move(data.error()));
    request.body = std::move(*data);
    fields.set("Content-Type", !options.content_type.empty() ? options.content_type
                               : parse_json(request.body)    ? "application/json"
                                                             : "text/plain; charset=utf-8");
  }
  auto answer = session.client.send(std::move(request), 60s);
  if (!answer) return stop_with(std::move(answer.error()));
  if (answer->head.status / 100 != 2)
    return stop_with(problem_of(answer->head.status, answer->body)
                         .within(fmt::format("the event was not accepted by broker {}", options.broker)));
  if (session.json) {
    print_document(session, json::object{{"id", id},
                                         {"type", options.type},
                                         {"source", options.source},
                                         {"broker", options.broker},
                                         {"accepted", true}});
    return {};
  }
  session.terminal.result(id);
  if (session.terminal.err_is_terminal())
    session.terminal.say(fmt::format("accepted (durable) by broker {}; see it: wick event tail", options.broker));
  return {};
}

Outcome<void> tail_events(Session& session, const TailOptions& options) {
  const auto on_record = [&](const json::value& record) {
    const auto line = session.json ? json_line(record) : shown_record(session.terminal, record);
    return session.terminal.result(line) ? Client::Next::go_on : Client::Next::stop;
  };
  const auto target = fmt::format("brokers/{}/events?follow={}&tail={}", http::percent_encode(options.broker),
                                  options.follow, options.tail);
  return session.client.follow(wick_path(session.name_space, target), on_record);
}

}  // namespace wick::app::cli
