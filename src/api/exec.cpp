// A command inside an instance, for kubectl exec and wick exec: Kubernetes' channels over a WebSocket, v4 and v5. A
// binary message is one byte for the channel and the bytes of that stream; 3 brings a Status at the end, 4 takes
// {"Width", "Height"} of a terminal, and 255 (v5) says which stream has ended.
//
// One that ends the session (the client goes, the command ends, the daemon stops) ends all of it; dropping the Command
// kills what still runs.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <optional>

#include "api/answer.hpp"
#include "api/views.hpp"
#include "api/wake.hpp"
#include "wick/base/text.hpp"
#include "wick/http/websocket.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/slots.hpp"
#include "wick/os/together.hpp"

namespace wick::api {

namespace {

using asio::posix::stream_descriptor;
using http::WebSocketClose;
using http::WebSocketEnd;
using http::WebSocketMessage;

constexpr std::string_view protocols[] = {"v5.channel.k8s.io", "v4.channel.k8s.io"};
constexpr std::size_t message_bytes_max = 1 << 20;  // kubectl sends 32 KB; other clients a whole text at once
constexpr std::size_t read_bytes = 32 << 10;
constexpr std::size_t arguments_max = 1024;
constexpr std::size_t writers_waiting_max = 16;  // for their turn: one a stream, and the answers to pings
constexpr auto end_of_instance_limit = 500ms;    // between the end of its command and the news of its own
constexpr const char* spdy_hint =
    "kubectl 1.31 and newer speak WebSocket by themselves; 1.29 and 1.30 with KUBECTL_REMOTE_COMMAND_WEBSOCKETS=true";

enum class Channel : char { in = 0, out = 1, err = 2, status = 3, resize = 4, close = static_cast<char>(255) };

struct ExecRequest {
  std::vector<std::string> command;
  std::string container;
  bool in = false;
  bool out = false;
  bool err = false;
  bool terminal = false;
};

Result<ExecRequest> exec_request_of(std::string_view query) {
  ExecRequest request;
  for (const auto pair : split(query, '&')) {
    const auto equals = std::min(pair.find('='), pair.size());
    const auto name = http::percent_decode(pair.substr(0, equals));
    std::string raw(pair.substr(std::min(equals + 1, pair.size())));
    std::ranges::replace(raw, '+', ' ');
    auto value = http::percent_decode(raw);
    if (!name || !value) return fail(Errc::invalid, "the query has a malformed escape");
    if (*name == "command") request.command.push_back(std::move(*value));
    if (*name == "container") request.container = std::move(*value);
    if (*name == "stdin") request.in = is_true(*value);
    if (*name == "stdout") request.out = is_true(*value);
    if (*name == "stderr") request.err = is_true(*value);
    if (*name == "tty") request.terminal = is_true(*value);
  }
  if (request.command.empty() || request.command.front().empty())
    return fail(Errc::invalid, "you must specify at least one command for the container");
  if (request.command.size() > arguments_max)
    return fail(Errc::invalid, fmt::format("a command has at most {} arguments", arguments_max));
  if (!request.in && !request.out && !request.err)
    return fail(Errc::invalid, "you must specify at least 1 of stdin, stdout, stderr");
  if (request.terminal) request.err = false;  // a terminal has one stream
  return request;
}

json::object success_status() { return {{"metadata", json::object()}, {"status", "Success"}}; }

/// Of a command that ended by itself with something else than 0.
json::object exit_status(int code) {
  const json::object cause{{"reason", "ExitCode"}, {"message", std::to_string(code)}};
  return {{"metadata", json::object()},
          {"status", "Failure"},
          {"message", fmt::format("command terminated with non-zero exit code: exit status {}", code)},
          {"reason", "NonZeroExitCode"},
          {"details", {{"causes", json::array{cause}}}}};
}

void set_non_blocking(const Fd& fd) { ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK); }

void rethrow_first(const PairEnd& end) {
  const auto& first = end.second_ended_first ? end.second_error : end.first_error;
  if (first) std::rethrow_exception(first);
}

class ExecSession {
 public:
  ExecSession(Executor executor, Clock& clock, http::Exchange& exchange, ExecRequest request, bool v5)
      : executor_(executor),
        clock_(clock),
        exchange_(exchange),
        request_(std::move(request)),
        v5_(v5),
        writing_(executor, 1, writers_waiting_max) {}

