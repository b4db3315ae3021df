#include "app/cli/git_build.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>

namespace wick::app::cli {

namespace {

Problem no_git_source(const std::string& service) {
  return {.exit = ExitCode::refused,
          .what = fmt::format("{} was not deployed from a git URL", service),
          .slug = "E_CONFLICT",
          .because = "what is fetched, a Build or the last deploy from git says",
          .last_output = {},
          .notes = {},
          .hint = fmt::format("wick deploy GIT_URL --name {} first; git push needs none of it: wick git remote {}",
                              service, service)};
}

std::string builds_path(const Session& session, std::string_view name = {}) {
  return resource_path("shipwright.io/v1beta1", session.name_space, "builds", name);
}

/// spec.build.spec of the newest run with a git source.
Outcome<json::value> last_git_spec(Session& session, const std::string& service) {
  auto runs = session.client.get(build_run_path(session.name_space));
  if (!runs) return stop_with(std::move(runs.error()));
  const json::value* newest = nullptr;
  for (const auto& run : array_at(*runs, "/items")) {
    if (text_at(run, "/metadata/labels/wick.dev~1service") != service) continue;
    if (text_at(run, "/spec/build/spec/source/git/url").empty()) continue;
    if (!newest || text_at(run, "/metadata/creationTimestamp") >= text_at(*newest, "/metadata/creationTimestamp"))
      newest = &run;
  }
  if (!newest) return stop_with(no_git_source(service));
  return *find_at(*newest, "/spec/build/spec");
}

Outcome<json::value> make_build(Session& session, const std::string& service, json::value spec) {
  const json::object build{
      {"apiVersion", "shipwright.io/v1beta1"},
      {"kind", "Build"},
      {"metadata", {{"name", service}, {"namespace", session.name_space}, {"labels", {{"wick.dev/service", service}}}}},
      {"spec", std::move(spec)}};
  auto made = session.client.post(builds_path(session), build);
  if (!made) return stop_with(std::move(made.error()).within("no Build was made of the last deploy"));
  return made;
}

}  // namespace

Outcome<json::value> git_build_of(Session& session, const std::string& service) {
  auto known = session.client.find(builds_path(session, service));
  if (!known) return stop_with(std::move(known.error()));
  if (*known && text_at(**known, "/spec/source/git/url").empty()) return stop_with(no_git_source(service));
  if (*known) return std::move(**known);
  auto spec = last_git_spec(session, service);
  if (!spec) return spec;
  return make_build(session, service, std::move(*spec));
}

Outcome<void> follow_last_deploy(Session& session, const std::string& service, const std::string& interval) {
  auto known = session.client.find(builds_path(session, service));
  if (!known) return stop_with(std::move(known.error()));
  const bool off = interval.empty() || interval == "off";
  if (off && !*known) return {};
  json::object patch{
      {"metadata", {{"annotations", {{"wick.dev/follow", off ? json::value(nullptr) : json::value(interval)}}}}}};
  if (!off) {
    auto spec = last_git_spec(session, service);
    if (!spec) return stop_with(std::move(spec.error()));
    if (!*known)
      if (auto made = make_build(session, service, *spec); !made) return stop_with(std::move(made.error()));
    patch["spec"] = std::move(*spec);
  }
  auto written = session.client.merge_patch(builds_path(session, service), patch);
  if (!written) return stop_with(std::move(written.error()).within(fmt::format("{} is not followed", service)));
  return {};
}

}  // namespace wick::app::cli
