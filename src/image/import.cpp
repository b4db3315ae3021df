#include "wick/image/import.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <boost/json/array.hpp>

#include "byte_source.hpp"
#include "json_fields.hpp"
#include "oci_layout.hpp"
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
constexpr const char* name_annotation = "org.opencontainers.image.ref.name";
constexpr const char* full_name_annotation = "io.containerd.image.name";  // `docker save` since 25

// What lies behind either format: a config and where the layers are.
struct Source {
  std::string name;  // "" when it has none
  std::string config;
  struct Layer {
    std::string path;
    std::optional<Descriptor> descriptor;  // of the stored bytes; docker archives have none
  };
  std::vector<Layer> layers;
};

// Go's names of platforms, as GOARCH.
std::string machine_architecture() {
  utsname name{};
  ::uname(&name);
  const std::string_view machine = name.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return std::string(machine);
}

Result<Fd> open_regular(const Tree& tree, const std::string& path) {
  Fd file = tree.try_open(path, O_RDONLY | O_NONBLOCK);
  struct stat status{};
  if (!file) return fail(Errc::not_found, fmt::format("the image has no {}", printable(path)));
  if (::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode))
    return fail(Errc::invalid, fmt::format("{} is not a file", printable(path)));
  return file;
}

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

bool runs_here(const json::object& entry) {
  JsonFields fields(entry, "index");
  const auto platform = fields.object("platform");
  if (!platform) return true;
  JsonFields of_platform(*platform, "index: platform");
  return of_platform.string("os") == "linux" && of_platform.string("architecture") == machine_architecture();
}

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

template <class T>
Result<T> choose(std::vector<T> found, std::string_view reference) {
  if (found.empty())
    return fail(Errc::unsupported, fmt::format("there is no image for linux/{} in it", machine_architecture()));
  if (found.size() == 1) return std::move(found.front());
  std::string names;
  for (auto& candidate : found) {
    if (!reference.empty() && plain_name(candidate.name) == plain_name(std::string(reference)))
      return std::move(candidate);
    names += (names.empty() ? "" : ", ") + (candidate.name.empty() ? "(no name)" : printable(candidate.name));
  }
  return fail(Errc::invalid, fmt::format("there are several images in it: {}", names), "say which by its name");
}

Result<Source> read_layout(const Tree& tree, std::string_view reference) {
  auto bytes = read_document(tree, "index.json");
  if (!bytes) return fail(std::move(bytes.error()));
  auto index = parse_object(*bytes, "index.json");
  if (!index) return fail(std::move(index.error()));
  std::vector<Candidate> found;
  if (auto collected = collect(tree, *index, "", 0, found); !collected) return fail(std::move(collected.error()));
  auto chosen = choose(std::move(found), reference);
  if (!chosen) return fail(std::move(chosen.error()));
  auto manifest_bytes = read_checked(tree, chosen->descriptor);
  if (!manifest_bytes) return fail(std::move(manifest_bytes.error()));
  auto manifest = Manifest::parse(*manifest_bytes);
  if (!manifest) return fail(std::move(manifest.error()));
  auto config = read_checked(tree, manifest->config);
  if (!config) return fail(std::move(config.error()));
  Source source{.name = chosen->name, .config = std::move(*config), .layers = {}};
  for (const auto& layer : manifest->layers)
    source.layers.push_back({.path = blob_name(layer.digest), .descriptor = layer});
  return source;
}

