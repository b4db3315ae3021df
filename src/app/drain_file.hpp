// What a front that another one takes over from still relays, told to those after it: one file for each such process,
// with the requests in flight at each instance. The writer holds a lock on its file; one without is of a process that
// has ended.
//
//   "0123456789abcdef     42\n" for each instance; a line has the same length for as long as the file is there
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "wick/base/error.hpp"
#include "wick/container/instance_id.hpp"
#include "wick/os/fd.hpp"

namespace wick::app {

using RequestCounts = std::map<container::InstanceId, int>;

class DrainFile {
 public:
  /// A file of its own in `folder`, which is made where it is missing. Errors: io.
  static Result<DrainFile> make(const std::filesystem::path& folder, RequestCounts counts);
  DrainFile(DrainFile&&) = default;
  /// Removes the file.
  ~DrainFile();

  /// Instances that make() was not given are not written. Errors: io.
  Result<void> update(const RequestCounts& counts);

 private:
  DrainFile(std::filesystem::path path, Fd file, RequestCounts counts)
      : path_(std::move(path)), file_(std::move(file)), counts_(std::move(counts)) {}

  std::filesystem::path path_;
  Fd file_;
  RequestCounts counts_;
};

/// The lines of one file, added to `counts`. Errors: corrupt, naming the line.
Result<void> add_drain_lines(std::string_view text, RequestCounts& counts);

/// The sum over all files of `folder` whose writer lives; the others are removed. What cannot be read counts nothing
/// and is said in the log.
RequestCounts read_drain_files(const std::filesystem::path& folder);

}  // namespace wick::app
