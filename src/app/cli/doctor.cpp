#include <fmt/format.h>

#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

constexpr std::string_view info_path = "/apis/wick.dev/v1/info";

Colour colour_of(std::string_view level) {
  if (level == "ok") return Colour::green;
  return level == "warn" ? Colour::yellow : Colour::red;
}

}  // namespace

Outcome<void> doctor(Session& session) {
  auto checks = session.client.get("/apis/wick.dev/v1/doctor");
  if (!checks) return stop_with(std::move(checks.error()));
  if (session.json) print_document(session, *checks);
  std::string failed;
  for (const auto& check : array_at(*checks, "")) {
    const auto name = safe_line(text_at(check, "/name")), level = safe_line(text_at(check, "/level"));
    const auto because = safe_line(text_at(check, "/because")), hint = safe_line(text_at(check, "/hint"));
    const bool bad = level != "ok" && level != "warn";
    if (bad) failed += (failed.empty() ? "" : ", ") + name;
    if (session.json) continue;
    const auto mark = session.terminal.out_colour(colour_of(level), fmt::format("{:<5}", level));
    if (level == "ok") {
      session.terminal.result(because.empty() ? mark + " " + name : fmt::format("{} {}: {}", mark, name, because));
      continue;
    }
    session.terminal.result(mark + " " + name);
    if (!because.empty()) session.terminal.result("        because: " + because);
    if (!hint.empty()) session.terminal.result("        hint: " + hint);
  }
  if (failed.empty()) return {};
  return stop_with({.exit = ExitCode::failed,
                    .what = "this machine is not fit to run services yet",
                    .slug = "E_DOCTOR",
                    .because = "failed: " + failed,
                    .hint = "each failed check above says what to do"});
}

Outcome<void> show_info(Session& session) {
  auto info = session.client.get(std::string(info_path));
  if (!info) return stop_with(std::move(info.error()));
  if (session.json) {
    print_document(session, *info);
    return {};
  }
  std::vector<std::vector<std::string>> rows;
  if (info->is_object())
    for (const auto& [key, value] : info->get_object())
      rows.push_back(
          {std::string(key), safe_line(value.is_string() ? std::string(value.get_string()) : text_at(value, ""))});
  session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> show_version(Session& session) {
  auto info = session.client.get(std::string(info_path));
  const auto daemon = info ? text_at(*info, "/version") : std::string();
  if (session.json) {
    json::object document{{"version", WICK_VERSION}};
    document["daemon"] = daemon.empty() ? json::value() : json::value(daemon);
    print_document(session, document);
    return {};
  }
  session.terminal.result(fmt::format("wick {}", WICK_VERSION));
  session.terminal.result(daemon.empty() ? "daemon: not running, or not reachable" : "daemon: " + safe_line(daemon));
  return {};
}

}  // namespace wick::app::cli
