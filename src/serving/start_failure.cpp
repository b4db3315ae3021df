#include "wick/serving/start_failure.hpp"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::serving {

namespace {

std::string duration_text(milliseconds elapsed) {
  if (elapsed < 10s) return fmt::format("{} ms", elapsed.count());
  if (elapsed < 2min) return fmt::format("{} s", elapsed.count() / 1000);
  return fmt::format("{} min", elapsed.count() / 60'000);
}

std::string end_text(const container::Exit& exit) {
  if (!exit.known) return "ended (nobody saw how)";
  if (exit.status.signal == 0) return fmt::format("exited with code {}", exit.status.code);
  return fmt::format("was ended by signal {} ({})", exit.status.signal, strsignal(exit.status.signal));
}

/// "64/64 MiB": what it used at most and what it may use.
std::string memory_text(const container::Usage& usage, const RevisionSpec& spec) {
  constexpr std::uint64_t mib = 1 << 20;
  const auto limit = usage.memory_limit_bytes ? usage.memory_limit_bytes : spec.instance.limits.memory_bytes;
  const auto used = usage.memory_peak_bytes ? std::min(usage.memory_peak_bytes, limit) : limit;
  return fmt::format("{}/{} MiB", (used + mib / 2) / mib, (limit + mib / 2) / mib);
}

/// What is safe to store and to show: its lines, with what is no text in them escaped.
std::string message_text(std::string_view message) {
  std::string text;
  while (message.ends_with('\n')) message.remove_suffix(1);
  for (const auto line : split(message, '\n')) text += (text.empty() ? "" : "\n") + printable(line, message.size());
  return text;
}

/// Who ended: of several containers the one that took all with it.
std::string subject_of(const container::Exit& exit) {
  if (exit.companion.empty()) return "the process";
  return fmt::format("the {}container \"{}\"", exit.of_init ? "init " : "", exit.companion);
}

model::Failure not_started(const container::Exit& exit, milliseconds elapsed) {
  auto failure = launch_failed(*exit.not_started, elapsed);
  if (!exit.companion.empty()) failure.because = fmt::format("{}: {}", subject_of(exit), failure.because);
  failure.container = exit.companion;
  return failure;
}

model::Failure with_end(model::Failure failure, const container::Exit& exit) {
  failure.container = exit.companion;
  failure.message = message_text(exit.message);
  if (exit.known) failure.exit_code = exit.status.signal == 0 ? exit.status.code : 128 + exit.status.signal;
  return failure;
}

model::Failure out_of_memory(const container::Exit& exit, const container::Usage& usage, const RevisionSpec& spec,
                             milliseconds elapsed, std::string_view when) {
  // Of several containers the usage is not that of the one that was killed.
  const auto memory = exit.companion.empty() && !spec.instance.is_pod() ? memory_text(usage, spec) + " " : "";
  return {.step = "start",
          .slug = "E_OUT_OF_MEMORY",
          .because = fmt::format("{} was killed (signal 9), out of memory {}after {}, {}", subject_of(exit), memory,
                                 duration_text(elapsed), when),
          .hint = "raise resources.limits.memory of the service, or make the program use less",
          .elapsed = elapsed};
}

std::string socket_text(const container::Listening& socket) {
  const bool six = socket.address.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(six ? "[{}]:{}" : "{}:{}"), socket.address, socket.port);
}

std::string hint_for_early_end(const container::Exit& exit, const RevisionSpec& spec) {
  if (exit.status.ok())
    return fmt::format("a service stays running and answers HTTP on $PORT ({}); this one finished", spec.port);
  if (exit.status.signal == 0 && (exit.status.code == 126 || exit.status.code == 127))
    return "the command could not be executed: check the image's ENTRYPOINT and CMD and its architecture";
  return "the last output says why; fix the program and deploy again";
}

}  // namespace

model::Failure ended_early(const container::Exit& exit, const container::Usage& usage, const RevisionSpec& spec,
                           milliseconds elapsed) {
  if (exit.not_started) return not_started(exit, elapsed);
  const auto when = exit.of_init             ? std::string("before the others were started")
                    : exit.companion.empty() ? fmt::format("before listening on port {}", spec.port)
                                             : std::string("again and again, before the instance was ready");
  if (exit.out_of_memory) return with_end(out_of_memory(exit, usage, spec, elapsed, when), exit);
  model::Failure failure{
      .step = "start",
      .slug = "E_EXITED",
      .because = fmt::format("{} {} after {}, {}", subject_of(exit), end_text(exit), duration_text(elapsed), when),
      .hint = hint_for_early_end(exit, spec),
      .elapsed = elapsed};
  return with_end(std::move(failure), exit);
}

