// Which caches of build steps go, on real folders.
#include "container/cache_folders.hpp"

#include <catch2/catch.hpp>

#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::container;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

struct Caches {
  Caches() : folder(std::move(TemporaryFolder::make(fs::temp_directory_path(), "wick-caches-").value())) {}

  fs::path add(const std::string& name, std::size_t bytes, std::chrono::seconds ago) {
    const auto path = folder.path() / name;
    fs::create_directories(path / "deep");
    REQUIRE(write_file(path / "deep/file", std::string(bytes, 'x')));
    fs::last_write_time(path, fs::file_time_type::clock::now() - ago);
    return path;
  }

  TemporaryFolder folder;
};

}  // namespace

TEST_CASE("caches that fit stay, else those go first that were used longest ago") {
  Caches caches;
  const auto recent = caches.add("a", 1 << 20, 1s);
  const auto oldest = caches.add("b", 1 << 20, 3000s);
  const auto old = caches.add("c", 1 << 20, 2000s);
  const auto measured = measured_caches(caches.folder.path());
  REQUIRE(measured.size() == 3);
  std::uint64_t all = 0;
  for (const auto& cache : measured) {
    CHECK(cache.bytes >= 1 << 20);
    all += cache.bytes;
  }
  CHECK(superfluous(measured, all).empty());
  CHECK(superfluous(measured, all - 1) == std::vector{oldest});
  CHECK(superfluous(measured, 2 << 20) == std::vector{oldest, old});
  CHECK(superfluous(measured, 0) == std::vector{oldest, old, recent});
}

TEST_CASE("a file with two names counts once, and what is no folder of caches has none") {
  Caches caches;
  const auto path = caches.add("a", 1 << 20, 1s);
  const auto before = disk_bytes_of(path);
  fs::create_hard_link(path / "deep/file", path / "deep/again");
  CHECK(disk_bytes_of(path) == before);
  CHECK(measured_caches(caches.folder.path() / "none").empty());
}

TEST_CASE("caches have a twentieth of the disk, between 1 and 20 GiB") {
  const auto most = cache_bytes_max(fs::temp_directory_path());
  CHECK(most >= 1ull << 30);
  CHECK(most <= 20ull << 30);
}
