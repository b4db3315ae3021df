#include "networks.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <cerrno>
#include <random>

#include "embedded.hpp"
#include "netlink.hpp"
#include "sealed_memory.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/deadline.hpp"
#include "wick/os/files.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr auto nft_limit = 20s;
constexpr auto look_interval = 250ms;  // at what was given back with sockets still open
constexpr auto leave_limit = 10s;      // what is not empty by then is not used again
constexpr std::size_t left_max = 256;
constexpr std::uint32_t links_max = 65000;
constexpr int link_tries = 256;
constexpr int inside_index = 2;  // of eth0: the loopback is 1
constexpr Ipv4 gateway_of_link{169, 254, 1, 1};

enum SocketGroup : std::uint32_t {
  closed = 7701,
  internet = 7702,
  everything = 7703,
  listed = 7704
};  // runtime/egress.nft

std::string link_name(std::uint32_t number) { return fmt::format("wick{}", number); }

/// 100.127.0.0/16, the end of the shared range (RFC 6598). Masqueraded, so nobody outside sees it.
Ipv4 address_of(std::uint32_t number) {
  return {100, 127, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)};
}
MacAddress mac_of(std::uint32_t number, std::uint8_t end) {
  return {0x02, 'w', 'k', end, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number)};
}

bool wants_link(const EgressPolicy& policy) { return policy.base != Egress::none || !policy.allow.empty(); }

SocketGroup group_of(const EgressPolicy& policy) {
  if (policy.base == Egress::open) return everything;
  if (!policy.allow.empty()) return listed;
  return policy.base == Egress::internet ? internet : closed;
}

Result<void> set_sysctl(const fs::path& name, std::string_view value) {
  auto file = open_file("/proc/sys" / name, O_WRONLY);
  if (!file) return fail(std::move(file.error()));
  return write_all(file->get(), value);
}

/// What is done inside the new namespace. The settings are the namespace's own and the instance sees them read-only.
Result<RouteNetlink> furnish(const fs::path& sys) {
  // An image's USER listens on port 80 as well as root does; ping works without a raw socket.
  if (auto set = set_sysctl("net/ipv4/ip_unprivileged_port_start", "0"); !set) return fail(std::move(set.error()));
  if (auto set = set_sysctl("net/ipv4/ping_group_range", "0 2147483647"); !set) return fail(std::move(set.error()));
  (void)set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");  // eth0 has no IPv6; a kernel without it has no file
  auto netlink = RouteNetlink::open();
  if (!netlink) return netlink;
  if (auto up = netlink->set_up(1); !up) return fail(std::move(up.error()).within("loopback"));
  // sysfs shows the network of who mounts it, so it is mounted from here.
  if (auto made = make_folders(sys, 0755); !made) return fail(std::move(made.error()));
  constexpr unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount("sysfs", sys.c_str(), "sysfs", flags, nullptr) != 0) return fail(system_error("mount sysfs", errno));
  return netlink;
}

Result<void> connect_ends(const RouteNetlink& host, const RouteNetlink& inside, std::uint32_t number, int link) {
  const std::string settings = "net/ipv4/conf/" + link_name(number);
  if (auto set = set_sysctl(settings + "/rp_filter", "1"); !set) return set;  // nobody speaks for another one
  (void)set_sysctl("net/ipv6/conf/" + link_name(number) + "/disable_ipv6", "1");
  const Ipv4 address = address_of(number);
  if (auto done = host.set_up(link); !done) return done;
  if (auto done = inside.set_up(inside_index); !done) return done;
  if (auto done = host.add_host_route(link, address); !done) return done;
  if (auto done = host.add_neighbour(link, address, mac_of(number, 2)); !done) return done;
  if (auto done = inside.add_address(inside_index, address); !done) return done;
  if (auto done = inside.add_neighbour(inside_index, gateway_of_link, mac_of(number, 1)); !done) return done;
  return inside.add_default_route(inside_index, gateway_of_link);
}

/// The first free number from a random one on: other daemons take theirs from the same table, the kernel's.
Result<void> give_link(Network& network, const RouteNetlink& inside) {
  static std::atomic<std::uint32_t> next = std::random_device()();
  auto host = RouteNetlink::open();
  if (!host) return fail(std::move(host.error()));
  for (int tried = 0; tried < link_tries; ++tried) {
    const std::uint32_t number = 1 + next++ % links_max;
    const std::string name = link_name(number);
    auto made = host->make_pair({.name = name,
                                 .address = mac_of(number, 1),
                                 .group = internet,
                                 .peer_name = "eth0",
                                 .peer_address = mac_of(number, 2),
                                 .peer_index = inside_index,
                                 .peer_namespace = network.name_space.get()});
    if (!made && made.error().code() == Errc::already_exists) continue;
    if (!made) return made;
    network.number = number;
    network.link = static_cast<int>(::if_nametoindex(name.c_str()));
    return connect_ends(*host, inside, number, network.link);
  }
  return fail(Errc::overloaded, "no number is left for another link");
}

