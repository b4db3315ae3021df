// Source to folder: the parent's side of the fetching child.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "wick/build/build.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

struct FetchLimits {
  std::uint64_t bytes_max = 1ull << 30;
  milliseconds time{10 * 60 * 1000};
};

/// One file of an http(s) URL: mode 0600, the time that the server says.
struct UrlSource {
  std::string url;
  std::string file_name;
};

struct Fetched {
  TemporaryFolder holder;        // everything goes with it
  std::filesystem::path folder;  // the source
  std::string commit;            // "" for an upload
  std::int64_t commit_time = 0;
  std::vector<std::string> warnings;
};

/// Cancelling kills the child and removes what it wrote. Errors: those of fetch_git and of an upload that is no tar;
/// timed_out.
awaitable<Result<std::unique_ptr<Fetched>>> fetch(Clock& clock, WorkerPool& workers,
                                                  std::variant<GitSource, ArchiveSource, UrlSource> source,
                                                  std::filesystem::path work, FetchLimits limits,
                                                  std::function<void(std::string)> on_line);

/// Removes it on a worker: many files take time.
awaitable<void> drop(WorkerPool& workers, std::unique_ptr<Fetched> fetched);

}  // namespace wick::build
