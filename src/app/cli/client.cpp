#include "app/cli/client.hpp"

#include <fmt/format.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/serialize.hpp>
#include <csignal>
#include <exception>
#include <variant>

#include "wick/http/upstream.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/task_group.hpp"

namespace wick::app::cli {

namespace {

constexpr milliseconds call_limit{60'000};            // a daemon that takes longer for a document is not well
constexpr milliseconds transfer_limit{6 * 3600'000};  // a big image on a slow line
constexpr milliseconds tick_interval{200};
constexpr std::size_t answer_bytes_max = 64 << 20;
constexpr std::size_t line_bytes_max = 4 << 20;  // of newline-delimited JSON: a watch event holds a whole object

bool is_failure_status(const json::value& document) {
  return text_at(document, "/kind") == "Status" && text_at(document, "/status") == "Failure";
}

class NoBytes final : public ByteSource {
 public:
  Result<std::size_t> read(std::span<char>) override { return 0; }
};

using BytesTaker = std::function<Result<void>(std::string_view)>;

/// The request of an upload or download and its answer, as the relay wants to see them: the "client" is a ByteSource
/// and a string, or, for what is downloaded, whoever takes it.
class TransferExchange final : public http::Exchange {
 public:
  TransferExchange(http::RequestHead head, ByteSource& body, BytesTaker taker)
      : head_(std::move(head)), body_(body), taker_(std::move(taker)) {}

  const http::RequestHead& head() const override { return head_; }
  std::string_view peer() const override { return "unix"; }
  long peer_uid() const override { return -1; }
  std::string_view id() const override { return "transfer"; }
  bool started() const override { return started_; }

  /// As much as there is room for: a folder of small files goes out in a few big pieces.
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override {
    std::size_t filled = 0;
    while (filled < into.size()) {
      auto count = body_.read(into.subspan(filled));
      if (!count) local_error = count.error();
      if (!count) co_return count;
      if (*count == 0) break;
      filled += *count;
    }
    co_return filled;
  }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    started_ = true;
    answer.head = std::move(head);
    answer.body = std::move(body);
    co_return Result<void>{};
  }
  awaitable<Result<void>> start(http::ResponseHead head) override {
    started_ = true;
    answer.head = std::move(head);
    co_return Result<void>{};
  }
  awaitable<Result<void>> write(std::string_view bytes) override {
    if (taker_ && answer.head.status / 100 == 2) {
      auto taken = taker_(bytes);
      if (!taken) local_error = taken.error();
      co_return taken;
    }
    if (answer.body.size() + bytes.size() > answer_bytes_max)
      co_return fail(Errc::too_large, "the daemon's answer is too long");
    answer.body += bytes;
    co_return Result<void>{};
  }
  awaitable<Result<void>> finish() override { co_return Result<void>{}; }
  awaitable<void> wait_gone() override {
    // The person at the terminal does not hang up on himself; Ctrl-C cancels the whole call.
    asio::steady_timer never(co_await asio::this_coro::executor, asio::steady_timer::time_point::max());
    co_await never.async_wait(use_awaitable);
  }

  http::Response answer;
  std::optional<Error> local_error;  // of the source or the taker

 private:
  http::RequestHead head_;
  ByteSource& body_;
  BytesTaker taker_;
  bool started_ = false;
};

}  // namespace

class Client::Impl {
 public:
  explicit Impl(std::string socket)
      : socket_(std::move(socket)),
        connect_(http::connect_to(loop_.get_executor(), "unix:" + socket_)),
        upstream_(loop_.get_executor(), clock_, [this] { return connect(); }) {}

  const std::string& socket() const { return socket_; }

  Outcome<http::Response> call(http::Request request, milliseconds limit) {
    return run(http::call(upstream_, clock_, std::move(request), limit, answer_bytes_max));
  }

  Outcome<http::ResponseHead> stream(http::Request request, std::function<bool(std::string_view)> on_bytes,
                                     std::function<Next()> on_tick, int wake) {
    return run(http::stream(upstream_, clock_, std::move(request), std::move(on_bytes)), std::move(on_tick), wake);
  }

  Outcome<std::monostate> pause(milliseconds duration) { return run(sleep(duration)); }

