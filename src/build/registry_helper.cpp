#include "registry_helper.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <map>
#include <mutex>

#include "confine.hpp"
#include "fetch_events.hpp"
#include "wick/base/text.hpp"
#include "wick/build/unpack_images.hpp"
#include "wick/image/import.hpp"
#include "wick/image/layer.hpp"
#include "wick/image/registry.hpp"
#include "wick/os/files.hpp"

namespace wick::build {

namespace {

constexpr std::size_t errand_line_bytes_max = 4 << 20;  // with the certificates of an authority
constexpr std::uint32_t transfer_cpu_seconds_max = 3600;

void report(const FetchEvent& event) { (void)write_all(STDOUT_FILENO, to_line(event)); }

/// Byte by byte: what follows is somebody else's to read.
Result<std::string> read_line() {
  std::string line;
  for (char c = 0; line.size() < errand_line_bytes_max;) {
    const auto got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read the errand", errno));
    if (got == 0) return fail(Errc::invalid, "the errand has no end");
    if (c == '\n') return line;
    line += c;
  }
  return fail(Errc::too_large, "the errand is longer than 4 MB");
}

Result<image::RegistryTarget> read_target() {
  auto line = read_line();
  if (!line) return fail(std::move(line.error()));
  return image::target_from_wire(*line);
}

Result<void> confine_transfer(const std::string& folder) {
  return confine({.writable = folder,
                  .readable = {},
                  .file_bytes_max = image::UnpackLimits{}.bytes_max,
                  .cpu_seconds_max = transfer_cpu_seconds_max});
}

Result<std::optional<std::uint64_t>> ask(const Digest& layer) {
  report(FetchQuestion{layer});
  auto answer = read_line();
  if (!answer) return fail(std::move(answer.error()));
  return *answer == "-" ? std::nullopt : parse_unsigned(*answer);
}

}  // namespace

Result<void> registry_resolve_here() {
  if (auto confined = confine({.writable = "/nonexistent", .memory_bytes_max = 1ull << 30}); !confined) return confined;
  auto target = read_target();
  if (!target) return fail(std::move(target.error()));
  auto digest = image::resolve_digest(*target);
  if (!digest) return fail(std::move(digest.error()));
  report(FetchedDigest{*digest});
  return {};
}

Result<void> registry_pull_here(const std::string& folder) {
  if (auto confined = confine_transfer(folder); !confined) return confined;
  auto target = read_target();
  if (!target) return fail(std::move(target.error()));
  auto store = image::ContentStore::open(std::filesystem::path(folder) / image_layout_name);
  if (!store) return fail(std::move(store.error()));
  auto pulled = image::pull_image(*target, *store, folder, ask, [](std::string line) { report(FetchProgress{line}); });
  if (!pulled) return fail(std::move(pulled.error()));
  for (const auto& digest : pulled->known_as) report(FetchedDigest{digest});
  report(FetchedImage{.manifest = pulled->image.digest, .name = ""});
  return {};
}

Result<void> registry_push_here(const std::string& folder, const std::string& name) {
  if (auto confined = confine_transfer(folder); !confined) return confined;
  auto target = read_target();
  if (!target) return fail(std::move(target.error()));
  auto places = read_line();
  if (!places) return fail(std::move(places.error()));
  boost::json::error_code wrong;
  const auto document = boost::json::parse(*places, wrong);
  if (wrong || !document.is_object()) return fail(Errc::invalid, "the errand has no list of mounts");
  std::map<Digest, std::string> mounts;
  for (const auto& [layer, repository] : document.get_object())
    if (auto digest = Digest::parse(layer); digest && repository.is_string())
      mounts.emplace(*digest, repository.get_string());
  auto store = image::ContentStore::open(std::filesystem::path(folder) / image_layout_name);
  if (!store) return fail(std::move(store.error()));
  auto imported = image::import_archive(*store, STDIN_FILENO, folder, name);
  if (!imported) return fail(std::move(imported.error()));
  auto pushed = image::push_image(*target, *store, imported->front().image.digest, folder, mounts,
                                  [](std::string line) { report(FetchProgress{line}); });
  if (!pushed) return fail(std::move(pushed.error()));
  report(FetchedDigest{*pushed});
  return {};
}

}  // namespace wick::build
