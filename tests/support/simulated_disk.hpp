// A disk in memory behind an SQLite VFS: what was written is only safe once it was synced. At any moment it can say
// what a power cut would leave: of each unsynced write all, nothing, or some of its sectors.
//
// Registered as SQLite's default VFS while it lives, so that code under test needs no hook. The shared memory of the
// WAL index is the process's own and never survives.
#pragma once

#include <sqlite3.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace wick {

class SimulatedDisk {
 public:
  using Image = std::map<std::string, std::string>;  // content by path

  explicit SimulatedDisk(Image image = {}) : base_(sqlite3_vfs_find("unix")) {
    static int count = 0;
    name_ = "simulated-" + std::to_string(++count);
    for (auto& [path, content] : image) files_[path] = {.visible = content, .durable = content};
    vfs_ = *base_;
    vfs_.szOsFile = sizeof(Handle);
    vfs_.zName = name_.c_str();
    vfs_.pAppData = this;
    vfs_.xOpen = open;
    vfs_.xDelete = remove;
    vfs_.xAccess = access;
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~SimulatedDisk() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(base_, 1);
  }
  SimulatedDisk(const SimulatedDisk&) = delete;

  /// Called before each sync takes effect, on the thread that syncs.
  std::function<void()> before_sync;
  bool ignores_syncs = false;    // as with synchronous=OFF: nothing is ever safe
  int syncs_until_failure = -1;  // then every sync fails with EIO

  /// What is there after a power cut now.
  Image after_power_cut(std::minstd_rand& random) {
    const std::lock_guard guard(mutex_);
    Image image;
    for (auto& [path, file] : files_) {
      std::string content = file.durable;
      for (const Write& write : file.unsynced)
        if (const auto chance = random() % 3; chance != 0) apply(content, write, chance == 1 ? &random : nullptr);
      image[path] = std::move(content);
    }
    return image;
  }
  Image now() {
    const std::lock_guard guard(mutex_);
    Image image;
    for (auto& [path, file] : files_) image[path] = file.visible;
    return image;
  }

 private:
  static constexpr std::size_t sector_bytes = 512;
  struct Write {
    std::size_t offset;
    std::string bytes;
    bool truncates = false;  // to `offset`
  };
  struct File {
    std::string visible, durable;
    std::vector<Write> unsynced;
    std::vector<std::unique_ptr<std::string>> shared;  // regions of the WAL index
    int shared_locks[SQLITE_SHM_NLOCK] = {};           // readers, or -1
    int lock = 0;                                      // highest level held by anyone but shared
  };
  struct Handle {
    sqlite3_file base;
    SimulatedDisk* disk;
    File* file;
    std::string* path;  // of what goes when it is closed
    int shared_held[SQLITE_SHM_NLOCK];
  };

  /// Torn: only some sectors arrive.
  static void apply(std::string& content, const Write& write, std::minstd_rand* torn) {
    if (write.truncates) {
      content.resize(std::min(content.size(), write.offset));
      return;
    }
    for (std::size_t at = 0; at < write.bytes.size(); at += sector_bytes) {
      if (torn && (*torn)() % 2 == 0) continue;
      const std::size_t count = std::min(sector_bytes, write.bytes.size() - at);
      if (content.size() < write.offset + at + count) content.resize(write.offset + at + count);
      content.replace(write.offset + at, count, write.bytes, at, count);
    }
  }

  static SimulatedDisk& disk_of(sqlite3_vfs* vfs) { return *static_cast<SimulatedDisk*>(vfs->pAppData); }
  static Handle& handle_of(sqlite3_file* file) { return *reinterpret_cast<Handle*>(file); }

