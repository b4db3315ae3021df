#include "netlink.hpp"

#include <fmt/format.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace wick::container {

/// One request being written: header, fixed part, attributes. 1 KiB is more than any of ours takes.
class RouteRequest {
 public:
  template <class Fixed>
  RouteRequest(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    head()->nlmsg_type = type;
    head()->nlmsg_flags = static_cast<__u16>(NLM_F_REQUEST | NLM_F_ACK | flags);
    head()->nlmsg_seq = 1;
    length_ = NLMSG_HDRLEN;
    put(fixed);
  }

  template <class Value>
  void put(const Value& value) {
    put_bytes(&value, sizeof value);
  }
  template <class Value>
  void attribute(std::uint16_t type, const Value& value) {
    attribute(type, &value, sizeof value);
  }
  void attribute(std::uint16_t type, std::string_view text) {
    const auto begin = open(type);
    put_bytes(text.data(), text.size());
    put('\0');
    close(begin);
  }
  void attribute(std::uint16_t type, const void* bytes, std::size_t size) {
    const auto begin = open(type);
    put_bytes(bytes, size);
    close(begin);
  }
  /// A nested attribute holds all that is put until close().
  std::size_t open(std::uint16_t type) {
    length_ = NLMSG_ALIGN(length_);
    const std::size_t begin = length_;
    put(rtattr{.rta_len = 0, .rta_type = type});
    return begin;
  }
  void close(std::size_t begin) {
    rtattr attribute{};
    std::memcpy(&attribute, buffer_.data() + begin, sizeof attribute);
    attribute.rta_len = static_cast<unsigned short>(length_ - begin);
    std::memcpy(buffer_.data() + begin, &attribute, sizeof attribute);
  }
  std::string_view finish() {
    head()->nlmsg_len = static_cast<__u32>(length_);
    return {buffer_.data(), length_};
  }

 private:
  nlmsghdr* head() { return reinterpret_cast<nlmsghdr*>(buffer_.data()); }
  void put_bytes(const void* bytes, std::size_t size) {
    std::memcpy(buffer_.data() + length_, bytes, size);
    length_ += size;
  }

  alignas(nlmsghdr) std::array<char, 1024> buffer_{};
  std::size_t length_ = 0;
};

namespace {

ifinfomsg link_of(int index) {
  ifinfomsg link{};
  link.ifi_family = AF_UNSPEC;
  link.ifi_index = index;
  return link;
}

rtmsg route_to(unsigned char prefix, unsigned char scope) {
  rtmsg route{};
  route.rtm_family = AF_INET;
  route.rtm_dst_len = prefix;
  route.rtm_table = RT_TABLE_MAIN;
  route.rtm_protocol = RTPROT_STATIC;
  route.rtm_scope = scope;
  route.rtm_type = RTN_UNICAST;
  return route;
}

constexpr std::uint16_t make_new = NLM_F_CREATE | NLM_F_EXCL;

}  // namespace

Result<RouteNetlink> RouteNetlink::open() {
  Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!socket) return fail(system_error("rtnetlink", errno));
  const timeval limit{.tv_sec = 5, .tv_usec = 0};  // the kernel answers while it is asked
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return RouteNetlink(std::move(socket));
}

Result<void> RouteNetlink::request(RouteRequest& request, std::string_view what) const {
  const auto bytes = request.finish();
  if (::send(socket_.get(), bytes.data(), bytes.size(), 0) < 0) return fail(system_error(what, errno));
  alignas(nlmsghdr) std::array<char, 4096> answer;
  ssize_t got = 0;
  do got = ::recv(socket_.get(), answer.data(), answer.size(), 0);
  while (got < 0 && errno == EINTR);
  if (got < static_cast<ssize_t>(NLMSG_LENGTH(sizeof(nlmsgerr))))
    return fail(system_error(what, got < 0 ? errno : EBADMSG));
  const auto* head = reinterpret_cast<const nlmsghdr*>(answer.data());
  const auto* error = static_cast<const nlmsgerr*>(NLMSG_DATA(head));
  if (head->nlmsg_type != NLMSG_ERROR) return fail(Errc::io, fmt::format("{}: an answer that is none", what));
  if (error->error == 0) return {};
  if (error->error == -EEXIST) return fail(Errc::already_exists, fmt::format("{}: it is there already", what));
  return fail(system_error(what, -error->error));
}

Result<void> RouteNetlink::make_pair(const Pair& pair) const {
  RouteRequest message(RTM_NEWLINK, make_new, link_of(0));
  message.attribute(IFLA_IFNAME, pair.name);
  message.attribute(IFLA_ADDRESS, pair.address);
  message.attribute(IFLA_GROUP, pair.group);
  const auto info = message.open(IFLA_LINKINFO);
  message.attribute(IFLA_INFO_KIND, std::string_view("veth"));
  const auto data = message.open(IFLA_INFO_DATA);
  const auto peer = message.open(VETH_INFO_PEER);
  message.put(link_of(pair.peer_index));
  message.attribute(IFLA_IFNAME, pair.peer_name);
  message.attribute(IFLA_ADDRESS, pair.peer_address);
  message.attribute(IFLA_NET_NS_FD, pair.peer_namespace);
  message.close(peer);
  message.close(data);
  message.close(info);
  return request(message, "make a veth pair");
}

Result<void> RouteNetlink::set_up(int index) const {
  auto link = link_of(index);
  link.ifi_flags = link.ifi_change = IFF_UP;
  RouteRequest message(RTM_NEWLINK, 0, link);
  return request(message, "set a link up");
}

Result<void> RouteNetlink::set_group(int index, std::uint32_t group) const {
  RouteRequest message(RTM_NEWLINK, 0, link_of(index));
  message.attribute(IFLA_GROUP, group);
  return request(message, "set a link's group");
}

Result<void> RouteNetlink::add_address(int index, Ipv4 address) const {
  ifaddrmsg fixed{};
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = 32;
  fixed.ifa_index = static_cast<__u32>(index);
  RouteRequest message(RTM_NEWADDR, make_new, fixed);
  message.attribute(IFA_LOCAL, address);
  message.attribute(IFA_ADDRESS, address);
  return request(message, "add an address");
}

Result<void> RouteNetlink::add_host_route(int index, Ipv4 destination) const {
  RouteRequest message(RTM_NEWROUTE, make_new, route_to(32, RT_SCOPE_LINK));
  message.attribute(RTA_DST, destination);
  message.attribute(RTA_OIF, index);
  return request(message, "add a route");
}

Result<void> RouteNetlink::add_default_route(int index, Ipv4 gateway) const {
  auto route = route_to(0, RT_SCOPE_UNIVERSE);
  route.rtm_flags = RTNH_F_ONLINK;
  RouteRequest message(RTM_NEWROUTE, make_new, route);
  message.attribute(RTA_GATEWAY, gateway);
  message.attribute(RTA_OIF, index);
  return request(message, "add a default route");
}

Result<void> RouteNetlink::add_neighbour(int index, Ipv4 address, MacAddress mac) const {
  ndmsg fixed{};
  fixed.ndm_family = AF_INET;
  fixed.ndm_ifindex = index;
  fixed.ndm_state = NUD_PERMANENT;
  RouteRequest message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, fixed);
  message.attribute(NDA_DST, address);
  message.attribute(NDA_LLADDR, mac);
  return request(message, "add a neighbour");
}

}  // namespace wick::container
