#include <catch2/catch.hpp>

#include "api/tokens.hpp"
#include "api_parts.hpp"
#include "memory_exchange.hpp"

using namespace wick;

namespace {

const std::string all = "/apis/wick.dev/v1/images";
const std::string archive_of = "/apis/wick.dev/v1/imagearchive?names=";

struct ImagesFixture : ApiParts {
  std::optional<http::Handler> handler;

  ImagesFixture() {
    start();
    image::Image hello{.digest = Digest::of("manifest")};
    hello.manifest.config.size = 100;
    hello.manifest.layers.push_back({.media_type = {}, .digest = Digest::of("layer"), .size = 900});
    hello.config.diff_ids.push_back(Digest::of("layer"));
    hello.config.environment = {"A=b"};
    api_images.images.emplace("team/hello:v1", hello);
    api_images.archive = std::string(3000, 'a');
  }

  /// Tokens are read once, when the API is made.
  void serve() { handler = api::make_api(doors()).value(); }

  std::unique_ptr<MemoryExchange> call(std::string method, std::string target, std::string body = {}, long uid = 0,
                                       std::string secret = {}) {
    if (!handler) serve();
    http::Fields fields;
    if (!secret.empty()) fields.set("Authorization", "Bearer " + secret);
    auto exchange = std::make_unique<MemoryExchange>(loop.get_executor(), std::move(method), std::move(target),
                                                     std::move(body), std::move(fields));
    exchange->uid = uid;
    run_on(loop, (*handler)(*exchange));
    return exchange;
  }
  int remote(std::string method, std::string target, std::string secret) {
    return call(std::move(method), std::move(target), {}, -1, std::move(secret))->status();
  }
};

}  // namespace

TEST_CASE("images are listed, looked at and forgotten by name") {
  ImagesFixture f;
  const auto listed = json::parse(f.call("GET", all)->text).as_array();
  REQUIRE(listed.size() == 1);
  CHECK(listed[0].at("name") == "team/hello:v1");
  CHECK(listed[0].at("bytes") == 1000);
  CHECK(listed[0].at("layers") == 1);
  const auto shown = f.call("GET", all + "/team%2Fhello:v1")->json();
  CHECK(shown.at("digest").as_string() == Digest::of("manifest").text());
  CHECK(shown.at("config").at("config").at("Env").at(0) == "A=b");
  CHECK(f.call("GET", all + "/none")->status() == 404);
  CHECK(f.call("DELETE", all + "/none")->status() == 404);
  CHECK(f.call("DELETE", all + "/team%2Fhello:v1")->status() == 200);
  CHECK(json::parse(f.call("GET", all)->text).as_array().empty());
  CHECK(f.call("PATCH", all)->status() == 405);
}

TEST_CASE("an archive says its length first, and is given back whoever ends it") {
  ImagesFixture f;
  const auto saved = f.call("GET", archive_of + "team%2Fhello:v1");
  REQUIRE(saved->status() == 200);
  CHECK(saved->answer->fields.find("Content-Length") == "3000");
  CHECK(saved->text == f.api_images.archive);
  CHECK(saved->finished);
  CHECK(f.api_images.archives == 0);

  f.api_images.cut_after = 1000;
  const auto cut = f.call("GET", archive_of + "team%2Fhello:v1");
  CHECK(cut->text.size() == 1000);
  CHECK_FALSE(cut->finished);
  CHECK(f.api_images.archives == 0);

  CHECK(f.call("GET", archive_of + "team%2Fhello:v1,none")->status() == 404);
  CHECK(f.call("GET", archive_of)->status() == 400);
  CHECK(f.call("GET", archive_of + std::string(200, ',') + "a")->status() == 404);
}

TEST_CASE("an archive is loaded as it comes, and one that is cut is not") {
  ImagesFixture f;
  const std::string archive(5000, 't');
  const auto loaded = f.call("POST", all + "?name=mine:v1", archive);
  REQUIRE(loaded->status() == 201);
  CHECK(json::parse(loaded->text).at(0).at("name") == "mine:v1");
  CHECK(json::parse(loaded->text).at(0).at("digest").as_string() == Digest::of(archive).text());
  CHECK(f.api_images.loaded == archive);
  MemoryExchange cut(f.loop.get_executor(), "POST", all, archive);
  cut.fail_after = 3000;
  run_on(f.loop, (*f.handler)(cut));
  CHECK(cut.status() == 503);
}

TEST_CASE("a prune says what it freed") {
  ImagesFixture f;
  const auto pruned = f.call("POST", "/apis/wick.dev/v1/imageprune")->json();
  CHECK(pruned.at("layers") == 3);
  CHECK(pruned.at("bytes") == 4000);
  CHECK(f.call("GET", "/apis/wick.dev/v1/imageprune")->status() == 405);
}

TEST_CASE("a collection says what it freed, what images use and what they may") {
  ImagesFixture f;
  const auto deployer = f.token(api::Scope::deploy);
  const auto collected = f.call("POST", "/apis/wick.dev/v1/imagegc")->json();
  CHECK(collected.at("layers") == 1);
  CHECK(collected.at("used") == 7000);
  CHECK(collected.at("useMax") == 8000);
  CHECK(f.call("GET", "/apis/wick.dev/v1/imageverify?name=team%2Fhello:v1")->status() == 200);
  CHECK(f.call("GET", "/apis/wick.dev/v1/imageverify?name=none")->status() == 404);
  CHECK(f.remote("POST", "/apis/wick.dev/v1/imagegc", deployer) == 403);
}

TEST_CASE("images are for whoever may see the whole machine, and changing them needs more than reading") {
  ImagesFixture f;
  const auto reader = f.token(api::Scope::read);
  const auto deployer = f.token(api::Scope::deploy);
  const auto limited = f.token(api::Scope::deploy, "team");
  const auto one = all + "/team%2Fhello:v1";
  for (const auto& [method, target] : {std::pair<std::string, std::string>{"GET", all},
                                       {"GET", one},
                                       {"GET", archive_of + "team%2Fhello:v1"},
                                       {"POST", all},
                                       {"POST", "/apis/wick.dev/v1/imageprune"},
                                       {"DELETE", one}}) {
    INFO(method << " " << target);
    CHECK(f.remote(method, target, "") == 401);  // over TCP, without a credential
    CHECK(f.remote(method, target, "wick_0_0") == 401);
    CHECK(f.remote(method, target, limited) == 403);
    CHECK(f.remote(method, target, reader) == (method == "GET" ? 200 : 403));
  }
  CHECK(f.api_images.images.size() == 1);
  CHECK(f.api_images.prunes == 0);
  CHECK(f.remote("POST", "/apis/wick.dev/v1/imageprune", deployer) == 403);
  CHECK(f.remote("POST", all, deployer) == 201);
  CHECK(f.remote("DELETE", one, deployer) == 200);
  CHECK(f.api_images.images.empty());
}
