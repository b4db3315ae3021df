#include "wick/image/registry_store.hpp"

#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>
#include <thread>

#include "tree_listing.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

constexpr auto sha256 = HashAlgorithm::sha256;
constexpr auto manifest_type = media_type_manifest;

std::string descriptor_of(const BlobDigest& digest, std::size_t size, std::string_view type) {
  return fmt::format(R"({{"mediaType":"{}","digest":"{}","size":{}}})", type, digest.text(), size);
}

struct RegistryFixture {
  TemporaryFolder folder = temporary_folder();
  ContentStore content = ContentStore::open(folder.path() / "content").value();
  std::unique_ptr<RegistryStore> store = open();

  std::unique_ptr<RegistryStore> open() { return RegistryStore::open(folder.path() / "registry", content).value(); }
  BlobDigest push(std::string_view repository, std::string_view bytes, HashAlgorithm algorithm = sha256) {
    const auto digest = BlobDigest::of(algorithm, bytes);
    const auto id = store->begin_upload(repository, algorithm).value();
    REQUIRE(append(repository, id, bytes));
    REQUIRE(store->finish_upload(repository, id, digest));
    return digest;
  }
  Result<void> append(std::string_view repository, std::string_view id, std::string_view bytes) {
    auto writing = store->write_upload(repository, id);
    if (!writing) return fail(std::move(writing.error()));
    return writing->write(bytes);
  }
  std::string manifest_text(std::string_view repository, std::string_view config, std::string_view layer,
                            std::string_view more = "") {
    const auto config_digest = push(repository, config);
    const auto layer_digest = push(repository, layer);
    return fmt::format(R"({{"schemaVersion":2,"config":{},"layers":[{}]{}}})",
                       descriptor_of(config_digest, config.size(), "application/vnd.example"),
                       descriptor_of(layer_digest, layer.size(), "a/b"), more);
  }
  BlobDigest put(std::string_view repository, std::string_view text, std::string_view type = manifest_type) {
    auto put = store->put_manifest(repository, text, type, std::nullopt);
    REQUIRE(put);
    return put->digest;
  }
  std::string read(std::string_view repository, const BlobDigest& digest) {
    auto blob = store->blob(repository, digest);
    if (!blob || !blob->file) return "(none)";
    return read_all(blob->file.get()).value();
  }
  std::size_t blobs() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder.path() / "registry/blobs/sha256"), fs::directory_iterator()));
  }
  /// All that is there was there two hours ago.
  void let_time_pass() const {
    const utimbuf then{.actime = std::time(nullptr) - 7200, .modtime = std::time(nullptr) - 7200};
    for (const auto& entry : fs::recursive_directory_iterator(folder.path() / "registry")) {
      struct stat status{};
      if (entry.is_regular_file() && ::stat(entry.path().c_str(), &status) == 0 && status.st_mtim.tv_sec > 10)
        ::utime(entry.path().c_str(), &then);
    }
  }
  std::uint64_t collect() { return store->collect_garbage(std::chrono::hours(1)).value().blobs; }
  /// An image of the content store with one plain layer.
  Image image(std::string_view layer, std::string_view name) {
    auto stored = content.put_blob(layer, std::string(media_type_layer)).value();
    return content.put_image({}, {stored}, name).value();
  }
};

}  // namespace

TEST_CASE("a blob that is uploaded in pieces is there afterwards, in its repository alone") {
  RegistryFixture f;
  const auto digest = BlobDigest::of(sha256, "hello world");
  const auto id = f.store->begin_upload("team/a", sha256).value();
  CHECK(f.store->upload_size("team/a", id).value() == 0);
  REQUIRE(f.append("team/a", id, "hello "));
  CHECK(f.store->upload_size("team/a", id).value() == 6);
  CHECK(f.store->upload_size("team/b", id).error().code() == Errc::not_found);
  REQUIRE(f.append("team/a", id, "world"));
  CHECK_FALSE(f.store->blob("team/a", digest));
  REQUIRE(f.store->finish_upload("team/a", id, digest));
  CHECK(f.read("team/a", digest) == "hello world");
  CHECK(f.store->blob("team/b", digest).error().code() == Errc::not_found);
  CHECK(f.store->upload_size("team/a", id).error().code() == Errc::not_found);
  CHECK(f.store->finish_upload("team/a", id, digest).error().code() == Errc::not_found);

  CHECK(f.store->mount("team/b", "team/c", digest).error().code() == Errc::not_found);
  REQUIRE(f.store->mount("team/b", "team/a", digest));
  CHECK(f.read("team/b", digest) == "hello world");
  REQUIRE(f.store->mount("team/c", "", digest));
  CHECK(f.store->mount("team/c", "", BlobDigest::of(sha256, "?")).error().code() == Errc::not_found);
  REQUIRE(f.store->remove_blob("team/a", digest));
  CHECK(f.store->remove_blob("team/a", digest).error().code() == Errc::not_found);
  CHECK_FALSE(f.store->blob("team/a", digest));
  CHECK(f.read("team/b", digest) == "hello world");
}

