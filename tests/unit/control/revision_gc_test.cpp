#include "control/revision_gc.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::control;

namespace {

const WallTime now{std::chrono::sys_days{std::chrono::year{2026} / 11 / 23}};

std::vector<RevisionAge> aged(int count, std::chrono::hours age) {
  std::vector<RevisionAge> revisions;
  for (int i = 0; i < count; ++i)
    revisions.push_back({fmt::format("r{:04}", i), now - age, now - age + std::chrono::seconds(i)});
  return revisions;
}

}  // namespace

TEST_CASE("old revisions go, the oldest first, and twenty always stay") {
  CHECK(revisions_to_delete(aged(20, 1000h), now).empty());
  CHECK(revisions_to_delete(aged(23, 1000h), now) == std::vector<std::string>{"r0000", "r0001", "r0002"});
}

TEST_CASE("young revisions stay until there are more than a thousand") {
  CHECK(revisions_to_delete(aged(1000, 1h), now).empty());
  CHECK(revisions_to_delete(aged(1002, 1h), now) == std::vector<std::string>{"r0000", "r0001"});
}
