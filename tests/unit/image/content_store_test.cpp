#include "wick/image/content_store.hpp"

#include <sys/stat.h>
#include <utime.h>

#include <catch2/catch.hpp>
#include <thread>

#include "tar_builder.hpp"
#include "tree_listing.hpp"
#include "wick/image/import.hpp"
#include "wick/image/layer.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

struct Fixture {
  TemporaryFolder folder = temporary_folder();
  fs::path root = folder.path() / "content";
  ContentStore store = ContentStore::open(root).value();

  Descriptor layer(std::string_view bytes) { return store.put_blob(bytes, std::string(media_type_layer)).value(); }
  fs::path blob(const Digest& digest) const { return root / "blobs" / "sha256" / digest.hex(); }
  std::size_t blobs() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(root / "blobs" / "sha256"), fs::directory_iterator()));
  }
};

ImageConfig some_config() {
  ImageConfig config;
  config.created = "2026-01-02T03:04:05Z";
  config.user = "1000:1000";
  config.environment = {"PATH=/bin", "A=b=c"};
  config.entrypoint = {"/bin/sh"};
  config.command = {"-c", "true"};
  config.working_folder = "/app";
  config.exposed_ports = {"8080/tcp"};
  config.volumes = {"/data"};
  config.labels = {{"a", "1"}, {"b", "\"2\""}};
  config.stop_signal = "SIGQUIT";
  config.shell = {"/bin/bash", "-c"};
  config.on_build = {"RUN x"};
  config.history = {{.created_by = "COPY . ."}, {.created_by = "CMD x", .empty_layer = true}};
  return config;
}

}  // namespace

TEST_CASE("a blob is there after commit, under what it hashes to, and not before") {
  Fixture f;
  auto writer = f.store.write_blob();
  REQUIRE(writer);
  REQUIRE(writer->write("hello "));
  REQUIRE(writer->write("world"));
  const auto digest = Digest::of("hello world");
  CHECK_FALSE(f.store.has_blob(digest));
  const auto descriptor = writer->commit("text/plain", digest);
  REQUIRE(descriptor);
  CHECK(descriptor->size == 11);
  CHECK(f.store.read_blob(digest).value() == "hello world");
  CHECK(f.store.put_blob("hello world", "text/plain").value().digest == digest);  // again: fine
}

TEST_CASE("a blob with another digest than expected, or never committed, leaves nothing") {
  Fixture f;
  {
    auto writer = f.store.write_blob().value();
    REQUIRE(writer.write("other"));
    CHECK(writer.commit("text/plain", Digest::of("expected")).error().code() == Errc::corrupt);
    auto dropped = f.store.write_blob().value();
    REQUIRE(dropped.write("dropped"));
  }
  CHECK(f.blobs() == 0);
  CHECK(fs::is_empty(f.root / "ingest"));
}

TEST_CASE("a damaged blob is corrupt, a missing one not found, a large one refused") {
  Fixture f;
  const auto digest = f.store.put_blob("content", "x").value().digest;
  CHECK(f.store.read_blob(digest, 3).error().code() == Errc::too_large);
  write_file(f.blob(digest), "c0ntent").value();
  CHECK(f.store.read_blob(digest).error().code() == Errc::corrupt);
  CHECK(f.store.read_blob(Digest::of("nothing")).error().code() == Errc::not_found);
  CHECK(f.store.open_blob(Digest::of("nothing")).error().code() == Errc::not_found);
}

TEST_CASE("opening again keeps what is there and removes what a crash left half written") {
  Fixture f;
  REQUIRE(f.store.put_image(some_config(), {f.layer("one")}, "hello"));
  write_file(f.root / "ingest" / "left", "half").value();
  const utimbuf long_ago{.actime = 1000, .modtime = 1000};
  REQUIRE(::utime((f.root / "ingest" / "left").c_str(), &long_ago) == 0);
  auto busy = f.store.write_blob().value();
  REQUIRE(busy.write("busy"));
  auto again = ContentStore::open(f.root);
  REQUIRE(again);
  CHECK_FALSE(fs::exists(f.root / "ingest" / "left"));
  CHECK(again->image("hello"));
  CHECK(busy.commit("x"));
}

TEST_CASE("a store whose index is damaged is not opened as if it were empty") {
  Fixture f;
  for (const char* text : {"", "{", "[]", R"({"manifests":1})"}) {
    write_file(f.root / "index.json", text).value();
    CHECK(ContentStore::open(f.root).error().code() == Errc::corrupt);
  }
}