/// On a worker's thread, which is back in its own namespace when this returns.
Result<Network> make_network(const fs::path& sys, bool linked) {
  auto home = open_file("/proc/thread-self/ns/net", O_RDONLY);
  if (!home) return fail(std::move(home.error()));
  if (::unshare(CLONE_NEWNET) != 0) return fail(system_error("make a network namespace", errno));
  auto fresh = open_file("/proc/thread-self/ns/net", O_RDONLY);
  auto inside = fresh ? furnish(sys) : fail(std::move(fresh.error()));
  leave_network(*home);
  if (!inside) return fail(std::move(inside.error()).within("network namespace"));
  Network network;
  network.name_space = std::move(*fresh);
  network.sys = sys;
  if (linked)
    if (auto given = give_link(network, *inside); !given) return fail(std::move(given.error()).within("link"));
  return network;
}

/// Connections of an earlier listener keep it; a second listener on the port is ours only (same user).
Result<Fd> bind_inside(int type, std::uint32_t address, std::uint16_t port) {
  Fd socket(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return fail(system_error("socket", errno));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_port = htons(port);
  name.sin_addr.s_addr = htonl(address);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0)
    return fail(system_error("bind inside an instance", errno));
  if (type == SOCK_STREAM && ::listen(socket.get(), 256) != 0) return fail(system_error("listen", errno));
  return socket;
}

awaitable<Result<void>> run_nft(std::string script) {
  auto memory = seal(script);
  if (!memory) co_return fail(std::move(memory.error()));
  ::lseek(memory->get(), 0, SEEK_SET);
  ProcessOptions options;
  options.argv = {"nft", "-f", "-"};
  options.environment = std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  options.stdin_fd = memory->get();
  SteadyClock clock;
  try {
    auto running = run_process(std::move(options));
    auto finished = co_await with_deadline(clock, nft_limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()));
    if (finished->status.ok()) co_return Result<void>{};
    if (finished->status.code == 127) co_return fail(Errc::unsupported, "nft is not installed", "apt install nftables");
    co_return fail(Errc::unsupported, "nft: " + printable(trim(finished->output), 300));
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("nft did not end within {} s", nft_limit.count()));
  }
}

/// As every container engine does; without it the kernel hands nothing from one interface to the other.
Result<void> allow_forwarding() {
  auto now = read_file("/proc/sys/net/ipv4/ip_forward", 16);
  if (now && trim(*now) == "1") return {};
  if (auto set = set_sysctl("net/ipv4/ip_forward", "1"); !set) return fail(std::move(set.error()).within("ip_forward"));
  log::info("packets are forwarded from now on (net.ipv4.ip_forward), so that instances reach the internet");
  return {};
}

}  // namespace

std::string egress_list_rules(std::uint32_t number, const EgressPolicy& policy) {
  const std::string name = link_name(number);
  std::string rules;
  for (EgressRule rule : policy.allow) {
    const auto port = std::exchange(rule.port, 0);
    rules += fmt::format("    ip daddr {} {}accept\n", to_string(rule), port ? fmt::format("th dport {} ", port) : "");
  }
  rules += policy.base == Egress::internet ? "    goto internet\n" : "    reject with icmpx type admin-prohibited\n";
  // The element goes first: a chain that a verdict leads to cannot be made anew, and adding both again is no error.
  return fmt::format(
      "table inet wick {{\n  chain {0} {{ }}\n}}\nflush chain inet wick {0}\n"
      "table inet wick {{\n  chain {0} {{\n{1}  }}\n}}\nadd element inet wick listed {{ \"{0}\" : jump {0} }}\n",
      name, rules);
}

Networks::Networks(Executor executor, NetworkDoor door, fs::path area)
    : executor_(executor),
      door_(std::move(door)),
      area_(std::move(area)),
      rules_(executor, asio::steady_timer::time_point::max()),
      tasks_(executor) {}

Networks::~Networks() = default;

void Networks::open() {
  tasks_.spawn("egress rules", load_rules());
  topping_up_ = true;
  tasks_.spawn("spare networks", top_up());
}

