// Against the tools that others use: skopeo and umoci read what the store writes, GNU tar and bsdtar and the packer
// read each other, and the kernel's overlayfs shows the layers that unpack() makes. A peer that is not installed is
// named loudly and left out.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <functional>

#include "tar_builder.hpp"
#include "tree_listing.hpp"
#include "wick/image/content_store.hpp"
#include "wick/image/import.hpp"
#include "wick/image/layer.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& tool) {
  if (std::system(("command -v " + tool + " >/dev/null").c_str()) == 0) return true;
  WARN(tool << " is not installed: not tested against it");
  return false;
}

bool is_root() {
  if (::geteuid() == 0) return true;
  WARN("not root: mounts and owners are not tested");
  return false;
}

/// Paths in commands come from mkdtemp and need no quotes.
int run(const std::string& command) { return std::system(("{ " + command + "; } >&2").c_str()); }

Descriptor pack_layer(const ContentStore& store, const fs::path& root) {
  const Fd file = memory_file("");
  pack(root, file.get(), {}).value();
  ::lseek(file.get(), 0, SEEK_SET);
  return store.put_blob(read_all(file.get()).value(), std::string(media_type_layer)).value();
}

Unpacked unpack_file(const fs::path& archive, const fs::path& root, Whiteouts whiteouts = Whiteouts::translate) {
  fs::create_directories(root);
  auto file = open_file(archive, O_RDONLY).value();
  auto done = unpack(file.get(), root, whiteouts);
  INFO((done ? "" : done.error().what()));
  REQUIRE(done);
  return *done;
}

/// Long names, links, a sparse file, modes: what tar formats differ in.
void make_tree(const fs::path& root) {
  fs::create_directories(root / std::string(90, 'd') / std::string(90, 'e'));
  write_file(root / std::string(90, 'd') / std::string(90, 'e') / std::string(120, 'f'), "long").value();
  write_file(root / "tool", "#!/bin/sh\n", 0755).value();
  fs::create_hard_link(root / "tool", root / "tool-too");
  fs::create_symlink(std::string(150, 't'), root / "link");
  write_file(root / "\xc3\xa9t\xc3\xa9", "name beyond ASCII").value();
  ::mkfifo((root / "pipe").c_str(), 0640);
  const auto sparse = open_file(root / "sparse", O_WRONLY | O_CREAT, 0600).value();
  REQUIRE(::pwrite(sparse.get(), "end", 3, 1 << 20) == 3);
  REQUIRE(::pwrite(sparse.get(), "mid", 3, 1 << 19) == 3);
}

}  // namespace

TEST_CASE("skopeo and umoci take the store for an OCI layout") {
  if (!has("skopeo") || !has("umoci") || !is_root()) return;
  const auto folder = temporary_folder();
  const auto store = ContentStore::open(folder.path() / "content").value();
  const auto first = folder.path() / "first";
  fs::create_directories(first / "etc");
  write_file(first / "etc" / "motd", "hello").value();
  write_file(first / "etc" / "gone", "x").value();
  TarBuilder second;
  second.folder("etc/").file("etc/.wh.gone", "").file("etc/new", "new");
  ImageConfig config;
  config.entrypoint = {"/bin/true"};
  config.created = "2026-01-02T03:04:05Z";
  config.history = {{.created_by = "one"}, {.created_by = "two"}};
  const auto top = store.put_blob(second.finish(), std::string(media_type_layer)).value();
  REQUIRE(store.put_image(config, {pack_layer(store, first), top}, "debian:bookworm"));

  const auto at = store.root().string();
  CHECK(run("skopeo inspect oci:" + at + ":debian:bookworm") == 0);
  CHECK(run("skopeo inspect --config oci:" + at + ":debian:bookworm") == 0);
  // umoci names tags without a colon in them.
  const auto copied = (folder.path() / "copied").string();
  REQUIRE(run("skopeo copy -q oci:" + at + ":debian:bookworm oci:" + copied + ":test") == 0);
  REQUIRE(run("umoci unpack --image " + copied + ":test " + (folder.path() / "bundle").string()) == 0);
  CHECK(listing(folder.path() / "bundle" / "rootfs", Detail::names) == "etc/\netc/motd = hello\netc/new = new\n");
}

