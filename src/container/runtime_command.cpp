#include "runtime_command.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>

#include "process_facts.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr auto command_limit = 30s;  // a busy machine needs 100 ms; beyond this the runtime hangs
constexpr auto kill_limit = 2s;      // for the runtime to see the end of what was killed
constexpr std::size_t log_bytes_max = 64 << 10;
constexpr std::size_t state_bytes_max = 4 << 20;

std::vector<std::string> runtime_environment() {
  // The runtimes written in Go live for some 40 ms: collecting garbage is not worth its time.
  return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOGC=off"};
}

/// Kills what `runc exec` runs in a container: it has a session of its own, and must be dead before the runtime is, who
/// is its parent and fetches its end. Unfetched, it would keep the whole container from ending.
void kill_inside(const InstanceId& id, const fs::path& pid_file) {
  const auto text = read_file(pid_file, 64);
  const auto pid = text ? parse_unsigned(trim(*text)) : std::nullopt;
  if (!pid || *pid < 2) return;
  auto pidfd = open_pidfd(static_cast<pid_t>(*pid));
  // The number may have been given to another process: only what is in the instance's control group is ours.
  const auto groups = read_file(fmt::format("/proc/{}/cgroup", *pid), 16 << 10);
  if (pidfd && groups && groups->find("/" + std::string(id.text())) != std::string::npos)
    (void)signal_pidfd(*pidfd, SIGKILL);
}

/// A root folder for `runc exec` with one container, whose state is in `folder`.
Result<TemporaryFolder> view_for_exec(const fs::path& folder, const InstanceId& id) {
  auto state = read_file(folder / "state.json", state_bytes_max);
  if (!state) return fail(std::move(state.error()));
  auto shown = state_without_network(*state);
  if (!shown) return fail(std::move(shown.error()));
  auto view = TemporaryFolder::make(folder, "exec-");  // below the runtime's root, where end_strays() looks
  if (!view) return view;
  if (auto made = make_folders(view->path() / id.text(), 0700); !made) return fail(std::move(made.error()));
  if (auto put = write_file(view->path() / id.text() / "state.json", *shown, 0600); !put)
    return fail(std::move(put.error()));
  return view;
}

/// The value of the last msg="…" of a logfmt text, unquoted.
std::string last_message(std::string_view log) {
  const auto at = log.rfind("msg=\"");
  if (at == std::string_view::npos) return std::string(trim(log));
  std::string out;
  for (std::size_t i = at + 5; i < log.size() && log[i] != '"'; ++i) {
    if (log[i] == '\\' && i + 1 < log.size()) ++i;
    out += log[i];
  }
  return out;
}

void drop_prefix(std::string& text, std::string_view prefix) {
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
}