  Outcome<http::Response> transfer(http::RequestHead head, ByteSource& body, BytesTaker taker = {}) {
    TransferExchange exchange(std::move(head), body, std::move(taker));
    auto sent = run(relay(exchange));
    if (exchange.local_error) return stop_with(problem_of(*exchange.local_error));
    if (!sent) return stop_with(std::move(sent.error()));
    return std::move(exchange.answer);
  }

 private:
  struct Outgoing {
    explicit Outgoing(asio::io_context& loop) : signals(loop, SIGINT, SIGTERM), ticks(loop), wake(loop) {}
    asio::signal_set signals;
    asio::steady_timer ticks;
    asio::posix::stream_descriptor wake;  // the caller's: released, not closed
    asio::cancellation_signal cancel;
    bool interrupted = false;
    bool done = false;
    std::exception_ptr exception;
    std::function<Next()> on_tick;
  };

  awaitable<Result<Fd>> connect() {
    auto socket = co_await connect_();
    if (!socket) connect_error_ = socket.error();
    co_return socket;
  }

  awaitable<Result<std::monostate>> sleep(milliseconds duration) {
    co_await clock_.sleep(duration);
    co_return std::monostate{};
  }

  awaitable<Result<std::monostate>> relay(TransferExchange& exchange) {
    http::RelayOptions options;
    options.request_limit = transfer_limit;
    auto outcome = co_await http::relay(exchange, upstream_, std::move(options));
    if (outcome.error && outcome.upstream_failed) co_return fail(std::move(*outcome.error));
    if (!exchange.started()) co_return fail(Errc::unavailable, "the daemon closed the connection without an answer");
    co_return std::monostate{};
  }

  static void tick(std::shared_ptr<Outgoing> out) {
    out->ticks.expires_after(tick_interval);
    out->ticks.async_wait([out](const boost::system::error_code& error) {
      if (error || out->done) return;
      if (out->on_tick() == Next::go_on) return tick(out);
      out->cancel.emit(asio::cancellation_type::terminal);
    });
  }

  static void await_wake(std::shared_ptr<Outgoing> out) {
    out->wake.async_wait(asio::posix::stream_descriptor::wait_read, [out](const boost::system::error_code& error) {
      if (error || out->done) return;
      if (out->on_tick() == Next::go_on) return await_wake(out);
      out->cancel.emit(asio::cancellation_type::terminal);
    });
  }

  /// Runs the loop until `op` ended. Handlers that outlive this call hold `out`, nothing of this frame.
  template <class T>
  Outcome<T> run(awaitable<Result<T>> op, std::function<Next()> on_tick = {}, int wake = -1) {
    connect_error_.reset();
    auto out = std::make_shared<Outgoing>(loop_);
    auto result = std::make_shared<std::optional<Result<T>>>();
    out->signals.async_wait([out](const boost::system::error_code& error, int) {
      if (error || out->done) return;
      out->interrupted = true;
      out->cancel.emit(asio::cancellation_type::terminal);
    });
    if (on_tick) {
      out->on_tick = std::move(on_tick);
      tick(out);
      if (wake >= 0) {
        out->wake.assign(wake);
        await_wake(out);
      }
    }
    auto finished = [this, out, result](std::exception_ptr exception, Result<T> value) {
      out->done = true;
      out->exception = exception;
      if (!exception) result->emplace(std::move(value));
      out->signals.cancel();
      out->ticks.cancel();
      if (out->wake.is_open()) out->wake.release();
      loop_.stop();
    };
    asio::co_spawn(loop_, std::move(op), asio::bind_cancellation_slot(out->cancel.slot(), std::move(finished)));
    loop_.restart();
    loop_.run();
    if (out->interrupted) return stop_with(interrupted());
    if (out->exception) {
      if (is_cancellation(out->exception)) return stop_with(interrupted());
      std::rethrow_exception(out->exception);
    }
    if (!result->value()) return stop_with(transport_problem(result->value().error()));
    return std::move(*result->value());
  }

  static Problem interrupted() {
    return {.exit = ExitCode::interrupted,
            .what = "interrupted",
            .slug = "E_INTERRUPTED",
            .hint = "run it again when you want"};
  }

