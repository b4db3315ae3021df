#include "app/cli/terminal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <istream>
#include <ostream>

#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

constexpr std::size_t line_bytes_max = 64 << 10;  // of one line of a program's output
constexpr std::string_view clear_line = "\r\x1b[K";

const char* escape_of(Colour colour) {
  switch (colour) {
    case Colour::none:
      return "";
    case Colour::dim:
      return "\x1b[2m";
    case Colour::bold:
      return "\x1b[1m";
    case Colour::red:
      return "\x1b[31m";
    case Colour::green:
      return "\x1b[32m";
    case Colour::yellow:
      return "\x1b[33m";
  }
  return "";
}

}  // namespace

Terminal::Terminal(Surroundings& surroundings) : around_(surroundings) {
  const auto set = [&](std::string_view name) {
    const auto value = around_.environment(name);
    return value && !value->empty();
  };
  const bool dumb = around_.environment("TERM") == "dumb";
  const bool forced = set("CLICOLOR_FORCE") && around_.environment("CLICOLOR_FORCE") != "0";
  const bool refused = set("NO_COLOR") || (dumb && !forced);
  out_colours_ = !refused && (forced || around_.out_is_terminal);
  err_colours_ = !refused && (forced || around_.err_is_terminal);
  live_ = around_.err_is_terminal && !dumb;
}

bool Terminal::result(std::string_view line) {
  end_live_line();
  around_.out << line << '\n' << std::flush;
  return around_.out.good();
}

void Terminal::error_bytes(std::string_view bytes) {
  end_live_line();
  around_.err.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush();
}

bool Terminal::result_bytes(std::string_view bytes) {
  end_live_line();
  around_.out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  around_.out.flush();
  return around_.out.good();
}

void Terminal::say(std::string_view line) {
  end_live_line();
  around_.err << line << '\n' << std::flush;
}

void Terminal::say_for_now(std::string_view line) {
  if (!live_) return;
  around_.err << clear_line << line << std::flush;
  live_line_ = true;
}

void Terminal::say(const Problem& problem) {
  end_live_line();
  std::string text = text_of(problem);
  if (constexpr std::string_view prefix = "error:"; err_colours_)
    text = err_colour(Colour::red, prefix) + text.substr(prefix.size());
  around_.err << text << std::flush;
}

void Terminal::end_live_line() {
  if (!std::exchange(live_line_, false)) return;
  around_.err << clear_line << std::flush;
}

std::string Terminal::paint(bool colours, Colour colour, std::string_view text) {
  if (!colours || colour == Colour::none) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(colour), text);
}

bool Terminal::confirm(std::string_view question) {
  if (!can_ask()) return false;
  end_live_line();
  around_.err << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(around_.in, answer);
  answer = to_lower(trim(answer));
  return answer == "y" || answer == "yes";
}

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - width_of(row[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
  }
  return text;
}

std::string human_duration(milliseconds duration) {
  const auto count = duration.count();
  if (count < 100) return fmt::format("{} ms", count);
  if (count < 60'000) return fmt::format("{:.1f} s", static_cast<double>(count) / 1000);
  return fmt::format("{} min {} s", count / 60'000, count / 1000 % 60);
}

std::string human_age(milliseconds age) {
  const auto count = std::max<std::int64_t>(0, age.count() / 1000);
  if (count < 120) return fmt::format("{} s", count);
  if (count < 7200) return fmt::format("{} min", count / 60);
  if (count < 172'800) return fmt::format("{} h", count / 3600);
  return fmt::format("{} d", count / 86'400);
}

std::string safe_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  std::string widened;
  widened.reserve(text.size());
  for (const char c : text) c == '\t' ? widened.append(4, ' ') : widened.append(1, c);
  return printable(widened, line_bytes_max);
}

}  // namespace wick::app::cli
