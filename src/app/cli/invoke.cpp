#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

Outcome<void> add_headers(http::Fields& fields, const std::vector<std::string>& headers) {
  for (const auto& header : headers) {
    const auto colon = header.find(':');
    if (colon == std::string::npos || colon == 0)
      return stop_with(usage_problem(fmt::format("-H '{}' is not 'Name: value'", header), "-H 'Accept: text/plain'"));
    fields.set(header.substr(0, colon), std::string(trim(std::string_view(header).substr(colon + 1))));
  }
  return {};
}

json::object document_of(const http::Response& response, milliseconds elapsed) {
  json::object headers;
  for (const auto& field : response.head.fields) headers[to_lower(field.name)] = field.value;
  json::object document{
      {"status", response.head.status}, {"elapsedMs", elapsed.count()}, {"headers", std::move(headers)}};
  const bool text = printable(response.body, response.body.size() * 4).find("\\x") == std::string::npos;
  if (text)
    document["body"] = response.body;
  else
    document["bodyBase64"] = base64_encode(response.body);
  return document;
}

Problem answered_badly(const std::string& name, const http::Response& response) {
  const int status = response.head.status;
  const auto ours = response.head.fields.find("Wick-Error");
  if (!ours)
    return {.exit = ExitCode::failed,
            .what = fmt::format("{} answered {} {}", name, status, http::reason_phrase(status)),
            .slug = "E_HTTP_STATUS",
            .because = "the program itself answered so",
            .hint = fmt::format("wick logs {}", name)};
  auto problem = problem_of(status, response.body);
  problem.slug = safe_line(*ours);
  problem.hint.clear();
  return std::move(problem)
      .within(fmt::format("{} could not be called", name))
      .or_hint(fmt::format("wick why {}", name));
}

/// The newest request of the same target is this one, unless somebody else asks for it at the same time.
Outcome<void> print_trace(Session& session, const InvokeOptions& options, std::string_view method) {
  auto why = session.client.get(
      wick_path(session.name_space, fmt::format("services/{}/why", http::percent_encode(options.name))));
  if (!why) return stop_with(std::move(why.error()));
  const std::string target = (options.path.starts_with('/') ? "" : "/") + options.path;
  for (const auto& request : array_at(*why, "/requests")) {
    if (text_at(request, "/target") != target || text_at(request, "/method") != method) continue;
    session.terminal.say(fmt::format("{} {} by {} ({})", method, safe_line(target), text_at(request, "/revision"),
                                     text_at(request, "/cold") == "true" ? "cold" : "warm"));
    double before = 0;
    for (const auto& step : array_at(request, "/timeline")) {
      const auto* at = find_at(step, "/ms");
      const double ms = at ? at->to_number<double>() : 0;
      session.terminal.say(
          fmt::format("  {:9.3f} ms  +{:8.3f}  {}", ms, ms - before, safe_line(text_at(step, "/step"))));
      before = ms;
    }
    return {};
  }
  session.terminal.say("the daemon has no trace of the request");
  return {};
}

}  // namespace

Outcome<void> invoke(Session& session, const InvokeOptions& options) {
  http::Request request;
  request.head.authority = "wick";
  request.head.method = !options.method.empty() ? options.method : options.data ? "POST" : "GET";
  const auto path = std::string_view(options.path).substr(options.path.starts_with('/') ? 1 : 0);
  request.head.target =
      wick_path(session.name_space, fmt::format("services/{}/proxy/{}", http::percent_encode(options.name), path));
  if (options.data) {
    auto data = data_of(session, *options.data);
    if (!data) return stop_with(std::move(data.error()));
    request.body = std::move(*data);
    request.head.fields.set("Content-Type",
                            parse_json(request.body) ? "application/json" : "text/plain; charset=utf-8");
  }
  if (auto added = add_headers(request.head.fields, options.headers); !added) return added;

  const std::string method = request.head.method;
  const auto begin = std::chrono::steady_clock::now();
  auto response = session.client.send(std::move(request), options.limit);
  if (!response) return stop_with(std::move(response.error()));
  const auto elapsed = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);

  const bool bad = response->head.status >= 400;
  if (session.json) {
    print_document(session, document_of(*response, elapsed));
  } else if (!bad || !response->head.fields.contains("Wick-Error")) {
    session.terminal.result_bytes(response->body);
    if (session.terminal.out_is_terminal() && !response->body.empty() && !response->body.ends_with('\n'))
      session.terminal.result_bytes("\n");
  }
  if (session.terminal.err_is_terminal())
    session.terminal.say(session.terminal.err_colour(
        Colour::dim, fmt::format("{} in {}", response->head.status, human_duration(elapsed))));
  if (options.trace)
    if (auto traced = print_trace(session, options, method); !traced) return traced;
  if (bad) return stop_with(answered_badly(options.name, *response));
  return {};
}

}  // namespace wick::app::cli
