#include "layer_folders.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>

#include "cache_folders.hpp"
#include "protocol.hpp"
#include "sandbox.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/files.hpp"
#include "wick/os/together.hpp"

namespace wick::container {

namespace fs = std::filesystem;

namespace {

constexpr auto sync_delay = 2000ms;
constexpr auto trim_pause = 10min;     // measuring caches reads every folder of them
constexpr std::size_t steps_max = 64;  // builds that run at once, with room; each may fill the disk

/// Everything below `folder` on disk, before its name promises that it is whole.
Result<void> sync_file_system_of(const fs::path& folder) {
  auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return fail(std::move(fd.error()));
  if (::syncfs(fd->get()) != 0) return fail(system_error("syncfs " + folder.string(), errno));
  return {};
}

}  // namespace

LayerFolders::LayerFolders(Executor executor, Roots& roots, WorkerPool& worker, fs::path state)
    : executor_(executor), roots_(roots), worker_(worker), state_(std::move(state)), tasks_(executor) {}

awaitable<void> LayerFolders::stop() { return tasks_.stop(); }

awaitable<Result<void>> LayerFolders::open() {
  for (const char* folder : {"layers/sha256", "layers/fresh", "caches"})
    if (auto made = make_folders(state_ / folder, 0700); !made) co_return made;
  auto boot = read_file("/proc/sys/kernel/random/boot_id", 64);
  if (!boot) co_return fail(std::move(boot.error()));
  boot_ = trim(*boot);
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_ / "layers", error))
    if (entry.path().filename().string().starts_with("incoming-"))
      if (auto removed = remove_tree(entry.path()); !removed) co_return removed;
  if (auto removed = remove_tree(state_ / "steps"); !removed) co_return removed;
  if (auto made = make_folders(state_ / "steps", 0700); !made) co_return made;
  auto checked = co_await check_unsynced();
  if (!checked) co_return checked;
  if (!fs::is_empty(fresh(), error)) sync_soon();
  trim_caches_soon();
  co_return Result<void>{};
}

/// Marks of lives before this boot: kept or removed, every one of their layers is told, and the marks go.
awaitable<Result<void>> LayerFolders::check_unsynced() {
  if (auto made = make_folders(fresh(), 0700); !made) co_return made;
  std::vector<fs::path> lives;
  std::error_code error;
  for (const auto& life : fs::directory_iterator(state_ / "layers/fresh", error))
    if (life.path().filename() != boot_) lives.push_back(life.path());
  for (const auto& life : lives) {
    std::vector<Digest> marked;
    for (const auto& mark : fs::directory_iterator(life, error))
      if (auto layer = Digest::parse("sha256:" + mark.path().filename().string())) marked.push_back(*layer);
    for (const auto& layer : marked) {
      if (!has(layer)) continue;
      auto whole = co_await is_whole(layer);
      if (!whole) co_return fail(std::move(whole.error()));
      if (*whole) continue;
      log::warn("layer dropped: the machine stopped before it was on disk", {{"layer", layer.text()}});
      if (auto removed = remove_tree(folder_of(layer)); !removed) co_return removed;
    }
    if (auto removed = remove_tree(life); !removed) co_return removed;
  }
  co_return Result<void>{};
}

/// Packs it and compares the digest. An archive of somebody else's that was unpacked need not come out byte for byte,
/// so that it counts as torn: its blob is in the content store, and is unpacked again.
awaitable<Result<bool>> LayerFolders::is_whole(Digest layer) {
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  auto hash = [from = std::make_shared<Fd>(std::move(pipe->first))]() -> Result<Digest> {
    Sha256 hash;
    std::string chunk(1 << 20, '\0');
    while (true) {
      const auto got = ::read(from->get(), chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return fail(system_error("read a layer", errno));
      if (got == 0) return hash.finish();
      hash.update(std::string_view(chunk).substr(0, static_cast<std::size_t>(got)));
    }
  };
  auto hashing = worker_.run(std::move(hash));
  auto packing = pack_layer(layer, std::move(pipe->second));
  auto done = co_await both(std::move(hashing), std::move(packing));
  auto& [digest, packed] = done;
  if (!digest) co_return fail(std::move(digest.error()));
  co_return packed && *digest == layer;
}

fs::path LayerFolders::folder_of(const Digest& layer) const { return state_ / "layers/sha256" / layer.hex(); }
fs::path LayerFolders::folder_of(const InstanceId& step) const { return state_ / "steps" / step.text(); }

bool LayerFolders::has(const Digest& layer) const {
  std::error_code error;
  return fs::is_directory(folder_of(layer), error);
}

std::vector<Digest> LayerFolders::list() const {
  std::vector<Digest> layers;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_ / "layers/sha256", error))
    if (auto digest = Digest::parse("sha256:" + entry.path().filename().string())) layers.push_back(*digest);
  return layers;
}

