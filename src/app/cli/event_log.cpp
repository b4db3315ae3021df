// Stored events and dead letters: what there is, what became of it, and once more.
#include <fmt/format.h>

#include <algorithm>

#include "app/cli/verbs.hpp"

namespace wick::app::cli {

namespace {

std::string counted(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

void print_trigger(Terminal& terminal, const json::value& trigger) {
  const auto name = safe_line(text_at(trigger, "/trigger"));
  const auto state = text_at(trigger, "/state");
  const auto because = safe_line(text_at(trigger, "/because"));
  if (state.empty()) {
    terminal.result(fmt::format("  {}: did not match: {}", name, because));
    return;
  }
  auto line = fmt::format("  {}: {}", name, state);
  if (const auto next = text_at(trigger, "/nextAttempt"); !next.empty()) line += ", next attempt " + next;
  terminal.result(line);
  for (const auto& attempt : array_at(trigger, "/attempts")) {
    const auto status = number_at(attempt, "/status");
    auto text = fmt::format("    attempt {} at {}: {} in {}", number_at(attempt, "/number"), text_at(attempt, "/when"),
                            status == 0 ? std::string("no answer") : std::to_string(status),
                            human_duration(milliseconds(number_at(attempt, "/elapsedMs"))));
    if (text_at(attempt, "/to") == "deadLetterSink") text += " from the dead letter sink";
    if (const auto detail = safe_line(text_at(attempt, "/detail")); !detail.empty()) text += "  " + detail;
    terminal.result(text);
  }
  if (const auto last = safe_line(text_at(trigger, "/lastAnswer")); !last.empty())
    terminal.result("    last answer: " + last);
}

void print_event(Terminal& terminal, const json::value& event) {
  terminal.result(fmt::format("event {}: {} from {}, accepted {} by broker {} at position {}",
                              safe_line(text_at(event, "/id")), safe_line(text_at(event, "/type")),
                              safe_line(text_at(event, "/source")), text_at(event, "/received"),
                              text_at(event, "/broker"), number_at(event, "/position")));
  if (find_at(event, "/replyTo"))
    terminal.result(fmt::format("  in reply to {} (position {})", safe_line(text_at(event, "/replyTo/id")),
                                number_at(event, "/replyTo/position")));
  const auto& triggers = array_at(event, "/triggers");
  if (triggers.empty()) terminal.result("  the broker has no trigger");
  for (const auto& trigger : triggers) print_trigger(terminal, trigger);
  for (const auto& reply : array_at(event, "/replies"))
    terminal.result(fmt::format("  reply {} ({}), position {}", safe_line(text_at(reply, "/id")),
                                safe_line(text_at(reply, "/type")), number_at(reply, "/position")));
}

Outcome<json::value> found_event(Session& session, const std::string& id) {
  return session.client.get(wick_path(session.name_space, "events/" + http::percent_encode(id)));
}

Outcome<std::int64_t> settle(Session& session, std::string_view verb, const DeadLetterOptions& options) {
  const auto target = fmt::format("deadletters/{}?trigger={}&position={}", verb, http::percent_encode(options.trigger),
                                  options.position);
  auto answer = session.client.post(wick_path(session.name_space, target), json::object());
  if (!answer) return stop_with(std::move(answer.error()));
  const auto count = number_at(*answer, "/count");
  if (count == 0) {
    Problem problem{.exit = ExitCode::not_found, .what = "there is no such dead letter", .slug = "not-found"};
    problem.hint = "wick dlq ls";
    return stop_with(std::move(problem));
  }
  return count;
}

void print_count(Session& session, std::int64_t count, std::string_view what) {
  if (session.json)
    print_document(session, json::object{{"count", count}});
  else
    session.terminal.result(fmt::format("{} {}", counted(count, "dead letter"), what));
}

}  // namespace

Outcome<void> list_events(Session& session, const ListEventsOptions& options) {
  const auto target = fmt::format("brokers/{}/log?after={}&count={}", http::percent_encode(options.broker),
                                  options.after, options.count);
  auto list = session.client.get(wick_path(session.name_space, target));
  if (!list) return stop_with(std::move(list.error()));
  if (session.json) {
    print_document(session, *list);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"POSITION", "RECEIVED", "TYPE", "SOURCE", "ID", "BYTES"}};
  for (const auto& event : array_at(*list, "/events"))
    rows.push_back({text_at(event, "/position"), text_at(event, "/received"), safe_line(text_at(event, "/type")),
                    safe_line(text_at(event, "/source")), safe_line(text_at(event, "/id")),
                    text_at(event, "/dataBytes")});
  if (rows.size() == 1)
    session.terminal.say("no events. hint: wick event send --type T");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> explain_event(Session& session, const std::string& id) {
  auto found = found_event(session, id);
  if (!found) return stop_with(std::move(found.error()));
  if (session.json)
    print_document(session, *found);
  else
    for (const auto& event : array_at(*found, "/events")) print_event(session.terminal, event);
  return {};
}

Outcome<void> retry_event(Session& session, const RetryOptions& options) {
  auto found = found_event(session, options.id);
  if (!found) return stop_with(std::move(found.error()));
  std::int64_t count = 0;
  for (const auto& event : array_at(*found, "/events")) {
    const auto position = static_cast<std::uint64_t>(number_at(event, "/position"));
    for (const auto& trigger : array_at(event, "/triggers")) {
      const auto name = text_at(trigger, "/trigger");
      const bool dead = text_at(trigger, "/state") == "dead letter";
      if (!options.trigger.empty() && name != options.trigger) continue;
      if (dead) {
        auto redriven = settle(session, "retry", {.trigger = name, .position = position});
        if (!redriven) return stop_with(std::move(redriven.error()));
      } else if (!options.trigger.empty()) {
        auto replayed = replay_events(session, {.trigger = name, .first = position, .last = position});
        if (!replayed) return replayed;
      }
      count += dead || !options.trigger.empty();
    }
  }
  if (count == 0) {
    Problem problem{.exit = ExitCode::refused,
                    .what = fmt::format("event '{}' is no dead letter", safe_line(options.id)),
                    .slug = "conflict"};
    problem.hint = "deliver it once more all the same: wick event retry ID --trigger NAME";
    return stop_with(std::move(problem));
  }
  if (!session.json) session.terminal.result(fmt::format("{} once more", counted(count, "delivery")));
  return {};
}

Outcome<void> replay_events(Session& session, const ReplayOptions& options) {
  const auto target = fmt::format("triggers/{}/replay?first={}&last={}", http::percent_encode(options.trigger),
                                  options.first, options.last);
  auto begun = session.client.post(wick_path(session.name_space, target), json::object());
  if (!begun)
    return stop_with(std::move(begun.error()).within(fmt::format("nothing is replayed to {}", options.trigger)));
  if (session.json)
    print_document(session, *begun);
  else
    session.terminal.result(
        fmt::format("positions {} to {} go to {} once more", options.first, options.last, options.trigger));
  return {};
}

Outcome<void> list_dead_letters(Session& session) {
  auto list = session.client.get(wick_path(session.name_space, "deadletters?count=1000"));
  if (!list) return stop_with(std::move(list.error()));
  if (session.json) {
    print_document(session, *list);
    return {};
  }
  std::vector<std::vector<std::string>> rows{{"TRIGGER", "POSITION", "SINCE", "TYPE", "ID", "STATUS", "BECAUSE"}};
  for (const auto& letter : array_at(*list, "/deadLetters"))
    rows.push_back({text_at(letter, "/trigger"), text_at(letter, "/position"), text_at(letter, "/since"),
                    safe_line(text_at(letter, "/type")), safe_line(text_at(letter, "/id")), text_at(letter, "/status"),
                    safe_line(text_at(letter, "/because"))});
  if (rows.size() == 1)
    session.terminal.say("no dead letters");
  else
    session.terminal.result_bytes(table(rows));
  return {};
}

Outcome<void> retry_dead_letters(Session& session, const DeadLetterOptions& options) {
  auto count = settle(session, "retry", options);
  if (!count) return stop_with(std::move(count.error()));
  print_count(session, *count, "once more on the way to " + options.trigger);
  return {};
}

Outcome<void> purge_dead_letters(Session& session, const DeadLetterOptions& options) {
  if (!options.yes)
    return stop_with(usage_problem("what is purged is gone", fmt::format("wick dlq purge {} --yes", options.trigger)));
  auto count = settle(session, "purge", options);
  if (!count) return stop_with(std::move(count.error()));
  print_count(session, *count, "purged");
  return {};
}

}  // namespace wick::app::cli
