#include "wick/model/ladder.hpp"

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::model;
using namespace std::chrono_literals;

namespace {

std::string mistakes(const TextMap& annotations) {
  FieldErrors errors;
  (void)decode_ladder(annotations, "metadata.annotations", errors);
  return errors.text();
}

}  // namespace

TEST_CASE("a revision without annotations keeps one spare, parks where it can, and does not freeze") {
  FieldErrors errors;
  const auto ladder = decode_ladder({}, "metadata.annotations", errors);
  CHECK(errors.empty());
  CHECK(ladder.prepared_spares == 1);
  CHECK(ladder.prepared_for == 24h);
  CHECK(ladder.park);
  CHECK(ladder.freeze_after == 0ms);
  CHECK(ladder.frozen_for == 10min);
}

TEST_CASE("wick.dev annotations set the rungs") {
  FieldErrors errors;
  const auto ladder = decode_ladder({{"wick.dev/prepared-spares", "3"},
                                     {"wick.dev/prepared-for", "never"},
                                     {"wick.dev/park", "never"},
                                     {"wick.dev/freeze-after", "1m30s"},
                                     {"wick.dev/frozen-for", "2h"}},
                                    "metadata.annotations", errors);
  CHECK(errors.empty());
  CHECK(ladder.prepared_spares == 3);
  CHECK(ladder.prepared_for == 0ms);
  CHECK_FALSE(ladder.park);
  CHECK(ladder.freeze_after == 90s);
  CHECK(ladder.frozen_for == 2h);
}

TEST_CASE("a rung that makes no sense is named with its path") {
  for (const auto& [key, value] : std::vector<std::pair<std::string, std::string>>{{"prepared-spares", "101"},
                                                                                   {"prepared-spares", "-1"},
                                                                                   {"prepared-spares", "one"},
                                                                                   {"prepared-for", "soon"},
                                                                                   {"park", "yes"},
                                                                                   {"freeze-after", "1ms"},
                                                                                   {"freeze-after", "9000h"},
                                                                                   {"frozen-for", "never"}}) {
    const auto text = mistakes({{"wick.dev/" + key, value}});
    INFO(key << "=" << value << ": " << text);
    CHECK(text.find("metadata.annotations.wick.dev/" + key) != std::string::npos);
    CHECK(text.find(value) != std::string::npos);
  }
}
