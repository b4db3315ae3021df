// The way of a deploy, a line a step: `hello  build      RUN npm ci                                     3.1 s`.
// On a terminal a running step is one line that is redrawn with its time; elsewhere a line when it starts and one when
// it ends. As JSON, a line an event on stdout, each with "ts" and "kind".
#pragma once

#include <functional>
#include <string>

#include "app/cli/session.hpp"

namespace wick::app::cli {

class Progress {
 public:
  using Now = std::function<std::chrono::steady_clock::time_point()>;
  Progress(Session& session, std::string name, Now now = [] { return std::chrono::steady_clock::now(); });

  /// A line of a build log, as the daemon's API has it: {"ts", "kind", "step", "text", "elapsedMs"}.
  void event(const json::value& line);
  void started(std::string_view step, std::string_view text);
  void finished(std::string_view step, std::string_view text);
  void failed(std::string_view step, std::string_view text);
  /// Something that took no time.
  void note(std::string_view step, std::string_view text);
  /// With the time it took, where somebody else measured it.
  void finished(std::string_view step, std::string_view text, milliseconds elapsed);
  void failed(std::string_view step, std::string_view text, milliseconds elapsed);
  /// Redraws the running step.
  void tick();
  /// The last document of a JSON stream.
  void document(std::string_view kind, json::object fields);

 private:
  std::string format(std::string_view step, std::string_view text, std::string_view elapsed) const;
  milliseconds since_start() const;
  void emit(std::string_view kind, std::string_view step, std::string_view text, milliseconds elapsed);

  Session& session_;
  std::string name_;
  Now now_;
  std::string step_;
  std::string text_;
  std::chrono::steady_clock::time_point since_;
};

}  // namespace wick::app::cli
