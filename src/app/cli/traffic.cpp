// traffic, rollback and rollout: which revision gets how much, now and on the way to the newest. They write what
// kn and kubectl would write: spec.traffic, and annotations of the Service.
#include "app/cli/traffic.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"
#include "app/cli/watch.hpp"
#include "wick/base/text.hpp"
#include "wick/http/message.hpp"

namespace wick::app::cli {

namespace {

constexpr std::string_view latest_word = "latest";
constexpr auto in_force_limit = milliseconds(60'000);

bool is_latest(const json::value& target) { return text_at(target, "/revisionName").empty(); }

std::string name_in(const json::value& target) {
  return is_latest(target) ? std::string(latest_word) : text_at(target, "/revisionName");
}

json::object target_of(const std::string& revision) {
  if (revision == latest_word) return {{"latestRevision", true}};
  return {{"revisionName", revision}, {"latestRevision", false}};
}

/// "latest", "@latest", "hello-00001" and "00001" of service hello.
std::string whole_name(std::string_view service, std::string_view text) {
  if (text == "@latest" || text == latest_word) return std::string(latest_word);
  if (text.size() == 5 && parse_unsigned(text)) return fmt::format("{}-{}", service, text);
  return std::string(text);
}

Outcome<std::pair<std::string, std::string>> assignment(const std::string& text, std::string_view what) {
  const auto equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    return stop_with(usage_problem(fmt::format("expected {}, found '{}'", what, safe_line(text)),
                                   "wick traffic NAME latest=90 hello-00001=10"));
  return std::pair{text.substr(0, equals), text.substr(equals + 1)};
}

Outcome<json::value> find_service(Session& session, const std::string& name) {
  auto service = session.client.get(service_path(session.name_space, name));
  if (!service) return stop_with(std::move(service.error()));
  return service;
}

void print_traffic(Session& session, const json::value& service) {
  if (session.json) {
    const auto* traffic = find_at(service, "/status/traffic");
    const auto* rollout = find_at(service, "/status/rollout");
    json::object document{{"name", text_at(service, "/metadata/name")},
                          {"traffic", traffic ? *traffic : json::array()}};
    if (rollout) document["rollout"] = *rollout;
    return print_document(session, document);
  }
  std::vector<std::vector<std::string>> rows{{"REVISION", "PERCENT", "FOLLOWS", "TAG", "URL"}};
  for (const auto& target : array_at(service, "/status/traffic")) {
    auto url = text_at(target, "/url");
    rows.push_back({text_at(target, "/revisionName"), fmt::format("{} %", number_at(target, "/percent")),
                    text_at(target, "/latestRevision") == "true" ? "latest" : "", text_at(target, "/tag"),
                    url.empty() ? "" : public_url(session, url)});
  }
  session.terminal.result_bytes(table(rows));
}

/// The Service once its traffic is what its spec asks for; a problem when it will not be.
Outcome<json::value> await_in_force(Session& session, const std::string& name, milliseconds limit = in_force_limit) {
  const auto settled = [](const json::value& service) {
    if (number_at(service, "/status/observedGeneration") != number_at(service, "/metadata/generation")) return false;
    const auto* routes = condition_of(service, "RoutesReady");
    if (!routes) return false;
    const auto status = text_at(*routes, "/status");
    return status != "Unknown" || text_at(*routes, "/reason") == "RolloutInProgress";
  };
  auto service = await_object(session, service_path(session.name_space), name, settled, {.limit = limit});
  if (!service) return service;
  const auto* routes = condition_of(*service, "RoutesReady");
  if (text_at(*routes, "/status") != "False") return service;
  return stop_with(Problem{.exit = ExitCode::not_ready,
                           .what = fmt::format("the traffic of {} is not what was asked for", name),
                           .slug = "E_NOT_READY",
                           .because = text_at(*routes, "/message"),
                           .hint = fmt::format("wick traffic {} shows what is in force", name)});
}

Outcome<void> put_traffic(Session& session, const std::string& name, json::array traffic) {
  const json::object patch{{"spec", {{"traffic", std::move(traffic)}}}};
  auto written = session.client.merge_patch(service_path(session.name_space, name), patch);
  if (!written) return stop_with(std::move(written.error()));
  auto service = await_in_force(session, name);
  if (!service) return stop_with(std::move(service.error()));
  print_traffic(session, *service);
  return {};
}

/// What serves most of the untagged traffic now.
std::string main_revision(const json::value& service) {
  std::string main;
  std::int64_t most = 0;
  for (const auto& target : array_at(service, "/status/traffic"))
    if (const auto percent = number_at(target, "/percent"); percent > most) {
      most = percent;
      main = text_at(target, "/revisionName");
    }
  return main;
}

/// The newest ready revision that is older than the one that serves. Those of previews are of other Configurations.
Outcome<std::string> previous_revision(Session& session, const std::string& name, const json::value& service) {
  const auto serving = main_revision(service);
  auto list = session.client.get(resource_path("serving.knative.dev/v1", session.name_space, "revisions") +
                                 "?labelSelector=" + http::percent_encode("serving.knative.dev/configuration=" + name));
  if (!list) return stop_with(std::move(list.error()));
  const auto generation = [](const json::value& revision) {
    return number_at(
        revision, "/metadata/labels/serving.knative.dev~1configurationGeneration",
        parse_unsigned(text_at(revision, "/metadata/labels/serving.knative.dev~1configurationGeneration")).value_or(0));
  };
  std::int64_t of_serving = 0;
  for (const auto& revision : array_at(*list, "/items"))
    if (text_at(revision, "/metadata/name") == serving) of_serving = generation(revision);
  std::string previous;
  std::int64_t newest = -1;
  for (const auto& revision : array_at(*list, "/items")) {
    const auto* ready = condition_of(revision, "Ready");
    const auto number = generation(revision);
    if (!ready || text_at(*ready, "/status") != "True" || number >= of_serving || number <= newest) continue;
    newest = number;
    previous = text_at(revision, "/metadata/name");
  }
  if (previous.empty())
    return stop_with(Problem{.exit = ExitCode::failed,
                             .what = fmt::format("{} has nothing to go back to", name),
                             .slug = "E_NOT_FOUND",
                             .because = fmt::format("no revision older than {} is ready", serving),
                             .hint = fmt::format("wick rollback {} REVISION names one", name)});
  return previous;
}

std::string newest_of(const json::value& service) { return text_at(service, "/status/latestReadyRevisionName"); }

void print_rollout(Session& session, const json::value& service) {
  if (session.json) return print_traffic(session, service);
  bool any = false;
  for (const auto& group : array_at(service, "/status/rollout")) {
    const auto& revisions = array_at(group, "/revisions");
    if (const auto refused = text_at(group, "/refused"); !refused.empty()) {
      session.terminal.result("taken back: " + safe_line(text_at(group, "/because")));
      any = true;
    }
    if (revisions.size() < 2) continue;
    const auto& newest = revisions.back();
    session.terminal.result(fmt::format("in progress: {} has {} of {} %, {} % more each {}",
                                        text_at(newest, "/revisionName"), number_at(newest, "/percent"),
                                        number_at(group, "/percent"), number_at(group, "/stepSize"),
                                        human_duration(milliseconds(number_at(group, "/stepDurationMilliseconds")))));
    any = true;
  }
  if (!any) session.terminal.result("no rollout is under way");
  print_traffic(session, service);
}

}  // namespace

json::array changed_traffic(const json::array& before, const std::vector<Share>& shares,
                            const std::vector<std::pair<std::string, std::string>>& tags,
                            const std::vector<std::string>& untags) {
  json::array traffic;
  const auto untagged = [&](const std::string& tag) {
    return std::ranges::find(untags, tag) != untags.end() ||
           std::ranges::any_of(tags, [&](const auto& added) { return added.second == tag; });
  };
  for (const auto& each : before) {
    auto target = each.as_object();
    target.erase("url");
    if (const auto tag = text_at(each, "/tag"); untagged(tag)) target.erase("tag");
    if (!shares.empty()) target["percent"] = 0;
    const bool wanted = target.contains("tag") || number_at(target, "/percent") > 0;
    if (wanted) traffic.push_back(std::move(target));
  }
  // A share without a tag of its own, so that a tag that stays does not decide about the rest.
  for (const auto& share : shares) {
    auto target = target_of(share.revision);
    target["percent"] = share.percent;
    traffic.push_back(std::move(target));
  }
  for (const auto& [revision, tag] : tags) {
    const auto found = std::ranges::find_if(traffic, [&](const json::value& target) {
      return name_in(target) == revision && text_at(target, "/tag").empty();
    });
    auto target = target_of(revision);
    target["percent"] = 0;
    auto& entry = found != traffic.end() ? found->get_object() : traffic.emplace_back(std::move(target)).get_object();
    entry["tag"] = tag;
  }
  return traffic;
}

Outcome<void> change_traffic(Session& session, const TrafficOptions& options) {
  auto service = find_service(session, options.name);
  if (!service) return stop_with(std::move(service.error()));
  if (options.shares.empty() && options.tags.empty() && options.untags.empty()) {
    print_traffic(session, *service);
    return {};
  }
  std::vector<Share> shares;
  int total = 0;
  for (const auto& text : options.shares) {
    auto parts = assignment(text, "REVISION=PERCENT");
    if (!parts) return stop_with(std::move(parts.error()));
    auto digits = std::string_view(parts->second);
    if (digits.ends_with('%')) digits.remove_suffix(1);
    const auto percent = parse_unsigned(digits);
    if (!percent || *percent > 100)
      return stop_with(usage_problem(fmt::format("a share is 0 to 100 percent, not '{}'", safe_line(parts->second)),
                                     "wick traffic NAME latest=90 hello-00001=10"));
    shares.push_back({whole_name(options.name, parts->first), static_cast<int>(*percent)});
    total += shares.back().percent;
  }
  if (!shares.empty() && total != 100)
    return stop_with(usage_problem(fmt::format("the shares add up to {} percent, not 100", total),
                                   "name every revision that is to get traffic"));
  std::vector<std::pair<std::string, std::string>> tags;
  for (const auto& text : options.tags) {
    auto parts = assignment(text, "REVISION=TAG");
    if (!parts) return stop_with(std::move(parts.error()));
    tags.emplace_back(whole_name(options.name, parts->first), parts->second);
  }
  return put_traffic(session, options.name,
                     changed_traffic(array_at(*service, "/spec/traffic"), shares, tags, options.untags));
}

Outcome<void> roll_back(Session& session, const std::string& name, const std::string& revision) {
  auto service = find_service(session, name);
  if (!service) return stop_with(std::move(service.error()));
  auto to =
      revision.empty() ? previous_revision(session, name, *service) : Outcome<std::string>(whole_name(name, revision));
  if (!to) return stop_with(std::move(to.error()));
  const auto from = main_revision(*service);
  auto put = put_traffic(session, name, changed_traffic(array_at(*service, "/spec/traffic"), {{*to, 100}}, {}, {}));
  if (!put) return put;
  session.terminal.say(
      fmt::format("{} serves everything, {} nothing. hint: wick traffic {} latest=100 follows the "
                  "newest revision again",
                  *to, from.empty() ? "what was there" : from, name));
  return {};
}

Outcome<void> roll_out(Session& session, const RolloutOptions& options) {
  auto service = find_service(session, options.name);
  if (!service) return stop_with(std::move(service.error()));
  json::object annotations;
  if (options.over) annotations["serving.knative.dev/rollout-duration"] = *options.over;
  if (options.error_rate) annotations["wick.dev/rollback-on-error-rate"] = *options.error_rate;
  if (options.latency) annotations["wick.dev/rollback-on-latency"] = *options.latency;
  if (options.abort) {
    annotations["wick.dev/rollout-abort"] = newest_of(*service);
    annotations["wick.dev/rollout-finish"] = nullptr;
  }
  if (options.finish) {
    annotations["wick.dev/rollout-finish"] = newest_of(*service);
    annotations["wick.dev/rollout-abort"] = nullptr;
  }
  if (annotations.empty()) {
    print_rollout(session, *service);
    return {};
  }
  const json::object patch{{"metadata", {{"annotations", std::move(annotations)}}}};
  auto written = session.client.merge_patch(service_path(session.name_space, options.name), patch);
  if (!written) return stop_with(std::move(written.error()));
  if (!options.abort && !options.finish) {
    print_rollout(session, *written);
    return {};
  }
  const auto newest = newest_of(*service);
  const auto done = [&](const json::value& now) {
    for (const auto& target : array_at(now, "/status/traffic"))
      if (text_at(target, "/latestRevision") == "true" && (text_at(target, "/revisionName") == newest) == options.abort)
        return false;
    return true;
  };
  auto now = await_object(session, service_path(session.name_space), options.name, done, {.limit = in_force_limit});
  if (!now) return stop_with(std::move(now.error()));
  print_rollout(session, *now);
  return {};
}

}  // namespace wick::app::cli
