#include <fmt/format.h>

#include <istream>
#include <iterator>

#include "app/cli/verbs.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace {
constexpr std::size_t data_bytes_max = 64 << 20;
}

Outcome<std::string> data_of(Session& session, const std::string& text) {
  if (!text.starts_with('@')) return text;
  if (text == "@-") return std::string(std::istreambuf_iterator<char>(session.terminal.in()), {});
  auto bytes = read_file(text.substr(1), data_bytes_max);
  if (!bytes)
    return stop_with(
        problem_of(bytes.error()).within(fmt::format("the data could not be read from {}", text.substr(1))));
  return std::move(*bytes);
}

}  // namespace wick::app::cli
