#include "cache_mounts.hpp"

#include <fmt/format.h>

namespace wick::build {

awaitable<Result<CacheMounts::Use>> CacheMounts::use(Mount mount) {
  const auto identity = fmt::format("{}:{} {:o} {} {}", mount.id.size(), mount.id, mount.mode, mount.uid, mount.gid);
  const auto folder = Digest::of(identity);
  if (mount.sharing == Mount::Sharing::shared) co_return Use(nullptr, folder, std::nullopt);
  if (mount.sharing == Mount::Sharing::locked) {
    auto& slots = locks_[folder];
    if (!slots) slots = std::make_unique<Slots>(executor_, 1, waiting_max);
    auto slot = co_await slots->acquire();
    if (!slot) co_return fail(std::move(slot.error()));
    co_return Use(nullptr, folder, std::move(*slot));
  }
  auto free = folder;
  for (int number = 1; taken_.contains(free); ++number) free = Digest::of(fmt::format("{} #{}", identity, number));
  taken_.insert(free);
  co_return Use(this, free, std::nullopt);
}

}  // namespace wick::build
