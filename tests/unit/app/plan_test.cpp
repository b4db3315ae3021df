// `wick build --explain` against a fake daemon that has two builders.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <filesystem>

#include "fake_daemon.hpp"

namespace wick::app::cli {

namespace json = boost::json;

namespace {

const std::string hello_builder =
    "name: hello\ntitle: Hello\ndetect: {any: [hello.txt]}\nignore: [left]\nvalues:\n"
    "  only: [{value: only_debian, write: debian}, {write: any}]\n  start: [{text: hello.txt, matching: '(.+)'}]\n"
    "needs: {start: hello.txt is empty}\ntells: [start]\n"
    "dockerfile: [FROM scratch, 'ENV BASES={only}', {embed: note.txt, to: /note}, 'CMD {start|command}']\n";
const std::string world_builder =
    "name: world\ntitle: World\ndetect: {any: [world.txt]}\ndockerfile: [FROM scratch, COPY . /]\n";

struct PlanDaemon : FakeDaemon {
  TemporaryFolder project = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-plan-").value();

  explicit PlanDaemon(std::string bases = "auto") {
    on("GET /apis/wick.dev/v1/builders", 200,
       json::serialize(json::object{
           {"bases", bases},
           {"files", {{"hello.yaml", hello_builder}, {"world.yaml", world_builder}, {"note.txt", "n\n"}}}}));
  }
  void file(const std::string& path, std::string_view text) {
    std::filesystem::create_directories((project.path() / path).parent_path());
    REQUIRE(write_file(project.path() / path, text));
  }
  Ran explain(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"build", project.path().string(), "--explain"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(std::move(arguments));
  }
};

}  // namespace

TEST_CASE("a plan is a Dockerfile with its reasons, and nothing is uploaded for it") {
  PlanDaemon daemon;
  daemon.file("hello.txt", "/run me\n");
  const auto ran = daemon.explain();
  INFO(ran.err);
  CHECK(ran.exit == 0);
  CHECK(ran.out ==
        "# Hello (hello.txt)\n"
        "#   start: /run me  (hello.txt)\n"
        "# not copied, besides what .dockerignore names: left\n"
        "FROM scratch\n"
        "ENV BASES=any\n"
        "COPY <<'END_OF_FILE' /note\n"
        "n\n"
        "END_OF_FILE\n"
        "CMD [\"/run\",\"me\"]\n");
  CHECK(daemon.seen().size() == 1);
  const auto document = json::parse(daemon.explain({"--json"}).out).as_object();
  CHECK(document.at("builder") == "hello");
  CHECK(document.at("reasons").at(0) == json::value({{"name", "start"}, {"value", "/run me"}, {"from", "hello.txt"}}));
  CHECK(PlanDaemon("debian").explain().exit != 0);  // an empty folder
}

TEST_CASE("a plan is made for the daemon's bases, a folder below and a builder that is named") {
  PlanDaemon daemon("debian");
  daemon.file("below/hello.txt", "/a\n");
  daemon.file("below/world.txt", "");
  daemon.file(".gitignore", "");
  const auto both = daemon.explain({"--path", "below"});
  CHECK(both.exit != 0);
  CHECK(both.err.contains("more than one builder fits: hello (hello.txt) and world (world.txt)"));
  CHECK(both.err.contains("choose one with --builder hello"));
  CHECK(daemon.explain({"--path", "below", "--builder", "hello"}).out.contains("ENV BASES=debian\n"));
  const auto wrong = daemon.explain({"--path", "below", "--builder", "wrld"});
  CHECK(wrong.err.contains("there is no builder 'wrld'"));
  CHECK(wrong.err.contains("did you mean world?"));
  CHECK(daemon.explain().err.contains("nothing here says how to build it"));
  CHECK(daemon.explain({"--path", "other"}).err.contains("the source has no folder 'other'"));
}

TEST_CASE("a Dockerfile is its own plan") {
  PlanDaemon daemon;
  daemon.file("hello.txt", "/a\n");
  daemon.file("Dockerfile", "FROM scratch\nCMD [\"/b\"]\n");
  CHECK(daemon.explain().out ==
        "# Dockerfile, as it is; --builder NAME would build without it\nFROM scratch\nCMD [\"/b\"]\n");
  CHECK(daemon.explain({"--builder", "hello"}).out.contains("CMD [\"/a\"]"));
  CHECK(daemon.explain({"--dockerfile", "other"}).err.contains("the source has no file 'other'"));
}

TEST_CASE("only a folder is explained") {
  PlanDaemon daemon;
  const auto git = daemon.run({"build", "https://example.com/x.git", "--explain"});
  CHECK(git.exit == 2);
  CHECK(git.err.contains("--explain looks at a folder"));
}

}  // namespace wick::app::cli
