// What instances wrote and whose it was: `<id>.log` (append-only, written by the instance itself) beside `<id>.json`
// (record).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "wick/base/time.hpp"
#include "wick/container/launcher.hpp"

namespace wick::container {

/// One log file. The instance holds it O_APPEND; only the front shortens it.
/// Drops the older half when it has more than `bytes_max`. Returns how many bytes went.
Result<std::uint64_t> shorten_log(const std::filesystem::path& file, std::uint64_t bytes_max);

/// The last `lines` lines of the last 64 KiB.
std::vector<std::string> tail_of(const std::filesystem::path& file, std::size_t lines);

class LogFiles {
 public:
  struct Record {
    InstanceId id;
    std::string owner;
    WallTime started;
    std::uint32_t id_range = 0;
    bool running = false;
    InstanceId pod;
    std::string container;
    std::string waiting;  // the record's text, until begin() writes it
  };

  LogFiles(std::filesystem::path folder, LogOptions options);

  /// Makes log and record; the log's descriptor is for the instance.
  Result<Fd> open(const InstanceSpec& spec, std::string owner, WallTime now);
  /// The same for one that may never begin: nobody sees its log, and no record is on disk, until begin().
  Result<Fd> open_waiting(const InstanceSpec& spec, std::string owner);
  void begin(const InstanceId& id, WallTime now);
  /// Drops the log of one that never began.
  void forget(const InstanceId& id);
  const Record* find(const InstanceId& id) const;
  /// How many ended runs of a container of a pod have a record still.
  int ended_runs(const InstanceId& pod, std::string_view container) const;
  void set_running(const InstanceId& id);
  /// Notes the end and drops what `keep_ended` does not keep.
  void set_ended(const InstanceId& id, const Exit& exit);
  /// Newest first.
  std::vector<RunnerLauncher::LogFile> of(std::string_view owner) const;
  /// Shortens what is too long among the running, with a line that says so. True when one of them is being flooded:
  /// look again soon.
  bool shorten() const;
  std::filesystem::path path_of(const InstanceId& id) const;

 private:
  std::filesystem::path record_of(const InstanceId& id) const;
  static Record record_for(const InstanceSpec& spec, std::string owner);
  Result<Fd> open_log(Record record);
  void load();
  void prune(const Record& one);

  std::filesystem::path folder_;
  LogOptions options_;
  std::map<InstanceId, Record> records_;
};

}  // namespace wick::container
