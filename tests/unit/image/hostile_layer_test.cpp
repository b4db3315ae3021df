// Archives that want out. Beside each root lies a canary tree; whatever an archive holds, the canary stays equal to the
// byte, the inode and the nanosecond.
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <functional>
#include <optional>

#include "tar_builder.hpp"
#include "tree_listing.hpp"
#include "wick/image/layer.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

struct Hostile {
  const char* name;
  /// `outside` is the absolute path of the canary.
  std::function<TarBuilder(const std::string& outside)> build;
  std::optional<Errc> layer;  // as a layer; nullopt: harmless, and unpacked inside
  std::optional<Errc> copy;   // into a tree that is there
};

TarBuilder tar() { return {}; }

const std::string up = "../../../../../../../../../../..";

// clang-format off
const std::vector<Hostile> table = {
  {"absolute path", [](auto& out) { return tar().file(out + "/secret", "evil"); }, {}, {}},
  {"../ path", [](auto&) { return tar().file("../canary/secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"many ../", [](auto& out) { return tar().file(up + out + "/secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"a/../../b", [](auto&) { return tar().file("a/../../canary/secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"a name that is ..", [](auto&) { return tar().folder(".."); }, Errc::invalid, Errc::invalid},
  {"NUL by PAX path", [](auto&) { return tar().pax({{"path", std::string("a\0/../b", 7)}}).file("x"); }, Errc::invalid, Errc::invalid},
  {"NUL by PAX linkpath", [](auto&) { return tar().pax({{"linkpath", std::string("a\0b", 3)}}).symlink("x", "y"); }, Errc::invalid, Errc::invalid},
  {"empty name", [](auto&) { return tar().file("", "evil"); }, Errc::invalid, Errc::invalid},
  {"symlink to / then a file through it", [](auto& out) { return tar().symlink("l", "/").file("l" + out + "/secret", "evil"); }, {}, {}},
  {"symlink outside then a file through it", [](auto& out) { return tar().symlink("l", out).file("l/secret", "evil"); }, {}, {}},
  {"symlink ../ then a file through it", [](auto&) { return tar().symlink("l", "../canary").file("l/secret", "evil"); }, {}, {}},
  {"symlink many ../ then a folder through it", [](auto& out) { return tar().symlink("l", up + out).folder("l/sub/", 0777); }, {}, {}},
  {"symlink to the file, then the same name as a file", [](auto& out) { return tar().symlink("l", out + "/secret").file("l", "evil"); }, {}, {}},
  {"symlink to the folder, then the same name as a folder", [](auto& out) { return tar().symlink("l", out).folder("l/", 0777).file("l/secret", "evil"); }, {}, Errc::conflict},
  {"symlink to a symlink outside", [](auto& out) { return tar().symlink("a", out).symlink("b", "a").file("b/secret", "evil"); }, {}, {}},
  {"chain of 41 symlinks", [](auto& out) {
     auto t = tar().symlink("l0", out);
     for (int i = 1; i <= 41; ++i) t.symlink("l" + std::to_string(i), "l" + std::to_string(i - 1));
     return t.file("l41/secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"symlink loop", [](auto&) { return tar().symlink("a", "b").symlink("b", "a").file("a/x", "evil"); }, Errc::invalid, Errc::invalid},
  {"symlink to itself", [](auto&) { return tar().symlink("a", "a/a").file("a/x", "evil"); }, Errc::invalid, Errc::invalid},
  {"magic link", [](auto&) { return tar().symlink("l", "/proc/self/root").file("l/evil", "evil"); }, {}, {}},
  {"/proc/self/fd", [](auto&) { return tar().symlink("l", "/proc/self/fd/1").file("l", "evil"); }, {}, {}},
  {"hard link to the file", [](auto& out) { return tar().hard_link("l", out + "/secret").file("l", "evil"); }, Errc::invalid, Errc::invalid},
  {"hard link ../", [](auto&) { return tar().hard_link("l", "../canary/secret"); }, Errc::invalid, Errc::invalid},
  {"hard link to /etc/shadow", [](auto&) { return tar().hard_link("l", "/etc/shadow"); }, Errc::invalid, Errc::invalid},
  {"hard link through a symlinked folder", [](auto& out) { return tar().symlink("d", out).hard_link("l", "d/secret").file("l", "evil"); }, Errc::invalid, Errc::invalid},
  {"hard link to a symlink, then a file", [](auto& out) { return tar().symlink("s", out + "/secret").hard_link("l", "s").file("l", "evil", 0777); }, {}, {}},
  {"hard link before its target", [](auto&) { return tar().hard_link("l", "later").file("later"); }, Errc::invalid, Errc::invalid},
  {"hard link to the root", [](auto&) { return tar().hard_link("l", "/"); }, Errc::invalid, Errc::invalid},
  {"hard link to a folder", [](auto&) { return tar().folder("d").hard_link("l", "d"); }, Errc::invalid, Errc::invalid},
  {"hard link to itself", [](auto&) { return tar().file("l").hard_link("l", "l"); }, {}, {}},
  {"root as a symlink", [](auto& out) { return tar().symlink(".", out).file("secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"root as a symlink, ./", [](auto& out) { return tar().symlink("./", out).file("secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"root as a symlink, /", [](auto& out) { return tar().symlink("/", out).file("secret", "evil"); }, Errc::invalid, Errc::invalid},
  {"root as a file", [](auto&) { return tar().file("./", "evil"); }, Errc::invalid, Errc::invalid},
  {"root as a hard link", [](auto&) { return tar().file("a").hard_link(".", "a"); }, Errc::invalid, Errc::invalid},
  {"whiteout of ..", [](auto&) { return tar().file(".wh...", ""); }, Errc::invalid, Errc::invalid},
  {"whiteout of .", [](auto&) { return tar().file("a/.wh..", ""); }, Errc::invalid, Errc::invalid},
  {"whiteout of nothing", [](auto&) { return tar().file("a/.wh.", ""); }, Errc::invalid, Errc::invalid},
  {"whiteout of a whiteout", [](auto&) { return tar().file(".wh..wh.x", ""); }, Errc::invalid, Errc::invalid},
  {"a folder called .wh.x", [](auto&) { return tar().folder(".wh.x/").file(".wh.x/y"); }, Errc::invalid, Errc::invalid},
  {"whiteout through a symlinked folder", [](auto& out) { return tar().symlink("d", out).file("d/.wh.secret", ""); }, {}, Errc::invalid},
  {"opaque through a symlinked folder", [](auto& out) { return tar().symlink("d", out).file("d/.wh..wh..opq", ""); }, {}, Errc::invalid},
  {"opaque root", [](auto&) { return tar().file(".wh..wh..opq", ""); }, Errc::unsupported, Errc::invalid},
  {"whiteout as a symlink", [](auto& out) { return tar().symlink(".wh.x", out + "/secret"); }, Errc::invalid, Errc::invalid},
  {"character device", [](auto&) { return tar().add({.name = "mem", .type = '3', .mode = 0666, .major = 1, .minor = 1}); }, Errc::invalid, Errc::invalid},
  {"block device", [](auto&) { return tar().add({.name = "disk", .type = '4', .mode = 0666, .major = 8, .minor = 0}); }, Errc::invalid, Errc::invalid},
  {"block device 0:0", [](auto&) { return tar().add({.name = "disk", .type = '4', .mode = 0666}); }, Errc::invalid, Errc::invalid},
  {"device below dev", [](auto&) { return tar().folder("dev/").add({.name = "dev/mem", .type = '3', .mode = 0666, .major = 1, .minor = 1}); }, {}, {}},
  {"file over a file, then written through a kept descriptor's name", [](auto& out) { return tar().file("f", "1").symlink("f", out + "/secret").file("f", "evil").file("f", "3", 06777); }, {}, {}},
  {"file, then folder, then symlink, then through it", [](auto& out) { return tar().file("d").folder("d/").symlink("d", out).file("d/secret", "evil"); }, {}, Errc::conflict},
  {"cached folder replaced by a symlink", [](auto& out) { return tar().file("d/a").symlink("d", out).file("d/secret", "evil"); }, {}, Errc::conflict},
  {"folder attributes through a later symlink", [](auto& out) { return tar().folder("d/", 0777).symlink("d", out); }, {}, Errc::conflict},
  {"parent is a file", [](auto&) { return tar().file("f").file("f/x"); }, Errc::invalid, Errc::invalid},
  {"parent is a fifo", [](auto&) { return tar().add({.name = "p", .type = '6'}).file("p/x"); }, Errc::invalid, Errc::invalid},
  {"trusted xattr", [](auto&) { return tar().pax({{"SCHILY.xattr.trusted.overlay.opaque", "y"}}).folder("d/"); }, {}, {}},
  {"metacopy and redirect by xattr", [](auto& out) { return tar().pax({{"SCHILY.xattr.user.overlay.metacopy", ""}, {"SCHILY.xattr.user.overlay.redirect", out}}).file("f"); }, {}, {}},
  {"xattr with a NUL in its name", [](auto&) { return tar().pax({{std::string("SCHILY.xattr.user.a\0b", 21), "y"}}).file("f"); }, {}, {}},
  {"PAX size larger than the archive", [](auto&) { return tar().pax({{"size", "100000"}}).file("f"); }, Errc::corrupt, Errc::corrupt},
  {"PAX size is not a number", [](auto&) { return tar().pax({{"size", "-1"}}).file("f"); }, Errc::corrupt, Errc::corrupt},
  {"PAX record longer than its header", [](auto&) { return tar().add({.name = "x", .type = 'x', .data = "999 path=x\n"}).file("f"); }, Errc::corrupt, Errc::corrupt},
  {"PAX record of length 0", [](auto&) { return tar().add({.name = "x", .type = 'x', .data = "0 path=x\n"}).file("f"); }, Errc::corrupt, Errc::corrupt},
  {"PAX record without a key", [](auto&) { return tar().add({.name = "x", .type = 'x', .data = "6 =ab\n"}).file("f"); }, Errc::corrupt, Errc::corrupt},
  {"metadata and then the end", [](auto&) { return tar().pax({{"path", "x"}}); }, Errc::corrupt, Errc::corrupt},
  {"GNU long name with ..", [](auto&) { return tar().add({.name = "././@LongLink", .type = 'L', .data = "../canary/secret"}).file("f", "evil"); }, Errc::invalid, Errc::invalid},
  {"ustar prefix with ..", [](auto&) {
     std::string header(512, '\0');
     std::memcpy(header.data(), "secret", 6);
     std::memcpy(header.data() + 124, "00000000000", 11);
     header[156] = '0';
     std::memcpy(header.data() + 257, "ustar\0" "00", 8);
     std::memcpy(header.data() + 345, "../canary", 9);
     return tar().block(header, ""); }, Errc::invalid, Errc::invalid},
  {"sparse map past the end", [](auto&) { return tar().pax({{"GNU.sparse.size", "10"}, {"GNU.sparse.map", "9223372036854775807,5"}}).file("f", "12345"); }, Errc::corrupt, Errc::corrupt},
  {"sparse map that overlaps", [](auto&) { return tar().pax({{"GNU.sparse.size", "10"}, {"GNU.sparse.map", "0,4,2,4"}}).file("f", "12345678"); }, Errc::corrupt, Errc::corrupt},
  {"sparse map of more than is stored", [](auto&) { return tar().pax({{"GNU.sparse.size", "100"}, {"GNU.sparse.map", "0,50"}}).file("f", "12345678"); }, Errc::corrupt, Errc::corrupt},
  {"sparse name with ..", [](auto&) { return tar().pax({{"GNU.sparse.size", "5"}, {"GNU.sparse.map", "0,5"}, {"GNU.sparse.name", "../canary/secret"}}).file("f", "12345"); }, Errc::invalid, Errc::invalid},
  {"sparse folder", [](auto&) { return tar().pax({{"GNU.sparse.size", "5"}, {"GNU.sparse.map", "0,5"}}).folder("f"); }, Errc::corrupt, Errc::corrupt},
  {"multi-volume member", [](auto&) { return tar().add({.name = "v", .type = 'M'}); }, Errc::invalid, Errc::invalid},
  {"unknown type", [](auto&) { return tar().add({.name = "v", .type = 'Z'}); }, Errc::invalid, Errc::invalid},
  {"negative mtime", [](auto&) { return tar().add({.name = "old", .mtime = -86400}).pax({{"mtime", "-1.5"}}).file("older"); }, {}, {}},
  {"symlink without a target", [](auto&) { return tar().symlink("l", ""); }, Errc::invalid, Errc::invalid},
  {"/proc, /sys and /dev/null as symlinks", [](auto& out) { return tar().symlink("proc", out).symlink("sys", out).folder("dev/").symlink("dev/null", out + "/secret").file("proc/secret", "evil").file("dev/null", "evil"); }, {}, {}},
};
// clang-format on

struct Place {
  TemporaryFolder folder = temporary_folder();
  fs::path root = folder.path() / "root";
  fs::path canary = folder.path() / "canary";
  Place() {
    fs::create_directories(root / "etc");
    fs::create_directories(canary / "sub");
    write_file(canary / "secret", "untouched").value();
    write_file(canary / "sub" / "setuid", "untouched", 0755).value();
    fs::create_symlink("secret", canary / "link");
  }
};

}  // namespace

TEST_CASE("nothing in an archive reaches what is beside the root") {
  for (const auto& hostile : table) {
    for (const auto whiteouts : {Whiteouts::translate, Whiteouts::refuse, Whiteouts::refuse_and_replace}) {
      Place place;
      const auto before = listing(place.canary, Detail::everything);
      const auto file = memory_file(hostile.build(place.canary.string()).finish());
      const auto done = unpack(file.get(), place.root, whiteouts);
      INFO(hostile.name << (whiteouts == Whiteouts::translate ? " as a layer: " : " as a copy: ")
                        << (done ? "unpacked" : done.error().what()));
      CHECK(listing(place.canary, Detail::everything) == before);
      if (whiteouts == Whiteouts::refuse_and_replace) continue;  // what is a clash for a copy is none for it
      const auto expected = whiteouts == Whiteouts::translate ? hostile.layer : hostile.copy;
      CHECK(done.has_value() == !expected.has_value());
      if (!done && expected) CHECK(to_string(done.error().code()) == to_string(*expected));
    }
  }
}

TEST_CASE("a tree full of symlinks that lead out is copied into without leaving it") {
  Place place;
  fs::create_symlink(place.canary, place.root / "abs");
  fs::create_symlink("../canary", place.root / "rel");
  fs::create_symlink(place.canary / "secret", place.root / "file");
  const auto before = listing(place.canary, Detail::everything);
  TarBuilder archive;
  archive.file("abs/secret", "evil").file("rel/secret", "evil").file("file", "evil").folder("abs/sub/", 0777);
  archive.file("rel/sub/setuid", "evil", 06777).hard_link("grab", "abs/link");
  const auto file = memory_file(archive.finish());
  const auto done = unpack(file.get(), place.root, Whiteouts::refuse);
  CHECK_FALSE(done);  // abs/link is outside, so there is nothing to link to
  CHECK(listing(place.canary, Detail::everything) == before);
  CHECK(read_file(place.root / "canary" / "secret").value() == "evil");
}

TEST_CASE("an owner that does not fit is refused, not cut to 32 or 16 bits") {
  Place place;
  TarBuilder archive;
  archive.pax({{"uid", "4294967296"}}).file("root-by-overflow");
  const auto file = memory_file(archive.finish());
  const auto done = unpack(file.get(), place.root, Whiteouts::translate);
  REQUIRE_FALSE(done);
}

TEST_CASE("an xattr that the file system cannot hold is an error that names it") {
  Place place;
  TarBuilder archive;
  archive.pax({{"SCHILY.xattr.user.big", std::string(65'537, 'v')}}).file("f");
  const auto file = memory_file(archive.finish());
  const auto done = unpack(file.get(), place.root, Whiteouts::translate);
  REQUIRE_FALSE(done);
  CHECK(done.error().what().find("user.big") != std::string::npos);
}
