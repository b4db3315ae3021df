// A revision that takes requests: its pool, and what is kept of its requests.
#pragma once

#include <memory>

#include "request_log.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

/// Handlers hold it while they use it, so removal does not pull it away from under them.
struct Entry {
  Entry(Executor executor, Clock& clock, container::Launcher& launcher, Metrics& metrics, RevisionSpec spec,
        PoolOptions options, std::function<void()> changed, std::shared_ptr<RequestTraces> traces)
      : metrics(metrics, spec),
        traces(std::move(traces)),
        pool(executor, clock, launcher, metrics, std::move(spec), options, std::move(changed)) {}

  RequestMetrics metrics;
  std::shared_ptr<RequestTraces> traces;
  RevisionPool pool;
  bool routed_once = false;
};
using EntryPtr = std::shared_ptr<Entry>;

}  // namespace wick::serving
