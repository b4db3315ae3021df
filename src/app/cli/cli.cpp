// From arguments to an exit code.
#include "app/cli/cli.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "app/cli/command_line.hpp"

namespace wick::app::cli {

namespace {

constexpr const char* default_socket = "/run/wick/wick.sock";

std::string socket_path(const Surroundings& surroundings) {
  if (auto socket = surroundings.environment("WICK_SOCKET"); socket && !socket->empty()) return *socket;
  if (auto folder = surroundings.environment("XDG_RUNTIME_DIR"); folder && !folder->empty()) {
    auto socket = *folder + "/wick.sock";
    if (::access(socket.c_str(), F_OK) == 0) return socket;
  }
  return default_socket;
}

/// The verb as far as it was understood, for the hint: "wick help event send".
std::string verb_words(const CLI::App& app) {
  std::string words;
  for (const auto* sub = &app; !sub->get_subcommands().empty();) {
    sub = sub->get_subcommands().front();
    words += " " + sub->get_name();
  }
  return words;
}

Outcome<void> print_help(CommandLine& line, Terminal& terminal) {
  if (line.help_words.size() == 1)
    if (auto topic = help_topic(line.help_words.front())) {
      terminal.result(*topic);
      return {};
    }
  CLI::App* app = &line.app();
  std::string before;  // "wick event " before "send"
  for (const auto& word : line.help_words) {
    const auto named = app->get_subcommands([&](const CLI::App* sub) { return sub->check_name(word); });
    if (named.empty())
      return stop_with(usage_problem(fmt::format("there is no help on '{}'", word), "wick help lists the verbs"));
    before += (before.empty() ? "" : " ") + app->get_name();
    app = named.front();
  }
  // Without the words just parsed: CLI11 would print the help of the verb `help`.
  line.app().clear();
  terminal.result_bytes(app->help(before));
  return {};
}

Outcome<void> run_verb(CommandLine& line, Surroundings& surroundings, Terminal& terminal) {
  if (line.wants_help || !line.chosen) return print_help(line, terminal);
  Client client(socket_path(surroundings));
  Session session{.terminal = terminal, .client = client, .json = line.json};
  if (!line.name_space.empty())
    session.name_space = line.name_space;
  else if (auto from = surroundings.environment("WICK_NAMESPACE"); from && !from->empty())
    session.name_space = *from;
  return line.chosen(session);
}

}  // namespace

int run(std::vector<std::string> arguments, Surroundings surroundings) {
  Terminal terminal(surroundings);
  CommandLine line;
  try {
    std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
    line.app().parse(std::move(arguments));
  } catch (const CLI::CallForVersion& version) {
    terminal.result(version.what());
    return 0;
  } catch (const CLI::CallForHelp&) {
    terminal.result_bytes(line.app().help());
    return 0;
  } catch (const CLI::ParseError& error) {
    const auto problem = usage_problem(error.what(), "wick help" + verb_words(line.app()));
    terminal.say(problem);
    return static_cast<int>(problem.exit);
  }
  const auto done = run_verb(line, surroundings, terminal);
  if (done) return 0;
  if (!done.error().what.empty()) terminal.say(done.error());  // nothing to say: a command's own exit code
  return static_cast<int>(done.error().exit);
}

}  // namespace wick::app::cli

namespace wick::app {

int run_cli(int argc, char** argv) {
  // A reader that has enough (`wick logs hello | head`) ends the verb by a failed write, not by a signal.
  std::signal(SIGPIPE, SIG_IGN);
  cli::Surroundings surroundings{.in = std::cin,
                                 .out = std::cout,
                                 .err = std::cerr,
                                 .in_is_terminal = ::isatty(0) == 1,
                                 .out_is_terminal = ::isatty(1) == 1,
                                 .err_is_terminal = ::isatty(2) == 1,
                                 .environment = [](std::string_view name) -> std::optional<std::string> {
                                   const char* value = std::getenv(std::string(name).c_str());
                                   return value ? std::optional<std::string>(value) : std::nullopt;
                                 }};
  return cli::run(std::vector<std::string>(argv + std::min(argc, 1), argv + argc), std::move(surroundings));
}

}  // namespace wick::app
