#include "image/challenge.hpp"

#include <catch2/catch.hpp>

namespace wick::image {
namespace {

std::string written(const std::vector<Challenge>& challenges) {
  std::string out;
  for (const auto& challenge : challenges) {
    out += challenge.scheme + "[" + challenge.token;
    for (const auto& [name, value] : challenge.parameters) out += " " + name + "=" + value;
    out += "]";
  }
  return out;
}

}  // namespace

TEST_CASE("challenges are read as RFC 9110 11.6.1 writes them") {
  struct Row {
    const char* field;
    const char* expected;
  };
  const Row rows[] = {
      {R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push")",
       "bearer[ realm=https://auth.docker.io/token scope=repository:a/b:pull,push service=registry.docker.io]"},
      {R"(Basic realm="box")", "basic[ realm=box]"},
      {R"(BASIC REALM = box)", "basic[ realm=box]"},
      {R"(Newauth realm="apps", type=1, title="Login to \"apps\"", Basic realm="simple")",
       "newauth[ realm=apps title=Login to \"apps\" type=1]basic[ realm=simple]"},
      {"Negotiate", "negotiate[]"},
      {"Negotiate a87421==, Basic realm=x", "negotiate[a87421==]basic[ realm=x]"},
      {"Negotiate, Bearer realm=x", "negotiate[]bearer[ realm=x]"},
      {" , ,Basic realm=x , ", "basic[ realm=x]"},
      {R"(Bearer realm="")", "bearer[ realm=]"},
      {"", ""},
  };
  for (const auto& row : rows) {
    INFO(row.field);
    const auto parsed = parse_challenges(row.field);
    REQUIRE(parsed);
    CHECK(written(*parsed) == row.expected);
  }
}

TEST_CASE("a challenge that is none is refused") {
  for (const std::string field : {"=", "Bearer realm=\"", "Bearer realm=\"a\\", "Bearer =x", "Bearer realm=a b=c",
                                  "Bearer realm=a, realm=b", "Bearer \"x\"", "Bearer/x", "Bearer realm=\"\x01\""}) {
    INFO(field);
    CHECK(parse_challenges(field).error().code() == Errc::invalid);
  }
  CHECK(parse_challenges(std::string(9000, 'a')).error().code() == Errc::invalid);
}

}  // namespace wick::image
