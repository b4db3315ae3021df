#include "wick/image/import.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <map>

#include "byte_source.hpp"
#include "json_fields.hpp"
#include "oci_layout.hpp"
#include "platform.hpp"
#include "stored_blob.hpp"
#include "tree.hpp"
#include "wick/base/text.hpp"
#include "wick/image/layer.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t document_bytes_max = 4 << 20;
constexpr int index_depth_max = 4;  // an index of indexes is already rare
constexpr std::size_t copy_bytes = 256 << 10;
constexpr std::size_t reads_between_looks = 64;  // at the room on the disk: every 16 MiB
constexpr const char* name_annotation = "org.opencontainers.image.ref.name";
constexpr const char* full_name_annotation = "io.containerd.image.name";  // `docker save` since 25

// What lies behind either format: a config and where the layers are.
struct Source {
  std::vector<std::string> names;
  std::string config;
  struct Layer {
    std::string path;
    std::optional<Descriptor> descriptor;  // of the stored bytes; docker archives have none
  };
  std::vector<Layer> layers;
};

Result<std::string> read_document(const Tree& tree, const std::string& path) {
  auto file = open_regular(tree, path);
  if (!file) return fail(std::move(file.error()));
  auto bytes = read_all(file->get(), document_bytes_max);
  if (!bytes) return fail(std::move(bytes.error()).within(printable(path)));
  return bytes;
}

Result<std::string> read_checked(const Tree& tree, const Descriptor& descriptor) {
  auto bytes = read_document(tree, blob_name(descriptor.digest));
  if (!bytes) return bytes;
  if (bytes->size() != descriptor.size || Digest::of(*bytes) != descriptor.digest)
    return fail(Errc::corrupt, fmt::format("blob {} is not what its name and size say", descriptor.digest.text()));
  return bytes;
}

struct Candidate {
  Descriptor descriptor;
  std::string name;
};

// Every image for this machine that the index reaches.
Result<void> collect(const Tree& tree, const json::object& index, const std::string& inherited_name, int depth,
                     std::vector<Candidate>& found) {
  if (depth > index_depth_max) return fail(Errc::invalid, "an index inside an index, too often");
  JsonFields fields(index, "index");
  const auto entries = fields.objects("manifests");
  if (auto ok = fields.result(); !ok) return ok;
  if (index.contains("layers") || index.contains("config"))
    return fail(Errc::corrupt, "index: it has 'layers' and is an index as well");
  for (const auto& entry : entries) {
    if (!runs_here(entry)) continue;
    auto descriptor = parse_descriptor(entry, "index: manifests");
    if (!descriptor) return fail(std::move(descriptor.error()));
    JsonFields more(entry, "index: manifests");
    const auto annotations = more.string_map("annotations");
    std::string name = inherited_name;
    for (const auto* key : {name_annotation, full_name_annotation})
      if (const auto annotation = annotations.find(key); annotation != annotations.end()) name = annotation->second;
    auto bytes = read_checked(tree, *descriptor);
    if (!bytes) return fail(std::move(bytes.error()));
    auto document = parse_object(*bytes, "a manifest");
    if (!document) return fail(std::move(document.error()));
    if (document->contains("manifests")) {
      if (auto inner = collect(tree, *document, name, depth + 1, found); !inner) return inner;
    } else {
      found.push_back({.descriptor = std::move(*descriptor), .name = std::move(name)});
    }
  }
  return {};
}

/// "docker.io/library/debian:12" and "debian:12" are one name.
std::string plain_name(const std::string& name) {
  const auto reference = parse_reference(name);
  return reference ? reference->familiar() : name;
}

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
}