Result<std::vector<fs::path>> LayerFolders::folders_of(const std::vector<Digest>& layers) const {
  std::vector<fs::path> folders;
  for (const auto& layer : layers) {
    if (!has(layer)) return fail(Errc::not_found, fmt::format("layer {} is not unpacked here", layer.text()));
    folders.push_back(folder_of(layer));
  }
  return folders;
}

awaitable<void> LayerFolders::remove_folder(fs::path folder) {
  auto work = [folder] { return remove_tree(folder); };
  auto removed = co_await worker_.run(work);
  if (!removed) log::warn("folder left behind", {{"error", removed.error().what()}});
}

awaitable<Result<void>> LayerFolders::publish(fs::path folder, Digest layer) {
  const fs::path target = folder_of(layer);
  if (auto marked = write_file(fresh() / layer.hex(), ""); !marked) co_return marked;
  if (::renameat2(AT_FDCWD, folder.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) != 0 && errno != EEXIST)
    co_return fail(system_error("publish layer " + layer.text(), errno));
  sync_soon();  // EEXIST: somebody else was first; same digest, same content
  co_return Result<void>{};
}

void LayerFolders::sync_soon() {
  if (std::exchange(sync_again_, true) || syncing_) return;
  syncing_ = true;
  tasks_.spawn("sync layers", sync());
}

/// Until nothing was published meanwhile. Whoever names an image syncs just then: we come after it, for the marks.
awaitable<void> LayerFolders::sync() {
  asio::steady_timer pause(executor_);
  while (std::exchange(sync_again_, false)) {
    pause.expires_after(sync_delay);
    co_await pause.async_wait(use_awaitable);
    sync_again_ = false;
    auto work = [folder = state_ / "layers", marks = fresh()]() -> Result<void> {
      std::vector<fs::path> before;
      std::error_code error;
      for (const auto& mark : fs::directory_iterator(marks, error)) before.push_back(mark.path());
      if (auto synced = sync_file_system_of(folder); !synced) return synced;
      for (const auto& mark : before) fs::remove(mark, error);
      return {};
    };
    auto synced = co_await sync_worker_.run(work);
    if (!synced) log::warn("layers not synced", {{"error", synced.error().what()}});
  }
  syncing_ = false;
}

awaitable<Result<void>> LayerFolders::import(Digest layer, Fd tar) {
  if (has(layer)) co_return Result<void>{};
  const fs::path incoming = state_ / "layers" / ("incoming-" + random_hex(8));
  if (auto made = make_store_folder(incoming); !made) co_return made;
  HelperCall call{.name = "unpack-layer", .root = incoming, .arguments = {}, .data = tar.get()};
  auto unpacked = co_await call_helper(executor_, roots_, std::move(call));
  Result<void> result;
  if (!unpacked)
    result = fail(std::move(unpacked.error()).within("unpack layer " + layer.text()));
  else
    result = co_await publish(incoming, layer);
  co_await remove_folder(incoming);
  co_return result;
}

awaitable<Result<std::uint64_t>> LayerFolders::remove(Digest layer) {
  if (!has(layer)) co_return fail(Errc::not_found, fmt::format("layer {} is not unpacked here", layer.text()));
  const fs::path doomed = state_ / "layers" / ("incoming-" + random_hex(8));
  if (::rename(folder_of(layer).c_str(), doomed.c_str()) != 0)
    co_return fail(system_error("remove layer " + layer.text(), errno));
  auto measure = [doomed] { return disk_bytes_of(doomed); };
  const auto bytes = co_await worker_.run(measure);
  co_await remove_folder(doomed);
  co_return bytes;
}

