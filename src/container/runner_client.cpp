// The front's end of the runner's socket.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <span>

#include "protocol.hpp"
#include "sealed_memory.hpp"
#include "wick/base/log.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/os/seqpacket.hpp"

namespace wick::container {

using namespace protocol;

namespace {

constexpr std::size_t list_bytes_max = 16 << 20;

std::unexpected<Error> gone() {
  return fail(Errc::unavailable, "the runner is gone",
              "see the log of 'wick runner'; running instances go on and are adopted when it is back");
}

template <Plain T>
Result<std::vector<T>> records_of(std::string_view bytes) {
  if (bytes.size() % sizeof(T) != 0) return fail(Errc::corrupt, "the runner sent a list that is cut");
  std::vector<T> records;
  for (; !bytes.empty(); bytes.remove_prefix(sizeof(T))) records.push_back(*value_of<T>(bytes.substr(0, sizeof(T))));
  return records;
}

Outgoing with_id(Verb verb, const InstanceId& id) {
  return {.verb = verb, .body = std::string(bytes_of(id_body(id))), .fds = {}};
}

Outgoing with_number(Verb verb, const InstanceId& id, std::int64_t number) {
  NumberBody body;
  std::ranges::copy(id.text(), body.id);
  body.number = number;
  return {.verb = verb, .body = std::string(bytes_of(body)), .fds = {}};
}

Outgoing with_layer(Verb verb, const Digest& layer) {
  return {.verb = verb, .body = std::string(bytes_of(digest_body(layer))), .fds = {}};
}

Inside inside_of(std::span<Fd> fds) {
  return {.http = std::move(fds[0]), .dns_udp = std::move(fds[1]), .dns_tcp = std::move(fds[2])};
}

Outgoing carrying(Outgoing out, Fd fd) {
  out.fds.push_back(std::move(fd));
  return out;
}

}  // namespace

class RunnerClient::Impl {
 public:
  Impl(Executor executor, Fd socket) : executor_(executor), socket_(executor, std::move(socket)) {}

  std::vector<std::function<void(const Exit&)>> on_exit;
  std::vector<std::function<void()>> on_restart;
  std::function<void(const InstanceId&, const EgressPolicy&, Inside)> inside_opened;
  std::function<void(const InstanceId&)> inside_gone;

  awaitable<void> run() {
    while (!closed_) {
      auto packet = co_await socket_.receive();
      if (!packet) break;
      if (!accept(std::move(*packet))) {
        log::error("the runner sends what is no reply");
        break;
      }
    }
    close();
  }

  void close() {
    closed_ = true;
    socket_.close();
    for (auto& [number, call] : calls_) call->done.cancel();
  }

  /// The reply's body and descriptors.
  awaitable<Result<Packet>> call(Result<Outgoing> made) {
    if (!made) co_return fail(std::move(made.error()));
    Outgoing out = std::move(*made);
    if (closed_) co_return gone();
    const std::uint64_t number = ++last_number_;
    const RequestHead head{.verb = static_cast<std::uint16_t>(out.verb), .request = number};
    const std::string bytes = std::string(bytes_of(head)) + out.body;
    std::vector<int> fds;
    for (const auto& fd : out.fds) fds.push_back(fd.get());
    Call call(executor_);
    const Place place(calls_, number, call);
    auto sent = co_await socket_.send(bytes, std::move(fds));
    if (!sent) co_return sent.error().code() == Errc::unavailable ? gone() : fail(std::move(sent.error()));
    while (!call.reply && !closed_) {
      auto waited = co_await call.done.async_wait(asio::as_tuple(use_awaitable));
      if (!call.reply && !closed_) throw boost::system::system_error(std::get<0>(waited));  // the caller was cancelled
    }
    if (!call.reply) co_return gone();
    if (call.error != 0) co_return fail(decode_error(call.error, call.reply->bytes));
    co_return std::move(*call.reply);
  }

  awaitable<Result<void>> call_for_nothing(Result<Outgoing> made) {
    auto reply = co_await call(std::move(made));
    if (!reply) co_return fail(std::move(reply.error()));
    co_return Result<void>{};
  }

