// Pods as the runner knows them: a network and volumes that several instances share.
//
// A pod is open from open() to close(); it is given back when it is closed and nothing runs in it any more. One that
// was there before this runner has what its processes keep, the network, and no more: its volumes' mounts went with the
// runner that made them, so nothing further can be started in it.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "networks.hpp"
#include "volumes.hpp"

namespace wick::container {

class Pod {
 public:
  Pod(Networks& networks, Network network) : network(std::move(network)), networks_(networks) {}
  Pod(const Pod&) = delete;
  ~Pod() { networks_.give_back(std::move(network)); }

  Network network;
  std::uint32_t id_range = 0;
  EgressPolicy egress;
  std::vector<Volume> volumes;  // without their files
  std::optional<Volumes> mounted;

 private:
  Networks& networks_;
};

class Pods {
 public:
  using Hold = std::shared_ptr<Pod>;

  Pods(Networks& networks, std::filesystem::path area) : networks_(networks), area_(std::move(area)) {}

  awaitable<Result<Inside>> open(InstanceSpec spec);
  void close(const InstanceId& pod);
  /// For an instance that is to run in `spec.pod`. Errors: not_found; denied where its id range or a mount is not the
  /// pod's.
  Result<Hold> enter(const InstanceSpec& spec) const;
  /// The pod of a process that runs since before us; the first of them brings the network along.
  awaitable<Result<Hold>> adopt(InstanceId pod, pid_t pid, std::uint32_t link, EgressPolicy egress);

 private:
  static constexpr std::size_t pods_max = 4096;

  Networks& networks_;
  std::filesystem::path area_;
  std::map<InstanceId, Hold> open_;
  std::map<InstanceId, std::weak_ptr<Pod>> adopted_;
};

}  // namespace wick::container
