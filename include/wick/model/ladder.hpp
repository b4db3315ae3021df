// wick.dev/* annotations of a revision template that say what stands between running and nothing (DESIGN.md 3.2). A
// cluster ignores them.
//
//   wick.dev/prepared-spares  0..100   1      instances kept ready for their exec, once the revision was ready
//   wick.dev/prepared-for     duration 24h    without a start until the spares are given up; 0s: never
//   wick.dev/park             auto | never    boot node and python in the spares, up to the program's own code
//   wick.dev/freeze-after     duration never  without a request until idle instances are frozen instead of stopped
//   wick.dev/frozen-for       duration 10m    frozen until it is stopped
#pragma once

#include "wick/base/time.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

struct Ladder {
  int prepared_spares = 1;
  milliseconds prepared_for{std::chrono::hours(24)};  // 0: for good
  bool park = true;
  milliseconds freeze_after{0};  // 0: never
  milliseconds frozen_for{std::chrono::minutes(10)};
};

/// `path` is that of the annotations: "spec.template.metadata.annotations".
Ladder decode_ladder(const TextMap& annotations, const std::string& path, FieldErrors& errors);

}  // namespace wick::model
