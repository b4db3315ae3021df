#include "step_cache.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "wick/base/text.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {
constexpr std::size_t file_bytes_max = 4096;
}

Result<StepCache> StepCache::open(std::filesystem::path folder) {
  if (auto made = make_folders(folder, 0700); !made) return fail(std::move(made.error()));
  return StepCache(std::move(folder));
}

/// "none" or "sha256:… SIZE", then a newline, which shows that the file is whole.
std::optional<StepResult> StepCache::read(const Digest& key) const {
  const auto text = read_file(folder_ / key.hex(), file_bytes_max);
  if (!text || !text->ends_with('\n')) return std::nullopt;
  const auto line = trim(*text);
  if (line == "none") return StepResult{};
  const auto fields = split(line, ' ');
  if (fields.size() != 2) return std::nullopt;
  const auto digest = Digest::parse(fields[0]);
  const auto size = parse_unsigned(fields[1]);
  if (!digest || !size) return std::nullopt;
  return StepResult{
      image::Descriptor{.media_type = std::string(image::media_type_layer), .digest = *digest, .size = *size}};
}

std::optional<StepResult> StepCache::find(const Digest& key) const {
  auto found = read(key);
  // The file's time is the time of the last use.
  if (found) ::utimensat(AT_FDCWD, (folder_ / key.hex()).c_str(), nullptr, 0);
  return found;
}

std::vector<StepCache::Entry> StepCache::entries() const {
  std::vector<Entry> all;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder_, error)) {
    struct stat status{};
    auto key = Digest::parse("sha256:" + file.path().filename().string());
    if (!key || ::lstat(file.path().c_str(), &status) != 0) continue;
    if (auto result = read(*key))
      all.push_back({.key = *key, .result = std::move(*result), .used = status.st_mtim.tv_sec});
  }
  return all;
}

Result<void> StepCache::put(const Digest& key, const StepResult& result) const {
  return write_file(folder_ / key.hex(),
                    result.layer ? fmt::format("{} {}\n", result.layer->digest.text(), result.layer->size) : "none\n");
}

void StepCache::forget(const Digest& key) const {
  std::error_code ignored;
  std::filesystem::remove(folder_ / key.hex(), ignored);
}

}  // namespace wick::build
