// Raw sockets on both sides of a server or relay, in one thread, with time driven by hand.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <boost/asio/co_spawn.hpp>
#include <cstring>
#include <deque>
#include <filesystem>
#include <string>

#include "support/fake_clock.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"

namespace wick::http {

/// One end of a connection, as bytes.
class Wire {
 public:
  explicit Wire(int fd = -1) : fd_(fd) {
    if (fd >= 0) fcntl(fd, F_SETFL, O_NONBLOCK);
  }

  void send(std::string_view bytes) {
    REQUIRE(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  /// As much as the socket takes now.
  std::size_t send_some(std::string_view bytes) {
    const auto sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  /// What has come by now.
  std::string read() {
    std::string text;
    char buffer[65536];
    while (true) {
      const auto got = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (got == 0 || (got < 0 && errno != EAGAIN)) closed_ = true;
      if (got <= 0) return text;
      text.append(buffer, static_cast<std::size_t>(got));
    }
  }
  bool closed() {
    read();
    return closed_;
  }
  void shut() { shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

 private:
  Fd fd_;
  bool closed_ = false;
};

class HttpFixture {
 public:
  HttpFixture() {
    char name[] = "/tmp/wick-http-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~HttpFixture() {
    if (server) {
      run(server->stop(milliseconds(0)));
      server.reset();
    }
    settle();
    std::filesystem::remove_all(folder_);
  }

  void serve(Handler handler, ServerLimits limits = {}) {
    server = std::make_unique<Server>(loop.get_executor(), clock, limits, std::move(handler));
    auto listener = listen_on("unix:" + path());
    REQUIRE(listener);
    server->listen(std::move(*listener));
    settle();
  }
  std::string path() const { return folder_ + "/s"; }

  Wire connect() {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, path().c_str());
    REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    settle();
    return Wire(fd);
  }
  /// Sends, lets everything run, gives what came back.
  std::string talk(Wire& wire, std::string_view bytes) {
    wire.send(bytes);
    settle();
    return wire.read();
  }

  /// A connector whose connections end in `instances`, oldest first.
  Connector connector() {
    return [this]() -> awaitable<Result<Fd>> { return make_pair(); };
  }
  std::deque<Wire> instances;
  bool refuse_connections = false;

  void settle() {
    for (int i = 0; i < 4; ++i) clock.settle();
  }
  void run(awaitable<void> task) {
    bool done = false;
    asio::co_spawn(loop, std::move(task), [&](std::exception_ptr error) {
      done = true;
      if (error) std::rethrow_exception(error);
    });
    for (int i = 0; i < 100 && !done; ++i) settle();
    REQUIRE(done);
  }

  asio::io_context loop{1};
  FakeClock clock{loop};
  std::unique_ptr<Server> server;

 private:
  awaitable<Result<Fd>> make_pair() {
    if (refuse_connections) co_return fail(Errc::unavailable, "connection refused");
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    instances.emplace_back(ends[1]);
    co_return Fd(ends[0]);
  }

  std::string folder_;
};

inline std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

using Catch::Matchers::Contains;
using Catch::Matchers::EndsWith;
using Catch::Matchers::StartsWith;

}  // namespace wick::http
