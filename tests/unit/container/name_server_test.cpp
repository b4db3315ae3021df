// DNS messages as values, and the server over real sockets with a fake upstream.
#include "wick/container/name_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "container/dns_message.hpp"
#include "support/run_loop.hpp"
#include "wick/os/files.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::container;
using namespace std::chrono_literals;

namespace {

std::string query(std::string_view name, std::uint16_t type, std::uint16_t id = 0x1234) {
  std::string out{static_cast<char>(id >> 8), static_cast<char>(id), 1, 0, 0, 1, 0, 0, 0, 0, 0, 0};
  std::size_t begin = 0;
  while (begin < name.size()) {
    const auto end = std::min(name.find('.', begin), name.size());
    out += static_cast<char>(end - begin);
    out += name.substr(begin, end - begin);
    begin = end + 1;
  }
  out += '\0';
  out += {0, static_cast<char>(type), 0, 1};
  return out;
}

int code_of(std::string_view reply) { return reply[3] & 15; }
int answers_in(std::string_view reply) { return reply[7]; }

Fd udp(std::uint16_t& port) {
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(socket.get(), reinterpret_cast<sockaddr*>(&at), sizeof at) == 0);
  socklen_t size = sizeof at;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&at), &size);
  port = ntohs(at.sin_port);
  return socket;
}

/// A resolver that answers every A question with 192.0.2.1; "forged." gets a wrong question back first.
class Upstream {
 public:
  Upstream() : socket_(udp(port)) {
    thread_ = std::thread([this] {
      char buffer[4096];
      while (true) {
        sockaddr_in from{};
        socklen_t size = sizeof from;
        const auto got = ::recvfrom(socket_.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (got <= 1) return;
        const std::string_view message(buffer, static_cast<std::size_t>(got));
        const auto question = dns::parse_question(message);
        const auto send = [&](const std::string& reply) {
          ::sendto(socket_.get(), reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
        };
        if (question->name == "forged") {
          const auto other = dns::with_id(query("other", dns::type_a), question->id);
          send(dns::answer(other, *dns::parse_question(other), dns::Code::ok, {std::string("\x09\x09\x09\x09")}));
        }
        send(dns::answer(message, *question, dns::Code::ok, {std::string("\xc0\x00\x02\x01", 4)}));
      }
    });
  }
  ~Upstream() {
    std::uint16_t ignored = 0;
    const Fd own = udp(ignored);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::sendto(own.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&at), sizeof at);
    thread_.join();
  }
  std::uint16_t port = 0;

 private:
  Fd socket_;
  std::thread thread_;
};

struct ServerFixture {
  ServerFixture() : folder(*TemporaryFolder::make("/tmp")) {
    REQUIRE(write_file(folder.path() / "resolv.conf", "# made\nnameserver 127.0.0.1\nsearch x\n"));
    REQUIRE(write_file(folder.path() / "hosts", "127.0.0.1 me\n10.1.2.3\tdb db.internal # ours\n"));
    server.emplace(
        loop.get_executor(), clock, [](std::string_view host) { return host == "hello.default.svc.cluster.local"; },
        NameServer::Options{.resolv_conf = folder.path() / "resolv.conf",
                            .hosts = folder.path() / "hosts",
                            .upstream_port = upstream.port,
                            .upstream_limit = 2000ms});
  }

  std::string ask(std::string_view name, std::uint16_t type, NameServer::Caller caller) {
    std::uint16_t port = 0;
    Fd listening = udp(port);
    std::uint16_t own_port = 0;
    const Fd own = udp(own_port);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const auto message = query(name, type);
    ::sendto(own.get(), message.data(), message.size(), 0, reinterpret_cast<sockaddr*>(&at), sizeof at);
    TaskGroup tasks(loop.get_executor());
    tasks.spawn("dns", server->serve_udp(std::move(listening), std::move(caller)));
    std::string reply(4096, '\0');
    ssize_t got = -1;
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (got < 0 && std::chrono::steady_clock::now() < until) {
      loop.restart();
      loop.run_one_for(10ms);
      got = ::recv(own.get(), reply.data(), reply.size(), MSG_DONTWAIT);
    }
    auto stopping = tasks.stop();
    run_on(loop, std::move(stopping));
    REQUIRE(got > 0);
    reply.resize(static_cast<std::size_t>(got));
    return reply;
  }

