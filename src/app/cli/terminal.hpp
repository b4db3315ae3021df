// What is written where: stdout carries the result, stderr the way there. Colour and redrawn lines only on a terminal.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/cli.hpp"
#include "app/cli/problem.hpp"
#include "wick/base/time.hpp"

namespace wick::app::cli {

enum class Colour { none, dim, bold, red, green, yellow };

class Terminal {
 public:
  /// NO_COLOR, CLICOLOR_FORCE and TERM=dumb are read once, here.
  explicit Terminal(Surroundings& surroundings);

  /// A line of the result, on stdout. False when nobody reads it any more.
  bool result(std::string_view line);
  /// Bytes of the result as they are.
  bool result_bytes(std::string_view bytes);
  /// Somebody else's bytes for stderr as they are.
  void error_bytes(std::string_view bytes);
  /// A line for a person, on stderr.
  void say(std::string_view line);
  /// A line that the next one replaces; only where stderr is a terminal that can.
  void say_for_now(std::string_view line);
  void say(const Problem& problem);

  bool out_is_terminal() const { return around_.out_is_terminal; }
  bool err_is_terminal() const { return around_.err_is_terminal; }
  /// stderr can redraw a line.
  bool live() const { return live_; }

  /// For text that goes to stdout and to stderr, which may differ in being a terminal.
  std::string out_colour(Colour colour, std::string_view text) const { return paint(out_colours_, colour, text); }
  std::string err_colour(Colour colour, std::string_view text) const { return paint(err_colours_, colour, text); }

  /// Asks on a terminal; anything but y or yes is no. False at once where nobody can answer.
  bool confirm(std::string_view question);
  bool can_ask() const { return around_.in_is_terminal && around_.err_is_terminal; }

  std::istream& in() { return around_.in; }
  std::optional<std::string> environment(std::string_view name) const { return around_.environment(name); }

 private:
  static std::string paint(bool colours, Colour colour, std::string_view text);
  void end_live_line();

  Surroundings& around_;
  bool out_colours_ = false;
  bool err_colours_ = false;
  bool live_ = false;
  bool live_line_ = false;
};

/// Columns as wide as their widest cell, two spaces between; the last one is not padded. The first row is the heading.
std::string table(const std::vector<std::vector<std::string>>& rows);

/// "0.4 s", "71 ms", "2 min 3 s".
std::string human_duration(milliseconds duration);
/// "12 s", "3 min", "5 h", "2 d": one unit, for a column.
std::string human_age(milliseconds age);
/// Cells as a terminal counts them, near enough: code points.
std::size_t width_of(std::string_view text);
/// A line of somebody else's text, safe to print: tabs widened, control bytes escaped.
std::string safe_line(std::string_view text);

}  // namespace wick::app::cli
