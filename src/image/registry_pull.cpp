// From a name to an image in a store:
//   manifest (by tag or digest) → the manifest for this machine, where it is an index → config → layers, three at a
//   time
// Nothing is looked into before its digest is what the document above it says.
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/json/array.hpp>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "byte_source.hpp"
#include "json_fields.hpp"
#include "platform.hpp"
#include "registry_session.hpp"
#include "wick/base/text.hpp"
#include "wick/image/import.hpp"
#include "wick/image/layer.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t registry_document_bytes_max = 4 << 20;  // distribution-spec: what a registry must take
constexpr int nested_indexes_max = 4;
constexpr std::size_t layers_at_once = 3;  // as docker does: more share the same line
constexpr int broken_off_max = 5;          // in a row, without a byte gained
constexpr std::size_t pulled_copy_bytes = 256 << 10;
constexpr std::uint64_t bytes_between_looks = 16 << 20;  // at the room on the disk
constexpr std::string_view accepted =
    "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

std::string path_of(const Reference& reference) {
  return "/manifests/" + (reference.digest.empty() ? reference.tag : reference.digest.text());
}

/// The first endpoint that has it; the error of the last, which is the registry itself.
template <class T, class Ask>
Result<T> from_any(const RegistryTarget& target, Ask ask) {
  Result<T> answer = fail(Errc::invalid, "there is no registry to ask");
  for (const auto& endpoint : target.endpoints) {
    answer = ask(endpoint);
    if (answer) return answer;
  }
  return answer;
}

struct Document {
  Digest digest;
  std::string bytes;
};

class Puller {
 public:
  Puller(const RegistryEndpoint& endpoint, const RegistryTarget& target, const ContentStore& store,
         const fs::path& scratch, const HasLayer& has, const OnRegistryProgress& on_progress)
      : session_(endpoint, target.reference.repository, Access::pull),
        target_(target),
        store_(store),
        scratch_(scratch),
        has_(has),
        on_progress_(on_progress) {}

  Result<Pulled> pull() {
    auto connection = CurlConnection::open();
    if (!connection) return fail(std::move(connection.error()));
    Pulled pulled;
    auto manifest = image_manifest(*connection, pulled.known_as);
    if (!manifest) return fail(std::move(manifest.error()));
    auto config_text = fetch_small(*connection, manifest->config);
    if (!config_text) return fail(std::move(config_text.error()));
    auto config = ImageConfig::parse(*config_text);
    if (!config) return fail(std::move(config.error()));
    if (config->diff_ids.size() != manifest->layers.size())
      return fail(Errc::corrupt,
                  fmt::format("{} diff_ids for {} layers", config->diff_ids.size(), manifest->layers.size()));
    auto layers = fetch_layers(*manifest, *config);
    if (!layers) return fail(std::move(layers.error()));
    auto image = store_.put_image(*config, *layers, "");
    if (!image) return fail(std::move(image.error()));
    pulled.image = std::move(*image);
    return pulled;
  }

 private:
  Result<Document> fetch_manifest(CurlConnection& connection, const std::string& path, const Digest& expected) {
    const HttpExchange request{
        .url = session_.url(path), .fields = {std::string(accepted)}, .body_bytes_max = registry_document_bytes_max};
    auto answer = session_.request(connection, request);
    if (!answer) return fail(std::move(answer.error()));
    if (answer->status != 200) return fail(session_.refused(request, *answer));
    Document document{.digest = Digest::of(answer->body), .bytes = std::move(answer->body)};
    if (!expected.empty() && document.digest != expected)
      return fail(Errc::corrupt, fmt::format("the manifest that the registry gives for {} hashes to {}",
                                             expected.text(), document.digest.text()));
    return document;
  }

  Result<Manifest> image_manifest(CurlConnection& connection, std::vector<Digest>& known_as) {
    auto document = fetch_manifest(connection, path_of(target_.reference), target_.reference.digest);
    for (int depth = 0; document; ++depth) {
      known_as.push_back(document->digest);
      auto parsed = parse_object(document->bytes, "the manifest");
      if (!parsed) return fail(std::move(parsed.error()));
      if (!parsed->contains("manifests")) return Manifest::parse(document->bytes);
      if (depth == nested_indexes_max) return fail(Errc::invalid, "an index inside an index, too often");
      auto chosen = choose(*parsed);
      if (!chosen) return fail(std::move(chosen.error()));
      document = fetch_manifest(connection, "/manifests/" + chosen->digest.text(), chosen->digest);
    }
    return fail(std::move(document.error()));
  }