TEST_CASE("an upload goes on in the next process, and is hashed all the same") {
  RegistryFixture f;
  const auto id = f.store->begin_upload("a", HashAlgorithm::sha512).value();
  REQUIRE(f.append("a", id, "first, "));
  f.store = f.open();
  CHECK(f.store->upload_size("a", id).value() == 7);
  REQUIRE(f.append("a", id, "second"));
  const auto digest = BlobDigest::of(HashAlgorithm::sha512, "first, second");
  REQUIRE(f.store->finish_upload("a", id, digest));
  CHECK(f.read("a", digest) == "first, second");
  // The other algorithm than was announced.
  const auto other = f.store->begin_upload("a", HashAlgorithm::sha512).value();
  REQUIRE(f.append("a", other, "bytes"));
  REQUIRE(f.store->finish_upload("a", other, BlobDigest::of(sha256, "bytes")));
}

TEST_CASE("an upload that is not what it says, is cancelled or not ours leaves nothing") {
  RegistryFixture f;
  const auto id = f.store->begin_upload("a", sha256).value();
  REQUIRE(f.append("a", id, "other"));
  CHECK(f.store->finish_upload("a", id, BlobDigest::of(sha256, "expected")).error().code() == Errc::invalid);
  const auto cancelled = f.store->begin_upload("a", sha256).value();
  REQUIRE(f.store->cancel_upload("a", cancelled));
  CHECK(f.store->cancel_upload("a", cancelled).error().code() == Errc::not_found);
  for (const auto* wrong : {"", "x", "../../etc/passwd", "00000000000000000000000000000000-0000000000000000"})
    CHECK(f.append("a", wrong, "x").error().code() == Errc::not_found);
  CHECK(fs::is_empty(f.folder.path() / "registry/uploads"));
  CHECK(f.blobs() == 0);
}

TEST_CASE("one request at a time writes to an upload, and may take back what it wrote") {
  RegistryFixture f;
  const auto id = f.store->begin_upload("a", sha256).value();
  REQUIRE(f.append("a", id, "kept"));
  {
    auto writing = f.store->write_upload("a", id).value();
    REQUIRE(writing.write(" not"));
    CHECK(f.append("a", id, "x").error().code() == Errc::conflict);
    CHECK(f.store->cancel_upload("a", id).error().code() == Errc::conflict);
    CHECK(f.store->finish_upload("a", id, BlobDigest::of(sha256, "kept")).error().code() == Errc::conflict);
    writing.take_back();
    CHECK(writing.size() == 4);
  }
  REQUIRE(f.store->finish_upload("a", id, BlobDigest::of(sha256, "kept")));
}

TEST_CASE("uploads are bounded in number, and in age") {
  RegistryFixture f;
  std::string first;
  for (std::size_t i = 0; i < registry_uploads_max; ++i) {
    const auto id = f.store->begin_upload("a", sha256).value();
    if (first.empty()) first = id;
  }
  const auto refused = f.store->begin_upload("b", sha256);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::overloaded);
  CHECK(refused.error().what().contains("256 uploads"));
  CHECK_FALSE(refused.error().hint().empty());
  const utimbuf then{.actime = 0, .modtime = std::time(nullptr) - 90'000};
  ::utime((f.folder.path() / "registry/uploads" / first).c_str(), &then);
  CHECK(f.store->begin_upload("b", sha256));
  CHECK(f.store->upload_size("a", first).error().code() == Errc::not_found);
}

