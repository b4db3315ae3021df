// One connection of the server that speaks HTTP/2, as a client of any kind: no crash, nothing left over when it is
// gone. The first byte says how the rest is cut into reads; the preface and the client's SETTINGS come before it.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <string_view>

#include "http/connection.hpp"
#include "support/fake_clock.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::http;

namespace {

/// Reads what there is of the body and answers with more than a window's worth, or with little.
awaitable<void> answer_anything(Exchange& exchange) {
  auto body = co_await exchange.read_all(1 << 16);
  const bool much = exchange.head().target.size() % 2 == 0;
  co_await respond_text(exchange, body ? 200 : 400, std::string(much ? 100'000 : 10, 'x'));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t step = data[0] == 0 ? size : data[0];
  const std::string bytes = std::string("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") + std::string("\0\0\0\x04\0\0\0\0\0", 9) +
                            std::string(reinterpret_cast<const char*>(data) + 1, size - 1);
  asio::io_context loop{1};
  FakeClock clock(loop);
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) std::abort();
  Fd ours(ends[1]);
  {
    ServerState state(loop.get_executor(), clock, {}, answer_anything);
    TaskGroup group(loop.get_executor());
    auto connection = std::make_unique<Connection>(state, Fd(ends[0]), "203.0.113.7", -1);
    group.spawn("connection", connection->run());
    char drain[65536];
    const auto settle = [&] {
      for (int i = 0; i < 3; ++i) {
        clock.settle();
        while (::read(ours.get(), drain, sizeof drain) > 0) {
        }
      }
    };
    for (std::string_view rest = bytes; !rest.empty();) {
      const auto part = rest.substr(0, step);
      rest.remove_prefix(part.size());
      if (::send(ours.get(), part.data(), part.size(), MSG_NOSIGNAL) < 0) break;
      settle();
    }
    connection->check_limits(clock.now() + 1h);
    settle();
    ours.reset();
    settle();
    settle();
    if (group.size() != 0 || state.in_flight != 0) std::abort();
  }
  return 0;
}
