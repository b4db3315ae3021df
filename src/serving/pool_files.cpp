// Files of Secrets and ConfigMaps in instances that run: they follow their values, as the kubelet has it. What an
// environment took from them stays until the next instance.
#include <algorithm>

#include "wick/base/log.hpp"
#include "wick/serving/revision_pool.hpp"

namespace wick::serving {

namespace {

constexpr int attempts_max = 5;  // then with the next change, or never: the instance is ending
constexpr Duration again_after = 1s;

bool has_files(const container::InstanceSpec& spec) {
  return std::ranges::any_of(spec.volumes, [](const container::Volume& volume) { return volume.bytes_max == 0; });
}

}  // namespace

/// An adopted one may have been left behind by the daemon before this one.
bool RevisionPool::has_old_files(const PooledInstance& member) const {
  if (!member.instance || member.state == PooledInstance::State::stopping || member.files == spec_) return false;
  return member.files ? member.files->instance.volumes != spec_->instance.volumes : has_files(spec_->instance);
}

void RevisionPool::refresh_files() {
  for (const auto& member : members_)
    if (has_old_files(*member) && !std::exchange(member->refreshing, true))
      tasks_.spawn("files of " + std::string(member->id.text()), refresh_files(member));
}

awaitable<void> RevisionPool::refresh_files(Member member) {
  for (int attempt = 0; has_old_files(*member) && attempt < attempts_max;) {
    const auto wanted = spec_;
    auto updated = co_await member->instance->update_volumes(wanted->instance.volumes, wanted->instance.volume_mounts);
    if (updated) {
      member->files = wanted;
      continue;
    }
    log::warn("files of an instance are not updated",
              {{"revision", wanted->key.text()}, {"instance", member->id.text()}, {"because", updated.error().what()}});
    co_await clock_.sleep(again_after * (1 << attempt++));
  }
  member->refreshing = false;
}

}  // namespace wick::serving
