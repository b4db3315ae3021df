#include <fmt/format.h>

#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

/// The instances are a list; a person wants to know how many.
std::string instances_of(const json::value& service) {
  const auto* instances = find_at(service, "/instances");
  return instances && instances->is_array() ? std::to_string(instances->get_array().size())
                                            : text_at(service, "/instances");
}

}  // namespace

Outcome<void> list_services(Session& session) {
  auto services = session.client.get(wick_path(session.name_space, "ps"));
  if (!services) return stop_with(std::move(services.error()));
  if (session.json) {
    print_document(session, *services);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "READY", "REVISION", "INSTANCES", "URL", "BECAUSE"}};
  for (const auto& service : array_at(*services, ""))
    rows.push_back({text_at(service, "/name"), text_at(service, "/ready"), text_at(service, "/revision"),
                    instances_of(service), text_at(service, "/url"), safe_line(text_at(service, "/because"))});
  if (rows.size() == 1)
    session.terminal.say(
        fmt::format("no services in namespace {}. hint: wick deploy, in the folder of a program", session.name_space));
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

}  // namespace wick::app::cli
