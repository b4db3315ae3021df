#include "namespaces.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "protocol.hpp"
#include "wick/base/log.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace {

/// A child that is alone in a new user namespace and does nothing; it goes when its owner does.
class Sleeper {
 public:
  Sleeper() {
    const pid_t parent = ::getpid();
    pid_ = static_cast<pid_t>(::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (pid_ != 0) return;
    // Only bare system calls here: another thread may have held any lock when we were cloned.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent && ::getppid() != 0) ::_exit(1);
    while (true) ::pause();
  }
  Sleeper(const Sleeper&) = delete;
  ~Sleeper() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

Result<Fd> make_user_namespace(std::uint32_t inside, std::uint32_t outside) {
  const Sleeper sleeper;
  if (sleeper.pid() < 0) return fail(system_error("make a user namespace", errno));
  const std::string folder = fmt::format("/proc/{}", sleeper.pid());
  const std::string mapping = fmt::format("{} {} {}\n", inside, outside, id_range_size);
  for (const char* name : {"uid_map", "gid_map"}) {
    auto file = open_file(folder + "/" + name, O_WRONLY);
    if (!file) return fail(std::move(file.error()));
    if (auto written = write_all(file->get(), mapping); !written) return fail(std::move(written.error()).within(name));
  }
  return open_file(folder + "/ns/user", O_RDONLY);
}

/// 0: connected or on its way; otherwise errno.
int begin_connect(int fd, int family, std::uint16_t port) {
  sockaddr_in v4{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  v6.sin6_addr = in6addr_loopback;
  const auto* address = family == AF_INET ? reinterpret_cast<sockaddr*>(&v4) : reinterpret_cast<sockaddr*>(&v6);
  const socklen_t length = family == AF_INET ? sizeof v4 : sizeof v6;
  if (::connect(fd, address, length) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  // On loopback the answer is normally there before connect(2) returns: a refusal can be told at once.
  pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) != 1) return 0;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

void add_listening(const inet_diag_msg& message, std::vector<Listening>& out) {
  char text[INET6_ADDRSTRLEN] = {};
  const int family = message.idiag_family;
  if (::inet_ntop(family, message.id.idiag_src, text, sizeof text) == nullptr) return;
  out.push_back({.address = text, .port = ntohs(message.id.idiag_sport)});
}

/// Calls `each` for the sockets of `family` and `protocol` in one of `states` (bits numbered as in net/tcp_states.h).
template <class Each>
Result<void> dump_sockets(int netlink, int family, int protocol, std::uint32_t states, Each each) {
  struct {
    nlmsghdr head;
    inet_diag_req_v2 request;
  } query{};
  query.head = {.nlmsg_len = sizeof query,
                .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                .nlmsg_seq = 1,
                .nlmsg_pid = 0};
  query.request.sdiag_family = static_cast<__u8>(family);
  query.request.sdiag_protocol = static_cast<__u8>(protocol);
  query.request.idiag_states = states;
  if (::send(netlink, &query, sizeof query, 0) < 0) return fail(system_error("sock_diag", errno));
  alignas(nlmsghdr) std::array<char, 32768> buffer;
  while (true) {
    const auto got = ::recv(netlink, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(system_error("sock_diag", got < 0 ? errno : EIO));
    auto left = static_cast<unsigned>(got);
    for (auto* head = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(head, left); head = NLMSG_NEXT(head, left)) {
      if (head->nlmsg_type == NLMSG_DONE) return {};
      if (head->nlmsg_type == NLMSG_ERROR) return fail(Errc::io, "sock_diag answered with an error");
      if (head->nlmsg_type == SOCK_DIAG_BY_FAMILY) each(*static_cast<const inet_diag_msg*>(NLMSG_DATA(head)));
    }
  }
}

/// Our own listeners: the gateway's and the DNS's.
bool is_inside(const inet_diag_msg& message) {
  if (message.idiag_family != AF_INET) return false;
  const std::uint32_t address = ntohl(message.id.idiag_src[0]);
  return address == inside_gateway || address == inside_dns;
}

constexpr std::uint32_t listen_state = 1U << 10;
constexpr std::uint32_t time_wait_state = 1U << 6;

}  // namespace

Result<int> UserNamespaces::map(std::uint32_t inside, std::uint32_t outside) {
  const auto key = std::pair(inside, outside);
  if (auto found = kept_.find(key); found != kept_.end()) {
    found->second.used = ++uses_;
    return found->second.fd.get();
  }
  auto made = make_user_namespace(inside, outside);
  if (!made) return fail(std::move(made.error()));
  if (kept_.size() >= kept_max)
    kept_.erase(std::ranges::min_element(kept_, {}, [](const auto& entry) { return entry.second.used; }));
  const int fd = made->get();
  kept_.emplace(key, Kept{.fd = std::move(*made), .used = ++uses_});
  return fd;
}

Result<Fd> network_namespace_of(pid_t pid) { return open_file(fmt::format("/proc/{}/ns/net", pid), O_RDONLY); }

Result<NetworkDoor> NetworkDoor::open() {
  auto home = open_file("/proc/thread-self/ns/net", O_RDONLY);
  if (!home) return fail(std::move(home.error()));
  return NetworkDoor(std::move(*home));
}

void leave_network(const Fd& home) {
  if (::setns(home.get(), CLONE_NEWNET) == 0) return;
  log::error("cannot leave the network namespace of an instance", {{"error", std::strerror(errno)}});
  std::abort();
}

Result<void> NetworkDoor::enter(const Fd& target) {
  if (::setns(target.get(), CLONE_NEWNET) != 0) return fail(system_error("enter a network namespace", errno));
  return {};
}

Result<std::vector<Fd>> NetworkDoor::make_sockets_in(const Fd& target, int family, int type, int protocol,
                                                     std::size_t count) const {
  return inside(target, [&]() -> Result<std::vector<Fd>> {
    std::vector<Fd> sockets;
    while (sockets.size() < count) {
      Fd socket(::socket(family, type | SOCK_CLOEXEC, protocol));
      if (!socket && sockets.empty()) return fail(system_error("socket", errno));
      if (!socket) break;
      sockets.push_back(std::move(socket));
    }
    return sockets;
  });
}

Result<Fd> NetworkDoor::socket_in(const Fd& target, int family, int type, int protocol) const {
  auto sockets = make_sockets_in(target, family, type, protocol, 1);
  if (!sockets) return fail(std::move(sockets.error()));
  return std::move(sockets->front());
}

Result<std::vector<Fd>> NetworkDoor::connect_in(const Fd& target, std::uint16_t port, std::size_t count) const {
  int error = 0;
  for (const int family : {AF_INET, AF_INET6}) {
    auto sockets = make_sockets_in(target, family, SOCK_STREAM | SOCK_NONBLOCK, 0, count);
    if (!sockets) {
      if (family == AF_INET6) break;  // a kernel without IPv6
      return sockets;
    }
    std::size_t connecting = 0;
    while (connecting < sockets->size()) {
      error = begin_connect((*sockets)[connecting].get(), family, port);
      if (error != 0) break;
      ++connecting;
    }
    sockets->resize(connecting);
    if (connecting > 0) return sockets;
    if (error != ECONNREFUSED) break;
  }
  return fail(Errc::unavailable, fmt::format("nobody listens on port {} ({})", port, std::strerror(error)));
}

Result<Fd> NetworkDoor::diag_socket_in(const Fd& target) const {
  auto netlink = socket_in(target, AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
  if (!netlink) return netlink;
  const timeval limit{.tv_sec = 1, .tv_usec = 0};  // the kernel answers at once
  ::setsockopt(netlink->get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return netlink;
}

Result<std::vector<Listening>> NetworkDoor::listening_in(const Fd& target) const {
  auto netlink = diag_socket_in(target);
  if (!netlink) return fail(std::move(netlink.error()));
  std::vector<Listening> out;
  const auto add = [&out](const inet_diag_msg& message) {
    if (out.size() < protocol::listening_max && !is_inside(message)) add_listening(message, out);
  };
  for (const int family : {AF_INET, AF_INET6})
    if (auto dumped = dump_sockets(netlink->get(), family, IPPROTO_TCP, listen_state, add);
        !dumped && family == AF_INET)
      return fail(std::move(dumped.error()));
  return out;
}

Result<std::size_t> NetworkDoor::sockets_in(const Fd& target) const {
  auto netlink = diag_socket_in(target);
  if (!netlink) return fail(std::move(netlink.error()));
  std::size_t count = 0;
  for (const int protocol : {IPPROTO_TCP, IPPROTO_UDP})
    for (const int family : {AF_INET, AF_INET6}) {
      auto dumped =
          dump_sockets(netlink->get(), family, protocol, ~time_wait_state, [&count](const auto&) { ++count; });
      // A kernel may have no diag module for UDP or no IPv6: what cannot be asked is not counted.
      if (!dumped && protocol == IPPROTO_TCP && family == AF_INET) return fail(std::move(dumped.error()));
    }
  return count;
}

}  // namespace wick::container
