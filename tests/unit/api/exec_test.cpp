// kubectl exec's endpoint: what it refuses before the upgrade, and the channels after it. Instances and their commands
// are the fake launcher's.
#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "api_parts.hpp"
#include "memory_exchange.hpp"
#include "wick/http/websocket.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using http::WebSocketEnd;
using http::WebSocketMessage;
using model::Truth;

namespace {

/// The other side of a command: what it writes, what it was written, how it ends.
struct FakeCommand {
  explicit FakeCommand(Executor executor) : timer(executor, asio::steady_timer::time_point::max()) {}
  container::Process process;
  container::CommandOptions options;
  Fd in, out, err;
  asio::steady_timer timer;
  std::optional<ExitStatus> status;
  bool held = false;

  void end(int code) {
    out.reset();
    err.reset();
    status = ExitStatus{.code = code};
    timer.cancel();
  }
};

class FakeLeash final : public container::CommandLeash {
 public:
  explicit FakeLeash(FakeCommand& command) : command_(command) { command_.held = true; }
  ~FakeLeash() override { command_.held = false; }
  awaitable<Result<ExitStatus>> wait_end() override {
    while (!command_.status) {
      auto waited = co_await command_.timer.async_wait(asio::as_tuple(use_awaitable));
      if (!command_.status) throw boost::system::system_error(std::get<0>(waited));
    }
    co_return *command_.status;
  }

 private:
  FakeCommand& command_;
};

struct ExecFixture : ApiParts {
  std::vector<std::unique_ptr<MemoryExchange>> sessions;  // the tasks' until they have ended
  TaskGroup tasks{loop.get_executor()};
  FakeCommand command{loop.get_executor()};
  http::Handler handler;
  std::string pod;

  ExecFixture() {
    start();
    handler = api::make_api(doors()).value();
    launcher.behaviour.command = [this](container::Process process, container::CommandOptions wanted) {
      return begin(std::move(process), wanted);
    };
    apply_service();
    REQUIRE(until([&] { return condition(model::service_kind(), "hello").status == Truth::yes; }));
    pod = "hello-00001-" + std::string(launcher.instances.front()->id().text());
  }
  ~ExecFixture() { run_on(loop, tasks.stop()); }

  Result<container::Command> begin(container::Process process, container::CommandOptions wanted) {
    if (process.argv.front() == "/none") return fail(Errc::not_found, "the command '/none' is not in the image");
    command.process = std::move(process);
    command.options = wanted;
    auto in = make_pipe().value(), out = make_pipe().value(), err = make_pipe().value();
    command.in = std::move(in.first);
    command.out = std::move(out.second);
    command.err = std::move(err.second);
    container::Command begun;
    if (wanted.input) begun.in = std::move(in.second);
    begun.out = std::move(out.first);
    begun.err = std::move(err.first);
    begun.leash = std::make_unique<FakeLeash>(command);
    return begun;
  }

