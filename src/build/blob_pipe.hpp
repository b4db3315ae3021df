// From a verb of the runner that writes to a descriptor into the content store, hashed on the way.
#pragma once

#include <functional>
#include <optional>

#include "wick/image/content_store.hpp"
#include "wick/os/child_process.hpp"
#include "wick/os/together.hpp"
#include "wick/os/worker.hpp"

namespace wick::build {

/// What `write` writes to its descriptor, as a layer blob; nullopt for an archive without entries.
awaitable<Result<std::optional<image::Descriptor>>> layer_from(WorkerPool& workers, const image::ContentStore& store,
                                                               std::function<awaitable<Result<void>>(Fd)> write);

/// The same, but only what it would be called: nothing is stored.
awaitable<Result<std::optional<image::Descriptor>>> name_layer(WorkerPool& workers,
                                                               std::function<awaitable<Result<void>>(Fd)> write);

}  // namespace wick::build
