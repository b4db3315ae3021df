#include "tunnel.hpp"

#include <cerrno>

#include "wick/os/together.hpp"

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
  auto copy_up = keep_value(copy(up), false);
  auto copy_down = keep_value(copy(down), false);
  const auto end = co_await run_together(std::move(copy_up), std::move(copy_down));
  for (const auto& error : {end.first_error, end.second_error})
    if (error) std::rethrow_exception(error);
  co_return TunnelBytes{up.bytes, down.bytes};
}

}  // namespace wick::http