  Problem transport_problem(const Error& error) const {
    if (error.code() == Errc::timed_out) return problem_of(error);
    Problem problem{.exit = ExitCode::unreachable, .slug = "E_UNREACHABLE"};
    if (!connect_error_) {
      problem.what = "the connection to the wick daemon was lost";
      problem.because = error.what();
      problem.hint = "it may be restarting: try again; journalctl -u wick says why";
      return problem;
    }
    problem.because = connect_error_->what();
    if (connect_error_->code() == Errc::denied) {
      problem.what = fmt::format("not allowed to talk to the wick daemon at {}", socket_);
      problem.hint = "run it as root (sudo wick …), or join the group: usermod -aG wick $USER, then log in again";
    } else {
      problem.what = fmt::format("no wick daemon answers at {}", socket_);
      problem.hint = "start it: systemctl start wick, or: wick serve; another socket: WICK_SOCKET=PATH";
    }
    return problem;
  }

  asio::io_context loop_{1};
  SteadyClock clock_;
  std::string socket_;
  std::optional<Error> connect_error_;
  http::Connector connect_;
  http::Upstream upstream_;
};

namespace {

http::Request request_for(std::string method, std::string target, std::string body = {},
                          std::string_view type = "application/json") {
  http::Request request;
  request.head.method = std::move(method);
  request.head.target = std::move(target);
  request.head.authority = "wick";
  request.head.fields.set("Accept", "application/json");
  if (!body.empty()) request.head.fields.set("Content-Type", std::string(type));
  request.body = std::move(body);
  return request;
}

Outcome<json::value> document_of(Outcome<http::Response> answer) {
  if (!answer) return stop_with(std::move(answer.error()));
  if (answer->head.status / 100 != 2) return stop_with(problem_of(answer->head.status, answer->body));
  if (answer->body.empty()) return json::value();
  auto document = parse_json(answer->body);
  if (!document) return stop_with(problem_of(Error(Errc::corrupt, "the daemon's answer is not JSON")));
  return std::move(*document);
}

/// Cuts a stream of bytes into lines and hands them over as documents.
class LineReader {
 public:
  explicit LineReader(std::function<Client::Next(const json::value&)> on_line) : on_line_(std::move(on_line)) {}

  /// False when no more is wanted.
  bool take(std::string_view bytes) {
    for (std::size_t end; (end = bytes.find('\n')) != std::string_view::npos; bytes.remove_prefix(end + 1)) {
      rest_ += bytes.substr(0, end);
      const bool more = line(std::exchange(rest_, {}));
      if (!more) return false;
    }
    rest_ += bytes;
    if (rest_.size() <= line_bytes_max) return true;
    problem = problem_of(Error(Errc::too_large, "a line of the daemon's answer is too long"));
    return false;
  }
  void end() {
    if (!problem && !rest_.empty()) line(std::exchange(rest_, {}));
  }

  std::optional<Problem> problem;

 private:
  bool line(const std::string& text) {
    if (text.empty()) return true;
    const auto document = parse_json(text);
    if (!document) {
      problem = problem_of(Error(Errc::corrupt, "a line of the daemon's answer is not JSON"));
      return false;
    }
    if (is_failure_status(*document)) {
      problem = problem_of(static_cast<int>(number_at(*document, "/code", 500)), text);
      return false;
    }
    return on_line_(*document) == Client::Next::go_on;
  }