  /// A reply that is one sealed memfd.
  awaitable<Result<std::string>> call_for_list(Verb verb) {
    Outgoing request{.verb = verb, .body = {}, .fds = {}};
    auto reply = co_await call(std::move(request));
    if (!reply) co_return fail(std::move(reply.error()));
    if (reply->fds.size() != 1) co_return fail(Errc::corrupt, "the runner sent no list");
    co_return read_sealed(reply->fds.front(), list_bytes_max);
  }

 private:
  struct Call {
    explicit Call(Executor executor) : done(executor, asio::steady_timer::time_point::max()) {}
    asio::steady_timer done;
    std::optional<Packet> reply;
    std::uint16_t error = 0;
  };
  struct Place {
    Place(std::map<std::uint64_t, Call*>& calls, std::uint64_t number, Call& call) : calls(calls), number(number) {
      calls.emplace(number, &call);
    }
    ~Place() { calls.erase(number); }
    std::map<std::uint64_t, Call*>& calls;
    std::uint64_t number;
  };

  bool accept(Packet packet) {
    if (packet.bytes.size() < sizeof(ReplyHead)) return false;
    const auto head = *value_of<ReplyHead>(std::string_view(packet.bytes).substr(0, sizeof(ReplyHead)));
    if (head.magic != magic) return false;
    packet.bytes.erase(0, sizeof(ReplyHead));
    if (head.verb == static_cast<std::uint16_t>(Verb::exit_notice)) return accept_exit(packet.bytes);
    if (head.verb == static_cast<std::uint16_t>(Verb::restart_notice)) return accept_restart();
    auto call = calls_.find(head.request);
    if (call == calls_.end()) return true;  // its caller was cancelled
    call->second->error = head.error;
    call->second->reply = std::move(packet);
    call->second->done.cancel();
    return true;
  }

  /// What was asked of the dead one will not be answered: fails it, then tells.
  bool accept_restart() {
    log::warn("the runner died and was replaced", {{"calls", static_cast<std::int64_t>(calls_.size())}});
    for (auto& [number, call] : calls_) {
      if (call->reply) continue;
      const Error lost(Errc::io, "the runner died while it was asked");
      call->error = static_cast<std::uint16_t>(lost.code()) + 1;
      call->reply.emplace(Packet{.bytes = encode_error(lost), .fds = {}});
      call->done.cancel();
    }
    for (const auto& callback : on_restart) callback();
    return true;
  }

  bool accept_exit(std::string_view bytes) {
    auto body = value_of<ExitBody>(bytes.substr(0, sizeof(ExitBody)));
    if (!body) return false;
    auto id = InstanceId::parse({body->id, InstanceId::size});
    if (!id) return false;
    const Exit exit{.id = *id,
                    .status = {.code = body->code, .signal = body->signal},
                    .known = body->known != 0,
                    .out_of_memory = body->out_of_memory != 0,
                    .message = std::string(bytes.substr(sizeof(ExitBody)))};
    if (inside_gone) inside_gone(exit.id);
    for (const auto& callback : on_exit) callback(exit);
    return true;
  }

