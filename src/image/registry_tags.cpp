// Tags of a registry's store, and names of the content store that are tags as well.
#include "registry_tags.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cerrno>

#include "json_fields.hpp"
#include "wick/base/text.hpp"
#include "wick/image/reference.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr std::size_t tag_file_bytes_max = 4096;

std::optional<Digest> named_image(const ContentStore& content, const std::string& name) {
  auto names = content.images();
  if (!names || name.empty()) return std::nullopt;
  const auto found = std::ranges::find(*names, name, &ContentStore::Named::reference);
  return found == names->end() ? std::nullopt : std::optional(found->manifest.digest);
}

/// A tag is two things, its file and the image's name: one request at a time changes both.
Result<Fd> lock_tags(const fs::path& folder) {
  if (auto made = make_folders(folder / tags_name, 0700); !made) return fail(std::move(made.error()));
  auto lock = open_file(folder / tags_name, O_RDONLY | O_DIRECTORY);
  while (lock && ::flock(lock->get(), LOCK_EX) != 0)
    if (errno != EINTR) return fail(system_error("lock the tags of " + folder.string(), errno));
  return lock;
}

Error no_manifest(std::string_view repository, std::string_view reference) {
  return {Errc::not_found, fmt::format("{} has no manifest {}", repository, reference)};
}

}  // namespace

std::string RegistryStore::Tag::text() const {
  return json::serialize(json::object{{"manifest", manifest.text()}, {"image", image ? image->text() : std::string()}});
}

std::optional<RegistryStore::Tag> RegistryStore::Tag::parse(std::string_view text) {
  auto object = parse_object(text, "a tag");
  if (!object) return std::nullopt;
  JsonFields fields(*object, "a tag");
  auto manifest = BlobDigest::parse(fields.string("manifest"));
  const auto image = fields.string("image");
  auto digest = image.empty() ? Result<Digest>(Digest()) : Digest::parse(image);
  if (!manifest || !digest) return std::nullopt;
  return Tag{.manifest = std::move(*manifest), .image = image.empty() ? std::nullopt : std::optional(*digest)};
}

std::map<std::string, Digest> own_tags(const ContentStore& content, std::string_view repository) {
  std::map<std::string, Digest> tags;
  const auto wanted = canonical_repository(repository);
  auto names = content.images();
  if (!names) return tags;
  for (const auto& named : *names) {
    const auto reference = parse_reference(named.reference);
    if (!reference || reference->tag.empty()) continue;
    auto without_tag = *reference;
    without_tag.tag.clear();
    if (without_tag.familiar() == wanted) tags.emplace(reference->tag, named.manifest.digest);
  }
  return tags;
}

/// nullopt as well for one that is none any more: its name means something else now.
std::optional<RegistryStore::Tag> RegistryStore::read_tag(std::string_view repository, std::string_view tag) const {
  const auto text = read_file(folder_of(repository) / tags_name / tag, tag_file_bytes_max);
  auto found = text ? Tag::parse(*text) : std::nullopt;
  if (!found || found->image != named_image(content_, name_of(repository, tag))) return std::nullopt;
  return found;
}

std::optional<BlobDigest> RegistryStore::pushed_as(std::string_view repository, std::string_view tag) const {
  auto found = read_tag(repository, tag);
  return found ? std::optional(std::move(found->manifest)) : std::nullopt;
}

Result<RegistryStore::StoredManifest> RegistryStore::manifest(std::string_view repository, std::string_view tag) const {
  if (const auto pushed = read_tag(repository, tag)) return manifest(repository, pushed->manifest);
  if (const auto own = named_image(content_, name_of(repository, tag)))
    if (auto found = own_manifest(repository, *own)) return std::move(*found);
  return fail(no_manifest(repository, tag));
}

Result<void> RegistryStore::set_tag(std::string_view repository, std::string_view tag, const BlobDigest& manifest,
                                    const std::optional<Digest>& image) {
  const std::shared_lock lock(garbage_);
  const auto folder = folder_of(repository);
  if (!has_manifest(repository, manifest)) return fail(no_manifest(repository, manifest.text()));
  const auto alone = lock_tags(folder);
  if (!alone) return fail(alone.error());
  const auto before = read_tag(repository, tag);
  const Tag wanted{.manifest = manifest, .image = image};
  if (auto written = write_file_atomically(folder / tags_name / tag, wanted.text(), 0600); !written) return written;
  if (before && before->manifest != manifest) make_old(folder / manifest_links_name / before->manifest.file_name());
  // Now the tag is what it was before until the name is given: whoever asks meanwhile gets the image, or nothing.
  const auto name = name_of(repository, tag);
  const auto named = named_image(content_, name);
  if (named == image) return {};
  if (!image) return content_.remove_reference(name);
  auto stored = content_.image(*image);
  if (stored) stored = content_.put_image(stored->config, stored->manifest.layers, name);
  if (!stored) return fail(std::move(stored.error()));
  return {};
}

Result<void> RegistryStore::remove_tag(std::string_view repository, std::string_view tag) {
  const std::shared_lock lock(garbage_);
  const auto folder = folder_of(repository);
  std::error_code none;
  const auto alone = fs::exists(folder / tags_name, none) ? lock_tags(folder) : Result<Fd>(Fd());
  if (!alone) return fail(alone.error());
  const auto pushed = read_tag(repository, tag);
  const auto name = name_of(repository, tag);
  const auto image = named_image(content_, name);
  if (!pushed && !image) return fail(no_manifest(repository, tag));
  if (image)
    if (auto removed = content_.remove_reference(name); !removed && removed.error().code() != Errc::not_found)
      return removed;
  const auto file = folder / tags_name / tag;
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return fail(system_error("remove " + file.string(), errno));
  if (pushed) make_old(folder / manifest_links_name / pushed->manifest.file_name());
  return {};
}

Result<std::vector<std::string>> RegistryStore::tags(std::string_view repository) const {
  std::vector<std::string> found;
  const auto own = own_tags(content_, repository);
  for (const auto& [tag, image] : own) found.push_back(tag);
  const auto folder = folder_of(repository);
  std::error_code error;
  const bool known = fs::exists(folder / manifest_links_name, error) || fs::exists(folder / blob_links_name, error);
  if (!known && own.empty())
    return fail(Errc::not_found, fmt::format("there is no repository {}", repository),
                "it is there once something was pushed to it");
  for (const auto& entry : fs::directory_iterator(folder / tags_name, error)) {
    auto tag = entry.path().filename().string();
    if (!own.contains(tag) && is_tag(tag) && read_tag(repository, tag)) found.push_back(std::move(tag));
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace wick::image
