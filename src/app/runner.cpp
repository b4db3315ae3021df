#include "app/runner.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <csignal>
#include <cstdio>
#include <map>

#include "app/complain.hpp"
#include "app/config.hpp"
#include "app/secret_key.hpp"
#include "wick/base/log.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/os/files.hpp"
#include "wick/os/seqpacket.hpp"
#include "wick/os/shelf.hpp"
#include "wick/os/systemd.hpp"

namespace wick::app {

namespace {

namespace fs = std::filesystem;

/// Waits for the one front of this unit: a connection from the front's uid (or root) on `listener`.
Result<Fd> accept_front(const Fd& listener, uid_t front_uid) {
  while (true) {
    Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!connection) return fail(system_error("accept", errno));
    ucred peer{};
    socklen_t length = sizeof peer;
    if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) continue;
    if (peer.uid == 0 || peer.uid == front_uid) return connection;
    log::warn("refused a stranger at the runner's socket", {{"uid", peer.uid}, {"pid", peer.pid}});
  }
}

Result<Fd> listen_for_front(const fs::path& path, gid_t front_gid) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.string().size() >= sizeof address.sun_path)
    return fail(Errc::invalid, "the socket's path is too long: " + path.string());
  path.string().copy(address.sun_path, path.string().size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 4) != 0)
    return fail(system_error("listen on " + path.string(), errno));
  if (::chown(path.c_str(), 0, front_gid) != 0 || ::chmod(path.c_str(), 0660) != 0)
    return fail(system_error("give " + path.string() + " to the front", errno));
  return socket;
}

/// From systemd's store to a shelf, so that the store keeps nothing of instances that end from here on.
Result<std::shared_ptr<const Shelf>> shelf_from_systemd() {
  auto made = Shelf::make();
  if (!made) return fail(std::move(made.error()));
  std::map<std::string, std::vector<Fd>> stored;
  for (auto& passed : take_passed_sockets()) stored[passed.name].push_back(std::move(passed.fd));
  for (const auto& [name, fds] : stored) {
    std::vector<int> numbers;
    for (const auto& fd : fds) numbers.push_back(fd.get());
    if (auto put = made->put(name, numbers); !put)
      log::warn("not taken from systemd's store", {{"name", name}, {"error", put.error().what()}});
    notify_systemd("FDSTOREREMOVE=1\nFDNAME=" + name);
  }
  return std::make_shared<const Shelf>(std::move(*made));
}

void shelf_to_systemd(const Shelf& shelf) {
  for (const auto& kept : shelf.take()) {
    std::vector<int> numbers;
    for (const auto& fd : kept.fds) numbers.push_back(fd.get());
    store_with_systemd(kept.name, numbers);
  }
}

/// In a unit of its own: waits for the front, serves it, and ends with it; the unit starts the next one, which adopts
/// what runs.
Result<int> serve_fronts(const Config& config, container::RunnerOptions options) {
  if (config.front_uid < 0) {
    const passwd* user = ::getpwnam("wick");
    if (user == nullptr)
      return fail(Errc::not_found, "there is no user wick",
                  "make it with packaging/sysusers.d/wick.conf, or give --front-uid");
    options.front_uid = user->pw_uid;
    options.front_gid = user->pw_gid;
  }
  if (auto made = make_folders(config.run, 0755); !made) return fail(std::move(made.error()));
  auto listener = listen_for_front(config.run / "runner.sock", options.front_gid);
  if (!listener) return fail(std::move(listener.error()));
  auto shelf = shelf_from_systemd();
  if (!shelf) return fail(std::move(shelf.error()));
  options.shelf = *shelf;
  notify_systemd("READY=1");
  auto front = accept_front(*listener, options.front_uid);
  if (!front) return fail(std::move(front.error()));
  const int code = container::runner_main(std::move(*front), std::move(options));
  shelf_to_systemd(**shelf);
  return code;
}

awaitable<Result<std::size_t>> remove_all(container::RunnerClient& runner) {
  auto existing = co_await runner.list();
  if (!existing) co_return fail(std::move(existing.error()));
  for (const auto& instance : *existing)
    if (auto removed = co_await runner.remove(instance.id); !removed)
      co_return fail(std::move(removed.error()).within("instance " + std::string(instance.id.text())));
  co_return existing->size();
}

/// A runner with this process for its front, whose first and last wish is that nothing runs.
Result<int> end_all(container::RunnerOptions options) {
  auto ends = Seqpacket::pair();
  if (!ends) return fail(std::move(ends.error()));
  options.front_uid = ::geteuid();
  const pid_t child = ::fork();
  if (child < 0) return fail(system_error("fork", errno));
  if (child == 0) {
    ends->first.reset();
    ::_exit(container::runner_main(std::move(ends->second), std::move(options)));
  }
  ends->second.reset();
  asio::io_context loop(1);
  container::RunnerClient runner(loop.get_executor(), std::move(ends->first));
  std::optional<Result<std::size_t>> ended;
  auto listening = runner.run();
  asio::co_spawn(loop, std::move(listening), [](const std::exception_ptr&) {});
  auto removing = remove_all(runner);
  asio::co_spawn(loop, std::move(removing), [&](const std::exception_ptr& error, Result<std::size_t> count) {
    ended = error ? fail(Errc::internal, "the runner does not answer") : std::move(count);
    runner.close();
  });
  loop.run();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ended || !*ended) return fail(ended ? std::move(ended->error()) : Error(Errc::internal, "the runner is gone"));
  fmt::print("{} instances ended\n", **ended);
  return 0;
}

}  // namespace

int runner_main(int argc, char** argv) {
  auto config = parse_config(argc, argv);
  if (!config) return complain(config.error());
  if (config->help) {
    fmt::print("{}", config_help("runner"));
    return 0;
  }
  log::set_json(config->log_json);
  std::signal(SIGPIPE, SIG_IGN);
  if (::geteuid() != 0)
    return complain(Error(Errc::denied, "wick runner must be root").hint("wick serve starts it by itself"));
  container::RunnerOptions options{.state_folder = config->state / "runner",
                                   .run_folder = config->run,
                                   .runtime = config->runtime,
                                   .runtime_classes = config->runtime_classes};
  if (config->make_key) {
    const auto vault = open_vault(*config);
    return vault ? 0 : complain(vault.error());
  }
  if (config->end_all) {
    auto code = end_all(std::move(options));
    return code ? *code : complain(code.error());
  }
  if (config->front_uid >= 0) options.front_uid = static_cast<uid_t>(config->front_uid);
  if (config->front_gid >= 0) options.front_gid = static_cast<gid_t>(config->front_gid);
  if (config->shelf_in >= 0 && config->shelf_out >= 0) {
    for (const int fd : {config->shelf_in, config->shelf_out}) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    options.shelf = std::make_shared<const Shelf>(Fd(config->shelf_in), Fd(config->shelf_out));
  }
  if (config->runner_fd >= 0) {
    ::fcntl(config->runner_fd, F_SETFD, FD_CLOEXEC);
    return container::runner_main(Fd(config->runner_fd), std::move(options));
  }
  auto code = serve_fronts(*config, std::move(options));
  return code ? *code : complain(code.error());
}

}  // namespace wick::app
