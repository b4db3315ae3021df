// The deliveries of the last day, so that one that is repeated builds nothing again (trust-and-ux.md 5.1): in the
// control database, because a repetition may come after a restart.
//
//   new ──claim──▶ in hand ──keep──▶ known ──a day, or newer ones push it out──▶ new
//                     └────────── the claim goes without keep ──────────────────────┘
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/base/time.hpp"
#include "wick/store/database.hpp"

namespace wick::api {

class SeenDeliveries {
 public:
  /// About 4 MB. Only who knows a secret adds to them, so nobody else can push one out.
  static constexpr std::size_t kept_max = 20'000;
  static constexpr std::chrono::hours kept_for{24};

  static std::string_view migration();
  /// `database` was opened with the migration and outlives it. Reads what is younger than `kept_for`.
  static Result<std::unique_ptr<SeenDeliveries>> open(store::Database& database, WallTime now);
  SeenDeliveries(const SeenDeliveries&) = delete;

  /// The marks of a delivery while it is worked on: the same one is not new meanwhile.
  class Claim {
   public:
    Claim(Claim&& other) noexcept : seen_(std::exchange(other.seen_, nullptr)), marks_(std::move(other.marks_)) {}
    Claim& operator=(Claim&&) = delete;
    ~Claim();

   private:
    friend class SeenDeliveries;
    Claim(SeenDeliveries& seen, std::vector<std::string> marks);
    SeenDeliveries* seen_;
    std::vector<std::string> marks_;
  };

  /// nullopt when one of these marks of this hook is known or in hand. An empty mark is none.
  std::optional<Claim> claim(const std::string& hook, std::initializer_list<std::string_view> marks, WallTime now);
  /// Returns once they are durable. After an error they are known until the process ends.
  awaitable<Result<void>> keep(const Claim& claim, WallTime now);

 private:
  explicit SeenDeliveries(store::Database& database) : database_(database) {}
  void remember(std::string mark, WallTime when);
  void forget(WallTime now);

  store::Database& database_;
  std::map<std::string, WallTime, std::less<>> known_;  // hook and mark
  std::multimap<WallTime, std::string> in_order_;
  std::set<std::string, std::less<>> in_hand_;
};

}  // namespace wick::api
