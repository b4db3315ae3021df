// The gRPC probe against a real server (python3-grpcio), and against what is none.
#include "grpc_health.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "pool_fixture.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"

using namespace wick;
using namespace wick::serving;

namespace {

struct Server {
  explicit Server(const char* kind) {
    int ends[2] = {-1, -1};
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd out(ends[0]);
    Fd in(ends[1]);
    auto spawned = ChildProcess::spawn(
        loop.get_executor(), {.argv = {"/usr/bin/python3", GRPC_SERVER, kind}, .stdout_fd = in.get(), .stderr_fd = 2});
    REQUIRE(spawned);
    process.emplace(std::move(*spawned));
    in.reset();
    std::string line;
    for (char c = 0; ::read(out.get(), &c, 1) == 1 && c != '\n';) line += c;
    port = static_cast<std::uint16_t>(parse_unsigned(line).value_or(0));
    if (port == 0) WARN("SKIPPED: no gRPC server: is python3-grpcio installed?");
  }

  std::string ask(std::string service, milliseconds limit = 20s) {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    SteadyClock clock;
    return run_on(loop, ask_grpc(clock, std::move(socket), std::move(service), port, limit));
  }

  asio::io_context loop{1};
  std::optional<ChildProcess> process;
  std::uint16_t port = 0;
};

/// Frames of HTTP/2 as a server sends them: SETTINGS, the head, `body`, the trailers.
std::string answer_with(std::string body, std::string grpc_status = "0") {
  const auto frame = [](char type, char flags, char stream, const std::string& payload) {
    std::string bytes{'\0', '\0', static_cast<char>(payload.size()), type, flags, '\0', '\0', '\0', stream};
    return bytes + payload;
  };
  std::string trailers("\0\x0bgrpc-status", 13);
  trailers += static_cast<char>(grpc_status.size());
  return frame(4, 0, 0, "") + frame(1, 4, 1, "\x88") + frame(0, 0, 1, body) + frame(1, 5, 1, trailers + grpc_status);
}

std::string complaint_to(const std::string& answer, std::size_t piece = 4096) {
  GrpcHealthCheck check("", "127.0.0.1:8080");
  const auto request = check.take_output();
  CHECK(request.starts_with("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
  for (std::size_t at = 0; at < answer.size() && !check.done(); at += piece) {
    check.read(answer.substr(at, piece));
    check.take_output();
  }
  return check.complaint();
}

const std::string serving_answer = std::string("\0\0\0\0\2\x08\x01", 7);

}  // namespace

TEST_CASE("a real gRPC server is asked, for all of it or for one service, and its answer is told") {
  Server server("health");
  if (server.port == 0) return;
  CHECK(server.ask("") == "");
  CHECK(server.ask("down") == "answered NOT_SERVING");
  CHECK(server.ask("odd") == "answered 7");
  CHECK(server.ask("none") == "does not know the service");
  CHECK(server.ask("refuses") == "answered with the status 7: not%01you");
  CHECK(server.ask("slow", 50ms) == "gave no answer within 50 ms");
  Server other("other");
  CHECK(other.ask("") == "does not implement the health checking protocol (grpc.health.v1.Health)");
}

TEST_CASE("an answer may come in any pieces, and what is none is said") {
  for (const std::size_t piece : {1, 2, 7, 4096}) CHECK(complaint_to(answer_with(serving_answer), piece) == "");
  CHECK(complaint_to(answer_with(std::string("\0\0\0\0\0", 5))) == "answered UNKNOWN");
  CHECK(complaint_to(answer_with(std::string("\0\0\0\0\6\x12\2ab\x08\x01", 11))) == "");  // a field of tomorrow
  for (const auto& body : {std::string(), std::string("\0\0\0\0\3\x08\x01", 7), std::string("\1\0\0\0\2\x08\x01", 7),
                           std::string("\0\0\0\0\2\x08\xff", 7), std::string("\0\0\0\0\2\x12\7", 7)})
    CHECK(complaint_to(answer_with(body)) == "answered with no HealthCheckResponse");
  CHECK(complaint_to("HTTP/1.1 400 Bad Request\r\n\r\n") == "answered with something else than HTTP/2");
  CHECK(complaint_to("") == "closed the connection without an answer");
  CHECK(complaint_to(answer_with(serving_answer).substr(0, 30)) == "closed the connection without an answer");
}

TEST_CASE("an instance is ready once its gRPC server serves, and replaced when it does no more") {
  RevisionSpec spec;
  spec.readiness = {.kind = Probe::Kind::grpc, .path = ""};
  spec.liveness = Liveness{.kind = Probe::Kind::grpc, .path = "", .period = 1s, .failure_threshold = 2};
  spec.scaling.min_scale = 1;
  std::string answer = answer_with(std::string("\0\0\0\0\2\x08\x02", 7));
  std::vector<Fd> servers;
  PoolFixture f(spec);
  f.launcher.behaviour.connector = [&]() -> awaitable<Result<Fd>> {
    int ends[2] = {-1, -1};
    (void)::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
    servers.emplace_back(ends[1]);
    CHECK(::write(ends[1], answer.data(), answer.size()) == static_cast<ssize_t>(answer.size()));
    co_return Fd(ends[0]);
  };
  const auto pass = [&](Duration time) {
    for (Duration passed{0}; passed < time; passed += 50ms) f.clock.advance(50ms);
  };
  pass(2s);
  CHECK(f.view().ready == 0);
  CHECK(f.view().starting == 1);
  answer = answer_with(serving_answer);
  pass(1s);
  CHECK(f.view().ready == 1);
  pass(5s);
  CHECK(f.view().restarts == 0);
  answer = answer_with(std::string("\0\0\0\0\2\x08\x02", 7));
  pass(3s);
  CHECK(f.view().restarts == 1);
  CHECK(f.view().last_failure->because.find("failed its liveness probe 2 times in a row: the server answered "
                                            "NOT_SERVING to the gRPC health check") != std::string::npos);
}
