// The API as a client meets it: a real server on a unix socket.
#include <catch2/catch.hpp>

#include "api_parts.hpp"
#include "memory_exchange.hpp"
#include "wick/http/server.hpp"
#include "wick/http/upstream.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using model::Truth;

namespace {

const std::string services_path = "/apis/serving.knative.dev/v1/namespaces/default/services";

struct SocketFixture : ApiParts {
  std::unique_ptr<http::Server> server;
  std::unique_ptr<http::Upstream> client;
  TaskGroup tasks{loop.get_executor()};

  SocketFixture() {
    start();
    const auto path = "unix:" + (folder.path() / "wick.sock").string();
    auto handler = api::make_api(doors()).value();
    server = std::make_unique<http::Server>(loop.get_executor(), clock, http::ServerLimits{}, std::move(handler));
    server->listen(http::listen_on(path).value());
    client = std::make_unique<http::Upstream>(loop.get_executor(), clock, http::connect_to(loop.get_executor(), path));
  }
  ~SocketFixture() {
    run_on(loop, tasks.stop());
    client.reset();
    run_on(loop, server->stop(0ms));
  }

  http::Request request(std::string method, std::string target, std::string body = {}) {
    http::Request request;
    request.head.method = std::move(method);
    request.head.target = std::move(target);
    request.head.authority = "localhost";
    request.head.fields.set("Content-Type", "application/json");
    request.body = std::move(body);
    return request;
  }
  http::Response call(std::string method, std::string target, std::string body = {}) {
    return run_on(loop, http::call(*client, clock, request(std::move(method), std::move(target), std::move(body)), 10s))
        .value();
  }
};

}  // namespace

TEST_CASE("a client on the socket deploys, watches until ready, and hangs up") {
  SocketFixture f;
  std::string seen;
  bool ended = false;
  auto watch = [&]() -> awaitable<void> {
    auto on_bytes = [&](std::string_view bytes) {
      seen += bytes;
      return seen.find("\"latestReadyRevisionName\":\"hello-00001\"") == seen.npos;
    };
    auto head = co_await http::stream(
        *f.client, f.clock, f.request("GET", services_path + "?watch=true&fieldSelector=metadata.name%3Dhello"),
        on_bytes);
    CHECK(head);
    ended = true;
  };
  f.tasks.spawn("watch", watch());
  const auto created =
      f.call("POST", services_path,
             R"({"metadata":{"name":"hello"},"spec":{"template":{"spec":{"containers":[{"image":"hello"}]}}}})");
  REQUIRE(created.head.status == 201);
  CHECK(f.until([&] { return ended; }));
  CHECK(f.until([&] { return f.server->in_flight() == 0; }));
  CHECK(f.await_service(Truth::yes));
  CHECK(json::parse(f.call("GET", "/apis/wick.dev/v1/namespaces/default/ps").body).as_array().size() == 1);
}

TEST_CASE("an upload larger than any buffer goes through the socket to the disk") {
  SocketFixture f;
  const std::string tar(3 << 20, 'u');
  const auto taken = f.call("POST", "/apis/wick.dev/v1/namespaces/default/uploads", tar);
  REQUIRE(taken.head.status == 201);
  CHECK(read_file(f.options.uploads / Digest::of(tar).hex()).value() == tar);
}