  Executor executor_;
  Seqpacket socket_;
  std::map<std::uint64_t, Call*> calls_;
  std::uint64_t last_number_ = 0;
  bool closed_ = false;
};

RunnerClient::RunnerClient(Executor executor, Fd socket) : impl_(std::make_unique<Impl>(executor, std::move(socket))) {}
RunnerClient::~RunnerClient() = default;

awaitable<void> RunnerClient::run() { return impl_->run(); }
void RunnerClient::close() { impl_->close(); }
void RunnerClient::on_exit(std::function<void(const Exit&)> callback) { impl_->on_exit.push_back(std::move(callback)); }

void RunnerClient::on_restart(std::function<void()> callback) { impl_->on_restart.push_back(std::move(callback)); }
void RunnerClient::on_inside(std::function<void(const InstanceId&, const EgressPolicy&, Inside)> opened,
                             std::function<void(const InstanceId&)> gone) {
  impl_->inside_opened = std::move(opened);
  impl_->inside_gone = std::move(gone);
}

awaitable<Result<Prepared>> RunnerClient::prepare(InstanceSpec spec, Fd log) {
  auto request = encode_prepare(spec, std::move(log));
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<PreparedBody>(reply->bytes);
  const std::size_t expected = spec.pod.empty() ? 4 : 1;
  if (!body || reply->fds.size() != expected) co_return fail(Errc::corrupt, "the runner's answer to prepare is none");
  auto& fds = reply->fds;
  Prepared prepared{.pid = body->pid, .pidfd = std::move(fds[0]), .inside = {}};
  if (!spec.pod.empty()) co_return prepared;
  prepared.inside = inside_of(std::span(fds).subspan(1));
  if (impl_->inside_opened) impl_->inside_opened(spec.id, spec.egress, std::move(prepared.inside));
  co_return prepared;
}

awaitable<Result<Inside>> RunnerClient::open_pod(InstanceSpec spec) {
  auto request = encode_open_pod(spec);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  if (reply->fds.size() != 3) co_return fail(Errc::corrupt, "the runner's answer to open_pod is none");
  Inside inside = inside_of(reply->fds);
  if (impl_->inside_opened) impl_->inside_opened(spec.id, spec.egress, std::move(inside));
  co_return inside;
}

awaitable<Result<void>> RunnerClient::close_pod(InstanceId pod) {
  if (impl_->inside_gone) impl_->inside_gone(pod);
  return impl_->call_for_nothing(with_id(Verb::close_pod, pod));
}

awaitable<Result<void>> RunnerClient::listen_inside(InstanceId id) {
  auto request = with_id(Verb::listen_inside, id);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<EgressBody>(reply->bytes);
  auto egress = body ? parse_egress_body(*body) : fail(std::move(body.error()));
  if (!egress || reply->fds.size() != 3) co_return fail(Errc::corrupt, "the runner's answer to listen_inside is none");
  if (impl_->inside_opened) impl_->inside_opened(id, *egress, inside_of(reply->fds));
  co_return Result<void>{};
}

awaitable<Result<void>> RunnerClient::start(InstanceId id) { return impl_->call_for_nothing(with_id(Verb::start, id)); }
awaitable<Result<void>> RunnerClient::park(InstanceId id) { return impl_->call_for_nothing(with_id(Verb::park, id)); }
awaitable<Result<Fd>> RunnerClient::freeze(InstanceId id) {
  auto reply = co_await impl_->call(with_id(Verb::freeze, id));
  if (!reply) co_return fail(std::move(reply.error()));
  if (reply->fds.size() > 1) co_return fail(Errc::corrupt, "the runner's answer to freeze is none");
  co_return reply->fds.empty() ? Fd() : std::move(reply->fds.front());
}
awaitable<Result<void>> RunnerClient::thaw(InstanceId id) { return impl_->call_for_nothing(with_id(Verb::thaw, id)); }
awaitable<Result<void>> RunnerClient::signal(InstanceId id, int number) {
  return impl_->call_for_nothing(with_number(Verb::signal, id, number));
}
awaitable<Result<void>> RunnerClient::remove(InstanceId id) {
  if (impl_->inside_gone) impl_->inside_gone(id);
  return impl_->call_for_nothing(with_id(Verb::remove, id));
}

awaitable<Result<std::vector<Existing>>> RunnerClient::list() {
  auto bytes = co_await impl_->call_for_list(Verb::list);
  if (!bytes) co_return fail(std::move(bytes.error()));
  auto records = records_of<ExistingRecord>(*bytes);
  if (!records) co_return fail(std::move(records.error()));
  std::vector<Existing> out;
  for (const auto& record : *records) {
    auto id = InstanceId::parse({record.id, InstanceId::size});
    if (!id || record.state > static_cast<std::uint32_t>(Existing::State::stopped))
      co_return fail(Errc::corrupt, "the runner's list has a record that is none");
    out.push_back({.id = *id,
                   .pid = record.pid,
                   .id_range = record.id_range,
                   .state = static_cast<Existing::State>(record.state)});
  }
  co_return out;
}

awaitable<Result<std::vector<Fd>>> RunnerClient::connect(InstanceId id, std::uint16_t port, std::size_t count) {
  auto request = encode_connect(id, port, count);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  if (reply->fds.empty() || reply->fds.size() > count)
    co_return fail(Errc::corrupt,
                   fmt::format("the runner's answer to connect has {} sockets, not 1 to {}", reply->fds.size(), count));
  co_return std::move(reply->fds);
}

awaitable<Result<Fd>> RunnerClient::await_listening(InstanceId id, std::uint16_t port,
                                                    std::chrono::milliseconds patience) {
  auto request = encode_await_listening(id, port, patience);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  if (reply->fds.size() != 1) co_return fail(Errc::corrupt, "the runner's answer to await_listening has no socket");
  co_return std::move(reply->fds.front());
}

awaitable<Result<void>> RunnerClient::update_volumes(InstanceId id, std::vector<Volume> volumes,
                                                     std::vector<VolumeMount> mounts) {
  const InstanceSpec spec{.id = id, .volumes = std::move(volumes), .volume_mounts = std::move(mounts)};
  auto request = encode_update_volumes(spec);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  co_return Result<void>{};
}

awaitable<Result<Executed>> RunnerClient::execute(InstanceId id, Process process, std::chrono::milliseconds limit) {
  auto request = encode_execute(id, process, limit);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  const std::string_view bytes(reply->bytes);
  auto body = value_of<ExecutedBody>(bytes.substr(0, sizeof(ExecutedBody)));
  if (!body) co_return fail(std::move(body.error()));
  Executed executed{.status = {.code = body->code, .signal = body->signal},
                    .output = std::string(bytes.substr(sizeof(ExecutedBody)))};
  co_return executed;
}

namespace {

class SocketLeash final : public CommandLeash {
 public:
  SocketLeash(Executor executor, Fd socket) : socket_(executor, std::move(socket)) {}

