#include "wick/os/systemd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "wick/base/text.hpp"
#include "wick/os/rights.hpp"

namespace wick {

namespace {

bool tell_systemd(std::string_view state, std::span<const int> fds) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  sockaddr_un address{};
  if (path == nullptr || (path[0] != '/' && path[0] != '@') || std::strlen(path) >= sizeof address.sun_path)
    return false;
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path, std::strlen(path));
  if (path[0] == '@') address.sun_path[0] = '\0';  // abstract name
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(path));
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
         send_rights(socket.get(), state, fds, 0);
}

}  // namespace

void notify_systemd(std::string_view state) { tell_systemd(state, {}); }

bool store_with_systemd(std::string_view name, std::span<const int> fds) {
  // Of a listening socket or a program there is no end to be told of.
  return tell_systemd(fmt::format("FDSTORE=1\nFDPOLL=0\nFDNAME={}", name), fds);
}

std::optional<std::chrono::microseconds> watchdog_limit() {
  const char* limit = std::getenv("WATCHDOG_USEC");
  const char* pid = std::getenv("WATCHDOG_PID");
  if (!limit || (pid && parse_unsigned(pid) != static_cast<std::uint64_t>(::getpid()))) return std::nullopt;
  const auto usec = parse_unsigned(limit).value_or(0);
  if (usec == 0 || usec > static_cast<std::uint64_t>(std::chrono::microseconds::max().count())) return std::nullopt;
  return std::chrono::microseconds(usec);
}

std::vector<PassedSocket> take_passed_sockets() {
  constexpr int first_fd = 3;  // SD_LISTEN_FDS_START
  std::vector<PassedSocket> sockets;
  const char* pid = std::getenv("LISTEN_PID");
  const char* count = std::getenv("LISTEN_FDS");
  const char* names = std::getenv("LISTEN_FDNAMES");
  if (pid && count && parse_unsigned(pid) == static_cast<std::uint64_t>(::getpid())) {
    const auto name_list = split(names ? names : "", ':');
    for (std::size_t i = 0; i < parse_unsigned(count).value_or(0); ++i) {
      const int fd = first_fd + static_cast<int>(i);
      ::fcntl(fd, F_SETFD, FD_CLOEXEC);
      const bool named = i < name_list.size() && !name_list[i].empty();
      sockets.push_back({.name = named ? std::string(name_list[i]) : "unknown", .fd = Fd(fd)});
    }
  }
  ::unsetenv("LISTEN_PID");
  ::unsetenv("LISTEN_FDS");
  ::unsetenv("LISTEN_FDNAMES");
  return sockets;
}

}  // namespace wick
