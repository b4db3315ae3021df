#include "build/fetch.hpp"

#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "build/fetch_events.hpp"
#include "build/git_tree.hpp"
#include "build/tree_writer.hpp"
#include "support/run_loop.hpp"

namespace wick::build {
namespace {

/// A repository made with the git program; `usable` is false where there is none.
struct Repository {
  TemporaryFolder home = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-git-").value();
  std::string path = home.path() / "repo";
  bool usable = run("git init -q -b main " + path);

  bool run(const std::string& command) const {
    const auto full =
        "HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 "
        "+0000' " +
        command + " >/dev/null 2>&1";
    return ::system(full.c_str()) == 0;
  }
  bool git(const std::string& arguments) const {
    return run("git -C " + path + " -c user.name=a -c user.email=a@b " + arguments);
  }
  void commit(const std::string& name, const std::string& content) const {
    (void)make_folders((std::filesystem::path(path) / name).parent_path());
    (void)write_file(std::filesystem::path(path) / name, content);
    (void)git("add -A");
    (void)git("commit -q -m x");
  }
};

struct Fixture {
  TemporaryFolder work = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-fetch-").value();
  asio::io_context loop{1};
  SteadyClock clock;
  WorkerPool workers;  // joins its threads before the loop goes
  Result<std::unique_ptr<Fetched>> get(GitSource source, FetchLimits limits = {}) {
    return run_on(loop, fetch(clock, workers, std::move(source), work.path(), limits, [](const std::string&) {}));
  }
};

}  // namespace

TEST_CASE("branches, tags and commits are found, and an unknown ref names some that exist") {
  const Repository repository;
  if (!repository.usable) {
    WARN("SKIPPED: no git program");
    return;
  }
  repository.commit("a", "1");
  (void)repository.git("tag -a v1 -m v1");
  (void)repository.git("branch feature");
  repository.commit("bin/b", "2");
  Fixture f;
  const auto head = f.get({.url = repository.path, .allow_local = true});
  if (!head) FAIL(head.error().what());
  CHECK((*head)->commit.size() == 40);
  CHECK((*head)->commit_time == 1700000000);
  CHECK(read_file((*head)->folder / "bin/b") == "2");
  CHECK_FALSE(std::filesystem::exists((*head)->folder / ".git"));
  for (const auto& ref : {std::string("v1"), std::string("feature"), std::string("refs/tags/v1")}) {
    INFO(ref);
    const auto at = f.get({.url = "file://" + repository.path, .ref = ref, .allow_local = true});
    if (!at) FAIL(at.error().what());
    CHECK_FALSE(std::filesystem::exists((*at)->folder / "bin/b"));
  }
  CHECK(f.get({.url = repository.path, .ref = (*head)->commit, .allow_local = true}));
  CHECK(f.get({.url = repository.path, .ref = (*head)->commit.substr(0, 10), .allow_local = true}));
  const auto unknown = f.get({.url = repository.path, .ref = "fature", .allow_local = true});
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code() == Errc::not_found);
  CHECK_THAT(unknown.error().hint(), Catch::StartsWith("did you mean feature? there are: feature, main, v1"));
  CHECK(std::filesystem::is_empty(f.work.path()) == false);
}

TEST_CASE("links of a repository stay links, and submodules are left out with a warning") {
  const Repository repository;
  if (!repository.usable) {
    WARN("SKIPPED: no git program");
    return;
  }
  std::filesystem::create_symlink("/etc/shadow", std::filesystem::path(repository.path) / "shadow");
  (void)repository.git("update-index --add --cacheinfo 160000,1111111111111111111111111111111111111111,sub");
  (void)repository.git("add shadow");
  (void)repository.git("commit -q -m x");
  Fixture f;
  const auto got = f.get({.url = repository.path, .allow_local = true});
  if (!got) FAIL(got.error().what());
  CHECK(std::filesystem::read_symlink((*got)->folder / "shadow") == "/etc/shadow");
  REQUIRE((*got)->warnings.size() == 1);
  CHECK((*got)->warnings[0] == "sub is a submodule and was left out");
}

