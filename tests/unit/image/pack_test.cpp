#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <catch2/catch.hpp>

#include "tar_builder.hpp"
#include "tree_listing.hpp"
#include "wick/base/digest.hpp"
#include "wick/image/layer.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

Result<std::string> pack_bytes(const fs::path& root, const PackOptions& options = {}) {
  const Fd file = memory_file("");
  auto done = pack(root, file.get(), options);
  if (!done) return fail(std::move(done.error()));
  ::lseek(file.get(), 0, SEEK_SET);
  return read_all(file.get());
}

struct Fixture {
  TemporaryFolder folder = temporary_folder();
  fs::path root = folder.path() / "root";
  fs::path other = folder.path() / "other";
  Fixture() {
    fs::create_directory(root);
    fs::create_directory(other);
  }
  /// What the archive unpacks to.
  std::string unpacked(const Result<std::string>& bytes, Whiteouts whiteouts = Whiteouts::refuse) {
    INFO((bytes ? "" : bytes.error().what()));
    REQUIRE(bytes);
    remove_tree(other).value();
    fs::create_directory(other);
    const Fd file = memory_file(*bytes);
    auto done = unpack(file.get(), other, whiteouts);
    INFO((done ? "" : done.error().what()));
    REQUIRE(done);
    return listing(other, Detail::names);
  }
};

void write(const fs::path& path, std::string_view bytes = "x") { write_file(path, bytes).value(); }

}  // namespace

