#include "sandbox.hpp"

#include <fmt/format.h>

#include "wick/base/text.hpp"
#include "wick/os/deadline.hpp"

namespace wick::container {

Result<std::string> parse_answer(std::string_view output) {
  std::string_view line;
  for (const auto candidate : split(output, '\n'))
    if (candidate.starts_with("ok ") || candidate.starts_with("error ")) line = candidate;
  if (line.starts_with("ok ")) return std::string(line.substr(3));
  if (line.empty()) return fail(Errc::internal, "a helper ended without an answer: " + printable(trim(output), 400));
  line.remove_prefix(6);
  const auto space = line.find(' ');
  const auto code = parse_unsigned(line.substr(0, space));
  if (!code || *code > static_cast<std::uint64_t>(Errc::not_ready) || space == std::string_view::npos)
    return fail(Errc::internal, "a helper gave an answer that is none: " + printable(output, 400));
  return fail(static_cast<Errc>(*code), printable(line.substr(space + 1), 1000));
}

std::string write_answer(const Result<std::string>& answer) {
  if (answer) return fmt::format("\nok {}\n", *answer);
  return fmt::format("\nerror {} {}\n", static_cast<int>(answer.error().code()),
                     printable(answer.error().what(), 1000));
}

awaitable<Result<std::string>> call_helper(Executor, Roots& roots, HelperCall call) {
  auto user_namespace = roots.store_namespace();
  if (!user_namespace) co_return fail(std::move(user_namespace.error()));
  ProcessOptions options;
  options.argv = {"/proc/self/exe", "helper", call.name, call.root.string()};
  options.argv.insert(options.argv.end(), call.arguments.begin(), call.arguments.end());
  options.environment = std::vector<std::string>{"PATH=/usr/bin:/bin"};
  options.extra_fds = {{*user_namespace, helper_namespace_fd}};
  if (call.data >= 0) options.extra_fds.emplace_back(call.data, helper_data_fd);
  SteadyClock clock;
  try {
    auto running = run_process(std::move(options));
    auto finished = co_await with_deadline(clock, call.limit, std::move(running));
    if (!finished) co_return fail(std::move(finished.error()));
    co_return parse_answer(finished->output);
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("'{}' took longer than {} s", call.name,
                                                std::chrono::duration_cast<std::chrono::seconds>(call.limit).count()));
  }
}

}  // namespace wick::container