TEST_CASE("what skopeo writes is imported: gzip layers, zstd layers, docker archives") {
  if (!has("skopeo")) return;
  const auto folder = temporary_folder();
  const auto store = ContentStore::open(folder.path() / "content").value();
  fs::create_directories(folder.path() / "tree" / "etc");
  write_file(folder.path() / "tree" / "etc" / "motd", "hello").value();
  const auto image = store.put_image({}, {pack_layer(store, folder.path() / "tree")}, "debian:bookworm").value();
  const auto source = "oci:" + store.root().string() + ":debian:bookworm ";
  const auto target = (folder.path() / "out").string();
  const auto imported = [&](const std::string& command) {
    remove_tree(target).value();
    REQUIRE(run(command) == 0);
    auto done = import_images(store, target, folder.path(), "imported");
    INFO((done ? "" : done.error().what()));
    REQUIRE(done);
    CHECK(done->front().image.digest == image.digest);
  };
  imported("skopeo copy -q --dest-compress --dest-compress-format gzip " + source + "oci:" + target + ":x");
  imported("skopeo copy -q --dest-compress --dest-compress-format zstd " + source + "oci:" + target + ":x");
  imported("skopeo copy -q " + source + "oci-archive:" + target);
  imported("skopeo copy -q " + source + "docker-archive:" + target + ":saved:1");
}

TEST_CASE("archives of GNU tar, bsdtar and Python unpack to the tree they were made of") {
  const auto folder = temporary_folder();
  const auto root = folder.path() / "tree";
  make_tree(root);
  const auto archive = (folder.path() / "archive").string();
  const auto expected = listing(root, Detail::names);
  std::vector<std::string> commands;
  if (has("tar"))
    for (const char* options :
         {"--format=gnu", "--format=posix", "--format=gnu -S", "--format=posix -S",
          "--format=posix -S --sparse-version=0.0", "--format=posix -S --sparse-version=0.1", "-z", "--zstd"})
      commands.push_back(fmt::format("tar {} -C {} -cf {} .", options, root.string(), archive));
  if (has("bsdtar"))
    for (const char* options : {"--format=pax", "--format=gnutar"})
      commands.push_back(fmt::format("LC_ALL=C.UTF-8 bsdtar {} -C {} -cf {} .", options, root.string(), archive));
  if (has("python3"))
    for (const char* format : {"GNU_FORMAT", "PAX_FORMAT"})
      commands.push_back(
          fmt::format("python3 -c \"import tarfile; t = tarfile.open('{}', 'w', format=tarfile.{}); t.add('{}', '.')\"",
                      archive, format, root.string()));
  for (const auto& command : commands) {
    INFO(command);
    REQUIRE(run(command) == 0);
    const auto out = folder.path() / "out";
    unpack_file(archive, out);
    CHECK(listing(out, Detail::names) == expected);
    CHECK(read_file(out / "sparse").value() == read_file(root / "sparse").value());
    remove_tree(out).value();
  }
}

TEST_CASE("GNU tar and bsdtar unpack what is packed") {
  const auto folder = temporary_folder();
  const auto root = folder.path() / "tree";
  make_tree(root);
  const auto archive = folder.path() / "archive";
  {
    auto file = open_file(archive, O_WRONLY | O_CREAT, 0600).value();
    REQUIRE(pack(root, file.get(), {}));
  }
  for (const char* tool : {"tar", "bsdtar"}) {
    if (!has(tool)) continue;
    const auto out = folder.path() / "out";
    fs::create_directory(out);
    CHECK(run(fmt::format("LC_ALL=C.UTF-8 {} -C {} -xf {}", tool, out.string(), archive.string())) == 0);
    CHECK(listing(out, Detail::names) == listing(root, Detail::names));
    remove_tree(out).value();
  }
}

