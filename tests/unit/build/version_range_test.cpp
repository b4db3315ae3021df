#include "build/version_range.hpp"

#include <catch2/catch.hpp>
#include <string>

namespace wick::build {

TEST_CASE("a version range means what npm, PEP 440, Composer, RubyGems and Cargo mean by it") {
  struct Row {
    const char* range;
    const char* version;
    bool allowed;
  };
  const Row rows[] = {
      {">=18", "18.20.4", true},        {">=20", "18.20.4", false},       {">18", "18.20.4", false},
      {">17", "18.20.4", true},         {"<19", "18.20.4", true},         {"<=18", "18.20.4", true},
      {"<18", "18.20.4", false},        {"18", "18.20.4", true},          {"18.x", "18.20.4", true},
      {"18.19", "18.20.4", false},      {"v18.20.4", "18.20.4", true},    {"=18.20.4", "18.20.4", true},
      {"*", "18.20.4", true},           {"^18.2.0", "18.20.4", true},     {"^18.21", "18.20.4", false},
      {"^16", "18.20.4", false},        {"^16 || ^18", "18.20.4", true},  {"^20 || ^22", "18.20.4", false},
      {"~18.20", "18.20.4", true},      {"~18.19.1", "18.20.4", false},   {"~18", "18.20.4", true},
      {">=16 <19", "18.20.4", true},    {">= 16 < 18", "18.20.4", false}, {"16 - 18", "18.20.4", true},
      {"18.21 - 20", "18.20.4", false}, {"^0.2.3", "0.2.9", true},        {"^0.2.3", "0.3.0", false},
      {">=3.9,<4", "3.11.2", true},     {">=3.12", "3.11.2", false},      {"~=3.11", "3.11.2", true},
      {"~=3.11", "3.12.0", true},       {"~=3.11.1", "3.12.0", false},    {"==3.11.*", "3.11.2", true},
      {"!=3.11.*", "3.11.2", false},    {"~> 3.1", "3.4.0", true},        {"~> 3.1.2", "3.1.9", true},
      {"~> 3.1.2", "3.2.0", false},     {">=8.1|^7", "8.2.0", true},      {"1.22", "1.19.8", false},
  };
  for (const auto& row : rows) {
    INFO(row.range << " allows " << row.version);
    CHECK(range_allows(row.range, row.version) == row.allowed);
  }
}

TEST_CASE("what is no version range is neither allowed nor refused") {
  for (const auto* range : {"lts/*", "latest", "", "||", ">=", "^", "18 -", "99999999999999999999", "node 18"}) {
    INFO(range);
    CHECK_FALSE(range_allows(range, "18.20.4").has_value());
  }
  CHECK_FALSE(range_allows(std::string(10'000, '1'), "18").has_value());
}

}  // namespace wick::build
