// An image of a store to a registry: layers first, then the config, then the manifest that names them all; a registry
// takes no manifest whose blobs it lacks (distribution-spec "Push").
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>

#include "registry_session.hpp"
#include "wick/base/text.hpp"
#include "wick/image/import.hpp"
#include "wick/os/files.hpp"

namespace wick::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t pushes_at_once = 3;
constexpr std::size_t zip_bytes = 256 << 10;
constexpr std::string_view media_type_gzip_layer = "application/vnd.oci.image.layer.v1.tar+gzip";

struct EndDeflate {
  void operator()(z_stream* stream) const {
    ::deflateEnd(stream);
    delete stream;
  }
};

struct Zipped {
  Fd file;
  Descriptor descriptor;
};

/// The same bytes every time: no name and no time in the header.
Result<Zipped> zip_layer(const ContentStore& store, const Digest& layer, const fs::path& scratch) {
  auto in = store.open_blob(layer);
  if (!in) return fail(std::move(in.error()));
  const auto path = scratch / ("push-" + layer.hex());
  auto out = open_file(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (!out) return fail(std::move(out.error()));
  ::unlink(path.c_str());
  std::unique_ptr<z_stream, EndDeflate> stream(new z_stream{});
  if (::deflateInit2(stream.get(), Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    return fail(Errc::internal, "zlib does not start");
  Sha256 hash;
  std::uint64_t size = 0;
  std::string from(zip_bytes, '\0');
  std::string to(zip_bytes, '\0');
  for (bool ended = false; !ended;) {
    const auto got = ::read(in->get(), from.data(), from.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error("read the layer", errno));
    stream->next_in = reinterpret_cast<Bytef*>(from.data());
    stream->avail_in = static_cast<uInt>(got);
    do {
      stream->next_out = reinterpret_cast<Bytef*>(to.data());
      stream->avail_out = static_cast<uInt>(to.size());
      ended = ::deflate(stream.get(), got == 0 ? Z_FINISH : Z_NO_FLUSH) == Z_STREAM_END;
      const std::string_view made(to.data(), to.size() - stream->avail_out);
      hash.update(made);
      size += made.size();
      if (auto written = write_all(out->get(), made); !written) return fail(std::move(written.error()));
    } while (stream->avail_out == 0);
  }
  return Zipped{
      .file = std::move(*out),
      .descriptor = {.media_type = std::string(media_type_gzip_layer), .digest = hash.finish(), .size = size}};
}

class Pusher {
 public:
  Pusher(const RegistryTarget& target, const ContentStore& store, const fs::path& scratch,
         const std::map<Digest, std::string>& mounts, const OnRegistryProgress& on_progress)
      : session_(target.endpoints.back(), target.reference.repository, Access::push),
        reference_(target.reference),
        store_(store),
        scratch_(scratch),
        mounts_(mounts),
        on_progress_(on_progress) {}

  Result<Digest> push(const Digest& digest) {
    auto image = store_.image(digest);
    if (!image) return fail(std::move(image.error()));
    auto connection = CurlConnection::open();
    if (!connection) return fail(std::move(connection.error()));
    auto layers = push_layers(image->manifest.layers);
    if (!layers) return fail(std::move(layers.error()));
    auto config = store_.read_blob(image->manifest.config.digest);
    if (!config) return fail(std::move(config.error()));
    const Upload whole = [&](std::uint64_t offset, char* into, std::size_t size) -> Result<std::size_t> {
      return config->copy(into, size, offset);
    };
    if (auto pushed = push_blob(*connection, image->manifest.config, whole, ""); !pushed)
      return fail(std::move(pushed.error()).within("config"));
    Manifest manifest = image->manifest;
    manifest.layers = std::move(*layers);
    return put_manifest(*connection, manifest.to_json());
  }

 private:
  using Upload = std::function<Result<std::size_t>(std::uint64_t, char*, std::size_t)>;

  Result<std::vector<Descriptor>> push_layers(const std::vector<Descriptor>& layers) {
    std::vector<Descriptor> pushed(layers.size());
    std::atomic<std::size_t> next = 0;
    std::optional<Error> failed;
    const auto work = [&] {
      auto connection = CurlConnection::open();
      for (auto i = next++; i < layers.size(); i = next++) {
        auto one = connection ? push_layer(*connection, layers[i]) : Result<Descriptor>(fail(connection.error()));
        const std::lock_guard lock(mutex_);
        if (failed) return;
        if (!one) {
          failed = std::move(one.error()).within(fmt::format("layer {}", i + 1));
          next = layers.size();
          return;
        }
        pushed[i] = std::move(*one);
        on_progress_(fmt::format("layer {} of {}: {}", i + 1, layers.size(), human_bytes(pushed[i].size)));
      }
    };
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < std::min(pushes_at_once, layers.size()); ++i) threads.emplace_back(work);
    for (auto& thread : threads) thread.join();
    if (failed) return fail(std::move(*failed));
    return pushed;
  }

  Result<Descriptor> push_layer(CurlConnection& connection, const Descriptor& layer) {
    if (auto room = check_room(scratch_); !room) return fail(std::move(room.error()));
    auto zipped = zip_layer(store_, layer.digest, scratch_);
    if (!zipped) return fail(std::move(zipped.error()));
    const Upload from_file = [&](std::uint64_t offset, char* into, std::size_t size) -> Result<std::size_t> {
      const auto got = ::pread(zipped->file.get(), into, size, static_cast<off_t>(offset));
      if (got < 0) return fail(system_error("read the compressed layer", errno));
      return static_cast<std::size_t>(got);
    };
    const auto elsewhere = mounts_.find(layer.digest);
    auto pushed = push_blob(connection, zipped->descriptor, from_file,
                            elsewhere == mounts_.end() ? std::string() : elsewhere->second);
    if (!pushed) return fail(std::move(pushed.error()));
    return std::move(zipped->descriptor);
  }

  Result<void> push_blob(CurlConnection& connection, const Descriptor& blob, const Upload& bytes,
                         const std::string& mounted_from) {
    const HttpExchange look{.method = "HEAD", .url = session_.url("/blobs/" + blob.digest.text())};
    auto there = session_.request(connection, look);
    if (!there) return fail(std::move(there.error()));
    if (there->status == 200) return {};
    HttpExchange begin{.method = "POST", .url = session_.url("/blobs/uploads/")};
    auto begun = Result<HttpAnswer>(HttpAnswer{});
    if (!mounted_from.empty()) {
      auto mount = begin;
      mount.url += fmt::format("?mount={}&from={}", blob.digest.text(), mounted_from);
      begun = session_.request(connection, mount);
      if (begun && begun->status == 201) return {};
    }
    // Not there, or not for us: no reason not to send it.
    if (!begun || begun->status != 202) begun = session_.request(connection, begin);
    if (!begun) return fail(std::move(begun.error()));
    if (begun->status != 202) return fail(session_.refused(begin, *begun));
    if (begun->location.empty()) return fail(Errc::corrupt, "the registry does not say where an upload goes");
    HttpExchange put{
        .method = "PUT",
        .url = begun->location + (begun->location.contains('?') ? "&" : "?") + "digest=" + blob.digest.text(),
        .fields = {"Content-Type: application/octet-stream"},
        .upload = bytes,
        .upload_bytes = blob.size};
    auto done = session_.request(connection, put);
    if (!done) return fail(std::move(done.error()));
    if (done->status != 201) return fail(session_.refused(put, *done));
    return {};
  }

  Result<Digest> put_manifest(CurlConnection& connection, std::string manifest) {
    const auto digest = Digest::of(manifest);
    const HttpExchange put{.method = "PUT",
                           .url = session_.url("/manifests/" + reference_.tag),
                           .fields = {fmt::format("Content-Type: {}", media_type_manifest)},
                           .body = std::move(manifest)};
    auto done = session_.request(connection, put);
    if (!done) return fail(std::move(done.error()));
    if (done->status != 201) return fail(session_.refused(put, *done));
    const auto said = done->field("docker-content-digest");
    if (!said.empty() && said != digest.text())
      return fail(Errc::corrupt, fmt::format("the registry has {} of the manifest {}", printable(said), digest.text()));
    return digest;
  }

  RegistrySession session_;
  const Reference& reference_;
  const ContentStore& store_;
  const fs::path& scratch_;
  const std::map<Digest, std::string>& mounts_;
  const OnRegistryProgress& on_progress_;
  std::mutex mutex_;  // of the layers' results and of what is said
};

}  // namespace

Result<Digest> push_image(const RegistryTarget& target, const ContentStore& store, const Digest& manifest,
                          const fs::path& scratch, const std::map<Digest, std::string>& mounts,
                          const OnRegistryProgress& on_progress) {
  if (target.reference.tag.empty() || !target.reference.digest.empty() || target.endpoints.empty())
    return fail(Errc::invalid, "an image is pushed under a tag, not under a digest", "REGISTRY/NAME:TAG");
  return Pusher(target, store, scratch, mounts, on_progress).push(manifest);
}

}  // namespace wick::image
