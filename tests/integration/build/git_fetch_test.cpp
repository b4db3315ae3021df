// Sources from a real git server over http, friendly and not.
#include <sys/wait.h>
#include <unistd.h>

#include "build/fetch.hpp"
#include "real_fixture.hpp"

namespace wick::build {
namespace {

struct Server {
  TemporaryFolder home = value_of(TemporaryFolder::make("/var/tmp", "wick-git-"));
  asio::io_context loop{1};
  std::optional<ChildProcess> process;
  int port = 0;
  Fd output;  // stays open: the server may write more than its port

  explicit Server(std::string program = "hostile_git_server.py") {
    auto pipe = value_of(make_pipe());
    ProcessOptions options{.argv = {"python3", WICK_SOURCE_ROOT "/tests/integration/build/" + program, home.path()},
                           .stdout_fd = pipe.second.get(),
                           .stderr_fd = 2};
    auto child = value_of(ChildProcess::spawn(loop.get_executor(), options));
    process.emplace(std::move(child));
    pipe.second.reset();
    char text[16] = {};
    if (::read(pipe.first.get(), text, sizeof text - 1) <= 0) FAIL("the git server did not start");
    port = std::atoi(text);
    output = std::move(pipe.first);
  }
  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port) + path; }
  void run(const std::string& command) const {
    const auto full =
        "cd " + home.path().string() + " && HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 sh -c '" + command + "' >/dev/null";
    if (::system(full.c_str()) != 0) FAIL(command);
  }
  void add_repository() const {
    run("git init -q -b main work && cd work && git config user.name a && git config user.email a@b && echo \"FROM "
        "scratch\" > Dockerfile && "
        "echo \"COPY hello /hello\" >> Dockerfile && echo one > hello && git add -A && git commit -q -m one && git tag "
        "v1 && echo two > hello && "
        "git commit -q -a -m two && git clone -q --bare . ../hello.git");
  }
};

Result<std::unique_ptr<Fetched>> get(const Server& server, GitSource source, FetchLimits limits = {}) {
  static asio::io_context loop{1};
  static SteadyClock clock;
  static WorkerPool workers;  // joins its threads before the loop goes
  const auto work = server.home.path() / "fetched";
  value_of(make_folders(work));
  return run_on(loop, fetch(clock, workers, std::move(source), work, limits, [](const std::string&) {}));
}

Result<std::unique_ptr<Fetched>> get(const Server& server, std::string url, std::string ref = "",
                                     FetchLimits limits = {}) {
  return get(server, GitSource{.url = std::move(url), .ref = std::move(ref)}, limits);
}

}  // namespace

TEST_CASE("a repository is built from its URL, and nothing the second time") {
  const Server server;
  server.add_repository();
  RealFixture f;
  const auto request = [&](std::string ref) {
    return BuildRequest{.source = GitSource{.url = server.url("/hello.git"), .ref = std::move(ref)},
                        .reference = "hello"};
  };
  const auto built = f.build(request(""));
  if (!built) FAIL(built.error().error.what());
  CHECK(built->commit.size() == 40);
  CHECK(f.file(*built, "hello") == "two\n");
  const auto again = f.build(request("main"));
  REQUIRE(again);
  CHECK(again->unchanged);
  CHECK(again->image.digest == built->image.digest);
  std::printf("git over http, unchanged: %lld ms\n", static_cast<long long>(f.took.count()));
  const auto tagged = f.build(request("v1"));
  REQUIRE(tagged);
  CHECK(f.file(*tagged, "hello") == "one\n");
  const auto by_commit = f.build(request(tagged->commit));
  REQUIRE(by_commit);
  CHECK(by_commit->commit == tagged->commit);
  const auto unknown = f.build(request("mian"));
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().failure.step == "fetch");
  CHECK_THAT(unknown.error().failure.hint, Catch::StartsWith("did you mean main? there are: main, v1"));
}

