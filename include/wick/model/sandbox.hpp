// What a revision's sandbox gets beyond resources: `wick.dev/` annotations of its template.
//
//   wick.dev/egress: internet | none | open | 10.1.0.0/16,192.0.2.7:5432     (base/egress.hpp)
//   wick.dev/tmp-size: 256Mi         size of /tmp and of /dev/shm, 64Ki to 64Gi; default 64Mi
//   wick.dev/pids-limit: "512"       processes and threads, 1 to 32768; default 256
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "wick/base/egress.hpp"
#include "wick/model/field_errors.hpp"
#include "wick/model/metadata.hpp"

namespace wick::model {

struct Sandbox {
  EgressPolicy egress;
  std::optional<std::uint64_t> tmp_bytes;
  std::optional<std::uint32_t> pids;
};

/// `path` is where the annotations are, for what is wrong with them.
Sandbox decode_sandbox(const Metadata& metadata, const std::string& path, FieldErrors& errors);

}  // namespace wick::model
