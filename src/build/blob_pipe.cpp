#include "blob_pipe.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

namespace wick::build {

namespace {

/// Reads until the last writer is gone; the verb's own error explains a short archive.
Result<std::optional<image::Descriptor>> drain(const image::ContentStore& store, Fd pipe) {
  auto blob = store.write_blob();
  if (!blob) return fail(std::move(blob.error()));
  std::vector<char> chunk(1 << 20);
  bool empty = true;  // the end of a tar is zeros, and so is all of an empty one
  while (true) {
    const auto got = ::read(pipe.get(), chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read a layer", errno));
    if (got == 0) break;
    const std::string_view bytes(chunk.data(), static_cast<std::size_t>(got));
    empty = empty && std::ranges::all_of(bytes, [](char c) { return c == 0; });
    if (auto written = blob->write(bytes); !written) return fail(std::move(written.error()));
  }
  if (empty) return std::nullopt;
  auto descriptor = blob->commit(std::string(image::media_type_layer));
  if (!descriptor) return fail(std::move(descriptor.error()));
  return *descriptor;
}

}  // namespace

awaitable<Result<std::optional<image::Descriptor>>> layer_from(WorkerPool& workers, const image::ContentStore& store,
                                                               std::function<awaitable<Result<void>>(Fd)> write) {
  auto pipe = make_pipe();
  if (!pipe) co_return fail(std::move(pipe.error()));
  ::fcntl(pipe->second.get(), F_SETPIPE_SZ, 1 << 20);
  auto read = [store, end = std::make_shared<Fd>(std::move(pipe->first))] { return drain(store, std::move(*end)); };
  auto reading = workers.run(std::move(read));
  auto writing = write(std::move(pipe->second));
  auto done = co_await both(std::move(reading), std::move(writing));
  auto& [layer, written] = done;
  if (!written) co_return fail(std::move(written.error()));
  co_return std::move(layer);
}

}  // namespace wick::build
