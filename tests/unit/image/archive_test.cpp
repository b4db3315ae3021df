#include "wick/image/archive.hpp"

#include <sys/stat.h>

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "wick/image/import.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::image;

namespace {

namespace json = boost::json;

struct Fixture {
  TemporaryFolder folder = TemporaryFolder::make("/tmp", "wick-archive-").value();
  ContentStore store = ContentStore::open(folder.path() / "content").value();

  SavedImage put(const std::string& name, const std::vector<std::string>& layers) {
    std::vector<Descriptor> descriptors;
    for (const auto& bytes : layers)
      descriptors.push_back(store.put_blob(bytes, std::string(media_type_layer)).value());
    ImageConfig config;
    config.environment = {"NAME=" + name};
    auto image = store.put_image(config, descriptors, name).value();
    return {.names = {name}, .manifest = store.read_blob(image.digest).value(), .image = image};
  }
  /// What a writer of these files writes.
  std::string tar(const std::vector<ArchiveFile>& files) {
    std::string bytes;
    for (const auto& file : files)
      bytes += archive_header(file) + (file.blob.empty() ? file.bytes : store.read_blob(file.blob).value()) +
               archive_padding(file.size);
    return bytes + archive_end();
  }
};

const ArchiveFile& file_named(const std::vector<ArchiveFile>& files, const std::string& name) {
  for (const auto& file : files)
    if (file.name == name) return file;
  throw std::runtime_error("no file " + name);
}

}  // namespace

TEST_CASE("an archive has its index, docker's manifest and every blob once") {
  Fixture f;
  auto one = f.put("one:v1", {"shared", "first"});
  auto two = f.put("two:latest", {"shared", "second"});
  one.names.push_back("team/one:v2");
  const auto files = archive_files({one, two});
  const auto index = json::parse(file_named(files, "index.json").bytes);
  REQUIRE(index.at("manifests").as_array().size() == 3);
  CHECK(index.at("manifests").at(1).at("annotations").at("org.opencontainers.image.ref.name") == "team/one:v2");
  CHECK(index.at("manifests").at(0).at("annotations").at("io.containerd.image.name") == "docker.io/library/one:v1");
  const auto docker = json::parse(file_named(files, "manifest.json").bytes);
  CHECK(docker.at(0).at("RepoTags").as_array() == json::array{"one:v1", "team/one:v2"});
  CHECK(docker.at(1).at("Layers").at(0).as_string() == "blobs/sha256/" + Digest::of("shared").hex());
  // Three documents, two folders, two manifests, two configs, three layers.
  CHECK(files.size() == 12);
  CHECK(f.tar(files).size() == archive_bytes(files));
  CHECK(archive_bytes(files) % 512 == 0);
}

TEST_CASE("an archive is loaded again as the same image") {
  Fixture f;
  const auto saved = f.put("one:v1", {"a layer"});
  const auto path = f.folder.path() / "one.tar";
  REQUIRE(write_file(path, f.tar(archive_files({saved}))));
  const auto other = ContentStore::open(f.folder.path() / "other").value();
  const auto loaded = import_images(other, path, f.folder.path());
  REQUIRE(loaded);
  CHECK(loaded->front().image.digest == saved.image.digest);
  CHECK(other.images().value().at(0).reference == "one:v1");
}

TEST_CASE("every image of an archive is loaded under all its names, or the one that is asked for under that one") {
  Fixture f;
  auto one = f.put("one:v1", {"shared", "first"});
  one.names.push_back("team/one:v2");
  const auto two = f.put("two:latest", {"shared", "second"});
  const auto path = f.folder.path() / "both.tar";
  REQUIRE(write_file(path, f.tar(archive_files({one, two}))));
  const auto names_in = [&](const char* store_name, std::string_view reference) {
    const auto other = ContentStore::open(f.folder.path() / store_name).value();
    std::vector<std::string> names;
    if (!import_images(other, path, f.folder.path(), reference)) return names;
    for (const auto& named : other.images().value()) names.push_back(named.reference);
    return names;
  };
  CHECK(names_in("all", "") == std::vector<std::string>{"one:v1", "team/one:v2", "two:latest"});
  CHECK(names_in("asked", "docker.io/library/two") == std::vector<std::string>{"two:latest"});
  CHECK(names_in("none", "three").empty());
}

TEST_CASE("an image is adopted from another layout only as what it says it is") {
  Fixture f;
  const auto foreign = ContentStore::open(f.folder.path() / "foreign").value();
  const auto layer = foreign.put_blob("a layer", std::string(media_type_layer)).value();
  const auto image = foreign.put_image({}, {layer}, "theirs").value();
  const auto blob = [&](const ContentStore& store) { return store.root() / "blobs/sha256" / layer.digest.hex(); };

  // The one that is here is damaged: it is replaced.
  REQUIRE(write_file(blob(f.store), "a l-yer"));
  REQUIRE(f.store.adopt(foreign.root(), image.digest, "mine"));
  CHECK(f.store.image("mine").value().digest == image.digest);
  CHECK(f.store.read_blob(layer.digest).value() == "a layer");
  CHECK(f.store.adopt(foreign.root(), image.digest, "mine"));  // again: the same file
  CHECK(std::filesystem::is_empty(f.store.root() / "ingest"));

  const auto refused = [&] { return f.store.adopt(foreign.root(), image.digest, "bad").error().code(); };
  std::filesystem::remove(blob(foreign));
  CHECK(refused() == Errc::not_found);
  std::filesystem::create_symlink("/etc/passwd", blob(foreign));
  CHECK(refused() == Errc::not_found);
  std::filesystem::remove(blob(foreign));
  REQUIRE(::mkfifo(blob(foreign).c_str(), 0600) == 0);
  CHECK(refused() == Errc::invalid);
  std::filesystem::remove(blob(foreign));
  REQUIRE(write_file(blob(foreign), "another"));
  CHECK(refused() == Errc::corrupt);
  CHECK(f.store.adopt(foreign.root(), Digest::of("none"), "bad").error().code() == Errc::not_found);
  CHECK_FALSE(f.store.image("bad"));
}

TEST_CASE("an image known by its digest only has no tag in the archive") {
  Fixture f;
  auto saved = f.put("one:v1", {});
  saved.names.clear();
  const auto files = archive_files({saved});
  CHECK_FALSE(
      json::parse(file_named(files, "index.json").bytes).at("manifests").at(0).as_object().contains("annotations"));
  CHECK(json::parse(file_named(files, "manifest.json").bytes).at(0).at("RepoTags").as_array().empty());
}

TEST_CASE("a layer past eight gigabytes has its size in the header all the same") {
  const ArchiveFile layer{.name = "blobs/sha256/x", .bytes = {}, .blob = Digest::of("x"), .size = 9ull << 30};
  const auto header = archive_header(layer);
  CHECK(header.find("size=9663676416\n") != header.npos);
  CHECK(archive_bytes({layer}) == header.size() + layer.size + 1024);
}
