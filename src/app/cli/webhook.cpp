// `wick webhook`: what a forge is told so that its pushes are deployed. A webhook is a Secret (wick/api/webhooks.hpp).
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "app/cli/git_build.hpp"
#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"
#include "wick/model/webhook.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t name_bytes = 10;
constexpr std::size_t secret_bytes = 32;

std::string value_of(const json::value& secret, std::string_view key) {
  return base64_decode(text_at(secret, fmt::format("/data/{}", key))).value_or("");
}

Outcome<std::vector<json::value>> webhooks_in(Session& session) {
  auto list = session.client.get(resource_path("v1", session.name_space, "secrets"));
  if (!list) return stop_with(std::move(list.error()));
  std::vector<json::value> hooks;
  for (const auto& secret : array_at(*list, "/items"))
    if (text_at(secret, "/type") == model::webhook_secret_type) hooks.push_back(secret);
  return hooks;
}

/// On the service's own name, which is what the forge can reach if anything.
std::string url_of_webhook(Session& session, const std::string& service, const std::string& name) {
  auto found = session.client.find(service_path(session.name_space, service));
  auto base = found && *found ? public_url(session, text_at(**found, "/status/url")) : std::string();
  return fmt::format("{}{}{}/{}", base, model::webhook_paths, session.name_space, name);
}

}  // namespace

Outcome<void> add_webhook(Session& session, const WebhookOptions& options) {
  auto service = session.client.get(service_path(session.name_space, options.service));
  if (!service) return stop_with(std::move(service.error()).within("no webhook was added"));
  auto build = git_build_of(session, options.service);
  if (!build) return stop_with(std::move(build.error()));
  const auto name = "webhook-" + random_hex(name_bytes);
  const auto secret = random_hex(secret_bytes);
  json::object data{{"secret", base64_encode(secret)},
                    {"provider", base64_encode(options.provider)},
                    {"service", base64_encode(options.service)},
                    {"build", base64_encode(text_at(*build, "/metadata/name"))}};
  if (!options.branch.empty()) data["branch"] = base64_encode(options.branch);
  const json::object hook{
      {"apiVersion", "v1"},
      {"kind", "Secret"},
      {"metadata",
       {{"name", name}, {"namespace", session.name_space}, {"labels", {{"wick.dev/service", options.service}}}}},
      {"type", model::webhook_secret_type},
      {"data", std::move(data)}};
  auto made = session.client.post(resource_path("v1", session.name_space, "secrets"), hook);
  if (!made) return stop_with(std::move(made.error()).within("no webhook was added"));
  const auto url = url_of_webhook(session, options.service, name);
  const auto branch = !options.branch.empty() ? options.branch : text_at(*build, "/spec/source/git/revision");
  const auto repository = text_at(*build, "/spec/source/git/url");
  if (session.json) {
    print_document(session, json::object{{"name", name},
                                         {"service", options.service},
                                         {"provider", options.provider},
                                         {"url", url},
                                         {"secret", secret},
                                         {"repository", repository},
                                         {"branch", branch}});
    return {};
  }
  session.terminal.result(fmt::format("url     {}", url));
  session.terminal.result(fmt::format("secret  {}", secret));
  session.terminal.say(
      fmt::format("pushes to {} of {} are deployed. The secret is shown this once; at the forge: "
                  "content type application/json, push events.",
                  branch.empty() ? "the default branch" : branch, safe_line(repository)));
  return {};
}

Outcome<void> list_webhooks(Session& session) {
  auto hooks = webhooks_in(session);
  if (!hooks) return stop_with(std::move(hooks.error()));
  std::vector<std::vector<std::string>> rows{{"NAME", "SERVICE", "PROVIDER", "BRANCH", "URL"}};
  json::array documents;
  for (const auto& hook : *hooks) {
    const auto name = text_at(hook, "/metadata/name"), service = value_of(hook, "service");
    const auto url = url_of_webhook(session, service, name);
    const auto branch = value_of(hook, "branch");
    rows.push_back({name, safe_line(service), safe_line(value_of(hook, "provider")), safe_line(branch), url});
    documents.push_back({{"name", name},
                         {"service", service},
                         {"provider", value_of(hook, "provider")},
                         {"branch", branch},
                         {"url", url}});
  }
  if (session.json)
    print_document(session, documents);
  else if (documents.empty())
    session.terminal.say("no webhooks. hint: wick webhook add SERVICE");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> remove_webhooks(Session& session, const std::string& name) {
  auto hooks = webhooks_in(session);
  if (!hooks) return stop_with(std::move(hooks.error()));
  std::size_t removed = 0;
  for (const auto& hook : *hooks) {
    const auto own = text_at(hook, "/metadata/name");
    if (own != name && value_of(hook, "service") != name) continue;
    if (auto gone = session.client.remove(resource_path("v1", session.name_space, "secrets", own)); !gone)
      return stop_with(std::move(gone.error()).within(fmt::format("webhook {} was not removed", own)));
    session.terminal.result(fmt::format("{} removed", own));
    ++removed;
  }
  if (removed > 0) return {};
  return stop_with({.exit = ExitCode::not_found,
                    .what = fmt::format("there is no webhook {}, and no service of that name has one", name),
                    .slug = "E_NOT_FOUND",
                    .because = {},
                    .last_output = {},
                    .notes = {},
                    .hint = "wick webhook ls lists them"});
}

}  // namespace wick::app::cli
