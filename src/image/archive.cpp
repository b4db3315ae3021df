#include "wick/image/archive.hpp"

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <set>

#include "json_fields.hpp"
#include "oci_layout.hpp"
#include "tar_writer.hpp"
#include "wick/image/reference.hpp"

namespace wick::image {

namespace json = boost::json;

namespace {

ArchiveFile document(std::string name, std::string bytes) {
  const auto size = bytes.size();
  return {.name = std::move(name), .bytes = std::move(bytes), .blob = {}, .size = size};
}

/// One descriptor a name: skopeo looks for org.opencontainers.image.ref.name, containerd and docker for their own.
std::string index_of(const std::vector<SavedImage>& images) {
  json::array manifests;
  for (const auto& saved : images) {
    json::object entry = to_json(Descriptor{
        .media_type = std::string(media_type_manifest), .digest = saved.image.digest, .size = saved.manifest.size()});
    entry["platform"] = {{"architecture", saved.image.config.architecture}, {"os", saved.image.config.os}};
    if (saved.names.empty()) manifests.emplace_back(entry);
    for (const auto& name : saved.names) {
      const auto reference = parse_reference(name);
      entry["annotations"] = {{"org.opencontainers.image.ref.name", name},
                              {"io.containerd.image.name", reference ? reference->canonical() : name}};
      manifests.emplace_back(entry);
    }
  }
  return json::serialize(
      json::object{{"schemaVersion", 2}, {"mediaType", media_type_index}, {"manifests", std::move(manifests)}});
}

std::string docker_manifest_of(const std::vector<SavedImage>& images) {
  json::array list;
  for (const auto& saved : images) {
    json::array layers;
    for (const auto& layer : saved.image.manifest.layers) layers.emplace_back(blob_name(layer.digest));
    json::object entry{{"Config", blob_name(saved.image.manifest.config.digest)}, {"Layers", std::move(layers)}};
    entry["RepoTags"] = json::array(saved.names.begin(), saved.names.end());
    list.emplace_back(std::move(entry));
  }
  return json::serialize(list);
}

}  // namespace

std::vector<ArchiveFile> archive_files(const std::vector<SavedImage>& images) {
  std::vector<ArchiveFile> files{
      document("oci-layout", std::string(layout_document)), document("index.json", index_of(images)),
      document("manifest.json", docker_manifest_of(images)), document("blobs/", ""), document("blobs/sha256/", "")};
  std::set<std::string> there;
  const auto add_blob = [&](const Descriptor& blob) {
    auto name = blob_name(blob.digest);
    if (there.insert(name).second)
      files.push_back({.name = std::move(name), .bytes = {}, .blob = blob.digest, .size = blob.size});
  };
  for (const auto& saved : images) {
    auto name = blob_name(saved.image.digest);
    if (there.insert(name).second) files.push_back(document(std::move(name), saved.manifest));
    add_blob(saved.image.manifest.config);
  }
  for (const auto& saved : images)
    for (const auto& layer : saved.image.manifest.layers) add_blob(layer);
  return files;
}

std::string archive_header(const ArchiveFile& file) {
  TarEntry entry;
  entry.name = file.name;
  const bool is_folder = file.name.ends_with('/');
  entry.type = is_folder ? TarType::folder : TarType::regular;
  entry.mode = is_folder ? 0755 : 0644;
  entry.size = file.size;
  return tar_header(entry);
}

std::string archive_padding(std::uint64_t size) { return tar_padding(size); }

std::string archive_end() { return tar_end(); }

std::uint64_t archive_bytes(const std::vector<ArchiveFile>& files) {
  std::uint64_t bytes = archive_end().size();
  for (const auto& file : files) bytes += archive_header(file).size() + file.size + archive_padding(file.size).size();
  return bytes;
}

}  // namespace wick::image
