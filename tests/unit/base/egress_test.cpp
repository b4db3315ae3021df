#include "wick/base/egress.hpp"

#include <catch2/catch.hpp>

using namespace wick;

TEST_CASE("an egress policy reads back as it was written") {
  for (const char* text : {"internet", "none", "open", "10.1.0.0/16", "192.0.2.7:5432,10.0.0.0/8:443",
                           "internet,10.1.2.0/24", "0.0.0.0/0"}) {
    auto policy = parse_egress(text);
    REQUIRE(policy);
    CHECK(to_string(*policy) == text);
  }
  CHECK(parse_egress(" internet , 10.0.0.1 ")->allow.size() == 1);
  CHECK(EgressPolicy{}.base == Egress::internet);
}

TEST_CASE("an egress policy that cannot be meant is refused with its entry named") {
  const auto refused = [](std::string_view text) {
    auto policy = parse_egress(text);
    REQUIRE_FALSE(policy);
    CHECK(policy.error().code() == Errc::invalid);
    return policy.error().what();
  };
  CHECK_THAT(refused("everything"), Catch::Matchers::StartsWith("'everything' is no address: expected internet"));
  CHECK_THAT(refused("10.1.2.3/16"), Catch::Matchers::Contains("bits set behind its prefix"));
  CHECK_THAT(refused("10.0.0.0/33"), Catch::Matchers::Contains("prefix past /32"));
  CHECK_THAT(refused("10.0.0.1:0"), Catch::Matchers::Contains("port"));
  CHECK_THAT(refused("10.0.0.1:99999"), Catch::Matchers::Contains("port"));
  CHECK_THAT(refused("none,10.0.0.1"), Catch::Matchers::StartsWith("'none'"));
  CHECK_THAT(refused(""), Catch::Matchers::StartsWith("''"));
  CHECK_THAT(refused("10.0.0.1,"), Catch::Matchers::StartsWith("''"));
  CHECK_THAT(refused("::1"), Catch::Matchers::Contains("port that is none"));
  std::string many = "10.0.0.1";
  for (int i = 0; i < 16; ++i) many += ",10.0.0.1";
  CHECK_THAT(refused(many), Catch::Matchers::Contains("at most 16 entries"));
}
