// The store on disk:
//   oci-layout, index.json          image-layout.md; index.json is replaced atomically while `index.lock` is held
//   blobs/sha256/<hex>              complete and immutable from the moment they have this name
//   pulled/<hex>                    the digest here of what a registry has under that digest
//   pushed/<hex>                    the same for our own registry
//   ingest/<random>                 being written; flock()ed by the writer, so that open() can tell what a crash left
//
// A name is the commit: before index.json changes, one syncfs(2) puts everything that the name leads to on disk, blobs
// and unpacked layers of this file system alike (an fsync a file and folder took seven times as long); the name itself
// is one fsync(2) more. A power cut
// before that may tear blobs that no name leads to; they are told by their digest, and are written again.
#include "wick/image/content_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <ctime>
#include <set>

#include "json_fields.hpp"
#include "oci_layout.hpp"
#include "stored_blob.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::string_view empty_index =
    R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]})";
constexpr const char* reference_annotation = "org.opencontainers.image.ref.name";
// What registries accept (distribution-spec "at least 4 megabytes").
constexpr std::size_t manifest_bytes_max = 4 << 20;
constexpr std::size_t index_bytes_max = 64 << 20;
constexpr std::size_t digest_text_bytes = 71;
// Between creating a file and locking it another process may look at it.
constexpr std::time_t leftover_seconds = 60;

fs::path ingest_folder(const fs::path& root) { return root / "ingest"; }
fs::path pulled_folder(const fs::path& root) { return root / "pulled"; }
fs::path pushed_folder(const fs::path& root) { return root / "pushed"; }

/// `how` is fsync(2), for the names in the folder, or syncfs(2), for all of its file system.
Result<void> sync(const fs::path& folder, int (*how)(int)) {
  auto fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd) return fail(std::move(fd.error()));
  if (how(fd->get()) != 0) return fail(system_error("sync " + folder.string(), errno));
  return {};
}