TEST_CASE("a manifest is kept byte for byte, once all that it names is there") {
  RegistryFixture f;
  const auto text = f.manifest_text("a", "{}", "layer") + "  ";
  const auto digest = f.put("a", text);
  CHECK(digest == BlobDigest::of(sha256, text));
  const auto stored = f.store->manifest("a", digest).value();
  CHECK(stored.bytes == text);
  CHECK(stored.media_type == manifest_type);
  CHECK(f.store->manifest("b", digest).error().code() == Errc::not_found);
  const auto missing = f.store->put_manifest("b", text, manifest_type, std::nullopt);
  CHECK(missing.error().code() == Errc::not_found);
  CHECK(missing.error().what().contains(BlobDigest::of(sha256, "{}").text()));
  CHECK(f.store->put_manifest("a", text, manifest_type, BlobDigest::of(sha256, "x")).error().code() == Errc::corrupt);
  const auto longer = BlobDigest::of(HashAlgorithm::sha512, text);
  CHECK(f.store->put_manifest("a", text, manifest_type, longer).value().digest == longer);
  CHECK(f.store->manifest("a", longer).value().bytes == text);
  // A wrong size is a lie about the blob.
  const auto lies =
      fmt::format(R"({{"schemaVersion":2,"config":{}}})", descriptor_of(BlobDigest::of(sha256, "{}"), 3, "a/b"));
  CHECK(f.store->put_manifest("a", lies, manifest_type, std::nullopt).error().code() == Errc::invalid);
  const auto index =
      fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", descriptor_of(digest, text.size(), manifest_type));
  f.put("a", index, media_type_index);
  CHECK(f.store->put_manifest("b", index, media_type_index, std::nullopt).error().code() == Errc::not_found);
  REQUIRE(f.store->remove_manifest("a", digest));
  CHECK(f.store->manifest("a", digest).error().code() == Errc::not_found);
  CHECK(f.store->remove_manifest("a", digest).error().code() == Errc::not_found);
}

TEST_CASE("tags of what is no image move, are listed and go") {
  RegistryFixture f;
  CHECK(f.store->tags("a").error().code() == Errc::not_found);
  const auto first = f.put("a", f.manifest_text("a", "{}", "one"));
  CHECK(f.store->tags("a").value().empty());
  const auto second = f.put("a", f.manifest_text("a", "{}", "two"));
  REQUIRE(f.store->set_tag("a", "v1", first, std::nullopt));
  REQUIRE(f.store->set_tag("a", "v2", first, std::nullopt));
  CHECK(f.store->manifest("a", "v1").value().digest == first);
  REQUIRE(f.store->set_tag("a", "v1", second, std::nullopt));
  CHECK(f.store->manifest("a", "v1").value().digest == second);
  CHECK(f.store->tags("a").value() == std::vector<std::string>{"v1", "v2"});
  CHECK(f.store->set_tag("a", "v3", BlobDigest::of(sha256, "?"), std::nullopt).error().code() == Errc::not_found);
  REQUIRE(f.store->remove_tag("a", "v1"));
  CHECK(f.store->remove_tag("a", "v1").error().code() == Errc::not_found);
  CHECK(f.store->manifest("a", second));
  REQUIRE(f.store->remove_manifest("a", first));  // with its tag
  CHECK(f.store->tags("a").value().empty());
}

TEST_CASE("a tag and a name are one thing: what was given last is what it means") {
  RegistryFixture f;
  const auto pushed = f.put("hello", f.manifest_text("hello", "{}", "one"));
  const auto image = f.image("layer", "");
  REQUIRE(f.store->set_tag("hello", "v1", pushed, image.digest));
  CHECK(f.content.image("hello:v1").value().digest == image.digest);
  CHECK(f.store->pushed_as("hello", "v1") == pushed);
  for (const auto* same : {"hello", "library/hello", "docker.io/library/hello"}) {
    CHECK(f.store->manifest(same, "v1").value().digest == pushed);
    CHECK(f.store->tags(same).value() == std::vector<std::string>{"v1"});
  }
  // A build takes the name.
  const auto built = f.image("built", "hello:v1");
  CHECK(f.store->manifest("hello", "v1").value().digest == BlobDigest(built.digest));
  CHECK(f.store->manifest("hello", BlobDigest(built.digest)).value().media_type == manifest_type);
  CHECK(f.store->manifest("hello", pushed));  // by its digest still
  CHECK_FALSE(f.store->pushed_as("hello", "v1"));
  // A push takes it back.
  REQUIRE(f.store->set_tag("hello", "v1", pushed, image.digest));
  CHECK(f.store->manifest("hello", "v1").value().digest == pushed);
  REQUIRE(f.content.remove_reference("hello:v1"));
  CHECK(f.store->manifest("hello", "v1").error().code() == Errc::not_found);
  CHECK(f.store->tags("hello").value().empty());
  // An artifact takes the name away.
  f.image("built", "hello:v2");
  REQUIRE(f.store->set_tag("hello", "v2", pushed, std::nullopt));
  CHECK(f.content.image("hello:v2").error().code() == Errc::not_found);
  CHECK(f.store->manifest("hello", "v2").value().digest == pushed);
  // And deleting the tag forgets the name.
  REQUIRE(f.store->set_tag("hello", "v3", pushed, image.digest));
  REQUIRE(f.store->remove_tag("hello", "v3"));
  CHECK(f.content.image("hello:v3").error().code() == Errc::not_found);
}

