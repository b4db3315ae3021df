// Bytes of a stranger's package.json, pyproject.toml, func.yaml: parsed, walked, and read as version ranges.
#include <cstddef>
#include <cstdint>

#include "build/parsed_file.hpp"
#include "build/version_range.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::build;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto format = static_cast<FileFormat>(data[0] % 3);
  (void)range_allows(text, "18.20.4");
  const auto parsed = parse_file(format, text, "file");
  if (!parsed) return 0;
  for (const auto* path : {"", "a", "a.b.0", "dependencies", "tool.poetry.dependencies.python"})
    if (const auto* value = value_at(*parsed, path))
      for (const auto& each : texts_of(*value)) (void)range_allows(each, text_of(*value));
  return 0;
}
