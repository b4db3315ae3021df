#include <fmt/format.h>

#include "app/cli/deploy.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

void print_failure(Terminal& terminal, const model::Failure& failure) {
  terminal.result(fmt::format("last failure: {}  [{}]", safe_line(failure.step), safe_line(failure.slug)));
  terminal.result("  because: " + safe_line(failure.because));
  if (!failure.last_output.empty()) terminal.result("  last output:");
  for (const auto& line : failure.last_output) terminal.result("    " + safe_line(line));
  if (!failure.hint.empty()) terminal.result("  hint: " + safe_line(failure.hint));
}

void print_requests(Terminal& terminal, const json::array& requests) {
  std::vector<std::vector<std::string>> rows{{"WHEN", "REQUEST", "STATUS", "TOTAL", "WAITED", "START", "REVISION"}};
  for (const auto& request : requests)
    rows.push_back({text_at(request, "/when"),
                    safe_line(text_at(request, "/method") + " " + text_at(request, "/target")),
                    text_at(request, "/status"), human_duration(milliseconds(number_at(request, "/totalMs"))),
                    human_duration(milliseconds(number_at(request, "/queuedMs"))),
                    text_at(request, "/cold") == "true" ? "cold" : "warm", text_at(request, "/revision")});
  if (rows.size() > 1) terminal.result_bytes("last requests:\n" + table(rows));
}

}  // namespace

Outcome<void> explain(Session& session, const std::string& name) {
  auto why =
      session.client.get(wick_path(session.name_space, fmt::format("services/{}/why", http::percent_encode(name))));
  if (!why) return stop_with(std::move(why.error()));
  if (session.json) {
    print_document(session, *why);
    return {};
  }
  session.terminal.result(fmt::format("{}: {}", name, text_at(*why, "/ready") == "true" ? "ready" : "not ready"));
  if (const auto* value = find_at(*why, "/lastFailure"); value && value->is_object())
    if (const auto failure = model::Failure::from_json(*value)) print_failure(session.terminal, *failure);
  print_requests(session.terminal, array_at(*why, "/requests"));
  return {};
}

}  // namespace wick::app::cli
