#include "api/seen_deliveries.hpp"

namespace wick::api {

std::string_view SeenDeliveries::migration() {
  return R"(
CREATE TABLE seen_delivery(mark TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE INDEX seen_delivery_by_age ON seen_delivery(at);
)";
}

Result<std::unique_ptr<SeenDeliveries>> SeenDeliveries::open(store::Database& database, WallTime now) {
  std::unique_ptr<SeenDeliveries> seen(new SeenDeliveries(database));
  try {
    store::Statement rows(database.reader(), "SELECT mark, at FROM seen_delivery ORDER BY at DESC LIMIT ?");
    rows.bind(static_cast<std::int64_t>(kept_max));
    while (rows.step()) seen->remember(rows.text(0), WallTime(std::chrono::nanoseconds(rows.integer(1))));
  } catch (const store::DatabaseError& error) {
    return fail(store::to_error(error).within("seen deliveries"));
  }
  seen->forget(now);
  return seen;
}

SeenDeliveries::Claim::Claim(SeenDeliveries& seen, std::vector<std::string> marks)
    : seen_(&seen), marks_(std::move(marks)) {
  for (const auto& mark : marks_) seen_->in_hand_.insert(mark);
}

SeenDeliveries::Claim::~Claim() {
  if (seen_)
    for (const auto& mark : marks_) seen_->in_hand_.erase(mark);
}

void SeenDeliveries::remember(std::string mark, WallTime when) {
  if (!known_.try_emplace(mark, when).second) return;
  in_order_.emplace(when, std::move(mark));
}

void SeenDeliveries::forget(WallTime now) {
  while (!in_order_.empty() && (in_order_.size() > kept_max || now - in_order_.begin()->first > kept_for)) {
    known_.erase(in_order_.begin()->second);
    in_order_.erase(in_order_.begin());
  }
}

std::optional<SeenDeliveries::Claim> SeenDeliveries::claim(const std::string& hook,
                                                           std::initializer_list<std::string_view> marks,
                                                           WallTime now) {
  forget(now);
  std::vector<std::string> keys;
  for (const auto mark : marks) {
    if (mark.empty()) continue;
    auto key = hook + " " + std::string(mark);
    if (known_.contains(key) || in_hand_.contains(key)) return std::nullopt;
    keys.push_back(std::move(key));
  }
  return Claim(*this, std::move(keys));
}

awaitable<Result<void>> SeenDeliveries::keep(const Claim& claim, WallTime now) {
  auto marks = claim.marks_;
  if (marks.empty()) co_return Result<void>();
  for (const auto& mark : marks) remember(mark, now);
  forget(now);
  const auto oldest = in_order_.begin()->first;
  auto insert = [marks = std::move(marks), at = now.time_since_epoch().count(),
                 oldest = oldest.time_since_epoch().count()](sqlite3* connection) {
    for (const auto& mark : marks)
      store::Statement(connection, "INSERT OR REPLACE INTO seen_delivery VALUES(?,?)").bind(mark).bind(at).run();
    store::Statement(connection, "DELETE FROM seen_delivery WHERE at < ?").bind(oldest).run();
  };
  co_return co_await database_.write(std::move(insert));
}

}  // namespace wick::api
