#include "app/serve.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <optional>

#include "app/complain.hpp"
#include "app/config.hpp"
#include "app/front.hpp"
#include "app/guard.hpp"
#include "app/identity.hpp"
#include "app/runner.hpp"
#include "app/secret_key.hpp"
#include "wick/base/log.hpp"
#include "wick/http/server.hpp"
#include "wick/os/files.hpp"
#include "wick/os/seqpacket.hpp"
#include "wick/os/shelf.hpp"
#include "wick/os/systemd.hpp"

namespace wick::app {

namespace {

namespace fs = std::filesystem;

/// The front is nobody special: every folder on the way to its own must let others through.
Result<void> check_reachable(const fs::path& folder, const Identity& identity) {
  for (auto parent = fs::absolute(folder).parent_path();; parent = parent.parent_path()) {
    struct stat info{};
    if (::stat(parent.c_str(), &info) != 0) return fail(system_error("stat " + parent.string(), errno));
    if (info.st_uid != identity.uid && !(info.st_mode & S_IXOTH))
      return fail(Errc::denied,
                  fmt::format("the front (uid {}) cannot get through {} to its state", identity.uid, parent.string()),
                  fmt::format("chmod o+x {}, or choose another folder with --state", parent.string()));
    if (parent == parent.root_path()) return {};
  }
}

/// The state folder itself stays root's, so that the front cannot put a folder of its own where the runner's is.
Result<void> make_own_folders(const Config& config, const Identity& identity) {
  for (const auto& folder : {config.state, config.run})
    if (auto made = make_folders(folder, 0755); !made) return made;
  const auto own = front_folder(config);
  if (auto made = make_folders(own, 0700); !made) return made;
  if (::chown(own.c_str(), identity.uid, identity.gid) != 0) return fail(system_error("chown " + own.string(), errno));
  return check_reachable(own, identity);
}

/// The API over TCP is spoken to in clear too, so it stays on this machine.
Result<void> open_api_tcp(const Config& config, Fd& socket) {
  constexpr std::string_view flag = "--api-listen";
  if (socket || config.api_listen == "none") return {};
  const auto& wanted = config.api_listen;
  if (!wanted.empty() && !wanted.starts_with("127.") && !wanted.starts_with("[::1]:") &&
      !wanted.starts_with("localhost:"))
    return fail(Errc::invalid, fmt::format("{}: '{}' is not a loopback address", flag, wanted),
                "the API speaks plain HTTP with tokens: reach it from elsewhere through ssh -L");
  auto listener = http::listen_on(wanted.empty() ? "127.0.0.1:6443" : wanted);
  // Nobody asked for that port: another will do, and wick kubeconfig knows which.
  if (!listener && wanted.empty()) listener = http::listen_on("127.0.0.1:0");
  if (!listener)
    return fail(std::move(listener.error())
                    .within(std::string(flag))
                    .hint(fmt::format("choose another address with {}", flag)));
  socket = std::move(*listener);
  return {};
}

constexpr std::string_view more_name = "also-";  // and its place in the configuration
constexpr std::string_view shelf_in_name = "shelf-in";
constexpr std::string_view shelf_out_name = "shelf-out";

/// Whoever is on this machine may send requests to services, over TCP as well.
Result<void> open_to_all(const std::string& address) {
  constexpr std::string_view prefix = "unix:";
  if (address.starts_with(prefix) && ::chmod(address.c_str() + prefix.size(), 0666) != 0)
    return fail(system_error("chmod " + address, errno));
  return {};
}

/// Those of the front, and a shelf for its runner where a guard holds one from front to front.
struct Sockets {
  FrontSockets front;
  std::optional<Shelf> shelf;
};

Result<Sockets> open_sockets(const Config& config) {
  Sockets all;
  auto& sockets = all.front;
  Fd shelf_in, shelf_out;
  std::map<std::string, Fd> more;  // of the process that we were before an upgrade
  for (auto& passed : take_passed_sockets()) {
    // A socket unit with several ListenStream= gives them one name.
    const bool https = passed.name == "https";
    if (passed.name.starts_with(more_name))
      more.emplace(passed.name, std::move(passed.fd));
    else if ((https && sockets.https) || (passed.name == "http" && sockets.http))
      sockets.more.push_back({.fd = std::move(passed.fd), .https = https, .proxy_header = config.proxy_header});
    else if (passed.name == "http")
      sockets.http = std::move(passed.fd);
    else if (passed.name == "events")
      sockets.events = std::move(passed.fd);
    else if (passed.name == "https")
      sockets.https = std::move(passed.fd);
    else if (passed.name == "api")
      sockets.api = std::move(passed.fd);
    else if (passed.name == "api-tcp")
      sockets.api_tcp = std::move(passed.fd);
    else if (passed.name == shelf_in_name)
      shelf_in = std::move(passed.fd);
    else if (passed.name == shelf_out_name)
      shelf_out = std::move(passed.fd);
    else
      log::warn("unknown passed socket", {{"name", passed.name}});
  }
  const auto open = [](Fd& socket, const std::string& address, std::string_view flag) -> Result<void> {
    if (socket) return {};
    auto listener = http::listen_on(address);
    if (!listener)
      return fail(std::move(listener.error())
                      .within(std::string(flag))
                      .hint(fmt::format("choose another address with {}", flag)));
    socket = std::move(*listener);
    return {};
  };
  if (auto opened = open(sockets.http, config.listen, "--listen"); !opened) return fail(std::move(opened.error()));
  if (!config.https_listen.empty())
    if (auto opened = open(sockets.https, config.https_listen, "--https-listen"); !opened)
      return fail(std::move(opened.error()));
  if (auto opened = open(sockets.events, config.events_listen, "--events-listen"); !opened)
    return fail(std::move(opened.error()));
  if (auto opened = open(sockets.api, "unix:" + config.api_socket().string(), "--run"); !opened)
    return fail(std::move(opened.error()));
  if (auto opened = open_api_tcp(config, sockets.api_tcp); !opened) return fail(std::move(opened.error()));
  for (std::size_t i = 0; i < config.also_listen.size(); ++i) {
    const auto& wanted = config.also_listen[i];
    Fd fd = std::move(more[fmt::format("{}{}", more_name, i)]);
    if (auto opened = open(fd, wanted.address, "--also-listen"); !opened) return fail(std::move(opened.error()));
    if (auto opened = open_to_all(wanted.address); !opened) return fail(std::move(opened.error()));
    sockets.more.insert(sockets.more.begin() + static_cast<std::ptrdiff_t>(i),
                        {.fd = std::move(fd), .https = wanted.https, .proxy_header = wanted.proxy_header});
    if (wanted.https && !sockets.https)
      return fail(Errc::invalid, "--also-listen: https is spoken nowhere else",
                  "give one address with --https-listen: its port is what redirects and URLs name");
  }
  if (auto opened = open_to_all(config.listen); !opened) return fail(std::move(opened.error()));
  if (shelf_in && shelf_out) {
    all.shelf.emplace(std::move(shelf_in), std::move(shelf_out));
  } else if (config.linger.count() > 0 && config.runner_socket.empty()) {
    auto made = Shelf::make();
    if (!made) return fail(std::move(made.error()));
    all.shelf = std::move(*made);
  }
  return all;
}

/// The forked runner's end of the socket is closed in this process once it runs: when we die, it sees the end of file
/// and goes too.
Result<Fd> fork_runner(const Config& config, const Identity& identity, const std::optional<Shelf>& shelf) {
  auto ends = Seqpacket::pair();
  if (!ends) return fail(std::move(ends.error()));
  const pid_t child = ::fork();
  if (child < 0) return fail(system_error("fork", errno));
  if (child == 0) {
    // Its own process group: Ctrl-C on a terminal is for the front, which then tells the runner.
    ::setpgid(0, 0);
    ends->first.reset();
    const int kept = ::dup(ends->second.get());  // without close-on-exec
    std::vector<std::string> argv{"wick",        "runner",
                                  "--fd",        std::to_string(kept),
                                  "--state",     config.state.string(),
                                  "--run",       config.run.string(),
                                  "--runtime",   config.runtime,
                                  "--front-uid", std::to_string(identity.uid),
                                  "--front-gid", std::to_string(identity.gid)};
    for (const auto& given : config.runtime_classes) {
      argv.emplace_back("--runtime-class");
      argv.push_back(fmt::format("{}={} {}", given.name, given.program, fmt::join(given.flags, " ")));
    }
    if (shelf)
      for (const auto& [flag, end] : {std::pair{"--shelf-in", &shelf->in()}, {"--shelf-out", &shelf->out()}}) {
        argv.emplace_back(flag);
        argv.push_back(std::to_string(::dup(end->get())));
      }
    if (config.log_json) argv.push_back("--log-json");
    std::vector<char*> raw;
    for (auto& argument : argv) raw.push_back(argument.data());
    raw.push_back(nullptr);
    ::execv("/proc/self/exe", raw.data());
    ::_exit(127);
  }
  return std::move(ends->first);
}

Result<Fd> connect_runner(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return fail(Errc::invalid, "the path of the runner's socket is too long: " + path);
  path.copy(address.sun_path, path.size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail(system_error("connect to the runner at " + path, errno).hint("start it: systemctl start wick-runner"));
  }
  return socket;
}

/// `configured`: so many of the further ones are not systemd's.
std::vector<Listener> listeners_of(const Sockets& all, std::size_t configured) {
  const auto& sockets = all.front;
  std::vector<Listener> listeners;
  const auto add = [&](std::string name, const Fd& fd) {
    if (fd) listeners.push_back({std::move(name), &fd});
  };
  add("http", sockets.http);
  add("events", sockets.events);
  add("https", sockets.https);
  add("api", sockets.api);
  add("api-tcp", sockets.api_tcp);
  for (std::size_t i = 0; i < sockets.more.size(); ++i) {
    const auto& more = sockets.more[i];
    add(i < configured ? fmt::format("{}{}", more_name, i) : more.https ? "https" : "http", more.fd);
  }
  if (all.shelf) {
    add(std::string(shelf_in_name), all.shelf->in());
    add(std::string(shelf_out_name), all.shelf->out());
  }
  return listeners;
}

/// `program` is what we run, as it lay on the disk when we began; `arguments` are ours.
Result<int> serve(const Config& config, const std::string& program, std::vector<std::string> arguments) {
  const bool root = ::geteuid() == 0;
  if (!root && config.runner_socket.empty())
    return fail(Errc::denied, "wick serve must start as root: it forks its runner and then gives every right away",
                "sudo wick serve, or name a running runner with --runner SOCKET");
  Identity identity{.uid = ::geteuid(), .gid = ::getegid()};
  if (root) {
    auto front = front_identity(front_folder(config));
    if (!front) return fail(std::move(front.error()));
    identity = *front;
    if (auto made = make_own_folders(config, identity); !made) return fail(std::move(made.error()));
  } else if (auto made = make_folders(front_folder(config), 0700); !made) {
    return fail(std::move(made.error()));
  }
  auto opened = open_sockets(config);
  if (!opened) return fail(std::move(opened.error()));
  auto& sockets = opened->front;
  if (root && ::chown(config.api_socket().c_str(), identity.uid, identity.gid) != 0 && errno != ENOENT)
    return fail(system_error("chown " + config.api_socket().string(), errno));
  pid_t guarding = 0;
  if (config.linger.count() > 0) {
    auto forked = fork_guarded();
    if (!forked) return fail(std::move(forked.error()));
    if (forked->front != 0)
      return guard(std::move(*forked), program, std::move(arguments), listeners_of(*opened, config.also_listen.size()));
    sockets.guard = std::move(forked->line);
    guarding = forked->guard;
  }
  auto vault = open_vault(config);
  if (!vault) return fail(std::move(vault.error()));
  // Opened while we may: /var/log belongs to root.
  if (!config.access_log.empty()) {
    sockets.access_log.reset(::open(config.access_log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
    if (!sockets.access_log)
      return fail(system_error("open " + config.access_log.string(), errno).within("--access-log"));
  }
  auto runner = config.runner_socket.empty() ? fork_runner(config, identity, opened->shelf)
                                             : connect_runner(config.runner_socket);
  if (!runner) return fail(std::move(runner.error()));
  sockets.runner = std::move(*runner);
  opened->shelf.reset();
  if (root)
    if (auto dropped = become(identity); !dropped) return fail(std::move(dropped.error()));
  if (guarding != 0)
    if (auto tied = die_with_guard(guarding); !tied) return fail(std::move(tied.error()));
  // From here on this process has no right that another user's process would not have.
  return run_front(config, std::move(sockets), std::move(*vault));
}

}  // namespace

int serve_main(int argc, char** argv) {
  auto config = parse_config(argc, argv);
  if (!config) return complain(config.error());
  if (config->help) {
    fmt::print("{}", config_help("serve"));
    return 0;
  }
  log::set_json(config->log_json);
  std::signal(SIGPIPE, SIG_IGN);
  ::umask(0022);
  std::error_code unknown;
  const auto program = fs::read_symlink("/proc/self/exe", unknown);
  std::vector<std::string> arguments{"wick"};
  arguments.insert(arguments.end(), argv, argv + argc);
  auto code = serve(*config, program.string(), std::move(arguments));
  return code ? *code : complain(code.error());
}

}  // namespace wick::app
