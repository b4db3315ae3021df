// ContainerSource (sources.knative.dev/v1): a container that runs always and sends events to K_SINK
// (pkg/reconciler/containersource). Nothing is asked of it: it need not listen anywhere.
//
//   sink resolved ──► running ──it ended──► pause (10 s, doubled up to 5 min) ──► running
//                        └──the template or the sink changed──► stopped ──► running
#pragma once

#include <map>
#include <memory>
#include <string>

#include "control/world.hpp"
#include "wick/container/launcher.hpp"
#include "wick/os/task_group.hpp"

namespace wick::control {

class ContainerSources {
 public:
  explicit ContainerSources(World& world);
  ~ContainerSources();
  awaitable<Result<void>> reconcile(ObjectKey key);
  /// An instance of an earlier life; false when no ContainerSource wants it as it is.
  bool adopt(const std::string& owner, std::shared_ptr<container::Instance> instance);
  /// Of the logs and of adopt(): "namespace/containersources/NAME".
  static std::string owner_of(const ObjectKey& key);
  awaitable<void> stop(bool stop_instances);

 private:
  struct Running;
  using RunningPointer = std::shared_ptr<Running>;
  void begin(const ObjectKey& key, const json::object& source, std::string sink,
             std::shared_ptr<container::Instance> adopted);
  awaitable<void> run(RunningPointer running);
  awaitable<Result<void>> launch(RunningPointer running);
  awaitable<void> end(ObjectKey key);
  void tell(RunningPointer running, std::string problem);

  World& world_;
  std::map<ObjectKey, RunningPointer> running_;
};

}  // namespace wick::control
