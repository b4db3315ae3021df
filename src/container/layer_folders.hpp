// Layers on the runner's disk, one folder a DiffID, and the build steps that make new ones.
//
// <state>/layers/sha256/<hex>   published layers: never changed again
// <state>/layers/incoming-*     being unpacked; removed at start
// <state>/layers/fresh/<boot>/<hex>  marks a layer whose bytes may not be on disk yet
// <state>/steps/<id>/{upper,work}   a writable root; steps do not survive the runner, their builds start again
// <state>/caches/<hex>          cache mounts of RUN steps; over cache_bytes_max() those unused for longest go
//
// Publishing a layer waits for no disk: whoever names it does, once for all that it names (the content store syncs this
// file system before an image has its name). Its mark is made before its name, and both are metadata of one file
// system, so that a journal never keeps the name without the mark; marks go when a sync that began after them has
// ended. After a power cut (another boot id) a marked layer is packed again, which gives its digest where every byte of
// it came to the disk; else it is removed, and its step runs again. A killed runner loses nothing: the kernel has the
// bytes.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <vector>

#include "roots.hpp"
#include "wick/os/task_group.hpp"
#include "wick/os/worker.hpp"

namespace wick::container {

class LayerFolders {
 public:
  LayerFolders(Executor executor, Roots& roots, WorkerPool& worker, std::filesystem::path state);
  /// Makes the folders; removes what an earlier life left half-made. Reads what was published just before a power cut.
  awaitable<Result<void>> open();
  awaitable<void> stop();

  /// Where the folders of cache mounts are, one a digest.
  std::filesystem::path caches() const { return state_ / "caches"; }

  bool has(const Digest& layer) const;
  std::vector<Digest> list() const;
  /// Folders of `layers`. Errors: not_found names the missing one.
  Result<std::vector<std::filesystem::path>> folders_of(const std::vector<Digest>& layers) const;
  awaitable<Result<void>> import(Digest layer, Fd tar);
  /// The bytes it had on disk. The caller has asked that nothing runs on it.
  awaitable<Result<std::uint64_t>> remove(Digest layer);
  awaitable<Result<void>> pack(std::vector<Digest> layers, std::string subpath, std::string prefix, Fd out);
  awaitable<Result<void>> pack_layer(Digest layer, Fd out);
  awaitable<Result<UserIds>> resolve_user(std::vector<Digest> layers, std::string user);

  Result<void> open_step(const InstanceId& step, std::vector<Digest> layers);
  awaitable<Result<void>> unpack_into(InstanceId step, Fd tar, Runner::Clash clash);
  awaitable<Result<void>> pack_step(InstanceId step, Fd out, std::int64_t clamp_mtime);
  awaitable<Result<void>> publish_step(InstanceId step, Digest layer);
  awaitable<Result<void>> discard_step(InstanceId step);
  /// For an instance that runs on the step: nobody else may touch it until the hold is dropped. Errors: not_found,
  /// conflict.
  class Hold;
  Result<Hold> hold_step(const InstanceId& step);
  Result<MountedRoot> mount_step(const Hold& hold, Roots::Skeleton skeleton);
  /// True while a step stands on `layer`.
  bool is_below_step(const Digest& layer) const;

 private:
  struct Step {
    std::vector<Digest> layers;
    bool held = false;
  };
  std::filesystem::path folder_of(const Digest& layer) const;
  std::filesystem::path fresh() const { return state_ / "layers/fresh" / boot_; }
  std::filesystem::path folder_of(const InstanceId& step) const;
  awaitable<Result<void>> publish(std::filesystem::path folder, Digest layer);
  awaitable<Result<void>> check_unsynced();
  awaitable<Result<bool>> is_whole(Digest layer);
  void sync_soon();
  awaitable<void> sync();
  awaitable<void> remove_folder(std::filesystem::path folder);
  void trim_caches_soon();
  awaitable<void> trim_caches();

  Executor executor_;
  Roots& roots_;
  WorkerPool& worker_;
  std::filesystem::path state_;
  std::map<InstanceId, Step> steps_;
  std::string boot_;
  WorkerPool sync_worker_{1};  // a sync may take long, and nobody waits for it
  bool syncing_ = false;
  bool sync_again_ = false;
  bool trimming_ = false;
  std::chrono::steady_clock::time_point trim_due_{};
  TaskGroup tasks_;
};

/// One user of a step at a time. Must not outlive the LayerFolders.
class LayerFolders::Hold {
 public:
  Hold() = default;
  Hold(Hold&& other) noexcept : folders_(std::exchange(other.folders_, nullptr)), step_(other.step_) {}
  Hold& operator=(Hold&& other) noexcept {
    if (this == &other) return *this;
    reset();
    folders_ = std::exchange(other.folders_, nullptr);
    step_ = other.step_;
    return *this;
  }
  ~Hold() { reset(); }
  void reset();
  const InstanceId& step() const { return step_; }

 private:
  friend class LayerFolders;
  Hold(LayerFolders& folders, const InstanceId& step) : folders_(&folders), step_(step) {}
  LayerFolders* folders_ = nullptr;
  InstanceId step_;
};

}  // namespace wick::container
