#include "sandbox.hpp"

#include <fmt/format.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>

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

namespace {

constexpr std::size_t answer_bytes_max = 64 << 10;

awaitable<Result<std::string>> read_answer(Fd pipe) {
  asio::posix::stream_descriptor reader(co_await asio::this_coro::executor, pipe.release());
  std::string output;
  std::array<char, 4096> chunk;
  while (true) {
    auto got = co_await reader.async_read_some(asio::buffer(chunk), asio::as_tuple(use_awaitable));
    auto& [error, bytes] = got;
    if (error == asio::error::operation_aborted) throw boost::system::system_error(error);
    output.append(chunk.data(), bytes);
    if (output.size() > answer_bytes_max) output.erase(0, output.size() - answer_bytes_max);
    if (error) break;
  }
  co_return parse_answer(output);
}

}  // namespace

awaitable<Result<std::string>> call_helper(Executor executor, Roots& roots, HelperCall call) {
  auto user_namespace = roots.store_namespace();
  if (!user_namespace) co_return fail(std::move(user_namespace.error()));
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  std::vector<std::string> arguments{call.name, call.root.string()};
  arguments.insert(arguments.end(), call.arguments.begin(), call.arguments.end());
  std::vector<int> descriptors{*user_namespace};
  if (call.data >= 0) descriptors.push_back(call.data);
  auto called = roots.helpers().call(executor, arguments, pipe->second.get(), descriptors);
  if (!called) co_return fail(std::move(called.error()));
  pipe->second.reset();
  SteadyClock clock;
  try {
    auto reading = read_answer(std::move(pipe->first));  // dropped, it ends the helper
    auto answer = co_await with_deadline(clock, call.limit, std::move(reading));
    co_return answer;
  } catch (const DeadlineExceeded&) {
    co_return fail(Errc::timed_out, fmt::format("'{}' took longer than {} s", call.name,
                                                std::chrono::duration_cast<std::chrono::seconds>(call.limit).count()));
  }
}

}  // namespace wick::container
