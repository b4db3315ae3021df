#include <fmt/format.h>

#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t requests_shown = 10;

void print_failure(Terminal& terminal, const model::Failure& failure) {
  auto problem = problem_of(failure, ExitCode::not_ready, "");
  terminal.result(fmt::format("last failure: {} after {}  [{}]", safe_line(failure.step),
                              human_duration(failure.elapsed), safe_line(problem.slug)));
  // The rest as an error has it: because, last output, hint.
  const auto text = text_of(problem);
  terminal.result_bytes(std::string_view(text).substr(text.find('\n') + 1));
}

std::string milliseconds_of(const json::value& request, std::string_view pointer) {
  return human_duration(milliseconds(number_at(request, pointer)));
}

/// The newest last, as in a log.
void print_requests(Terminal& terminal, const json::array& requests) {
  std::vector<std::vector<std::string>> rows{{"WHEN", "REQUEST", "STATUS", "TOTAL", "WAITED", "START", "REVISION"}};
  for (std::size_t i = requests.size() - std::min(requests.size(), requests_shown); i < requests.size(); ++i) {
    const auto& request = requests[i];
    rows.push_back(
        {text_at(request, "/when"), safe_line(text_at(request, "/method") + " " + text_at(request, "/target")),
         text_at(request, "/status"), milliseconds_of(request, "/totalMs"), milliseconds_of(request, "/queuedMs"),
         text_at(request, "/cold") == "true" ? "cold" : "warm", text_at(request, "/revision")});
  }
  if (rows.size() > 1) terminal.result_bytes("last requests:\n" + table(rows));
}

}  // namespace

Outcome<void> explain(Session& session, const std::string& name) {
  auto why =
      session.client.get(wick_path(session.name_space, fmt::format("services/{}/why", http::percent_encode(name))));
  if (!why && why.error().exit == ExitCode::not_found) {
    auto explained = explain_event(session, name);
    if (explained || explained.error().exit != ExitCode::not_found) return explained;
    auto problem =
        std::move(why.error()).within(fmt::format("there is neither a service nor an event '{}'", safe_line(name)));
    problem.hint = "wick ps lists services, wick event list events";
    return stop_with(std::move(problem));
  }
  if (!why) return stop_with(std::move(why.error()));
  if (auto url = text_at(*why, "/url"); !url.empty()) why->get_object()["url"] = public_url(session, url);
  if (session.json) {
    print_document(session, *why);
    return {};
  }
  auto& terminal = session.terminal;
  const bool ready = text_at(*why, "/ready") == "true";
  terminal.result(fmt::format("{}: {}", name, ready ? "ready at " + text_at(*why, "/url") : "not ready"));
  if (const auto message = text_at(*why, "/message"); !ready && !message.empty())
    terminal.result("  because: " + safe_line(message));
  if (const auto serving = text_at(*why, "/serving"); !serving.empty()) terminal.result("serving: " + serving);
  const auto* failure = find_at(*why, "/failure");
  if (const auto known = failure ? model::Failure::from_json(*failure) : fail(Errc::not_found, ""))
    print_failure(terminal, *known);
  print_requests(terminal, array_at(*why, "/requests"));
  return {};
}

}  // namespace wick::app::cli
