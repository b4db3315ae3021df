// Dockerfiles through real steps: overlay, runc, unprivileged tar.
#include <sys/wait.h>

#include "real_fixture.hpp"

namespace wick::build {

TEST_CASE("FROM scratch with a static program, and nothing the second time") {
  RealFixture f;
  const RealFixture::Files files{
      {"Dockerfile",
       "FROM scratch\nCOPY --chmod=0755 hello /hello\nCOPY --chown=7:8 data /data/\nENTRYPOINT [\"/hello\"]\n"},
      {"hello", value_of(read_file("/bin/busybox"))},
      {"data/x", "x"}};
  const auto built = f.must_build(files);
  CHECK(built.image.config.diff_ids.size() == 2);
  const auto program = f.status(built, "hello");
  REQUIRE(program);
  CHECK((program->st_mode & 07777) == 0755);
  CHECK(program->st_uid == container::id_range_base);
  CHECK(f.status(built, "data/x")->st_uid == container::id_range_base + 7);
  CHECK(f.status(built, "data")->st_gid == container::id_range_base + 8);
  const auto again = f.must_build(files);
  CHECK(again.unchanged);
  CHECK(again.image.digest == built.image.digest);
  std::printf("unchanged build: %lld ms\n", static_cast<long long>(f.took.count()));
  CHECK_FALSE(f.left_over());
  const auto layout = "oci:" + (f.home() / "content").string() + ":test:latest";
  if (::system("command -v skopeo >/dev/null") == 0)
    CHECK(::system(("skopeo inspect " + layout + " >/dev/null").c_str()) == 0);
}

TEST_CASE("stages on a local busybox image, RUN as root and as a user") {
  RealFixture f;
  f.add_busybox();
  const auto built = f.must_build(
      {{"Dockerfile",
        "ARG BASE=busybox\nFROM $BASE AS make\nARG WHO=world\nWORKDIR /src\nCOPY . .\n"
        "RUN echo hello $WHO > greeting && ls > names && id > id && env > env && pwd > pwd && mkdir empty\n"
        "USER app\nWORKDIR /home\nRUN id > me; touch /etc/x; echo $? > touched\n"
        "FROM scratch\nCOPY --from=make /src/greeting /src/names /src/id /src/env /src/pwd /out/\nCOPY --from=make "
        "/home /home\n"
        "COPY --from=busybox /bin/sh /bin/sh\nCOPY --from=make --chown=5 /src/e* /e/\n"},
       {"a", "a"}});
  CHECK(f.file(built, "out/greeting") == "hello world\n");
  CHECK_THAT(f.file(built, "out/id").value_or(""), Catch::StartsWith("uid=0(root)"));
  CHECK_THAT(f.file(built, "out/env").value_or(""), Catch::Contains("WHO=world") && Catch::Contains("HOME=/root"));
  CHECK(f.file(built, "out/pwd") == "/src\n");
  CHECK_THAT(f.file(built, "home/me").value_or(""), Catch::StartsWith("uid=1000(app)"));
  CHECK(f.file(built, "home/touched") == "1\n");
  CHECK(f.status(built, "bin/sh"));
  CHECK(f.status(built, "e/env")->st_uid == container::id_range_base + 5);
  CHECK_FALSE(f.status(built, "src"));
  CHECK_FALSE(f.left_over());
}

TEST_CASE("a failing RUN tells its line and what it said, and the next build goes on from there") {
  RealFixture f;
  f.add_busybox();
  const auto built =
      f.build({{"Dockerfile", "FROM busybox\nRUN echo first > /first\nRUN seq 1 80 && echo oops >&2 && exit 3\n"}});
  REQUIRE_FALSE(built);
  const auto& failure = built.error().failure;
  CHECK_THAT(failure.because,
             Catch::StartsWith("Dockerfile:3: RUN seq 1 80") && Catch::EndsWith("it ended with exit 3"));
  CHECK(failure.slug == "E_BUILD_STEP");
  REQUIRE(failure.last_output.size() == 50);
  CHECK(failure.last_output.back() == "oops");
  CHECK_FALSE(f.left_over());
  const auto fixed =
      f.must_build({{"Dockerfile", "FROM busybox\nRUN echo first > /first\nRUN echo second > /second\n"}});
  CHECK(f.file(fixed, "first") == "first\n");
  CHECK(std::ranges::count_if(f.lines, [](const auto& line) { return line.contains("RUN echo first"); }) == 1);
}

TEST_CASE("out of memory and out of time end a RUN by name") {
  RealFixture f;
  f.add_busybox();
  BuildRequest request{
      .source = ArchiveSource{.path = f.upload({{"Dockerfile",
                                                 "FROM busybox\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1\n"}})},
      .reference = "x"};
  request.limits.memory_bytes = 48 << 20;
  const auto killed = f.build(request);
  REQUIRE_FALSE(killed);
  CHECK(killed.error().failure.slug == "E_OUT_OF_MEMORY");
  BuildRequest slow{.source = ArchiveSource{.path = f.upload({{"Dockerfile", "FROM busybox\nRUN sleep 1000\n"}})},
                    .reference = "x"};
  slow.limit = milliseconds(4000);
  const auto late = f.build(slow);
  REQUIRE_FALSE(late);
  CHECK(late.error().error.code() == Errc::timed_out);
  CHECK_FALSE(f.left_over());
}

TEST_CASE("a RUN has its mounts, and none of them is in the image") {
  RealFixture f;
  f.add_busybox();
  const RealFixture::Files files{
      {"Dockerfile",
       "FROM busybox AS tools\nRUN echo tool > /tool\n"
       "FROM busybox\n"
       "RUN --mount=type=cache,target=/cache echo $(cat /cache/n)x > /cache/n && cat /cache/n > /first\n"
       "RUN --mount=type=cache,target=/cache,sharing=locked cat /cache/n > /second\n"
       "RUN --mount=type=bind,source=sub,target=/src cat /src/file > /bound; echo no > /src/file; cat /src/file >> "
       "/bound\n"
       "RUN --mount=type=bind,source=sub,target=/src,rw echo new > /src/file && cat /src/file > /rewritten\n"
       "RUN --mount=from=tools,source=/tool,target=/t cat /t > /from\n"
       "RUN --mount=type=tmpfs,target=/memory echo 1 > /memory/x && grep ' /memory tmpfs ' /proc/mounts > /mounted\n"
       "RUN --mount=type=secret,id=key,env=KEY,target=/run/secrets/key cat /run/secrets/key; echo \"key is $KEY\"; "
       "stat -c %a /run/secrets/key "
       "> /mode\n"
       "RUN <<EOF\n#!/bin/busybox sh\necho script > /script\nEOF\n"},
      {"sub/file", "original\n"}};
  BuildRequest request{.source = ArchiveSource{.path = f.upload(files)}, .reference = "x"};
  request.secrets["key"] = "hunter2-secret\n";
  const auto built = f.build(std::move(request));
  if (!built) FAIL(built.error().error.what());
  CHECK(f.file(*built, "first") == "x\n");
  CHECK(f.file(*built, "second") == "x\n");
  CHECK(f.file(*built, "bound") == "original\noriginal\n");
  CHECK(f.file(*built, "rewritten") == "new\n");
  CHECK(f.file(*built, "from") == "tool\n");
  CHECK_THAT(f.file(*built, "mounted").value_or(""), Catch::Contains("tmpfs"));
  CHECK(f.file(*built, "mode") == "400\n");
  CHECK(f.file(*built, "script") == "script\n");
  CHECK_FALSE(f.file(*built, "cache/n"));
  CHECK_FALSE(f.file(*built, "memory/x"));
  for (const auto& line : f.lines) CHECK_THAT(line, !Catch::Contains("hunter2"));
  CHECK(std::ranges::count(f.lines, "key is ***") == 1);
  const auto state = (f.home() / "state/layers").string();
  CHECK(::system(("grep -rq hunter2 " + state).c_str()) != 0);
  CHECK_FALSE(f.left_over());
}

TEST_CASE("stages that need nothing of each other run at the same time") {
  RealFixture f;
  f.add_busybox();
  const auto built = f.must_build({{"Dockerfile",
                                    "FROM busybox AS a\nRUN --mount=type=cache,id=meet,target=/m touch /m/a; while ! "
                                    "test -e /m/b; do sleep 0.05; done\n"
                                    "FROM busybox AS b\nRUN --mount=type=cache,id=meet,target=/m touch /m/b; while ! "
                                    "test -e /m/a; do sleep 0.05; done; echo met > /met\n"
                                    "FROM a\nCOPY --from=b /met /met\n"}});
  CHECK(f.file(built, "met") == "met\n");
  CHECK_FALSE(f.left_over());
}

TEST_CASE("a hostile Dockerfile reaches nothing of the host") {
  RealFixture f;
  f.add_busybox();
  const auto secret = f.home() / "secret";
  value_of(write_file(secret, "canary"));
  CHECK_FALSE(f.build({{"Dockerfile", "FROM busybox\nCOPY ../../../../etc/passwd /p\n"}}));
  CHECK_FALSE(f.build({{"Dockerfile", "FROM busybox\nCOPY link /p\n"}, {"link@", "/etc/shadow"}}));
  CHECK_FALSE(f.build({{"Dockerfile", "FROM busybox\nCOPY up/etc/shadow /p\n"}, {"up@", "../../../../../../.."}}));
  CHECK_FALSE(f.build({{"Dockerfile@", secret}}));
  CHECK_FALSE(f.build({{"Dockerfile", "FROM busybox\nRUN rm -rf /bin && ln -s " + f.home().string() +
                                          " /out\nCOPY --from=busybox /out/secret /x\n"}}));
  // A link in the image is followed inside the image only.
  const auto linked =
      f.must_build({{"Dockerfile", "FROM busybox\nRUN ln -s " + f.home().string() + " /out\nCOPY note /out/written\n"},
                    {"note", "n"}});
  CHECK_FALSE(std::filesystem::exists(f.home() / "written"));
  CHECK(f.file(linked, f.home().string().substr(1) + "/written") == "n");
  const auto tried = f.must_build({{"Dockerfile", "FROM busybox\nRUN cat " + secret.string() +
                                                      " > /leak 2>/dev/null; cat /etc/shadow >> /leak 2>/dev/null;"
                                                      " mount -t tmpfs none /tmp && echo mounted >> /leak; echo 1 > "
                                                      "/proc/sys/kernel/panic && echo wrote >> /leak;"
                                                      " dd if=/dev/sda of=/leak count=1 2>/dev/null; ls -d " +
                                                      f.home().string() + " >> /leak; true\n"}});
  CHECK(f.file(tried, "leak").value_or("") == "");
  CHECK(value_of(read_file(secret)) == "canary");
  CHECK_FALSE(f.left_over());
}

TEST_CASE("a hostile upload writes nothing outside") {
  RealFixture f;
  const auto entry = [](std::string name, char type, std::string link, const std::string& content) {
    std::string head(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) { head.replace(at, text.size(), text); };
    char size[12];
    std::snprintf(size, sizeof size, "%011zo", content.size());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, size);
    put(136, "00000000000");
    put(148, "        ");
    head[156] = type;
    put(157, link);
    put(257, std::string("ustar\0"
                         "00",
                         8));
    unsigned sum = 0;
    for (const unsigned char c : head) sum += c;
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum);
    put(148, text);
    auto padded = content;
    padded.resize((content.size() + 511) / 512 * 512);
    return head + padded;
  };
  const auto outside = f.home() / "outside";
  value_of(make_folders(outside));
  const std::string dockerfile = entry("Dockerfile", '0', "", "FROM scratch\nCOPY . /\n");
  const std::vector<std::string> archives{
      entry("../outside/x", '0', "", "x"),
      entry("a/../../outside/x", '0', "", "x"),
      entry("link", '2', outside, "") + entry("link/x", '0', "", "x"),
      entry("hard", '1', outside / "y", ""),
      entry("dev", '3', "", ""),
      entry(std::string(90, 'a') + "/..", '5', "", ""),
  };
  for (const auto& archive : archives) {
    const auto path = f.home() / "hostile.tar";
    value_of(write_file(path, dockerfile + archive + std::string(1024, '\0')));
    (void)f.build(BuildRequest{.source = ArchiveSource{.path = path}, .reference = "x"});
    CHECK(std::filesystem::is_empty(outside));
    CHECK_FALSE(f.left_over());
  }
}

}  // namespace wick::build