void remove_leftovers(const fs::path& root) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(ingest_folder(root), error)) {
    Fd file(::open(entry.path().c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status{};
    if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (status.st_mtim.tv_sec > std::time(nullptr) - leftover_seconds) continue;
    if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;
    ::unlink(entry.path().c_str());
  }
}

/// What a killed writer left beside index.json; it held the lock while it wrote.
void remove_unfinished_indexes(const fs::path& root) {
  Fd lock(::open((root / "index.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock || ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error))
    if (entry.path().filename().string().starts_with("index.json.")) ::unlink(entry.path().c_str());
}

/// index.json for reading, or for changing while nobody else does.
class Index {
 public:
  static Result<Index> read(const fs::path& root) {
    auto bytes = read_file(root / "index.json", index_bytes_max);
    if (!bytes) return fail(std::move(bytes.error()));
    auto parsed = parse_object(*bytes, "index.json");
    if (!parsed) return fail(std::move(parsed.error()));
    auto* manifests = parsed->if_contains("manifests");
    if (manifests == nullptr || !manifests->is_array())
      return fail(Errc::corrupt, "index.json has no array 'manifests'");
    return Index(root, std::move(*parsed));
  }

  static Result<Index> lock(const fs::path& root) {
    auto file = open_file(root / "index.lock", O_RDWR | O_CREAT, 0600);
    if (!file) return fail(std::move(file.error()));
    while (::flock(file->get(), LOCK_EX) != 0)
      if (errno != EINTR) return fail(system_error("lock index.lock", errno));
    auto index = read(root);
    if (index) index->lock_ = std::move(*file);
    return index;
  }

  std::vector<ContentStore::Named> names() const {
    std::vector<ContentStore::Named> names;
    for (const auto& entry : manifests()) {
      auto reference = reference_of(entry);
      if (!reference) continue;
      auto descriptor = parse_descriptor(entry.get_object(), "index.json");
      if (descriptor) names.push_back({.reference = std::move(*reference), .manifest = std::move(*descriptor)});
    }
    return names;
  }

  bool remove(std::string_view reference) {
    auto& array = object_["manifests"].get_array();
    const auto before = array.size();
    for (auto entry = array.begin(); entry != array.end();)
      entry = reference_of(*entry) == reference ? array.erase(entry) : entry + 1;
    return array.size() != before;
  }

  void add(std::string_view reference, const Descriptor& manifest, const ImageConfig& config) {
    auto entry = to_json(manifest);
    entry["annotations"] = {{reference_annotation, reference}};
    entry["platform"] = {{"architecture", config.architecture}, {"os", config.os}};
    object_["manifests"].get_array().emplace_back(std::move(entry));
  }

  /// All manifests, named or not.
  std::vector<Digest> digests() const {
    std::vector<Digest> found;
    for (const auto& entry : manifests())
      if (entry.is_object())
        if (auto descriptor = parse_descriptor(entry.get_object(), "index.json")) found.push_back(descriptor->digest);
    return found;
  }

  /// With all that it leads to: the new index, and everything else that was written, are on disk before it is named.
  Result<void> write() const {
    const auto target = root_ / "index.json";
    const auto beside = root_ / ("index.json." + random_hex(6));
    auto written = write_file(beside, json::serialize(object_));
    if (written) written = sync(root_, ::syncfs);
    if (written && ::rename(beside.c_str(), target.c_str()) != 0)
      written = fail(system_error("rename to " + target.string(), errno));
    if (!written) ::unlink(beside.c_str());
    return written ? sync(root_, ::fsync) : written;
  }

 private:
  Index(fs::path root, json::object object) : root_(std::move(root)), object_(std::move(object)) {}

  const json::array& manifests() const { return object_.at("manifests").get_array(); }

  static std::optional<std::string> reference_of(const json::value& entry) {
    if (!entry.is_object()) return std::nullopt;
    JsonFields fields(entry.get_object(), "index.json");
    const auto annotations = fields.string_map("annotations");
    const auto found = annotations.find(reference_annotation);
    if (found == annotations.end()) return std::nullopt;
    return found->second;
  }

  fs::path root_;
  json::object object_;
  Fd lock_;
};

// The very file that was hashed, whatever its name leads to now. Instead of one that is there, which may be damaged.
Result<void> link_blob(int file, const fs::path& beside, const fs::path& target) {
  if (::fchmod(file, 0644) != 0) return fail(system_error("fchmod blob", errno));
  const auto source = fmt::format("/proc/self/fd/{}", file);
  if (::linkat(AT_FDCWD, source.c_str(), AT_FDCWD, beside.c_str(), AT_SYMLINK_FOLLOW) != 0)
    return fail(system_error("link " + beside.string(), errno));
  if (::rename(beside.c_str(), target.c_str()) == 0) {
    ::unlink(beside.c_str());  // rename(2) leaves it where both are one file
    return {};
  }
  auto error = system_error("rename to " + target.string(), errno);
  ::unlink(beside.c_str());
  return fail(std::move(error));
}

// Names are kept as people write them, with their tag. A digest beside a tag says which image, not what it is called.
Result<std::string> stored_name(std::string_view reference) {
  auto parsed = parse_reference(reference);
  if (!parsed) return fail(std::move(parsed.error()));
  parsed->digest = {};
  if (parsed->tag.empty()) parsed->tag = "latest";
  return parsed->familiar();
}

/// What led to images that are gone.
void forget_gone(const ContentStore& store, const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const auto leads_to = read_file(entry.path(), digest_text_bytes);
    const auto here = leads_to ? Digest::parse(*leads_to) : Result<Digest>(fail(leads_to.error()));
    if (!here || !store.has_blob(*here)) ::unlink(entry.path().c_str());
  }
}

}  // namespace

BlobWriter::BlobWriter(fs::path folder, fs::path temporary, Fd file)
    : folder_(std::move(folder)), temporary_(std::move(temporary)), file_(std::move(file)) {}

BlobWriter::~BlobWriter() {
  if (file_) ::unlink(temporary_.c_str());
}

Result<void> BlobWriter::write(std::string_view bytes) {
  hash_.update(bytes);
  size_ += bytes.size();
  auto written = write_all(file_.get(), bytes);
  if (!written) return fail(std::move(written.error()).within("blob"));
  return {};
}

Result<Descriptor> BlobWriter::commit(std::string media_type, std::optional<Digest> expected) {
  Descriptor descriptor{.media_type = std::move(media_type), .digest = hash_.finish(), .size = size_};
  if (expected && *expected != descriptor.digest)
    return fail(Errc::corrupt,
                fmt::format("a blob hashes to {}, not to {}", descriptor.digest.text(), expected->text()));
  if (::fchmod(file_.get(), 0644) != 0) return fail(system_error("fchmod blob", errno));
  const auto target = folder_ / descriptor.digest.hex();
  if (::rename(temporary_.c_str(), target.c_str()) != 0)
    return fail(system_error("rename to " + target.string(), errno));
  file_.reset();
  return descriptor;
}

fs::path ContentStore::blob_path(const Digest& digest) const { return root_ / "blobs" / "sha256" / digest.hex(); }

Result<ContentStore> ContentStore::open(fs::path root) {
  for (const auto& folder : {root / "blobs" / "sha256", ingest_folder(root), pulled_folder(root), pushed_folder(root)})
    if (auto made = make_folders(folder); !made) return fail(std::move(made.error()));
  ContentStore store(std::move(root));
  const auto& at = store.root();
  std::error_code error;
  if (!fs::exists(at / "oci-layout", error))
    if (auto written = write_file_atomically(at / "oci-layout", layout_document); !written)
      return fail(std::move(written.error()));
  if (!fs::exists(at / "index.json", error))
    if (auto written = write_file_atomically(at / "index.json", empty_index); !written)
      return fail(std::move(written.error()));
  auto index = Index::read(at);
  if (!index) return fail(std::move(index.error()).within(at.string()));
  remove_leftovers(at);
  remove_unfinished_indexes(at);
  return store;
}

Result<BlobWriter> ContentStore::write_blob() const {
  const auto temporary = ingest_folder(root_) / random_hex(12);
  auto file = open_file(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (!file) return fail(std::move(file.error()));
  ::flock(file->get(), LOCK_EX | LOCK_NB);
  return BlobWriter(root_ / "blobs" / "sha256", temporary, std::move(*file));
}

Result<Descriptor> ContentStore::put_blob(std::string_view bytes, std::string media_type) const {
  const auto digest = Digest::of(bytes);
  // The same bytes again: nothing to wait for the disk for. The touch keeps the garbage collector away.
  if (has_blob(digest) && read_blob(digest, bytes.size()) &&
      ::utimensat(AT_FDCWD, blob_path(digest).c_str(), nullptr, 0) == 0)
    return Descriptor{.media_type = std::move(media_type), .digest = digest, .size = bytes.size()};
  auto writer = write_blob();
  if (!writer) return fail(std::move(writer.error()));
  if (auto written = writer->write(bytes); !written) return fail(std::move(written.error()));
  return writer->commit(std::move(media_type));
}

bool ContentStore::has_blob(const Digest& digest) const {
  struct stat status{};
  return ::stat(blob_path(digest).c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

Result<std::string> ContentStore::read_blob(const Digest& digest, std::size_t bytes_max) const {
  auto file = open_blob(digest);
  if (!file) return fail(std::move(file.error()));
  auto bytes = read_all(file->get(), bytes_max);
  if (!bytes) return fail(std::move(bytes.error()).within("blob " + digest.text()));
  if (const auto found = Digest::of(*bytes); found != digest)
    return fail(Errc::corrupt, fmt::format("blob {} hashes to {}", digest.text(), found.text()),
                "the disk or somebody changed it: build or pull the image again");
  return bytes;
}

Result<Fd> ContentStore::open_blob(const Digest& digest) const {
  Fd file(::open(blob_path(digest).c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file && errno == ENOENT) return fail(Errc::not_found, fmt::format("there is no blob {}", digest.text()));
  if (!file) return fail(system_error("open blob " + digest.text(), errno));
  return file;
}

Result<Image> ContentStore::put_image(const ImageConfig& config, const std::vector<Descriptor>& layers,
                                      std::string_view reference) const {
  auto name = reference.empty() ? Result<std::string>() : stored_name(reference);
  if (!name) return fail(std::move(name.error()));
  Image image{.digest = {}, .manifest = {.config = {}, .layers = layers, .annotations = {}}, .config = config};
  const auto is_plain = [](const Descriptor& layer) { return layer.media_type == media_type_layer; };
  if (config.diff_ids.empty() && std::all_of(layers.begin(), layers.end(), is_plain))
    for (const auto& layer : layers) image.config.diff_ids.push_back(layer.digest);
  if (image.config.diff_ids.size() != layers.size())
    return fail(Errc::invalid, fmt::format("{} diff_ids for {} layers", image.config.diff_ids.size(), layers.size()));
  for (std::size_t i = 0; i < layers.size(); ++i) {
    // A plain layer may be unpacked at the runner and nowhere else: its tar is made when somebody asks for it.
    if (!is_plain(layers[i]) && !has_blob(layers[i].digest))
      return fail(Errc::not_found, fmt::format("there is no blob {}", layers[i].digest.text()));
    if (is_plain(layers[i]) && layers[i].digest != image.config.diff_ids[i])
      return fail(Errc::invalid, fmt::format("layer {} is uncompressed, but its diff_id is {}", layers[i].digest.text(),
                                             image.config.diff_ids[i].text()));
  }
  auto stored_config = put_blob(image.config.to_json(), std::string(media_type_config));
  if (!stored_config) return fail(std::move(stored_config.error()));
  image.manifest.config = std::move(*stored_config);
  auto stored_manifest = put_blob(image.manifest.to_json(), std::string(media_type_manifest));
  if (!stored_manifest) return fail(std::move(stored_manifest.error()));
  image.digest = stored_manifest->digest;
  if (name->empty()) return image;

  auto index = Index::lock(root_);
  if (!index) return fail(std::move(index.error()));
  const auto is_this = [&](const Named& named) {
    return named.reference == *name && named.manifest.digest == image.digest;
  };
  if (std::ranges::any_of(index->names(), is_this)) return image;
  index->remove(*name);
  index->add(*name, *stored_manifest, image.config);
  if (auto written = index->write(); !written) return fail(std::move(written.error()));
  return image;
}

Result<Image> ContentStore::adopt(const fs::path& layout, const Digest& manifest_digest, std::string_view reference,
                                  const std::set<Digest>& known) const {
  auto tree = Tree::open(layout);
  if (!tree) return fail(std::move(tree.error()));
  const auto read = [&](const Digest& digest) -> Result<std::string> {
    auto file = open_regular(*tree, blob_name(digest));
    if (!file) return fail(std::move(file.error()));
    auto bytes = read_all(file->get(), manifest_bytes_max);
    if (bytes && Digest::of(*bytes) != digest)
      return fail(Errc::corrupt, fmt::format("blob {} is not what its name says", digest.text()));
    return bytes;
  };
  auto manifest_text = read(manifest_digest);
  if (!manifest_text) return fail(std::move(manifest_text.error()));
  auto manifest = Manifest::parse(*manifest_text);
  if (!manifest) return fail(std::move(manifest.error()));
  auto config_text = read(manifest->config.digest);
  if (!config_text) return fail(std::move(config_text.error()));
  auto config = ImageConfig::parse(*config_text);
  if (!config) return fail(std::move(config.error()));
  for (const auto& layer : manifest->layers) {
    if (layer.media_type != media_type_layer)
      return fail(Errc::invalid, fmt::format("layer {} is compressed", layer.digest.text()));
    if (known.contains(layer.digest)) continue;
    auto file = open_regular(*tree, blob_name(layer.digest));
    if (!file) return fail(std::move(file.error()));
    if (auto checked = check_stored_bytes(file->get(), layer); !checked) return fail(std::move(checked.error()));
    if (auto linked = link_blob(file->get(), ingest_folder(root_) / random_hex(12), blob_path(layer.digest)); !linked)
      return fail(std::move(linked.error()));
  }
  return put_image(*config, manifest->layers, reference);
}

Result<void> ContentStore::remember_pulled(const std::vector<Digest>& at_registry, const Digest& manifest) const {
  // As with a name: all that it leads to first.
  if (auto synced = sync(root_, ::syncfs); !synced) return synced;
  for (const auto& digest : at_registry) {
    if (digest == manifest) continue;
    auto written = write_file_atomically(pulled_folder(root_) / digest.hex(), manifest.text());
    if (!written) return written;
  }
  return {};
}

Result<void> ContentStore::remember_pushed(const Digest& pushed, const Digest& manifest) const {
  if (pushed == manifest) return {};
  if (auto synced = sync(root_, ::syncfs); !synced) return synced;
  return write_file_atomically(pushed_folder(root_) / pushed.hex(), manifest.text());
}

std::optional<Digest> ContentStore::pulled_as(const Digest& manifest) const {
  std::optional<Digest> least;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(pulled_folder(root_), error)) {
    const auto at_registry = Digest::parse("sha256:" + entry.path().filename().string());
    if (!at_registry || (least && least->text() <= at_registry->text())) continue;
    if (const auto leads_to = read_file(entry.path(), digest_text_bytes); leads_to == manifest.text())
      least = *at_registry;
  }
  return least;
}

Result<Image> ContentStore::image(const Digest& digest) const {
  if (!has_blob(digest))
    for (const auto& folder : {pulled_folder(root_), pushed_folder(root_)})
      if (const auto leads_to = read_file(folder / digest.hex(), digest_text_bytes))
        if (const auto here = Digest::parse(*leads_to); here && has_blob(*here)) return image(*here);
  auto bytes = read_blob(digest, manifest_bytes_max);
  if (!bytes) return fail(std::move(bytes.error()).within("image " + digest.text()));
  auto manifest = Manifest::parse(*bytes);
  if (!manifest) return fail(std::move(manifest.error()).within("image " + digest.text()));
  auto config_bytes = read_blob(manifest->config.digest, manifest_bytes_max);
  if (!config_bytes) return fail(std::move(config_bytes.error()).within("image " + digest.text()));
  if (config_bytes->size() != manifest->config.size)
    return fail(Errc::corrupt, fmt::format("image {}: its config has {} bytes, its manifest says {}", digest.text(),
                                           config_bytes->size(), manifest->config.size));
  auto config = ImageConfig::parse(*config_bytes);
  if (!config) return fail(std::move(config.error()).within("image " + digest.text()));
  if (config->diff_ids.size() != manifest->layers.size())
    return fail(Errc::corrupt, fmt::format("image {}: {} diff_ids for {} layers", digest.text(),
                                           config->diff_ids.size(), manifest->layers.size()));
  return Image{.digest = digest, .manifest = std::move(*manifest), .config = std::move(*config)};
}

Result<Image> ContentStore::image(std::string_view reference) const {
  if (auto digest = Digest::parse(reference)) return image(*digest);
  auto parsed = parse_reference(reference);
  if (!parsed) return fail(std::move(parsed.error()));
  if (!parsed->digest.empty()) return image(parsed->digest);
  const auto name = parsed->familiar();
  auto named = images();
  if (!named) return fail(std::move(named.error()));
  for (const auto& entry : *named)
    if (entry.reference == name) return image(entry.manifest.digest);
  return fail(Errc::not_found, fmt::format("there is no image '{}'", name),
              "`wick image ls` lists the images that are here");
}

Result<std::vector<ContentStore::Named>> ContentStore::images() const {
  auto index = Index::read(root_);
  if (!index) return fail(std::move(index.error()));
  return index->names();
}

Result<void> ContentStore::remove_reference(std::string_view reference) const {
  auto name = stored_name(reference);
  if (!name) return fail(std::move(name.error()));
  auto index = Index::lock(root_);
  if (!index) return fail(std::move(index.error()));
  if (!index->remove(*name)) return fail(Errc::not_found, fmt::format("there is no image '{}'", *name));
  return index->write();
}

Result<ContentStore::Collected> ContentStore::collect_garbage(const std::vector<Digest>& keep,
                                                              std::chrono::seconds age_min) const {
  auto index = Index::lock(root_);  // nothing gets a name while we look
  if (!index) return fail(std::move(index.error()));
  auto roots = index->digests();
  roots.insert(roots.end(), keep.begin(), keep.end());
  std::set<std::string> reached;
  for (const auto& root : roots) {
    reached.insert(root.hex());
    auto manifest = image(root);
    // Not an image of ours (an index, or damaged): what it may reach is not known, so nothing is removed.
    if (!manifest && manifest.error().code() != Errc::not_found) return fail(std::move(manifest.error()));
    if (!manifest) continue;
    reached.insert(manifest->digest.hex());
    reached.insert(manifest->manifest.config.digest.hex());
    for (const auto& layer : manifest->manifest.layers) reached.insert(layer.digest.hex());
  }
  Collected collected;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root_ / "blobs" / "sha256", error)) {
    struct stat status{};
    if (reached.contains(entry.path().filename().string()) || ::lstat(entry.path().c_str(), &status) != 0) continue;
    if (status.st_ctim.tv_sec > std::time(nullptr) - age_min.count()) continue;
    if (::unlink(entry.path().c_str()) != 0) continue;
    ++collected.blobs;
    collected.bytes += static_cast<std::uint64_t>(status.st_size);
  }
  if (error) return fail(system_error("list blobs", error.value()));
  for (const auto& folder : {pulled_folder(root_), pushed_folder(root_)}) forget_gone(*this, folder);
  return collected;
}

}  // namespace wick::image
