#include <stdlib.h>
#include <zstd.h>

#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "fake_daemon.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

const std::string images = "/apis/wick.dev/v1/images";
const std::string archive = "/apis/wick.dev/v1/imagearchive";
const std::string prune = "/apis/wick.dev/v1/imageprune";

FakeDaemon::Answer archive_of(std::string bytes, std::size_t promised) {
  return [bytes = std::move(bytes), promised](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 200};
    head.fields.set("Content-Length", std::to_string(promised));
    (void)co_await exchange.start(std::move(head));
    (void)co_await exchange.write(bytes);
    if (bytes.size() == promised) (void)co_await exchange.finish();
  };
}

}  // namespace

TEST_CASE("image ls shows what is there, and which of it is broken") {
  FakeDaemon daemon;
  daemon.on("GET " + images, 200,
            R"([{"name":"hello:latest","digest":"sha256:0123456789abcdef","bytes":2048,"layers":2},)"
            R"({"name":"old:v1","digest":"sha256:ff","broken":"a blob is missing"}])");
  const auto ran = daemon.run({"image", "ls"});
  CHECK(ran.exit == 0);
  CHECK_THAT(ran.out, Catch::Contains("hello:latest  sha256:0123456789ab  2.0 kB") && Catch::Contains("broken"));
}

TEST_CASE("image rm looks all names up before it removes the first") {
  FakeDaemon daemon;
  daemon.on("GET " + images + "/team%2Fa%3A1", 200, "{}");
  daemon.on("DELETE " + images + "/team%2Fa%3A1", 200, "{}");
  daemon.on("GET " + images + "/b", 404, R"({"kind":"Status","code":404,"message":"there is no image 'b:latest'"})");
  CHECK(daemon.run({"image", "rm", "team/a:1", "b"}).exit == 6);
  for (const auto& seen : daemon.seen()) CHECK_FALSE(seen.line.starts_with("DELETE"));
  CHECK(daemon.run({"image", "rm", "team/a:1"}).out == "team/a:1 removed\n");
}

