// A command beside a service's program: Kubernetes' exec channels (src/api/exec.cpp) from the client's side. One poll
// loop; what is read from the user is bounded by what the daemon takes, and written to the user as it comes.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cstring>
#include <span>

#include "app/cli/read_json.hpp"
#include "app/cli/verbs.hpp"
#include "wick/base/text.hpp"
#include "wick/http/message.hpp"
#include "wick/http/websocket.hpp"
#include "wick/os/fd.hpp"

namespace wick::app::cli {

namespace {

using http::WebSocketEnd;
using http::WebSocketMessage;

constexpr std::string_view protocol = "v5.channel.k8s.io";
constexpr std::size_t head_bytes_max = 64 << 10;
constexpr std::size_t message_bytes_max = 4 << 20;
constexpr std::size_t outgoing_bytes_max = 128 << 10;  // past it nothing more is read from the user
constexpr char channel_in = 0, channel_out = 1, channel_err = 2, channel_status = 3, channel_resize = 4;
constexpr char channel_close = static_cast<char>(255);

/// The user's terminal as the command's: every key goes through, until this goes.
class RawTerminal {
 public:
  RawTerminal() : changed_(::tcgetattr(0, &before_) == 0) {
    termios raw = before_;
    ::cfmakeraw(&raw);
    if (changed_) ::tcsetattr(0, TCSADRAIN, &raw);
  }
  RawTerminal(const RawTerminal&) = delete;
  ~RawTerminal() {
    if (changed_) ::tcsetattr(0, TCSADRAIN, &before_);
  }

 private:
  termios before_{};
  bool changed_;
};

/// SIGWINCH and what ends us, as a descriptor; their own actions are back when it goes.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (const int number : {SIGWINCH, SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&set_, number);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = Fd(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  Signals(const Signals&) = delete;
  ~Signals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  int fd() const { return fd_.get(); }
  int take() {
    signalfd_siginfo info{};
    return ::read(fd_.get(), &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
  Fd fd_;
};

Problem lost(std::string because) {
  return {.exit = ExitCode::unreachable,
          .what = "the connection to the wick daemon was lost, and the command has ended",
          .slug = "E_UNREACHABLE",
          .because = std::move(because),
          .hint = "it may be restarting: try again; journalctl -u wick says why"};
}

Outcome<Fd> connect_to(const std::string& path) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (path.size() >= sizeof address.sun_path) return stop_with(lost("the path of the socket is too long"));
  std::memcpy(address.sun_path, path.data(), path.size());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return stop_with(lost(std::strerror(errno)));
  return socket;
}

/// The pod that `name` means: its own name, an instance's id, or the newest ready one of a service; the service's own
/// name where it has none.
Outcome<std::string> find_pod(Session& session, const std::string& name) {
  auto pods = session.client.get(resource_path("v1", session.name_space, "pods"));
  if (!pods) return stop_with(std::move(pods.error()));
  std::string newest, made;
  for (const auto& pod : array_at(*pods, "/items")) {
    const auto pod_name = text_at(pod, "/metadata/name");
    if (pod_name == name || pod_name.ends_with("-" + name)) return pod_name;
    const auto when = text_at(pod, "/metadata/creationTimestamp");
    const bool leaving = !text_at(pod, "/metadata/deletionTimestamp").empty();
    if (leaving || text_at(pod, "/metadata/labels/serving.knative.dev~1service") != name || when < made) continue;
    newest = pod_name;
    made = when;
  }
  if (!newest.empty()) return newest;
  auto service = session.client.find(service_path(session.name_space, name));
  if (!service) return stop_with(std::move(service.error()));
  if (*service) return name;  // at zero: the daemon starts an instance
  return stop_with({.exit = ExitCode::not_found,
                    .what = fmt::format("there is no service or instance {}", name),
                    .slug = "E_NOT_FOUND",
                    .hint = "wick ps lists the services"});
}

class ExecTalk {
 public:
  ExecTalk(Session& session, Fd socket, bool input, bool terminal)
      : session_(session), socket_(std::move(socket)), input_(input), terminal_(terminal) {}

