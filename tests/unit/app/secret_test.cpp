#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include <filesystem>

#include "fake_daemon.hpp"
#include "wick/os/files.hpp"
#include "wick/store/vault.hpp"

namespace wick::app::cli {

namespace {

const std::string secrets = "/api/v1/namespaces/default/secrets";

}  // namespace

TEST_CASE("secret set makes a Secret of the type its keys tell, and reads values from files and standard input") {
  FakeDaemon daemon;
  daemon.on("GET " + secrets + "/key", 404, R"({"kind":"Status","reason":"NotFound","code":404,"message":"no"})");
  daemon.on("POST " + secrets, 201, "{}");
  const auto ran = daemon.run({"secret", "set", "key", "ssh-privatekey=hush", "known_hosts=h"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "secret key set (2 keys)\n");
  const auto posted = boost::json::parse(daemon.last("POST " + secrets).body);
  CHECK(posted.at("type") == "kubernetes.io/ssh-auth");
  CHECK(posted.at("data").at("ssh-privatekey") == "aHVzaA==");
}

TEST_CASE("secret set replaces one that is there") {
  FakeDaemon daemon;
  daemon.on("GET " + secrets + "/login", 200, "{}");
  daemon.on("PUT " + secrets + "/login", 200, "{}");
  CHECK(daemon.run({"secret", "set", "login", "password=hush"}).out == "secret login replaced (1 key)\n");
  CHECK(boost::json::parse(daemon.last("PUT " + secrets + "/login").body).at("type") == "kubernetes.io/basic-auth");
}

TEST_CASE("a value that is no pair is refused and not repeated") {
  FakeDaemon daemon;
  const auto ran = daemon.run({"secret", "set", "login", "hush"});
  CHECK(ran.exit == 2);
  CHECK_THAT(ran.err, Catch::Contains("KEY=VALUE"));
  CHECK_THAT(ran.err, !Catch::Contains("hush"));
}

TEST_CASE("secret ls shows names and keys and no value") {
  FakeDaemon daemon;
  daemon.on("GET " + secrets, 200,
            R"({"items":[{"metadata":{"name":"login"},"type":"Opaque","data":{"a":"aHVzaA==","b":""}}]})");
  const auto ran = daemon.run({"secret", "ls"});
  CHECK_THAT(ran.out, Catch::Contains("login") && Catch::Contains("a, b") && !Catch::Contains("aHVz"));
}

TEST_CASE("rotate-key puts a new key first and drops the old one only when the daemon no longer needs it") {
  FakeDaemon daemon;
  const auto folder = TemporaryFolder::make("/tmp").value();
  const auto file = (folder.path() / "secret.key").string();
  const std::string old(64, 'a');
  REQUIRE(write_file(file, old + "\n", 0600));
  const std::vector<std::string> drop{"secret", "rotate-key", "--key-file", file, "--drop-old"};
  const auto rotated = daemon.run({"secret", "rotate-key", "--key-file", file});
  CHECK(rotated.exit == 0);
  CHECK_THAT(rotated.err, Catch::Contains("restart wick"));
  const auto text = read_file(file).value();
  const auto vault = store::Vault::from_hex(text).value();
  CHECK(vault.keys() == 2);
  CHECK(text.substr(65) == old + "\n");
  CHECK_THAT(rotated.out + rotated.err, !Catch::Contains(text.substr(0, 64)));
  CHECK((std::filesystem::status(file).permissions() & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));

  const std::string info = "GET /apis/wick.dev/v1/info";
  daemon.on(info, 200, R"({"secretKey":")" + store::Vault::from_hex(old).value().fingerprint() + R"("})");
  CHECK(daemon.run(drop).exit != 0);
  CHECK(read_file(file).value() == text);
  FakeDaemon restarted;
  restarted.on(info, 200, R"({"secretKey":")" + vault.fingerprint() + R"("})");
  CHECK(restarted.run(drop).out == "1 older key dropped\n");
  CHECK(read_file(file).value() == text.substr(0, 65));
}

TEST_CASE("rotate-key leaves a file alone that is not one of keys") {
  FakeDaemon daemon;
  const auto folder = TemporaryFolder::make("/tmp").value();
  const auto file = (folder.path() / "secret.key").string();
  CHECK(daemon.run({"secret", "rotate-key", "--key-file", file}).exit != 0);
  CHECK_FALSE(std::filesystem::exists(file));
  REQUIRE(write_file(file, "something else\n"));
  const auto ran = daemon.run({"secret", "rotate-key", "--key-file", file});
  CHECK(ran.exit != 0);
  CHECK_THAT(ran.err, Catch::Contains("64 hex digits"));
  CHECK(read_file(file).value() == "something else\n");
}

}  // namespace wick::app::cli
