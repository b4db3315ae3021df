// What is sent to the registry: a path, ranges, and a manifest; the first line is the path, the second a field.
#include <cstdint>
#include <string>
#include <string_view>

#include "image/pushed_manifest.hpp"
#include "wick/base/text.hpp"
#include "wick/image/distribution.hpp"
#include "wick/image/reference.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace wick;
  using namespace wick::image;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto path = input.substr(0, input.find('\n'));
  const auto rest = path.size() == input.size() ? std::string_view() : input.substr(path.size() + 1);
  const auto field = rest.substr(0, rest.find('\n'));
  const auto body = field.size() == rest.size() ? std::string_view() : rest.substr(field.size() + 1);

  std::vector<std::string> segments;
  for (const auto part : split(path, '/')) segments.emplace_back(part);
  if (const auto request = parse_registry_path(segments)) {
    const auto& name = request->repository;
    if (request->kind != RegistryRequest::Kind::base && !is_repository_name(name)) __builtin_trap();
    if (name.starts_with('/') || name.contains("..") || name.contains("/_")) __builtin_trap();
    if (!request->tag.empty() && !is_tag(request->tag)) __builtin_trap();
    if (request->digest && BlobDigest::parse(request->digest->text()) != *request->digest) __builtin_trap();
  } else if (request.error().body().empty()) {
    __builtin_trap();
  }
  for (const std::uint64_t bytes : {0ull, 1ull, 1000ull, ~0ull})
    if (const auto range = parse_range(field, bytes); range && *range)
      if ((*range)->first > (*range)->last || (*range)->last >= bytes) __builtin_trap();
  if (const auto chunk = parse_chunk_range(field); chunk && chunk->size() == 0) __builtin_trap();
  if (const auto manifest = parse_pushed_manifest(body, field)) {
    if (manifest->is_index && (manifest->config || !manifest->layers.empty())) __builtin_trap();
    if (!manifest->is_index && !manifest->config) __builtin_trap();
  }
  return 0;
}
