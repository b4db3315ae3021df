#include <catch2/catch.hpp>

#include "wick/serving/route_table.hpp"

using namespace wick::serving;

TEST_CASE("a host is matched whatever its case, port and trailing dot") {
  HostTable<std::string> table;
  table.set("hello.default.example.com", "hello");
  table.set("[::1]", "six");
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
    if (route) CHECK(*route == each.service);
  }
}

TEST_CASE("a host set twice has the later entry, and one that is erased has none") {
  HostTable<std::string> table;
  table.set("a", "first");
  table.set("a", "second");
  table.set("*.b", "any");
  CHECK(table.size() == 2);
  CHECK(*table.match("a") == "second");
  CHECK(*table.match("x.b") == "any");
  table.erase("a");
  table.erase("*.b");
  table.erase("nobody");
  CHECK(table.size() == 0);
  CHECK_FALSE(table.match("a"));
  CHECK_FALSE(table.match("x.b"));
}

TEST_CASE("a wildcard serves what ends in its name, the closest entry wins") {
  HostTable<std::string> table;
  table.set("*.example.com", "any");
  table.set("*.eu.example.com", "europe");
  table.set("shop.example.com", "shop");
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
    if (route) CHECK(*route == each.service);
  }
}
