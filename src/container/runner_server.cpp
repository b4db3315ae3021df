// The runner's end of the socket: reads requests, checks them (protocol.cpp), does them, answers. Requests run side by
// side; what must not is ordered further down (a turn per instance, a hold per step).
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <stdexcept>

#include "bootstrap.hpp"
#include "instances.hpp"
#include "layer_folders.hpp"
#include "protocol.hpp"
#include "sealed_memory.hpp"
#include "wick/base/log.hpp"
#include "wick/container/runner_process.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/files.hpp"
#include "wick/os/seqpacket.hpp"

namespace wick::container {

namespace {

using namespace protocol;

constexpr auto lock_limit = 15'000ms;  // one that waits for an instance's death takes 10 s
constexpr auto lock_pause = 5ms;
constexpr std::size_t requests_max = 2048;  // at once; one more is answered with overloaded

struct Answer {
  std::string body;
  std::vector<Fd> fds;
};

template <class T>
Result<T> unwrap(Result<T> value) {
  if (!value) throw std::runtime_error(value.error().what());
  return value;
}

Result<Answer> empty_answer(Result<void> done) {
  if (!done) return fail(std::move(done.error()));
  return Answer{};
}

void add_inside(Answer& answer, Inside inside) {
  answer.fds.push_back(std::move(inside.http));
  answer.fds.push_back(std::move(inside.dns_udp));
  answer.fds.push_back(std::move(inside.dns_tcp));
}

template <Plain T>
Answer body_of(const T& body) {
  return {.body = std::string(bytes_of(body)), .fds = {}};
}

Result<Answer> sealed_answer(std::string_view bytes) {
  auto memory = seal(bytes);
  if (!memory) return fail(std::move(memory.error()));
  Answer answer;
  answer.fds.push_back(std::move(*memory));
  return answer;
}

Runtimes runtimes_of(const RunnerOptions& options) {
  Runtimes runtimes;
  const auto root = options.run_folder / "runc";
  runtimes.emplace("", RuntimeCommand(options.runtime, root));
  for (const auto& given : options.runtime_classes)
    runtimes.emplace(given.name,
                     RuntimeCommand(given.program, options.run_folder / "runtimes" / given.name, given.flags));
  // The well-known two, by their own names, unless somebody said otherwise.
  for (const char* name : {"runc", "crun"}) {
    const bool is_default = std::filesystem::path(options.runtime).filename() == name;
    runtimes.try_emplace(name, is_default ? options.runtime : name,
                         is_default ? root : options.run_folder / "runtimes" / name);
  }
  return runtimes;
}

/// Whoever can rename what is in these folders decides what root works on.
Result<void> check_root_owns(const std::filesystem::path& folder) {
  struct stat info{};
  if (::lstat(folder.c_str(), &info) != 0) return fail(system_error("look at " + folder.string(), errno));
  if (S_ISDIR(info.st_mode) && info.st_uid == 0 && (info.st_mode & 022) == 0) return {};
  return fail(Errc::denied,
              fmt::format("{} must be a folder that only root can write to, it has owner {} and mode {:o}",
                          folder.string(), info.st_uid, info.st_mode & 07777));
}

class Server {
 public:
  Server(Executor executor, Fd socket, const RunnerOptions& options, Roots roots, NetworkDoor door)
      : executor_(executor),
        socket_(executor, std::move(socket)),
        options_(options),
        roots_(std::move(roots)),
        networks_(executor, std::move(door), roots_.area() / "n"),
        layers_(executor, roots_, worker_, options.state_folder),
        instances_(executor, roots_, layers_, worker_, runtimes_of(options), networks_,
                   options.run_folder / "instances"),
        tasks_(executor) {}

