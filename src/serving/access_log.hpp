// One JSON line a request, with the fields of Knative's request log (serving.md 3.7) and what only Wick knows.
#pragma once

#include <string>

#include "request_log.hpp"
#include "wick/http/handler.hpp"
#include "wick/os/clock.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/task_group.hpp"

namespace wick::serving {

/// Lines are gathered and appended with one write(2) when 64 KiB are there or half a second after the first: short
/// enough for the loop, as the page cache takes them. The file may be truncated or moved under it (copytruncate).
/// A write that fails drops its lines and is logged once.
class AccessLog {
 public:
  AccessLog(Executor executor, Clock& clock, Fd file) : clock_(clock), file_(std::move(file)), tasks_(executor) {}

  void write(const http::Exchange& exchange, const RequestRecord& record, const RevisionSpec& revision);
  /// Writes what is left.
  awaitable<void> stop();

 private:
  static constexpr std::size_t gathered_bytes_max = 64 << 10;

  void flush();
  awaitable<void> flush_soon();

  Clock& clock_;
  Fd file_;
  std::string gathered_;
  bool flushing_ = false;
  bool failed_ = false;
  TaskGroup tasks_;
};

/// The line, with its newline, appended to `text`.
void append_access_line(std::string& text, const http::Exchange& exchange, const RequestRecord& record,
                        const RevisionSpec& revision);

}  // namespace wick::serving
