#include "app/image_collector.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "unit/build/build_fixture.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using namespace wick::app;
namespace fs = std::filesystem;

namespace {

struct CollectorFixture : build::BuildFixture {
  std::vector<std::string> needed;
  LocalImages images{{.executor = loop.get_executor(),
                      .workers = workers,
                      .store = store,
                      .runner = runner,
                      .builder = builder,
                      .work = home.path(),
                      .needed = [this] { return needed; }}};

  /// An image of one layer that no other has; without its name it is only what builds keep.
  Digest built(const std::string& content) {
    auto done = build({{"Dockerfile", "FROM scratch\nCOPY file /\n"}, {"file", content}});
    REQUIRE(done);
    return done->image.config.diff_ids.front();
  }
  void last_used(std::chrono::hours ago) {
    for (const auto& step : fs::directory_iterator(home.path() / "cache/steps"))
      fs::last_write_time(step, fs::file_time_type::clock::now() - ago);
  }
  std::set<Digest> layers() {
    const auto all = run_on(loop, runner.layers()).value();
    return {all.begin(), all.end()};
  }
  Result<api::Images::Freed> free(std::uint64_t wanted) { return run_on(loop, images.collector().free(wanted)); }
};

constexpr std::uint64_t everything = 1ull << 60;

}  // namespace

TEST_CASE("a collection takes what was used longest ago, and no more than is over") {
  CollectorFixture f;
  const auto oldest = f.built("one");
  f.last_used(std::chrono::hours(48));
  const auto older = f.built("two");
  const auto newest = f.built("three");
  REQUIRE(f.store.remove_reference("hello"));
  // The oldest is taken again: what is used is young.
  f.built("one");
  REQUIRE(f.store.remove_reference("hello"));
  for (const auto& step : fs::directory_iterator(f.home.path() / "cache/steps"))
    if (read_file(step.path()).value().contains(older.text()))
      fs::last_write_time(step, fs::file_time_type::clock::now() - std::chrono::hours(24));
  const auto freed = f.free(1);
  REQUIRE(freed);
  CHECK(freed->layers == 1);
  CHECK(f.layers() == std::set<Digest>{oldest, newest});
  CHECK(f.free(everything)->layers == 2);
  CHECK(f.layers().empty());
  CHECK(f.free(everything)->layers == 0);
  // What went is made again.
  CHECK(f.built("two") == older);
}

TEST_CASE("nothing goes that a name, a revision or an instance needs") {
  CollectorFixture f;
  const auto revision = f.built("of a revision");
  f.needed = {f.store.image("hello").value().digest.text()};
  const auto running = f.built("under an instance");
  f.runner.layers_in_use = {running};
  f.built("of nobody");
  const auto named = f.built("named");
  CHECK(f.free(everything)->layers == 1);
  CHECK(f.layers() == std::set<Digest>{revision, running, named});
}

TEST_CASE("a collection beside a build takes nothing the build stands on, at whatever step it begins") {
  for (std::size_t at = 1; at <= 3; ++at) {
    CollectorFixture f;
    const build::BuildFixture::Files files{{"Dockerfile",
                                            "FROM scratch AS base\nCOPY one /\nRUN first\nRUN second\nRUN third\n"
                                            "FROM base\nCOPY --from=base one /again\nCOPY two /\n"},
                                           {"one", "1"},
                                           {"two", "2"}};
    // Its first layers come from the cache, and are old there.
    REQUIRE(f.build({{"Dockerfile", "FROM scratch\nCOPY one /\n"}, {"one", "1"}}));
    REQUIRE(f.store.remove_reference("hello"));
    f.last_used(std::chrono::hours(1000));
    const auto other = f.built("of nobody");
    REQUIRE(f.store.remove_reference("hello"));
    TaskGroup tasks{f.loop.get_executor()};
    std::size_t steps = 0;
    std::size_t collected = 0;
    auto collect = [&]() -> awaitable<void> {
      auto freed = co_await f.images.collector().free(everything);
      REQUIRE(freed);
      collected += freed->layers;
    };
    f.runner.on_run = [&](build::FakeRunner::Process& process) {
      (void)write_file(process.root / ("by-" + std::to_string(++steps)), "x");
      if (steps == at) tasks.spawn("collect", collect());
    };
    const auto built = f.build(files);
    REQUIRE(built);
    run_on(f.loop, tasks.stop());
    const auto left = f.layers();
    for (const auto& layer : built->image.config.diff_ids) CHECK(left.contains(layer));
    CHECK(f.file(*built, "two") == "2");
    CHECK(collected <= 1);
    CHECK(left.contains(other) == (collected == 0));
  }
}

TEST_CASE("nothing is collected while an image is saved") {
  CollectorFixture f;
  f.built("x");
  auto archive = run_on(f.loop, f.images.save({"hello"})).value();
  CHECK(f.free(1).error().code() == Errc::conflict);
  archive.reset();
  CHECK(f.free(1));
}

TEST_CASE("a collection that cannot see what is needed removes nothing, and the next one goes on") {
  CollectorFixture f;
  const auto layer = f.built("x");
  REQUIRE(f.store.remove_reference("hello"));
  fs::remove(f.home.path() / "content/index.json");
  CHECK_FALSE(f.free(everything));
  CHECK(f.layers() == std::set<Digest>{layer});
  REQUIRE(image::ContentStore::open(f.home.path() / "content"));
  CHECK(f.free(everything)->layers == 1);
}

TEST_CASE("an image is verified layer by layer") {
  CollectorFixture f;
  const auto layer = f.built("x");
  CHECK(run_on(f.loop, f.images.verify("hello")));
  CHECK(run_on(f.loop, f.images.verify("nobody")).error().code() == Errc::not_found);
  REQUIRE(write_file(f.runner.layer_folder(layer) / "file", "y"));
  CHECK(run_on(f.loop, f.images.verify("hello")).error().code() == Errc::corrupt);
}

TEST_CASE("limits are sizes or shares of the file system") {
  CHECK(SpaceLimit::parse("20G")->of(1) == 20ull << 30);
  CHECK(SpaceLimit::parse("512M")->of(1) == 512ull << 20);
  CHECK(SpaceLimit::parse("1000")->of(1) == 1000);
  CHECK(SpaceLimit::parse("25%")->of(4000) == 1000);
  for (const char* wrong : {"", "G", "0", "0%", "101%", "5X", "5GB", "-1", "1.5G", "99999999T"}) {
    INFO(wrong);
    CHECK_FALSE(SpaceLimit::parse(wrong));
  }
  CHECK(ImageLimits{}.free_min.of(1ull << 40) == 10ull << 30);
}

TEST_CASE("what must go is what is over the ceiling or missing above the floor, and a tenth more") {
  const ImageLimits limits{.use_max = {.bytes = 1000}, .free_min = {.bytes = 100}};
  CHECK(bytes_over({.used = 1000, .free = 100, .file_system = 5000}, limits) == 0);
  CHECK(bytes_over({.used = 1200, .free = 100, .file_system = 5000}, limits) == 300);
  CHECK(bytes_over({.used = 10, .free = 40, .file_system = 5000}, limits) == 70);
  CHECK(bytes_over({.used = 1001, .free = 0, .file_system = 5000}, limits) == 110);
}
