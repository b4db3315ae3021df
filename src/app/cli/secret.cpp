// Secrets by hand: core Secrets like any other, so that kubectl and a cluster read them too.
#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

/// Kubernetes has types that say what a Secret must hold; the keys tell which is meant.
std::string_view type_for(const json::object& data) {
  if (data.contains("ssh-privatekey")) return "kubernetes.io/ssh-auth";
  if (data.contains("username") || data.contains("password")) return "kubernetes.io/basic-auth";
  if (data.contains("tls.crt") && data.contains("tls.key")) return "kubernetes.io/tls";
  if (data.contains(".dockerconfigjson")) return "kubernetes.io/dockerconfigjson";
  return "Opaque";
}

/// "KEY=VALUE", where VALUE may be "@FILE" or "@-".
Outcome<json::object> data_from(Session& session, const std::vector<std::string>& values) {
  json::object data;
  for (const auto& text : values) {
    const auto equals = text.find('=');
    // The text may be a secret by itself: it is not repeated.
    if (equals == std::string::npos || equals == 0)
      return stop_with(usage_problem("a value is not KEY=VALUE, KEY=@FILE or KEY=@-", "password=@-"));
    auto value = data_of(session, text.substr(equals + 1));
    if (!value) return stop_with(std::move(value.error()));
    data[text.substr(0, equals)] = base64_encode(*value);
  }
  return data;
}

}  // namespace

Outcome<void> set_secret(Session& session, const SecretOptions& options) {
  auto data = data_from(session, options.values);
  if (!data) return stop_with(std::move(data.error()));
  const auto keys = data->size();
  json::object secret{{"apiVersion", "v1"},
                      {"kind", "Secret"},
                      {"metadata", {{"name", options.name}, {"namespace", session.name_space}}},
                      {"type", options.type.empty() ? type_for(*data) : std::string_view(options.type)},
                      {"data", std::move(*data)}};
  const auto path = resource_path("v1", session.name_space, "secrets");
  const auto own_path = resource_path("v1", session.name_space, "secrets", options.name);
  auto old = session.client.get(own_path);
  const bool exists = old.has_value();
  if (!old && old.error().exit != ExitCode::not_found) return stop_with(std::move(old.error()));
  auto written = exists ? session.client.put(own_path, secret) : session.client.post(path, secret);
  if (!written) return stop_with(std::move(written.error()).within(fmt::format("secret {} was not set", options.name)));
  if (session.json)
    print_document(session, json::object{{"name", options.name}, {"keys", keys}, {"replaced", exists}});
  else
    session.terminal.result(fmt::format("secret {} {} ({} {})", options.name, exists ? "replaced" : "set", keys,
                                        keys == 1 ? "key" : "keys"));
  return {};
}

Outcome<void> list_secrets(Session& session) {
  auto list = session.client.get(resource_path("v1", session.name_space, "secrets"));
  if (!list) return stop_with(std::move(list.error()));
  std::vector<std::vector<std::string>> rows{{"NAME", "TYPE", "KEYS"}};
  json::array documents;
  for (const auto& secret : array_at(*list, "/items")) {
    json::array keys;
    std::string shown;
    if (const auto* data = find_at(secret, "/data"); data && data->is_object())
      for (const auto& [key, value] : data->get_object()) {
        keys.emplace_back(key);
        shown += (shown.empty() ? "" : ", ") + std::string(key);
      }
    const auto name = text_at(secret, "/metadata/name"), type = text_at(secret, "/type");
    rows.push_back({name, type, safe_line(shown)});
    documents.push_back({{"name", name}, {"type", type}, {"keys", std::move(keys)}});
  }
  if (session.json)
    print_document(session, documents);
  else if (documents.empty())
    session.terminal.say("no secrets. hint: wick secret set NAME KEY=@FILE");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> remove_secret(Session& session, const std::string& name) {
  if (auto gone = session.client.remove(resource_path("v1", session.name_space, "secrets", name)); !gone)
    return stop_with(std::move(gone.error()).within(fmt::format("secret {} was not removed", name)));
  if (session.json)
    print_document(session, json::object{{"name", name}, {"removed", true}});
  else
    session.terminal.result(fmt::format("secret {} removed", name));
  return {};
}

}  // namespace wick::app::cli
