#include "dedup.hpp"

namespace wick::eventing {

std::string DedupWindow::key_of(const CloudEvent& event) {
  const std::string source = event.text("source");
  return std::to_string(source.size()) + ":" + source + event.text("id");
}

bool DedupWindow::add(const CloudEvent& event, WallTime now) {
  while (!order_.empty() && (now - order_.front().when > length_ || order_.size() > entries_max)) {
    const auto oldest = seen_.find(order_.front().key);
    if (oldest != seen_.end() && oldest->second == order_.front().when) seen_.erase(oldest);
    order_.pop_front();
  }
  std::string key = key_of(event);
  if (!seen_.emplace(key, now).second) return false;
  order_.push_back({now, std::move(key)});
  return true;
}

}  // namespace wick::eventing