  Outcome<void> open(const std::string& target) {
    const auto key = http::websocket_key();
    outgoing_ = fmt::format(
        "GET {} HTTP/1.1\r\nHost: wick\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: {}\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        target, key, protocol);
    while (!outgoing_.empty())
      if (!flush()) return stop_with(lost(std::strerror(errno)));
    std::size_t end = 0;
    while ((end = incoming_.find("\r\n\r\n")) == incoming_.npos) {
      if (incoming_.size() > head_bytes_max || !receive()) return stop_with(lost("it gave no answer"));
    }
    const auto head = incoming_.substr(0, end + 2);
    incoming_.erase(0, end + 4);
    const auto status = parse_unsigned(std::string_view(head).substr(std::min<std::size_t>(9, head.size()), 3));
    if (status == 101 && head.find(http::websocket_accept(key)) != head.npos) return {};
    // Errors are short documents. The daemon would keep the connection: it is told that nothing more comes.
    ::shutdown(socket_.get(), SHUT_WR);
    while (incoming_.size() < head_bytes_max && receive()) {
    }
    return stop_with(problem_of(static_cast<int>(status.value_or(500)), incoming_));
  }

  Outcome<void> run() {
    std::optional<RawTerminal> raw;
    if (terminal_ && input_) raw.emplace();
    Signals signals;
    ::fcntl(socket_.get(), F_SETFL, ::fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
    if (terminal_) send_size();
    while (true) {
      auto taken = take_messages();
      if (!taken) return taken;
      if (ended_) return end_;
      const bool reads = input_ && outgoing_.size() < outgoing_bytes_max;
      pollfd waits[] = {{socket_.get(), static_cast<short>(POLLIN | (outgoing_.empty() ? 0 : POLLOUT)), 0},
                        {signals.fd(), POLLIN, 0},
                        {reads ? 0 : -1, POLLIN, 0}};
      if (::poll(waits, std::size(waits), -1) < 0 && errno != EINTR) return stop_with(lost(std::strerror(errno)));
      if (waits[1].revents) {
        const int number = signals.take();
        if (number == SIGWINCH && terminal_) send_size();
        if (number != 0 && number != SIGWINCH) return stop_with({.exit = static_cast<ExitCode>(128 + number)});
      }
      if (waits[2].revents) read_input();
      if ((waits[0].revents & POLLOUT) && !flush()) return stop_with(lost(std::strerror(errno)));
      if ((waits[0].revents & (POLLIN | POLLHUP | POLLERR)) && !receive()) return stop_with(lost("it was closed"));
    }
  }

 private:
  /// False when the connection is gone.
  bool flush() {
    const auto sent = ::send(socket_.get(), outgoing_.data(), outgoing_.size(), MSG_NOSIGNAL);
    if (sent > 0) outgoing_.erase(0, static_cast<std::size_t>(sent));
    return sent >= 0 || errno == EAGAIN || errno == EINTR;
  }
  bool receive() {
    char buffer[32 << 10];
    const auto got = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (got > 0) incoming_.append(buffer, static_cast<std::size_t>(got));
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
  }
  void send(char channel, std::string_view data) {
    outgoing_ += http::websocket_frame(WebSocketEnd::client, WebSocketMessage::Kind::binary,
                                       std::string(1, channel).append(data));
  }
  void send_size() {
    winsize size{};
    if (::ioctl(0, TIOCGWINSZ, &size) != 0 && ::ioctl(1, TIOCGWINSZ, &size) != 0) return;
    send(channel_resize, fmt::format(R"({{"Width":{},"Height":{}}})", size.ws_col, size.ws_row));
  }
  void read_input() {
    char buffer[32 << 10];
    const auto got = ::read(0, buffer, sizeof buffer);
    if (got > 0) return send(channel_in, {buffer, static_cast<std::size_t>(got)});
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    input_ = false;
    send(channel_close, std::string_view(&channel_in, 1));
  }

  Outcome<void> take_messages() {
    std::string_view bytes(incoming_);
    while (!ended_) {
      auto message = reader_.take(bytes);
      if (!message) return stop_with(lost(message.error().message));
      if (!*message) break;
      take(**message);
    }
    incoming_.clear();
    return {};
  }
  void take(const WebSocketMessage& message) {
    using Kind = WebSocketMessage::Kind;
    if (message.kind == Kind::ping) outgoing_ += http::websocket_frame(WebSocketEnd::client, Kind::pong, message.data);
    if (message.kind == Kind::close) {
      ended_ = true;
      end_ = stop_with(lost(message.data.empty() ? "it was closed" : message.data));
    }
    if ((message.kind != Kind::binary && message.kind != Kind::text) || message.data.empty()) return;
    const auto data = std::string_view(message.data).substr(1);
    if (message.data[0] == channel_out) session_.terminal.result_bytes(data);
    if (message.data[0] == channel_err) session_.terminal.error_bytes(data);
    if (message.data[0] == channel_status) {
      ended_ = true;
      end_ = end_of(data);
    }
  }
  static Outcome<void> end_of(std::string_view text) {
    const auto status = parse_json(text);
    if (status && text_at(*status, "/status") == "Success") return {};
    const auto code = status ? parse_unsigned(text_at(*status, "/details/causes/0/message")) : std::nullopt;
    if (status && code && text_at(*status, "/reason") == "NonZeroExitCode")
      return stop_with({.exit = static_cast<ExitCode>(*code)});  // the command has said what it had to say
    return stop_with(problem_of(500, text));
  }

  Session& session_;
  Fd socket_;
  bool input_;
  bool terminal_;
  http::WebSocketReader reader_{WebSocketEnd::client, message_bytes_max};
  std::string outgoing_;
  std::string incoming_;
  bool ended_ = false;
  Outcome<void> end_;
};

}  // namespace

Outcome<void> run_command(Session& session, const ExecOptions& options) {
  auto pod = find_pod(session, options.name);
  if (!pod) return stop_with(std::move(pod.error()));
  bool terminal = options.terminal;
  if (terminal && options.input && ::isatty(0) != 1) {
    session.terminal.say("-t is left out: the input is no terminal");
    terminal = false;
  }
  auto target = fmt::format("/api/v1/namespaces/{}/pods/{}/exec?stdin={}&stdout=true&stderr={}&tty={}",
                            http::percent_encode(session.name_space), http::percent_encode(*pod), options.input,
                            !terminal, terminal);
  // CLI11 leaves the "--" that begins the command in it.
  const auto command = std::span(options.command).subspan(options.command.front() == "--" ? 1 : 0);
  if (command.empty()) return stop_with(usage_problem("there is no command", "wick exec NAME -- COMMAND ARGUMENTS"));
  if (!options.container.empty()) target += "&container=" + http::percent_encode(options.container);
  for (const auto& word : command) target += "&command=" + http::percent_encode(word);
  auto socket = connect_to(session.client.socket());
  if (!socket) return stop_with(std::move(socket.error()));
  ExecTalk talk(session, std::move(*socket), options.input, terminal);
  auto opened = talk.open(target);
  if (!opened) return opened;
  return talk.run();
}

}  // namespace wick::app::cli