bool mentions(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

Result<std::string> state_without_network(std::string_view state) {
  namespace json = boost::json;
  boost::system::error_code error;
  json::value parsed = json::parse(state, error);
  const auto unknown = [] {
    return fail(Errc::unsupported, "the runtime keeps its state in a form that is not known");
  };
  if (error || !parsed.is_object()) return unknown();
  json::value* config = parsed.get_object().if_contains("config");
  json::value* paths = parsed.get_object().if_contains("namespace_paths");
  json::value* list = config && config->is_object() ? config->get_object().if_contains("namespaces") : nullptr;
  if (!list || !list->is_array() || !paths || !paths->is_object()) return unknown();
  const auto is_network = [](const json::value& entry) {
    const json::value* type = entry.is_object() ? entry.get_object().if_contains("type") : nullptr;
    return type && type->is_string() && type->get_string() == "NEWNET";
  };
  auto& namespaces = list->get_array();
  const auto found = std::ranges::find_if(namespaces, is_network);
  if (found == namespaces.end()) return unknown();
  namespaces.erase(found);
  paths->get_object().erase("NEWNET");
  return json::serialize(parsed);
}

Error explain_runtime_failure(std::string_view log, const Process& process) {
  std::string message = last_message(log);
  for (const std::string_view prefix :
       {"runc create failed: ", "runc start failed: ", "runc exec failed: ", "exec failed: ",
        "unable to start container process: ", "error during container init: ",
        "container_linux.go:380: starting container process caused: "})
    drop_prefix(message, prefix);
  const std::string command = printable(process.argv.empty() ? "" : process.argv.front(), 200);
  const std::string folder = printable(process.working_folder, 200);
  if (message.starts_with("exec: ")) {
    if (mentions(message, "not found in $PATH") || mentions(message, "no such file or directory"))
      return Error(Errc::not_found, fmt::format("the command '{}' is not in the image", command))
          .hint("check the image's entrypoint and the command of the service");
    if (mentions(message, "permission denied"))
      return Error(Errc::denied, fmt::format("the command '{}' is not executable for user {}", command, process.uid))
          .hint("chmod +x the file, or set another USER");
  }
  if (mentions(message, "cwd") || (mentions(message, "mkdir") && mentions(message, "read-only file system"))) {
    if (mentions(message, "permission denied"))
      return Error(Errc::denied, fmt::format("user {} may not enter the working folder '{}'", process.uid, folder));
    return Error(Errc::not_found, fmt::format("the working folder '{}' is not in the image", folder))
        .hint("create it in the image (WORKDIR does), or set another one");
  }
  if (message.empty()) message = "the container runtime failed without a message";
  return Error(Errc::io, printable(message, 600));
}

void RuntimeCommand::end_strays() const {
  constexpr int end_limit_ms = 2000;
  // "runc\0--root\0/run/wick/runc\0…", as run() and create() write it; execute() has a folder below that.
  const std::string mark = std::string("\0--root\0", 8) + root_.string();
  const auto is_ours = [&](std::string_view line) {
    const auto at = line.find(mark);
    const char after = at == line.npos || at + mark.size() >= line.size() ? 'x' : line[at + mark.size()];
    return after == '\0' || after == '/';
  };
  std::error_code error;
  for (const auto& process : fs::directory_iterator("/proc", error)) {
    const auto pid = parse_unsigned(process.path().filename().string());
    if (!pid || *pid == static_cast<std::uint64_t>(::getpid())) continue;
    const auto line = read_file(process.path() / "cmdline", 64 << 10);
    if (!line || !is_ours(*line)) continue;
    auto pidfd = open_pidfd(static_cast<pid_t>(*pid));
    if (!pidfd) continue;
    // The number may have been given to another process since we looked.
    const auto again = read_file(process.path() / "cmdline", 64 << 10);
    if (!again || *again != *line) continue;
    log::warn("ending a runtime command of an earlier life", {{"pid", static_cast<std::int64_t>(*pid)}});
    (void)signal_pidfd(*pidfd, SIGKILL);
    pollfd ended{.fd = pidfd->get(), .events = POLLIN, .revents = 0};
    ::poll(&ended, 1, end_limit_ms);
  }
}

bool RuntimeCommand::knows(const InstanceId& id) const {
  std::error_code error;
  return fs::exists(root_ / id.text(), error);
}

std::vector<std::string> RuntimeCommand::command(const fs::path& root, std::vector<std::string> rest) const {
  std::vector<std::string> argv{program_};
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  argv.insert(argv.end(), {"--root", root.string()});
  argv.insert(argv.end(), rest.begin(), rest.end());
  return argv;
}

awaitable<Result<pid_t>> RuntimeCommand::create(Executor executor, InstanceId id, fs::path bundle, int log,
                                                int door) const {
  ProcessOptions options;
  std::vector<std::string> rest{"--log",      (bundle / "runtime.log").string(), "create", "--bundle", bundle.string(),
                                "--pid-file", (bundle / "pid").string()};
  if (door >= 0) {
    rest.insert(rest.end(), {"--preserve-fds", "1"});
    options.extra_fds = {{door, 3}};
  }
  rest.emplace_back(id.text());
  options.argv = command(std::move(rest));
  options.environment = runtime_environment();
  options.stdout_fd = options.stderr_fd = log;
  auto child = ChildProcess::spawn(executor, options);
  if (!child) co_return fail(std::move(child.error()));
  SteadyClock clock;
  ExitStatus status;
  try {
    auto ended = child->wait();
    status = co_await with_deadline(clock, command_limit, std::move(ended));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out,
                   fmt::format("'{} create' did not end within {} s", program_, command_limit.count()));
  }
  if (!status.ok()) {
    auto text = read_file(bundle / "runtime.log", log_bytes_max);
    co_return fail(Errc::io, text ? *text : fmt::format("'{} create': {}", program_, status.text()));
  }
  auto text = read_file(bundle / "pid", 64);
  const auto pid = text ? parse_unsigned(trim(*text)) : std::nullopt;
  if (!pid || *pid < 2) co_return fail(Errc::io, fmt::format("'{} create' gave no process id", program_));
  co_return static_cast<pid_t>(*pid);
}

/// The command line of an exec of folder/process.json, and what runc is shown in place of root_ while it runs.
Result<std::optional<TemporaryFolder>> RuntimeCommand::compose_exec(ProcessOptions& options, const InstanceId& id,
                                                                    const fs::path& folder, const std::string& network,
                                                                    std::vector<std::string> flags) const {
  std::vector<std::string> verb{
      "--log",      (folder / "runtime.log").string(), "exec", "--process", (folder / "process.json").string(),
      "--pid-file", (folder / "pid").string()};
  verb.insert(verb.end(), std::make_move_iterator(flags.begin()), std::make_move_iterator(flags.end()));
  verb.emplace_back(id.text());
  options.environment = runtime_environment();
  std::optional<TemporaryFolder> view;
  if (has_start_fifo()) {
    auto made = view_for_exec(root_ / id.text(), id);
    if (!made) return fail(std::move(made.error()));
    view.emplace(std::move(*made));
    options.argv = command(view->path(), std::move(verb));
    options.argv.insert(options.argv.begin(), {"nsenter", "--net=" + network, "--"});
  } else {
    options.argv = command(std::move(verb));
  }
  return view;
}

