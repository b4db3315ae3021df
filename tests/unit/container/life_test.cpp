#include "container/life.hpp"

#include <catch2/catch.hpp>
#include <optional>
#include <random>
#include <vector>

using namespace wick;
using namespace wick::container;

namespace {

constexpr LifeVerb every_verb[] = {LifeVerb::prepare, LifeVerb::park, LifeVerb::start,
                                   LifeVerb::freeze,  LifeVerb::thaw, LifeVerb::remove};

/// What an instance is, said without rungs: what exists and what has happened to it.
struct Model {
  bool exists = false;
  bool alive = false;
  bool booted = false;   // park has run
  bool started = false;  // own code has begun
  bool held = false;     // frozen
  bool doomed = false;   // only giving back is left
  std::optional<LifeVerb> under_way;
  int begun = 0;  // how often own code began

  bool allows(LifeVerb verb) const {
    if (under_way || doomed) return false;
    switch (verb) {
      case LifeVerb::prepare:
        return !exists;
      case LifeVerb::park:
        return exists && alive && !booted && !started;
      case LifeVerb::start:
        return exists && alive && !started;
      case LifeVerb::freeze:
        return exists && alive && started && !held;
      case LifeVerb::thaw:
        return exists && alive && held;
      case LifeVerb::remove:
        return exists;
    }
    return false;
  }
  void begin(LifeVerb verb) {
    under_way = verb;
    if (verb == LifeVerb::prepare) exists = alive = true;
  }
  void finish(bool done) {
    const auto verb = doomed ? LifeVerb::remove : *under_way;
    under_way.reset();
    switch (verb) {
      case LifeVerb::prepare:
        break;
      case LifeVerb::park:
        booted = done;
        break;
      case LifeVerb::start:
        if (done) started = true, ++begun;
        break;
      case LifeVerb::freeze:
        held = done;
        return;
      case LifeVerb::thaw:
        held = !done;
        break;
      case LifeVerb::remove:
        *this = Model{.begun = begun};
        return;
    }
    doomed = !done;
  }
  bool busy() const { return under_way || doomed; }
};

Life walk(std::initializer_list<LifeVerb> verbs) {
  Life life;
  for (const auto verb : verbs) {
    REQUIRE(life.begin(verb));
    life.finish(true);
  }
  return life;
}

}  // namespace

TEST_CASE("a life goes up and down the ladder and ends as nothing") {
  Life life;
  const auto goes = [&](LifeVerb verb, Rung to) {
    REQUIRE(life.begin(verb));
    CHECK(life.is_busy());
    life.finish(true);
    CHECK(life.rung() == to);
  };
  goes(LifeVerb::prepare, Rung::prepared);
  goes(LifeVerb::park, Rung::parked);
  CHECK_FALSE(life.has_started());
  goes(LifeVerb::start, Rung::running);
  goes(LifeVerb::freeze, Rung::frozen);
  goes(LifeVerb::thaw, Rung::running);
  CHECK(life.has_started());
  goes(LifeVerb::remove, Rung::nothing);
}

TEST_CASE("every step of a life that fails leaves only giving back, but a freeze that fails goes on running") {
  const std::vector<LifeVerb> steps{LifeVerb::prepare, LifeVerb::park, LifeVerb::start, LifeVerb::freeze,
                                    LifeVerb::thaw};
  for (std::size_t failing = 0; failing < steps.size(); ++failing) {
    Life life;
    for (std::size_t i = 0; i < failing; ++i) {
      REQUIRE(life.begin(steps[i]));
      life.finish(true);
    }
    REQUIRE(life.begin(steps[failing]));
    life.finish(false);
    INFO("failing " << to_string(steps[failing]));
    if (steps[failing] == LifeVerb::freeze) {
      CHECK(life.rung() == Rung::running);
    } else {
      CHECK(life.rung() == Rung::leaving);
      for (const auto verb : every_verb) CHECK_FALSE(life.begin(verb));
      life.finish(true);
      CHECK(life.rung() == Rung::nothing);
    }
  }
}

TEST_CASE("what has ended is only removed, whichever verb its end came into") {
  const std::vector<std::vector<LifeVerb>> ways{
      {LifeVerb::prepare},
      {LifeVerb::prepare, LifeVerb::park},
      {LifeVerb::prepare, LifeVerb::start},
      {LifeVerb::prepare, LifeVerb::start, LifeVerb::freeze},
      {LifeVerb::prepare, LifeVerb::start, LifeVerb::freeze, LifeVerb::thaw},
  };
  for (const auto& way : ways) {
    Life life;
    for (std::size_t i = 0; i < way.size(); ++i) {
      REQUIRE(life.begin(way[i]));
      if (i + 1 == way.size()) life.end();
      life.finish(true);
    }
    CHECK(life.rung() == Rung::ended);
    for (const auto verb : {LifeVerb::park, LifeVerb::start, LifeVerb::freeze, LifeVerb::thaw})
      CHECK(life.begin(verb).error().code() == Errc::not_found);
    CHECK(life.begin(LifeVerb::remove));
  }
}

TEST_CASE("a second start says that it is running already") {
  Life life = walk({LifeVerb::prepare, LifeVerb::start});
  const auto again = life.begin(LifeVerb::start);
  REQUIRE_FALSE(again);
  CHECK(again.error().code() == Errc::conflict);
  CHECK(again.error().what() == "cannot start it: it is running");
}

TEST_CASE("a random walk of 100,000 events agrees with a model that knows no rungs") {
  std::mt19937 random(20260614);
  Life life;
  Model model;
  int refused = 0;
  for (int i = 0; i < 100'000; ++i) {
    const auto dice = random() % 10;
    if (dice < 6) {
      const auto verb = every_verb[random() % std::size(every_verb)];
      const bool allowed = model.allows(verb);
      REQUIRE(life.begin(verb).has_value() == allowed);
      if (allowed) model.begin(verb);
      refused += allowed ? 0 : 1;
    } else if (dice < 9) {
      if (!model.busy()) continue;
      const bool done = random() % 5 != 0;
      life.finish(done);
      model.finish(done);
    } else if (model.exists && random() % 3 == 0) {
      life.end();
      model.alive = false;
    }
    REQUIRE(life.is_busy() == model.busy());
    REQUIRE((life.rung() == Rung::nothing) == !model.exists);
    if (!model.busy() && model.exists) {
      REQUIRE((life.rung() == Rung::ended) == !model.alive);
      if (model.alive) {
        REQUIRE((life.rung() == Rung::frozen) == model.held);
        REQUIRE(life.has_started() == model.started);
      }
    }
    if (!model.exists) {
      REQUIRE(model.begun <= 1);  // invariant 1
      model.begun = 0;
      life = Life();
    }
  }
  CHECK(refused > 10'000);
}
