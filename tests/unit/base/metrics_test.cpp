#include <catch2/catch.hpp>

#include "wick/base/metrics.hpp"

using namespace wick;

TEST_CASE("metrics are exposed in Prometheus' text format with escaped labels") {
  Metrics metrics;
  metrics.counter("wick_x_total", "Things.", {{"service", "a\"b\\c\nd"}}).add(2);
  metrics.histogram("wick_y_seconds", "Time.").observe(0.3);
  const auto text = metrics.expose();
  CHECK(text.find("# TYPE wick_x_total counter\nwick_x_total{service=\"a\\\"b\\\\c\\nd\"} 2\n") != std::string::npos);
  CHECK(text.find("wick_y_seconds_bucket{le=\"0.25\"} 0\n") != std::string::npos);
  CHECK(text.find("wick_y_seconds_bucket{le=\"0.5\"} 1\n") != std::string::npos);
  CHECK(text.find("wick_y_seconds_bucket{le=\"+Inf\"} 1\n") != std::string::npos);
  CHECK(text.find("wick_y_seconds_count 1\n") != std::string::npos);
}

TEST_CASE("a family stops growing at its bound and folds the rest into one series") {
  Metrics metrics;
  for (std::size_t i = 0; i < Metrics::series_max + 10; ++i)
    metrics.counter("c_total", "C.", {{"host", std::to_string(i)}}).add();
  CHECK(metrics.counter("c_total", "C.", {{"host", "other"}}).value() == 10);
}
