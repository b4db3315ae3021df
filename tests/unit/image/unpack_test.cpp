#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tar_builder.hpp"
#include "tree_listing.hpp"
#include "wick/image/layer.hpp"

using namespace wick;
using namespace wick::image;
using namespace wick::test;
namespace fs = std::filesystem;

namespace {

Result<Unpacked> unpack_bytes(std::string_view bytes, const fs::path& root, Whiteouts whiteouts = Whiteouts::translate,
                              const UnpackLimits& limits = {}) {
  const Fd file = memory_file(bytes);
  return unpack(file.get(), root, whiteouts, limits);
}

struct Fixture {
  TemporaryFolder folder = temporary_folder();
  fs::path root = folder.path() / "root";
  Fixture() { fs::create_directory(root); }

  Result<Unpacked> layer(const TarBuilder& tar) { return unpack_bytes(tar.finish(), root); }
  Result<Unpacked> copy(const TarBuilder& tar) { return unpack_bytes(tar.finish(), root, Whiteouts::refuse); }
  std::string names() const { return listing(root, Detail::names); }
  struct stat status(const fs::path& name) const {
    struct stat found{};
    REQUIRE(::lstat((root / name).c_str(), &found) == 0);
    return found;
  }
};

std::string old_sparse_header(std::string_view name, std::uint64_t offset, std::uint64_t stored,
                              std::uint64_t real_size) {
  std::string header(512, '\0');
  const auto put = [&](std::size_t at, int width, std::uint64_t value) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", width - 1, static_cast<unsigned long long>(value));
    std::memcpy(header.data() + at, text, width - 1);
  };
  std::memcpy(header.data(), name.data(), name.size());
  put(100, 8, 0644);
  put(108, 8, ::geteuid());
  put(116, 8, ::getegid());
  put(124, 12, stored);
  put(136, 12, 1);
  header[156] = 'S';
  std::memcpy(header.data() + 257, "ustar  ", 8);
  put(386, 12, offset);
  put(398, 12, stored);
  put(483, 12, real_size);
  return header;
}

}  // namespace