TEST_CASE("of many who push a tag at once one wins, with its manifest and its image") {
  RegistryFixture f;
  std::vector<std::pair<BlobDigest, Digest>> pushed;
  for (int i = 0; i < 4; ++i)
    pushed.emplace_back(f.put("hello", f.manifest_text("hello", "{}", std::to_string(i))),
                        f.image("layer " + std::to_string(i), "").digest);
  std::vector<std::thread> threads;
  for (const auto& [manifest, image] : pushed)
    threads.emplace_back([&f, &manifest, &image] {
      for (int i = 0; i < 5; ++i) (void)f.store->set_tag("hello", "v1", manifest, image);
    });
  for (auto& thread : threads) thread.join();
  const auto winner = f.store->pushed_as("hello", "v1");
  REQUIRE(winner);
  const auto image = f.content.image("hello:v1").value().digest;
  CHECK(std::ranges::count(pushed, std::pair(*winner, image)) == 1);
}

TEST_CASE("images that were never pushed are there by their names, with their layers") {
  RegistryFixture f;
  const auto image = f.image("layer", "ghcr.io/team/app:v1");
  const auto repository = "ghcr.io/team/app";
  const BlobDigest layer(image.manifest.layers[0].digest);
  CHECK(f.store->tags(repository).value() == std::vector<std::string>{"v1"});
  CHECK(f.store->manifest(repository, "v1").value().digest == BlobDigest(image.digest));
  CHECK(f.read(repository, layer) == "layer");
  CHECK(f.read(repository, BlobDigest(image.manifest.config.digest)) == image.config.to_json());
  CHECK_FALSE(f.store->blob("team/app", layer));
  // What is only unpacked has a size, and no file until it is made.
  fs::remove(f.content.root() / "blobs/sha256" / layer.hex());
  const auto unmade = f.store->blob(repository, layer);
  REQUIRE(unmade);
  CHECK(unmade->size == 5);
  CHECK_FALSE(unmade->file);
  const auto text = f.store->manifest(repository, "v1").value().bytes;
  const auto list = f.store->unmade_layers(repository, text, manifest_type).value();
  CHECK(list.size() == 2);  // and the config
  CHECK(f.store->add_stored(repository, *layer.sha256()).error().code() == Errc::not_found);
  REQUIRE(f.store->add_stored(repository, image.manifest.config.digest));
  auto made = f.store->make_file().value();
  REQUIRE(write_all(made.second.get(), "wrong"));
  CHECK(f.store->add_layer(repository, *layer.sha256(), made.first).error().code() == Errc::corrupt);
  REQUIRE(write_file(made.first, "layer"));
  REQUIRE(f.store->add_layer(repository, *layer.sha256(), made.first));
  CHECK(f.read(repository, layer) == "layer");
  CHECK(f.store->unmade_layers(repository, text, manifest_type).value().empty());
  REQUIRE(f.store->put_manifest(repository, text, manifest_type, std::nullopt));
}

TEST_CASE("what refers to a manifest is told by its subject, there or not") {
  RegistryFixture f;
  const auto subject = BlobDigest::of(sha256, "not here");
  const auto text = f.manifest_text(
      "a", "{}", "signature",
      fmt::format(R"(,"annotations":{{"k":"v"}},"subject":{})", descriptor_of(subject, 8, manifest_type)));
  const auto put = f.store->put_manifest("a", text, manifest_type, std::nullopt).value();
  CHECK(put.subject == subject);
  const auto found = f.store->referrers("a", subject);
  REQUIRE(found.size() == 1);
  const auto descriptor = boost::json::parse(found.begin()->second);
  CHECK(descriptor.at("digest").as_string() == put.digest.text());
  CHECK(descriptor.at("size") == text.size());
  CHECK(descriptor.at("artifactType") == "application/vnd.example");
  CHECK(descriptor.at("annotations").at("k") == "v");
  CHECK(f.store->referrers("b", subject).empty());
  REQUIRE(f.store->remove_manifest("a", put.digest));
  CHECK(f.store->referrers("a", subject).empty());
}