TEST_CASE("image save writes a file once it is whole, or standard output, and no terminal") {
  FakeDaemon daemon;
  const std::string bytes(300'000, 'a');
  daemon.on("GET " + archive, archive_of(bytes, bytes.size()));
  const auto file = (daemon.folder() / "out.tar").string();
  CHECK(daemon.run({"image", "save", "team/a:1", "b", "-o", file}).exit == 0);
  CHECK(read_file(file).value() == bytes);
  CHECK(daemon.last("GET " + archive).line.ends_with("?names=team%2Fa%3A1,b"));
  CHECK(daemon.run({"image", "save", "a"}).out == bytes);
  daemon.on_terminal = true;
  CHECK(daemon.run({"image", "save", "a"}).exit == 2);
}

TEST_CASE("image save --zstd writes what zstd reads") {
  FakeDaemon daemon;
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += std::to_string(i);
  daemon.on("GET " + archive, archive_of(bytes, bytes.size()));
  const auto file = (daemon.folder() / "out.tar.zst").string();
  CHECK(daemon.run({"image", "save", "a", "--zstd", "-o", file}).exit == 0);
  const auto packed = read_file(file).value();
  CHECK(packed.size() < bytes.size() / 2);
  std::string unpacked(bytes.size(), '\0');
  CHECK(ZSTD_decompress(unpacked.data(), unpacked.size(), packed.data(), packed.size()) == bytes.size());
  CHECK(unpacked == bytes);
}

TEST_CASE("image save that is cut says so, and the file of before stays as it is") {
  FakeDaemon daemon;
  daemon.on("GET " + archive, archive_of(std::string(100'000, 'a'), 300'000));
  const auto file = daemon.folder() / "out.tar";
  REQUIRE(write_file(file, "before"));
  const auto files = [&] {
    return std::distance(std::filesystem::directory_iterator(daemon.folder()), std::filesystem::directory_iterator());
  };
  const auto before = files();
  const auto ran = daemon.run({"image", "save", "a", "-o", file.string()});
  CHECK(ran.exit == 3);
  CHECK_THAT(ran.err, Catch::Contains("a was not saved"));
  CHECK(read_file(file).value() == "before");
  CHECK(files() == before);
  CHECK(daemon.run({"image", "save", "a"}).exit == 3);
  CHECK(daemon.run({"image", "save", "a", "-o", "/dev/full"}).exit == 1);
}

TEST_CASE("what the daemon refuses makes no file, and its reason is told") {
  FakeDaemon daemon;
  daemon.on("GET " + archive, 404, R"({"kind":"Status","code":404,"message":"there is no image 'a:latest'"})");
  daemon.on("POST " + images, 400, R"({"kind":"Status","code":400,"message":"it is no image"})");
  const auto file = daemon.folder() / "out.tar";
  CHECK(daemon.run({"image", "save", "a", "-o", file.string()}).exit == 6);
  CHECK_FALSE(std::filesystem::exists(file));
  REQUIRE(write_file(file, "no archive"));
  CHECK_THAT(daemon.run({"image", "load", file.string()}).err, Catch::Contains("it is no image"));
}

TEST_CASE("image load sends a file or standard input and says what came of it") {
  FakeDaemon daemon;
  daemon.on("POST " + images, 201, R"([{"name":"a:1","digest":"sha256:aa"},{"name":"b:1","digest":"sha256:bb"}])");
  const auto file = daemon.folder() / "in.tar";
  REQUIRE(write_file(file, "an archive"));
  CHECK(daemon.run({"image", "load", file.string()}).out == "a:1 sha256:aa\nb:1 sha256:bb\n");
  CHECK(daemon.last("POST " + images).body == "an archive");
  daemon.input = "from a pipe";
  CHECK(daemon.run({"image", "load", "--name", "team/a"}).exit == 0);
  CHECK(daemon.last("POST " + images).body == "from a pipe");
  CHECK(daemon.last("POST " + images).line.ends_with("?name=team%2Fa"));
  CHECK(daemon.run({"image", "load", "/nonexistent"}).exit != 0);
}

TEST_CASE("image gc says what it freed and what images may use") {
  FakeDaemon daemon;
  daemon.on("POST /apis/wick.dev/v1/imagegc", 200,
            R"({"blobs":0,"layers":1,"bytes":2048,"used":4096,"useMax":8192,"free":1024,"freeMin":512})");
  const auto ran = daemon.run({"image", "gc"});
  CHECK(ran.out == "2.0 kB freed: 1 layer that nothing needs\n");
  CHECK_THAT(ran.err, Catch::Contains("4.1 kB of at most 8.2 kB"));
}

TEST_CASE("image verify looks at all images, and one that is damaged does not hide the others") {
  FakeDaemon daemon;
  daemon.on("GET " + images, 200, R"([{"name":"good:v1"},{"name":"bad:v1"},{"name":"fine:v1"}])");
  const std::string verify = "GET /apis/wick.dev/v1/imageverify?name=";
  daemon.on(verify + "good%3Av1", 200, "{}");
  daemon.on(verify + "fine%3Av1", 200, "{}");
  daemon.on(verify + "bad%3Av1", 500,
            R"({"kind":"Status","code":500,"message":"the layer is not what its name says"})");
  const auto ran = daemon.run({"image", "verify"});
  CHECK(ran.exit == 1);
  CHECK_THAT(ran.out, Catch::Contains("good:v1 ok") && Catch::Contains("fine:v1 ok") &&
                          Catch::Contains("not what its name says"));
}

TEST_CASE("image verify of one image says what is wrong with that one") {
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/imageverify?name=none", 404,
            R"({"kind":"Status","code":404,"message":"there is no image none"})");
  const auto ran = daemon.run({"image", "verify", "none"});
  CHECK(ran.exit != 0);
  CHECK_THAT(ran.err, Catch::Contains("there is no image none") && !Catch::Contains("digest"));
}

TEST_CASE("image prune asks, unless it is told not to") {
  FakeDaemon daemon;
  daemon.on("POST " + prune, 200, R"({"blobs":1,"layers":2,"bytes":3072})");
  CHECK(daemon.run({"image", "prune"}).exit == 2);
  daemon.on_terminal = true;
  daemon.input = "n\n";
  CHECK(daemon.run({"image", "prune"}).exit == 1);
  CHECK(daemon.seen().empty());
  daemon.input = "y\n";
  CHECK(daemon.run({"image", "prune"}).exit == 0);
  daemon.on_terminal = false;
  CHECK(daemon.run({"image", "prune", "--yes"}).out == "3.1 kB freed: 1 blob and 2 unpacked layers removed\n");
}

TEST_CASE("image pull and push hand over the login for that registry and no other") {
  FakeDaemon daemon;
  daemon.on("POST /apis/wick.dev/v1/imagepull", 200, R"({"name":"box:5000/a:v1","digest":"sha256:01"})");
  daemon.on("POST /apis/wick.dev/v1/imagepush", 200, R"({"name":"a","to":"box:5000/a:v2","digest":"sha256:02"})");
  const auto file = daemon.folder() / "config.json";
  REQUIRE(write_file(file, R"({"auths": {"box:5000": {"auth": ")" + base64_encode("me:secret") +
                               R"("}, "other.example": {"auth": ")" + base64_encode("me:hidden") + R"("}}})"));
  ::setenv("REGISTRY_AUTH_FILE", file.c_str(), 1);
  const auto pulled = daemon.run({"image", "pull", "box:5000/a:v1"});
  CHECK(pulled.exit == 0);
  CHECK(pulled.out == "box:5000/a:v1 sha256:01\n");
  const auto pull = daemon.last("POST /apis/wick.dev/v1/imagepull");
  CHECK(pull.line.ends_with("?name=box%3A5000%2Fa%3Av1"));
  CHECK(pull.body == R"({"auths":{"box:5000":{"username":"me","password":"secret"}}})");
  CHECK(daemon.run({"image", "push", "a", "box:5000/a:v2"}).out == "box:5000/a:v2 sha256:02\n");
  CHECK(daemon.last("POST /apis/wick.dev/v1/imagepush").body.contains("secret"));
  CHECK(daemon.run({"image", "pull", "elsewhere.example/a"}).exit == 0);
  CHECK(daemon.last("POST /apis/wick.dev/v1/imagepull").body.empty());
  CHECK(daemon.run({"image", "pull", "No Name"}).exit != 0);
  ::unsetenv("REGISTRY_AUTH_FILE");
}

}  // namespace wick::app::cli
