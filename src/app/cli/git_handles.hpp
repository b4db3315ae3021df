// What libgit2 hands out, given back with its owner.
#pragma once

#include <git2.h>

#include <memory>

namespace wick::app::cli {

template <class T, void (*release)(T*)>
struct GitRelease {
  void operator()(T* handle) const { release(handle); }
};
template <class T, void (*release)(T*)>
using GitHandle = std::unique_ptr<T, GitRelease<T, release>>;

/// libgit2 wants to be told that it is used, and how often.
struct GitLibrary {
  GitLibrary() { git_libgit2_init(); }
  GitLibrary(const GitLibrary&) = delete;
  ~GitLibrary() { git_libgit2_shutdown(); }
};

}  // namespace wick::app::cli
