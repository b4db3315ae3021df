// Manifests as a client sends them: YAML to JSON, unknown fields, versions, defaults, validation. Nothing may crash;
// defaulting or pruning twice is doing it once.
#include <cstdint>
#include <cstdlib>

#include "wick/model/admission.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick::model;
  const auto documents =
      parse_yaml({reinterpret_cast<const char*>(data), size}, {.bytes_max = 64 << 10, .nodes_max = 5000});
  if (!documents) return 0;
  for (const auto& document : *documents) {
    const auto* object = document.if_object();
    if (!object) continue;
    const auto* kind = find_kind_by_name(text_at(*object, {"apiVersion"}), text_at(*object, {"kind"}));
    if (!kind) continue;
    auto once = *object;
    apply_defaults(*kind, once);
    auto twice = once;
    apply_defaults(*kind, twice);
    if (once != twice) std::abort();
    validate(*kind, once, nullptr);
    validate(*kind, once, &*object);
    auto known = *object;
    prune_unknown(*kind, known);
    if (!prune_unknown(*kind, known).empty()) std::abort();
    if (auto admitted = admit(*kind, known, {})) from_stored(*kind, *admitted);
  }
  return 0;
}