  static int open(sqlite3_vfs* vfs, const char* path, sqlite3_file* raw, int flags, int* out_flags) {
    auto& disk = disk_of(vfs);
    const std::lock_guard guard(disk.mutex_);
    Handle& handle = handle_of(raw);
    std::memset(raw, 0, sizeof(Handle));
    const std::string name = path ? path : "temporary-" + std::to_string(++disk.temporary_);
    if (!disk.files_.contains(name) && !(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
    handle.disk = &disk;
    handle.file = &disk.files_[name];
    handle.base.pMethods = &methods();
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
  }
  static int remove(sqlite3_vfs* vfs, const char* path, int) {
    auto& disk = disk_of(vfs);
    const std::lock_guard guard(disk.mutex_);
    // Handles point into the map: the file stays, without content.
    if (const auto found = disk.files_.find(path); found != disk.files_.end()) {
      found->second.visible.clear();
      found->second.unsynced.push_back({.offset = 0, .bytes = {}, .truncates = true});
      // A file system's journal keeps a deletion (and the store syncs the folder after the only one that matters).
      if (!disk.ignores_syncs) {
        found->second.durable.clear();
        found->second.unsynced.clear();
      }
    }
    return SQLITE_OK;
  }
  static int access(sqlite3_vfs* vfs, const char* path, int, int* result) {
    auto& disk = disk_of(vfs);
    const std::lock_guard guard(disk.mutex_);
    const auto found = disk.files_.find(path);
    *result = found != disk.files_.end() && !found->second.visible.empty();
    return SQLITE_OK;
  }

  static const sqlite3_io_methods& methods() {
    static const sqlite3_io_methods table = {
        .iVersion = 2,
        .xClose = [](sqlite3_file*) { return SQLITE_OK; },
        .xRead = read,
        .xWrite = write,
        .xTruncate = truncate,
        .xSync = sync,
        .xFileSize = size,
        .xLock = [](sqlite3_file*, int) { return SQLITE_OK; },  // one process, one writer: WAL needs no more
        .xUnlock = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xCheckReservedLock = [](sqlite3_file*, int* out) { return *out = 0, SQLITE_OK; },
        .xFileControl = [](sqlite3_file*, int, void*) { return SQLITE_NOTFOUND; },
        .xSectorSize = [](sqlite3_file*) { return static_cast<int>(sector_bytes); },
        .xDeviceCharacteristics = [](sqlite3_file*) { return 0; },
        .xShmMap = map_shared,
        .xShmLock = lock_shared,
        .xShmBarrier = [](sqlite3_file* file) { const std::lock_guard guard(handle_of(file).disk->mutex_); },
        .xShmUnmap = [](sqlite3_file*, int) { return SQLITE_OK; },
        .xFetch = nullptr,
        .xUnfetch = nullptr,
    };
    return table;
  }

  static int read(sqlite3_file* raw, void* into, int count, sqlite3_int64 offset) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    const std::string& content = handle.file->visible;
    const auto begin = std::min(content.size(), static_cast<std::size_t>(offset));
    const auto have = std::min(content.size() - begin, static_cast<std::size_t>(count));
    std::memset(into, 0, static_cast<std::size_t>(count));
    std::memcpy(into, content.data() + begin, have);
    return have == static_cast<std::size_t>(count) ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  }
  static int write(sqlite3_file* raw, const void* from, int count, sqlite3_int64 offset) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    Write write{static_cast<std::size_t>(offset),
                std::string(static_cast<const char*>(from), static_cast<std::size_t>(count))};
    apply(handle.file->visible, write, nullptr);
    handle.file->unsynced.push_back(std::move(write));
    return SQLITE_OK;
  }
  static int truncate(sqlite3_file* raw, sqlite3_int64 to) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    handle.file->visible.resize(static_cast<std::size_t>(to));
    handle.file->unsynced.push_back({.offset = static_cast<std::size_t>(to), .bytes = {}, .truncates = true});
    return SQLITE_OK;
  }
  static int sync(sqlite3_file* raw, int) {
    Handle& handle = handle_of(raw);
    if (handle.disk->before_sync) handle.disk->before_sync();
    const std::lock_guard guard(handle.disk->mutex_);
    int& left = handle.disk->syncs_until_failure;
    if (left == 0) return SQLITE_IOERR_FSYNC;
    if (left > 0) --left;
    if (handle.disk->ignores_syncs) return SQLITE_OK;
    for (const Write& write : handle.file->unsynced) apply(handle.file->durable, write, nullptr);
    handle.file->unsynced.clear();
    return SQLITE_OK;
  }
  static int size(sqlite3_file* raw, sqlite3_int64* out) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    *out = static_cast<sqlite3_int64>(handle.file->visible.size());
    return SQLITE_OK;
  }

  static int map_shared(sqlite3_file* raw, int region, int bytes, int extend, void volatile** out) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    auto& regions = handle.file->shared;
    *out = nullptr;
    if (static_cast<std::size_t>(region) >= regions.size() && !extend) return SQLITE_OK;
    while (regions.size() <= static_cast<std::size_t>(region))
      regions.push_back(std::make_unique<std::string>(static_cast<std::size_t>(bytes), '\0'));
    *out = regions[static_cast<std::size_t>(region)]->data();
    return SQLITE_OK;
  }
  static int lock_shared(sqlite3_file* raw, int first, int count, int flags) {
    Handle& handle = handle_of(raw);
    const std::lock_guard guard(handle.disk->mutex_);
    for (int i = first; i < first + count; ++i) {
      int& held = handle.file->shared_locks[i];
      const int mine = handle.shared_held[i];
      if (flags & SQLITE_SHM_UNLOCK) continue;
      if ((flags & SQLITE_SHM_EXCLUSIVE) && held != 0 && held != mine) return SQLITE_BUSY;
      if ((flags & SQLITE_SHM_SHARED) && held < 0 && mine >= 0) return SQLITE_BUSY;
    }
    for (int i = first; i < first + count; ++i) {
      int& held = handle.file->shared_locks[i];
      int& mine = handle.shared_held[i];
      if (flags & SQLITE_SHM_UNLOCK) {
        held = mine < 0 ? 0 : held - mine;
        mine = 0;
      } else if (flags & SQLITE_SHM_EXCLUSIVE) {
        held = mine = -1;
      } else if (mine == 0) {
        ++held;
        mine = 1;
      }
    }
    return SQLITE_OK;
  }

  sqlite3_vfs* base_;
  sqlite3_vfs vfs_{};
  std::string name_;
  std::mutex mutex_;
  std::map<std::string, File> files_;
  int temporary_ = 0;
};

}  // namespace wick
