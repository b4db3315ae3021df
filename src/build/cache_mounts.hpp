// Who uses which cache mount: shared by everybody, one after the other (locked), or one each (private).
#pragma once

#include <map>
#include <memory>
#include <set>

#include "plan.hpp"
#include "wick/os/slots.hpp"

namespace wick::build {

class CacheMounts {
 public:
  explicit CacheMounts(Executor executor) : executor_(executor) {}

  /// The use of one folder; given back when dropped. Must not outlive the CacheMounts.
  class Use {
   public:
    Use(Use&& other) noexcept
        : owner_(std::exchange(other.owner_, nullptr)), folder_(other.folder_), lock_(std::move(other.lock_)) {}
    Use& operator=(Use&&) = delete;
    ~Use() {
      if (owner_) owner_->taken_.erase(folder_);
    }
    const Digest& folder() const { return folder_; }

   private:
    friend class CacheMounts;
    Use(CacheMounts* owner, Digest folder, std::optional<Slots::Slot> lock)
        : owner_(owner), folder_(folder), lock_(std::move(lock)) {}
    CacheMounts* owner_;  // of a private one
    Digest folder_;
    std::optional<Slots::Slot> lock_;
  };

  /// Waits for a locked one that another step has. Id, owner and mode are the identity, as with BuildKit.
  awaitable<Result<Use>> use(Mount mount);

 private:
  static constexpr std::size_t waiting_max = 256;
  Executor executor_;
  std::map<Digest, std::unique_ptr<Slots>> locks_;
  std::set<Digest> taken_;  // private ones in use
};

}  // namespace wick::build
