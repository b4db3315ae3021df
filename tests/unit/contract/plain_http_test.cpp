#include <catch2/catch.hpp>

#include "wick/contract/plain_http.hpp"

using namespace wick;

TEST_CASE("the platform's variables replace what the image or the user gave, and touch nothing else") {
  std::vector<std::string> environment{"PATH=/bin", "PORT=3000", "K_SERVICE=forged", "PORTAL=1", "EMPTY="};
  contract::set_plain_http_environment(
      environment, {.service = "hello", .configuration = "hello-config", .revision = "hello-00001", .port = 8081});
  CHECK(environment == std::vector<std::string>{"PATH=/bin", "PORTAL=1", "EMPTY=", "PORT=8081", "K_SERVICE=hello",
                                                "K_CONFIGURATION=hello-config", "K_REVISION=hello-00001"});
}

TEST_CASE("a readiness request asks the given path and says that it is a probe") {
  const auto request = contract::readiness_request("healthz", 8080);
  CHECK(request.head.method == "GET");
  CHECK(request.head.target == "/healthz");
  CHECK(request.head.authority == "127.0.0.1:8080");
  CHECK(request.head.fields.begin()->value.starts_with("kube-probe/"));
}

TEST_CASE("readiness is 200 to 399") {
  for (const int ready : {200, 204, 301, 399}) CHECK(contract::is_ready_status(ready));
  for (const int not_ready : {0, 101, 199, 400, 404, 500, 503}) CHECK_FALSE(contract::is_ready_status(not_ready));
}