TEST_CASE("what a server can do wrong has its own error") {
  const Server server;
  server.add_repository();
  CHECK(get(server, server.url("/redirect/hello.git")));
  const auto missing = get(server, server.url("/missing.git"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == Errc::not_found);
  const auto closed = get(server, server.url("/private/hello.git"));
  REQUIRE_FALSE(closed);
  CHECK(closed.error().code() == Errc::denied);
  CHECK_FALSE(get(server, server.url("/file/hello.git")));
  CHECK_FALSE(get(server, server.url("/garbage/hello.git")));
  const auto nobody = get(server, "http://127.0.0.1:1/x.git");
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().code() == Errc::unavailable);
  const auto slow = get(server, server.url("/slow/hello.git"), "", {.time = milliseconds(2500)});
  REQUIRE_FALSE(slow);
  CHECK(slow.error().code() == Errc::timed_out);
  CHECK(std::filesystem::is_empty(server.home.path() / "fetched"));
}

TEST_CASE("a repository larger than the limit is given up") {
  const Server server;
  server.run(
      "git init -q -b main work && cd work && git config user.name a && git config user.email a@b && head -c 3000000 "
      "/dev/urandom > big && "
      "git add -A && git commit -q -m big && git clone -q --bare . ../big.git");
  const auto got = get(server, server.url("/big.git"), "", {.bytes_max = 1'000'000});
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == Errc::too_large);
}

TEST_CASE("hostile trees are refused or harmless") {
  const Server server;
  // Trees that git itself would not make: names that some file system takes for .git, and ways out.
  for (const std::string name : {".GIT", "git~1", ".git", "..", "."}) {
    INFO(name);
    server.run(
        "rm -rf evil.git && git init -q --bare evil.git && cd evil.git && blob=$(echo x | git hash-object -w --stdin) "
        "&& "
        "tree=$(printf \"100644 blob $blob\\t" +
        name +
        "\\n\" | git mktree) && commit=$(git -c user.name=a -c user.email=a@b commit-tree $tree -m x) && "
        "git update-ref refs/heads/main $commit && git symbolic-ref HEAD refs/heads/main || true");
    if (!std::filesystem::exists(server.home.path() / "evil.git/refs/heads/main")) continue;
    CHECK_FALSE(get(server, server.url("/evil.git")));
  }
  CHECK(std::filesystem::is_empty(server.home.path() / "fetched"));
}

TEST_CASE("a repository behind ssh is fetched with the key and the host key of its Secret, and with nothing less") {
  const Server server("ssh_server.py");
  server.add_repository();
  const auto url = "ssh://root@127.0.0.1:" + std::to_string(server.port) + (server.home.path() / "hello.git").string();
  const auto text = [&](const char* name) { return value_of(read_file(server.home.path() / name)); };
  const GitCredentials good{.ssh_private_key = text("user"),
                            .known_hosts = "[127.0.0.1]:" + std::to_string(server.port) + " " + text("host.pub")};
  const auto fetched = get(server, {.url = url, .credentials = good});
  if (!fetched) FAIL(fetched.error().what());
  CHECK(value_of(read_file((*fetched)->folder / "hello")) == "two\n");

  auto stranger = good;
  stranger.known_hosts = "";
  const auto unknown_host = get(server, {.url = url, .credentials = stranger});
  REQUIRE_FALSE(unknown_host);
  CHECK(unknown_host.error().code() == Errc::denied);
  CHECK_THAT(unknown_host.error().what(), Catch::Contains("ssh-ed25519 SHA256:"));
  CHECK_THAT(unknown_host.error().hint(), Catch::Contains("ssh-keyscan"));

  auto keyless = good;
  keyless.ssh_private_key = "";
  const auto no_key = get(server, {.url = url, .credentials = keyless});
  REQUIRE_FALSE(no_key);
  CHECK(no_key.error().code() == Errc::denied);
  CHECK_THAT(no_key.error().hint(), Catch::Contains("--git-secret"));

  server.run("ssh-keygen -q -t ed25519 -N \"\" -f other");
  auto wrong = good;
  wrong.ssh_private_key = text("other");
  const auto refused = get(server, {.url = url, .credentials = wrong});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == Errc::denied);

  auto garbage = good;
  garbage.ssh_private_key = "not a key";
  const auto unreadable = get(server, {.url = url, .credentials = garbage});
  REQUIRE_FALSE(unreadable);
  CHECK(unreadable.error().code() == Errc::denied);
}

}  // namespace wick::build
