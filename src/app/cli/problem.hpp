// A failed verb as a person reads it: what went wrong, the observed fact, the last output, what still holds, the next
// thing to do.
//
//   error: hello-00003 did not become ready  [E_EXITED]
//     because: the process exited with code 1 after 92 ms, before listening on port 8080
//     last output:
//       TypeError: require(...).createSever is not a function
//     hello-00002 still serves 100 % of the traffic.
//     hint: fix and run wick deploy; full output: wick logs hello --failed
#pragma once

#include <boost/json/value.hpp>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/model/failure.hpp"

namespace wick::app::cli {

/// trust-and-ux.md 2.2. Scripts depend on the numbers.
enum class ExitCode {
  ok = 0,
  failed = 1,
  usage = 2,
  unreachable = 3,  // no daemon
  build_failed = 4,
  not_ready = 5,  // the revision did not become ready
  not_found = 6,
  refused = 7,  // auth, conflict, quota
  timed_out = 8,
  interrupted = 130,
};

ExitCode exit_code(Errc code);

struct Problem {
  ExitCode exit = ExitCode::failed;
  std::string what;  // empty: nothing is said, only the exit code tells
  std::string slug;
  std::string because;
  std::vector<std::string> last_output;
  std::vector<std::string> notes;  // whole sentences
  std::string hint;

  /// The same, told from further out: `what` becomes the headline, the former one the observed fact.
  Problem&& within(std::string headline) &&;
  /// Sets the hint where the other side gave none.
  Problem&& or_hint(std::string next) &&;
};

/// With a hint for every code, so that no error is without a next step.
Problem problem_of(const Error& error);
/// A Kubernetes Status object with the daemon's own "wick": {"slug", "hint"}. `body` is what came with `status`.
Problem problem_of(int status, std::string_view body);
/// The failed-deploy contract (trust-and-ux.md 2.3).
Problem problem_of(const model::Failure& failure, ExitCode exit, std::string headline);

Problem usage_problem(std::string what, std::string hint);

/// The text above, every line ended. Bytes from outside are made printable.
std::string text_of(const Problem& problem);
boost::json::object json_of(const Problem& problem);

template <class T>
using Outcome = std::expected<T, Problem>;

inline std::unexpected<Problem> stop_with(Problem problem) { return std::unexpected(std::move(problem)); }

}  // namespace wick::app::cli