  asio::io_context loop{1};
  SteadyClock clock;
  TemporaryFolder folder;
  Upstream upstream;
  std::optional<NameServer> server;
  NameServer::Caller caller{.name_space = "default", .may_ask_outside = true};
};

const std::string gateway_address("\x7f\x00\x00\x50", 4);

}  // namespace

TEST_CASE("a DNS question is read, and nothing else is taken for one") {
  const auto good = query("Hello.Default.svc.cluster.local", dns::type_a);
  const auto question = dns::parse_question(good);
  REQUIRE(question);
  CHECK(question->name == "hello.default.svc.cluster.local");
  CHECK(question->type == dns::type_a);
  CHECK(question->id == 0x1234);
  CHECK(question->end == good.size());
  for (std::size_t length = 0; length < good.size(); ++length)
    CHECK_FALSE(dns::parse_question(std::string_view(good).substr(0, length)));
  auto pointer = good;
  pointer[12] = '\xc0';
  CHECK_FALSE(dns::parse_question(pointer));
  auto two = good;
  two[5] = 2;
  CHECK_FALSE(dns::parse_question(two));
  CHECK_FALSE(dns::parse_question(query(std::string(60, 'a') + "." + std::string(60, 'b') + "." + std::string(60, 'c') +
                                            "." + std::string(60, 'd') + "." + std::string(60, 'e'),
                                        dns::type_a)));
}

TEST_CASE("services are found by their cluster names, from the caller's namespace too") {
  ServerFixture f;
  for (const char* name : {"hello.default.svc.cluster.local", "hello.svc.cluster.local"}) {
    const auto reply = f.ask(name, dns::type_a, f.caller);
    CHECK(code_of(reply) == 0);
    CHECK(reply.ends_with(gateway_address));
    CHECK(answers_in(f.ask(name, dns::type_aaaa, f.caller)) == 0);
  }
  for (const char* name : {"nope.default.svc.cluster.local", "hello.other.svc.cluster.local", "a.b.c.svc.cluster.local",
                           "kubernetes.default.cluster.local", "example.com.svc.cluster.local"})
    CHECK(code_of(f.ask(name, dns::type_a, f.caller)) == static_cast<int>(dns::Code::no_such_name));
  // A build step is nobody's: it finds none.
  CHECK(code_of(f.ask("hello.default.svc.cluster.local", dns::type_a, {})) ==
        static_cast<int>(dns::Code::no_such_name));
}

TEST_CASE("other names are asked of the host's resolvers, and only by those who may go out") {
  ServerFixture f;
  const auto reply = f.ask("example.com", dns::type_a, f.caller);
  CHECK(code_of(reply) == 0);
  CHECK(reply.ends_with(std::string("\xc0\x00\x02\x01", 4)));
  CHECK(reply.starts_with("\x12\x34"));
  CHECK(f.ask("forged", dns::type_a, f.caller).ends_with(std::string("\xc0\x00\x02\x01", 4)));
  CHECK(f.ask("db.internal", dns::type_a, f.caller).ends_with("\x0a\x01\x02\x03"));
  CHECK(f.ask("localhost", dns::type_a, f.caller).ends_with(std::string("\x7f\x00\x00\x01", 4)));
  const NameServer::Caller inside{.name_space = "default", .may_ask_outside = false};
  CHECK(code_of(f.ask("example.com", dns::type_a, inside)) == static_cast<int>(dns::Code::refused));
  CHECK(code_of(f.ask("db.internal", dns::type_a, inside)) == static_cast<int>(dns::Code::refused));
  CHECK(f.ask("hello", dns::type_a, f.caller).size() > 12);
}
