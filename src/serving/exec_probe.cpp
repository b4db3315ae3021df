#include "exec_probe.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "wick/base/text.hpp"

namespace wick::serving {

namespace {

constexpr std::size_t told_bytes_max = 200;

}  // namespace

awaitable<std::string> ask_exec(container::Instance& instance, container::Process like,
                                std::vector<std::string> command, milliseconds limit) {
  const auto name = printable(command.empty() ? "" : command.front(), told_bytes_max);
  like.argv = std::move(command);
  auto executed = co_await instance.execute(std::move(like), std::max(limit, milliseconds(1)));
  if (!executed) co_return fmt::format("'{}': {}", name, executed.error().what());
  if (executed->status.ok()) co_return std::string();
  const auto output = printable(trim(executed->output), told_bytes_max);
  co_return fmt::format("'{}' ended with {}{}{}", name, executed->status.text(), output.empty() ? "" : ": ", output);
}

}  // namespace wick::serving
