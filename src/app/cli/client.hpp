// The daemon as the verbs see it: one call, one answer, each waited for. Underneath, one loop a client, run only while
// a call is out.
//
// Ctrl-C while a call is out cancels that call, and the verb goes on with ExitCode::interrupted to say what still
// happens without it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "app/cli/problem.hpp"
#include "app/cli/read_json.hpp"
#include "wick/base/time.hpp"
#include "wick/http/handler.hpp"

namespace wick::app::cli {

/// Bytes to send, read as the connection takes them.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills `into`; 0 at the end.
  virtual Result<std::size_t> read(std::span<char> into) = 0;
};

class Client {
 public:
  /// `socket` is the path of the daemon's API socket.
  explicit Client(std::string socket);
  ~Client();

  const std::string& socket() const;

  /// A call that answers with a document; the error is the daemon's own.
  Outcome<json::value> get(std::string target);
  /// nullopt for 404.
  Outcome<std::optional<json::value>> find(std::string target);
  Outcome<json::value> post(std::string target, const json::value& body);
  Outcome<json::value> put(std::string target, const json::value& body);
  Outcome<json::value> merge_patch(std::string target, const json::value& body);
  Outcome<void> remove(std::string target);

  /// The answer as it is, whatever its status.
  Outcome<http::Response> send(http::Request request, milliseconds limit);

  enum class Next { go_on, stop };
  /// Newline-delimited JSON, a line at a time, until the daemon ends it or `on_line` has enough.
  /// `on_tick` runs five times a second meanwhile and may have enough too. It also runs whenever the descriptor
  /// `wake` is readable, and must read it empty then.
  Outcome<void> follow(std::string target, std::function<Next(const json::value&)> on_line,
                       std::function<Next()> on_tick = {}, int wake = -1);

  /// Waits; Ctrl-C ends it with the problem of an interrupted call.
  Outcome<void> pause(milliseconds duration);

  /// The body of a GET as it comes, to a `sink` that may refuse it. An answer that is cut short is an error.
  Outcome<void> download(std::string target, std::function<Result<void>(std::string_view)> sink);

  /// The body is never held whole.
  Outcome<json::value> upload(std::string target, http::Fields fields, ByteSource& body);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// "/apis/serving.knative.dev/v1/namespaces/default/services/hello"; without `name` the collection.
std::string resource_path(std::string_view group_version, std::string_view name_space, std::string_view plural,
                          std::string_view name = {});
std::string service_path(std::string_view name_space, std::string_view name = {});
std::string build_run_path(std::string_view name_space, std::string_view name = {});
std::string trigger_path(std::string_view name_space, std::string_view name = {});
/// What only Wick has: "/apis/wick.dev/v1/namespaces/default/" and `rest`.
std::string wick_path(std::string_view name_space, std::string_view rest);

}  // namespace wick::app::cli
