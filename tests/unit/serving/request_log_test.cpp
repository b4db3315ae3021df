#include "request_log.hpp"

#include <catch2/catch.hpp>

#include "traffic_split.hpp"

using namespace wick;
using namespace wick::serving;

TEST_CASE("shares of traffic are kept exactly and evenly") {
  struct Case {
    std::vector<int> percents;
    int requests;
    std::vector<int> got;
  };
  const Case cases[] = {
      {{50, 50}, 10, {5, 5}},  {{90, 10}, 10, {9, 1}}, {{90, 10}, 100, {90, 10}}, {{34, 33, 33}, 100, {34, 33, 33}},
      {{0, 100}, 10, {0, 10}}, {{100}, 3, {3}},        {{1, 99}, 100, {1, 99}},   {{0, 0, 60, 40}, 5, {0, 0, 3, 2}},
  };
  for (const auto& each : cases) {
    TrafficSplit split;
    for (const int percent : each.percents) split.add(percent);
    std::vector<int> got(each.percents.size());
    for (int i = 0; i < each.requests; ++i) ++got[split.next()];
    CHECK(got == each.got);
  }
}

TEST_CASE("with two halves nobody is asked twice in a row") {
  TrafficSplit split;
  split.add(50);
  split.add(50);
  auto last = split.next();
  for (int i = 0; i < 20; ++i) {
    const auto next = split.next();
    CHECK(next != last);
    last = next;
  }
}

TEST_CASE("the last hundred requests are kept, newest first, long targets cut") {
  RequestTraces traces;
  CHECK(traces.newest_first().empty());
  const std::string target(2000, 'x');
  for (int i = 1; i <= 250; ++i) {
    const auto id = std::to_string(i);
    traces.add({.id = id, .method = "GET", .target = target, .status = 200, .total = 1500us, .queued = 0ms},
               "hello-00001");
    const auto kept = traces.newest_first();
    REQUIRE(kept.size() == static_cast<std::size_t>(std::min(i, 100)));
    REQUIRE(kept.front().request_id == id);
    REQUIRE(kept.back().request_id == std::to_string(std::max(1, i - 99)));
  }
  const auto newest = traces.newest_first().front();
  CHECK(newest.target.size() == RequestTraces::target_bytes_max);
  CHECK(newest.total == 1ms);
  CHECK(newest.revision == "hello-00001");
}

TEST_CASE("requests are counted by code and method, and odd methods make no series") {
  Metrics metrics;
  RevisionSpec spec{.key = {"default", "hello-00001"}, .service = "hello"};
  RequestMetrics requests(metrics, spec);
  for (int i = 0; i < 3; ++i) requests.count({.method = "GET", .status = 200, .total = 2ms});
  requests.count({.method = "GET", .status = 503});
  for (const auto* method : {"BREW", "brew", "PROPFIND"}) requests.count({.method = method, .status = 405});
  const auto text = metrics.expose();
  const std::string labels =
      "wick_http_requests_total{namespace=\"default\",service=\"hello\",revision=\"hello-00001\",";
  CHECK(text.find(labels + "code=\"200\",method=\"GET\"} 3\n") != std::string::npos);
  CHECK(text.find(labels + "code=\"503\",method=\"GET\"} 1\n") != std::string::npos);
  CHECK(text.find(labels + "code=\"405\",method=\"other\"} 3\n") != std::string::npos);
  CHECK(text.find("wick_http_request_duration_seconds_count{namespace=\"default\",service=\"hello\",revision=\"hello-"
                  "00001\"} 7\n") != std::string::npos);
}
