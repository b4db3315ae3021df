#include "app/images.hpp"

#include "app/image_collector.hpp"
#include "wick/os/clock.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "support/run_loop.hpp"
#include "unit/build/fake_runner.hpp"
#include "wick/image/import.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::app;
namespace fs = std::filesystem;

namespace {

struct ImagesFixture {
  TemporaryFolder home = TemporaryFolder::make("/tmp", "wick-images-").value();
  asio::io_context loop{1};
  WorkerPool workers{2};
  build::FakeRunner runner{loop.get_executor(), home.path() / "runner"};
  image::ContentStore store = image::ContentStore::open(home.path() / "content").value();
  SteadyClock clock;
  build::Builder builder{loop.get_executor(),
                         clock,
                         workers,
                         runner,
                         store,
                         {.builders = home.path(), .work = home.path() / "work", .cache = home.path() / "cache"}};
  std::vector<std::string> needed;
  std::unique_ptr<image::RegistryStore> registry = image::RegistryStore::open(home.path() / "registry", store).value();
  LocalImages images{{.executor = loop.get_executor(),
                      .workers = workers,
                      .store = store,
                      .runner = runner,
                      .builder = builder,
                      .work = home.path(),
                      .needed = [this] { return needed; },
                      .registry = registry.get()}};
  std::string given;
  std::optional<std::size_t> sink_fails_after;  // bytes

  /// A layer with one file, as the tar that the runner makes of it.
  image::Descriptor layer(const std::string& content) {
    const auto folder = home.path() / "tree";
    (void)remove_tree(folder);
    REQUIRE(make_folders(folder));
    REQUIRE(write_file(folder / "file", content));
    fs::last_write_time(folder / "file", fs::file_time_type(std::chrono::seconds(0)));
    const auto tar = home.path() / "layer.tar";
    {
      auto out = open_file(tar, O_RDWR | O_CREAT | O_TRUNC, 0600).value();
      REQUIRE(image::pack(folder, out.get(), {}));
    }
    return store.put_blob(read_file(tar).value(), std::string(image::media_type_layer)).value();
  }
  fs::path blob(const Digest& digest) const { return store.root() / "blobs/sha256" / digest.hex(); }
  /// From the store to the runner: what a build leaves behind.
  void move_to_runner(const image::Descriptor& layer) {
    auto tar = store.open_blob(layer.digest).value();
    REQUIRE(run_on(loop, runner.import_layer(layer.digest, std::move(tar))));
    fs::remove(blob(layer.digest));
  }
  image::Image put(const std::string& name, const std::vector<image::Descriptor>& layers) {
    return store.put_image({}, layers, name).value();
  }

  Result<void> save(std::vector<std::string> names) {
    given.clear();
    auto archive = run_on(loop, images.save(std::move(names)));
    if (!archive) return fail(std::move(archive.error()));
    auto written = run_on(loop, (*archive)->write([this](std::string_view bytes) { return take(bytes); }));
    if (written) CHECK(given.size() == (*archive)->bytes());
    CHECK(given.size() <= (*archive)->bytes());
    return written;
  }
  awaitable<Result<void>> take(std::string_view bytes) {
    if (sink_fails_after && given.size() + bytes.size() > *sink_fails_after)
      co_return fail(Errc::unavailable, "client gone");
    given += bytes;
    co_return Result<void>{};
  }
  static std::size_t open_files() {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()));
  }
};

}  // namespace

