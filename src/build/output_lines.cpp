#include "output_lines.hpp"

#include "wick/base/text.hpp"

namespace wick::build {

std::string shown(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  if (const auto overwritten = line.rfind('\r'); overwritten != std::string_view::npos)
    line.remove_prefix(overwritten + 1);
  std::string plain;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\x1b' && i + 1 < line.size() &&
        line[i + 1] == '[') {  // ECMA-48 control sequence: ends at 0x40..0x7e
      i += 2;
      while (i < line.size() && (line[i] < 0x40 || line[i] > 0x7e)) ++i;
    } else if (line[i] == '\t') {
      plain += "    ";
    } else {
      plain += line[i];
    }
  }
  return printable(plain, OutputLines::line_bytes_max);
}

void OutputLines::add(std::string_view bytes) {
  for (const char c : bytes) {
    any_ = true;
    if (c == '\n') {
      flush();
    } else if (line_.size() < line_bytes_max) {
      line_ += c;
    }
  }
}

void OutputLines::finish() {
  if (any_) flush();
}

void OutputLines::flush() {
  on_line_(shown(line_));
  line_.clear();
  any_ = false;
}

}  // namespace wick::build