  std::function<Client::Next(const json::value&)> on_line_;
  std::string rest_;
};

}  // namespace

Client::Client(std::string socket) : impl_(std::make_unique<Impl>(std::move(socket))) {}
Client::~Client() = default;
const std::string& Client::socket() const { return impl_->socket(); }

Outcome<json::value> Client::get(std::string target) {
  return document_of(impl_->call(request_for("GET", std::move(target)), call_limit));
}

Outcome<std::optional<json::value>> Client::find(std::string target) {
  auto answer = impl_->call(request_for("GET", std::move(target)), call_limit);
  if (answer && answer->head.status == 404) return std::nullopt;
  auto document = document_of(std::move(answer));
  if (!document) return stop_with(std::move(document.error()));
  return std::move(*document);
}

Outcome<json::value> Client::post(std::string target, const json::value& body) {
  return document_of(impl_->call(request_for("POST", std::move(target), json::serialize(body)), call_limit));
}

Outcome<json::value> Client::put(std::string target, const json::value& body) {
  return document_of(impl_->call(request_for("PUT", std::move(target), json::serialize(body)), call_limit));
}

Outcome<json::value> Client::merge_patch(std::string target, const json::value& body) {
  auto request = request_for("PATCH", std::move(target), json::serialize(body), "application/merge-patch+json");
  return document_of(impl_->call(std::move(request), call_limit));
}

Outcome<void> Client::remove(std::string target) {
  auto answer = document_of(impl_->call(request_for("DELETE", std::move(target)), call_limit));
  if (!answer) return stop_with(std::move(answer.error()));
  return {};
}

Outcome<http::Response> Client::send(http::Request request, milliseconds limit) {
  return impl_->call(std::move(request), limit);
}

Outcome<void> Client::follow(std::string target, std::function<Next(const json::value&)> on_line,
                             std::function<Next()> on_tick, int wake) {
  auto reader = std::make_shared<LineReader>(std::move(on_line));
  bool enough = false;
  std::function<Next()> guarded_tick;
  if (on_tick)
    guarded_tick = [&enough, on_tick = std::move(on_tick)] {
      const auto next = on_tick();
      if (next == Next::stop) enough = true;
      return next;
    };
  auto head = impl_->stream(
      request_for("GET", std::move(target)),
      [reader, &enough](std::string_view bytes) {
        const bool more = reader->take(bytes);
        enough = !more;
        return more;
      },
      std::move(guarded_tick), wake);
  if (!enough) reader->end();
  if (reader->problem) return stop_with(std::move(*reader->problem));
  if (!head && !enough) return stop_with(std::move(head.error()));
  if (head && head->status / 100 != 2 && !enough) return stop_with(problem_of(head->status, ""));
  return {};
}

Outcome<void> Client::pause(milliseconds duration) {
  auto waited = impl_->pause(duration);
  if (!waited) return stop_with(std::move(waited.error()));
  return {};
}

Outcome<void> Client::download(std::string target, std::function<Result<void>(std::string_view)> sink) {
  NoBytes nothing;
  auto answer = impl_->transfer(request_for("GET", std::move(target)).head, nothing, std::move(sink));
  if (!answer) return stop_with(std::move(answer.error()));
  if (answer->head.status / 100 != 2) return stop_with(problem_of(answer->head.status, answer->body));
  return {};
}

Outcome<json::value> Client::upload(std::string target, http::Fields fields, ByteSource& body) {
  auto request = request_for("POST", std::move(target));
  for (const auto& field : fields) request.head.fields.set(field.name, field.value);
  request.head.fields.set("Content-Type", "application/x-tar");
  request.head.fields.set("Transfer-Encoding", "chunked");
  return document_of(impl_->transfer(std::move(request.head), body));
}

std::string resource_path(std::string_view group_version, std::string_view name_space, std::string_view plural,
                          std::string_view name) {
  const auto root = group_version.contains('/') ? "apis" : "api";  // the core group has no name
  auto path = fmt::format("/{}/{}/namespaces/{}/{}", root, group_version, http::percent_encode(name_space), plural);
  if (!name.empty()) path += "/" + http::percent_encode(name);
  return path;
}
std::string service_path(std::string_view name_space, std::string_view name) {
  return resource_path("serving.knative.dev/v1", name_space, "services", name);
}
std::string build_run_path(std::string_view name_space, std::string_view name) {
  return resource_path("shipwright.io/v1beta1", name_space, "buildruns", name);
}
std::string trigger_path(std::string_view name_space, std::string_view name) {
  return resource_path("eventing.knative.dev/v1", name_space, "triggers", name);
}
std::string wick_path(std::string_view name_space, std::string_view rest) {
  return fmt::format("/apis/wick.dev/v1/namespaces/{}/{}", http::percent_encode(name_space), rest);
}

}  // namespace wick::app::cli