TEST_CASE("an image is saved whether its layers are in the store or at the runner only") {
  ImagesFixture f;
  const auto stored = f.layer("stored");
  const auto built = f.layer(std::string(100'000, 'b'));
  const auto image = f.put("hello", {stored, built});
  f.put("same", {stored, built});
  f.move_to_runner(built);
  for (const auto& names : {std::vector<std::string>{"hello"}, {"hello", "same"}, {image.digest.text()}}) {
    REQUIRE(f.save(names));
    const auto path = f.home.path() / "saved.tar";
    REQUIRE(write_file(path, f.given));
    const auto other = image::ContentStore::open(f.home.path() / "other").value();
    const auto loaded = image::import_images(other, path, f.home.path(), names.size() == 1 ? "back" : "same:latest");
    REQUIRE(loaded);
    CHECK(loaded->front().image.digest == image.digest);
  }
}

TEST_CASE("an image that is not whole is refused before the first byte") {
  ImagesFixture f;
  const auto lost = f.layer("lost");
  f.put("hello", {lost});
  fs::remove(f.blob(lost.digest));
  CHECK(f.save({"hello"}).error().code() == Errc::not_found);
  CHECK(f.given.empty());
  CHECK(f.save({"none"}).error().code() == Errc::not_found);
  CHECK(f.save({"NONE"}).error().code() == Errc::invalid);
}

TEST_CASE("a layer that is not what its digest says never comes to its end") {
  ImagesFixture f;
  const auto stored = f.layer("stored");
  const auto built = f.layer("built");
  f.put("stored", {stored});
  f.put("built", {built});
  f.move_to_runner(built);
  REQUIRE(write_file(f.blob(stored.digest), std::string(stored.size, 'x')));
  CHECK(f.save({"stored"}).error().code() == Errc::corrupt);
  for (const std::string content : {"longer than it was", "other"}) {
    REQUIRE(write_file(f.runner.layer_folder(built.digest) / "file", content));
    CHECK(f.save({"built"}).error().code() == Errc::corrupt);
  }
  REQUIRE(write_file(f.blob(stored.digest), "short"));
  CHECK(f.save({"stored"}).error().code() == Errc::corrupt);
}

TEST_CASE("a save ends with whoever takes it, wherever that is, and leaves nothing open") {
  ImagesFixture f;
  const auto stored = f.layer(std::string(600'000, 's'));
  const auto built = f.layer(std::string(600'000, 'b'));
  f.put("hello", {stored, built});
  f.move_to_runner(built);
  REQUIRE(f.save({"hello"}));
  const auto whole = f.given.size();
  const auto open = ImagesFixture::open_files();
  for (std::size_t bytes = 0; bytes < whole; bytes += 100'000) {
    f.sink_fails_after = bytes;
    CHECK(f.save({"hello"}).error().code() == Errc::unavailable);
    CHECK(ImagesFixture::open_files() == open);
  }
}

TEST_CASE("a runner that fails while it packs is told of as such") {
  ImagesFixture f;
  const auto built = f.layer("built");
  f.put("hello", {built});
  f.move_to_runner(built);
  for (std::size_t call = 1; call <= 2; ++call) {
    f.runner.calls = 0;
    f.runner.fail_at = call;
    const auto saved = f.save({"hello"});
    REQUIRE_FALSE(saved);
    CHECK(saved.error().code() != Errc::corrupt);
  }
  f.runner.calls = 0;
  f.runner.fail_at = 3;
  CHECK(f.save({"hello"}));
}

TEST_CASE("a prune removes what no name and no revision needs, and what stands on nothing") {
  ImagesFixture f;
  const auto named = f.layer("named");
  const auto running = f.layer("running");
  const auto old = f.layer("old");
  const auto step = f.layer("step");
  const auto held = f.layer("held");
  f.put("named", {named});
  const auto pinned = f.put("running", {named, running});
  f.put("old", {named, old});
  for (const auto& layer : {named, running, old, step, held}) f.move_to_runner(layer);
  f.runner.layers_in_use = {held.digest};
  for (const char* name : {"running", "old"}) REQUIRE(f.store.remove_reference(name));
  f.needed = {"running@" + pinned.digest.text(), "named", "gone:v1", "not a name"};
  const auto freed = run_on(f.loop, f.images.prune());
  REQUIRE(freed);
  CHECK(freed->blobs == 2);  // manifest and config of "old"
  CHECK(freed->layers == 2);
  CHECK(freed->bytes > 2000);
  const auto left = run_on(f.loop, f.runner.layers()).value();
  CHECK(std::set<Digest>(left.begin(), left.end()) == std::set<Digest>{named.digest, running.digest, held.digest});
  CHECK(f.store.image(pinned.digest));
  CHECK(run_on(f.loop, f.images.prune()).value().layers == 0);
}

TEST_CASE("a layer becomes a blob of the registry wherever it is, and only as what its name says") {
  ImagesFixture f;
  const auto stored = f.layer("stored");
  const auto built = f.layer("built");
  const auto image = f.put("team/hello", {stored, built});
  f.move_to_runner(built);
  const auto read = [&](const Digest& digest) {
    auto blob = f.registry->blob("team/hello", digest);
    REQUIRE(blob);
    REQUIRE(blob->file);
    return read_all(blob->file.get()).value();
  };
  CHECK_FALSE(f.registry->blob("team/hello", built.digest)->file);
  for (const auto& digest : {stored.digest, built.digest, image.manifest.config.digest}) {
    REQUIRE(run_on(f.loop, f.images.make_layer("team/hello", digest)));
    CHECK(Digest::of(read(digest)) == digest);
  }
  CHECK_FALSE(run_on(f.loop, f.images.make_layer("team/hello", Digest::of("none"))));
  const auto other = f.layer("other");
  f.put("team/other", {other});
  f.move_to_runner(other);
  REQUIRE(write_file(f.runner.layer_folder(other.digest) / "file", "changed"));
  CHECK(run_on(f.loop, f.images.make_layer("team/other", other.digest)).error().code() == Errc::corrupt);
  f.runner.fail_at = f.runner.calls + 1;
  CHECK_FALSE(run_on(f.loop, f.images.make_layer("team/other", other.digest)));
  CHECK(fs::is_empty(f.home.path() / "registry/uploads"));
}

TEST_CASE("what is no image is named all the same, forgotten by its name, and pruned") {
  ImagesFixture f;
  const auto put_blob = [&](std::string_view bytes) {
    const auto id = f.registry->begin_upload("chart", image::HashAlgorithm::sha256).value();
    REQUIRE(f.registry->write_upload("chart", id)->write(bytes));
    REQUIRE(f.registry->finish_upload("chart", id, Digest::of(bytes)));
  };
  put_blob("{}");
  const auto text =
      R"({"schemaVersion":2,"config":{"mediaType":"a/b","size":2,"digest":")" + Digest::of("{}").text() + R"("}})";
  const auto put = f.registry->put_manifest("chart", text, image::media_type_manifest, std::nullopt).value();
  CHECK_FALSE(put.may_be_image);
  const auto named = run_on(f.loop, f.images.name_pushed("chart", "v1", put.digest, put.may_be_image));
  REQUIRE(named);
  CHECK_FALSE(named->image);
  CHECK_FALSE(named->why_not);
  CHECK(f.registry->manifest("chart", "v1"));
  CHECK(run_on(f.loop, f.images.prune()).value().bytes == 0);
  REQUIRE(run_on(f.loop, f.images.remove("chart:v1")));
  CHECK(run_on(f.loop, f.images.remove("chart:v1")).error().code() == Errc::not_found);
  CHECK(run_on(f.loop, f.images.prune()).value().bytes == text.size() + 2);
  CHECK_FALSE(f.registry->manifest("chart", put.digest));
}

TEST_CASE("nothing is pruned while a build, a load or a save has its images in hand") {
  ImagesFixture f;
  f.put("hello", {f.layer("a layer")});
  auto archive = run_on(f.loop, f.images.save({"hello"})).value();
  CHECK(run_on(f.loop, f.images.prune()).error().code() == Errc::conflict);
  archive.reset();
  CHECK(run_on(f.loop, f.images.prune()));
  {
    const auto building = run_on(f.loop, f.images.use().enter());
    CHECK(run_on(f.loop, f.images.prune()).error().code() == Errc::conflict);
  }
  CHECK(run_on(f.loop, f.images.prune()));
}

TEST_CASE("whoever comes while images are pruned waits for the end") {
  ImagesFixture f;
  std::optional<ImageUse::Closed> closed(f.images.use().close().value());
  bool inside = false;
  TaskGroup tasks{f.loop.get_executor()};
  auto build = [&]() -> awaitable<void> {
    const auto use = co_await f.images.use().enter();
    inside = true;
  };
  tasks.spawn("build", build());
  f.loop.restart();
  f.loop.poll();
  CHECK_FALSE(inside);
  closed.reset();
  f.loop.restart();
  f.loop.poll();
  CHECK(inside);
  run_on(f.loop, tasks.stop());
}
