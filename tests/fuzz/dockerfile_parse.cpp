// Bytes of a stranger's Dockerfile: parsed, outlined, planned; words and patterns of it expanded and matched.
#include <cstddef>
#include <cstdint>

#include "build/dockerfile.hpp"
#include "build/patterns.hpp"
#include "build/plan.hpp"
#include "build/words.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::build;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto rules = IgnoreRules::compile(read_ignore_file(text));
  if (rules) (void)rules->ignores("a/b/c.txt");
  const auto file = parse_dockerfile(text);
  if (!file) return 0;
  (void)to_s_expressions(*file);
  const auto outlined = outline(*file, {});
  if (!outlined) return 0;
  std::map<std::string, wick::image::ImageConfig> images;
  for (const auto& name : outlined->images) images.try_emplace(name);
  const auto plan = make_plan(*file, *outlined, {}, images);
  if (!plan) return 0;
  for (const auto& stage : plan->stages)
    for (const auto& step : stage.steps) (void)step_key(step, {}, {});
  return 0;
}