// https://github.com/moby/docker-image-spec: manifest.json is an array of {Config, RepoTags, Layers}.
Result<Source> read_docker_archive(const Tree& tree, std::string_view reference) {
  auto bytes = read_document(tree, "manifest.json");
  if (!bytes) return fail(std::move(bytes.error()));
  auto document = parse_json(*bytes, "manifest.json");
  if (!document) return fail(std::move(document.error()));
  const json::object wrapped{{"manifest.json", std::move(*document)}};
  JsonFields fields(wrapped, "docker archive");
  struct Saved {
    std::string name;
    std::string config;
    std::vector<std::string> layers;
  };
  std::vector<Saved> found;
  for (const auto& entry : fields.objects("manifest.json")) {
    JsonFields of_image(entry, "manifest.json");
    Saved saved{.name = "", .config = of_image.string("Config"), .layers = of_image.strings("Layers")};
    const auto names = of_image.strings("RepoTags");
    if (!names.empty()) saved.name = names.front();
    for (const auto& name : names)
      if (name == reference) saved.name = name;
    if (auto ok = of_image.result(); !ok) return fail(std::move(ok.error()));
    found.push_back(std::move(saved));
  }
  if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
  auto chosen = choose(std::move(found), reference);
  if (!chosen) return fail(std::move(chosen.error()));
  auto config = read_document(tree, chosen->config);
  if (!config) return fail(std::move(config.error()));
  Source source{.name = chosen->name, .config = std::move(*config), .layers = {}};
  for (auto& layer : chosen->layers) source.layers.push_back({.path = std::move(layer), .descriptor = std::nullopt});
  return source;
}

Result<void> check_stored_bytes(int file, const Descriptor& descriptor) {
  Sha256 hash;
  std::uint64_t size = 0;
  std::string buffer(copy_bytes, '\0');
  while (true) {
    const auto got = ::read(file, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read", errno));
    if (got == 0) break;
    hash.update(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)));
    size += static_cast<std::uint64_t>(got);
  }
  if (size != descriptor.size || hash.finish() != descriptor.digest)
    return fail(Errc::corrupt, fmt::format("blob {} is not what its name and size say", descriptor.digest.text()));
  if (::lseek(file, 0, SEEK_SET) != 0) return fail(system_error("seek", errno));
  return {};
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
  while (true) {
    auto got = source.read(buffer);
    if (!got) return fail(std::move(got.error()));
    if (*got == 0) break;
    if (auto written = writer->write(std::string_view(buffer).substr(0, *got)); !written)
      return fail(std::move(written.error()));
  }
  return writer->commit(std::string(media_type_layer), diff_id);
}

}  // namespace

Result<Image> import_image(const ContentStore& store, const fs::path& source_path, const fs::path& scratch,
                           std::string_view reference) {
  std::optional<TemporaryFolder> unpacked;
  std::error_code error;
  if (!fs::is_directory(source_path, error)) {
    auto file = open_file(source_path, O_RDONLY);
    if (!file) return fail(std::move(file.error()));
    auto folder = TemporaryFolder::make(scratch, "import-");
    if (!folder) return fail(std::move(folder.error()));
    if (auto done = unpack(file->get(), folder->path(), Whiteouts::refuse, UnpackLimits{}, Owners::mine); !done)
      return fail(std::move(done.error()).within(source_path.string()));
    unpacked.emplace(std::move(*folder));
  }
  auto tree = Tree::open(unpacked ? unpacked->path() : source_path);
  if (!tree) return fail(std::move(tree.error()));
  const bool is_layout = static_cast<bool>(tree->try_open("index.json", O_PATH));
  if (!is_layout && !tree->try_open("manifest.json", O_PATH))
    return fail(Errc::invalid,
                fmt::format("{} is no image: neither index.json (OCI layout) nor manifest.json (docker save)",
                            source_path.string()));
  auto source = is_layout ? read_layout(*tree, reference) : read_docker_archive(*tree, reference);
  if (!source) return fail(std::move(source.error()).within(source_path.string()));
  auto config = ImageConfig::parse(source->config);
  if (!config) return fail(std::move(config.error()).within(source_path.string()));
  if (config->diff_ids.size() != source->layers.size())
    return fail(Errc::corrupt, fmt::format("{}: {} diff_ids for {} layers", source_path.string(),
                                           config->diff_ids.size(), source->layers.size()));
  std::vector<Descriptor> layers;
  for (std::size_t i = 0; i < source->layers.size(); ++i) {
    auto layer = import_layer(store, *tree, source->layers[i], config->diff_ids[i]);
    if (!layer) return fail(std::move(layer.error()).within(fmt::format("{}: layer {}", source_path.string(), i + 1)));
    layers.push_back(std::move(*layer));
  }
  const std::string name = reference.empty() ? source->name : std::string(reference);
  if (name.empty()) return fail(Errc::invalid, source_path.string() + ": the image has no name", "give it one");
  return store.put_image(*config, layers, name);
}

}  // namespace wick::image
