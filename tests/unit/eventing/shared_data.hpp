// The shared CloudEvents vectors: found by WICK_SHARED or beside the checkout, skipped loudly where they are missing.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>

#include "wick/os/files.hpp"

namespace wick::eventing {

inline std::optional<std::string> shared_text(const std::string& below) {
  namespace fs = std::filesystem;
  std::vector<fs::path> roots;
  if (const char* named = std::getenv("WICK_SHARED")) roots.emplace_back(named);
#ifdef WICK_SOURCE_ROOT
  roots.push_back(fs::path(WICK_SOURCE_ROOT).parent_path() / "shared");
#endif
  for (const auto& root : roots)
    if (fs::exists(root / below)) return read_file(root / below).value();
  std::cerr << "SKIPPED: no " << below << " (set WICK_SHARED to the folder with the shared test data)\n";
  return std::nullopt;
}

}  // namespace wick::eventing
