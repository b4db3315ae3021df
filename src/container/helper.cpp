// The child's side of sandbox.hpp: first lock the door, then look at the bytes.
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>

#include "passwd.hpp"
#include "sandbox.hpp"
#include "wick/base/text.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"
#include "wick/os/rights.hpp"

namespace wick::container {

namespace {

Result<void> check(int result, std::string_view what) {
  if (result == 0) return {};
  return fail(system_error(what, errno));
}

/// Capabilities inside the store's user namespace that giving files their owners, modes, devices and xattrs takes.
constexpr std::uint64_t kept_capabilities = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE | 1ULL << CAP_FOWNER |
                                            1ULL << CAP_FSETID | 1ULL << CAP_MKNOD | 1ULL << CAP_SETFCAP;

Result<void> make_root(const std::string& root) {
  if (auto r = check(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "make mounts private"); !r) return r;
  if (auto r = check(::mount(root.c_str(), root.c_str(), nullptr, MS_BIND, nullptr), "bind " + root); !r) return r;
  if (auto r = check(::chdir(root.c_str()), "enter " + root); !r) return r;
  // pivot_root(2), "pivot_root(".", ".")": the old root lands on top of the new one and is taken away.
  if (auto r = check(static_cast<int>(::syscall(SYS_pivot_root, ".", ".")), "pivot_root"); !r) return r;
  if (auto r = check(::umount2(".", MNT_DETACH), "leave the old root"); !r) return r;
  return check(::chdir("/"), "chdir /");
}

Result<void> drop_capabilities() {
  for (int capability = 0; capability <= 63; ++capability)
    if (!(kept_capabilities >> capability & 1) && ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL)
      return fail(system_error("drop a capability", errno));
  __user_cap_header_struct head{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2] = {};
  for (int half = 0; half < 2; ++half) {
    const auto bits = static_cast<std::uint32_t>(kept_capabilities >> (32 * half));
    data[half] = {.effective = bits, .permitted = bits, .inheritable = 0};
  }
  return check(static_cast<int>(::syscall(SYS_capset, &head, data)), "capset");
}

Result<void> set_limits() {
  const auto limit = [](__rlimit_resource what, rlim_t most) {
    const rlimit value{.rlim_cur = most, .rlim_max = most};
    return check(::setrlimit(what, &value), "setrlimit");
  };
  if (auto r = limit(RLIMIT_CORE, 0); !r) return r;
  if (auto r = limit(RLIMIT_NOFILE, 256); !r) return r;
  return limit(RLIMIT_CPU, 3600);
}

/// From root of the host to nobody anywhere. Order matters: what needs the host's root comes before the user namespace
/// is joined.
Result<void> enter_sandbox(const std::string& root) {
  if (auto r = check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs"); !r) return r;
  constexpr int fresh = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
  if (auto r = check(::unshare(fresh), "unshare"); !r) return r;
  if (auto r = make_root(root); !r) return r;
  if (auto r = check(::setns(helper_namespace_fd, CLONE_NEWUSER), "join the user namespace"); !r) return r;
  ::close(helper_namespace_fd);
  if (auto r = check(::setgroups(0, nullptr), "setgroups"); !r) return r;
  if (auto r = check(::setresgid(0, 0, 0), "setresgid"); !r) return r;
  if (auto r = check(::setresuid(0, 0, 0), "setresuid"); !r) return r;
  if (auto r = set_limits(); !r) return r;
  ::umask(0);
  return {};
}

using Arguments = std::span<char*>;

Result<std::string> unpack_layer(image::Whiteouts whiteouts) {
  auto done = image::unpack(helper_data_fd, "/", whiteouts);
  if (!done) return fail(std::move(done.error()));
  return fmt::format("{} {}", done->entries, done->bytes);
}

Result<std::string> pack_folder(Arguments arguments) {
  if (arguments.size() != 4) return fail(Errc::internal, "pack takes SUBPATH PREFIX UPPER MTIME");
  image::PackOptions options;
  options.subpath = arguments[0];
  options.prefix = arguments[1];
  options.overlay_upper = std::string_view(arguments[2]) == "upper";
  options.clamp_mtime = std::strtoll(arguments[3], nullptr, 10);
  auto done = image::pack("/", helper_data_fd, options);
  if (!done) return fail(std::move(done.error()));
  return fmt::format("{} {}", done->entries, done->bytes);
}

Result<std::string> resolve(Arguments arguments) {
  if (arguments.size() != 1) return fail(Errc::internal, "passwd takes USER");
  constexpr std::size_t bytes_max = 1 << 20;
  const auto read_or_empty = [](const char* path) { return read_file(path, bytes_max).value_or(""); };
  auto ids = find_user(arguments[0], read_or_empty("/etc/passwd"), read_or_empty("/etc/group"));
  if (!ids) return fail(std::move(ids.error()));
  std::string out = fmt::format("{} {}", ids->uid, ids->gid);
  for (const auto group : ids->groups) out += fmt::format(" {}", group);
  return out;
}

Result<std::string> work(std::string_view name, Arguments arguments) {
  if (auto dropped = drop_capabilities(); !dropped) return fail(std::move(dropped.error()));
  if (name == "unpack-layer") return unpack_layer(image::Whiteouts::translate);
  if (name == "unpack-files") return unpack_layer(image::Whiteouts::refuse);
  if (name == "unpack-over") return unpack_layer(image::Whiteouts::refuse_and_replace);
  if (name == "pack") return pack_folder(arguments);
  if (name == "passwd") return resolve(arguments);
  return fail(Errc::internal, fmt::format("no helper is called '{}'", printable(name)));
}

int answer(const Result<std::string>& result) {
  const std::string line = write_answer(result);
  (void)write_all(STDOUT_FILENO, line);
  return result ? 0 : 1;
}

}  // namespace

namespace {

/// Waits for `child`, the first process of the pid namespace; ends it when nobody reads our answer any more.
int status_of(pid_t child) {
  const int watched = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  pollfd fds[2] = {{.fd = watched, .events = POLLIN, .revents = 0}, {.fd = STDOUT_FILENO, .events = 0, .revents = 0}};
  while (::poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  if (!(fds[0].revents & POLLIN)) ::kill(child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

int run_helper(const std::string& name, const std::string& root, Arguments arguments) {
  if (auto entered = enter_sandbox(root); !entered) return answer(fail(std::move(entered.error()).within("sandbox")));
  const pid_t child = ::fork();  // the first process of the new pid namespace
  if (child < 0) return answer(fail(system_error("fork", errno)));
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::_Exit(answer(work(name, arguments)));
  }
  const int status = status_of(child);
  if (WIFSIGNALED(status))
    return answer(fail(Errc::internal, fmt::format("helper '{}' died of signal {}", name, WTERMSIG(status))));
  return WEXITSTATUS(status);
}

/// In the forked child: the descriptors to where a helper looks for them, and the work.
int answer_call(const Packet& called) {
  ::signal(SIGCHLD, SIG_DFL);
  // Above all targets first, so that none is overwritten before it is moved.
  std::vector<int> lifted;
  for (const auto& fd : called.fds) lifted.push_back(::fcntl(fd.get(), F_DUPFD, 100));
  if (lifted.empty() || ::dup2(lifted[0], STDOUT_FILENO) < 0) return 1;
  for (std::size_t i = 1; i < lifted.size(); ++i) ::dup2(lifted[i], helper_namespace_fd + static_cast<int>(i) - 1);
  ::close_range(helper_namespace_fd + static_cast<unsigned>(lifted.size()) - 1, ~0U, 0);
  std::vector<std::string> strings;
  for (const auto text : split(std::string_view(called.bytes).substr(0, called.bytes.size() - 1), '\0'))
    strings.emplace_back(text);
  if (strings.size() < 2) return answer(fail(Errc::internal, "a helper call without name and root"));
  std::vector<char*> arguments;
  for (std::size_t i = 2; i < strings.size(); ++i) arguments.push_back(strings[i].data());
  return run_helper(strings[0], strings[1], arguments);
}

int serve(int socket) {
  ::signal(SIGCHLD, SIG_IGN);  // nobody waits: the answer goes to the caller's pipe
  while (true) {
    const auto called = receive_rights(socket, 0);
    if (!called || !*called || (*called)->bytes.empty()) return 0;  // the runner is gone
    const pid_t child = ::fork();
    if (child == 0) std::_Exit(answer_call(**called));
    // A fork that failed: the caller finds its pipe closed without an answer.
  }
}

}  // namespace

int helper_main(int argc, char** argv) {
  // argv: wick helper serve /, or wick helper NAME ROOT ARGUMENT…
  if (argc < 4) return answer(fail(Errc::invalid, "helpers are started by the runner, not by hand"));
  if (std::string_view(argv[2]) == "serve") return serve(helper_namespace_fd);
  return run_helper(argv[2], argv[3], Arguments(argv + 4, static_cast<std::size_t>(argc - 4)));
}

}  // namespace wick::container