TEST_CASE("an image is found by every way to write its name and by its digest") {
  Fixture f;
  const auto image = f.store.put_image(some_config(), {f.layer("one"), f.layer("two")}, "debian:bookworm");
  REQUIRE(image);
  for (const std::string& name : {std::string("debian:bookworm"), std::string("docker.io/library/debian:bookworm"),
                                  image->digest.text(), "anything@" + image->digest.text()}) {
    const auto found = f.store.image(name);
    INFO(name);
    REQUIRE(found);
    CHECK(found->digest == image->digest);
    CHECK(found->config.diff_ids == std::vector<Digest>{Digest::of("one"), Digest::of("two")});
  }
  CHECK(f.store.image("debian").error().code() == Errc::not_found);
  CHECK(f.store.image("not a name").error().code() == Errc::invalid);
  CHECK(f.store.images().value().front().reference == "debian:bookworm");
}

TEST_CASE("a name moves to the newest image, and the same image has the same digest") {
  Fixture f;
  const auto first = f.store.put_image(some_config(), {f.layer("one")}, "hello").value();
  const auto second = f.store.put_image(some_config(), {f.layer("two")}, "hello:latest").value();
  const auto third = f.store.put_image(some_config(), {f.layer("one")}, "other").value();
  CHECK(f.store.image("hello").value().digest == second.digest);
  CHECK(first.digest == third.digest);
  CHECK(f.store.images().value().size() == 2);
  CHECK(f.store.remove_reference("hello"));
  CHECK(f.store.remove_reference("hello").error().code() == Errc::not_found);
  CHECK(f.store.image(second.digest));
}

TEST_CASE("an image needs its compressed blobs and as many diff_ids as layers") {
  Fixture f;
  const auto one = f.layer("one");
  auto config = some_config();
  config.diff_ids = {Digest::of("its tar")};
  const auto compressed = std::string(media_type_layer) + "+gzip";
  CHECK(f.store.put_image(config, {{compressed, Digest::of("nothing"), 7}}, "a").error().code() == Errc::not_found);
  config.diff_ids = {Digest::of("two")};
  CHECK(f.store.put_image(config, {one}, "a").error().code() == Errc::invalid);
  config.diff_ids = {one.digest, one.digest};
  CHECK(f.store.put_image(config, {one}, "a").error().code() == Errc::invalid);
  CHECK(f.store.put_image(some_config(), {one}, "A B").error().code() == Errc::invalid);
  CHECK(f.store.images().value().empty());
}

TEST_CASE("names given from many threads are all there") {
  Fixture f;
  const auto one = f.layer("one");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (int j = 0; j < 4; ++j) f.store.put_image(some_config(), {one}, fmt::format("image-{}-{}", i, j)).value();
    });
  for (auto& thread : threads) thread.join();
  CHECK(f.store.images().value().size() == 32);
}

TEST_CASE("a config reads back as it was written, with the fields that are not ours") {
  auto config = some_config();
  config.diff_ids = {Digest::of("one")};
  const auto text = config.to_json();
  CHECK(ImageConfig::parse(text).value().to_json() == text);
  const std::string foreign =
      R"({"architecture":"arm64","variant":"v8","os":"linux","author":"me","config":{"Env":null,"Healthcheck":{"Test":["CMD","x"]}},)"
      R"("rootfs":{"type":"layers","diff_ids":[]},"history":null})";
  const auto parsed = ImageConfig::parse(foreign);
  REQUIRE(parsed);
  const auto again = parsed->to_json();
  for (const char* kept : {R"("variant":"v8")", R"("author":"me")", R"("Healthcheck":{"Test":["CMD","x"]})"})
    CHECK(again.find(kept) != std::string::npos);
}

