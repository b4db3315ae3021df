// Previews from outside: a Configuration with the label wick.dev/preview each (wick/model/preview.hpp).
#include <fmt/format.h>

#include <map>

#include "app/cli/plan.hpp"
#include "app/cli/public_url.hpp"
#include "app/cli/terminal.hpp"
#include "app/cli/verbs.hpp"
#include "app/cli/watch.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

constexpr const char* tag_pointer = "/metadata/labels/wick.dev~1preview";
constexpr const char* branch_pointer = "/metadata/annotations/wick.dev~1preview-branch";
constexpr const char* service_pointer = "/metadata/labels/serving.knative.dev~1service";
constexpr const char* patterns_pointer = "/metadata/annotations/wick.dev~1previews";

std::string configurations_path(const Session& session, std::string_view name = {}) {
  return resource_path("serving.knative.dev/v1", session.name_space, "configurations", name);
}

Outcome<std::vector<json::value>> previews_in(Session& session, const std::string& service) {
  auto selector = std::string("wick.dev/preview");
  if (!service.empty()) selector += ",serving.knative.dev/service=" + service;
  auto listed = session.client.get(configurations_path(session) + "?labelSelector=" + http::percent_encode(selector));
  if (!listed) return stop_with(std::move(listed.error()));
  const auto& items = array_at(*listed, "/items");
  return std::vector<json::value>(items.begin(), items.end());
}

/// "" while it has none.
std::string url_of_preview(Session& session, const json::value& service, std::string_view tag) {
  for (const auto& target : array_at(service, "/status/traffic"))
    if (text_at(target, "/tag") == tag) return public_url(session, text_at(target, "/url"));
  return {};
}

}  // namespace

Outcome<void> list_previews(Session& session, const std::string& service) {
  auto previews = previews_in(session, service);
  if (!previews) return stop_with(std::move(previews.error()));
  std::vector<std::vector<std::string>> rows{{"SERVICE", "TAG", "BRANCH", "REVISION", "URL"}};
  json::array documents;
  std::map<std::string, json::value> services;
  for (const auto& preview : *previews) {
    const auto name = text_at(preview, service_pointer);
    if (!services.contains(name)) {
      auto found = session.client.find(service_path(session.name_space, name));
      if (!found) return stop_with(std::move(found.error()));
      services[name] = *found ? std::move(**found) : json::value();
    }
    const auto tag = text_at(preview, tag_pointer), branch = text_at(preview, branch_pointer);
    const auto revision = text_at(preview, "/status/latestReadyRevisionName");
    const auto url = url_of_preview(session, services[name], tag);
    rows.push_back({name, tag, safe_line(branch), revision.empty() ? "-" : revision, url.empty() ? "-" : url});
    documents.push_back({{"service", name},
                         {"tag", tag},
                         {"branch", branch},
                         {"revision", revision},
                         {"commit", text_at(preview, "/metadata/annotations/wick.dev~1source-commit")},
                         {"url", url}});
  }
  if (session.json)
    print_document(session, documents);
  else if (documents.empty())
    session.terminal.say("no previews. hint: wick deploy --preview, or wick preview branches SERVICE 'feature/*'");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> remove_preview_of(Session& session, const std::string& service, const std::string& preview) {
  auto previews = previews_in(session, service);
  if (!previews) return stop_with(std::move(previews.error()));
  for (const auto& one : *previews) {
    const auto branch = text_at(one, branch_pointer);
    if (branch != preview && text_at(one, tag_pointer) != preview) continue;
    if (auto gone = session.client.remove(configurations_path(session, text_at(one, "/metadata/name"))); !gone)
      return stop_with(std::move(gone.error()).within(fmt::format("the preview {} was not removed", preview)));
    session.terminal.result(
        fmt::format("the preview {} of {} is removed", text_at(one, tag_pointer), safe_line(branch)));
    return {};
  }
  return stop_with({.exit = ExitCode::not_found,
                    .what = fmt::format("{} has no preview {}", service, safe_line(preview)),
                    .slug = "E_NOT_FOUND",
                    .because = {},
                    .last_output = {},
                    .notes = {},
                    .hint = "wick preview ls lists them"});
}

Outcome<void> preview_branches_of(Session& session, const std::string& service, const std::string& patterns) {
  const auto say = [&](const std::string& now) {
    session.terminal.result(now.empty() ? fmt::format("no branch of {} becomes a preview when it is pushed", service)
                                        : fmt::format("{} previews {}", service, safe_line(now)));
  };
  if (patterns.empty()) {
    auto found = session.client.get(service_path(session.name_space, service));
    if (!found) return stop_with(std::move(found.error()));
    say(text_at(*found, patterns_pointer));
    return {};
  }
  const bool is_off = patterns == "off";
  const json::value patch{
      {"metadata", {{"annotations", {{"wick.dev/previews", is_off ? json::value() : json::value(patterns)}}}}}};
  auto written = session.client.merge_patch(service_path(session.name_space, service), patch);
  if (!written) return stop_with(std::move(written.error()));
  say(is_off ? std::string() : patterns);
  return {};
}

}  // namespace wick::app::cli
