// A program of its own, because it counts every allocation: a warm request through server and relay makes none.
#include <malloc.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "http_fixture.hpp"

namespace {

thread_local bool counting = false;  // on the loop's thread only
std::atomic<std::size_t> allocations = 0;

void* counted(std::size_t size) {
  if (counting) ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
// What Asio takes coroutine frames and handlers from.
extern "C" void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  if (counting) ++allocations;
  return memalign(alignment, size);
}

using namespace wick;
using namespace wick::http;

namespace {

/// Reads until `end` is the end of it. Blocks.
std::string read_to(int fd, std::string_view end) {
  std::string text;
  char buffer[4096];
  while (!text.ends_with(end)) {
    const auto got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

TEST_CASE("a warm request allocates nothing") {
  HttpFixture f;
  int ends[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const Fd instance(ends[1]);
  Connector connector = [near = ends[0]]() -> awaitable<Result<Fd>> { co_return Fd(near); };
  Upstream upstream(f.loop.get_executor(), f.clock, std::move(connector));
  f.serve([&](Exchange& exchange) -> awaitable<void> {
    RelayOptions options;
    co_await relay(exchange, upstream, std::move(options));
  });
  const Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, f.path().c_str());
  REQUIRE(connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);

  // One run() for all requests: Asio keeps what it recycles as long as that lasts.
  f.loop.restart();
  std::vector<std::size_t> counts;
  std::thread other([&] {
    const std::string request =
        "GET /a/path/that/is/longer/than/a/short/string HTTP/1.1\r\nHost: hello.default.example\r\n"
        "User-Agent: a client with a long name/1.0\r\nAccept: */*\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";
    const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello";
    for (int turn = 0; turn < 50; ++turn) {
      const auto before = allocations.load();
      send(client.get(), request.data(), request.size(), MSG_NOSIGNAL);
      if (!read_to(instance.get(), "\r\n\r\n").starts_with("GET /a/path")) break;
      send(instance.get(), answer.data(), answer.size(), MSG_NOSIGNAL);
      if (!read_to(client.get(), "hello").starts_with("HTTP/1.1 200 OK")) break;
      counts.push_back(allocations - before);
    }
    f.loop.stop();
  });
  counting = true;
  f.loop.run();
  counting = false;
  other.join();
  REQUIRE(counts.size() == 50);
  CHECK(counts.front() > 0);
  for (std::size_t turn = 10; turn < counts.size(); ++turn) CHECK(counts[turn] == 0);

  f.run(f.server->stop(milliseconds(0)));
  f.server.reset();
  f.settle();
}
