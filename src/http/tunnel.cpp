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

struct BodyTunnel {
  WireExchange& client;
  Stream& upstream;
  std::string first;
  std::function<void()>& active;
  TunnelBytes bytes{};

  void cut() {
    client.cut();
    upstream.interrupt(ECONNABORTED);
  }
};

awaitable<bool> copy_up(BodyTunnel& tunnel) {
  auto& [client, upstream, first, active, bytes] = tunnel;
  while (true) {
    const auto slice = client.buffered_body();
    if (slice.empty() && client.body_finished()) {
      upstream.shutdown_send();
      co_return false;
    }
    if (slice.empty()) {
      auto filled = co_await client.fill_body();
      if (filled) continue;
      tunnel.cut();
      co_return false;
    }
    active();
    const auto sent = co_await upstream.write_all(slice);
    bytes.to_upstream += sent.bytes;
    if (!sent.ok()) {
      tunnel.cut();
      co_return false;
    }
    client.consume_body(slice.size());
  }
}

/// What the upstream sends is asked for no faster than the client takes it.
awaitable<bool> copy_down(BodyTunnel& tunnel) {
  auto& [client, upstream, first, active, bytes] = tunnel;
  const auto buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes);
  std::string_view piece = first;
  while (true) {
    if (!piece.empty()) client.put(piece, false);
    bytes.to_client += piece.size();
    if (client.needs_flush()) {
      auto flushed = co_await client.flush();
      if (!flushed) break;
    }
    const auto got = co_await upstream.read_some({buffer.get(), buffer_bytes});
    if (!got.ok()) break;
    active();
    if (got.ended()) {
      client.put({}, true);
      auto flushed = co_await client.flush();
      if (flushed) co_return false;
      break;
    }
    piece = {buffer.get(), got.bytes};
  }
  tunnel.cut();
  co_return false;
}

}  // namespace

awaitable<TunnelBytes> run_body_tunnel(WireExchange& client, Stream& upstream, std::string from_upstream,
                                       std::function<void()> active) {
  BodyTunnel tunnel{client, upstream, std::move(from_upstream), active};
  auto up = copy_up(tunnel);
  auto down = copy_down(tunnel);
  const auto end = co_await run_together(std::move(up), std::move(down));
  for (const auto& error : {end.first_error, end.second_error})
    if (error) std::rethrow_exception(error);
  co_return tunnel.bytes;
}

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
