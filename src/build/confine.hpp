// Giving up rights before meeting bytes from outside.
#pragma once

#include <cstdint>
#include <filesystem>

#include "wick/base/error.hpp"

namespace wick::build {

enum class Children { allowed, none };

struct Confinement {
  std::filesystem::path writable;  // the only folder that can be written
  std::filesystem::path readable;  // one more that can be read; empty: none
  std::uint64_t file_bytes_max = 2ull << 30;
  std::uint64_t memory_bytes_max = 4ull << 30;
  std::uint32_t cpu_seconds_max = 600;
  Children children = Children::allowed;  // none: when the process has ended, nothing it started goes on
};

/// No new privileges, no capabilities, rlimits, and with Landlock (Linux 5.13) only system libraries, certificates and
/// resolver settings to read. A kernel without Landlock leaves the rest in force.
Result<void> confine(const Confinement& confinement);

}  // namespace wick::build