  Result<Descriptor> choose(const boost::json::object& index) {
    if (index.contains("layers") || index.contains("config"))  // CVE-2021-41190
      return fail(Errc::corrupt, "index: it has 'layers' and is an index as well");
    JsonFields fields(index, "index");
    const auto entries = fields.objects("manifests");
    if (auto ok = fields.result(); !ok) return fail(std::move(ok.error()));
    std::vector<std::string> others;
    for (const auto& entry : entries) {
      if (runs_here(entry)) return parse_descriptor(entry, "index: manifests");
      const auto platform = platform_of(entry);
      if (platform != "unknown/unknown") others.push_back(printable(platform, 40));  // an attestation
    }
    return fail(Errc::unsupported, fmt::format("there is no image for linux/{} in it, only for {}",
                                               machine_architecture(), fmt::join(others, ", ")));
  }

  Result<std::string> fetch_small(CurlConnection& connection, const Descriptor& descriptor) {
    if (descriptor.size > registry_document_bytes_max)
      return fail(Errc::too_large, fmt::format("an image config of {}", human_bytes(descriptor.size)));
    const HttpExchange request{.url = session_.url("/blobs/" + descriptor.digest.text()),
                               .body_bytes_max = descriptor.size};
    auto answer = session_.request(connection, request);
    if (!answer) return fail(std::move(answer.error()));
    if (answer->status != 200) return fail(session_.refused(request, *answer));
    if (answer->body.size() != descriptor.size || Digest::of(answer->body) != descriptor.digest)
      return fail(Errc::corrupt, fmt::format("blob {} is not what its digest and size say", descriptor.digest.text()));
    return std::move(answer->body);
  }

  /// Every layer once, whatever the image repeats; the first error ends the others after their layer.
  Result<std::vector<Descriptor>> fetch_layers(const Manifest& manifest, const ImageConfig& config) {
    std::vector<Descriptor> layers(manifest.layers.size());
    std::vector<std::size_t> wanted;
    std::set<Digest> seen;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      layers[i] = {.media_type = std::string(media_type_layer), .digest = config.diff_ids[i], .size = 0};
      if (!seen.insert(config.diff_ids[i]).second) continue;
      auto has = has_(config.diff_ids[i]);
      if (!has) return fail(std::move(has.error()));
      if (*has)
        layers[i].size = **has;
      else
        wanted.push_back(i);
    }
    if (seen.size() > wanted.size())
      on_progress_(fmt::format("{} of {} layers are here already", seen.size() - wanted.size(), seen.size()));
    std::atomic<std::size_t> next = 0;
    std::optional<Error> failed;
    std::vector<std::thread> threads;
    const auto work = [&] {
      auto connection = CurlConnection::open();
      for (auto at = next++; at < wanted.size(); at = next++) {
        const auto i = wanted[at];
        auto layer = connection ? fetch_layer(*connection, manifest.layers[i], config.diff_ids[i])
                                : Result<Descriptor>(fail(connection.error()));
        const std::lock_guard lock(mutex_);
        if (failed) return;
        if (!layer) {
          failed = std::move(layer.error()).within(fmt::format("layer {}", i + 1));
          next = wanted.size();
          return;
        }
        layers[i] = std::move(*layer);
        on_progress_(fmt::format("layer {} of {}: {}", i + 1, layers.size(), human_bytes(manifest.layers[i].size)));
      }
    };
    for (std::size_t i = 0; i < std::min(layers_at_once, wanted.size()); ++i) threads.emplace_back(work);
    for (auto& thread : threads) thread.join();
    if (failed) return fail(std::move(*failed));
    for (auto& layer : layers) layer.size = std::ranges::find(layers, layer.digest, &Descriptor::digest)->size;
    return layers;
  }

  Result<Descriptor> fetch_layer(CurlConnection& connection, const Descriptor& descriptor, const Digest& diff_id) {
    const auto path = scratch_ / ("layer-" + descriptor.digest.hex());
    auto file = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (!file) return fail(std::move(file.error()));
    ::unlink(path.c_str());
    if (auto done = download(connection, descriptor, file->get()); !done) return fail(std::move(done.error()));
    if (::lseek(file->get(), 0, SEEK_SET) != 0) return fail(system_error("seek", errno));
    auto writer = store_.write_blob();
    if (!writer) return fail(std::move(writer.error()));
    ByteSource source(file->get(), UnpackLimits{});
    std::string buffer(pulled_copy_bytes, '\0');
    std::uint64_t looked = 0;
    for (std::uint64_t bytes = 0;;) {
      if (bytes >= looked) {
        if (auto room = check_room(store_.root()); !room) return fail(std::move(room.error()));
        looked += bytes_between_looks;
      }
      auto got = source.read(buffer);
      if (!got) return fail(std::move(got.error()));
      if (*got == 0) break;
      bytes += *got;
      if (auto written = writer->write(std::string_view(buffer).substr(0, *got)); !written)
        return fail(std::move(written.error()));
    }
    return writer->commit(std::string(media_type_layer), diff_id);
  }

  /// The whole blob, checked. What came before a connection broke is kept, and the rest asked for (RFC 9110 14.2).
  Result<void> download(CurlConnection& connection, const Descriptor& descriptor, int file) {
    Sha256 hash;
    std::uint64_t bytes = 0;
    std::uint64_t looked = 0;
    bool begun = false;  // this answer
    const auto take = [&](long status, std::string_view some) -> Result<void> {
      if (!begun && status == 200 && bytes > 0) {  // from the beginning, whatever was asked
        hash = Sha256();
        bytes = looked = 0;
        if (::ftruncate(file, 0) != 0 || ::lseek(file, 0, SEEK_SET) != 0) return fail(system_error("truncate", errno));
      }
      begun = true;
      if (bytes + some.size() > descriptor.size)
        return fail(Errc::corrupt, fmt::format("blob {} is longer than the {} bytes that its manifest says",
                                               descriptor.digest.text(), descriptor.size));
      if (bytes >= looked) {
        if (auto room = check_room(scratch_); !room) return room;
        looked += bytes_between_looks;
      }
      hash.update(some);
      bytes += some.size();
      return write_all(file, some);
    };
    for (int broken = 0; bytes < descriptor.size || (descriptor.size == 0 && !begun);) {
      const auto before = bytes;
      begun = false;
      HttpExchange request{.url = session_.url("/blobs/" + descriptor.digest.text()), .sink = take};
      if (bytes > 0) request.fields.push_back(fmt::format("Range: bytes={}-", bytes));
      auto answer = session_.request(connection, request);
      if (answer && answer->status == 416 && bytes > 0) {  // it knows no ranges: all of it again
        bytes = 0;
        hash = Sha256();
        if (::ftruncate(file, 0) != 0 || ::lseek(file, 0, SEEK_SET) != 0) return fail(system_error("truncate", errno));
      } else if (answer && answer->status != 200 && answer->status != 206) {
        return fail(session_.refused(request, *answer));
      }
      if (descriptor.size == 0 && answer) break;
      const bool may_go_on =
          answer || answer.error().code() == Errc::unavailable || answer.error().code() == Errc::timed_out;
      // Who said nothing for so long is not asked to say nothing again.
      const bool stalled = !answer && answer.error().code() == Errc::timed_out && bytes == before;
      if (!may_go_on || stalled) return fail(std::move(answer.error()));
      if (bytes == descriptor.size) break;
      broken = bytes > before ? 1 : broken + 1;
      if (broken == broken_off_max)
        return answer ? fail(Errc::corrupt, fmt::format("blob {} ends after {} of {} bytes", descriptor.digest.text(),
                                                        bytes, descriptor.size))
                      : Result<void>(fail(std::move(answer.error())));
    }
    if (const auto found = hash.finish(); found != descriptor.digest)
      return fail(Errc::corrupt, fmt::format("blob {} hashes to {}", descriptor.digest.text(), found.text()));
    return {};
  }

  RegistrySession session_;
  const RegistryTarget& target_;
  const ContentStore& store_;
  const fs::path& scratch_;
  const HasLayer& has_;
  const OnRegistryProgress& on_progress_;
  std::mutex mutex_;  // of the layers' results and of what is said
};

