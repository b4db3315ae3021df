#include "spin.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string_view>

namespace wick::http {

SpareCore::SpareCore()
    : loadavg_(open("/proc/loadavg", O_RDONLY | O_CLOEXEC)), cores_(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))) {}

bool SpareCore::exists(TimePoint now) {
  if (asked_ != TimePoint::min() && now - asked_ < 1ms) return exists_;
  asked_ = now;
  exists_ = false;
  // "0.20 0.18 0.12 1/80 11206": the fourth is runnable/all, us included.
  char text[128];
  const auto got = pread(loadavg_.get(), text, sizeof text, 0);
  if (got <= 0) return false;
  const std::string_view line(text, static_cast<std::size_t>(got));
  const auto slash = line.find('/');
  if (slash == std::string_view::npos) return false;
  const auto begin = line.rfind(' ', slash) + 1;
  long runnable = 0;
  if (std::from_chars(line.data() + begin, line.data() + slash, runnable).ec != std::errc()) return false;
  exists_ = runnable <= cores_;
  return exists_;
}

void Spin::found() {
  if (looking_since_ == TimePoint::max()) return;
  looking_since_ = TimePoint::max();
  history_[static_cast<int>(gap_)].next_skip = 0;
}

bool Spin::go_on(Gap gap) {
  const bool begins = looking_since_ == TimePoint::max();
  if (begins) gap_ = gap;
  auto& history = history_[static_cast<int>(gap_)];
  if (begins && history.skip > 0) {
    --history.skip;
    return false;
  }
  const auto now = std::chrono::steady_clock::now();
  if (begins) {
    if (!spare_core_.exists(now)) return false;
    looking_since_ = now;
    return true;
  }
  if (now - looking_since_ < look_limit) return true;
  looking_since_ = TimePoint::max();
  history.next_skip = std::min(skipped_max, std::max(1, history.next_skip * 2));
  history.skip = history.next_skip;
  return false;
}

}  // namespace wick::http
