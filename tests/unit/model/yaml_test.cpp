#include "wick/model/yaml.hpp"

#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::model;

TEST_CASE("YAML scalars resolve as Kubernetes' manifests expect") {
  const auto value = parse_yaml(
                         "{a: 1, b: '1', c: true, d: \"true\", e: null, f: 1.5, g: text, h: 1.2.3, i: 0x10, j: -3, k: "
                         "2026-11-23, l: , m: 0440, n: '0440', o: 0890, p: 0}")
                         .value();
  CHECK(
      boost::json::serialize(value.at(0)) ==
      R"({"a":1,"b":"1","c":true,"d":"true","e":null,"f":1.5E0,"g":"text","h":"1.2.3","i":"0x10","j":-3,"k":"2026-11-23","l":null,"m":288,"n":"0440","o":890,"p":0})");
}

TEST_CASE("several documents come apart and empty ones are left out") {
  CHECK(parse_yaml("a: 1\n---\n---\nb: 2\n").value().size() == 2);
  CHECK(parse_yaml("").value().empty());
}

TEST_CASE("a text that would blow up is refused") {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int n = 0; n < 9; ++n) laughs += (n ? ", *a" : "*a") + std::to_string(i - 1);
    laughs += "]\n";
  }
  CHECK(parse_yaml(laughs).error().code() == Errc::too_large);
  CHECK(parse_yaml(std::string(100, '[') + std::string(100, ']')).error().code() == Errc::too_large);
  CHECK_FALSE(parse_yaml(std::string(100'000, '[')));
  CHECK(parse_yaml("a: &x [*x]").error().code() != Errc::internal);
  CHECK(parse_yaml(std::string(200, ' '), {.bytes_max = 100}).error().code() == Errc::too_large);
}

TEST_CASE("aliases are copies, and a text that begins with no value ends") {
  const auto value = parse_yaml("a: &x {b: 1}\nc: *x\nd: [*x, *x]").value();
  CHECK(boost::json::serialize(value.at(0)) == R"({"a":{"b":1},"c":{"b":1},"d":[{"b":1},{"b":1}]})");
  CHECK(boost::json::serialize(parse_yaml("1: a\ntrue: b").value().at(0)) == R"({"1":"a","true":"b"})");
  for (const auto* text : {",", "]", "}", "a: 1\n,", ",,,\n---\n,"}) {
    INFO(text);
    CHECK(parse_yaml(text).error().code() == Errc::invalid);
  }
}

TEST_CASE("a syntax error says where, and a key given twice is one") {
  CHECK(parse_yaml("a: [1").error().message().starts_with("YAML line 1"));
  CHECK(parse_yaml("a: 1\na: 2").error().message() == "YAML line 2, column 1: key \"a\" is there twice");
  CHECK(parse_yaml("? [a]\n: b").error().code() == Errc::invalid);
}
