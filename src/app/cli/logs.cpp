#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "app/cli/progress.hpp"
#include "app/cli/verbs.hpp"
#include "wick/http/message.hpp"

namespace wick::app::cli {

namespace {

/// The BuildRun of a service that was made last.
Outcome<std::string> newest_build(Session& session, const std::string& name) {
  auto runs = session.client.get(build_run_path(session.name_space));
  if (!runs) return stop_with(std::move(runs.error()));
  std::string newest, made;
  for (const auto& run : array_at(*runs, "/items")) {
    const bool ours = text_at(run, "/metadata/labels/wick.dev~1service") == name ||
                      text_at(run, "/spec/build/spec/output/image") == name;
    const auto when = text_at(run, "/metadata/creationTimestamp");
    if (!ours || when < made) continue;
    newest = text_at(run, "/metadata/name");
    made = when;
  }
  if (newest.empty())
    return stop_with({.exit = ExitCode::not_found,
                      .what = fmt::format("{} was never built here", name),
                      .slug = "E_NOT_FOUND",
                      .hint = "wick deploy builds from a folder or a git URL"});
  return newest;
}

Outcome<void> show_build_log(Session& session, const LogsOptions& options) {
  auto run = newest_build(session, options.name);
  if (!run) return stop_with(std::move(run.error()));
  const auto on_line = [&](const json::value& line) {
    if (session.json) return session.terminal.result(json::serialize(line)) ? Client::Next::go_on : Client::Next::stop;
    const auto kind = text_at(line, "/kind");
    auto text = safe_line(text_at(line, "/text"));
    if (kind != "output") text = fmt::format("[{}] {} {}", text_at(line, "/step"), kind, text);
    if (kind == "finished" || kind == "failed")
      text += fmt::format(" ({})", human_duration(milliseconds(number_at(line, "/elapsedMs"))));
    return session.terminal.result(text) ? Client::Next::go_on : Client::Next::stop;
  };
  const auto target = fmt::format("buildruns/{}/log?follow={}", http::percent_encode(*run), options.follow);
  return session.client.follow(wick_path(session.name_space, target), on_line);
}

}  // namespace

Outcome<void> show_logs(Session& session, const LogsOptions& options) {
  if (options.build) return show_build_log(session, options);
  auto target = fmt::format("services/{}/log?follow={}", http::percent_encode(options.name), options.follow);
  if (options.tail) target += fmt::format("&tail={}", *options.tail);
  if (options.failed) target += "&failed=true";
  if (!options.container.empty()) target += "&container=" + http::percent_encode(options.container);
  bool any = false;
  const auto on_line = [&](const json::value& line) {
    any = true;
    bool more = false;
    if (session.json) {
      json::object same{{"kind", "line"}};
      if (line.is_object())
        for (const auto& [key, value] : line.get_object()) same[key] = value;
      more = session.terminal.result(json::serialize(same));
    } else {
      const auto text = text_at(line, "/line");
      more = session.terminal.result(session.terminal.out_is_terminal() ? safe_line(text) : text);
    }
    return more ? Client::Next::go_on : Client::Next::stop;
  };
  auto shown = session.client.follow(wick_path(session.name_space, target), on_line);
  if (!shown) return shown;
  if (!any && session.terminal.err_is_terminal())
    session.terminal.say(options.failed ? "no instance of it has failed" : "nothing was printed yet");
  return shown;
}

}  // namespace wick::app::cli
