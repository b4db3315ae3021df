#include "blob_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace wick::build {

namespace {

using Layer = Result<std::optional<image::Descriptor>>;

/// Reads until the last writer is gone; the verb's own error explains a short archive. False: it had no entries.
Result<bool> drain(Fd pipe, const std::function<Result<void>(std::string_view)>& take) {
  std::vector<char> chunk(1 << 20);
  bool empty = true;  // the end of a tar is zeros, and so is all of an empty one
  while (true) {
    const auto got = ::read(pipe.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read a layer", errno));
    if (got == 0) return !empty;
    const std::string_view bytes(chunk.data(), static_cast<std::size_t>(got));
    empty = empty && std::ranges::all_of(bytes, [](char c) { return c == 0; });
    if (auto taken = take(bytes); !taken) return fail(std::move(taken.error()));
  }
}

Layer store_layer(const image::ContentStore& store, Fd pipe) {
  auto blob = store.write_blob();
  if (!blob) return fail(std::move(blob.error()));
  auto drained = drain(std::move(pipe), [&](std::string_view bytes) { return blob->write(bytes); });
  if (!drained) return fail(std::move(drained.error()));
  if (!*drained) return std::nullopt;
  auto descriptor = blob->commit(std::string(image::media_type_layer));
  if (!descriptor) return fail(std::move(descriptor.error()));
  return *descriptor;
}

Layer hash_layer(Fd pipe) {
  Sha256 hash;
  std::uint64_t size = 0;
  auto drained = drain(std::move(pipe), [&](std::string_view bytes) -> Result<void> {
    hash.update(bytes);
    size += bytes.size();
    return {};
  });
  if (!drained) return fail(std::move(drained.error()));
  if (!*drained) return std::nullopt;
  return image::Descriptor{.media_type = std::string(image::media_type_layer), .digest = hash.finish(), .size = size};
}

awaitable<Layer> through_pipe(WorkerPool& workers, std::function<Layer(Fd)> read,
                              std::function<awaitable<Result<void>>(Fd)> write) {
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  ::fcntl(pipe->second.get(), F_SETPIPE_SZ, 1 << 20);
  auto work = [read, end = std::make_shared<Fd>(std::move(pipe->first))] { return read(std::move(*end)); };
  auto reading = workers.run(std::move(work));
  auto writing = write(std::move(pipe->second));
  auto done = co_await both(std::move(reading), std::move(writing));
  auto& [layer, written] = done;
  if (!written) co_return fail(std::move(written.error()));
  co_return std::move(layer);
}

}  // namespace

awaitable<Layer> layer_from(WorkerPool& workers, const image::ContentStore& store,
                            std::function<awaitable<Result<void>>(Fd)> write) {
  return through_pipe(workers, [store](Fd pipe) { return store_layer(store, std::move(pipe)); }, std::move(write));
}

awaitable<Layer> name_layer(WorkerPool& workers, std::function<awaitable<Result<void>>(Fd)> write) {
  return through_pipe(workers, hash_layer, std::move(write));
}

}  // namespace wick::build
