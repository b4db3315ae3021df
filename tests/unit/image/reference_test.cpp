#include "wick/image/reference.hpp"

#include <catch2/catch.hpp>

using namespace wick;
using namespace wick::image;

TEST_CASE("names of images mean what docker takes them to mean") {
  const std::string digest = "sha256:" + std::string(64, 'a');
  struct Row {
    std::string text;
    std::string canonical;
    std::string familiar;
  };
  const std::vector<Row> rows = {
      {"debian", "docker.io/library/debian:latest", "debian:latest"},
      {"debian:bookworm", "docker.io/library/debian:bookworm", "debian:bookworm"},
      {"docker.io/debian", "docker.io/library/debian:latest", "debian:latest"},
      {"index.docker.io/library/debian:1", "docker.io/library/debian:1", "debian:1"},
      {"library/debian", "docker.io/library/debian:latest", "debian:latest"},
      {"library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"},
      {"bitnami/redis:7.2", "docker.io/bitnami/redis:7.2", "bitnami/redis:7.2"},
      {"dev.local/hello", "dev.local/hello:latest", "dev.local/hello:latest"},
      {"localhost/hello:v1", "localhost/hello:v1", "localhost/hello:v1"},
      {"box:5000/a/b__c-d.e", "box:5000/a/b__c-d.e:latest", "box:5000/a/b__c-d.e:latest"},
      {"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
      {"Ghcr.io/a/b", "Ghcr.io/a/b:latest", "Ghcr.io/a/b:latest"},
      {"debian@" + digest, "docker.io/library/debian@" + digest, "debian@" + digest},
      {"ghcr.io/a/b:v1@" + digest, "ghcr.io/a/b:v1@" + digest, "ghcr.io/a/b:v1@" + digest},
  };
  for (const auto& row : rows) {
    INFO(row.text);
    const auto reference = parse_reference(row.text);
    REQUIRE(reference);
    CHECK(reference->canonical() == row.canonical);
    CHECK(reference->familiar() == row.familiar);
    CHECK(parse_reference(reference->familiar()) == *reference);
    CHECK(parse_reference(reference->canonical()) == *reference);
  }
}

TEST_CASE("what is not a name of an image is refused with the part that is wrong") {
  for (const std::string text :
       {"",        ":tag",        "Debian",      "debian:",      "debian:a b", "a//b",
        "/a",      "a/",          "-a",          "a-",           "a..b",       "a___b",
        "a._b",    "../a",        "a@sha256:12", "a@md5:1",      "a:.tag",     "bad_host.io:x/a",
        "-x.io/a", "box:99999/a", "box:/a",      "http://box/a", "a\nb"}) {
    INFO(text);
    const auto reference = parse_reference(text);
    REQUIRE_FALSE(reference);
    CHECK(reference.error().code() == Errc::invalid);
    CHECK(reference.error().what().find('\n') == std::string::npos);
  }
  CHECK_FALSE(parse_reference(std::string(64, 'a')));
  CHECK_FALSE(parse_reference("a/" + std::string(254, 'a')));
  CHECK_FALSE(parse_reference("a:" + std::string(129, 'a')));
}