  awaitable<void> run() {
    networks_.open();
    auto kept = options_.shelf ? options_.shelf->take() : std::vector<Shelf::Kept>();
    auto recovered = co_await instances_.recover(std::move(kept));
    unwrap(std::move(recovered)).value();
    auto opened = co_await layers_.open();
    unwrap(std::move(opened)).value();
    if (options_.replaces_dead) {
      const ReplyHead head{.verb = static_cast<std::uint16_t>(Verb::restart_notice)};
      const std::string notice(bytes_of(head));
      auto told = co_await socket_.send(notice);
      if (!told) log::warn("cannot tell the front of the restart", {{"error", told.error().what()}});
    }
    instances_.on_exit([this](const Exit& exit) { tasks_.spawn("exit notice", send_exit(exit)); });
    std::exception_ptr error;
    try {
      co_await serve();
    } catch (...) {
      error = std::current_exception();
    }
    co_await asio::this_coro::reset_cancellation_state();
    co_await tasks_.stop();
    co_await instances_.stop();
    if (options_.shelf) instances_.keep_listening(*options_.shelf);
    co_await networks_.stop();
    co_await layers_.stop();
    if (error) std::rethrow_exception(error);
  }

 private:
  awaitable<void> serve() {
    while (true) {
      auto packet = co_await socket_.receive();
      if (!packet) {
        if (packet.error().code() != Errc::unavailable)
          log::error("closing the front's socket", {{"error", packet.error().what()}});
        break;
      }
      auto received = parse_request(packet->bytes, std::move(packet->fds));
      if (!received) {
        log::error("closing the front's socket", {{"error", received.error().what()}});
        break;
      }
      if (tasks_.size() >= requests_max)
        received->request = fail(Errc::overloaded, fmt::format("{} requests are under way", requests_max));
      tasks_.spawn(std::string(to_string(received->verb)), handle(std::move(*received)));
    }
  }

  awaitable<void> handle(Received received) {
    Result<Answer> answer;
    if (!received.request) {
      answer = fail(std::move(received.request.error()));
    } else {
      auto request = std::move(*received.request);
      answer = co_await dispatch(std::move(request));
    }
    ReplyHead head{.verb = static_cast<std::uint16_t>(received.verb), .request = received.number};
    std::string bytes;
    std::vector<int> fds;
    if (answer) {
      bytes = std::string(bytes_of(head)) + answer->body;
      for (const auto& fd : answer->fds) fds.push_back(fd.get());
    } else {
      head.error = static_cast<std::uint16_t>(answer.error().code()) + 1;
      bytes = std::string(bytes_of(head)) + encode_error(answer.error());
    }
    auto sent = co_await socket_.send(bytes, std::move(fds));
    if (!sent && sent.error().code() != Errc::unavailable)
      log::error("cannot answer the front", {{"error", sent.error().what()}});
  }

  awaitable<Result<Answer>> dispatch(Request request) {
    auto acting = std::visit([this](auto& verb) { return act(std::move(verb)); }, request);
    co_return co_await std::move(acting);
  }

  awaitable<void> send_exit(Exit exit) {
    ExitBody body;
    std::ranges::copy(exit.id.text(), body.id);
    body.code = exit.status.code;
    body.signal = exit.status.signal;
    body.known = exit.known ? 1 : 0;
    body.out_of_memory = exit.out_of_memory ? 1 : 0;
    const ReplyHead head{.verb = static_cast<std::uint16_t>(Verb::exit_notice)};
    const std::string bytes = std::string(bytes_of(head)) + std::string(bytes_of(body)) + exit.message;
    auto sent = co_await socket_.send(bytes);
    if (!sent && sent.error().code() != Errc::unavailable)
      log::error("cannot tell the front of an exit", {{"error", sent.error().what()}});
  }

  // --- one function a verb

