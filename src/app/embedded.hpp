// Files that the one binary carries (made by src/app/embed.py at build time).
#pragma once

#include <span>
#include <string_view>

namespace wick::app {

struct EmbeddedFile {
  std::string_view name;
  std::string_view bytes;
};

/// builders/*.yaml as shipped.
std::span<const EmbeddedFile> embedded_builders();

}  // namespace wick::app