awaitable<Result<pid_t>> RuntimeCommand::begin_exec(InstanceId id, fs::path folder, const Process& process,
                                                    std::string network, ExecStreams streams) const {
  std::vector<std::string> flags{"--detach"};
  if (!streams.console.empty()) flags.insert(flags.end(), {"--tty", "--console-socket", streams.console});
  ProcessOptions options;
  auto view = compose_exec(options, id, folder, network, std::move(flags));
  if (!view) co_return fail(std::move(view.error()));
  options.stdin_fd = streams.in;
  options.stdout_fd = streams.out;
  options.stderr_fd = streams.err;
  auto child = ChildProcess::spawn(co_await asio::this_coro::executor, options);
  if (!child) co_return fail(std::move(child.error()));
  SteadyClock clock;
  ExitStatus status;
  try {
    auto ended = child->wait();
    status = co_await with_deadline(clock, command_limit, std::move(ended));
  } catch (const DeadlineExceeded&) {
    kill_inside(id, folder / "pid");
    co_return fail(Errc::timed_out, fmt::format("'{} exec' did not end within {} s", program_, command_limit.count()));
  }
  if (!status.ok()) {
    auto text = read_file(folder / "runtime.log", log_bytes_max);
    co_return fail(explain_runtime_failure(text ? *text : status.text(), process));
  }
  auto text = read_file(folder / "pid", 64);
  const auto pid = text ? parse_unsigned(trim(*text)) : std::nullopt;
  if (!pid || *pid < 2) co_return fail(Errc::io, fmt::format("'{} exec' gave no process id", program_));
  co_return static_cast<pid_t>(*pid);
}

awaitable<Result<Executed>> RuntimeCommand::execute(InstanceId id, fs::path folder, const Process& process,
                                                    std::string network, std::chrono::milliseconds limit) const {
  const auto log = folder / "runtime.log";
  ProcessOptions options;
  auto view = compose_exec(options, id, folder, network, {});
  if (!view) co_return fail(std::move(view.error()));
  const auto too_late = [limit] {
    return fail(Errc::timed_out, fmt::format("the command did not end within {} ms", limit.count()));
  };
  auto over = std::make_shared<bool>(false);
  asio::steady_timer at_limit(co_await asio::this_coro::executor, limit);
  at_limit.async_wait([over, id, pid_file = folder / "pid"](const boost::system::error_code& error) {
    if (error) return;
    *over = true;
    kill_inside(id, pid_file);
  });
  SteadyClock clock;
  try {
    auto running = run_process(std::move(options), execute_output_bytes_max);
    auto finished = co_await with_deadline(clock, limit + kill_limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()));
    if (*over) co_return too_late();
    // The runtime's own failure ends with a code too, but leaves a word about it.
    if (!finished->status.ok())
      if (auto text = read_file(log, log_bytes_max); text && mentions(*text, "level=error"))
        co_return fail(explain_runtime_failure(*text, process));
    Executed executed{.status = finished->status, .output = std::move(finished->output)};
    co_return executed;
  } catch (const DeadlineExceeded&) {
    co_return too_late();
  }
}

awaitable<Result<void>> RuntimeCommand::run(std::vector<std::string> verb, InstanceId id) const {
  ProcessOptions options;
  auto rest = verb;
  rest.emplace_back(id.text());
  options.argv = command(std::move(rest));
  options.environment = runtime_environment();
  SteadyClock clock;
  try {
    auto running = run_process(std::move(options));
    auto finished = co_await with_deadline(clock, command_limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()));
    if (finished->status.ok() || mentions(finished->output, "does not exist")) co_return Result<void>{};
    co_return fail(Errc::io,
                   fmt::format("'{} {}': {}", program_, verb.front(), printable(trim(finished->output), 400)));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out,
                   fmt::format("'{} {}' did not end within {} s", program_, verb.front(), command_limit.count()));
  }
}

awaitable<Result<void>> RuntimeCommand::start(InstanceId id) const { return run({"start"}, id); }
awaitable<Result<void>> RuntimeCommand::remove(InstanceId id) const { return run({"delete"}, id); }
awaitable<Result<void>> RuntimeCommand::remove_by_force(InstanceId id) const { return run({"delete", "--force"}, id); }

}  // namespace wick::container