  awaitable<void> run(serving::Serving& serving, serving::RevisionKey key, container::InstanceId id) {
    auto hold = co_await serving.hold(std::move(key), std::move(id), request_.container);
    if (!hold) co_return co_await end_with(failure(hold.error()));
    auto process = hold->process();
    process.argv = request_.command;
    const auto names_terminal = [](const std::string& pair) { return pair.starts_with("TERM="); };
    if (request_.terminal && std::ranges::none_of(process.environment, names_terminal))
      process.environment.emplace_back("TERM=xterm");
    const container::CommandOptions options{.terminal = request_.terminal, .input = request_.in};
    auto command = co_await hold->instance().begin_command(std::move(process), options);
    if (!command) co_return co_await end_with(failure(command.error()));
    take(std::move(*command));
    auto talking = keep_value(talk(hold->instance()), true);
    auto listening = keep_value(listen(), true);
    const auto end = co_await run_together(std::move(talking), std::move(listening));
    rethrow_first(end);
  }

 private:
  static json::object failure(const Error& error) { return status_object(500, "InternalError", error, {}); }

  void take(container::Command command) {
    leash_ = std::move(command.leash);
    const auto open = [this](std::optional<stream_descriptor>& into, Fd fd) {
      if (!fd) return;
      set_non_blocking(fd);
      into.emplace(executor_, fd.release());
    };
    open(terminal_, std::move(command.terminal));
    open(in_, std::move(command.in));
    open(out_, std::move(command.out));
    open(err_, std::move(command.err));
  }

  // --- to the client

  awaitable<Result<void>> send(WebSocketMessage::Kind kind, std::string_view data) {
    auto turn = co_await writing_.acquire();
    if (!turn) co_return fail(std::move(turn.error()));
    const auto frame = http::websocket_frame(WebSocketEnd::server, kind, data);
    co_return co_await exchange_.write(frame);
  }

  awaitable<void> close(WebSocketClose code, std::string reason = {}) {
    auto turn = co_await writing_.acquire();
    if (!turn) co_return;
    const auto frame = http::websocket_close(WebSocketEnd::server, code, reason);
    co_await exchange_.write(frame);
  }

  awaitable<void> end_with(json::object status) {
    std::string message(1, static_cast<char>(Channel::status));
    message += json::serialize(status);
    auto sent = co_await send(WebSocketMessage::Kind::binary, message);
    if (sent) co_await close(WebSocketClose::normal);
  }

  /// Until the other end is closed, or until it is empty once the command has ended: what that left running may hold
  /// it.
  awaitable<void> pump(stream_descriptor& from, Channel channel, bool wanted) {
    std::string data(1 + read_bytes, '\0');
    data[0] = static_cast<char>(channel);
    while (true) {
      const auto got = ::read(from.native_handle(), data.data() + 1, read_bytes);
      if (got < 0 && errno == EINTR) continue;
      if (got > 0) {
        if (wanted) {
          auto sent = co_await send(WebSocketMessage::Kind::binary,
                                    std::string_view(data).substr(0, 1 + static_cast<std::size_t>(got)));
          if (!sent) co_return;
        }
        co_await asio::post(executor_, use_awaitable);  // one that never stops writing is not alone here
        continue;
      }
      if (got == 0 || errno != EAGAIN || ended_) co_return;
      auto waited = co_await from.async_wait(stream_descriptor::wait_read, asio::as_tuple(use_awaitable));
      (void)waited;
    }
  }

  awaitable<void> pump_all() {
    if (terminal_) co_return co_await pump(*terminal_, Channel::out, request_.out);
    auto out = keep_value(pump(*out_, Channel::out, request_.out), false);
    auto err = keep_value(pump(*err_, Channel::err, request_.err), false);
    const auto end = co_await run_together(std::move(out), std::move(err));
    rethrow_first(end);
  }