namespace {

/// In a child with mounts of its own and an overlay with userxattr of `lowers` (top first) at `at`; its exit code.
int in_overlay(const fs::path& folder, const std::string& lowers, const fs::path& upper,
               const std::function<bool(const fs::path&)>& body) {
  fs::create_directories(folder / "work");
  fs::create_directories(folder / "merged");
  fs::create_directories(upper);
  const pid_t child = ::fork();
  if (child == 0) {
    const auto options =
        fmt::format("lowerdir={},upperdir={},workdir={},userxattr", lowers, upper.string(), (folder / "work").string());
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("overlay", (folder / "merged").c_str(), "overlay", 0, options.c_str()) != 0)
      ::_exit(100);
    ::_exit(body(folder / "merged") ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE(
    "overlayfs shows the layers as the archives mean them, and a changed upper folder packs into the layer that "
    "repeats it") {
  if (!is_root()) return;
  const auto folder = temporary_folder();
  TarBuilder base;
  base.folder("etc/")
      .file("etc/gone")
      .file("etc/stays")
      .folder("cache/")
      .file("cache/old")
      .folder("again/")
      .file("again/old");
  TarBuilder top;
  top.folder("etc/").file("etc/.wh.gone", "").folder("cache/").file("cache/.wh..wh..opq", "").file("cache/new");
  top.file(".wh.again", "").folder("again/").file("again/new");
  write_file(folder.path() / "base.tar", base.finish()).value();
  write_file(folder.path() / "top.tar", top.finish()).value();
  unpack_file(folder.path() / "base.tar", folder.path() / "base");
  unpack_file(folder.path() / "top.tar", folder.path() / "top");
  const auto lowers = (folder.path() / "top").string() + ":" + (folder.path() / "base").string();
  const auto upper = folder.path() / "upper";

  const auto shown = in_overlay(folder.path(), lowers, upper, [](const fs::path& merged) {
    if (listing(merged, Detail::names) != "again/\nagain/new = x\ncache/\ncache/new = x\netc/\netc/stays = x\n")
      return false;
    // What a build step does: deletes, replaces, makes a folder again.
    fs::remove(merged / "etc/stays");
    fs::remove_all(merged / "cache");
    fs::create_directory(merged / "cache");
    write_file(merged / "cache/third", "3").value();
    write_file(merged / "again/new", "changed").value();
    return true;
  });
  REQUIRE(shown == 0);

  const auto layer = folder.path() / "step.tar";
  {
    auto file = open_file(layer, O_WRONLY | O_CREAT, 0600).value();
    REQUIRE(pack(upper, file.get(), {.overlay_upper = true}));
  }
  unpack_file(layer, folder.path() / "step");
  const auto again = in_overlay(folder.path(), (folder.path() / "step").string() + ":" + lowers,
                                folder.path() / "upper2", [](const fs::path& merged) {
                                  return listing(merged, Detail::names) ==
                                         "again/\nagain/new = changed\ncache/\ncache/third = 3\netc/\n";
                                });
  CHECK(again == 0);
}

TEST_CASE("inside a user namespace and a chroot without /proc, a layer unpacks with its whiteouts and its owners") {
  if (!is_root()) return;
  const auto folder = temporary_folder();
  TarBuilder tar;
  tar.add({.name = "bin/", .type = '5', .mode = 0755, .uid = 0, .gid = 0});
  tar.add({.name = "bin/su", .mode = 04755, .uid = 0, .gid = 0}).add({.name = "bin/.wh.gone", .uid = 0, .gid = 0});
  tar.add({.name = "home", .data = "x", .uid = 1000, .gid = 1000});
  const Fd archive = memory_file(tar.finish());
  const auto root = folder.path() / "root";
  fs::create_directory(root);
  ::chown(root.c_str(), 524288, 524288);
  int ready[2];
  int mapped[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(mapped) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    char byte = 0;
    // While still root: the namespace's root may not pass through the temporary folder.
    if (::chdir(root.c_str()) != 0 || ::unshare(CLONE_NEWUSER) != 0 || ::write(ready[1], "x", 1) != 1 ||
        ::read(mapped[0], &byte, 1) != 1)
      ::_exit(100);
    if (::setgid(0) != 0 || ::setuid(0) != 0 || ::chroot(".") != 0) ::_exit(101);
    const auto done = unpack(archive.get(), "/", Whiteouts::translate);
    ::_exit(!done ? 1 : done->xattr_whiteouts != 0 ? 2 : 0);
  }
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  write_file(fmt::format("/proc/{}/uid_map", child), "0 524288 65536\n").value();
  write_file(fmt::format("/proc/{}/gid_map", child), "0 524288 65536\n").value();
  REQUIRE(::write(mapped[1], "x", 1) == 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WEXITSTATUS(status) == 0);
  struct stat su{};
  struct stat home{};
  struct stat gone{};
  REQUIRE(::lstat((root / "bin/su").c_str(), &su) == 0);
  REQUIRE(::lstat((root / "home").c_str(), &home) == 0);
  REQUIRE(::lstat((root / "bin/gone").c_str(), &gone) == 0);
  CHECK(su.st_uid == 524288);
  CHECK((su.st_mode & 07777) == 04755);
  CHECK(home.st_uid == 525288);
  CHECK(S_ISCHR(gone.st_mode));
}
