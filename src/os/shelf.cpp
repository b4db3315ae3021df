#include "wick/os/shelf.hpp"

#include <fmt/format.h>

#include "wick/os/rights.hpp"

namespace wick {

namespace {

constexpr int room_bytes = 4 << 20;  // the kernel counts some 800 a message, and doubles what it is given

}  // namespace

Result<Shelf> Shelf::make() {
  auto ends = Seqpacket::pair();
  if (!ends) return fail(std::move(ends.error()));
  ::setsockopt(ends->first.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room_bytes, sizeof room_bytes);
  return Shelf(std::move(ends->first), std::move(ends->second));
}

Result<void> Shelf::put(std::string_view name, std::span<const int> fds) const {
  if (name.empty() || name.size() > Seqpacket::bytes_max || fds.size() > Seqpacket::fds_max)
    return fail(Errc::too_large, "one thing on a shelf has a name and few descriptors");
  if (send_rights(in_.get(), name, fds)) return {};
  if (errno == EAGAIN || errno == EWOULDBLOCK)
    return fail(Errc::overloaded, "the shelf is full", "net.core.wmem_max bounds it");
  return fail(system_error("put on a shelf", errno));
}

std::vector<Shelf::Kept> Shelf::take() const {
  std::vector<Kept> all;
  while (auto packet = receive_rights(out_.get())) {
    if (!*packet) continue;
    if ((*packet)->bytes.empty()) break;  // whoever could put something here is gone
    all.push_back({.name = std::move((*packet)->bytes), .fds = std::move((*packet)->fds)});
  }
  return all;
}

}  // namespace wick
