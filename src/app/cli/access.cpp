// Tokens, the kubeconfig made of one, and the audit trail.
#include <fmt/format.h>

#include "app/cli/verbs.hpp"
#include "app/cli/yaml_text.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

const std::string tokens = "/apis/wick.dev/v1/tokens";

Outcome<json::value> ask_for_token(Session& session, const TokenOptions& options) {
  json::object wanted{{"name", options.name}, {"scope", options.scope}};
  if (!options.limited_to.empty()) wanted["namespace"] = options.limited_to;
  if (options.ttl) wanted["ttlSeconds"] = std::chrono::duration_cast<seconds>(*options.ttl).count();
  return session.client.post(tokens, wanted);
}

}  // namespace

Outcome<void> create_token(Session& session, const TokenOptions& options) {
  auto made = ask_for_token(session, options);
  if (!made) return stop_with(std::move(made.error()).within("no token was made"));
  if (session.json)
    print_document(session, *made);
  else
    session.terminal.result(text_at(*made, "/token"));
  return {};
}

Outcome<void> list_tokens(Session& session) {
  auto list = session.client.get(tokens);
  if (!list) return stop_with(std::move(list.error()));
  if (session.json) {
    print_document(session, *list);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"ID", "NAME", "SCOPE", "NAMESPACE", "CREATED", "EXPIRES"}};
  for (const auto& token : array_at(*list, ""))
    rows.push_back({text_at(token, "/id"), safe_line(text_at(token, "/name")), text_at(token, "/scope"),
                    text_at(token, "/namespace"), text_at(token, "/created"), text_at(token, "/expires")});
  if (rows.size() == 1)
    session.terminal.say("no tokens. hint: wick kubeconfig makes one");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> revoke_token(Session& session, const std::string& id) {
  if (auto gone = session.client.remove(tokens + "/" + http::percent_encode(id)); !gone)
    return stop_with(std::move(gone.error()).within(fmt::format("token {} was not revoked", id)));
  session.terminal.result(fmt::format("token {} revoked", id));
  return {};
}

Outcome<void> print_kubeconfig(Session& session, const TokenOptions& options) {
  auto info = session.client.get("/apis/wick.dev/v1/info");
  if (!info) return stop_with(std::move(info.error()));
  const auto listen = text_at(*info, "/apiListen");
  if (listen.empty())
    return stop_with({.exit = ExitCode::failed,
                      .what = "there is nothing that kubectl could reach",
                      .slug = "E_UNAVAILABLE",
                      .because = "the daemon was started with --api-listen none",
                      .last_output = {},
                      .notes = {},
                      .hint = "start it without that flag"});
  auto made = ask_for_token(session, options);
  if (!made) return stop_with(std::move(made.error()).within("no token was made"));
  const auto name_space = options.limited_to.empty() ? session.name_space : options.limited_to;
  const auto token = text_at(*made, "/token");
  const json::object cluster{{"server", fmt::format("https://{}", listen)},
                             {"certificate-authority-data", base64_encode(text_at(*info, "/authority"))}};
  const json::object config{
      {"apiVersion", "v1"},
      {"kind", "Config"},
      {"clusters", json::array{{{"name", "wick"}, {"cluster", cluster}}}},
      {"users", json::array{{{"name", "wick"}, {"user", {{"token", token}}}}}},
      {"contexts", json::array{{{"name", "wick"},
                                {"context", {{"cluster", "wick"}, {"user", "wick"}, {"namespace", name_space}}}}}},
      {"current-context", "wick"}};
  if (session.json)
    print_document(session, config);
  else
    session.terminal.result_bytes(to_yaml(config));
  return {};
}

Outcome<void> show_audit(Session& session, int count) {
  auto trail = session.client.get(fmt::format("/apis/wick.dev/v1/audit?limit={}", count));
  if (!trail) return stop_with(std::move(trail.error()));
  if (session.json) {
    print_document(session, *trail);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"WHEN", "WHO", "FROM", "WHAT", "RESULT"}};
  const auto& newest = array_at(*trail, "/rows");
  for (auto row = newest.rbegin(); row != newest.rend(); ++row)
    rows.push_back({text_at(*row, "/when"), safe_line(text_at(*row, "/user")), text_at(*row, "/peer"),
                    safe_line(text_at(*row, "/method") + " " + text_at(*row, "/path")), text_at(*row, "/status")});
  session.terminal.result_bytes(table(rows));
  if (const auto broken = number_at(*trail, "/firstBroken"); broken != 0)
    return stop_with({.exit = ExitCode::failed,
                      .what = "the audit trail was tampered with",
                      .slug = "E_CORRUPT",
                      .because = fmt::format("row {} does not match its seal", broken),
                      .last_output = {},
                      .notes = {},
                      .hint = "what stands before that row can be trusted"});
  return {};
}

}  // namespace wick::app::cli
