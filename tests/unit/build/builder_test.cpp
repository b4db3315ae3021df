#include <catch2/catch.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>

#include "build/blob_pipe.hpp"
#include "build_fixture.hpp"

namespace wick::build {
namespace {

const BuildFixture::Files hello{{"Dockerfile", "FROM scratch\nCOPY hello /bin/hello\nENV A=1\nCMD [\"/bin/hello\"]\n"},
                                {"hello", "program"}};

}  // namespace

TEST_CASE("a static program on scratch becomes an image of one layer") {
  BuildFixture f;
  const auto built = f.build(hello);
  if (!built) FAIL(built.error().error.what());
  CHECK(built->detected == "Dockerfile");
  CHECK_FALSE(built->unchanged);
  CHECK(built->image.config.diff_ids.size() == 1);
  CHECK(built->image.config.command == std::vector<std::string>{"/bin/hello"});
  CHECK(built->image.config.environment ==
        std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1"});
  CHECK(built->image.config.created == "1980-01-01T00:00:01Z");
  CHECK(f.file(*built, "bin/hello") == "program");
  CHECK(f.store.image("hello:latest")->digest == built->image.digest);
  CHECK(f.runner.open_steps() == 0);
}

TEST_CASE("the same source builds nothing the second time and gives the same digest, also in another place") {
  BuildFixture f;
  const auto first = f.build(hello);
  const auto second = f.build(hello);
  REQUIRE((first && second));
  CHECK(second->unchanged);
  CHECK(f.started.empty());
  CHECK(f.cached.size() == 1);
  CHECK(second->image.digest == first->image.digest);
  BuildFixture elsewhere;
  const auto third = elsewhere.build(hello);
  REQUIRE(third);
  CHECK(third->image.digest == first->image.digest);
}

TEST_CASE("a change runs its own step and those above it, nothing below") {
  BuildFixture f;
  BuildFixture::Files files{
      {"Dockerfile", "FROM scratch\nCOPY a /a\nCOPY b /b\nRUN [\"/make\"]\n"}, {"a", "1"}, {"b", "1"}};
  f.runner.on_run = [](FakeRunner::Process& process) { (void)write_file(process.root / "made", "x"); };
  REQUIRE(f.build(files));
  CHECK(f.runner.runs == 1);
  files["b"] = "2";
  const auto built = f.build(files);
  REQUIRE(built);
  CHECK(f.cached == std::vector<std::string>{"[1/3] COPY a /a"});
  CHECK(f.started == std::vector<std::string>{"[2/3] COPY b /b", "[3/3] RUN [\"/make\"]"});
  CHECK(f.runner.runs == 2);
  CHECK(f.file(*built, "b") == "2");
}

TEST_CASE("a cached layer that the runner lost is made again, with the same digest") {
  BuildFixture f;
  const auto first = f.build(hello);
  REQUIRE(first);
  f.runner.forget_layers();
  const auto built = f.build(hello);
  REQUIRE(built);
  CHECK_FALSE(built->unchanged);
  CHECK(built->image.digest == first->image.digest);
  CHECK(f.file(*built, "bin/hello") == "program");
}

TEST_CASE("a stage hands files to another") {
  BuildFixture f;
  f.runner.on_run = [](FakeRunner::Process& process) {
    (void)make_folders(process.root / "out/lib");
    (void)write_file(process.root / "out/app", "binary");
    (void)write_file(process.root / "out/lib/a.so", "so");
    (void)write_file(process.root / "out/lib/a.txt", "txt");
  };
  const auto built =
      f.build({{"Dockerfile",
                "FROM scratch AS compile\nCOPY a /src/\nRUN [\"/cc\"]\nFROM scratch AS unused\nRUN [\"/never\"]\n"
                "FROM scratch\nCOPY --from=compile /out/app /usr/bin/\nCOPY --from=0 /out/lib/*.so /lib/\nCOPY "
                "--from=compile /out /all\n"},
               {"a", "1"}});
  if (!built) FAIL(built.error().error.what());
  CHECK(f.runner.runs == 1);
  CHECK(f.file(*built, "usr/bin/app") == "binary");
  CHECK(f.file(*built, "lib/a.so") == "so");
  CHECK_FALSE(f.file(*built, "lib/a.txt"));
  CHECK(f.file(*built, "all/lib/a.txt") == "txt");
  CHECK_FALSE(f.file(*built, "src/a"));
}

TEST_CASE("a failing RUN tells file, line, exit and its last lines") {
  BuildFixture f;
  f.runner.on_run = [](FakeRunner::Process& process) {
    for (int i = 1; i <= 80; ++i) process.output += "line " + std::to_string(i) + "\n";
    process.output += "\x1b[31mno rule\x1b[0m to make target";
    process.exit.status = {.code = 2};
  };
  const auto built = f.build({{"Dockerfile", "FROM debian:bookworm\n\nRUN make \\\n  all\n"}});
  REQUIRE_FALSE(built);
  CHECK(built.error().error.code() == Errc::build_failed);
  CHECK(built.error().error.what() == "Dockerfile:3: RUN make   all: it ended with exit 2");
  const auto& failure = built.error().failure;
  CHECK(failure.step == "build");
  CHECK(failure.slug == "E_BUILD_STEP");
  REQUIRE(failure.last_output.size() == 50);
  CHECK(failure.last_output.front() == "line 32");
  CHECK(failure.last_output.back() == "no rule to make target");
  CHECK(f.runner.open_steps() == 0);
  CHECK(f.runner.instances() == 0);
}

TEST_CASE("running out of memory is called by its name") {
  BuildFixture f;
  f.runner.on_run = [](FakeRunner::Process& process) {
    process.exit.status = {.code = 137, .signal = 9};
    process.exit.out_of_memory = true;
  };
  const auto built = f.build({{"Dockerfile", "FROM debian\nRUN cc\n"}});
  REQUIRE_FALSE(built);
  CHECK(built.error().failure.slug == "E_OUT_OF_MEMORY");
  CHECK_THAT(built.error().failure.because, Catch::Contains("out of memory, the limit is"));
}

TEST_CASE("RUN gets user, folder, environment and build rights") {
  BuildFixture f;
  container::InstanceSpec seen;
  f.runner.on_run = [&](FakeRunner::Process& process) { seen = process.spec; };
  auto request = f.request(
      {{"Dockerfile", "FROM debian\nARG V=1\nENV E=$V\nWORKDIR /srv/app\nUSER app\nRUN --network=none id\n"}});
  request.build_args = {{"V", "2"}, {"HTTP_PROXY", "http://p"}};
  const auto built = f.build(std::move(request));
  if (!built) FAIL(built.error().error.what());
  CHECK(seen.process.argv == std::vector<std::string>{"/bin/sh", "-c", "id"});
  CHECK(seen.process.environment ==
        std::vector<std::string>{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "E=2", "V=2",
                                 "HTTP_PROXY=http://p"});
  CHECK(seen.process.working_folder == "/srv/app");
  CHECK(seen.process.uid == 1000);
  CHECK(seen.id_range == container::store_id_range);
  CHECK(seen.privileges == container::Privileges::build);
  CHECK(seen.egress.base == Egress::none);
  CHECK(built->image.config.user == "app");
}

TEST_CASE("debian:bookworm is made once") {
  BuildFixture f;
  REQUIRE(f.build({{"Dockerfile", "FROM debian:bookworm-slim\nCOPY Dockerfile /\n"}}));
  const auto built = f.build({{"Dockerfile", "FROM docker.io/library/debian:12\nCOPY Dockerfile /x\n"}});
  REQUIRE(built);
  CHECK(f.runner.bootstraps == 1);
  CHECK(f.file(*built, "etc/debian_version") == "12.12\n");
  CHECK(built->image.config.history.size() == 2);
}

TEST_CASE("an unknown base names those that are there") {
  BuildFixture f;
  const auto built = f.build({{"Dockerfile", "FROM scratch AS a\nFROM node:20\nCOPY x /\n"}});
  REQUIRE_FALSE(built);
  CHECK(built.error().error.what() == "Dockerfile:2: there is no image 'node:20' on this machine: 'FROM node:20'");
  CHECK_THAT(built.error().failure.hint, Catch::Contains("scratch, debian:bookworm"));
}

TEST_CASE("COPY cannot reach out of the source") {
  BuildFixture f;
  const auto built = f.build({{"Dockerfile", "FROM scratch\nCOPY ../../etc/passwd /p\n"}});
  REQUIRE_FALSE(built);
  CHECK(built.error().error.what() == "Dockerfile:2: COPY ../../etc/passwd /p: 'etc/passwd' is not in the source");
  const auto linked = f.build({{"Dockerfile", "FROM scratch\nCOPY shadow /s\n"}, {"shadow@", "/etc/shadow"}});
  REQUIRE_FALSE(linked);
  CHECK_THAT(linked.error().error.what(), Catch::Contains("'shadow' is not in the source"));
  const auto kept = f.build({{"Dockerfile", "FROM scratch\nCOPY . /all/\n"}, {"shadow@", "/etc/shadow"}});
  REQUIRE(kept);
  CHECK(std::filesystem::read_symlink(f.runner.layer_folder(kept->image.config.diff_ids[0]) / "all/shadow") ==
        "/etc/shadow");
  const auto dockerfile = f.build({{"Dockerfile@", "/etc/passwd"}});
  REQUIRE_FALSE(dockerfile);
}

TEST_CASE(".dockerignore keeps files out") {
  BuildFixture f;
  const auto built = f.build({{"Dockerfile", "FROM scratch\nCOPY . /app/\n"},
                              {".dockerignore", "*.log\nnode_modules\n!keep.log\n"},
                              {"a.log", "x"},
                              {"keep.log", "x"},
                              {"node_modules/m/index.js", "x"},
                              {".git/config", "x"}});
  REQUIRE(built);
  CHECK(f.file(*built, "app/keep.log"));
  CHECK_FALSE(f.file(*built, "app/a.log"));
  CHECK_FALSE(f.file(*built, "app/node_modules/m/index.js"));
  CHECK_FALSE(f.file(*built, "app/.git/config"));
}

TEST_CASE("a file onto a folder that is there goes inside it") {
  BuildFixture f;
  const auto built =
      f.build({{"Dockerfile", "FROM scratch\nCOPY d /dir/\nCOPY x /dir\nCOPY x /new\n"}, {"d/y", "y"}, {"x", "x"}});
  if (!built) FAIL(built.error().error.what());
  CHECK(f.file(*built, "dir/x") == "x");
  CHECK(f.file(*built, "new") == "x");
}

TEST_CASE("WORKDIR makes a folder once") {
  BuildFixture f;
  const auto built = f.build({{"Dockerfile", "FROM scratch\nWORKDIR /app\nWORKDIR /app\nCOPY x .\n"}, {"x", "x"}});
  if (!built) FAIL(built.error().error.what());
  CHECK(built->image.config.diff_ids.size() == 2);
  CHECK(built->image.config.history[1].empty_layer);
  CHECK(f.file(*built, "app/x") == "x");
}

TEST_CASE("names outside of ASCII survive a copy and a copy between stages") {
  BuildFixture f;
  const auto built = f.build(
      {{"Dockerfile", "FROM scratch AS a\nCOPY . /a/\nFROM scratch\nCOPY --from=a /a /b/\n"}, {"grüße/日本.txt", "x"}});
  if (!built) FAIL(built.error().error.what());
  CHECK(f.file(*built, "b/grüße/日本.txt") == "x");
}

TEST_CASE("a subfolder is built on its own") {
  BuildFixture f;
  auto request = f.request({{"svc/Dockerfile", "FROM scratch\nCOPY . /\n"}, {"svc/a", "a"}, {"b", "b"}});
  request.subpath = "svc";
  const auto built = f.build(request);
  REQUIRE(built);
  CHECK(f.file(*built, "a") == "a");
  CHECK_FALSE(f.file(*built, "b"));
  request.subpath = "../..";
  CHECK_FALSE(f.build(request));
  request.subpath = "nothing";
  const auto missing = f.build(request);
  REQUIRE_FALSE(missing);
  CHECK(missing.error().failure.step == "detect");
}

TEST_CASE("whatever call of the runner fails, nothing stays behind and the next build works") {
  const BuildFixture::Files files{
      {"Dockerfile",
       "FROM debian AS a\nCOPY --chown=app x /x\nRUN make\nFROM scratch\nWORKDIR /w\nCOPY --from=a /x /made /w/\n"},
      {"x", "x"}};
  std::size_t n = 1;
  for (;; ++n) {
    BuildFixture f;
    f.runner.on_run = [](FakeRunner::Process& process) { (void)write_file(process.root / "made", "m"); };
    f.runner.fail_at = n;
    const auto built = f.build(files);
    INFO("call " << n);
    CHECK(f.runner.open_steps() == 0);
    CHECK(f.runner.instances() == 0);
    if (f.runner.calls < n) {
      if (!built) FAIL(built.error().error.what());
      break;
    }
    const auto again = f.build(files);
    if (!again) FAIL(again.error().error.what());
  }
  CHECK(n > 15);
}

TEST_CASE("a build that takes too long ends with the step's name") {
  BuildFixture f;
  f.runner.on_run = [](FakeRunner::Process& process) { process.ends = false; };
  auto request = f.request({{"Dockerfile", "FROM debian\nRUN sleep infinity\n"}});
  request.limit = milliseconds(1500);
  const auto built = f.build(std::move(request));
  REQUIRE_FALSE(built);
  CHECK(built.error().error.code() == Errc::timed_out);
  CHECK_THAT(built.error().failure.because, Catch::Contains("Dockerfile:2: RUN sleep infinity"));
  CHECK(f.runner.open_steps() == 0);
  CHECK(f.runner.instances() == 0);
}

TEST_CASE("a cancelled build leaves nothing behind") {
  BuildFixture f;
  asio::cancellation_signal cancel;
  f.runner.on_run = [&](FakeRunner::Process& process) {
    process.ends = false;
    asio::post(f.loop, [&] { cancel.emit(asio::cancellation_type::terminal); });
  };
  std::exception_ptr error;
  auto running = f.builder.run(f.request({{"Dockerfile", "FROM debian\nRUN sleep infinity\n"}}), {});
  asio::co_spawn(f.loop, std::move(running),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr thrown, auto) {
                   error = thrown;
                   f.loop.stop();
                 }));
  f.loop.restart();
  f.loop.run();
  CHECK(error);
  CHECK(f.runner.open_steps() == 0);
  CHECK(f.runner.instances() == 0);
  CHECK(std::filesystem::is_empty(f.home.path() / "work"));
}

TEST_CASE("equal requests at the same time share one build") {
  BuildFixture f;
  const auto request = f.request({{"Dockerfile", "FROM debian\nRUN make\n"}});
  auto first = f.builder.run(request, {});
  auto second = f.builder.run(request, {});
  const auto pair = run_on(f.loop, both(std::move(first), std::move(second)));
  REQUIRE((pair.first && pair.second));
  CHECK(pair.first->image.digest == pair.second->image.digest);
  CHECK(f.runner.runs == 1);
}

TEST_CASE("an upload that is no tar, or leads out, is refused") {
  BuildFixture f;
  (void)write_file(f.home.path() / "bad.tar", std::string(4096, 'x'));
  const auto built =
      f.build(BuildRequest{.source = ArchiveSource{.path = f.home.path() / "bad.tar"}, .reference = "x"});
  REQUIRE_FALSE(built);
  CHECK(built.error().failure.step == "fetch");
}

}  // namespace wick::build
