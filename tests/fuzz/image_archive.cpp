// The documents of an image archive as a stranger writes them: manifest.json of docker, oci-layout and index.json, the
// manifests and configs below. Nothing may crash, and what is taken over is whole.
//
// The input is files, each after a NUL: its name, a line break, its content. The name "blob" is a blob under its own
// digest, and a content's "@N" is the digest of the N-th file before it is looked at, so that documents may refer to
// others whatever becomes of them.
#include <cstdint>
#include <cstdlib>
#include <filesystem>

#include "wick/base/digest.hpp"
#include "wick/base/text.hpp"
#include "wick/image/import.hpp"
#include "wick/os/files.hpp"

namespace {

namespace fs = std::filesystem;
using namespace wick;

/// Memory, where there is some: every input makes files.
fs::path scratch_root() { return fs::exists("/dev/shm") ? fs::path("/dev/shm") : fs::temp_directory_path(); }

std::string with_digests(std::string_view text, const std::vector<Digest>& before) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool refers = text[i] == '@' && i + 1 < text.size() && text[i + 1] >= '0' &&
                        static_cast<std::size_t>(text[i + 1] - '0') < before.size();
    if (!refers) {
      out += text[i];
      continue;
    }
    out += before[static_cast<std::size_t>(text[++i] - '0')].text();
  }
  return out;
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && name.size() < 200 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == name.npos && name.front() != '.';
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size > (64 << 10)) return 0;
  const auto folder = TemporaryFolder::make(scratch_root(), "wick-fuzz-archive-").value();
  const auto archive = folder.path() / "archive";
  make_folders(archive / "blobs/sha256").value();
  std::vector<Digest> written;
  for (const auto part : split({reinterpret_cast<const char*>(data), size}, '\0')) {
    const auto line = part.find('\n');
    if (line == part.npos || written.size() >= 10) continue;
    const auto name = part.substr(0, line);
    const auto content = with_digests(part.substr(line + 1), written);
    written.push_back(Digest::of(content));
    if (name == "blob")
      write_file(archive / "blobs/sha256" / written.back().hex(), content).value();
    else if (is_plain_name(name))
      write_file(archive / std::string(name), content).value();
  }
  auto store = image::ContentStore::open(folder.path() / "content").value();
  auto imported = image::import_images(store, archive, folder.path(), "");
  if (!imported) return 0;
  for (const auto& one : *imported) {
    const auto image = store.image(one.image.digest);
    if (!image || image->config.diff_ids.size() != image->manifest.layers.size()) std::abort();
    for (const auto& layer : image->manifest.layers)
      if (!store.read_blob(layer.digest)) std::abort();
    if (one.names.empty()) std::abort();
  }
  return 0;
}
