// Addresses as text: listening, connecting, and what a listener got.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <cerrno>
#include <cstring>

#include "stream.hpp"
#include "wick/base/text.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"

namespace wick::http {

namespace {

constexpr int backlog = 4096;
constexpr std::string_view unix_prefix = "unix:";

struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

Result<HostPort> split_address(std::string_view address) {
  const auto colon = address.rfind(':');
  const auto port = colon == std::string_view::npos ? std::nullopt : parse_unsigned(address.substr(colon + 1));
  if (!port || *port > 65535)
    return fail(Errc::invalid, "an address is HOST:PORT or unix:PATH, not '" + printable(address) + "'");
  auto host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  return HostPort{std::string(host), static_cast<std::uint16_t>(*port)};
}

Result<sockaddr_un> unix_address(std::string_view path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(Errc::invalid, "a unix socket's path has 1 to 107 bytes, not " + std::to_string(path.size()));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

/// True when nobody listens at a socket file that is there: it was left by a process that ended.
bool is_stale(const sockaddr_un& address) {
  Fd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno == ECONNREFUSED;
}

Result<Fd> listen_on_unix(std::string_view path) {
  auto address = unix_address(path);
  if (!address) return fail(std::move(address.error()));
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(system_error("make a unix socket", errno));
  struct stat status{};
  if (lstat(address->sun_path, &status) == 0 && S_ISSOCK(status.st_mode) && is_stale(*address))
    unlink(address->sun_path);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) < 0)
    return fail(system_error("listen on unix:" + std::string(path), errno));
  if (chmod(address->sun_path, 0660) < 0 || ::listen(fd.get(), backlog) < 0)
    return fail(system_error("listen on unix:" + std::string(path), errno));
  return fd;
}

Result<Fd> listen_on_tcp(std::string_view text) {
  auto split = split_address(text);
  if (!split) return fail(std::move(split.error()));
  sockaddr_storage storage{};
  socklen_t size = 0;
  auto& four = reinterpret_cast<sockaddr_in&>(storage);
  auto& six = reinterpret_cast<sockaddr_in6&>(storage);
  const auto host = split->host == "localhost" ? std::string("127.0.0.1") : split->host;
  if (inet_pton(AF_INET, host.c_str(), &four.sin_addr) == 1) {
    four.sin_family = AF_INET;
    four.sin_port = htons(split->port);
    size = sizeof four;
  } else if (host.empty() || inet_pton(AF_INET6, host.c_str(), &six.sin6_addr) == 1) {
    six.sin6_family = AF_INET6;
    six.sin6_port = htons(split->port);
    size = sizeof six;
  } else {
    return fail(Errc::invalid, "a listening address must be an IP address, not '" + printable(host) + "'");
  }
  Fd fd(socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && errno == EAFNOSUPPORT && host.empty()) return listen_on_tcp("0.0.0.0" + std::string(text));
  if (!fd) return fail(system_error("make a socket", errno));
  const int on = 1;
  const int off = 0;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (storage.ss_family == AF_INET6)
    setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, host.empty() ? &off : &on, sizeof on);
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), size) < 0 || ::listen(fd.get(), backlog) < 0)
    return fail(system_error("listen on " + std::string(text), errno));
  return fd;
}

awaitable<Result<Fd>> finish_connect(Executor executor, Fd fd, const sockaddr* address, socklen_t size,
                                     std::string name) {
  if (connect(fd.get(), address, size) == 0) co_return fd;
  if (errno != EINPROGRESS) {
    const int error = errno;
    co_return fail(Errc::unavailable, "connect to " + name + ": " + std::strerror(error));
  }
  auto duplicate = fd.duplicate();
  if (!duplicate) co_return fail(system_error("duplicate a socket", errno));
  asio::posix::stream_descriptor descriptor(executor, duplicate.release());
  co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_write, use_awaitable);
  int error = 0;
  socklen_t error_size = sizeof error;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &error_size);
  if (error) co_return fail(Errc::unavailable, "connect to " + name + ": " + std::strerror(error));
  co_return fd;
}

awaitable<Result<Fd>> connect_unix(Executor executor, std::string address) {
  auto target = unix_address(std::string_view(address).substr(unix_prefix.size()));
  if (!target) co_return fail(std::move(target.error()));
  Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) co_return fail(system_error("make a unix socket", errno));
  const auto* generic = reinterpret_cast<const sockaddr*>(&*target);
  co_return co_await finish_connect(executor, std::move(fd), generic, sizeof *target, std::move(address));
}

awaitable<Result<Fd>> connect_tcp(Executor executor, std::string address) {
  auto split = split_address(address);
  if (!split) co_return fail(std::move(split.error()));
  asio::ip::tcp::resolver resolver(executor);
  boost::system::error_code failed;
  auto token = asio::redirect_error(use_awaitable, failed);
  auto found = co_await resolver.async_resolve(split->host, std::to_string(split->port), token);
  if (failed) co_return fail(Errc::unavailable, "look up " + split->host + ": " + failed.message());
  Result<Fd> last = fail(Errc::unavailable, split->host + " has no address");
  for (const auto& entry : found) {
    const auto endpoint = entry.endpoint();
    Fd fd(socket(endpoint.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) continue;
    const int on = 1;
    setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    last = co_await finish_connect(executor, std::move(fd), endpoint.data(), static_cast<socklen_t>(endpoint.size()),
                                   address);
    if (last) break;
  }
  co_return last;
}

}  // namespace

Result<Fd> listen_on(std::string_view address) {
  if (address.starts_with(unix_prefix)) return listen_on_unix(address.substr(unix_prefix.size()));
  return listen_on_tcp(address);
}

std::string bound_address(const Fd& listener) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0) return {};
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& four = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &four.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(four.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& six = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &six.sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(six.sin6_port));
  }
  if (address.ss_family == AF_UNIX)
    return "unix:" + std::string(reinterpret_cast<const sockaddr_un&>(address).sun_path);
  return {};
}

Connector connect_to(Executor executor, std::string address) {
  return [executor, address = std::move(address)]() -> awaitable<Result<Fd>> {
    if (address.starts_with(unix_prefix)) return connect_unix(executor, address);
    return connect_tcp(executor, address);
  };
}

}  // namespace wick::http