  awaitable<Result<Answer>> act(Prepare verb) {
    auto prepared = co_await instances_.prepare(std::move(verb.spec), std::move(verb.log));
    if (!prepared) co_return fail(std::move(prepared.error()));
    Answer answer = body_of(PreparedBody{.pid = prepared->pid});
    answer.fds.push_back(std::move(prepared->pidfd));
    if (prepared->inside.http) add_inside(answer, std::move(prepared->inside));
    co_return answer;
  }
  awaitable<Result<Answer>> act(OpenPod verb) {
    auto inside = co_await instances_.pods().open(std::move(verb.spec));
    if (!inside) co_return fail(std::move(inside.error()));
    Answer answer;
    add_inside(answer, std::move(*inside));
    co_return answer;
  }
  awaitable<Result<Answer>> act(ClosePod verb) {
    instances_.pods().close(verb.pod);
    co_return Answer{};
  }
  awaitable<Result<Answer>> act(ListenInside verb) {
    auto inside = instances_.listen_inside(verb.id);
    if (!inside) co_return fail(std::move(inside.error()));
    Answer answer = body_of(inside->second);
    add_inside(answer, std::move(inside->first));
    co_return answer;
  }
  awaitable<Result<Answer>> act(Start verb) {
    auto done = co_await instances_.start(verb.id);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(Park verb) {
    auto done = co_await instances_.park(verb.id);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(Freeze verb) {
    auto freezer = co_await instances_.freeze(verb.id);
    if (!freezer) co_return fail(std::move(freezer.error()));
    Answer answer;
    if (*freezer) answer.fds.push_back(std::move(*freezer));
    co_return answer;
  }
  awaitable<Result<Answer>> act(Thaw verb) {
    auto done = co_await instances_.thaw(verb.id);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(AwaitListening verb) {
    auto socket = co_await instances_.await_listening(verb.id, verb.port, verb.patience);
    if (!socket) co_return fail(std::move(socket.error()));
    Answer answer;
    answer.fds.push_back(std::move(*socket));
    co_return answer;
  }
  awaitable<Result<Answer>> act(Signal verb) { co_return empty_answer(instances_.signal(verb.id, verb.number)); }
  awaitable<Result<Answer>> act(Remove verb) {
    auto done = co_await instances_.remove(verb.id);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(List) {
    std::string bytes;
    for (const auto& existing : instances_.list()) {
      ExistingRecord record;
      std::ranges::copy(existing.id.text(), record.id);
      record.pid = existing.pid;
      record.id_range = existing.id_range;
      record.state = static_cast<std::uint32_t>(existing.state);
      bytes += bytes_of(record);
    }
    co_return sealed_answer(bytes);
  }
  awaitable<Result<Answer>> act(Connect verb) {
    auto sockets = instances_.connect(verb.id, verb.port, verb.count);
    if (!sockets) co_return fail(std::move(sockets.error()));
    Answer answer;
    answer.fds = std::move(*sockets);
    co_return answer;
  }
  awaitable<Result<Answer>> act(Execute verb) {
    auto executed = co_await instances_.execute(verb.id, std::move(verb.process), verb.limit);
    if (!executed) co_return fail(std::move(executed.error()));
    Answer answer = body_of(ExecutedBody{.code = executed->status.code, .signal = executed->status.signal});
    answer.body += executed->output;
    co_return answer;
  }
  awaitable<Result<Answer>> act(BeginCommand verb) {
    auto begun = co_await instances_.begin_command(verb.id, std::move(verb.process), verb.options);
    if (!begun) co_return fail(std::move(begun.error()));
    Answer answer;
    for (auto* fd : {&begun->leash, &begun->terminal, &begun->out, &begun->err, &begun->in})
      if (*fd) answer.fds.push_back(std::move(*fd));
    co_return answer;
  }
  awaitable<Result<Answer>> act(UpdateVolumes verb) {
    auto done = co_await instances_.update_volumes(std::move(verb.spec));
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(GetUsage verb) {
    auto usage = instances_.usage(verb.id);
    if (!usage) co_return fail(std::move(usage.error()));
    co_return body_of(UsageBody{.memory_bytes = usage->memory_bytes,
                                .memory_peak_bytes = usage->memory_peak_bytes,
                                .memory_limit_bytes = usage->memory_limit_bytes,
                                .cpu_usec = usage->cpu_usec,
                                .oom_kills = usage->oom_kills,
                                .pids = usage->pids});
  }
  awaitable<Result<Answer>> act(GetListening verb) {
    auto sockets = instances_.listening(verb.id);
    if (!sockets) co_return fail(std::move(sockets.error()));
    Answer answer;
    for (const auto& socket : *sockets) {
      ListeningRecord record{.port = socket.port};
      encode_address(socket.address, record);
      answer.body += bytes_of(record);
    }
    co_return answer;
  }

  awaitable<Result<Answer>> act(HasLayer verb) {
    co_return body_of(BoolBody{.value = layers_.has(verb.layer) ? 1U : 0U});
  }
  awaitable<Result<Answer>> act(ImportLayer verb) {
    auto done = co_await layers_.import(verb.layer, std::move(verb.tar));
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(ListLayers) {
    std::string bytes;
    for (const auto& layer : layers_.list())
      bytes.append(reinterpret_cast<const char*>(layer.bytes().data()), Digest::size);
    co_return sealed_answer(bytes);
  }
  awaitable<Result<Answer>> act(RemoveLayer verb) {
    if (instances_.uses(verb.layer) || layers_.is_below_step(verb.layer))
      co_return fail(Errc::conflict, fmt::format("layer {} is in use", verb.layer.text()));
    auto bytes = co_await layers_.remove(verb.layer);
    if (!bytes) co_return fail(std::move(bytes.error()));
    co_return body_of(BytesBody{.bytes = *bytes});
  }
  awaitable<Result<Answer>> act(Pack verb) {
    auto done = co_await layers_.pack(std::move(verb.layers), std::move(verb.subpath), std::move(verb.prefix),
                                      std::move(verb.out));
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(ResolveUser verb) {
    auto ids = co_await layers_.resolve_user(std::move(verb.layers), std::move(verb.user));
    if (!ids) co_return fail(std::move(ids.error()));
    UserIdsBody body{.uid = ids->uid, .gid = ids->gid, .group_count = static_cast<std::uint32_t>(ids->groups.size())};
    std::ranges::copy(ids->groups, body.groups);
    co_return body_of(body);
  }
  awaitable<Result<Answer>> act(OpenStep verb) {
    co_return empty_answer(layers_.open_step(verb.step, std::move(verb.layers)));
  }
  awaitable<Result<Answer>> act(UnpackInto verb) {
    auto done = co_await layers_.unpack_into(verb.step, std::move(verb.tar), verb.clash);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(PackStep verb) {
    auto done = co_await layers_.pack_step(verb.step, std::move(verb.out), verb.clamp_mtime);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(PublishStep verb) {
    auto done = co_await layers_.publish_step(verb.step, verb.layer);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(DiscardStep verb) {
    auto done = co_await layers_.discard_step(verb.step);
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(PackLayer verb) {
    auto done = co_await layers_.pack_layer(verb.layer, std::move(verb.out));
    co_return empty_answer(std::move(done));
  }
  awaitable<Result<Answer>> act(Bootstrap verb) {
    auto done = co_await bootstrap_debian(executor_, verb.suite, std::move(verb.out), options_.state_folder);
    co_return empty_answer(std::move(done));
  }

  Executor executor_;
  Seqpacket socket_;
  RunnerOptions options_;
  WorkerPool worker_{1};
  Roots roots_;
  Networks networks_;
  LayerFolders layers_;
  Instances instances_;
  TaskGroup tasks_;
};

/// The runner before this one may not have noticed yet that its front is gone: two must not work on the same folders.
awaitable<Fd> lock_folder(std::filesystem::path folder) {
  auto file = unwrap(open_file(folder / "runner.lock", O_RDWR | O_CREAT, 0600));
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (auto waited = 0ms; ::flock(file->get(), LOCK_EX | LOCK_NB) != 0; waited += lock_pause) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      throw std::runtime_error(system_error("lock " + folder.string(), errno).what());
    if (waited >= lock_limit)
      throw std::runtime_error(
          fmt::format("another runner works on {}; stop it, or give this one a --run of its own", folder.string()));
    timer.expires_after(lock_pause);
    co_await timer.async_wait(use_awaitable);
  }
  co_return std::move(*file);
}

}  // namespace

awaitable<void> serve_runner(Executor executor, Fd socket, RunnerOptions options) {
  // umask matters: folders below must be reachable exactly as far as their mode says.
  ::umask(022);
  for (const auto& folder : {options.state_folder, options.run_folder}) {
    unwrap(make_folders(folder, folder == options.state_folder ? 0700 : 0755)).value();
    unwrap(check_root_owns(folder)).value();
  }
  const Fd lock = co_await lock_folder(options.run_folder);
  auto roots = unwrap(Roots::open(options.run_folder / "roots", options.state_folder / "skeleton"));
  auto door = unwrap(NetworkDoor::open());
  Server server(executor, std::move(socket), options, std::move(*roots), std::move(*door));
  co_await server.run();
}

}  // namespace wick::container
