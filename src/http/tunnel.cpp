#include "tunnel.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/parallel_group.hpp>
#include <cerrno>

namespace wick::http {

namespace {

constexpr std::size_t buffer_bytes = 32 << 10;

struct Direction {
  Stream& from;
  Stream& to;
  std::string first;
  std::function<void()>& active;
  std::uint64_t bytes = 0;
};

awaitable<void> copy(Direction& way) {
  const auto buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes);
  auto sent = co_await way.to.write_all(way.first);
  way.bytes += sent.bytes;
  while (sent.ok()) {
    const auto got = co_await way.from.read_some({buffer.get(), buffer_bytes});
    way.active();
    if (!got.ok()) break;
    if (got.ended()) {
      way.to.shutdown_send();
      co_return;
    }
    sent = co_await way.to.write_all({buffer.get(), got.bytes});
    way.bytes += sent.bytes;
    way.active();
  }
  way.from.interrupt(ECONNABORTED);
  way.to.interrupt(ECONNABORTED);
}

}  // namespace

awaitable<TunnelBytes> run_tunnel(Stream& client, Stream& upstream, std::string from_client, std::string from_upstream,
                                  std::function<void()> active) {
  Direction up{client, upstream, std::move(from_client), active};
  Direction down{upstream, client, std::move(from_upstream), active};
  auto executor = co_await asio::this_coro::executor;
  auto copy_up = copy(up);
  auto copy_down = copy(down);
  auto pair = asio::experimental::make_parallel_group(asio::co_spawn(executor, std::move(copy_up), asio::deferred),
                                                      asio::co_spawn(executor, std::move(copy_down), asio::deferred));
  auto done = co_await pair.async_wait(asio::experimental::wait_for_one_error(), use_awaitable);
  auto& [order, up_error, down_error] = done;
  for (const auto& error : {up_error, down_error})
    if (error) std::rethrow_exception(error);
  co_return TunnelBytes{up.bytes, down.bytes};
}

}  // namespace wick::http
