// How a role that cannot start says so.
#pragma once

#include <fmt/format.h>

#include <cstdio>

#include "wick/base/error.hpp"

namespace wick::app {

/// The error and its hint on stderr; the exit code that goes with it.
inline int complain(const Error& error) {
  fmt::print(stderr, "error: {}  [{}]\n", error.what(), slug(error.code()));
  if (!error.hint().empty()) fmt::print(stderr, "  hint: {}\n", error.hint());
  return error.code() == Errc::invalid ? 2 : 1;
}

}  // namespace wick::app
