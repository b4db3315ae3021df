// The network of an instance: a namespace with a loopback, and for those that may go out a link to the host.
//
//   instance's namespace                     host
//   127.0.0.80:80  gateway  (a listener that the front serves)
//   127.0.0.53:53  DNS      (likewise)
//   eth0 100.127.x.y/32  ─────────────────── wick<N>, group = policy (runtime/egress.nft), no address
//
// Ingress needs no link: sockets are made inside (namespaces.hpp). Making a link costs 2 ms and deleting one 15 ms
// under a lock of the whole kernel, so both are kept off the path: a few networks are made ahead, and what an instance
// leaves is given to another one once no socket is left in it. Links are numbered by trial: the kernel refuses a name
// twice, so daemons beside each other need no agreement, and a link goes by itself with the last user of its namespace.
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "namespaces.hpp"
#include "port_steering.hpp"
#include "wick/base/egress.hpp"
#include "wick/container/runner.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"

namespace wick::container {

struct Network {
  Fd name_space;
  std::uint32_t number = 0;   // of its link "wick<N>" on the host; 0: it has none
  int link = 0;               // interface index on the host
  std::filesystem::path sys;  // a sysfs that shows this namespace; empty: it was adopted
  PortSteering steering;
  Inside inside;           // listening until the network is given back, whichever front serves it
  bool is_default = true;  // its link has the group of the default policy
  bool has_list = false;
};

class Networks {
 public:
  static constexpr std::size_t spares_wanted = 4;
  static constexpr std::size_t spares_max = 64;

  /// `area` is a folder of ours for mounts.
  Networks(Executor executor, NetworkDoor door, std::filesystem::path area);
  ~Networks();

  /// Loads the rules and begins to make spares.
  void open();
  awaitable<void> stop();

  /// Waits for the rules to be loaded, for a new namespace where no spare is there (about 5 ms), for nft where the
  /// policy has an allow-list (about 20 ms). Where this host cannot give links the network is one without, and the log
  /// says why.
  awaitable<Result<Network>> take(EgressPolicy policy);
  /// The network of a process that runs since before us; its allow-list is set again.
  awaitable<Result<Network>> adopt(pid_t pid, std::uint32_t number, EgressPolicy policy);
  void give_back(Network network);

  /// The listeners inside `network`, made by the first call or taken over. They are kept here as well: who connects
  /// while one front has gone and the next is not there yet waits to be accepted, and is not refused.
  Result<Inside> listen(Network& network) const;
  /// What has to stay open for that, to lie on a shelf until another runner takes it over.
  static std::vector<int> listening(const Network& network);
  /// What listening() named, in any order.
  static void take_over(Network& network, std::vector<Fd> listening);

  const NetworkDoor& door() const { return door_; }

 private:
  awaitable<void> load_rules();
  awaitable<void> top_up();
  awaitable<void> recycle();
  awaitable<void> prepare_spare(Network network);
  awaitable<void> rules_loaded();
  awaitable<Result<Network>> make(bool linked);
  awaitable<Result<void>> apply(Network& network, const EgressPolicy& policy);
  void drop(Network network);
  Result<Inside> listen_in(Network& network) const;

  Executor executor_;
  NetworkDoor door_;
  std::filesystem::path area_;
  WorkerPool worker_{1};
  asio::steady_timer rules_;  // cancelled when they are loaded
  bool loaded_ = false;
  std::string cannot_link_;                     // why this host gives no links; empty: it does
  std::array<std::vector<Network>, 2> spares_;  // without and with a link
  struct Left {
    Network network;
    std::chrono::steady_clock::time_point since;
  };
  std::deque<Left> left_;  // given back, with sockets that have not ended yet
  bool topping_up_ = false;
  bool recycling_ = false;
  std::uint64_t made_ = 0;
  TaskGroup tasks_;
};

/// What nft takes to let link `number` reach what `policy` allows; the link's group says that the list counts. Pure.
std::string egress_list_rules(std::uint32_t number, const EgressPolicy& policy);

}  // namespace wick::container
