// What of a folder is handed over: ignore files, git state, limits, and the tar's bytes.
#include <archive.h>
#include <archive_entry.h>
#include <git2.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <map>

#include "app/cli/folder.hpp"
#include "wick/base/digest.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;
using namespace std::string_literals;

namespace {

struct Project {
  TemporaryFolder folder = TemporaryFolder::make(fs::temp_directory_path(), "wick-folder-").value();
  fs::path root = fs::canonical(folder.path());

  void file(const std::string& path, std::string_view bytes = "x") {
    fs::create_directories((root / path).parent_path());
    REQUIRE(write_file(root / path, bytes));
  }
  std::vector<std::string> listed(std::string_view dockerfile = "") {
    const auto folder = list_folder(root, dockerfile);
    REQUIRE(folder);
    std::vector<std::string> paths;
    for (const auto& entry : folder->entries)
      paths.push_back(entry.path + (entry.kind == FolderEntry::Kind::folder ? "/" : ""));
    return paths;
  }
};

/// A repository with everything of `root` in one commit. Returns the commit's name.
std::string commit_all(const fs::path& root) {
  git_libgit2_init();
  git_repository* repository = nullptr;
  git_index* index = nullptr;
  git_tree* tree = nullptr;
  git_signature* author = nullptr;
  git_oid tree_id, commit_id;
  REQUIRE(git_repository_init(&repository, root.c_str(), 0) == 0);
  REQUIRE(git_repository_index(&index, repository) == 0);
  REQUIRE(git_index_add_all(index, nullptr, 0, nullptr, nullptr) == 0);
  REQUIRE(git_index_write(index) == 0);
  REQUIRE(git_index_write_tree(&tree_id, index) == 0);
  REQUIRE(git_tree_lookup(&tree, repository, &tree_id) == 0);
  REQUIRE(git_signature_new(&author, "t", "t@example.com", 0, 0) == 0);
  REQUIRE(git_commit_create(&commit_id, repository, "HEAD", author, author, nullptr, "c", tree, 0, nullptr) == 0);
  const std::string name = git_oid_tostr_s(&commit_id);
  git_signature_free(author);
  git_tree_free(tree);
  git_index_free(index);
  git_repository_free(repository);
  git_libgit2_shutdown();
  return name;
}

std::string tar_of(const Folder& folder, std::size_t step = 1000) {
  FolderTar tar(folder);
  std::string bytes, chunk(step, '\0');
  while (true) {
    const auto count = tar.read(chunk);
    REQUIRE(count);
    if (*count == 0) return bytes;
    bytes += chunk.substr(0, *count);
  }
}

using Paths = std::vector<std::string>;

}  // namespace

TEST_CASE("a plain folder is listed whole, but for .git and what is no file") {
  Project project;
  project.file("a/b/c.txt");
  project.file("index.js");
  project.file("sub/.git/config");
  project.file(".git-not/x");
  fs::create_symlink("nowhere/../..", project.root / "link");
  REQUIRE(::mkfifo((project.root / "pipe").c_str(), 0600) == 0);
  CHECK(project.listed() == Paths{".git-not/", ".git-not/x", "a/", "a/b/", "a/b/c.txt", "index.js", "link", "sub/"});
}

TEST_CASE(".gitignore files count at every level, in a repository and without one") {
  Project project;
  project.file(".gitignore", "*.log\n/build/\n!keep.log\n");
  project.file("sub/.gitignore", "secret\n");
  project.file("a.log");
  project.file("keep.log");
  project.file("build/out.o");
  project.file("sub/secret");
  project.file("sub/build/kept");
  const Paths expected{".gitignore", "keep.log", "sub/", "sub/.gitignore", "sub/build/", "sub/build/kept"};
  CHECK(project.listed() == expected);
  commit_all(project.root);
  CHECK(project.listed() == expected);
}

TEST_CASE("a tracked file stays whatever .gitignore says") {
  Project project;
  project.file("dist/app.js");
  project.file("index.js");
  commit_all(project.root);
  project.file(".gitignore", "dist/\n");
  project.file("dist/new.js");
  CHECK(project.listed() == Paths{".gitignore", "dist/", "dist/app.js", "index.js"});
}

TEST_CASE("the commit is known, and a change or a new file makes it dirty") {
  Project project;
  project.file("index.js");
  project.file("app/main.py");
  const auto commit = commit_all(project.root);
  auto folder = list_folder(project.root, "");
  REQUIRE(folder);
  CHECK(folder->commit == commit);
  CHECK_FALSE(folder->dirty);
  project.file("new.js");
  CHECK(list_folder(project.root, "")->dirty);
  // A change elsewhere in the repository is none of this folder.
  const auto below = list_folder(project.root / "app", "");
  REQUIRE(below);
  CHECK(below->commit == commit);
  CHECK_FALSE(below->dirty);
  CHECK(below->entries.size() == 1);
  project.file("app/main.py", "changed");
  CHECK(list_folder(project.root / "app", "")->dirty);
}

