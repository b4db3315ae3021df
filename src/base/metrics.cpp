#include "wick/base/metrics.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace wick {

namespace {

std::string escaped(std::string_view value) {
  std::string text;
  for (char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  return text;
}

std::string rendered(const Labels& labels, std::string_view extra = {}) {
  if (labels.empty() && extra.empty()) return {};
  std::string text = "{";
  for (const auto& [key, value] : labels) text += fmt::format("{}=\"{}\",", key, escaped(value));
  text += extra;
  if (text.back() == ',') text.pop_back();
  return text + "}";
}

void header(std::string& out, std::string_view name, std::string_view help, std::string_view type) {
  out += fmt::format("# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
}

}  // namespace

Histogram::Histogram(std::vector<double> bounds) : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

void Histogram::observe(double value) {
  const auto bucket = std::ranges::lower_bound(bounds_, value) - bounds_.begin();
  ++counts_[static_cast<std::size_t>(bucket)];
  sum_ += value;
}

template <class T>
T& Metrics::series(std::map<std::string, Family<T>, std::less<>>& families, std::string_view name,
                   std::string_view help, Labels labels, T fresh) {
  auto family = families.find(name);
  if (family == families.end())
    family = families.emplace(std::string(name), Family<T>{.help = std::string(help)}).first;
  auto& all = family->second.series;
  if (const auto found = all.find(labels); found != all.end()) return found->second;
  if (all.size() >= series_max)
    for (auto& label : labels) label.second = "other";
  return all.try_emplace(std::move(labels), std::move(fresh)).first->second;
}

Counter& Metrics::counter(std::string_view name, std::string_view help, Labels labels) {
  return series(counters_, name, help, std::move(labels), Counter());
}

Gauge& Metrics::gauge(std::string_view name, std::string_view help, Labels labels) {
  return series(gauges_, name, help, std::move(labels), Gauge());
}

Histogram& Metrics::histogram(std::string_view name, std::string_view help, Labels labels) {
  Histogram fresh({0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60});
  return series(histograms_, name, help, std::move(labels), std::move(fresh));
}

std::string Metrics::expose() const {
  std::string out;
  for (const auto& [name, family] : counters_) {
    header(out, name, family.help, "counter");
    for (const auto& [labels, counter] : family.series)
      out += fmt::format("{}{} {}\n", name, rendered(labels), counter.value());
  }
  for (const auto& [name, family] : gauges_) {
    header(out, name, family.help, "gauge");
    for (const auto& [labels, gauge] : family.series)
      out += fmt::format("{}{} {}\n", name, rendered(labels), gauge.value());
  }
  for (const auto& [name, family] : histograms_) {
    header(out, name, family.help, "histogram");
    for (const auto& [labels, histogram] : family.series) {
      std::uint64_t total = 0;
      for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
        total += histogram.counts()[i];
        const auto bound = i < histogram.bounds().size() ? fmt::format("{}", histogram.bounds()[i]) : "+Inf";
        out += fmt::format("{}_bucket{} {}\n", name, rendered(labels, fmt::format("le=\"{}\"", bound)), total);
      }
      out += fmt::format("{0}_sum{1} {2}\n{0}_count{1} {3}\n", name, rendered(labels), histogram.sum(), total);
    }
  }
  return out;
}

}  // namespace wick