/// All of them; or the one that `reference` names, or will name where there is no other.
Result<std::vector<Source>> choose(std::vector<Source> found, std::string_view reference) {
  if (found.empty())
    return fail(Errc::unsupported, fmt::format("there is no image for linux/{} in it", machine_architecture()));
  if (reference.empty()) {
    for (const auto& source : found)
      if (source.names.empty())
        return fail(Errc::invalid, "there is an image without a name in it", "give it one: --name NAME");
    return found;
  }
  const auto is_wanted = [&](const Source& source) {
    const auto wanted = plain_name(std::string(reference));
    return std::ranges::any_of(source.names, [&](const auto& name) { return plain_name(name) == wanted; });
  };
  auto chosen = found.size() == 1 ? found.begin() : std::ranges::find_if(found, is_wanted);
  if (chosen == found.end()) {
    std::vector<std::string> names;
    for (const auto& source : found) names.push_back(source.names.empty() ? "(no name)" : printable(source.names[0]));
    return fail(Errc::invalid, fmt::format("there are several images in it: {}", fmt::join(names, ", ")),
                "say which by its name, or take all of them without --name");
  }
  chosen->names = {std::string(reference)};
  return std::vector<Source>{std::move(*chosen)};
}

Result<Source> read_image(const Tree& tree, const Descriptor& descriptor) {
  auto manifest_bytes = read_checked(tree, descriptor);
  if (!manifest_bytes) return fail(std::move(manifest_bytes.error()));
  auto manifest = Manifest::parse(*manifest_bytes);
  if (!manifest) return fail(std::move(manifest.error()));
  auto config = read_checked(tree, manifest->config);
  if (!config) return fail(std::move(config.error()));
  Source source{.names = {}, .config = std::move(*config), .layers = {}};
  for (const auto& layer : manifest->layers)
    source.layers.push_back({.path = blob_name(layer.digest), .descriptor = layer});
  return source;
}

Result<std::vector<Source>> read_layout(const Tree& tree) {
  auto bytes = read_document(tree, "index.json");
  if (!bytes) return fail(std::move(bytes.error()));
  auto index = parse_object(*bytes, "index.json");
  if (!index) return fail(std::move(index.error()));
  std::vector<Candidate> found;
  if (auto collected = collect(tree, *index, "", 0, found); !collected) return fail(std::move(collected.error()));
  std::vector<Source> sources;
  std::map<Digest, std::size_t> places;  // an image with several names has an entry for each
  for (const auto& candidate : found) {
    const auto [place, is_new] = places.emplace(candidate.descriptor.digest, sources.size());
    if (is_new) {
      auto source = read_image(tree, candidate.descriptor);
      if (!source) return fail(std::move(source.error()));
      sources.push_back(std::move(*source));
    }
    add_name(sources[place->second].names, candidate.name);
  }
  return sources;
}

// https://github.com/moby/docker-image-spec: manifest.json is an array of {Config, RepoTags, Layers}.
Result<std::vector<Source>> read_docker_archive(const Tree& tree) {
  auto bytes = read_document(tree, "manifest.json");
  if (!bytes) return fail(std::move(bytes.error()));
  auto document = parse_json(*bytes, "manifest.json");
  if (!document) return fail(std::move(document.error()));
  const json::object wrapped{{"manifest.json", std::move(*document)}};
  JsonFields fields(wrapped, "docker archive");
  std::vector<Source> sources;
  for (const auto& entry : fields.objects("manifest.json")) {
    JsonFields of_image(entry, "manifest.json");
    Source source;
    for (const auto& name : of_image.strings("RepoTags")) add_name(source.names, name);
    const auto config_path = of_image.string("Config");
    for (auto& layer : of_image.strings("Layers"))
      source.layers.push_back({.path = std::move(layer), .descriptor = std::nullopt});
    if (auto ok = of_image.result(); !ok) return fail(std::move(ok.error()));
    auto config = read_document(tree, config_path);
    if (!config) return fail(std::move(config.error()));
    source.config = std::move(*config);
    sources.push_back(std::move(source));
  }
  if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
  return sources;
}