awaitable<void> Networks::stop() { return tasks_.stop(); }

awaitable<void> Networks::load_rules() {
  auto ready = allow_forwarding();
  if (ready) ready = co_await run_nft(std::string(embedded::egress));
  if (!ready) {
    cannot_link_ = ready.error().what();
    log::warn("instances reach nothing outside: this host cannot give them links",
              {{"error", cannot_link_}, {"hint", ready.error().hint()}});
  }
  loaded_ = true;
  rules_.cancel();
}

awaitable<void> Networks::rules_loaded() {
  while (!loaded_) {
    auto waited = co_await rules_.async_wait(asio::as_tuple(use_awaitable));
    if (!loaded_) throw boost::system::system_error(std::get<0>(waited));  // the caller was cancelled
  }
}

// --- making

awaitable<Result<Network>> Networks::make(bool linked) {
  const fs::path sys = area_ / std::to_string(++made_);
  auto network = co_await worker_.run([sys, linked] { return make_network(sys, linked); });
  if (!network) ::umount2(sys.c_str(), MNT_DETACH);
  co_return network;
}

awaitable<void> Networks::top_up() {
  co_await rules_loaded();
  auto& spares = spares_[1];
  while (spares.size() < spares_wanted && cannot_link_.empty()) {
    auto network = co_await make(true);
    if (!network) {
      log::warn("no spare network", {{"error", network.error().what()}});
      break;
    }
    spares.push_back(std::move(*network));
  }
  topping_up_ = false;
}

awaitable<Result<Network>> Networks::take(EgressPolicy policy) {
  bool linked = wants_link(policy);
  if (linked) co_await rules_loaded();
  linked = linked && cannot_link_.empty();
  auto& spares = spares_[linked ? 1 : 0];
  std::optional<Network> network;
  if (!spares.empty()) {
    network.emplace(std::move(spares.back()));
    spares.pop_back();
  }
  if (linked && spares.size() < spares_wanted && !topping_up_) {
    topping_up_ = true;
    tasks_.spawn("spare networks", top_up());
  }
  if (!network) {
    auto made = co_await make(linked);
    if (!made) co_return made;
    network.emplace(std::move(*made));
  }
  if (linked)
    if (auto applied = co_await apply(*network, policy); !applied) {
      drop(std::move(*network));
      co_return fail(std::move(applied.error()).within("egress"));
    }
  co_return std::move(*network);
}

awaitable<Result<void>> Networks::apply(Network& network, const EgressPolicy& policy) {
  const SocketGroup group = group_of(policy);
  if (group == internet && network.is_default) co_return Result<void>{};
  if (group == listed) {
    auto rules = egress_list_rules(network.number, policy);
    auto loaded = co_await run_nft(std::move(rules));
    if (!loaded) co_return loaded;
    network.has_list = true;
  }
  auto netlink = RouteNetlink::open();
  if (!netlink) co_return fail(std::move(netlink.error()));
  network.is_default = group == internet;
  co_return netlink->set_group(network.link, group);
}

awaitable<Result<Network>> Networks::adopt(pid_t pid, std::uint32_t number, EgressPolicy policy) {
  Network network;
  auto name_space = network_namespace_of(pid);
  if (!name_space) co_return fail(std::move(name_space.error()));
  network.name_space = std::move(*name_space);
  network.number = number;
  if (number == 0) co_return network;
  network.link = static_cast<int>(::if_nametoindex(link_name(number).c_str()));
  network.is_default = false;
  // A link keeps its group, and the table is there since before us. Only a list is set again, which may have been lost.
  if (group_of(policy) == listed) co_await rules_loaded();
  auto applied = co_await apply(network, policy);
  if (!applied) log::warn("egress of an adopted instance is not set", {{"error", applied.error().what()}});
  co_return network;
}

// --- giving back

void Networks::drop(Network network) {
  if (!network.sys.empty()) {
    ::umount2(network.sys.c_str(), MNT_DETACH);
    ::rmdir(network.sys.c_str());
  }
  // Its descriptors are closed here; the kernel takes down namespace and link when it has the time.
}

void Networks::give_back(Network network) {
  if (!network.name_space) return;
  network.inside = Inside();
  if (network.sys.empty() || left_.size() >= left_max || tasks_.closed()) return drop(std::move(network));
  left_.push_back({.network = std::move(network), .since = std::chrono::steady_clock::now()});
  if (recycling_) return;
  recycling_ = true;
  tasks_.spawn("recycle networks", recycle());
}

