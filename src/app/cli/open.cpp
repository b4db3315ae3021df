#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>

#include "app/cli/public_url.hpp"
#include "app/cli/verbs.hpp"

extern char** environ;

namespace wick::app::cli {

namespace {

/// xdg-open hands the URL to the person's browser and ends at once. False where there is none.
bool open_browser(const std::string& url) {
  std::string program = "xdg-open", argument = url;
  char* argv[] = {program.data(), argument.data(), nullptr};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, program.c_str(), &quiet, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&quiet);
  if (failed) return false;
  int status = 0;
  return waitpid(pid, &status, 0) == pid && status == 0;
}

}  // namespace

Outcome<void> open_service(Session& session, const std::string& name) {
  auto service = session.client.get(service_path(session.name_space, name));
  if (!service) return stop_with(std::move(service.error()));
  const auto url = public_url(session, text_at(*service, "/status/url"));
  if (url.empty())
    return stop_with({.exit = ExitCode::not_ready,
                      .what = fmt::format("{} has no URL yet", name),
                      .slug = "E_NOT_READY",
                      .because = "no route leads to it",
                      .hint = "wick why " + name});
  const bool desktop = session.terminal.environment("DISPLAY") || session.terminal.environment("WAYLAND_DISPLAY");
  if (desktop && session.terminal.out_is_terminal() && !open_browser(url))
    session.terminal.say("no browser could be opened");
  if (session.json)
    print_document(session, json::object{{"name", name}, {"url", url}});
  else
    session.terminal.result(url);
  return {};
}

}  // namespace wick::app::cli