awaitable<Result<void>> LayerFolders::pack(std::vector<Digest> layers, std::string subpath, std::string prefix,
                                           Fd out) {
  auto folders = folders_of(layers);
  if (!folders) co_return fail(std::move(folders.error()));
  auto root = roots_.mount_read_only(*folders, store_id_range, Roots::Skeleton::none);
  if (!root) co_return fail(std::move(root.error()));
  HelperCall call{
      .name = "pack", .root = root->path(), .arguments = {subpath, prefix, "root", "-1"}, .data = out.get()};
  auto packed = co_await call_helper(executor_, roots_, std::move(call));
  if (!packed) co_return fail(std::move(packed.error()));
  co_return Result<void>{};
}

awaitable<Result<void>> LayerFolders::pack_layer(Digest layer, Fd out) {
  if (!has(layer)) co_return fail(Errc::not_found, fmt::format("layer {} is not unpacked here", layer.text()));
  HelperCall call{.name = "pack", .root = folder_of(layer), .arguments = {"", "", "upper", "-1"}, .data = out.get()};
  auto packed = co_await call_helper(executor_, roots_, std::move(call));
  if (!packed) co_return fail(std::move(packed.error()));
  co_return Result<void>{};
}

awaitable<Result<UserIds>> LayerFolders::resolve_user(std::vector<Digest> layers, std::string user) {
  auto folders = folders_of(layers);
  if (!folders) co_return fail(std::move(folders.error()));
  auto root = roots_.mount_read_only(*folders, store_id_range, Roots::Skeleton::none);
  if (!root) co_return fail(std::move(root.error()));
  HelperCall call{.name = "passwd", .root = root->path(), .arguments = {user}, .limit = 30s};
  auto found = co_await call_helper(executor_, roots_, std::move(call));
  if (!found) co_return fail(std::move(found.error()));
  std::vector<std::uint32_t> numbers;
  for (const auto part : split(*found, ' ')) {
    const auto number = parse_unsigned(part);
    if (!number || *number >= id_range_size) co_return fail(Errc::internal, "the passwd helper gave no ids");
    numbers.push_back(static_cast<std::uint32_t>(*number));
  }
  if (numbers.size() < 2 || numbers.size() > 2 + protocol::groups_max)
    co_return fail(Errc::internal, "the passwd helper gave no ids");
  UserIds ids{.uid = numbers[0], .gid = numbers[1], .groups = {numbers.begin() + 2, numbers.end()}};
  co_return ids;
}

// --- steps

void LayerFolders::Hold::reset() {
  if (folders_ == nullptr) return;
  if (auto step = folders_->steps_.find(step_); step != folders_->steps_.end()) step->second.held = false;
  folders_ = nullptr;
}

Result<LayerFolders::Hold> LayerFolders::hold_step(const InstanceId& step) {
  auto found = steps_.find(step);
  if (found == steps_.end()) return fail(Errc::not_found, fmt::format("step {} is not open", step.text()));
  if (found->second.held) return fail(Errc::conflict, fmt::format("step {} is in use", step.text()));
  found->second.held = true;
  return Hold(*this, step);
}

Result<MountedRoot> LayerFolders::mount_step(const Hold& hold, Roots::Skeleton skeleton) {
  auto folders = folders_of(steps_.at(hold.step()).layers);
  if (!folders) return fail(std::move(folders.error()));
  const auto folder = folder_of(hold.step());
  return roots_.mount_writable(*folders, folder / "upper", folder / "work", skeleton);
}

bool LayerFolders::is_below_step(const Digest& layer) const {
  return std::ranges::any_of(steps_, [&](const auto& step) {
    return std::ranges::find(step.second.layers, layer) != step.second.layers.end();
  });
}

