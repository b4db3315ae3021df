#include "pushed_manifest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "json_fields.hpp"
#include "platform.hpp"
#include "wick/base/text.hpp"

namespace wick::image {

namespace json = boost::json;

namespace {

constexpr std::string_view pushed_docker_manifest = "application/vnd.docker.distribution.manifest.v2+json";
constexpr std::string_view pushed_docker_list = "application/vnd.docker.distribution.manifest.list.v2+json";
constexpr std::string_view pushed_docker_config = "application/vnd.docker.container.image.v1+json";

bool is_manifest_type(std::string_view type) { return type == media_type_manifest || type == pushed_docker_manifest; }
bool is_index_type(std::string_view type) { return type == media_type_index || type == pushed_docker_list; }

Error not_a_manifest(const Error& error) { return Error(Errc::invalid, error.what()); }

/// What the field and the document say together.
Result<std::string> media_type_of(std::string_view field, const std::string& inside, const json::object& document) {
  std::string outside(trim(field.substr(0, field.find(';'))));
  if (!outside.empty() && !inside.empty() && outside != inside)
    return fail(Errc::invalid, fmt::format("Content-Type is '{}', mediaType in the manifest is '{}'",
                                           printable(outside), printable(inside)));
  std::string type = outside.empty() ? inside : outside;
  // Before mediaType was in there, nothing but its fields said what a document is.
  if (type.empty() || type == "application/json" || type == "application/octet-stream")
    type =
        inside.empty() ? std::string(document.contains("manifests") ? media_type_index : media_type_manifest) : inside;
  if (!is_manifest_type(type) && !is_index_type(type))
    return fail(Errc::invalid,
                fmt::format("a manifest of the type '{}' is not known here: OCI image manifests and indexes are, and "
                            "Docker's schema 2",
                            printable(type)));
  return type;
}

Result<PushedDescriptor> parse_pushed_descriptor(const json::object& object, const std::string& where) {
  JsonFields fields(object, where);
  const auto digest_text = fields.string("digest");
  auto media_type = fields.string("mediaType");
  const auto size = fields.number("size");
  const auto urls = fields.strings("urls");
  if (auto ok = fields.result(); !ok) return fail(not_a_manifest(ok.error()));
  if (!object.contains("size")) return fail(Errc::invalid, where + ": it has no size");
  auto digest = BlobDigest::parse(digest_text);
  if (!digest) return fail(std::move(digest.error()).within(where));
  const bool elsewhere =
      !urls.empty() || media_type.contains(".nondistributable.") || media_type.contains(".rootfs.foreign.");
  return PushedDescriptor{.media_type = std::move(media_type),
                          .digest = std::move(*digest),
                          .size = size,
                          .elsewhere = elsewhere,
                          .runs_here = image::runs_here(object)};
}

Result<std::vector<PushedDescriptor>> parse_descriptors(JsonFields& fields, std::string_view name) {
  const auto objects = fields.objects(name);
  if (auto ok = fields.result(); !ok) return fail(not_a_manifest(ok.error()));
  if (objects.size() > pushed_descriptors_max)
    return fail(Errc::invalid, fmt::format("{} {}: at most {}", objects.size(), name, pushed_descriptors_max));
  std::vector<PushedDescriptor> all;
  for (std::size_t i = 0; i < objects.size(); ++i) {
    auto one = parse_pushed_descriptor(objects[i], fmt::format("{} {}", name, i + 1));
    if (!one) return fail(std::move(one.error()));
    all.push_back(std::move(*one));
  }
  return all;
}

}  // namespace

bool PushedManifest::is_image() const {
  return config && (config->media_type == media_type_config || config->media_type == pushed_docker_config);
}

Result<PushedManifest> parse_pushed_manifest(std::string_view bytes, std::string_view content_type) {
  if (bytes.size() > pushed_manifest_bytes_max)
    return fail(Errc::too_large, fmt::format("a manifest has at most {}", human_bytes(pushed_manifest_bytes_max)));
  auto document = parse_object(bytes, "the manifest");
  if (!document) return fail(not_a_manifest(document.error()));
  JsonFields fields(*document, "manifest");
  const auto version = fields.number("schemaVersion");
  const auto inside = fields.string("mediaType");
  PushedManifest manifest;
  manifest.artifact_type = fields.string("artifactType");
  manifest.annotations = fields.string_map("annotations");
  const auto config = fields.object("config");
  const auto subject = fields.object("subject");
  if (auto ok = fields.result(); !ok) return fail(not_a_manifest(ok.error()));
  if (version != 2) return fail(Errc::invalid, fmt::format("manifest: schemaVersion is {}, not 2", version));
  // One document that is a manifest to some and an index to others is an attack (CVE-2021-41190).
  if (document->contains("manifests") && (document->contains("layers") || document->contains("config")))
    return fail(Errc::invalid, "manifest: it has 'manifests' and is a manifest as well");
  auto media_type = media_type_of(content_type, inside, *document);
  if (!media_type) return fail(std::move(media_type.error()));
  manifest.media_type = std::move(*media_type);
  manifest.is_index = is_index_type(manifest.media_type);
  if (subject) {
    auto parsed = parse_pushed_descriptor(*subject, "subject");
    if (!parsed) return fail(std::move(parsed.error()));
    manifest.subject = std::move(parsed->digest);
  }
  if (manifest.is_index) {
    if (!document->contains("manifests")) return fail(Errc::invalid, "index: it has no 'manifests'");
    auto entries = parse_descriptors(fields, "manifests");
    if (!entries) return fail(std::move(entries.error()));
    manifest.manifests = std::move(*entries);
    return manifest;
  }
  if (!config) return fail(Errc::invalid, "manifest: it has no config");
  auto parsed = parse_pushed_descriptor(*config, "config");
  if (!parsed) return fail(std::move(parsed.error()));
  manifest.config = std::move(*parsed);
  if (manifest.artifact_type.empty()) manifest.artifact_type = manifest.config->media_type;
  auto layers = parse_descriptors(fields, "layers");
  if (!layers) return fail(std::move(layers.error()));
  manifest.layers = std::move(*layers);
  return manifest;
}

}  // namespace wick::image