Result<Descriptor> import_layer(const ContentStore& store, const Tree& tree, const Source::Layer& layer,
                                const Digest& diff_id) {
  auto file = open_regular(tree, layer.path);
  if (!file) return fail(std::move(file.error()));
  if (layer.descriptor)
    if (auto checked = check_stored_bytes(file->get(), *layer.descriptor); !checked)
      return fail(std::move(checked.error()));
  auto writer = store.write_blob();
  if (!writer) return fail(std::move(writer.error()));
  ByteSource source(file->get(), UnpackLimits{});
  std::string buffer(copy_bytes, '\0');
  for (std::size_t reads = 0;; ++reads) {
    if (reads % reads_between_looks == 0)
      if (auto room = check_room(store.root()); !room) return fail(std::move(room.error()));
    auto got = source.read(buffer);
    if (!got) return fail(std::move(got.error()));
    if (*got == 0) break;
    if (auto written = writer->write(std::string_view(buffer).substr(0, *got)); !written)
      return fail(std::move(written.error()));
  }
  return writer->commit(std::string(media_type_layer), diff_id);
}

Result<Imported> import_source(const ContentStore& store, const Tree& tree, Source source) {
  auto config = ImageConfig::parse(source.config);
  if (!config) return fail(std::move(config.error()));
  if (config->diff_ids.size() != source.layers.size())
    return fail(Errc::corrupt, fmt::format("{} diff_ids for {} layers", config->diff_ids.size(), source.layers.size()));
  std::vector<Descriptor> layers;
  for (std::size_t i = 0; i < source.layers.size(); ++i) {
    auto layer = import_layer(store, tree, source.layers[i], config->diff_ids[i]);
    if (!layer) return fail(std::move(layer.error()).within(fmt::format("layer {}", i + 1)));
    layers.push_back(std::move(*layer));
  }
  Imported imported;
  for (const auto& name : source.names) {
    auto image = store.put_image(*config, layers, name);
    if (!image) return fail(std::move(image.error()));
    imported.image = std::move(*image);
    imported.names.push_back(name);
  }
  return imported;
}

Result<std::vector<Imported>> import_tree(const ContentStore& store, const fs::path& folder,
                                          std::string_view reference) {
  auto tree = Tree::open(folder);
  if (!tree) return fail(std::move(tree.error()));
  const bool is_layout = static_cast<bool>(tree->try_open("index.json", O_PATH));
  if (!is_layout && !tree->try_open("manifest.json", O_PATH))
    return fail(Errc::invalid, "it is no image: neither index.json (OCI layout) nor manifest.json (docker save)",
                "skopeo copy … oci-archive:FILE and docker save write one");
  auto found = is_layout ? read_layout(*tree) : read_docker_archive(*tree);
  if (!found) return fail(std::move(found.error()));
  auto chosen = choose(std::move(*found), reference);
  if (!chosen) return fail(std::move(chosen.error()));
  std::vector<Imported> all;
  for (auto& source : *chosen) {
    auto imported = import_source(store, *tree, std::move(source));
    if (!imported) return fail(std::move(imported.error()));
    all.push_back(std::move(*imported));
  }
  return all;
}

}  // namespace

Result<void> check_room(const fs::path& folder) {
  const auto free = free_bytes(folder);
  if (free && *free < free_bytes_kept)
    return fail(Errc::unavailable,
                fmt::format("the disk is nearly full: {} are free, {} are kept for what runs", human_bytes(*free),
                            human_bytes(free_bytes_kept)),
                "free some: wick image rm NAME, then wick image prune");
  return {};
}

Result<std::vector<Imported>> import_archive(const ContentStore& store, int archive, const fs::path& scratch,
                                             std::string_view reference) {
  auto folder = TemporaryFolder::make(scratch, "import-");
  if (!folder) return fail(std::move(folder.error()));
  if (auto done = unpack(archive, folder->path(), Whiteouts::refuse, UnpackLimits{}, Owners::mine); !done)
    return fail(std::move(done.error()));
  return import_tree(store, folder->path(), reference);
}

Result<std::vector<Imported>> import_images(const ContentStore& store, const fs::path& source, const fs::path& scratch,
                                            std::string_view reference) {
  std::error_code error;
  auto imported = [&]() -> Result<std::vector<Imported>> {
    if (fs::is_directory(source, error)) return import_tree(store, source, reference);
    auto file = open_file(source, O_RDONLY);
    if (!file) return fail(std::move(file.error()));
    return import_archive(store, file->get(), scratch, reference);
  }();
  if (!imported) return fail(std::move(imported.error()).within(source.string()));
  return imported;
}

}  // namespace wick::image
