#include "fake_daemon.hpp"

#include <boost/asio/co_spawn.hpp>
#include <catch2/catch.hpp>
#include <regex>

namespace wick::app::cli {

FakeDaemon::FakeDaemon()
    : folder_(TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-cli-").value()),
      server_(loop_.get_executor(), clock_, {}, [this](http::Exchange& exchange) { return handle(exchange); }) {
  server_.listen(http::listen_on("unix:" + socket()).value());
  thread_ = std::thread([this] {
    const auto keep = asio::make_work_guard(loop_);
    loop_.run();
  });
}

FakeDaemon::~FakeDaemon() {
  asio::co_spawn(loop_, server_.stop(milliseconds(0)), [this](std::exception_ptr) { loop_.stop(); });
  thread_.join();
}

void FakeDaemon::on(const std::string& route, Answer answer) {
  const std::lock_guard lock(mutex_);
  answers_[route].push_back(std::move(answer));
}

void FakeDaemon::on(const std::string& route, int status, std::string body) {
  on(route, [status, body = std::move(body)](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = status};
    head.fields.set("Content-Type", "application/json");
    auto text = body;
    co_await exchange.respond(std::move(head), std::move(text));
  });
}

awaitable<void> FakeDaemon::handle(http::Exchange& exchange) {
  auto body = co_await exchange.read_all(64 << 20);
  const auto& head = exchange.head();
  Seen seen{.line = head.method + " " + head.target, .fields = head.fields, .body = body ? std::move(*body) : "(cut)"};
  const auto path = head.method + " " + std::string(head.path());
  Answer answer;
  {
    const std::lock_guard lock(mutex_);
    auto found = answers_.find(seen.line);
    if (found == answers_.end()) found = answers_.find(path);
    seen_.push_back(std::move(seen));
    if (found != answers_.end()) {
      answer = found->second.front();
      if (found->second.size() > 1) found->second.pop_front();
    }
  }
  if (answer) {
    co_await answer(exchange);
  } else {
    http::ResponseHead missing{.status = 404};
    co_await exchange.respond(std::move(missing), R"({"kind":"Status","status":"Failure","message":"nothing at )" +
                                                      path + R"(","code":404})");
  }
}

std::vector<FakeDaemon::Seen> FakeDaemon::seen() {
  const std::lock_guard lock(mutex_);
  return seen_;
}

FakeDaemon::Seen FakeDaemon::last(const std::string& route) {
  std::optional<Seen> found;
  for (auto& seen : seen())
    if (seen.line == route || seen.line.substr(0, seen.line.find('?')) == route) found = seen;
  INFO("no request to " << route);
  REQUIRE(found);
  return *found;
}

Ran FakeDaemon::run(std::vector<std::string> arguments, std::map<std::string, std::string> environment) {
  environment.emplace("WICK_SOCKET", socket());
  return run_cli_with(std::move(arguments), std::move(environment), input, on_terminal);
}

Ran run_cli_with(std::vector<std::string> arguments, std::map<std::string, std::string> environment, std::string input,
                 bool on_terminal) {
  std::istringstream in(std::move(input));
  std::ostringstream out, err;
  const auto lookup = [environment = std::move(environment)](std::string_view name) -> std::optional<std::string> {
    const auto found = environment.find(std::string(name));
    return found == environment.end() ? std::nullopt : std::optional(found->second);
  };
  Surroundings surroundings{.in = in,
                            .out = out,
                            .err = err,
                            .in_is_terminal = on_terminal,
                            .out_is_terminal = on_terminal,
                            .err_is_terminal = on_terminal,
                            .environment = lookup};
  Ran ran;
  ran.exit = run(std::move(arguments), std::move(surroundings));
  ran.out = out.str();
  ran.err = err.str();
  return ran;
}

std::string masked(std::string text) {
  text = std::regex_replace(text, std::regex(R"((\d+ min )?\d+(\.\d)? (ms|s)\b)"), "T");
  text = std::regex_replace(text, std::regex(R"( +T\b)"), "  T");
  return std::regex_replace(text, std::regex(R"(([a-z]+)-(?!000)[0-9a-f]{5}\b)"), "$1-RUN");
}

}  // namespace wick::app::cli
