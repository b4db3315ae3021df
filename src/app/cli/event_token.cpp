// A token by which a broker, channel or sink knows who sends to it from outside the box.
#include <fmt/format.h>

#include "app/cli/verbs.hpp"
#include "app/cli/wiring.hpp"

namespace wick::app::cli {

Outcome<void> make_event_token(Session& session, const EventTokenOptions& options) {
  auto destination = destination_of(options.to);
  if (!destination) return stop_with(std::move(destination.error()));
  const json::value wanted(*destination);
  const auto version = text_at(wanted, "/ref/apiVersion"), name = text_at(wanted, "/ref/name");
  if (version.empty() || version == "serving.knative.dev/v1")
    return stop_with(
        usage_problem(fmt::format("'{}' asks nobody for a token", options.to),
                      "broker:NAME, channel:NAME, sequence:NAME, parallel:NAME, jobsink:NAME, mqttsink:NAME or "
                      "transform:NAME"));
  auto object = session.client.get(
      resource_path(version, session.name_space, plural_of_destination(text_at(wanted, "/ref/kind")), name));
  if (!object) return stop_with(std::move(object.error()).within(options.to));
  // Without one the daemon says why: nobody asks.
  auto audience = text_at(*object, "/status/address/audience");
  if (audience.empty()) audience = "-";
  const json::object wish{{"serviceAccount", options.account},
                          {"audience", audience},
                          {"ttlSeconds", std::chrono::duration_cast<seconds>(options.lifetime).count()}};
  auto made = session.client.post(wick_path(session.name_space, "sendertokens"), wish);
  if (!made) return stop_with(std::move(made.error()).within("no token was made"));
  if (audience == "-")
    return stop_with({.exit = ExitCode::not_ready,
                      .what = fmt::format("{} does not say yet what a token for it is for", options.to),
                      .slug = "E_NOT_READY",
                      .hint = "try again in a moment"});
  if (session.json)
    print_document(session, *made);
  else
    session.terminal.result(text_at(*made, "/token"));
  if (!session.json && session.terminal.err_is_terminal())
    session.terminal.say(fmt::format("{} may show it to {} until {}", text_at(*made, "/subject"), options.to,
                                     text_at(*made, "/expires")));
  return {};
}

}  // namespace wick::app::cli
