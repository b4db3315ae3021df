// Counters, gauges and histograms in Prometheus' text exposition format 0.0.4. One thread (the loop) touches them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wick {

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  void add(double amount = 1) { value_ += amount; }
  double value() const { return value_; }

 private:
  double value_ = 0;
};

class Gauge {
 public:
  void set(double value) { value_ = value; }
  void add(double amount) { value_ += amount; }
  double value() const { return value_; }

 private:
  double value_ = 0;
};

class Histogram {
 public:
  explicit Histogram(std::vector<double> bounds);
  void observe(double value);
  const std::vector<double>& bounds() const { return bounds_; }
  const std::vector<std::uint64_t>& counts() const { return counts_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<std::uint64_t> counts_;  // one more than bounds_: the last is +Inf
  double sum_ = 0;
};

/// Owns every series. References it hands out stay valid for its lifetime.
/// At most `series_max` series a family; past that all further label sets share one with every label value "other".
class Metrics {
 public:
  static constexpr std::size_t series_max = 2000;

  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  /// Seconds; bounds from 0.5 ms to 60 s.
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {});

  std::string expose() const;

 private:
  template <class T>
  struct Family {
    std::string help;
    std::map<Labels, T> series;
  };
  template <class T>
  static T& series(std::map<std::string, Family<T>, std::less<>>& families, std::string_view name,
                   std::string_view help, Labels labels, T fresh);

  std::map<std::string, Family<Counter>, std::less<>> counters_;
  std::map<std::string, Family<Gauge>, std::less<>> gauges_;
  std::map<std::string, Family<Histogram>, std::less<>> histograms_;
};

}  // namespace wick