TEST_CASE("what no tag reaches goes, but not what is being pushed") {
  RegistryFixture f;
  const auto kept = f.put("a", f.manifest_text("a", "{}", "kept"));
  const auto index = f.put("a",
                           fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})",
                                       descriptor_of(kept, f.store->manifest("a", kept)->bytes.size(), manifest_type)),
                           media_type_index);
  REQUIRE(f.store->set_tag("a", "v1", index, std::nullopt));
  const auto signature = f.put(
      "a",
      f.manifest_text("a", "{}", "signature", fmt::format(R"(,"subject":{})", descriptor_of(kept, 1, manifest_type))));
  const auto unnamed = f.put("a", f.manifest_text("a", "{}", "unnamed"));
  f.push("a", "blob of nobody");
  CHECK(f.collect() == 0);
  f.let_time_pass();
  const auto late = f.push("a", "on its way");
  CHECK(f.collect() == 3);  // a manifest, its layer, and a blob
  CHECK_FALSE(f.store->manifest("a", unnamed));
  CHECK(f.store->manifest("a", kept));
  CHECK(f.read("a", BlobDigest::of(sha256, "kept")) == "kept");
  CHECK(f.store->referrers("a", kept).size() == 1);
  CHECK(f.store->manifest("a", signature));
  CHECK(f.read("a", late) == "on its way");
  // What has lost its tag is nothing that is being pushed, however young.
  const auto young = f.put("a", f.manifest_text("a", "{}", "young"));
  REQUIRE(f.store->set_tag("a", "v1", young, std::nullopt));
  CHECK(f.collect() > 0);
  CHECK_FALSE(f.store->manifest("a", index));
  CHECK(f.store->manifest("a", young));
  REQUIRE(f.store->remove_tag("a", "v1"));
  CHECK(f.collect() > 0);
  CHECK_FALSE(f.store->blob("a", BlobDigest::of(sha256, "young")));
  CHECK(f.read("a", late) == "on its way");
}

TEST_CASE("a tag whose name was forgotten goes with what it led to, and the space is counted") {
  RegistryFixture f;
  const auto pushed = f.put("hello", f.manifest_text("hello", "{}", "one"));
  const auto image = f.image("layer", "");
  REQUIRE(f.store->set_tag("hello", "v1", pushed, image.digest));
  CHECK(f.store->bytes() > 5);
  CHECK(f.collect() == 0);
  REQUIRE(f.content.remove_reference("hello:v1"));
  CHECK(f.collect() == 3);
  CHECK(f.store->bytes() == 0);
  CHECK(fs::is_empty(f.folder.path() / "registry/repositories/hello/_tags"));
}

TEST_CASE("a pushed image as a layout has what runs here") {
  RegistryFixture f;
  const auto text = f.manifest_text("a", "{}", "layer");
  const auto digest = f.put("a", text);
  const auto entry = descriptor_of(digest, text.size(), manifest_type);
  const auto index = f.put("a", fmt::format(R"({{"schemaVersion":2,"manifests":[{}]}})", entry), media_type_index);
  const auto layout = f.store->layout_of("a", index, "a:v1").value();
  REQUIRE(layout.files.size() == 6);  // oci-layout, index.json, index, manifest, config, layer
  CHECK(layout.files[0].name == "oci-layout");
  CHECK(layout.files[1].bytes.contains("a:v1"));
  CHECK(layout.files[2].blob == *index.sha256());
  CHECK(layout.blobs.size() == 4);
  CHECK(f.store->layout_of("b", index, "a:v1").error().code() == Errc::not_found);
  const auto longer = BlobDigest::of(HashAlgorithm::sha512, text);
  REQUIRE(f.store->put_manifest("a", text, manifest_type, longer));
  CHECK(f.store->layout_of("a", longer, "a:v1").error().code() == Errc::unsupported);
}