TEST_CASE("the ignore rules of a repository hold in a folder below its top") {
  Project project;
  project.file(".gitignore", "*.log\n");
  project.file("app/a.log");
  project.file("app/b.txt");
  commit_all(project.root);
  const auto below = list_folder(project.root / "app", "");
  REQUIRE(below);
  REQUIRE(below->entries.size() == 1);
  CHECK(below->entries[0].path == "b.txt");
}

TEST_CASE(".dockerignore leaves out, takes back in, and never drops what configures the build") {
  Project project;
  project.file(".dockerignore", "*\n!src\nsrc/*.tmp\n");
  project.file("Dockerfile", "FROM scratch\n");
  project.file("notes.md");
  project.file("src/main.c");
  project.file("src/x.tmp");
  CHECK(project.listed() == Paths{".dockerignore", "Dockerfile", "src/", "src/main.c"});
  project.file("docker/Other", "FROM scratch\n");
  CHECK(project.listed("docker/Other") == Paths{".dockerignore", "docker/", "docker/Other", "src/", "src/main.c"});
  project.file("docker/Other.dockerignore", "src\n");
  CHECK(project.listed("docker/Other") ==
        Paths{".dockerignore", "Dockerfile", "docker/", "docker/Other", "docker/Other.dockerignore", "notes.md"});
}

TEST_CASE("a broken .dockerignore is named") {
  Project project;
  project.file(".dockerignore", "[\n");
  project.file("x");
  const auto folder = list_folder(project.root, "");
  REQUIRE_FALSE(folder);
  CHECK(folder.error().what.find(".dockerignore") != std::string::npos);
}

TEST_CASE("an empty folder and one that is too large are refused with the reason") {
  Project project;
  CHECK(list_folder(project.root, "").error().what.find("nothing to deploy") != std::string::npos);
  project.file("big/a", std::string(3000, 'x'));
  project.file("b", std::string(100, 'x'));
  const auto folder = list_folder(project.root, "", {.bytes_max = 2000, .entries_max = 10});
  REQUIRE_FALSE(folder);
  CHECK(folder.error().exit == ExitCode::refused);
  CHECK(folder.error().because.find("the biggest parts: big 3") != std::string::npos);
  CHECK_FALSE(list_folder(project.root, "", {.bytes_max = 1 << 20, .entries_max = 2}));
}

TEST_CASE("the tar is the same for the same tree, whoever owns it and whenever it was written") {
  Project one, two;
  for (auto* project : {&one, &two}) {
    project->file("run.sh", "#!/bin/sh\n");
    fs::permissions(project->root / "run.sh", fs::perms::owner_all);
    project->file("data/ünï.txt", std::string(100'000, 'd'));
    project->file(std::string(120, 'l') + "/" + std::string(120, 'm'));
    fs::create_symlink("data/ünï.txt", project->root / "link");
  }
  fs::last_write_time(two.root / "run.sh", fs::file_time_type::clock::now() - std::chrono::hours(1000));
  fs::permissions(two.root / "data", fs::perms::owner_all);
  const auto first = tar_of(*list_folder(one.root, ""));
  CHECK(Digest::of(first) == Digest::of(tar_of(*list_folder(two.root, ""), 64 << 10)));

  std::map<std::string, std::pair<unsigned, std::string>> read;
  archive* reader = archive_read_new();
  archive_read_support_format_tar(reader);
  REQUIRE(archive_read_open_memory(reader, first.data(), first.size()) == ARCHIVE_OK);
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader, &entry) == ARCHIVE_OK) {
    const char* link = archive_entry_symlink(entry);
    read[archive_entry_pathname(entry)] = {archive_entry_perm(entry), link ? link : ""};
    CHECK(archive_entry_mtime(entry) == 0);
    CHECK(archive_entry_uid(entry) == 0);
  }
  archive_read_free(reader);
  CHECK(read["run.sh"].first == 0755);
  CHECK(read["data/ünï.txt"].first == 0644);
  CHECK(read["link"].second == "data/ünï.txt");
  CHECK(read.contains(std::string(120, 'l') + "/" + std::string(120, 'm')));
}

TEST_CASE("a file that shrinks while it is read is an error, one that grows is cut") {
  Project project;
  project.file("a", "0123456789");
  const auto folder = list_folder(project.root, "");
  REQUIRE(folder);
  project.file("a", "0123456789 and more");
  CHECK(tar_of(*folder).find("0123456789\0"s) != std::string::npos);
  project.file("a", "0");
  FolderTar tar(*folder);
  std::string chunk(4096, '\0');
  Result<std::size_t> count = 1;
  while (count && *count > 0) count = tar.read(chunk);
  REQUIRE_FALSE(count);
  CHECK(count.error().message() == "a got shorter while it was read");
}

}  // namespace wick::app::cli
