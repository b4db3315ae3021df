#include "wick/image/docker_config.hpp"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "wick/base/text.hpp"
#include "wick/image/registry_settings.hpp"
#include "wick/os/files.hpp"

namespace wick::image {
namespace {

std::string auth_of(const std::string& both) { return R"({"auth": ")" + base64_encode(both) + R"("})"; }

RegistryCredentials found_for(const std::string& json, const std::string& reference) {
  const auto config = DockerConfig::parse(json).value();
  const auto found = config.find(parse_reference(reference).value());
  return found ? found->credentials : RegistryCredentials{};
}

}  // namespace

TEST_CASE("credentials are those of the longest path above the repository") {
  const auto json =
      R"({"auths": {"https://index.docker.io/v1/": )" + auth_of("hub:1") + R"(, "Box:5000": )" + auth_of("box:2") +
      R"(, "https://box:5000/v2/": {}, "ghcr.io/team": )" + auth_of("team:a:b") + R"(, "ghcr.io/team/app": )" +
      auth_of("app:4") +
      R"(, "plain.example": {"username": "u", "password": "p"}, "azure.example": {"identitytoken": "t"}}})";
  CHECK(found_for(json, "debian").username == "hub");
  CHECK(found_for(json, "ghcr.io/team/other").password == "a:b");
  CHECK(found_for(json, "ghcr.io/team/app").username == "app");
  CHECK(found_for(json, "ghcr.io/team/app/more").username == "app");
  CHECK(found_for(json, "ghcr.io/teams/app").empty());
  CHECK(found_for(json, "plain.example/x").password == "p");
  CHECK(found_for(json, "azure.example/x").identity_token == "t");
  CHECK(found_for(json, "elsewhere.example/x").empty());
  CHECK(found_for(R"({"box:5000": )" + auth_of("old:1") + "}", "box:5000/a").username == "old");  // .dockercfg
}

TEST_CASE("helpers are named for the host, then for all") {
  const auto config =
      DockerConfig::parse(R"({"auths": {"a.example": {}}, "credHelpers": {"b.example": "pass"}, "credsStore": "all"})")
          .value();
  CHECK(config.find(parse_reference("b.example/x").value())->helper == "pass");
  CHECK(config.find(parse_reference("a.example/x").value())->helper == "all");
  CHECK(config.find(parse_reference("x").value())->server == "https://index.docker.io/v1/");
}

TEST_CASE("what is no config.json is refused without a word of it") {
  for (const std::string json : {"secret", "[]", R"({"auths": "secret"})", R"({"auths": {"a": "secret"}})",
                                 R"({"credHelpers": "secret"})", R"({"credsStore": ["secret"]})"}) {
    const auto refused = DockerConfig::parse(json);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == Errc::corrupt);
    CHECK_FALSE(refused.error().what().contains("secret"));
  }
}

TEST_CASE("a credential helper is a program that answers, knows nothing, or is not there") {
  const auto folder = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-helper-").value();
  const auto program = [&](const char* name, const std::string& script) {
    REQUIRE(write_file(folder.path() / name, "#!/bin/sh\nread host\n" + script + "\n", 0755));
    ::chmod((folder.path() / name).c_str(), 0755);
  };
  program("docker-credential-good", R"(echo "{\"ServerURL\":\"$host\",\"Username\":\"me\",\"Secret\":\"for $host\"}")");
  program("docker-credential-token", R"(echo '{"Username":"<token>","Secret":"t"}')");
  program("docker-credential-empty", "echo 'credentials not found in native keychain'; exit 1");
  program("docker-credential-broken", "exit 3");
  const std::string before = std::getenv("PATH");
  ::setenv("PATH", (folder.path().string() + ":" + before).c_str(), 1);
  CHECK(ask_credential_helper("good", "box:5000").value()->password == "for box:5000");
  CHECK(ask_credential_helper("token", "box:5000").value()->identity_token == "t");
  CHECK(ask_credential_helper("empty", "box:5000").value() == std::nullopt);
  CHECK(ask_credential_helper("broken", "box:5000").error().code() == Errc::unavailable);
  CHECK(ask_credential_helper("none", "box:5000").error().code() == Errc::not_found);
  CHECK(ask_credential_helper("../x", "box:5000").error().code() == Errc::invalid);
  ::setenv("PATH", before.c_str(), 1);
}

TEST_CASE("what others wrote comes first and starts no program; the machine's file comes after it") {
  const auto folder = TemporaryFolder::make(std::filesystem::temp_directory_path(), "wick-auth-").value();
  const auto file = folder.path() / "config.json";
  const auto reference = parse_reference("box:5000/a").value();
  CHECK(find_credentials(reference, {}, file).value().empty());
  REQUIRE(write_file(file, R"({"auths": {"box:5000": )" + auth_of("file:1") + "}}"));
  CHECK(find_credentials(reference, {}, file).value().username == "file");
  CHECK(
      find_credentials(reference, {R"({"auths": {"box:5000": )" + auth_of("secret:1") + "}}"}, file).value().username ==
      "secret");
  CHECK(find_credentials(reference, {R"({"credsStore": "anything"})"}, file).value().username == "file");
}

TEST_CASE("an image is looked for at its mirrors and then at its registry") {
  RegistrySettings settings;
  REQUIRE(settings.add_mirrors("docker.io=https://mirror.example/,http://127.0.0.1:5001"));
  settings.insecure.insert("box:5000");
  const auto urls = [&](const char* reference) {
    const auto target = registry_target(parse_reference(reference).value(), settings, {});
    std::vector<std::string> all;
    for (const auto& endpoint : target.value().endpoints) all.push_back(endpoint.url);
    return all;
  };
  CHECK(urls("debian") ==
        std::vector<std::string>{"https://mirror.example", "http://127.0.0.1:5001", "https://registry-1.docker.io"});
  CHECK(urls("box:5000/a") == std::vector<std::string>{"http://box:5000"});
  CHECK(urls("ghcr.io/a/b") == std::vector<std::string>{"https://ghcr.io"});
  CHECK(urls("localhost:5000/a") == std::vector<std::string>{"http://localhost:5000"});
  CHECK(urls("127.0.0.1:5000/a") == std::vector<std::string>{"http://127.0.0.1:5000"});
  for (const char* wrong : {"docker.io", "=https://a", "a=ftp://b", "a=https://b/c", "a=https://"})
    CHECK(RegistrySettings().add_mirrors(wrong).error().code() == Errc::invalid);
  CHECK(settings.add_authority("box:5000").error().code() == Errc::invalid);
  REQUIRE(settings.add_authority("127.0.0.1:5000=/nonexistent"));
  CHECK(registry_target(parse_reference("127.0.0.1:5000/a").value(), settings, {}).error().code() == Errc::not_found);
  CHECK(is_local_only(parse_reference("dev.local/a").value()));
  CHECK_FALSE(is_local_only(parse_reference("a").value()));
}

TEST_CASE("an errand reads back as it was written") {
  const RegistryTarget target{
      .reference = parse_reference("box:5000/a/b:v1").value(),
      .endpoints = {{.url = "http://box:5000",
                     .ca_pem = "-----BEGIN\nx\n",
                     .credentials = {.username = "u", .password = "p\n\"", .identity_token = ""}},
                    {.url = "https://x", .ca_pem = "", .credentials = {.identity_token = "t"}}}};
  CHECK_FALSE(to_wire(target).contains('\n'));
  CHECK(target_from_wire(to_wire(target)).value() == target);
  CHECK_FALSE(target_from_wire("{}"));
}

}  // namespace wick::image
