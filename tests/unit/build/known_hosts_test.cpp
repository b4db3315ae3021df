#include "build/known_hosts.hpp"

#include <catch2/catch.hpp>

#include "build/credentials_wire.hpp"
#include "build/git_tree.hpp"
#include "wick/base/text.hpp"

namespace wick::build {
namespace {

std::string key_named(std::string_view type, char fill) {
  std::string key{'\0', '\0', '\0', static_cast<char>(type.size())};
  key += type;
  return key + std::string(32, fill);
}

const auto one = key_named("ssh-ed25519", 'a');
const auto two = key_named("ssh-ed25519", 'b');

std::string line(const std::string& hosts, const std::string& key) {
  return hosts + " ssh-ed25519 " + base64_encode(key) + " a comment\n";
}

bool knows(const std::string& text, const std::string& host, std::uint16_t port = 22) {
  return check_host_key(text, {.host = host, .port = port, .key = one}).has_value();
}

}  // namespace

TEST_CASE("a host key counts for the names and ports its line gives") {
  CHECK(knows(line("host", one), "host"));
  CHECK(knows(line("host", one), "HOST"));
  CHECK(knows(line("other,host", one), "host"));
  CHECK(knows(line("*.example.org", one), "git.example.org"));
  CHECK(knows(line("h?st", one), "host"));
  CHECK(knows(line("[host]:2222", one), "host", 2222));
  CHECK(knows("# hosts\n\n" + line("host", two) + line("host", one), "host"));
  CHECK_FALSE(knows(line("host", one), "host", 2222));
  CHECK_FALSE(knows(line("host", one), "host.example.org"));
  CHECK_FALSE(knows(line("*.example.org,!git.example.org", one), "git.example.org"));
  CHECK_FALSE(knows(line("@cert-authority host", one), "host"));
  CHECK_FALSE(knows("", "host"));
  CHECK_FALSE(knows("host ssh-ed25519 ???\nhost\n", "host"));
}

TEST_CASE("hashed names are understood") {
  // ssh-keygen -H of a file that names "example.org"
  const std::string hashed = "|1|AAECAwQFBgcICQoLDA0ODxAREhM=|bFDVYqbsfLlUB0fPAZemUYx8Gnc=";
  CHECK(knows(line(hashed, one), "example.org"));
  CHECK_FALSE(knows(line(hashed, one), "example.com"));
}

TEST_CASE("an unknown, a changed and a revoked key say so and show the fingerprint") {
  const auto why = [](const std::string& text) {
    return check_host_key(text, {.host = "host", .port = 2222, .key = one}).error();
  };
  CHECK_THAT(why("").what(), Catch::Contains("[host]:2222") && Catch::Contains(fingerprint(one)));
  CHECK_THAT(why("").hint(), Catch::Contains("ssh-keyscan -p 2222 host"));
  CHECK_THAT(why(line("[host]:2222", two)).hint(), Catch::Contains("in between"));
  CHECK_THAT(why(line("[host]:2222", one) + line("@revoked [host]:2222", one)).what(), Catch::Contains("revoked"));
}

TEST_CASE("a git URL names its host, and credentials are bound to that") {
  CHECK(git_host("git@host:a/b.git") == GitHost{"ssh", "git", "host", 22});
  CHECK(git_host("ssh://host/a") == GitHost{"ssh", "", "host", 22});
  CHECK(git_host("ssh://me@HOST:2222/a") == GitHost{"ssh", "me", "host", 2222});
  CHECK(git_host("https://me:secret@host/a?b") == GitHost{"https", "me", "host", 443});
  CHECK(git_host("http://[::1]:8080/a") == GitHost{"http", "", "::1", 8080});
}

TEST_CASE("credentials cross the pipe whole, or not at all") {
  const GitCredentials all{.username = "me", .password = "pa ss\n", .ssh_private_key = "-----", .known_hosts = "h k\n"};
  CHECK(from_wire(to_wire(all).value()).value() == all);
  CHECK(from_wire(to_wire({}).value()).value().empty());
  CHECK(to_wire({.password = std::string("a\0b", 3)}).error().code() == Errc::invalid);
  CHECK(to_wire({.known_hosts = std::string(credentials_bytes_max, 'x')}).error().code() == Errc::too_large);
  CHECK_FALSE(from_wire("a"));
}

}  // namespace wick::build
