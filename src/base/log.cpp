#include "wick/base/log.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "wick/base/text.hpp"
#include "wick/base/time.hpp"

namespace wick::log {

namespace {

constexpr std::size_t line_bytes_max = 8192;
constexpr std::size_t value_bytes_max = 2048;
constexpr std::array<std::string_view, 4> level_names{"debug", "info", "warn", "error"};

// Set once at start, read from any thread.
std::atomic<Level> threshold{Level::info};
std::atomic<bool> as_json{false};

bool bare(std::string_view value) {
  return !value.empty() &&
         std::ranges::all_of(value, [](char c) { return c > ' ' && c != '"' && c != '=' && c != '\\' && c != 0x7F; });
}

std::string quoted(std::string_view value) {
  std::string text = "\"";
  for (char c : printable(value, value_bytes_max)) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

}  // namespace

Field::Field(std::string_view key, double value) : key(key), value(fmt::format("{:.6g}", value)) {}

void set_level(Level level) { threshold = level; }
void set_json(bool json) { as_json = json; }

void write(Level level, std::string_view message, std::initializer_list<Field> fields) {
  if (level < threshold) return;
  const std::string_view name = level_names[static_cast<std::size_t>(level)];
  std::string line;
  if (as_json) {
    line = fmt::format(R"({{"ts":"{}","level":"{}","msg":{})", to_rfc3339_nano(wall_now()), name, quoted(message));
    for (const auto& field : fields) line += fmt::format(R"(,"{}":{})", field.key, quoted(field.value));
    line += '}';
  } else {
    line = fmt::format("level={} msg={}", name, quoted(message));
    for (const auto& field : fields)
      line += fmt::format(" {}={}", field.key, bare(field.value) ? field.value : quoted(field.value));
  }
  if (line.size() >= line_bytes_max) line.resize(line_bytes_max - 1);
  line += '\n';
  // A full or closed stderr must not stop the daemon: the line is lost, nothing else.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace wick::log
