// Where helpers come from: one process of ours (`wick helper serve`) that was started once and forks for every call.
// Starting the whole binary anew takes 30 ms, of which the dynamic linker has most; a fork of a small process that has
// only one thread takes one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "wick/os/child_process.hpp"

namespace wick::container {

class HelperSource {
 public:
  /// Has a helper started with `arguments` (name, root, …) that sees `descriptors` as 3, 4, …; its stdout goes to
  /// `output`. It is killed when nobody reads that any more. Starts the source when it is not there (any more).
  Result<void> call(Executor executor, const std::vector<std::string>& arguments, int output,
                    const std::vector<int>& descriptors);

 private:
  Result<void> start(Executor executor);
  std::optional<ChildProcess> process_;
  Fd socket_;
};

inline constexpr std::size_t helper_call_bytes_max = 16 << 10;

}  // namespace wick::container
