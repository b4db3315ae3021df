// What is shown to an authority, and for how long.
#include <openssl/x509v3.h>

#include <catch2/catch.hpp>

#include "app/acme/challenges.hpp"
#include "fake_authority.hpp"
#include "support/run_loop.hpp"
#include "wick/os/files.hpp"

using namespace wick;
using namespace wick::app::acme;

namespace {

struct HookFixture {
  asio::io_context loop{1};
  SteadyClock clock;
  TemporaryFolder folder = TemporaryFolder::make("/tmp", "wick-hook-").value();
  std::filesystem::path told = folder.path() / "told";

  std::string hook(const std::string& script) {
    const auto file = folder.path() / "hook";
    REQUIRE(write_file(file, "#!/bin/sh\n" + script, 0755));
    return file.string();
  }
  Proof proof(std::string type) {
    return {.type = std::move(type), .host = "shop.test", .token = "abc", .key_authorization = "abc.thumb"};
  }
};

}  // namespace

TEST_CASE("a hook sets the record of DNS-01 and cleans it up, called as lego's exec is") {
  HookFixture f;
  Challenges challenges(f.loop.get_executor(), f.clock, {}, f.hook("echo \"$@\" >> " + f.told.string()));
  const auto value = base64url_encode(sha256("abc.thumb"));
  {
    auto shown = run_on(f.loop, challenges.show(f.proof("dns-01")));
    REQUIRE(shown);
    CHECK(read_file(f.told) == "present _acme-challenge.shop.test. " + value + "\n");
  }
  f.loop.restart();
  f.loop.run();
  CHECK(read_file(f.told) ==
        "present _acme-challenge.shop.test. " + value + "\ncleanup _acme-challenge.shop.test. " + value + "\n");
  run_on(f.loop, challenges.stop());
}

TEST_CASE("a hook that fails, is missing or is not set is told as that") {
  HookFixture f;
  Challenges failing(f.loop.get_executor(), f.clock, {}, f.hook("echo one; echo no such zone >&2; exit 3"));
  const auto failed = run_on(f.loop, failing.show(f.proof("dns-01")));
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message().ends_with("/hook present _acme-challenge.shop.test. ended with exit 3: no such zone"));
  Challenges missing(f.loop.get_executor(), f.clock, {}, "/nonexistent/hook");
  CHECK_FALSE(run_on(f.loop, missing.show(f.proof("dns-01"))));
  Challenges without(f.loop.get_executor(), f.clock, {}, "");
  const auto refused = run_on(f.loop, without.show(f.proof("dns-01")));
  REQUIRE_FALSE(refused);
  CHECK(refused.error().hint().contains("--acme-hook"));
}

TEST_CASE("the certificate of TLS-ALPN-01 is shown for its host while it is needed") {
  HookFixture f;
  std::map<std::string, http::Certificate, std::less<>> now;
  Challenges challenges(f.loop.get_executor(), f.clock, [&](auto certificates) { now = std::move(certificates); }, "");
  {
    auto shown = run_on(f.loop, challenges.show(f.proof("tls-alpn-01")));
    REQUIRE(shown);
    REQUIRE(now.contains("shop.test"));
    CHECK(now.at("shop.test").names() == std::vector<std::string>{"shop.test"});
  }
  CHECK(now.empty());
}
