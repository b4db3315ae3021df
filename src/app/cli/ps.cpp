#include <fmt/format.h>

#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

std::string shown_ready(const json::value& service) {
  const auto ready = text_at(service, "/ready");
  return ready == "true" ? "yes" : ready == "false" ? "no" : "unknown";
}

/// How many there are, and what waits: "1", "0", "1 of 2, 5 wait".
std::string shown_instances(const json::value& service) {
  const auto count = static_cast<std::int64_t>(array_at(service, "/instances").size());
  auto text = std::to_string(count);
  if (const auto desired = number_at(service, "/desired"); desired > count) text += fmt::format(" of {}", desired);
  if (const auto queued = number_at(service, "/queued"); queued > 0) text += fmt::format(", {} wait", queued);
  return text;
}

}  // namespace

Outcome<void> list_services(Session& session) {
  auto services = session.client.get(wick_path(session.name_space, "ps"));
  if (!services) return stop_with(std::move(services.error()));
  if (services->is_array() && !services->get_array().empty()) {
    const auto listen = listen_address(session);
    for (auto& service : services->get_array())
      if (auto url = text_at(service, "/url"); !url.empty())
        service.get_object()["url"] = with_port(std::move(url), listen);
  }
  if (session.json) {
    print_document(session, *services);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"NAME", "READY", "REVISION", "INSTANCES", "URL", "BECAUSE"}};
  for (const auto& service : array_at(*services, "")) {
    const auto because = text_at(service, "/ready") == "true" ? "" : safe_line(text_at(service, "/message"));
    rows.push_back({text_at(service, "/name"), shown_ready(service), text_at(service, "/revision"),
                    shown_instances(service), text_at(service, "/url"), because});
  }
  if (rows.size() == 1)
    session.terminal.say(
        fmt::format("no services in namespace {}. hint: wick deploy, in the folder of a program", session.name_space));
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

}  // namespace wick::app::cli
