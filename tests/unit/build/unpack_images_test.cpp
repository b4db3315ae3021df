#include "wick/build/unpack_images.hpp"

#include <catch2/catch.hpp>
#include <cstring>

#include "support/run_loop.hpp"
#include "wick/image/archive.hpp"
#include "wick/image/content_store.hpp"
#include "wick/os/files.hpp"

namespace wick::build {
namespace {

struct UnpackFixture {
  TemporaryFolder home = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-unpack-").value();
  image::ContentStore store = image::ContentStore::open(home.path() / "store").value();
  asio::io_context loop{1};
  std::size_t given = 0;

  /// An archive of one image with one layer.
  std::string archive(const std::string& name, const std::string& layer) {
    const auto stored = store.put_blob(layer, std::string(image::media_type_layer)).value();
    auto image = store.put_image({}, {stored}, name).value();
    std::string bytes;
    for (const auto& file :
         image::archive_files({{.names = {name}, .manifest = store.read_blob(image.digest).value(), .image = image}}))
      bytes += image::archive_header(file) + (file.blob.empty() ? file.bytes : store.read_blob(file.blob).value()) +
               image::archive_padding(file.size);
    return bytes + image::archive_end();
  }

  Result<std::vector<UnpackedImage>> unpack(const std::string& archive, const std::string& name = {},
                                            std::optional<std::size_t> gone_after = {}) {
    const auto scratch = home.path() / "scratch";
    REQUIRE(remove_tree(scratch));
    REQUIRE(make_folders(scratch));
    given = 0;
    return run_on(loop, unpack_images([this, &archive,
                                       gone_after](std::span<char> into) { return read(archive, gone_after, into); },
                                      scratch, name));
  }
  awaitable<Result<std::size_t>> read(const std::string& archive, std::optional<std::size_t> gone_after,
                                      std::span<char> into) {
    if (gone_after && given >= *gone_after) co_return fail(Errc::unavailable, "client gone");
    const auto count = std::min(into.size(), archive.size() - given);
    std::memcpy(into.data(), archive.data() + given, count);
    given += count;
    co_return count;
  }
};

}  // namespace

TEST_CASE("the images of an archive come out of the child as a layout that can be adopted") {
  UnpackFixture f;
  const auto archive = f.archive("team/app:v1", std::string(3 << 20, 'l'));
  const auto images = f.unpack(archive);
  INFO((images ? "" : images.error().what()));
  REQUIRE(images);
  REQUIRE(images->size() == 1);
  CHECK(images->front().name == "docker.io/team/app:v1");
  const auto other = image::ContentStore::open(f.home.path() / "other").value();
  REQUIRE(other.adopt(f.home.path() / "scratch" / image_layout_name, images->front().manifest, images->front().name));
  CHECK(other.image("team/app:v1").value().digest == images->front().manifest);
  CHECK(f.unpack(archive, "mine:v2").value().front().name == "mine:v2");
}

TEST_CASE("an archive that is refused says why, however much of it was still to come") {
  UnpackFixture f;
  CHECK(f.unpack("").error().code() != Errc::internal);
  CHECK(f.unpack(std::string(20 << 20, 'x')).error().code() != Errc::internal);
  const auto archive = f.archive("app:v1", std::string(1 << 20, 'l'));
  CHECK(f.unpack(archive.substr(0, archive.size() / 2)).error().code() == Errc::corrupt);
  CHECK(f.unpack(archive, "not a name").error().code() == Errc::invalid);
}

TEST_CASE("a client that goes away while its archive is read ends the child") {
  UnpackFixture f;
  const auto archive = f.archive("app:v1", std::string(5 << 20, 'l'));
  for (std::size_t bytes = 0; bytes < archive.size(); bytes += 1 << 20)
    CHECK(f.unpack(archive, {}, bytes).error().code() == Errc::unavailable);
}

}  // namespace wick::build
