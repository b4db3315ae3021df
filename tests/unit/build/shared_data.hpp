// The shared test data (Dockerfile vectors of BuildKit): found by WICK_SHARED or beside the checkout, skipped loudly
// where it is missing.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>

#include "wick/os/files.hpp"

namespace wick::build {

inline std::optional<std::filesystem::path> shared_data(const std::string& below) {
  namespace fs = std::filesystem;
  std::vector<fs::path> roots;
  if (const char* named = std::getenv("WICK_SHARED")) roots.emplace_back(named);
#ifdef WICK_SOURCE_ROOT
  roots.push_back(fs::path(WICK_SOURCE_ROOT).parent_path() / "shared");
#endif
  for (const auto& root : roots)
    if (fs::exists(root / below)) return root / below;
  std::cerr << "SKIPPED: no " << below << " (set WICK_SHARED to the folder with the shared test data)\n";
  return std::nullopt;
}

inline std::string text_of(const std::filesystem::path& path) { return read_file(path).value(); }

}  // namespace wick::build
