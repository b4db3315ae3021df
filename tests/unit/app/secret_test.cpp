#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "fake_daemon.hpp"

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

}  // namespace wick::app::cli
