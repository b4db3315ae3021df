// What went wrong, as a value: a code for programs, a sentence for people, the path the failure took, and what to do
// next.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

namespace wick {

/// The kinds of failure a caller can tell apart. One table in `api` maps them to HTTP status, one in `app` to exit
/// codes.
enum class Errc {
  internal,        // a bug or a broken machine; nothing the caller did
  invalid,         // the request itself is wrong
  not_found,       //
  already_exists,  //
  conflict,        // resourceVersion or state moved on
  denied,          // not allowed to
  too_large,       // over a named limit
  overloaded,      // a bounded queue is full; try again
  timed_out,       //
  unavailable,     // the other side is not there
  unsupported,     // valid, but not something this build or host can do
  corrupt,         // stored or received bytes do not match what they claim
  io,              // the operating system said no
  cancelled,       //
  build_failed,    // a build step ended with a failure of its own
  not_ready,       // an instance did not become ready
};

std::string_view to_string(Errc code);
/// The stable slug people search for: "E_NOT_READY".
std::string slug(Errc code);

class Error {
 public:
  Error() = default;
  Error(Errc code, std::string message) : code_(code), message_(std::move(message)) {}

  Errc code() const { return code_; }
  /// The observed fact, without the places it passed through.
  const std::string& message() const { return message_; }
  /// The next thing to do; empty when nobody knows.
  const std::string& hint() const { return hint_; }
  /// "revision r-3: step 2: exit 1": outermost place first.
  std::string what() const;

  Error&& within(std::string where) &&;
  Error&& hint(std::string next) &&;

 private:
  Errc code_ = Errc::internal;
  std::string message_;
  std::string hint_;
  std::vector<std::string> where_;  // innermost first
};

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Errc code, std::string message) {
  return std::unexpected(Error(code, std::move(message)));
}
inline std::unexpected<Error> fail(Errc code, std::string message, std::string hint) {
  return std::unexpected(Error(code, std::move(message)).hint(std::move(hint)));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

/// "open /x: No such file or directory" with Errc::io (not_found for ENOENT, denied for EACCES and EPERM).
Error system_error(std::string_view what, int errno_value);

}  // namespace wick