Result<void> LayerFolders::open_step(const InstanceId& step, std::vector<Digest> layers) {
  if (steps_.contains(step)) return fail(Errc::already_exists, fmt::format("step {} is open", step.text()));
  if (steps_.size() >= steps_max)
    return fail(Errc::overloaded, fmt::format("{} steps are open, more are not allowed", steps_max));
  if (auto folders = folders_of(layers); !folders) return fail(std::move(folders.error()));
  const auto folder = folder_of(step);
  if (::mkdir(folder.c_str(), 0700) != 0) return fail(system_error("make folder " + folder.string(), errno));
  if (auto made = make_store_folder(folder / "upper"); !made) return made;
  steps_.emplace(step, Step{.layers = std::move(layers)});
  return {};
}

awaitable<Result<void>> LayerFolders::unpack_into(InstanceId step, Fd tar, Runner::Clash clash) {
  auto hold = hold_step(step);
  if (!hold) co_return fail(std::move(hold.error()));
  auto root = mount_step(*hold, Roots::Skeleton::none);
  if (!root) co_return fail(std::move(root.error()));
  const char* name = clash == Runner::Clash::replace ? "unpack-over" : "unpack-files";
  HelperCall call{.name = name, .root = root->path(), .arguments = {}, .data = tar.get()};
  auto unpacked = co_await call_helper(executor_, roots_, std::move(call));
  if (!unpacked) co_return fail(std::move(unpacked.error()));
  co_return Result<void>{};
}

awaitable<Result<void>> LayerFolders::pack_step(InstanceId step, Fd out, std::int64_t clamp_mtime) {
  auto hold = hold_step(step);
  if (!hold) co_return fail(std::move(hold.error()));
  HelperCall call{.name = "pack",
                  .root = folder_of(step) / "upper",
                  .arguments = {"", "", "upper", std::to_string(clamp_mtime)},
                  .data = out.get()};
  auto packed = co_await call_helper(executor_, roots_, std::move(call));
  if (!packed) co_return fail(std::move(packed.error()));
  co_return Result<void>{};
}

awaitable<Result<void>> LayerFolders::publish_step(InstanceId step, Digest layer) {
  auto hold = hold_step(step);
  if (!hold) co_return fail(std::move(hold.error()));
  if (!has(layer)) {
    const fs::path upper = folder_of(step) / "upper";
    auto published = co_await publish(upper, layer);
    if (!published) co_return published;
  }
  steps_.erase(step);
  co_await remove_folder(folder_of(step));
  trim_caches_soon();
  co_return Result<void>{};
}

/// While no step is open: what a step has mounted is not taken from under it.
void LayerFolders::trim_caches_soon() {
  if (trimming_ || !steps_.empty() || std::chrono::steady_clock::now() < trim_due_) return;
  trimming_ = true;
  tasks_.spawn("trim caches", trim_caches());
}

awaitable<void> LayerFolders::trim_caches() {
  auto look = [folder = caches()] { return superfluous(measured_caches(folder), cache_bytes_max(folder)); };
  const auto superfluous_ones = co_await worker_.run(look);
  trimming_ = false;
  if (!steps_.empty()) co_return;  // one was opened meanwhile: after it
  trim_due_ = std::chrono::steady_clock::now() + trim_pause;
  std::vector<fs::path> doomed;
  for (const auto& cache : superfluous_ones) {
    doomed.push_back(state_ / "layers" / ("incoming-" + random_hex(8)));
    if (::rename(cache.c_str(), doomed.back().c_str()) != 0) doomed.pop_back();
  }
  if (!doomed.empty()) log::info("caches of build steps given up", {{"caches", doomed.size()}});
  for (const auto& folder : doomed) co_await remove_folder(folder);
}

awaitable<Result<void>> LayerFolders::discard_step(InstanceId step) {
  if (!steps_.contains(step)) co_return Result<void>{};
  auto hold = hold_step(step);
  if (!hold) co_return fail(std::move(hold.error()));
  steps_.erase(step);
  co_await remove_folder(folder_of(step));
  trim_caches_soon();
  co_return Result<void>{};
}

}  // namespace wick::container
