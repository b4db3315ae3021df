#include "request_log.hpp"

#include <algorithm>

namespace wick::serving {

namespace {

constexpr std::array<std::string_view, 9> methods{"GET",     "POST",  "PUT",     "DELETE", "HEAD",
                                                  "OPTIONS", "PATCH", "CONNECT", "TRACE"};

/// One of the known methods, else "other": a client cannot make series.
std::string_view folded(std::string_view method) {
  const auto found = std::ranges::find(methods, method);
  return found == methods.end() ? "other" : *found;
}

}  // namespace

Labels labels_of(const RevisionSpec& spec) {
  return {{"namespace", spec.key.name_space}, {"service", spec.service}, {"revision", spec.key.name}};
}

RequestMetrics::RequestMetrics(Metrics& metrics, const RevisionSpec& spec)
    : metrics_(metrics),
      labels_(labels_of(spec)),
      duration_(metrics.histogram("wick_http_request_duration_seconds",
                                  "Time from request head to the end of the response.", labels_of(spec))) {}

void RequestMetrics::count(const RequestRecord& record) {
  counter(record.status, folded(record.method), record.tag).add();
  ++requests_;
  if (record.status >= 500) ++failed_;
  duration_.observe(std::chrono::duration<double>(record.total).count());
}

std::string_view RequestMetrics::tag(std::string_view name) {
  const auto found = std::ranges::find(tags_, name);
  return found != tags_.end() ? *found : tags_.emplace_front(name);
}

Answered RequestMetrics::answered() const {
  return {
      .requests = requests_, .failed = failed_, .duration_bounds = duration_.bounds(), .durations = duration_.counts()};
}

Counter& RequestMetrics::counter(int status, std::string_view method, std::string_view tag) {
  for (const auto& series : series_)
    if (series.status == status && series.method == method && series.tag.data() == tag.data()) return *series.counter;
  auto labels = labels_;
  labels.emplace_back("code", std::to_string(status));
  labels.emplace_back("method", method);
  if (!tag.empty()) labels.emplace_back("route_tag", tag);
  auto& made = metrics_.counter("wick_http_requests_total", "Requests answered; code 0: the client left first.",
                                std::move(labels));
  series_.push_back({status, method, tag, &made});
  return made;
}

void RequestTraces::add(const RequestRecord& record, std::string_view revision) {
  if (ring_.size() < kept_max) {
    ring_.emplace_back();
    next_ = ring_.size() - 1;
  }
  auto& trace = ring_[next_];
  next_ = (next_ + 1) % kept_max;
  trace.request_id.assign(record.id);
  trace.when = record.when;
  trace.method.assign(record.method);
  trace.target.assign(record.target.substr(0, target_bytes_max));
  trace.status = record.status;
  trace.total = std::chrono::duration_cast<milliseconds>(record.total);
  trace.queued = std::chrono::duration_cast<std::chrono::microseconds>(record.queued);
  trace.exact = std::chrono::duration_cast<std::chrono::microseconds>(record.total);
  trace.wake = record.wake;
  trace.cold = record.cold;
  trace.revision.assign(revision);
  trace.instance.assign(record.instance.text());
}

std::vector<RequestTrace> RequestTraces::newest_first() const {
  std::vector<RequestTrace> traces;
  traces.reserve(ring_.size());
  for (std::size_t i = 0; i < ring_.size(); ++i) traces.push_back(ring_[(next_ + kept_max - 1 - i) % kept_max]);
  return traces;
}

}  // namespace wick::serving
