#include <fmt/format.h>

#include <boost/json/array.hpp>

#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

/// "service hello (revision hello-00002, http://hello.localhost)".
std::string described(Session& session, const json::value& service) {
  const auto revision = text_at(service, "/status/latestReadyRevisionName");
  const auto url = public_url(session, text_at(service, "/status/url"));
  std::string details = revision.empty() ? "never ready" : "revision " + revision;
  if (!url.empty()) details += ", " + url;
  return fmt::format("service {} ({})", text_at(service, "/metadata/name"), details);
}

}  // namespace

Outcome<void> remove_services(Session& session, const RemoveOptions& options) {
  // All of them are looked up first: a mistyped name removes nothing.
  std::vector<std::string> descriptions;
  for (const auto& name : options.names) {
    auto service = session.client.get(service_path(session.name_space, name));
    if (!service) return stop_with(std::move(service.error()).within(fmt::format("{} was not removed", name)));
    descriptions.push_back(described(session, *service));
  }
  if (!options.yes) {
    for (const auto& text : descriptions) session.terminal.say(fmt::format("{} and its logs will be removed", text));
    if (!session.terminal.can_ask())
      return stop_with(usage_problem("nothing was removed: there is no terminal to ask on",
                                     fmt::format("wick rm {} --yes", fmt::join(options.names, " "))));
    if (!session.terminal.confirm("Remove?"))
      return stop_with({.exit = ExitCode::failed,
                        .what = "nothing was removed",
                        .slug = "E_DECLINED",
                        .because = "the answer was not yes",
                        .hint = "--yes does not ask"});
  }
  json::array removed;
  for (const auto& name : options.names) {
    if (auto gone = session.client.remove(service_path(session.name_space, name)); !gone)
      return stop_with(std::move(gone.error()).within(fmt::format("{} was not removed", name)));
    if (!session.json) session.terminal.result(fmt::format("{} removed", name));
    removed.push_back({{"name", name}, {"removed", true}});
  }
  if (session.json) print_document(session, removed);
  return {};
}

}  // namespace wick::app::cli
