// The builders on real Debian: minutes, and the network (Debian mirror, npm registry).
#include <cstdlib>

#include "real_fixture.hpp"

namespace wick::build {
namespace {

/// WICK_DEBIAN_TAR names a root made earlier (mmdebstrap --variant=minbase bookworm): the image need not be made anew.
void add_debian(RealFixture& f) {
  const char* path = std::getenv("WICK_DEBIAN_TAR");
  if (!path) return;
  auto blob = value_of(f.store().write_blob());
  value_of(blob.write(value_of(read_file(path, 1u << 30))));
  const auto layer = value_of(blob.commit(std::string(image::media_type_layer)));
  (void)value_of(
      f.store().put_image({.environment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
                          {layer}, "debian:bookworm"));
}

}  // namespace

TEST_CASE("programs of every language become images, and the second build runs nothing", "[slow]") {
  if (std::getenv("WICK_OFFLINE")) {
    WARN("SKIPPED: WICK_OFFLINE is set");
    return;
  }
  RealFixture f;
  add_debian(f);
  struct Row {
    const char* name;
    RealFixture::Files files;
    const char* holds;
  };
  const Row rows[] = {
      {"c",
       {{"Makefile", "app: app.c\n\t$(CC) -static -o app app.c\n"},
        {"app.c", "#include <stdio.h>\nint main(void) { puts(\"hi\"); }\n"}},
       "app"},
      {"static", {{"index.html", "<h1>hi</h1>\n"}}, "site/index.html"},
      {"node",
       {{"server.js", "require('http').createServer((q, s) => s.end('hi')).listen(process.env.PORT)\n"}},
       "app/server.js"},
      {"npm",
       {{"package.json", "{\"name\":\"a\",\"main\":\"index.js\",\"dependencies\":{\"ms\":\"2.1.3\"}}\n"},
        {"index.js", "console.log(require('ms')('1h'))\n"}},
       "app/node_modules/ms/index.js"},
      {"python", {{"main.py", "print('hi')\n"}, {"requirements.txt", "# nothing\n"}}, "app/main.py"},
      {"cmake",
       {{"CMakeLists.txt",
         "cmake_minimum_required(VERSION 3.20)\nproject(hello CXX)\nadd_executable(hello main.cpp)\n"},
        {"main.cpp", "int main() {}\n"}},
       "app"},
  };
  for (const auto& row : rows) {
    INFO(row.name);
    const auto built = f.must_build(row.files, std::string(row.name) + ":latest");
    std::printf("builder %s: %s, %lld ms, %zu layers\n", row.name, built.detected.c_str(),
                static_cast<long long>(f.took.count()), built.image.config.diff_ids.size());
    std::fflush(stdout);
    CHECK(f.status(built, row.holds));
    const auto again = f.must_build(row.files, std::string(row.name) + ":latest");
    CHECK(again.unchanged);
    CHECK(again.image.digest == built.image.digest);
  }
  CHECK_FALSE(f.left_over());
}

}  // namespace wick::build