TEST_CASE("a layer keeps types, modes, times, link counts and xattrs") {
  Fixture f;
  TarBuilder tar;
  tar.folder("./", 0755).folder("usr/").folder("usr/bin/", 0711);
  tar.file("usr/bin/tool", "#!/bin/sh\n", 04755);
  tar.hard_link("usr/bin/alias", "usr/bin/tool");
  tar.symlink("bin", "usr/bin");
  tar.pax({{"SCHILY.xattr.user.note", "kept"}, {"SCHILY.xattr.user.overlay.redirect", "no"}, {"mtime", "5.25"}});
  tar.file("with-xattr");
  tar.add({.name = "pipe", .type = '6', .mode = 0620});
  auto done = f.layer(tar);
  REQUIRE(done);
  CHECK(done->entries == 8);
  CHECK(done->bytes == 11);
  CHECK(f.names() ==
        "bin -> usr/bin\npipe fifo\nusr/\nusr/bin/\nusr/bin/alias = #!/bin/sh\n\nusr/bin/tool = "
        "#!/bin/sh\n\nwith-xattr = x\n");
  CHECK((f.status("usr/bin/tool").st_mode & 07777) == 04755);
  CHECK(f.status("usr/bin/tool").st_ino == f.status("usr/bin/alias").st_ino);
  CHECK((f.status("usr/bin").st_mode & 07777) == 0711);
  CHECK((f.status("pipe").st_mode & 07777) == 0620);
  CHECK(f.status("usr/bin").st_mtim.tv_sec == 1'000'000'000);
  CHECK(f.status("bin").st_mtim.tv_sec == 1'000'000'000);
  CHECK(f.status("with-xattr").st_mtim.tv_sec == 5);
  CHECK(f.status("with-xattr").st_mtim.tv_nsec == 250'000'000);
  CHECK(xattr(f.root / "with-xattr", "user.note") == "kept");
  CHECK(xattr(f.root / "with-xattr", "user.overlay.redirect") == "(none)");
}

TEST_CASE("gzip, several gzip members, zstd and plain archives unpack alike") {
  TarBuilder tar;
  tar.folder("a/").file("a/b", std::string(100'000, 'y'));
  const auto plain = tar.finish();
  const auto half = plain.size() / 2;
  std::string members;
  for (std::size_t at = 0; at < plain.size(); at += 100) members += gzip(std::string_view(plain).substr(at, 100));
  const std::string skippable("\x50\x2a\x4d\x18\x03\0\0\0abc", 11);
  for (const auto& bytes :
       {plain, gzip(plain), zstd(plain), gzip(plain) + std::string(512, '\0'), members,
        plain + std::string(20'000, '\0'), zstd(plain.substr(0, half)) + skippable + zstd(plain.substr(half)),
        skippable + zstd(plain)}) {
    Fixture f;
    auto done = unpack_bytes(bytes, f.root);
    INFO((done ? "" : done.error().what()));
    REQUIRE(done);
    CHECK(f.status("a/b").st_size == 100'000);
  }
}

TEST_CASE("an archive that is cut off or damaged anywhere is corrupt, never half right") {
  TarBuilder tar;
  tar.pax({{"path", std::string(200, 'p')}}).file("x", std::string(700, 'y')).file("z");
  const auto plain = tar.finish();
  const auto zipped = gzip(plain);
  const auto fast = zstd(plain);
  const auto refused = [](std::string_view bytes) {
    Fixture f;
    auto done = unpack_bytes(bytes, f.root);
    return !done && done.error().code() == Errc::corrupt;
  };
  for (std::size_t size : {100u, 512u, 700u, 1024u, 1536u, 1600u, 2300u, 2600u}) CHECK(refused(plain.substr(0, size)));
  for (std::size_t size = 4; size < zipped.size(); ++size) CHECK(refused(zipped.substr(0, size)));
  for (std::size_t size = 5; size < fast.size(); ++size) CHECK(refused(fast.substr(0, size)));
  auto bad_crc = zipped;
  bad_crc[bad_crc.size() - 6] ^= 1;
  CHECK(refused(bad_crc));
  CHECK(refused(zipped + "junk"));
  CHECK(refused(fast + "junk"));
  CHECK(refused(plain + "junk"));
  CHECK(refused(plain + plain));
  auto bad_checksum = plain;
  bad_checksum[3] ^= 1;
  CHECK(refused(bad_checksum));
  CHECK(refused("this is no archive"));
  CHECK(refused(std::string(600, 'A')));
}

TEST_CASE("whiteouts become what overlayfs reads and speak of lower layers only") {
  Fixture f;
  TarBuilder tar;
  tar.folder("etc/").file("etc/.wh.gone", "");
  tar.file("etc/here").file("etc/.wh.here", "");  // the layer has it itself
  tar.folder("opaque/").file("opaque/.wh..wh..opq", "").file("opaque/new");
  tar.folder("cache/").file(".wh.cache", "");  // a folder of this layer over a deleted one
  tar.file(".wh.again", "").folder("again/");  // the same the other way round
  tar.file(".wh.implied", "").file("implied/file");
  tar.hard_link(".wh.linked", "etc/.wh.gone");  // some tools link equal files
  auto done = f.layer(tar);
  INFO((done ? "" : done.error().what()));
  REQUIRE(done);
  const auto is_whiteout = [&](const char* name) {
    const auto status = f.status(name);
    return (S_ISCHR(status.st_mode) && status.st_rdev == 0) ||
           xattr(f.root / name, "user.overlay.whiteout") != "(none)";
  };
  CHECK(is_whiteout("etc/gone"));
  CHECK(is_whiteout("linked"));
  CHECK_FALSE(is_whiteout("etc/here"));
  CHECK(S_ISDIR(f.status("again").st_mode));
  for (const char* name : {"opaque", "cache", "again", "implied"})
    CHECK(xattr(f.root / name, "user.overlay.opaque") == "y");
  CHECK(xattr(f.root / "etc", "user.overlay.opaque") != "y");
  CHECK(f.names().find(".wh.") == std::string::npos);
}

TEST_CASE("in a layer a later entry replaces an earlier one of any type") {
  Fixture f;
  TarBuilder tar;
  tar.file("a", "1").folder("a/").file("a/in").symlink("a", "elsewhere").folder("b/").file("b/in").file("b", "2");
  tar.symlink("c", "b").folder("c/", 0700).folder("c/", 0750);
  REQUIRE(f.layer(tar));
  CHECK(f.names() == "a -> elsewhere\nb = 2\nc/\n");
  CHECK((f.status("c").st_mode & 07777) == 0750);
}

TEST_CASE("folders that are only implied, and the root, do not depend on the day") {
  Fixture f;
  TarBuilder tar;
  tar.file("a/b/c");
  REQUIRE(f.layer(tar));
  for (const char* name : {"", "a", "a/b"}) {
    CHECK(f.status(name).st_mtim.tv_sec == 0);
    CHECK((f.status(name).st_mode & 07777) == 0755);
  }
}

TEST_CASE("copying into a tree follows its symlinked folders and keeps what folders are") {
  Fixture f;
  fs::create_directories(f.root / "usr/bin");
  fs::create_symlink("usr/bin", f.root / "bin");
  fs::create_symlink("/run/inner", f.root / "late");
  fs::create_directories(f.root / "keep");
  ::chmod((f.root / "keep").c_str(), 0701);
  TarBuilder tar;
  tar.folder("bin/").file("bin/tool").folder("keep/", 0777).file("late/socket").file("/abs/olute").folder("./", 0700);
  auto done = f.copy(tar);
  INFO((done ? "" : done.error().what()));
  REQUIRE(done);
  CHECK(f.names() ==
        "abs/\nabs/olute = x\nbin -> usr/bin\nkeep/\nlate -> /run/inner\nrun/\nrun/inner/\nrun/inner/socket = x\nusr/\n"
        "usr/bin/\nusr/bin/tool = x\n");
  CHECK((f.status("keep").st_mode & 07777) == 0701);
  CHECK((f.status("").st_mode & 07777) != 0700);
}

TEST_CASE("copying replaces files and symlinks but never a folder by a file or a file by a folder") {
  Fixture f;
  fs::create_directories(f.root / "folder/in");
  write_file(f.root / "file", "old").value();
  write_file(f.root / "target", "target").value();
  fs::create_symlink("target", f.root / "link");
  fs::create_symlink("nowhere", f.root / "dangling");
  REQUIRE(f.copy(TarBuilder().file("file", "new").file("link", "new")));
  CHECK(read_file(f.root / "target").value() == "target");
  CHECK(read_file(f.root / "link").value() == "new");
  CHECK(f.copy(TarBuilder().file("folder")).error().code() == Errc::conflict);
  CHECK(f.copy(TarBuilder().folder("file/")).error().code() == Errc::conflict);
  CHECK(f.copy(TarBuilder().folder("dangling/")).error().code() == Errc::conflict);
  CHECK_FALSE(f.copy(TarBuilder().file("file/inside")));
  CHECK(f.copy(TarBuilder().file(".wh.file", "")).error().code() == Errc::invalid);
}

TEST_CASE("sparse files of all four kinds come out right") {
  const std::string data = "0123456789";
  std::string map_in_data = "1\n4096\n10\n";
  map_in_data.resize(512, '\0');
  struct Case {
    const char* name;
    TarBuilder tar;
  };
  std::vector<Case> cases;
  cases.push_back({"old GNU", {}});
  cases.back().tar.block(old_sparse_header("s", 4096, 10, 10'000), data);
  cases.push_back({"0.0", {}});
  cases.back()
      .tar
      .pax({{"GNU.sparse.size", "10000"},
            {"GNU.sparse.numblocks", "1"},
            {"GNU.sparse.offset", "4096"},
            {"GNU.sparse.numbytes", "10"}})
      .file("s", data);
  cases.push_back({"0.1", {}});
  cases.back()
      .tar.pax({{"GNU.sparse.size", "10000"}, {"GNU.sparse.map", "4096,10"}, {"GNU.sparse.name", "s"}})
      .file("x", data);
  cases.push_back({"1.0", {}});
  cases.back()
      .tar
      .pax({{"GNU.sparse.major", "1"},
            {"GNU.sparse.minor", "0"},
            {"GNU.sparse.name", "s"},
            {"GNU.sparse.realsize", "10000"}})
      .file("x", map_in_data + data);
  for (auto& c : cases) {
    INFO(c.name);
    Fixture f;
    c.tar.file("after", "next");
    auto done = f.layer(c.tar);
    INFO((done ? "" : done.error().what()));
    REQUIRE(done);
    CHECK(read_file(f.root / "s").value() == std::string(4096, '\0') + data + std::string(10'000 - 4106, '\0'));
    CHECK(read_file(f.root / "after").value() == "next");
  }
}

TEST_CASE("long names come from PAX, GNU and ustar prefixes, byte for byte") {
  Fixture f;
  const std::string part(120, 'n');
  const std::string pax_name = "pax/" + part + "/\xc3\xa9\xff";
  const std::string gnu_name = "gnu/" + part + "/g";
  TarBuilder tar;
  tar.pax({{"path", pax_name}}).file("short");
  tar.add({.name = "././@LongLink", .type = 'L', .data = gnu_name + '\0'}).file("short");
  tar.pax({{"linkpath", part + part}}).symlink("link", "short");
  tar.add({.name = "pax_global_header", .type = 'g', .data = TarBuilder::record("path", "evil")}).file("plain");
  REQUIRE(f.layer(tar));
  CHECK(fs::exists(f.root / pax_name));
  CHECK(fs::exists(f.root / gnu_name));
  CHECK(fs::read_symlink(f.root / "link") == part + part);
  CHECK(fs::exists(f.root / "plain"));
  CHECK_FALSE(fs::exists(f.root / "short"));
}

TEST_CASE("bombs end at the named limits") {
  Fixture f;
  SECTION("entries") {
    TarBuilder tar;
    for (int i = 0; i < 20; ++i) tar.file("f" + std::to_string(i), "");
    CHECK(unpack_bytes(tar.finish(), f.root, Whiteouts::translate, {.entries_max = 10}).error().code() ==
          Errc::too_large);
  }
  SECTION("bytes, told by a header before they come") {
    TarBuilder tar;
    tar.add({.name = "big", .size = 30ll << 30});
    CHECK(f.layer(tar).error().code() == Errc::too_large);
  }
  SECTION("a sparse file counts as what it shows") {
    TarBuilder tar;
    tar.block(old_sparse_header("s", 0, 0, 1ull << 32), "").block(old_sparse_header("t", 0, 0, 1ull << 32), "");
    CHECK(unpack_bytes(tar.finish(), f.root, Whiteouts::translate, {.bytes_max = 6ull << 30}).error().code() ==
          Errc::too_large);
  }
  SECTION("ratio of compression, gzip and zstd") {
    TarBuilder tar;
    tar.file("zeros", std::string(8 << 20, '\0'));
    for (const auto& bytes : {gzip(tar.finish()), zstd(tar.finish())}) {
      UnpackLimits limits;
      limits.ratio_free_bytes = 1 << 20;
      CHECK(unpack_bytes(bytes, f.root, Whiteouts::translate, limits).error().code() == Errc::too_large);
      CHECK(unpack_bytes(bytes, f.root));
    }
  }
  SECTION("length of the stream, whatever is in it") {
    TarBuilder tar;
    for (int i = 0; i < 8; ++i) tar.pax({{"comment", std::string(500'000, 'c')}}).file("f" + std::to_string(i));
    CHECK(unpack_bytes(tar.finish(), f.root, Whiteouts::translate, {.bytes_max = 1000}).error().code() ==
          Errc::too_large);
  }
  SECTION("a window of 2 GiB") {
    // RFC 8878 3.1.1.1: magic, no single segment, window descriptor exponent 21 is 2^31 bytes, one raw block of one
    // byte.
    const std::string frame(
        "\x28\xb5\x2f\xfd\x00\xa8\x09\x00\x00"
        "A",
        10);
    CHECK(unpack_bytes(frame, f.root).error().code() == Errc::corrupt);
  }
  SECTION("metadata") {
    CHECK(f.layer(TarBuilder().pax({{"comment", std::string(2 << 20, 'c')}}).file("f")).error().code() ==
          Errc::too_large);
    TarBuilder tar;
    for (int i = 0; i < 20; ++i) tar.add({.name = "././@LongLink", .type = 'L', .data = "name"});
    CHECK(f.layer(tar.file("f")).error().code() == Errc::corrupt);
  }
  SECTION("depth and length of names") {
    std::string deep;
    for (int i = 0; i < 10'000; ++i) deep += "d/";
    CHECK(f.layer(TarBuilder().pax({{"path", deep}}).file("f")).error().code() == Errc::invalid);
    CHECK(f.layer(TarBuilder().pax({{"path", deep.substr(0, 600)}}).file("f")).error().code() == Errc::invalid);
    CHECK(f.layer(TarBuilder().pax({{"path", std::string(4096, 'n')}}).file("f")).error().code() == Errc::invalid);
    CHECK(f.layer(TarBuilder().pax({{"path", std::string(256, 'n')}}).file("f")).error().code() == Errc::invalid);
    CHECK(f.layer(TarBuilder().pax({{"linkpath", std::string(5000, 'n')}}).symlink("f", "x")).error().code() ==
          Errc::invalid);
  }
}
