#include "git_child.hpp"

#include <signal.h>
#include <unistd.h>

#include "confine.hpp"
#include "wick/os/child_process.hpp"

namespace wick::build {

namespace {

/// gzip(1) between standard input and what comes after it; it ends with its reader.
Result<void> unpack_input() {
  auto pipe = make_pipe();
  if (!pipe) return fail(std::move(pipe.error()));
  const pid_t child = ::fork();
  if (child < 0) return fail(system_error("fork", errno));
  if (child == 0) {
    ::dup2(pipe->second.get(), STDOUT_FILENO);
    ::execlp("gzip", "gzip", "-dc", nullptr);
    ::_exit(git_missing_code);
  }
  if (::dup2(pipe->first.get(), STDIN_FILENO) < 0) return fail(system_error("dup2", errno));
  return {};
}

}  // namespace

Result<void> become_git(const std::filesystem::path& repository, bool is_gzip, std::vector<std::string> arguments) {
  if (auto confined = confine({.writable = repository}); !confined) return confined;
  // A file limit or a closed pipe ends git, as it expects.
  ::signal(SIGXFSZ, SIG_DFL);
  ::signal(SIGPIPE, SIG_DFL);
  if (is_gzip)
    if (auto unpacked = unpack_input(); !unpacked) return unpacked;
  std::vector<char*> argv;
  arguments.insert(arguments.begin(), "git");
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  ::execvp("git", argv.data());
  const int why = errno;
  if (why == ENOENT) ::_exit(git_missing_code);
  return fail(system_error("git", why));
}

}  // namespace wick::build
