#include "life.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace wick::container {

namespace {

struct Way {
  LifeVerb verb;
  Rung from;
  Rung during;
  Rung done;
  Rung failed;
};

constexpr std::array ways{
    Way{LifeVerb::prepare, Rung::nothing, Rung::making, Rung::prepared, Rung::leaving},
    Way{LifeVerb::park, Rung::prepared, Rung::parking, Rung::parked, Rung::leaving},
    Way{LifeVerb::start, Rung::prepared, Rung::starting, Rung::running, Rung::leaving},
    Way{LifeVerb::start, Rung::parked, Rung::starting, Rung::running, Rung::leaving},
    Way{LifeVerb::freeze, Rung::running, Rung::freezing, Rung::frozen, Rung::running},
    Way{LifeVerb::thaw, Rung::frozen, Rung::thawing, Rung::running, Rung::leaving},
    Way{LifeVerb::remove, Rung::prepared, Rung::leaving, Rung::nothing, Rung::nothing},
    Way{LifeVerb::remove, Rung::parked, Rung::leaving, Rung::nothing, Rung::nothing},
    Way{LifeVerb::remove, Rung::running, Rung::leaving, Rung::nothing, Rung::nothing},
    Way{LifeVerb::remove, Rung::frozen, Rung::leaving, Rung::nothing, Rung::nothing},
    Way{LifeVerb::remove, Rung::ended, Rung::leaving, Rung::nothing, Rung::nothing},
};

bool is_verb_under_way(Rung rung) {
  return rung == Rung::making || rung == Rung::parking || rung == Rung::starting || rung == Rung::freezing ||
         rung == Rung::thawing || rung == Rung::leaving;
}

}  // namespace

std::string_view to_string(Rung rung) {
  static constexpr std::array names{"nothing", "being made", "prepared", "being parked", "parked", "starting",
                                    "running", "freezing",   "frozen",   "thawing",      "ended",  "leaving"};
  return names[static_cast<std::size_t>(rung)];
}

std::string_view to_string(LifeVerb verb) {
  static constexpr std::array names{"prepare", "park", "start", "freeze", "thaw", "remove"};
  return names[static_cast<std::size_t>(verb)];
}

bool Life::is_busy() const { return is_verb_under_way(rung_); }

Result<void> Life::begin(LifeVerb verb) {
  const auto way = std::ranges::find_if(ways, [&](const Way& each) { return each.verb == verb && each.from == rung_; });
  if (way != ways.end()) {
    rung_ = way->during;
    return {};
  }
  if (rung_ == Rung::ended) return fail(Errc::not_found, fmt::format("cannot {} it: it has ended", to_string(verb)));
  if (rung_ == Rung::nothing)
    return fail(Errc::not_found, fmt::format("cannot {} it: it was never made", to_string(verb)));
  return fail(Errc::conflict, fmt::format("cannot {} it: it is {}", to_string(verb), to_string(rung_)));
}

void Life::finish(bool done) {
  // Start is the only verb with two rungs before it; both lead to the same ones.
  const auto way = std::ranges::find_if(ways, [&](const Way& each) { return each.during == rung_; });
  if (way == ways.end()) return;
  const Rung next = done ? way->done : way->failed;
  if (way->verb == LifeVerb::start && done) started_ = true;
  // What ended meanwhile stands on no rung any more; invariant 5 has its own way down.
  const bool stands = next != Rung::leaving && next != Rung::nothing;
  rung_ = ended_ && stands ? Rung::ended : next;
}

void Life::end() {
  ended_ = true;
  if (rung_ != Rung::nothing && !is_verb_under_way(rung_)) rung_ = Rung::ended;
}

}  // namespace wick::container
