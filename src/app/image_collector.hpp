// Keeps images within their limits (image_space.hpp), beside builds, loads and instances: what no name, no revision, no
// instance and no running build needs goes, what was used longest ago first.
//
//   idle → settling   (ring(): a build or a load has ended, or an hour has passed)
//   settling → idle   (settle_time later: looked, and collected where something was over)
//
// 1. What a name or revision reaches is looked up after the builder watches which layers builds use. So a layer is
//    reachable then, or its build has run since, and the builder says so.
// 2. A layer is asked about and its removal is sent in one turn of the loop (build/layers_in_use.hpp). The runner
//    refuses what an instance or an open step stands on.
// 3. Killed at any point, nothing is half gone: the runner renames a layer out of sight before it deletes it, and a
//    step whose layer is not there runs again.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include "app/image_space.hpp"
#include "app/images.hpp"

namespace wick::app {

class ImageCollector {
 public:
  /// Both outlive it.
  ImageCollector(const ImageDoors& doors, ImageUse& use) : doors_(doors), use_(use), bell_(doors.executor) {}

  /// What is used, by the sizes that manifests and steps tell; reads every manifest that has a name.
  awaitable<Result<ImageSpace>> space();
  /// Frees at least `wanted` bytes where so much can go. Errors: conflict while images are pruned, saved or collected.
  awaitable<Result<api::Images::Freed>> free(std::uint64_t wanted);
  /// Frees what is over the limits.
  awaitable<Result<api::Images::Freed>> tidy();
  /// Until it is cancelled: tidies after ring() and once an hour.
  awaitable<void> run();
  void ring() { bell_.cancel(); }

 private:
  struct Stock;
  awaitable<Result<Stock>> take_stock();

  const ImageDoors& doors_;
  ImageUse& use_;
  asio::steady_timer bell_;
  bool busy_ = false;
};

}  // namespace wick::app
