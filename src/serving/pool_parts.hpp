// What the files of a pool share.
#pragma once

#include <fmt/format.h>

#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

/// What waits for an instance is told when starts keep failing.
inline Error not_starting(const RevisionSpec& spec, const model::Failure& failure) {
  return Error(Errc::not_ready, fmt::format("{} does not start: {}", spec.key.name, failure.because))
      .hint(failure.hint);
}

inline void close_kept(http::Upstream& upstream) {
  while (const auto kept = upstream.take_kept()) {
  }
}

}  // namespace wick::serving
