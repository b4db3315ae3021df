#include "app/drain_file.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <catch2/catch.hpp>
#include <fstream>

#include "wick/base/log.hpp"
#include "wick/os/files.hpp"

namespace wick::app {

namespace {

container::InstanceId instance(std::string_view digits) { return container::InstanceId::parse(digits).value(); }

struct DrainFolder {
  DrainFolder() { log::set_level(log::Level::error); }
  TemporaryFolder top = TemporaryFolder::make("/tmp", "wick-drains-").value();
  std::filesystem::path path = top.path() / "drains";
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(path), std::filesystem::directory_iterator()));
  }
};

const auto first = instance("00000000000000aa");
const auto second = instance("00000000000000bb");

}  // namespace

TEST_CASE("what several processes relay is added up, and goes with each of them") {
  DrainFolder f;
  CHECK(read_drain_files(f.path).empty());
  auto one = DrainFile::make(f.path, {{first, 3}, {second, 1}});
  REQUIRE(one);
  {
    auto other = DrainFile::make(f.path, {{first, 2}});
    REQUIRE(other);
    CHECK(read_drain_files(f.path) == RequestCounts{{first, 5}, {second, 1}});
  }
  CHECK(read_drain_files(f.path) == RequestCounts{{first, 3}, {second, 1}});
  REQUIRE(one->update({{first, 1}}));
  CHECK(read_drain_files(f.path) == RequestCounts{{first, 1}, {second, 0}});
}

TEST_CASE("the file of a process that was killed counts nothing and is removed") {
  DrainFolder f;
  REQUIRE(make_folders(f.path));
  REQUIRE(write_file(f.path / "0011.drain", "00000000000000aa      7\n"));
  CHECK(read_drain_files(f.path).empty());
  CHECK(f.files() == 0);
}

TEST_CASE("a file that is damaged counts nothing, and others do") {
  DrainFolder f;
  auto whole = DrainFile::make(f.path, {{first, 3}});
  REQUIRE(whole);
  REQUIRE(write_file(f.path / "0011.drain", "00000000000000bb      7\nnonsense"));
  auto held = open_file(f.path / "0011.drain", O_RDONLY);
  REQUIRE(held);
  REQUIRE(::flock(held->get(), LOCK_EX | LOCK_NB) == 0);
  CHECK(read_drain_files(f.path) == RequestCounts{{first, 3}});
}

TEST_CASE("a line that is none is named") {
  for (const auto* text : {"00000000000000aa      7", "00000000000000a       7\n", "00000000000000aa\n",
                           "00000000000000aa      x\n", "00000000000000aa 1000000\n", "\n"}) {
    CAPTURE(text);
    RequestCounts counts;
    auto added = add_drain_lines(std::string("00000000000000bb      1\n") + text, counts);
    REQUIRE_FALSE(added);
    CHECK(added.error().code() == Errc::corrupt);
    CHECK_THAT(added.error().what(), Catch::StartsWith("line 2: expected an instance and a count"));
  }
}

}  // namespace wick::app