model::Failure ended_while_serving(const container::Exit& exit, const container::Usage& usage, const RevisionSpec& spec,
                                   milliseconds elapsed) {
  if (exit.not_started) return not_started(exit, elapsed);
  if (exit.out_of_memory) return with_end(out_of_memory(exit, usage, spec, elapsed, "while serving"), exit);
  model::Failure failure{
      .step = "serve",
      .slug = "E_EXITED",
      .because = fmt::format("{} {} after {}, while serving", subject_of(exit), end_text(exit), duration_text(elapsed)),
      .hint = "the last output says why; the next request starts a new instance",
      .elapsed = elapsed};
  return with_end(std::move(failure), exit);
}

model::Failure not_alive(const std::string& why, milliseconds elapsed) {
  return {.step = "serve",
          .slug = "E_NOT_READY",
          .because = fmt::format("the process {}, {} after its start", why, duration_text(elapsed)),
          .hint = "it is stopped and another instance takes its place; look at livenessProbe and the last output",
          .elapsed = elapsed};
}

bool listens_on(const std::vector<container::Listening>& sockets, std::uint16_t port) {
  return std::ranges::any_of(sockets, [&](const container::Listening& socket) {
    return socket.port == port &&
           (socket.address == "0.0.0.0" || socket.address == "::" || socket.address.starts_with("127."));
  });
}

model::Failure listens_elsewhere(const std::vector<container::Listening>& sockets, const RevisionSpec& spec,
                                 milliseconds elapsed) {
  std::string list;
  for (const auto& socket : sockets) list += (list.empty() ? "" : ", ") + socket_text(socket);
  const bool right_port = std::ranges::any_of(sockets, [&](const auto& socket) { return socket.port == spec.port; });
  return {
      .step = "start",
      .slug = right_port ? "E_WRONG_ADDRESS" : "E_WRONG_PORT",
      .because = right_port
                     ? fmt::format("listening on {}, expected 0.0.0.0:{} or 127.0.0.1:{}", list, spec.port, spec.port)
                     : fmt::format("listening on {}, expected port {}", list, spec.port),
      .hint = right_port ? "listen on 0.0.0.0 or on 127.0.0.1"
                         : fmt::format(
                               "listen on the port in the environment variable PORT ({0}), or set containerPort to the "
                               "port that the program listens on",
                               spec.port),
      .elapsed = elapsed};
}

model::Failure never_ready(const RevisionSpec& spec, const LastProbe& last, milliseconds elapsed) {
  const auto& probe = last.startup && spec.startup ? *spec.startup : spec.readiness;
  const std::string_view name = last.startup ? "startup" : "readiness";
  model::Failure failure{.step = "probe", .slug = "E_NOT_READY", .elapsed = elapsed};
  if (!last.command_failed.empty()) {
    failure.because = fmt::format("the {} command {}, for {}", name, last.command_failed, duration_text(elapsed));
    failure.hint = fmt::format("the {} probe wants the command to end with 0; fix the command or the program", name);
  } else if (!last.grpc_failed.empty()) {
    failure.because =
        fmt::format("the server {} to the gRPC health check, for {}", last.grpc_failed, duration_text(elapsed));
    failure.hint =
        fmt::format("the {} probe wants SERVING for service '{}'; fix the program or the probe", name, probe.path);
  } else if (last.answered) {
    failure.because = fmt::format("GET {} answered {}, for {}", probe.path, *last.answered, duration_text(elapsed));
    failure.hint = fmt::format("the {} probe wants a status from 200 to 399; fix the path or the program", name);
  } else {
    const auto port = probe.port ? probe.port : spec.port;
    failure.because = fmt::format("nothing answered on port {} within {}{}", port, duration_text(elapsed),
                                  last.error.empty() ? "" : " (" + last.error + ")");
    failure.hint = "the program runs but does not listen: see its log, or raise serving.knative.dev/progress-deadline";
  }
  return failure;
}

model::Failure launch_failed(const Error& error, milliseconds elapsed) {
  return {
      .step = "start", .slug = slug(error.code()), .because = error.what(), .hint = error.hint(), .elapsed = elapsed};
}

}  // namespace wick::serving