TEST_CASE("documents that contradict themselves are refused") {
  const std::string digest = R"("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")";
  const std::string config = R"("config":{"mediaType":"c","digest":)" + digest + R"(,"size":1})";
  const auto code = [](const std::string& text) {
    const auto parsed = Manifest::parse(text);
    return parsed ? "fine" : std::string(to_string(parsed.error().code()));
  };
  CHECK(code(R"({"schemaVersion":2,)" + config + R"(,"layers":[]})") == "fine");
  CHECK(code(R"({"schemaVersion":2,)" + config + R"(,"layers":[],"manifests":[]})") == "corrupt");
  CHECK(code(R"({"schemaVersion":2,"manifests":[]})") == "unsupported");
  CHECK(code(R"({"schemaVersion":1,)" + config + "}") == "unsupported");
  CHECK(code(R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",)" + config + "}") ==
        "unsupported");
  CHECK(code(R"({"schemaVersion":2})") == "corrupt");
  CHECK(code(R"({"schemaVersion":2,"config":{"mediaType":"c","digest":)" + digest + R"(,"size":-1}})") == "corrupt");
  CHECK(code(R"({"schemaVersion":2,"config":{"mediaType":"c","digest":"sha512:00","size":1}})") == "unsupported");
  CHECK(code(R"({"schemaVersion":2,"config":{"mediaType":"c","digest":"sha256:../../x","size":1}})") == "corrupt");
  CHECK(code(R"({"schemaVersion":2,)" + config + R"(,"layers":{}})") == "corrupt");
  CHECK(code(std::string(100'000, '[')) == "corrupt");
  CHECK_FALSE(ImageConfig::parse(R"({"rootfs":{"type":"other","diff_ids":[]}})"));
  CHECK_FALSE(ImageConfig::parse(R"({"config":{"Env":"A=b"},"rootfs":{"type":"layers"}})"));
}

TEST_CASE("an image whose manifest and config disagree is corrupt") {
  Fixture f;
  const auto one = f.layer("one");
  auto config = some_config();
  config.diff_ids = {one.digest, one.digest};
  const auto stored = f.store.put_blob(config.to_json(), std::string(media_type_config)).value();
  const auto put = [&](const Manifest& manifest) {
    return f.store.image(f.store.put_blob(manifest.to_json(), std::string(media_type_manifest)).value().digest);
  };
  CHECK(put({.config = stored, .layers = {one}, .annotations = {}}).error().code() == Errc::corrupt);
  auto wrong_size = stored;
  ++wrong_size.size;
  CHECK(put({.config = wrong_size, .layers = {one, one}, .annotations = {}}).error().code() == Errc::corrupt);
  CHECK(put({.config = stored, .layers = {one, one}, .annotations = {}}));
}

TEST_CASE("garbage is what no image reaches and is old enough") {
  Fixture f;
  const auto kept = f.store.put_image(some_config(), {f.layer("one"), f.layer("two")}, "kept").value();
  const auto gone = f.store.put_image(some_config(), {f.layer("one"), f.layer("three")}, "gone").value();
  const auto running = f.store.put_image(some_config(), {f.layer("four")}, "running").value();
  for (const char* name : {"gone", "running"}) REQUIRE(f.store.remove_reference(name));
  CHECK(f.store.collect_garbage({running.digest}, std::chrono::hours(1)).value().blobs == 0);
  const auto collected = f.store.collect_garbage({running.digest}, std::chrono::seconds(0));
  REQUIRE(collected);
  CHECK(collected->blobs == 3);  // layer "three", config and manifest
  CHECK(f.store.image("kept"));
  CHECK(f.store.has_blob(Digest::of("one")));
  CHECK(f.store.image(running.digest));
  CHECK_FALSE(f.store.image(gone.digest));
}

TEST_CASE("an OCI layout and a docker archive are imported with every digest checked") {
  Fixture f;
  TarBuilder layer;
  layer.folder("etc/").file("etc/motd", "hello");
  const auto plain = layer.finish();
  const auto zipped = gzip(plain);
  auto config = some_config();
  config.diff_ids = {Digest::of(plain)};
  const auto config_text = config.to_json();
  const auto text_of = [](const Digest& digest) { return digest.text(); };

  SECTION("layout folder, gzip layer") {
    Manifest manifest{.config = {std::string(media_type_config), Digest::of(config_text), config_text.size()},
                      .layers = {{"application/vnd.oci.image.layer.v1.tar+gzip", Digest::of(zipped), zipped.size()}},
                      .annotations = {}};
    const auto manifest_text = manifest.to_json();
    const auto other = f.folder.path() / "layout";
    fs::create_directories(other / "blobs" / "sha256");
    for (const auto& bytes : {config_text, zipped, manifest_text})
      write_file(other / "blobs" / "sha256" / Digest::of(bytes).hex(), bytes).value();
    const auto entry = [&](std::string platform, const std::string& digest) {
      return R"({"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":")" + digest + R"(","size":)" +
             std::to_string(manifest_text.size()) +
             R"(,"annotations":{"org.opencontainers.image.ref.name":"imported"})" + platform + "}";
    };
    write_file(other / "index.json",
               R"({"schemaVersion":2,"manifests":[)" +
                   entry(R"(,"platform":{"os":"plan9","architecture":"amd64"})", text_of(Digest::of("none"))) + "," +
                   entry("", text_of(Digest::of(manifest_text))) + "]}")
        .value();
    const auto imported = import_images(f.store, other, f.folder.path());
    INFO((imported ? "" : imported.error().what()));
    REQUIRE(imported);
    const auto* image = &imported->front().image;
    CHECK(f.store.image("imported").value().digest == image->digest);
    CHECK(f.store.read_blob(Digest::of(plain)).value() == plain);
    CHECK(image->manifest.layers.front().media_type == media_type_layer);

    write_file(other / "blobs" / "sha256" / Digest::of(zipped).hex(), gzip(plain + std::string(512, '\0'))).value();
    CHECK(import_images(f.store, other, f.folder.path()).error().code() == Errc::corrupt);
    fs::remove(other / "blobs" / "sha256" / Digest::of(zipped).hex());
    fs::create_symlink("/etc/passwd", other / "blobs" / "sha256" / Digest::of(zipped).hex());
    CHECK(import_images(f.store, other, f.folder.path()).error().code() == Errc::not_found);
  }
  SECTION("docker save") {
    TarBuilder archive;
    archive.file("abc/layer.tar", plain).symlink("def/layer.tar", "../abc/layer.tar").file("config.json", config_text);
    archive.file("manifest.json", R"([{"Config":"config.json","RepoTags":["saved:1"],"Layers":["def/layer.tar"]}])");
    write_file(f.folder.path() / "saved.tar", archive.finish()).value();
    const auto imported = import_images(f.store, f.folder.path() / "saved.tar", f.folder.path());
    INFO((imported ? "" : imported.error().what()));
    REQUIRE(imported);
    const auto* image = &imported->front().image;
    CHECK(f.store.image("saved:1").value().config.user == "1000:1000");
    REQUIRE(import_images(f.store, f.folder.path() / "saved.tar", f.folder.path(), "mine"));
    CHECK(f.store.image("mine").value().digest == image->digest);
  }
  SECTION("a layer that is not its DiffID") {
    TarBuilder archive;
    archive.file("layer.tar", TarBuilder().file("other").finish()).file("config.json", config_text);
    archive.file("manifest.json", R"([{"Config":"config.json","RepoTags":["saved:1"],"Layers":["layer.tar"]}])");
    write_file(f.folder.path() / "saved.tar", archive.finish()).value();
    CHECK(import_images(f.store, f.folder.path() / "saved.tar", f.folder.path()).error().code() == Errc::corrupt);
  }
  SECTION("no image at all, an index that is a manifest, and one that points to itself") {
    const auto other = f.folder.path() / "layout";
    fs::create_directories(other / "blobs" / "sha256");
    CHECK(import_images(f.store, other, f.folder.path()).error().code() == Errc::invalid);
    write_file(other / "index.json", R"({"manifests":[],"layers":[]})").value();
    CHECK(import_images(f.store, other, f.folder.path()).error().code() == Errc::corrupt);
    write_file(other / "index.json", R"({"manifests":[]})").value();
    CHECK(import_images(f.store, other, f.folder.path()).error().code() == Errc::unsupported);
  }
}

TEST_CASE("an image is found by the digest that a registry has for it, until it is collected") {
  Fixture f;
  const auto image = f.store.put_image({}, {f.layer("one")}, "").value();
  CHECK(f.store.images().value().empty());
  CHECK_FALSE(f.store.was_pulled(image.digest));
  const std::vector<Digest> elsewhere{Digest::of("the registry's manifest"), Digest::of("its index"), image.digest};
  REQUIRE(f.store.remember_pulled(elsewhere, image.digest));
  CHECK(f.store.was_pulled(image.digest));
  CHECK(f.store.pulled_as(image.digest) == std::min(elsewhere[0], elsewhere[1]));
  for (const auto& digest : elsewhere) CHECK(f.store.image(digest).value().digest == image.digest);
  CHECK(f.store.image("box:5000/hello@" + elsewhere[0].text()).value().digest == image.digest);
  // What keeps it may call it by any of them.
  CHECK(f.store.collect_garbage({elsewhere[1]}, std::chrono::seconds(0)).value().blobs == 0);
  CHECK(f.store.collect_garbage({}, std::chrono::seconds(0)).value().blobs == 3);
  for (const auto& digest : elsewhere) CHECK(f.store.image(digest).error().code() == Errc::not_found);
  CHECK_FALSE(f.store.was_pulled(image.digest));
  CHECK(fs::is_empty(f.root / "pulled"));
}

TEST_CASE("a layout may lack the layers that are known, and no others") {
  Fixture f;
  const auto other = ContentStore::open(f.folder.path() / "other").value();
  const auto image = f.store.put_image({}, {f.layer("one"), f.layer("two")}, "").value();
  fs::remove(f.blob(Digest::of("one")));
  CHECK(other.adopt(f.root, image.digest, "").error().code() == Errc::not_found);
  CHECK(other.adopt(f.root, image.digest, "", {Digest::of("two")}).error().code() == Errc::not_found);
  CHECK(other.adopt(f.root, image.digest, "", {Digest::of("one")}).value().digest == image.digest);
  CHECK_FALSE(other.has_blob(Digest::of("one")));
  CHECK(other.has_blob(Digest::of("two")));
}