  awaitable<Result<ExitStatus>> wait_end() override {
    auto packet = co_await socket_.receive();
    if (!packet) co_return fail(Errc::io, "the runner died, and the command with it");
    auto body = value_of<ExecutedBody>(packet->bytes);
    if (!body) co_return fail(Errc::corrupt, "the runner tells no end of the command");
    co_return ExitStatus{.code = body->code, .signal = body->signal};
  }

 private:
  Seqpacket socket_;
};

}  // namespace

awaitable<Result<Command>> RunnerClient::begin_command(InstanceId id, Process process, CommandOptions options) {
  auto request = encode_begin_command(id, process, options);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto& fds = reply->fds;
  const std::size_t expected = options.terminal ? 2 : options.input ? 4 : 3;
  if (fds.size() != expected) co_return fail(Errc::corrupt, "the runner's answer to begin_command is none");
  Command command;
  command.leash = std::make_unique<SocketLeash>(co_await asio::this_coro::executor, std::move(fds[0]));
  if (options.terminal) {
    command.terminal = std::move(fds[1]);
    co_return command;
  }
  command.out = std::move(fds[1]);
  command.err = std::move(fds[2]);
  if (options.input) command.in = std::move(fds[3]);
  co_return command;
}

awaitable<Result<Usage>> RunnerClient::usage(InstanceId id) {
  auto request = with_id(Verb::usage, id);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<UsageBody>(reply->bytes);
  if (!body) co_return fail(std::move(body.error()));
  const Usage usage{.memory_bytes = body->memory_bytes,
                    .memory_peak_bytes = body->memory_peak_bytes,
                    .memory_limit_bytes = body->memory_limit_bytes,
                    .cpu_usec = body->cpu_usec,
                    .pids = static_cast<std::uint32_t>(body->pids),
                    .oom_kills = body->oom_kills};
  co_return usage;
}

awaitable<Result<std::vector<Listening>>> RunnerClient::listening(InstanceId id) {
  auto request = with_id(Verb::listening, id);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto records = records_of<ListeningRecord>(reply->bytes);
  if (!records) co_return fail(std::move(records.error()));
  std::vector<Listening> out;
  for (const auto& record : *records) out.push_back({.address = decode_address(record), .port = record.port});
  co_return out;
}

awaitable<Result<bool>> RunnerClient::has_layer(Digest layer) {
  auto request = with_layer(Verb::has_layer, layer);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<BoolBody>(reply->bytes);
  if (!body) co_return fail(std::move(body.error()));
  co_return body->value != 0;
}

awaitable<Result<void>> RunnerClient::import_layer(Digest layer, Fd tar) {
  return impl_->call_for_nothing(carrying(with_layer(Verb::import_layer, layer), std::move(tar)));
}

awaitable<Result<std::vector<Digest>>> RunnerClient::layers() {
  auto bytes = co_await impl_->call_for_list(Verb::layers);
  if (!bytes) co_return fail(std::move(bytes.error()));
  auto records = records_of<DigestBody>(*bytes);
  if (!records) co_return fail(std::move(records.error()));
  std::vector<Digest> out;
  for (const auto& record : *records) out.emplace_back(std::to_array(record.digest));
  co_return out;
}

awaitable<Result<std::uint64_t>> RunnerClient::remove_layer(Digest layer) {
  auto request = with_layer(Verb::remove_layer, layer);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<BytesBody>(reply->bytes);
  if (!body) co_return fail(std::move(body.error()));
  co_return body->bytes;
}

awaitable<Result<void>> RunnerClient::pack(std::vector<Digest> layers, std::string subpath, std::string prefix,
                                           Fd out) {
  return impl_->call_for_nothing(encode_pack(layers, subpath, prefix, std::move(out)));
}

awaitable<Result<UserIds>> RunnerClient::resolve_user(std::vector<Digest> layers, std::string user) {
  auto request = encode_resolve_user(layers, user);
  auto reply = co_await impl_->call(std::move(request));
  if (!reply) co_return fail(std::move(reply.error()));
  auto body = value_of<UserIdsBody>(reply->bytes);
  if (!body || body->group_count > groups_max)
    co_return fail(Errc::corrupt, "the runner's answer to resolve_user is none");
  UserIds ids{.uid = body->uid, .gid = body->gid, .groups = {body->groups, body->groups + body->group_count}};
  co_return ids;
}

awaitable<Result<void>> RunnerClient::pack_layer(Digest layer, Fd out) {
  return impl_->call_for_nothing(carrying(with_layer(Verb::pack_layer, layer), std::move(out)));
}

awaitable<Result<void>> RunnerClient::open_step(InstanceId step, std::vector<Digest> layers) {
  return impl_->call_for_nothing(encode_open_step(step, layers));
}
awaitable<Result<void>> RunnerClient::unpack_into(InstanceId step, Fd tar, Clash clash) {
  return impl_->call_for_nothing(
      carrying(with_number(Verb::unpack_into, step, static_cast<std::int64_t>(clash)), std::move(tar)));
}
awaitable<Result<void>> RunnerClient::pack_step(InstanceId step, Fd out, std::int64_t clamp_mtime) {
  return impl_->call_for_nothing(carrying(with_number(Verb::pack_step, step, clamp_mtime), std::move(out)));
}
awaitable<Result<void>> RunnerClient::publish_step(InstanceId step, Digest layer) {
  IdDigestBody body;
  std::ranges::copy(step.text(), body.id);
  std::ranges::copy(layer.bytes(), body.digest);
  return impl_->call_for_nothing(Outgoing{.verb = Verb::publish_step, .body = std::string(bytes_of(body)), .fds = {}});
}
awaitable<Result<void>> RunnerClient::discard_step(InstanceId step) {
  return impl_->call_for_nothing(with_id(Verb::discard_step, step));
}

awaitable<Result<void>> RunnerClient::bootstrap(std::string suite, Fd out) {
  return impl_->call_for_nothing(encode_bootstrap(suite, std::move(out)));
}

}  // namespace wick::container
