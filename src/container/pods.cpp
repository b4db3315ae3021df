#include "pods.hpp"

#include <fmt/format.h>

namespace wick::container {

awaitable<Result<Inside>> Pods::open(InstanceSpec spec) {
  if (open_.size() >= pods_max)
    co_return fail(Errc::overloaded, fmt::format("{} pods are here, more are not allowed", pods_max));
  const auto [place, is_new] = open_.try_emplace(spec.id);
  if (!is_new) co_return fail(Errc::already_exists, fmt::format("pod {} is there already", spec.id.text()));
  auto network = co_await networks_.take(spec.egress);
  auto pod = network ? std::make_shared<Pod>(networks_, std::move(*network)) : nullptr;
  auto volumes = pod ? Volumes::of_pod(spec, area_) : fail(std::move(network.error()));
  auto inside = volumes ? networks_.listen(pod->network) : fail(std::move(volumes.error()));
  // Closed while its network was made?
  const auto found = open_.find(spec.id);
  if (!inside || found == open_.end()) {
    if (found != open_.end()) open_.erase(found);
    co_return inside ? fail(Errc::not_found, "the pod was closed while it was made") : std::move(inside);
  }
  pod->id_range = spec.id_range;
  pod->egress = std::move(spec.egress);
  for (const auto& volume : spec.volumes) pod->volumes.push_back({.bytes_max = volume.bytes_max, .files = {}});
  pod->mounted.emplace(std::move(*volumes));
  found->second = std::move(pod);
  co_return inside;
}

void Pods::close(const InstanceId& pod) { open_.erase(pod); }

Result<Pods::Hold> Pods::enter(const InstanceSpec& spec) const {
  const auto found = open_.find(spec.pod);
  if (found == open_.end() || !found->second)
    return fail(Errc::not_found, fmt::format("pod {} is not here, or of a runner before this one", spec.pod.text()));
  const auto& pod = *found->second;
  if (pod.id_range != spec.id_range) return fail(Errc::denied, "what runs in a pod has the id range of the pod");
  // With the volumes it is a spec like any other.
  InstanceSpec whole{.volumes = pod.volumes, .volume_mounts = spec.volume_mounts};
  if (auto checked = check_volumes(whole); !checked) return fail(std::move(checked.error()));
  return found->second;
}

awaitable<Result<Pods::Hold>> Pods::adopt(InstanceId pod, pid_t pid, std::uint32_t link, EgressPolicy egress) {
  if (const auto found = adopted_.find(pod); found != adopted_.end())
    if (auto hold = found->second.lock()) co_return hold;
  auto network = co_await networks_.adopt(pid, link, egress);
  if (!network) co_return fail(std::move(network.error()));
  auto hold = std::make_shared<Pod>(networks_, std::move(*network));
  hold->egress = std::move(egress);
  adopted_[pod] = hold;
  co_return hold;
}

}  // namespace wick::container