  awaitable<void> wait_end() {
    status_ = co_await leash_->wait_end();
    ended_ = true;
    for (auto* stream : {&terminal_, &out_, &err_})
      if (*stream) (*stream)->cancel();
  }

  awaitable<void> talk(container::Instance& instance) {
    auto pumping = keep_value(pump_all(), false);
    auto waiting = keep_value(wait_end(), false);
    const auto end = co_await run_together(std::move(pumping), std::move(waiting));
    rethrow_first(end);
    if (!*status_) co_return co_await end_with(failure(status_->error()));
    const auto& status = **status_;
    if (status.ok()) co_return co_await end_with(success_status());
    if (status.signal != 0) {
      const bool stopped = co_await ends(instance);
      if (stopped)
        co_return co_await end_with(
            failure(Error(Errc::unavailable, "the instance was stopped, and with it the command")));
    }
    co_await end_with(exit_status(status.code));
  }

  awaitable<bool> ends(container::Instance& instance) {
    try {
      auto exit = instance.wait_exit();
      co_await with_deadline(clock_, end_of_instance_limit, std::move(exit));
    } catch (const DeadlineExceeded&) {
    }
    co_return instance.ended();
  }

  // --- from the client

  awaitable<void> listen() {
    // Beside the reading, which waits for the command where that does not read.
    auto reading = keep_value(read_messages(), true);
    auto gone = keep_value(exchange_.wait_gone(), true);
    const auto end = co_await run_together(std::move(reading), std::move(gone));
    rethrow_first(end);
  }

  awaitable<void> read_messages() {
    http::WebSocketReader reader(WebSocketEnd::server, message_bytes_max);
    std::vector<char> buffer(read_bytes);
    while (true) {
      auto got = co_await exchange_.read_some(buffer);
      if (!got || *got == 0) co_return;
      std::string_view bytes(buffer.data(), *got);
      while (true) {
        auto message = reader.take(bytes);
        if (!message) co_return co_await close(message.error().code, message.error().message);
        if (!*message) break;
        const bool more = co_await take_message(std::move(**message));
        if (!more) co_return;
      }
      co_await asio::post(executor_, use_awaitable);
    }
  }

  awaitable<bool> take_message(WebSocketMessage message) {
    using Kind = WebSocketMessage::Kind;
    if (message.kind == Kind::close) {
      co_await close(WebSocketClose::normal);
      co_return false;
    }
    if (message.kind == Kind::ping) {
      auto sent = co_await send(Kind::pong, message.data);
      co_return sent.has_value();
    }
    if (message.kind == Kind::pong || message.data.empty()) co_return true;
    const auto data = std::string_view(message.data).substr(1);
    switch (static_cast<Channel>(message.data[0])) {
      case Channel::in:
        co_await write_input(data);
        break;
      case Channel::resize:
        resize(data);
        break;
      case Channel::close:
        if (v5_ && data == std::string_view("\0", 1)) in_.reset();
        break;
      default:
        break;  // Kubernetes takes them too, and does nothing
    }
    co_return true;
  }