TEST_CASE("a source over its limit is refused and nothing is left") {
  const Repository repository;
  if (!repository.usable) return;
  repository.commit("big", std::string(100'000, 'x'));
  Fixture f;
  const auto got = f.get({.url = repository.path, .allow_local = true}, {.bytes_max = 50'000});
  REQUIRE_FALSE(got);
  CHECK(got.error().code() == Errc::too_large);
  CHECK(std::filesystem::is_empty(f.work.path()));
}

TEST_CASE("only https and http are fetched, and local repositories when allowed") {
  struct Row {
    const char* url;
    bool allow_local;
    std::optional<Errc> error;
  };
  const Row rows[] = {
      {"https://host/a.git", false, {}},
      {"http://127.0.0.1:8080/a.git", false, {}},
      {"https://user:token@host/a", false, {}},
      {"file:///srv/a", false, Errc::denied},
      {"/srv/a", false, Errc::denied},
      {"/srv/a", true, {}},
      {"ssh://git@host/a", false, {}},
      {"ssh://git@host:2222/a", false, {}},
      {"git@host:a.git", false, {}},
      {"ssh://git@host:99999/a", false, Errc::invalid},
      {"ssh://-oProxyCommand=id/a", false, Errc::invalid},
      {"-oProxyCommand=id@host:a", false, Errc::invalid},
      {"ext::sh -c id", false, Errc::invalid},
      {"ext::id", false, Errc::invalid},
      {"git://host/a", false, Errc::invalid},
      {"ftp://host/a", true, Errc::invalid},
      {"--upload-pack=id", false, Errc::invalid},
      {"https:///a", false, Errc::invalid},
      {"https://host/a\nb", false, Errc::invalid},
      {"", false, Errc::invalid},
  };
  for (const auto& row : rows) {
    INFO(row.url);
    const auto checked = check_git_url(row.url, row.allow_local);
    CHECK(checked.has_value() == !row.error.has_value());
    if (!checked && row.error) CHECK(checked.error().code() == *row.error);
  }
  const auto secret = check_git_url("ftp://me:secret@host/a", false);
  REQUIRE_FALSE(secret);
  CHECK_FALSE(secret.error().what().contains("secret"));
}

TEST_CASE("a ref that is no ref is refused before anything is asked") {
  Fixture f;
  for (const std::string ref : {"--upload-pack=x", "a..b", "a b", "a\nb", "a:b", "*"}) {
    const auto got = f.get({.url = "https://127.0.0.1:1/x", .ref = ref});
    REQUIRE_FALSE(got);
    CHECK(got.error().code() == Errc::invalid);
  }
}

TEST_CASE("names that some file system takes for .git are known") {
  for (const char* name : {".git", ".GIT", ".git.", ".git ", "git~1", "GIT~1", ".g\u200cit", ".git::$INDEX_ALLOCATION"})
    CHECK(is_git_folder_name(name));
  for (const char* name : {"git", ".gitignore", ".github", "a.git", "git~2"}) CHECK_FALSE(is_git_folder_name(name));
}

TEST_CASE("a tree writer never writes through what is there") {
  const auto home = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-tree-").value();
  const auto outside = home.path() / "outside";
  const auto root = home.path() / "root";
  (void)make_folders(outside);
  (void)make_folders(root);
  auto writer = TreeWriter::open(root, 1000).value();
  CHECK(writer.symlink("link", outside));
  CHECK_FALSE(writer.file("link/x", false, "x"));
  CHECK_FALSE(writer.file("link", false, "x"));
  CHECK_FALSE(writer.folder("link/y"));
  for (const char* path : {"", "/", "..", "../x", "a/../b", "/abs", "a//b", ".git/config", "a/.GIT/hooks/x"}) {
    INFO(path);
    CHECK_FALSE(writer.file(path, false, "x"));
  }
  CHECK(writer.file("a/b/c", true, "x"));
  CHECK_FALSE(writer.file("a/b/c", true, "again"));
  CHECK_FALSE(writer.file("big", false, std::string(1001, 'x')));
  CHECK(std::filesystem::is_empty(outside));
}

TEST_CASE("what the fetching child says is read strictly") {
  for (const FetchEvent& event :
       {FetchEvent(FetchProgress{"a\tb\n"}), FetchEvent(FetchedCommit{std::string(40, 'a'), 5}),
        FetchEvent(Error(Errc::not_found, "no").hint("look"))}) {
    auto line = to_line(event);
    REQUIRE(line.find('\n') == line.size() - 1);
    line.pop_back();
    CHECK(parse_fetch_event(line));
  }
  for (const char* line : {"", "commit", "commit\tabc\t1", "commit\t1111111111111111111111111111111111111111\t-1",
                           "error\tfine\tx\ty", "progress", "run\tx"})
    CHECK_FALSE(parse_fetch_event(line));
}

}  // namespace wick::build