TEST_CASE("packing and unpacking give the same archive and the same tree") {
  Fixture f;
  fs::create_directories(f.root / "b" / std::string(120, 'd') / "deep");
  write(f.root / "b" / std::string(120, 'd') / "deep" / std::string(200, 'f'), "long");
  write(f.root / "a", std::string(70'000, 'z'));
  write(f.root / "empty", "");
  fs::create_hard_link(f.root / "a", f.root / "a-too");
  fs::create_symlink(std::string(300, 't'), f.root / "link");
  ::mkfifo((f.root / "pipe").c_str(), 0600);
  ::chmod((f.root / "a").c_str(), 06755);
  ::setxattr((f.root / "a").c_str(), "user.note", "\0kept\n", 6, 0);
  const timespec before_1970[2] = {{.tv_sec = -5, .tv_nsec = 0}, {.tv_sec = -5, .tv_nsec = 0}};
  ::utimensat(AT_FDCWD, (f.root / "empty").c_str(), before_1970, 0);

  const auto first = pack_bytes(f.root);
  const auto names = f.unpacked(first);
  CHECK(names == listing(f.root, Detail::names));
  struct stat a{};
  struct stat b{};
  ::stat((f.other / "a").c_str(), &a);
  ::stat((f.other / "a-too").c_str(), &b);
  CHECK(a.st_ino == b.st_ino);
  CHECK((a.st_mode & 07777) == 06755);
  CHECK(xattr(f.other / "a", "user.note") == std::string("\0kept\n", 6));
  CHECK(pack_bytes(f.other).value() == *first);
}

TEST_CASE("the archive of a known tree has known bytes") {
  Fixture f;
  TarBuilder tar;  // through unpack, so that times are ours; ids must be 0 for a fixed digest
  tar.folder("bin/").file("bin/sh", "#!").symlink("sh", "bin/sh");
  const Fd file = memory_file(tar.finish());
  REQUIRE(unpack(file.get(), f.root, Whiteouts::translate));
  const auto bytes = pack_bytes(f.root, {.id_offset = std::min(::geteuid(), ::getegid())});
  REQUIRE(bytes);
  CHECK(bytes->size() == 512 + 1024 + 512 + 1024);
  if (::geteuid() == ::getegid())
    CHECK(Digest::of(*bytes).text() == "sha256:eb7235ea9341ce04e909f816047ddd5c0605994a6d919ee8e0812cf94ad736f5");
}

TEST_CASE("an overlay's upper folder becomes a layer with whiteouts, and back") {
  Fixture f;
  fs::create_directories(f.root / "etc");
  fs::create_directories(f.root / "new");
  REQUIRE(::mknod((f.root / "etc" / "gone").c_str(), S_IFCHR, 0) == 0);
  REQUIRE(::setxattr((f.root / "new").c_str(), "user.overlay.opaque", "y", 1, 0) == 0);
  REQUIRE(::setxattr((f.root / "etc").c_str(), "user.overlay.origin", "abc", 3, 0) == 0);
  write(f.root / "etc" / "marked", "");
  REQUIRE(::setxattr((f.root / "etc" / "marked").c_str(), "user.overlay.whiteout", "y", 1, 0) == 0);
  write(f.root / "new" / "file");
  const auto bytes = pack_bytes(f.root, {.overlay_upper = true});
  REQUIRE(bytes);
  for (const char* name : {"etc/.wh.gone", "etc/.wh.marked", "new/.wh..wh..opq"})
    CHECK(bytes->find(name) != std::string::npos);
  CHECK(bytes->find("user.overlay") == std::string::npos);
  CHECK(f.unpacked(bytes, Whiteouts::translate) == "etc/\netc/gone char 0\netc/marked char 0\nnew/\nnew/file = x\n");
  CHECK(xattr(f.other / "new", "user.overlay.opaque") == "y");
  CHECK(pack_bytes(f.other, {.overlay_upper = true}).value() == *bytes);
}

TEST_CASE("what no layer can hold is refused by name") {
  Fixture f;
  write(f.root / ".wh.file");
  CHECK(pack_bytes(f.root, {.overlay_upper = true}).error().what().find(".wh.file") != std::string::npos);
  remove_tree(f.root / ".wh.file").value();
  REQUIRE(::mknod((f.root / "whiteout").c_str(), S_IFCHR, 0) == 0);
  CHECK(pack_bytes(f.root).error().code() == Errc::invalid);
  remove_tree(f.root / "whiteout").value();
  REQUIRE(::setxattr(f.root.c_str(), "user.overlay.opaque", "y", 1, 0) == 0);
  write(f.root / "moved", "");
  REQUIRE(::setxattr((f.root / "moved").c_str(), "user.overlay.metacopy", "", 0, 0) == 0);
  CHECK(pack_bytes(f.root, {.overlay_upper = true}).error().code() == Errc::unsupported);
  CHECK(pack_bytes(f.root, {.id_offset = 4'000'000'000}).error().code() == Errc::invalid);
  write(f.root / "moved", "0123456789");
  CHECK(pack_bytes(f.root, {.bytes_max = 9}).error().code() == Errc::too_large);
}

TEST_CASE("sockets are left out") {
  Fixture f;
  const Fd server(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const auto path = (f.root / "socket").string();
  REQUIRE(path.size() < sizeof address.sun_path);
  std::copy(path.begin(), path.end(), address.sun_path);
  REQUIRE(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  write(f.root / "file");
  CHECK(f.unpacked(pack_bytes(f.root)) == "file = x\n");
}

TEST_CASE("a subpath is found through symlinks inside the root and gets the prefix as its name") {
  Fixture f;
  fs::create_directories(f.root / "usr/lib/app/sub");
  write(f.root / "usr/lib/app/main.js", "js");
  write(f.root / "usr/lib/app/sub/x");
  fs::create_symlink("/usr/lib", f.root / "lib");
  fs::create_symlink("../lib/app", f.root / "usr/current");
  fs::create_symlink("main.js", f.root / "usr/lib/app/entry");
  write(f.folder.path() / "outside", "secret");
  fs::create_symlink("/../../outside", f.root / "escape");

  const auto tree = [](std::string prefix) {
    return prefix + "/\n" + prefix + "/entry -> main.js\n" + prefix + "/main.js = js\n" + prefix + "/sub/\n" + prefix +
           "/sub/x = x\n";
  };
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "/lib/app"})) == tree("app"));
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "usr/current/"})) == tree("current"));
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "lib/app", .prefix = "/srv/app"})) == "srv/\n" + tree("srv/app"));
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "lib/app", .prefix = "."})) ==
        "entry -> main.js\nmain.js = js\nsub/\nsub/x = x\n");
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "lib/app/entry"})) == "entry = js\n");
  CHECK(f.unpacked(pack_bytes(f.root, {.subpath = "lib/app/entry", .prefix = "a/b.js"})) == "a/\na/b.js = js\n");
  CHECK(pack_bytes(f.root, {.subpath = "lib/app/nothing"}).error().code() == Errc::not_found);
  CHECK(pack_bytes(f.root, {.subpath = "escape"}).error().code() == Errc::not_found);
  CHECK(pack_bytes(f.root, {.subpath = "lib/app/entry", .prefix = "."}).error().code() == Errc::invalid);
  CHECK(pack_bytes(f.root, {.subpath = "lib/app", .prefix = "a/../../b"}).error().code() == Errc::invalid);
}

TEST_CASE("times are clamped and the rest of the archive stays") {
  Fixture f;
  fs::create_directory(f.root / "d");
  write(f.root / "d" / "now");
  const auto clamped = pack_bytes(f.root, {.clamp_mtime = 1000});
  REQUIRE(f.unpacked(clamped, Whiteouts::translate) == "d/\nd/now = x\n");
  for (const char* name : {"d", "d/now"}) {
    struct stat status{};
    ::stat((f.other / name).c_str(), &status);
    CHECK(status.st_mtim.tv_sec == 1000);
  }
}
