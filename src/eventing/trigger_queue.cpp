#include "trigger_queue.hpp"

namespace wick::eventing {

void TriggerQueue::offer(Position position, std::string lane) {
  open_.insert(position);
  ++waiting_;
  if (!lane.empty()) {
    const auto [held, is_free] = lanes_.try_emplace(lane);
    if (!is_free) {
      held->second.push_back(position);
      return;
    }
  }
  ready_.push_back({position, std::move(lane)});
}

std::optional<TriggerQueue::Ready> TriggerQueue::next() {
  if (ready_.empty()) return std::nullopt;
  Ready first = std::move(ready_.front());
  ready_.pop_front();
  --waiting_;
  return first;
}

void TriggerQueue::release(const std::string& lane) {
  const auto held = lanes_.find(lane);
  if (lane.empty() || held == lanes_.end()) return;
  if (held->second.empty()) {
    lanes_.erase(held);
    return;
  }
  ready_.push_back({held->second.front(), lane});
  held->second.pop_front();
}

}  // namespace wick::eventing
