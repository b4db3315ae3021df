#include "api/seen_deliveries.hpp"

#include <catch2/catch.hpp>

#include "support/run_loop.hpp"
#include "wick/os/files.hpp"

namespace wick::api {
namespace {

struct SeenFixture {
  asio::io_context loop{1};
  TemporaryFolder folder = TemporaryFolder::make("/tmp").value();
  WallTime now{std::chrono::hours(24 * 20'000)};
  std::unique_ptr<store::Database> database;
  std::unique_ptr<SeenDeliveries> seen;

  SeenFixture() { restart(); }
  void restart() {
    seen.reset();
    database.reset();
    database = store::Database::open(folder.path() / "seen.db", {SeenDeliveries::migration()}).value();
    seen = SeenDeliveries::open(*database, now).value();
  }
  bool is_new(const std::string& hook, std::string_view number, std::string_view digest = {}) {
    return seen->claim(hook, {number, digest}, now).has_value();
  }
  void note(const std::string& hook, std::string_view number, std::string_view digest = {}) {
    const auto claim = seen->claim(hook, {number, digest}, now);
    REQUIRE(claim);
    REQUIRE(run_on(loop, seen->keep(*claim, now)));
  }
  std::int64_t rows() {
    store::Statement query(database->reader(), "SELECT count(*) FROM seen_delivery");
    query.step();
    return query.integer(0);
  }
};

}  // namespace

TEST_CASE("a delivery is known for a day by either of its marks, also after a restart") {
  SeenFixture f;
  f.note("a/hook", "72d3162e", "digest");
  for (int lives = 0; lives < 2; ++lives) {
    CHECK_FALSE(f.is_new("a/hook", "72d3162e"));
    CHECK_FALSE(f.is_new("a/hook", "another", "digest"));
    CHECK(f.is_new("a/other", "72d3162e", "digest"));
    f.restart();
  }
  f.now += std::chrono::hours(25);
  CHECK(f.is_new("a/hook", "72d3162e", "digest"));
  f.restart();
  CHECK(f.is_new("a/hook", "72d3162e", "digest"));
  f.note("a/hook", "2");
  CHECK(f.rows() == 1);
}

TEST_CASE("a delivery without marks is always new, and one that was refused is new again") {
  SeenFixture f;
  f.note("a/hook", "");
  CHECK(f.is_new("a/hook", ""));
  {
    const auto in_hand = f.seen->claim("a/hook", {"1"}, f.now);
    REQUIRE(in_hand);
    CHECK_FALSE(f.is_new("a/hook", "1"));
  }
  CHECK(f.is_new("a/hook", "1"));
  CHECK(f.rows() == 0);
}

TEST_CASE("the memory of deliveries is bounded, on disk too, and the oldest go") {
  SeenFixture f;
  auto fill = [](sqlite3* connection) {
    for (std::size_t i = 0; i < SeenDeliveries::kept_max; ++i)
      store::Statement(connection, "INSERT INTO seen_delivery VALUES(?,?)")
          .bind("h " + std::to_string(i))
          .bind(WallTime(std::chrono::hours(24 * 20'000)).time_since_epoch().count() + static_cast<std::int64_t>(i))
          .run();
  };
  REQUIRE(run_on(f.loop, f.database->write(std::move(fill))));
  f.now += std::chrono::minutes(1);
  f.restart();
  CHECK_FALSE(f.is_new("h", "0"));
  f.note("h", "one more");
  CHECK(f.rows() == SeenDeliveries::kept_max);
  f.restart();
  CHECK(f.is_new("h", "0"));
  CHECK_FALSE(f.is_new("h", "1"));
  CHECK_FALSE(f.is_new("h", "one more"));
}

}  // namespace wick::api
