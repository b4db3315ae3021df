// What wakes `wick dev`, and what of it is a save.
#include <poll.h>

#include <catch2/catch.hpp>

#include "app/cli/folder_watch.hpp"
#include "wick/os/files.hpp"

namespace wick::app::cli {

namespace fs = std::filesystem;

namespace {

struct Watched {
  TemporaryFolder folder = TemporaryFolder::make(fs::temp_directory_path(), "wick-watch-").value();
  fs::path root = fs::canonical(folder.path());
  FolderWatch watch = FolderWatch::open().value();

  Watched() {
    file("main.py");
    while (watch.cover(list()).value()) {
    }
    (void)watch.take();
  }
  void file(const std::string& path, std::string_view bytes = "x") {
    fs::create_directories((root / path).parent_path());
    REQUIRE(write_file(root / path, bytes));
  }
  Folder list() { return list_folder(root, "").value(); }
  bool readable() {
    pollfd poll{.fd = watch.descriptor(), .events = POLLIN, .revents = 0};
    return ::poll(&poll, 1, 0) == 1;
  }
};

}  // namespace

TEST_CASE("an editor's own files are told from those of the program") {
  for (const char* name : {".main.py.swp", "main.py~", "#main.py#", ".#main.py", "4913", "5036", ".goutputstream-X1",
                           ".~lock.page.odt#", "main.py___jb_tmp___"}) {
    INFO(name);
    CHECK(is_editor_file(name));
  }
  for (const char* name : {"main.py", ".env", "#", "4914", "8080", "49130", ".gitignore", "swp"}) {
    INFO(name);
    CHECK_FALSE(is_editor_file(name));
  }
}

TEST_CASE("a save, a removal and a new mode wake the watch, an editor's own files do not") {
  Watched f;
  CHECK_FALSE(f.readable());
  f.file(".main.py.swp");
  CHECK_FALSE(f.watch.take().value());
  f.file("main.py", "new");
  CHECK(f.readable());
  CHECK(f.watch.take().value());
  fs::permissions(f.root / "main.py", fs::perms::owner_all);
  CHECK(f.watch.take().value());
  fs::remove(f.root / "main.py");
  CHECK(f.watch.take().value());
  CHECK_FALSE(f.watch.take().value());
}

TEST_CASE("a folder that is new or took another's place is covered, and said to be") {
  Watched f;
  f.file("lib/a.py");
  CHECK(f.watch.cover(f.list()).value());
  CHECK_FALSE(f.watch.cover(f.list()).value());
  fs::rename(f.root / "lib", f.root / "old");
  f.file("lib/a.py");
  CHECK(f.watch.cover(f.list()).value());
  (void)f.watch.take();
  f.file("lib/a.py", "new");
  CHECK(f.watch.take().value());
  f.file("old/a.py", "new");
  CHECK(f.watch.take().value());
}

TEST_CASE("a root that goes away is an error that says so") {
  Watched f;
  fs::rename(f.root, f.root.string() + "-moved");
  const auto taken = f.watch.take();
  fs::rename(f.root.string() + "-moved", f.root);
  REQUIRE_FALSE(taken);
  CHECK(taken.error().code() == Errc::not_found);
}

TEST_CASE("what changed is named, whatever was done to it") {
  Watched f;
  f.file("kept.py");
  f.file("gone.py");
  const FolderStamp before(f.list());
  CHECK(FolderStamp(f.list()).changes_since(before).empty());
  f.file("main.py", "longer than before");
  f.file("lib/new.py");
  fs::remove(f.root / "gone.py");
  CHECK(FolderStamp(f.list()).changes_since(before) ==
        std::vector<std::string>{"gone.py", "lib", "lib/new.py", "main.py"});
}

}  // namespace wick::app::cli
