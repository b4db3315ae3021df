#include "api/protobuf.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::api;
using namespace std::string_literals;

namespace {

/// What kubectl 1.32 sends for `create secret generic x --from-literal=a=b`.
const std::string secret =
    "k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x1d\n\x11\n\x01x\x12\0\x1a\0\"\0*\0002\08\0B\0\x12\x06\n\x01"
    "a\x12\x01"
    "b\x1a\0\x1a\0\"\0"s;

}  // namespace

TEST_CASE("a Secret as kubectl sends it is the object its JSON would be") {
  const auto object = parse_protobuf(secret);
  REQUIRE(object);
  CHECK(boost::json::value(*object) ==
        boost::json::parse(
            R"({"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","generation":0},"data":{"a":"Yg=="}})"));
}

TEST_CASE("what is no protobuf of a known kind is refused") {
  CHECK_FALSE(parse_protobuf(""));
  CHECK_FALSE(parse_protobuf("{}"));
  for (std::size_t cut = 5; cut + 24 < secret.size(); cut += 3) CHECK_FALSE(parse_protobuf(secret.substr(0, cut)));
  const auto pod = "k8s\0\n\x09\n\x02v1\x12\x03Pod\x12\0"s;
  CHECK(parse_protobuf(pod).error().code() == Errc::unsupported);
}
