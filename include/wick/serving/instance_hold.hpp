// The right to have one instance stay as it is: awake, and neither frozen nor stopped for want of requests.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "wick/container/launcher.hpp"

namespace wick::serving {

/// Given back by the destructor. It does not keep an instance whose revision is removed, nor one that ends by itself.
class InstanceHold {
 public:
  InstanceHold(std::shared_ptr<container::Instance> instance, container::Process process,
               std::function<void()> give_back)
      : instance_(std::move(instance)), process_(std::move(process)), give_back_(std::move(give_back)) {}
  InstanceHold(InstanceHold&& other) noexcept
      : instance_(std::move(other.instance_)),
        process_(std::move(other.process_)),
        give_back_(std::exchange(other.give_back_, nullptr)) {}
  InstanceHold& operator=(InstanceHold&&) = delete;
  ~InstanceHold() {
    if (give_back_) give_back_();
  }

  bool has_instance() const { return instance_ != nullptr; }
  container::Instance& instance() const { return *instance_; }
  /// What the instance runs: a command beside it has the same user, environment and folder.
  const container::Process& process() const { return process_; }

 private:
  std::shared_ptr<container::Instance> instance_;
  container::Process process_;
  std::function<void()> give_back_;
};

}  // namespace wick::serving