Result<Digest> resolve_at(const RegistryEndpoint& endpoint, const Reference& reference) {
  auto connection = CurlConnection::open();
  if (!connection) return fail(std::move(connection.error()));
  RegistrySession session(endpoint, reference.repository, Access::pull);
  HttpExchange request{.method = "HEAD",
                       .url = session.url(path_of(reference)),
                       .fields = {std::string(accepted)},
                       .body_bytes_max = registry_document_bytes_max};
  auto answer = session.request(*connection, request);
  if (!answer) return fail(std::move(answer.error()));
  if (answer->status == 200)
    if (auto digest = Digest::parse(answer->field("docker-content-digest"))) return digest;
  // Either it does not say, or HEAD is nothing it knows (or it has no body to say why).
  request.method = "GET";
  answer = session.request(*connection, request);
  if (!answer) return fail(std::move(answer.error()));
  if (answer->status != 200) return fail(session.refused(request, *answer));
  return Digest::of(answer->body);
}

}  // namespace

Result<Digest> resolve_digest(const RegistryTarget& target) {
  if (!target.reference.digest.empty()) return target.reference.digest;
  return from_any<Digest>(target, [&](const auto& endpoint) { return resolve_at(endpoint, target.reference); });
}

Result<Pulled> pull_image(const RegistryTarget& target, const ContentStore& store, const fs::path& scratch,
                          const HasLayer& has, const OnRegistryProgress& on_progress) {
  return from_any<Pulled>(
      target, [&](const auto& endpoint) { return Puller(endpoint, target, store, scratch, has, on_progress).pull(); });
}

}  // namespace wick::image
