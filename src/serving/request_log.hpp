// What is kept of every request: counters and durations a revision, the last 100 timelines a service.
#pragma once

#include <array>
#include <forward_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/metrics.hpp"
#include "wick/serving/serving.hpp"

namespace wick::serving {

/// One finished request. Views of the request's own strings.
struct RequestRecord {
  std::string_view id;
  std::string_view method;
  std::string_view target;
  WallTime when{};
  int status = 0;  // 0: nothing could be sent
  Duration total{};
  Duration queued{};
  bool cold = false;
  std::string_view tag;  // of RequestMetrics::tag()
  std::uint64_t request_bytes = 0;
  std::uint64_t response_bytes = 0;
  container::InstanceId instance;
  std::optional<WakeSteps> wake;
};

/// The labels of everything that is counted of a revision.
Labels labels_of(const RevisionSpec& spec);

/// wick_http_requests_total and wick_http_request_duration_seconds of one revision, with the series at hand.
class RequestMetrics {
 public:
  RequestMetrics(Metrics& metrics, const RevisionSpec& spec);
  void count(const RequestRecord& record);
  /// `name` as a text that lives as long as this, for RequestRecord::tag.
  std::string_view tag(std::string_view name);
  Answered answered() const;

 private:
  struct Series {
    int status;
    std::string_view method;
    std::string_view tag;
    Counter* counter;
  };
  Counter& counter(int status, std::string_view method, std::string_view tag);

  Metrics& metrics_;
  Labels labels_;
  Histogram& duration_;
  std::vector<Series> series_;           // few, the usual ones first
  std::forward_list<std::string> tags_;  // a route names them: few
  std::uint64_t requests_ = 0;
  std::uint64_t failed_ = 0;
};

/// A ring whose strings are reused: the steady state allocates nothing.
class RequestTraces {
 public:
  static constexpr std::size_t kept_max = 100;
  static constexpr std::size_t target_bytes_max = 512;

  void add(const RequestRecord& record, std::string_view revision);
  std::vector<RequestTrace> newest_first() const;

 private:
  std::vector<RequestTrace> ring_;
  std::size_t next_ = 0;
};

}  // namespace wick::serving
