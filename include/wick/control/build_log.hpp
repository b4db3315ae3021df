// Progress of build runs: one NDJSON file a run, and readers that follow it while it grows.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "wick/build/build.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"

namespace wick::control {

/// Lines are appended with one write(2) each to a file of ours in the page cache: short enough for the loop. All calls
/// on the loop.
class BuildLogs {
 public:
  static constexpr std::uint64_t bytes_max = 16 << 20;  // a run; past it output lines are dropped and one line says so

  /// `folder` is made where it is missing. `clock` must outlive the logs.
  BuildLogs(Executor executor, Clock& clock, std::filesystem::path folder);
  ~BuildLogs();

  /// Begins (or begins again) the log of the run with this uid.
  Result<void> open(const std::string& uid);
  void append(const std::string& uid, const build::Progress& progress);
  /// No more lines: followers end after the last one.
  void close(const std::string& uid);
  void remove(const std::string& uid);
  bool is_open(const std::string& uid) const { return live_.contains(uid); }

  /// Every line so far and, with `follow`, each new one until the run's log is closed. `on_lines` gets whole lines with
  /// their newline and returns false to end. A run that has no log gives nothing.
  awaitable<Result<void>> read(std::string uid, bool follow, std::function<awaitable<bool>(std::string_view)> on_lines);

 private:
  struct Live {
    Fd file;
    std::uint64_t bytes = 0;
    bool cut = false;
    asio::steady_timer grown;  // cancelled to wake the readers
  };
  std::filesystem::path path_of(const std::string& uid) const;
  void write_line(Live& live, const build::Progress& progress);

  Executor executor_;
  Clock& clock_;
  std::filesystem::path folder_;
  std::map<std::string, std::shared_ptr<Live>> live_;
};

}  // namespace wick::control
