#include "app/name_lookup.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>

namespace wick::app {

namespace {

std::string address_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  if (address->sa_family == AF_INET6)
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  return text;
}

void add_once(std::vector<std::string>& list, std::string address) {
  if (!address.empty() && std::ranges::find(list, address) == list.end()) list.push_back(std::move(address));
}

struct Network {
  std::string_view address;
  unsigned bits;
};

bool is_in(const std::string& address, const Network& network) {
  std::array<unsigned char, 16> ours{}, theirs{};
  const int family = network.address.find(':') == std::string_view::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, address.c_str(), ours.data()) != 1 ||
      inet_pton(family, std::string(network.address).c_str(), theirs.data()) != 1)
    return false;
  for (unsigned bit = 0; bit < network.bits; ++bit) {
    const unsigned mask = 0x80u >> (bit % 8);
    if ((ours[bit / 8] & mask) != (theirs[bit / 8] & mask)) return false;
  }
  return true;
}

bool is_in_one_of(const std::string& address, std::initializer_list<Network> networks) {
  return std::ranges::any_of(networks, [&](const Network& network) { return is_in(address, network); });
}

bool is_loopback_address(const std::string& address) { return is_in_one_of(address, {{"127.0.0.0", 8}, {"::1", 128}}); }

}  // namespace

NameView look_up_name(const std::string& name) {
  NameView view{.name = name, .leads_to = {}, .problem = {}, .ours = {}};
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(name.c_str(), nullptr, &hints, &found); error != 0)
    view.problem = gai_strerror(error);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, freeaddrinfo);
  for (const auto* at = found; at; at = at->ai_next) add_once(view.leads_to, address_of(at->ai_addr));
  ifaddrs* interfaces = nullptr;
  if (getifaddrs(&interfaces) != 0) return view;
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> all(interfaces, freeifaddrs);
  for (const auto* at = interfaces; at; at = at->ifa_next) {
    if (!at->ifa_addr) continue;
    auto address = address_of(at->ifa_addr);
    if (!is_in_one_of(address, {{"127.0.0.0", 8}, {"::1", 128}, {"169.254.0.0", 16}, {"fe80::", 10}}))
      add_once(view.ours, std::move(address));
  }
  return view;
}

bool leads_here(const NameView& view) {
  return std::ranges::any_of(view.leads_to, [&](const std::string& address) {
    return is_loopback_address(address) || std::ranges::find(view.ours, address) != view.ours.end();
  });
}

bool is_behind_nat(const NameView& view) {
  return std::ranges::all_of(view.ours, [](const std::string& address) {
    return is_in_one_of(address,
                        {{"10.0.0.0", 8}, {"172.16.0.0", 12}, {"192.168.0.0", 16}, {"100.64.0.0", 10}, {"fc00::", 7}});
  });
}

std::string describe(const NameView& view) {
  const auto leads = view.leads_to.empty() ? fmt::format("{} leads nowhere ({})", view.name, view.problem)
                                           : fmt::format("{} leads to {}", view.name, fmt::join(view.leads_to, ", "));
  return fmt::format("{}; this machine has {}", leads,
                     view.ours.empty() ? "no address of its own" : fmt::format("{}", fmt::join(view.ours, ", ")));
}

}  // namespace wick::app
