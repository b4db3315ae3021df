// The rungs of one instance's life, and the only ways between them. Pure: instances.cpp asks begin() before it does
// something and tells finish() how it went; the end of the process may be told at any time.
//
//   nothing ──prepare──► (making) ──────► prepared ──start──► (starting) ──────► running ──freeze──► (freezing)
//      ▲                                    │  │                  ▲               ▲  │ ▲                  │
//      │                                    │  park               │               │  │ └── thawing fails? │
//      │                                    │  ▼                start             │  │     no: it is      ▼
//      │                                    │ (parking) ──────► parked         (thawing) ◄──thaw────── frozen
//      │                                    │                     │                  │     killed        │
//      └── (leaving) ◄────── remove ────────┴─────────────────────┴──────────────────┴───────────────────┘
//                └◄── remove ── ended ◄── end of the process, from every rung between making and frozen
//
// In parentheses: a verb is under way. prepared: the runtime's init waits on the start fifo. parked: the language
// runtime is booted and waits before the program's own code. frozen: the cgroup freezer holds every process. A
// snapshot rung would stand between parked and nothing: a verb that writes it from parked or running, and one that
// makes `running` of it; no kernel we run on can do that to a container (CRIU), so there is no such row yet.
//
//  1. The program's own code begins at most once: no way leads from running back to prepared or parked.
//  2. One verb at a time: begin() is refused while another one is under way.
//  3. From every rung but nothing and leaving, remove is allowed: whatever was made can be given back.
//  4. A process that has ended is never started, parked, frozen or thawed; it is only removed.
//  5. A failed prepare, park, start or thaw leads to leaving: there is no half-made instance to use. Only a failed
//     freeze leads back (to running).
//  6. `nothing` is reached only through leaving, so everything is given back exactly once.
#pragma once

#include <cstdint>
#include <string_view>

#include "wick/base/error.hpp"

namespace wick::container {

enum class Rung : std::uint8_t {
  nothing,
  making,
  prepared,
  parking,
  parked,
  starting,
  running,
  freezing,
  frozen,
  thawing,
  ended,
  leaving,
};
std::string_view to_string(Rung rung);

enum class LifeVerb : std::uint8_t { prepare, park, start, freeze, thaw, remove };
std::string_view to_string(LifeVerb verb);

class Life {
 public:
  Life() = default;
  /// One found after a restart of ours: prepared, running, frozen or ended.
  static Life adopted(Rung rung) { return Life(rung); }

  Rung rung() const { return rung_; }
  /// Whether a verb is under way.
  bool is_busy() const;
  /// Whether the process has been told to have ended.
  bool has_ended() const { return ended_; }
  /// Whether the program's own code has been let go.
  bool has_started() const { return started_; }

  /// The verb is under way from here on. Errors: conflict where the rung does not allow it, not_found for one that has
  /// ended or was never made.
  Result<void> begin(LifeVerb verb);
  /// The verb under way is done, or has failed.
  void finish(bool done);
  /// The process has ended. Safe to tell twice.
  void end();

 private:
  explicit Life(Rung rung)
      : rung_(rung), ended_(rung == Rung::ended), started_(rung == Rung::running || rung == Rung::frozen) {}

  Rung rung_ = Rung::nothing;
  bool ended_ = false;
  bool started_ = false;
};

}  // namespace wick::container
