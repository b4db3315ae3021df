#include "app/image_collector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <map>
#include <set>

#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/build/build.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::hours look_every{1};
constexpr std::chrono::seconds settle_time{10};  // builds come in rows
// A blob that nothing reaches may belong to an image that is being put together or loaded.
constexpr std::chrono::seconds blob_age_min{3600};

class Flag {
 public:
  explicit Flag(bool& flag) : flag_(flag) { flag_ = true; }
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;
  ~Flag() { flag_ = false; }

 private:
  bool& flag_;
};

}  // namespace

struct ImageCollector::Stock {
  ReachedImages reached;
  std::vector<Digest> layers;               // unpacked at the runner
  std::map<Digest, build::KeptLayer> kept;  // by builds
  std::map<Digest, std::uint64_t> layer_bytes;
  std::uint64_t blob_bytes = 0;

  std::uint64_t bytes_of(const Digest& layer) const {
    if (const auto known = layer_bytes.find(layer); known != layer_bytes.end()) return known->second;
    const auto by_step = kept.find(layer);
    return by_step == kept.end() ? 0 : by_step->second.bytes;
  }
  WallTime used(const Digest& layer) const {
    const auto by_step = kept.find(layer);
    return by_step == kept.end() ? WallTime() : by_step->second.used;
  }
};

awaitable<Result<ImageCollector::Stock>> ImageCollector::take_stock() {
  Stock stock;
  doors_.builder.watch_use();
  auto look = [&store = doors_.store, registry = doors_.registry, needed = doors_.needed(), &stock]() -> Result<void> {
    auto reached = reached_images(store, needed);
    if (!reached) return fail(std::move(reached.error()));
    for (const auto& image : reached->images)
      for (std::size_t i = 0; i < image.manifest.layers.size(); ++i)
        stock.layer_bytes[image.config.diff_ids[i]] = image.manifest.layers[i].size;
    stock.reached = std::move(*reached);
    stock.blob_bytes = bytes_of_files_in(store.root() / "blobs/sha256") + (registry ? registry->bytes() : 0);
    return {};
  };
  auto looked = co_await doors_.workers.run(std::move(look));
  if (!looked) co_return fail(std::move(looked.error()));
  auto kept = co_await doors_.builder.kept_layers();
  for (auto& layer : kept) stock.kept.emplace(layer.layer, layer);
  auto layers = co_await doors_.runner.layers();
  if (!layers) co_return fail(std::move(layers.error()));
  stock.layers = std::move(*layers);
  co_return stock;
}

awaitable<Result<ImageSpace>> ImageCollector::space() {
  auto stock = co_await take_stock();
  if (!stock) co_return fail(std::move(stock.error()));
  ImageSpace space{.used = stock->blob_bytes};
  for (const auto& layer : stock->layers) space.used += stock->bytes_of(layer);
  std::error_code error;
  const auto disk = fs::space(doors_.store.root(), error);
  if (error) co_return fail(system_error("look at the disk of " + doors_.store.root().string(), error.value()));
  space.free = disk.available;
  space.file_system = disk.capacity;
  co_return space;
}

awaitable<Result<api::Images::Freed>> ImageCollector::free(std::uint64_t wanted) {
  if (busy_) co_return fail(Errc::conflict, "images are being collected already");
  if (use_.is_closed() || use_.is_saving())
    co_return fail(Errc::conflict, "images are being pruned or saved", "try again when that has ended");
  const Flag busy(busy_);
  auto stock = co_await take_stock();
  if (!stock) co_return fail(std::move(stock.error()));
  auto collect = [&store = doors_.store, manifests = stock->reached.manifests()] {
    return store.collect_garbage(manifests, blob_age_min);
  };
  auto collected = co_await doors_.workers.run(std::move(collect));
  if (!collected) co_return fail(std::move(collected.error()));
  api::Images::Freed freed{.blobs = collected->blobs, .bytes = collected->bytes};
  auto pushed = co_await collect_pushed(doors_);
  if (!pushed) co_return fail(std::move(pushed.error()));
  freed.blobs += pushed->blobs;
  freed.bytes += pushed->bytes;
  std::ranges::sort(stock->layers, {}, [&](const Digest& layer) { return stock->used(layer); });
  std::vector<Digest> gone;
  for (const auto& layer : stock->layers) {
    if (freed.bytes >= wanted || use_.is_closed() || use_.is_saving()) break;
    if (stock->reached.layers.contains(layer) || doors_.builder.uses(layer)) continue;
    auto bytes = co_await doors_.runner.remove_layer(layer);
    // Something stands on it that we do not know of, or it went by itself.
    if (!bytes && (bytes.error().code() == Errc::conflict || bytes.error().code() == Errc::not_found)) continue;
    if (!bytes) co_return fail(std::move(bytes.error()));
    gone.push_back(layer);
    ++freed.layers;
    freed.bytes += *bytes;
  }
  co_await doors_.builder.forget_layers(std::move(gone));
  if (freed.blobs + freed.layers > 0)
    log::info("images collected", {{"blobs", freed.blobs}, {"layers", freed.layers}, {"bytes", freed.bytes}});
  co_return freed;
}

awaitable<Result<api::Images::Freed>> ImageCollector::tidy() {
  auto now = co_await space();
  if (!now) co_return fail(std::move(now.error()));
  const auto over = bytes_over(*now, doors_.limits);
  api::Images::Freed freed;
  if (over > 0) {
    auto done = co_await free(over);
    if (!done) co_return done;
    freed = *done;
    if (freed.bytes < over)
      log::warn("images are over their limits, and what is left of them is in use",
                {{"bytes", now->used - std::min(now->used, freed.bytes)},
                 {"over", over - freed.bytes},
                 {"hint", "wick image ls, wick image rm; limits: --image-use-max, --image-free-min"}});
  }
  freed.used = now->used - std::min(now->used, freed.bytes);
  freed.use_max = doors_.limits.use_max.of(now->file_system);
  freed.free = now->free + freed.bytes;
  freed.free_min = doors_.limits.free_min.of(now->file_system);
  co_return freed;
}

awaitable<void> ImageCollector::run() {
  asio::steady_timer settled(doors_.executor);
  while (true) {
    settled.expires_after(settle_time);
    co_await settled.async_wait(use_awaitable);
    auto done = co_await tidy();
    if (!done && done.error().code() != Errc::conflict)
      log::warn("images not collected", {{"error", done.error().what()}});
    bell_.expires_after(look_every);
    auto rung = co_await bell_.async_wait(asio::as_tuple(use_awaitable));
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) throw boost::system::system_error(std::get<0>(rung));
  }
}

}  // namespace wick::app