awaitable<void> Networks::recycle() {
  while (!left_.empty()) {
    for (std::size_t looks = left_.size(); looks > 0; --looks) {
      Left left = std::move(left_.front());
      left_.pop_front();
      const auto sockets = door_.sockets_in(left.network.name_space);
      const bool is_late = std::chrono::steady_clock::now() - left.since > leave_limit;
      if (sockets && *sockets == 0) {
        co_await prepare_spare(std::move(left.network));
      } else if (!sockets || is_late) {
        drop(std::move(left.network));
      } else {
        left_.push_back(std::move(left));
      }
    }
    if (left_.empty()) break;
    asio::steady_timer timer(executor_, look_interval);
    co_await timer.async_wait(use_awaitable);
  }
  recycling_ = false;
}

awaitable<void> Networks::prepare_spare(Network network) {
  auto& spares = spares_[network.number != 0 ? 1 : 0];
  if (spares.size() >= spares_max) {
    drop(std::move(network));
    co_return;
  }
  if (network.number != 0) {
    auto reset = co_await apply(network, EgressPolicy{});
    if (reset && network.has_list) {
      const auto name = link_name(network.number);
      auto script = fmt::format("delete element inet wick listed {{ \"{0}\" }}\ndelete chain inet wick {0}\n", name);
      reset = co_await run_nft(std::move(script));
      network.has_list = false;
    }
    if (!reset) {
      log::warn("network not used again", {{"error", reset.error().what()}});
      drop(std::move(network));
      co_return;
    }
  }
  spares.push_back(std::move(network));
}

// --- listening inside

Result<Inside> Networks::listen_in(Network& network) const {
  if (!network.steering) {
    auto steering = PortSteering::attach(network.name_space, htonl(inside_gateway), 80);
    if (steering) network.steering = std::move(*steering);
    // Without it the gateway sits on port 80 itself, and an instance cannot listen there on all addresses.
  }
  Inside inside;
  const std::uint16_t port = network.steering ? 0 : 80;
  auto made = door_.inside(network.name_space, [&]() -> Result<void> {
    for (auto& [fd, type, address, number] :
         {std::tuple{&inside.http, SOCK_STREAM, inside_gateway, port},
          std::tuple{&inside.dns_udp, SOCK_DGRAM, inside_dns, std::uint16_t{53}},
          std::tuple{&inside.dns_tcp, SOCK_STREAM, inside_dns, std::uint16_t{53}}}) {
      auto socket = bind_inside(type, address, number);
      if (!socket) return fail(std::move(socket.error()));
      *fd = std::move(*socket);
    }
    return {};
  });
  if (!made) return fail(std::move(made.error()));
  if (network.steering)
    if (auto steered = network.steering.to(inside.http); !steered) return fail(std::move(steered.error()));
  return inside;
}

Result<Inside> Networks::listen(Network& network) const {
  if (!network.inside.http) {
    auto made = listen_in(network);
    if (!made) return made;
    network.inside = std::move(*made);
  }
  const Inside& kept = network.inside;
  Inside inside{
      .http = kept.http.duplicate(), .dns_udp = kept.dns_udp.duplicate(), .dns_tcp = kept.dns_tcp.duplicate()};
  if (!inside.http || !inside.dns_udp || !inside.dns_tcp) return fail(system_error("dup of a listener", errno));
  return inside;
}

std::vector<int> Networks::listening(const Network& network) {
  std::vector<int> fds;
  for (const Fd* fd :
       {&network.inside.http, &network.inside.dns_udp, &network.inside.dns_tcp, &network.steering.link()})
    if (*fd) fds.push_back(fd->get());
  return fds;
}

void Networks::take_over(Network& network, std::vector<Fd> listening) {
  for (auto& fd : listening) {
    sockaddr_in name{};
    socklen_t length = sizeof name;
    int type = 0;
    socklen_t type_length = sizeof type;
    const bool is_socket = ::getsockopt(fd.get(), SOL_SOCKET, SO_TYPE, &type, &type_length) == 0 &&
                           ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length) == 0;
    if (!is_socket)
      network.steering = PortSteering(std::move(fd));
    else if (name.sin_addr.s_addr == htonl(inside_gateway))
      network.inside.http = std::move(fd);
    else if (type == SOCK_DGRAM)
      network.inside.dns_udp = std::move(fd);
    else
      network.inside.dns_tcp = std::move(fd);
  }
  // A part of it leads nowhere: listen() makes all anew.
  const auto& inside = network.inside;
  if (inside.http && inside.dns_udp && inside.dns_tcp) return;
  network.inside = Inside();
  network.steering = PortSteering();
}

}  // namespace wick::container
