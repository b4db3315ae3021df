#include <catch2/catch.hpp>

#include "wick/serving/route_table.hpp"

using namespace wick::serving;

TEST_CASE("a host is matched whatever its case, port and trailing dot") {
  RouteTable table;
  REQUIRE(table.add("hello.default.example.com", {.name_space = "default", .service = "hello"}));
  REQUIRE(table.add("[::1]", {.name_space = "default", .service = "six"}));
  struct Case {
    const char* host;
    const char* service;  // nullptr: nobody
  };
  const Case cases[] = {{"hello.default.example.com", "hello"},
                        {"hello.default.example.com:8080", "hello"},
                        {"hello.default.example.com.", "hello"},
                        {"hello.default.example.com.:80", "hello"},
                        {"HELLO.Default.example.com:80", "hello"},
                        {"[::1]:8080", "six"},
                        {"[::1]", "six"},
                        {"default.example.com", nullptr},
                        {"", nullptr},
                        {":80", nullptr},
                        {".", nullptr}};
  for (const auto& each : cases) {
    CAPTURE(each.host);
    const auto* route = table.match(each.host);
    REQUIRE((route != nullptr) == (each.service != nullptr));
    if (route) CHECK(route->service == each.service);
  }
}

TEST_CASE("a host added twice keeps the first route, and each route knows its place") {
  RouteTable table;
  CHECK(table.add("a", {.name_space = "default", .service = "first"}));
  CHECK_FALSE(table.add("a", {.name_space = "default", .service = "second"}));
  CHECK(table.add("b", {.name_space = "default", .service = "third"}));
  CHECK(table.size() == 2);
  CHECK(table.match("a")->service == "first");
  CHECK(table.match("a")->index == 0);
  CHECK(table.match("b")->index == 1);
}

TEST_CASE("a wildcard serves what ends in its name, the closest entry wins") {
  RouteTable table;
  table.add("*.example.com", {.service = "any"});
  table.add("*.eu.example.com", {.service = "europe"});
  table.add("shop.example.com", {.service = "shop"});
  struct Case {
    const char* host;
    const char* service;  // nullptr: nobody
  };
  const Case cases[] = {{"shop.example.com", "shop"}, {"a.example.com", "any"},       {"A.Example.COM:80", "any"},
                        {"b.a.example.com", "any"},   {"a.eu.example.com", "europe"}, {"eu.example.com", "any"},
                        {"example.com", nullptr},     {".example.com", nullptr},      {"a.example.com.evil", nullptr},
                        {"badexample.com", nullptr}};
  for (const auto& each : cases) {
    CAPTURE(each.host);
    const auto* route = table.match(each.host);
    REQUIRE((route != nullptr) == (each.service != nullptr));
    if (route) CHECK(route->service == each.service);
  }
}