  static http::Fields upgrade(std::string protocols = "v5.channel.k8s.io") {
    return {{"Connection", "Upgrade"},
            {"Upgrade", "websocket"},
            {"Sec-WebSocket-Version", "13"},
            {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
            {"Sec-WebSocket-Protocol", std::move(protocols)}};
  }
  std::string path(std::string_view query) const {
    return "/api/v1/namespaces/default/pods/" + pod + "/exec?" + std::string(query);
  }
  awaitable<void> handle(MemoryExchange& exchange) { co_await handler(exchange); }
  std::unique_ptr<MemoryExchange> call(std::string target, std::string method = "GET",
                                       http::Fields fields = upgrade()) {
    auto exchange = std::make_unique<MemoryExchange>(loop.get_executor(), std::move(method), std::move(target),
                                                     std::string(), std::move(fields));
    run_on(loop, handle(*exchange));
    return exchange;
  }
  /// A session that has sent `frames`. Lives as long as the fixture.
  MemoryExchange* open(std::string query, std::string frames = {}, http::Fields fields = upgrade()) {
    auto& exchange = *sessions.emplace_back(std::make_unique<MemoryExchange>(loop.get_executor(), "GET", path(query),
                                                                             std::move(frames), std::move(fields)));
    tasks.spawn("exec", handle(exchange));
    return &exchange;
  }
};

std::string frame(std::string_view data) {
  return http::websocket_frame(WebSocketEnd::client, WebSocketMessage::Kind::binary, data);
}

/// Everything the server sent on a channel.
std::string sent(const MemoryExchange& exchange, char channel) {
  http::WebSocketReader reader(WebSocketEnd::client, 1 << 20);
  std::string_view bytes = exchange.text;
  std::string all;
  while (true) {
    const auto message = reader.take(bytes);
    if (!message || !*message) return all;
    if ((*message)->kind == WebSocketMessage::Kind::binary && (*message)->data[0] == channel)
      all += (*message)->data.substr(1);
  }
}

/// Its one instance ends, and nobody asks for another one.
void bring_to_zero(ExecFixture& f) {
  f.launcher.instances.front()->end({.code = 1});
  REQUIRE(f.until([&] { return f.serving->revision({"default", "hello-00001"})->instances.empty(); }));
}

std::string message_of(const MemoryExchange& exchange) { return model::text_at(exchange.json(), {"message"}); }

}  // namespace

TEST_CASE("exec passes output, errors and the exit code on, and v4 is spoken too") {
  ExecFixture f;
  const std::string spoken = GENERATE("v5.channel.k8s.io", "v4.channel.k8s.io");
  auto session = f.open("command=/bin/say&command=a%20b&stdout=true&stderr=true", {}, f.upgrade("other, " + spoken));
  REQUIRE(f.until([&] { return f.command.held; }));
  CHECK(session->status() == 101);
  CHECK(session->answer->fields.find("Sec-WebSocket-Protocol") == spoken);
  CHECK(session->answer->fields.find("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CHECK(f.command.process.argv == std::vector<std::string>{"/bin/say", "a b"});
  CHECK_FALSE(f.command.options.input);
  REQUIRE(write_all(f.command.out.get(), "hello"));
  REQUIRE(write_all(f.command.err.get(), "wrong"));
  f.command.end(7);
  REQUIRE(f.until([&] { return !f.command.held; }));
  CHECK(sent(*session, 1) == "hello");
  CHECK(sent(*session, 2) == "wrong");
  const auto status = json::parse(sent(*session, 3)).as_object();
  CHECK(model::text_at(status, {"reason"}) == "NonZeroExitCode");
  CHECK(json::serialize(status.at("details")) == R"({"causes":[{"reason":"ExitCode","message":"7"}]})");
  CHECK(session->text.ends_with(http::websocket_close(WebSocketEnd::server, http::WebSocketClose::normal)));
}

TEST_CASE("exec passes input on, and its end") {
  ExecFixture f;
  using namespace std::string_literals;
  auto session = f.open("command=cat&stdin=true&stdout=true", frame("\0hello"s) + frame("\xff\0"s));
  REQUIRE(f.until([&] { return f.command.held; }));
  CHECK(f.command.options.input);
  std::string input;
  REQUIRE(f.until([&] {
    char buffer[64];
    pollfd ready{.fd = f.command.in.get(), .events = POLLIN, .revents = 0};
    if (::poll(&ready, 1, 0) != 1) return false;
    const auto got = ::read(f.command.in.get(), buffer, sizeof buffer);
    if (got > 0) input.append(buffer, static_cast<std::size_t>(got));
    return got == 0;
  }));
  CHECK(input == "hello");
  f.command.end(0);
  REQUIRE(f.until([&] { return !f.command.held; }));
  CHECK(model::text_at(json::parse(sent(*session, 3)).as_object(), {"status"}) == "Success");
}

TEST_CASE("a client that goes, or breaks the protocol, ends its command") {
  ExecFixture f;
  auto session = f.open("command=sleep&stdout=true");
  REQUIRE(f.until([&] { return f.command.held; }));
  session->hang_up();
  CHECK(f.until([&] { return !f.command.held; }));

  auto broken = f.open("command=sleep&stdout=true", "this is no frame");
  REQUIRE(f.until([&] { return broken->text.find("\x03\xea") != std::string::npos; }));  // 1002
  CHECK(f.until([&] { return !f.command.held; }));
}

TEST_CASE("an instance with a command is neither frozen nor scaled away") {
  ExecFixture f;
  auto session = f.open("command=sleep&stdout=true");
  REQUIRE(f.until([&] { return f.command.held; }));
  f.apply_service("", "", "hello");
  CHECK(f.launcher.instances.front()->stops == 0);
  session->hang_up();
  CHECK(f.until([&] { return !f.command.held; }));
}

TEST_CASE("a command that cannot begin is told on the channel for that") {
  ExecFixture f;
  auto session = f.open("command=/none&stdout=true");
  REQUIRE(f.until([&] { return !sent(*session, 3).empty(); }));
  const auto status = json::parse(sent(*session, 3)).as_object();
  CHECK(model::text_at(status, {"reason"}) == "InternalError");
  CHECK(model::text_at(status, {"message"}) == "the command '/none' is not in the image");
}

TEST_CASE("what cannot be is refused before the upgrade, in Kubernetes' words") {
  ExecFixture f;
  const auto unknown = f.call("/api/v1/namespaces/default/pods/nobody-00001-x/exec?command=a&stdout=true");
  CHECK(unknown->status() == 404);
  CHECK(message_of(*unknown) == "pods \"nobody-00001-x\" not found");
  const auto container = f.call(f.path("command=a&stdout=true&container=sidecar"));
  CHECK(container->status() == 400);
  CHECK(message_of(*container) == "container sidecar is not valid for pod " + f.pod);
  CHECK(message_of(*f.call(f.path("stdout=true"))) == "you must specify at least one command for the container");
  CHECK(message_of(*f.call(f.path("command=a"))) == "you must specify at least 1 of stdin, stdout, stderr");

  const auto spdy =
      f.call(f.path("command=a&stdout=true"), "POST", {{"Connection", "Upgrade"}, {"Upgrade", "SPDY/3.1"}});
  CHECK(spdy->status() == 400);
  CHECK(message_of(*spdy) == "exec goes over WebSocket (v5.channel.k8s.io) here, not over SPDY");
  CHECK(message_of(*f.call(f.path("command=a&stdout=true"), "GET", {})).starts_with("Upgrade request required"));
  CHECK(f.call(f.path("command=a&stdout=true"), "GET", f.upgrade("v1.other"))->status() == 400);
}

TEST_CASE("exec takes the name of a service or a revision for any instance of it, and starts one") {
  ExecFixture f;
  bring_to_zero(f);
  for (const auto* name : {"hello", "hello-00001"}) {
    f.pod = name;
    auto session = f.open("command=echo&stdout=true");
    REQUIRE(f.until([&] { return f.command.held; }));
    CHECK(f.launcher.running() == 1);
    session->hang_up();
    CHECK(f.until([&] { return !f.command.held; }));
  }
  CHECK(f.call("/api/v1/namespaces/default/pods/nobody/exec?command=a&stdout=true")->status() == 404);
}

TEST_CASE("kubectl exec finds a pod of a service at zero, and nobody else's look starts one") {
  ExecFixture f;
  bring_to_zero(f);
  const std::string pods = "/api/v1/namespaces/default/pods";
  const http::Fields exec{{"Kubectl-Command", "kubectl exec"}};
  const http::Fields get{{"Kubectl-Command", "kubectl get"}};
  CHECK(f.call(pods + "/hello", "GET", get)->status() == 404);
  CHECK(f.call(pods + "/hello", "GET", {})->status() == 404);
  CHECK(f.call(pods + "/nobody", "GET", exec)->status() == 404);
  const std::string of_hello = pods + "?labelSelector=serving.knative.dev%2Fservice%3Dhello";
  CHECK(f.call(of_hello, "GET", get)->json().at("items").as_array().empty());
  CHECK(f.call(pods, "GET", exec)->json().at("items").as_array().empty());
  MemoryExchange made(f.loop.get_executor(), "POST", "/apis/wick.dev/v1/tokens", R"({"name": "r", "scope": "read"})");
  run_on(f.loop, f.handle(made));
  const auto token = "Bearer " + model::text_at(made.json(), {"token"});
  MemoryExchange reader(f.loop.get_executor(), "GET", pods + "/hello", {},
                        {{"Kubectl-Command", "kubectl exec"}, {"Authorization", token}});
  reader.uid = -1;
  run_on(f.loop, f.handle(reader));
  CHECK(reader.status() == 404);
  CHECK(f.launcher.running() == 0);

  const auto listed = f.call(of_hello, "GET", exec)->json();
  REQUIRE(listed.at("items").as_array().size() == 1);
  CHECK(f.launcher.running() == 1);
  const auto named = f.call(pods + "/hello", "GET", exec);
  CHECK(named->status() == 200);
  CHECK(model::text_at(named->json(), {"metadata", "name"}).starts_with("hello-00001-"));
  CHECK(f.launcher.running() == 1);
}

TEST_CASE("exec is for who may deploy, and on record before it runs") {
  ExecFixture f;
  auto stranger = std::make_unique<MemoryExchange>(f.loop.get_executor(), "GET", f.path("command=a&stdout=true"),
                                                   std::string(), f.upgrade());
  stranger->uid = -1;
  run_on(f.loop, f.handle(*stranger));
  CHECK(stranger->status() == 401);

  f.open("command=sleep&stdout=true");
  REQUIRE(f.until([&] { return f.command.held; }));
  const auto trail = f.call("/apis/wick.dev/v1/audit", "GET", {});
  CHECK(trail->text.find("/pods/" + f.pod + "/exec") != std::string::npos);
  CHECK(trail->text.find("101") != std::string::npos);
}
