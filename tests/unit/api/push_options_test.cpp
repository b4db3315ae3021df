#include "api/push_options.hpp"

#include <catch2/catch.hpp>

namespace wick::api {

TEST_CASE("push options say what becomes of a push, and one that is not known is refused with those that are") {
  const auto read = parse_push_options({"preview", "env=A=b=c", "env=B-", "builder=node"});
  REQUIRE(read);
  CHECK(read->preview);
  CHECK_FALSE(read->no_deploy);
  CHECK(read->env == std::vector<std::string>{"A=b=c", "B-"});
  CHECK(read->builder == "node");
  CHECK(parse_push_options({"no-deploy"})->no_deploy);
  for (const auto* bad : {"", "Preview", "env=", "env=A", "env=1A=b", "builder=", "builder=../x", "ci.skip"}) {
    const auto refused = parse_push_options({bad});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().what().contains(std::string("'") + bad + "'"));
    CHECK(refused.error().hint() == "known push options: preview, no-deploy, env=K=V, builder=NAME");
  }
  CHECK_FALSE(parse_push_options({"preview", "no-deploy"}));
}

}  // namespace wick::api