  awaitable<void> write_input(std::string_view data) {
    if (!request_.in) co_return;
    auto& into = terminal_ ? terminal_ : in_;
    while (into && !data.empty() && !ended_) {
      const auto sent = ::write(into->native_handle(), data.data(), data.size());
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) {
        auto waited = co_await into->async_wait(stream_descriptor::wait_write, asio::as_tuple(use_awaitable));
        (void)waited;
        continue;
      }
      if (sent < 0) {  // it reads no more
        if (!terminal_) in_.reset();
        co_return;
      }
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  void resize(std::string_view text) {
    boost::system::error_code error;
    const auto size = json::parse(text, error);
    if (error || !size.is_object() || !terminal_) return;
    const auto number = [&](std::string_view name) -> unsigned short {
      const auto* value = size.get_object().if_contains(name);
      boost::system::error_code none;
      const auto parsed = value ? value->to_number<std::uint16_t>(none) : std::uint16_t{0};
      return none ? 0 : parsed;
    };
    const winsize window{.ws_row = number("Height"), .ws_col = number("Width"), .ws_xpixel = 0, .ws_ypixel = 0};
    if (window.ws_row > 0 && window.ws_col > 0) ::ioctl(terminal_->native_handle(), TIOCSWINSZ, &window);
  }

  Executor executor_;
  Clock& clock_;
  http::Exchange& exchange_;
  ExecRequest request_;
  bool v5_;
  std::unique_ptr<container::CommandLeash> leash_;
  std::optional<stream_descriptor> terminal_;
  std::optional<stream_descriptor> in_;
  std::optional<stream_descriptor> out_;
  std::optional<stream_descriptor> err_;
  std::optional<Result<ExitStatus>> status_;
  bool ended_ = false;
  Slots writing_;
};

std::optional<serving::InstanceView> find_instance(const Doors& doors, const serving::RevisionKey& key,
                                                   std::string_view id) {
  const auto revision = doors.serving.revision(key);
  if (!revision) return std::nullopt;
  for (const auto& instance : revision->instances)
    if (instance.id.text() == id) return instance;
  return std::nullopt;
}

awaitable<void> refuse_upgrade(http::Exchange& exchange, const Error& error) {
  const auto upgrade = exchange.head().fields.find("Upgrade").value_or("");
  const bool spdy = to_lower(std::string(upgrade)).starts_with("spdy");
  co_await respond_failure(exchange, 400, "BadRequest",
                           spdy ? "exec goes over WebSocket (v5.channel.k8s.io) here, not over SPDY"
                                : fmt::format("Upgrade request required: {}", error.message()),
                           spdy_hint);
}

}  // namespace

awaitable<void> pod_exec(const Doors& doors, http::Exchange& exchange, std::string name_space, std::string name) {
  auto request = exec_request_of(exchange.head().query());
  const auto pod = PodName::parse(name);
  serving::RevisionKey key{name_space, pod ? pod->revision : ""};
  const auto instance = pod ? find_instance(doors, key, pod->instance) : std::nullopt;
  // The name of a service, or of a revision: any instance, and one is started where there is none.
  const auto any = instance ? std::nullopt : revision_of_name(doors, name_space, name);
  if (any) key = *any;
  if (!instance && !any)
    co_return co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(pod_kind(), name));
  if (!request) co_return co_await respond_failure(exchange, 400, "BadRequest", request.error().message());
  const auto revision = doors.objects.find({model::revision_kind().resource(), name_space, key.name});
  if (const auto checked = revision ? check_container(*revision, request->container, name) : Result<void>{}; !checked)
    co_return co_await respond_failure(exchange, 400, "BadRequest", checked.error().message());
  if (instance && (instance->pid == 0 || instance->state == "stopping"))
    co_return co_await respond_failure(
        exchange, 400, "BadRequest",
        fmt::format("cannot exec into a container that does not run: pod {} is {}", name, instance->state));
  const auto handshake = http::websocket_request(exchange.head());
  if (!handshake) co_return co_await refuse_upgrade(exchange, handshake.error());
  const auto known = [](const std::string& name) { return std::ranges::find(protocols, name) != std::end(protocols); };
  const auto chosen = std::ranges::find_if(handshake->protocols, known);
  if (chosen == handshake->protocols.end())
    co_return co_await respond_failure(
        exchange, 400, "BadRequest",
        fmt::format("none of the client's subprotocols is known: '{}'; known are {}",
                    printable(fmt::format("{}", fmt::join(handshake->protocols, ", "))), fmt::join(protocols, ", ")));

  http::ResponseHead head{.status = 101};
  head.fields.set("Upgrade", "websocket");
  head.fields.set("Sec-WebSocket-Accept", http::websocket_accept(handshake->key));
  head.fields.set("Sec-WebSocket-Protocol", *chosen);
  const bool v5 = *chosen == protocols[0];
  auto started = co_await exchange.start(std::move(head));
  if (!started) co_return;
  ExecSession session(doors.executor, doors.clock, exchange, std::move(*request), v5);
  co_await session.run(doors.serving, key, instance ? instance->id : container::InstanceId());
}

}  // namespace wick::api
