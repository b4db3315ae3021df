// A tar stream, plain or compressed, as a layer (first byte even) or a copy into an empty folder. What it makes must
// stay below the root and pack again. Limits are small so that a run is short.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "wick/image/layer.hpp"
#include "wick/os/fd.hpp"
#include "wick/os/files.hpp"

using namespace wick;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const TemporaryFolder folder =
      TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-fuzz-").value();
  const auto root = folder.path() / "root";
  std::filesystem::create_directory(root);

  const Fd archive(::memfd_create("archive", MFD_CLOEXEC));
  write_all(archive.get(), {reinterpret_cast<const char*>(data) + 1, size - 1}).value();
  ::lseek(archive.get(), 0, SEEK_SET);
  const image::UnpackLimits limits{
      .bytes_max = 1 << 20, .entries_max = 100, .ratio_max = 50, .ratio_free_bytes = 1 << 16};
  const bool layer = data[0] % 2 == 0;
  const auto unpacked = image::unpack(
      archive.get(), root, layer ? image::Whiteouts::translate : image::Whiteouts::refuse, limits, image::Owners::mine);
  if (unpacked) {
    const Fd again(::memfd_create("again", MFD_CLOEXEC));
    const auto packed = image::pack(root, again.get(), {.overlay_upper = layer});
    if (!packed) std::abort();
  }
  remove_tree(root).value();
  for ([[maybe_unused]] const auto& outside : std::filesystem::directory_iterator(folder.path())) std::abort();
  return 0;
}
