// A daemon for the command line's tests: a real HTTP server on a unix socket in a folder of its own, with answers set
// by the test.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "app/cli/cli.hpp"
#include "wick/http/handler.hpp"
#include "wick/http/server.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

inline const std::string services = "/apis/serving.knative.dev/v1/namespaces/default/services";
inline const std::string wick_api = "/apis/wick.dev/v1/namespaces/default/";

struct Ran {
  int exit = -1;
  std::string out;
  std::string err;
};

class FakeDaemon {
 public:
  using Answer = std::function<awaitable<void>(http::Exchange&)>;
  struct Seen {
    std::string line;  // "GET /apis/…?x=y"
    http::Fields fields;
    std::string body;
  };

  FakeDaemon();
  ~FakeDaemon();

  /// The next answer to `route`: "GET /path", compared without the query unless it has one. The last one set repeats.
  void on(const std::string& route, Answer answer);
  void on(const std::string& route, int status, std::string body);

  /// Runs a verb against this daemon. `environment` is all it sees besides the socket.
  Ran run(std::vector<std::string> arguments, std::map<std::string, std::string> environment = {});
  std::string input;         // what stdin holds
  bool on_terminal = false;  // all three streams

  std::vector<Seen> seen();
  /// The last request to `route`; fails the test when there was none.
  Seen last(const std::string& route);
  std::string socket() const { return (folder_.path() / "wick.sock").string(); }
  const std::filesystem::path& folder() const { return folder_.path(); }

 private:
  awaitable<void> handle(http::Exchange& exchange);

  TemporaryFolder folder_;
  asio::io_context loop_{1};
  SteadyClock clock_;
  std::mutex mutex_;  // answers_ and seen_ are shared with the server's thread
  std::map<std::string, std::deque<Answer>> answers_;
  std::vector<Seen> seen_;
  http::Server server_;
  std::thread thread_;
};

Ran run_cli_with(std::vector<std::string> arguments, std::map<std::string, std::string> environment,
                 std::string input = {}, bool on_terminal = false);

/// Durations as "T", random run names as NAME-RUN: what differs from run to run.
std::string masked(std::string text);

}  // namespace wick::app::cli
