// The protocol against an authority that behaves, and that does not.
#include <boost/asio/co_spawn.hpp>
#include <catch2/catch.hpp>

#include "app/acme/schedule.hpp"
#include "fake_authority.hpp"
#include "support/fake_clock.hpp"

using namespace wick;
using namespace wick::app::acme;

namespace {

struct SessionFixture {
  asio::io_context loop{1};
  FakeClock clock{loop};
  FakeAuthority authority{clock};
  AccountKey key = AccountKey::create().value();
  std::string account;
  Session::Options options{.directory = "https://ca.test/dir", .email = "me@example.test", .agrees_to_terms = true};
  std::vector<Proof> shown;
  int hidden = 0;
  std::optional<Error> cannot_show;

  Outcome<Issued> issue(std::string host = "shop.test", std::string by = "http-01",
                        Duration patience = std::chrono::minutes(11)) {
    Session session(clock, authority.call(), options, key, account);
    std::optional<Outcome<Issued>> outcome;
    Show show = [this](Proof proof) -> awaitable<Result<Shown>> {
      if (cannot_show) co_return fail(*cannot_show);
      shown.push_back(std::move(proof));
      co_return Shown([this] { ++hidden; });
    };
    asio::co_spawn(loop, session.issue(std::move(host), std::move(by), std::move(show)),
                   [&](std::exception_ptr error, Outcome<Issued> ended) {
                     REQUIRE_FALSE(error);
                     outcome.emplace(std::move(ended));
                   });
    clock.settle();
    for (Duration waited{}; !outcome && waited < patience; waited += 1s) clock.advance(1s);
    REQUIRE(outcome);
    account = session.account();
    CHECK(static_cast<int>(shown.size()) == hidden);  // nothing stays shown
    return std::move(*outcome);
  }
};

}  // namespace

TEST_CASE("a certificate is got: account, order, proof, request, chain") {
  SessionFixture f;
  f.authority.looks = [&](const std::string& type, const std::string& host, const std::string& authorization) {
    return type == "http-01" && host == "shop.test" && f.shown.back().key_authorization == authorization;
  };
  const auto issued = f.issue();
  REQUIRE(issued);
  CHECK(issued->certificate.names() == std::vector<std::string>{"shop.test"});
  CHECK(http::Certificate::parse(issued->chain, issued->key));
  CHECK(f.authority.contact == "mailto:me@example.test");
  CHECK(f.authority.user_agent.starts_with("wick/"));
  CHECK(f.account == "https://ca.test/account/1");
  CHECK(f.shown.size() == 1);
}

TEST_CASE("the account of before is used again, and a lost one is made anew") {
  SessionFixture f;
  REQUIRE(f.issue());
  REQUIRE(f.issue());
  CHECK(f.authority.accounts == 1);
  f.authority.forget_accounts();
  REQUIRE(f.issue());
  CHECK(f.authority.accounts == 2);
  CHECK(f.account == "https://ca.test/account/2");
}

TEST_CASE("a nonce that is refused is replaced, and not for ever") {
  SessionFixture f;
  f.authority.bad_nonces = 5;
  REQUIRE(f.issue());
  f.authority.bad_nonces = 1000;
  const auto failed = f.issue();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().type == "badNonce");
  CHECK(1000 - f.authority.bad_nonces == Session::nonce_tries);
}

TEST_CASE("a rate limit is told with the time the authority asks for") {
  SessionFixture f;
  f.authority.rate_limited = 1;
  f.authority.retry_after = "7200";
  const auto failed = f.issue();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().kind == Failure::Kind::refused);
  CHECK(failed.error().retry_after == 7200s);
  CHECK(failed.error().error.message() == "the authority answered 429 rateLimited: too many certificates");
}

TEST_CASE("a failed validation is told in the authority's words") {
  SessionFixture f;
  f.authority.looks = [](auto&&...) { return false; };
  const auto failed = f.issue();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().kind == Failure::Kind::challenge);
  CHECK(failed.error().error.message() == "http-01 failed: connection: 203.0.113.9: refused");
}

TEST_CASE("validation and issue are waited for, at a pace that slows down, and not for ever") {
  SessionFixture f;
  f.authority.polls_before_valid = 4;
  f.authority.polls_before_issued = 4;
  REQUIRE(f.issue());
  f.authority.polls_before_valid = 1'000'000;
  const auto calls = f.authority.calls;
  const auto failed = f.issue();
  REQUIRE_FALSE(failed);
  CHECK(failed.error().error.message() == "the authority did not validate http-01 within 300 s");
  CHECK(f.authority.calls - calls < 35);
  f.authority.polls_before_valid = 0;
  f.authority.polls_before_issued = 1'000'000;
  CHECK(f.issue().error().error.message() == "the order is processing after 300 s");
}

TEST_CASE("an authorization that is still good needs no proof") {
  SessionFixture f;
  f.authority.authorizations_are_valid = true;
  REQUIRE(f.issue());
  CHECK(f.shown.empty());
}

TEST_CASE("each step that gets no answer is told as unreachable, and leaves nothing shown") {
  SessionFixture counting;
  REQUIRE(counting.issue());
  const int steps = counting.authority.calls;
  CHECK(steps >= 9);
  for (int step = 1; step <= steps; ++step) {
    SessionFixture f;
    f.authority.fail_call = step;
    const auto failed = f.issue();
    INFO("step " << step);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().kind == Failure::Kind::unreachable);
    CHECK(failed.error().error.message() == "connect: Connection refused");
  }
}

TEST_CASE("what an authority may not do is noticed") {
  SessionFixture f;
  SECTION("nonsense in place of a directory") {
    f.authority.answers_nonsense = true;
    const auto failed = f.issue();
    CHECK(failed.error().error.what().ends_with("the directory is not a JSON object"));
    CHECK(failed.error().error.hint().starts_with("--acme-directory"));
  }
  SECTION("a certificate for another name") {
    f.authority.certificate_is_for_another = true;
    CHECK(f.issue().error().error.message() == "the certificate that came is for other.test, not for shop.test");
  }
  SECTION("an order that fails at its end") {
    f.authority.refuses_finalize = true;
    CHECK(f.issue().error().error.message() == "the order failed: caa: CAA record forbids it");
  }
  SECTION("a challenge that it does not offer") {
    f.authority.offered = {"dns-01"};
    const auto failed = f.issue();
    CHECK(failed.error().kind == Failure::Kind::challenge);
    CHECK(failed.error().error.message() == "the authority offers no challenge http-01 for shop.test");
  }
}

TEST_CASE("terms that nobody agreed to and accounts from elsewhere are refused before anything is asked") {
  SessionFixture f;
  f.options.agrees_to_terms = false;
  auto failed = f.issue();
  CHECK(failed.error().error.message() == "the authority's terms of service are not agreed to: https://ca.test/terms");
  CHECK(failed.error().error.hint() == "read them, then --acme-agree-tos");
  f.options.agrees_to_terms = true;
  f.authority.wants_external_account = true;
  CHECK(f.issue().error().error.message().contains("external account binding"));
  CHECK(f.authority.accounts == 0);
}

TEST_CASE("an account that the authority gave out is bound to the key by its own") {
  SessionFixture f;
  f.authority.wants_external_account = true;
  f.options.external_account = {.id = "kid-1", .key = "a key of the authority's"};
  SECTION("the right one") {
    f.authority.external_key = "a key of the authority's";
    REQUIRE(f.issue());
    CHECK(f.authority.external_account == "kid-1");
    REQUIRE(f.issue());
    CHECK(f.authority.accounts == 1);
  }
  SECTION("another") {
    f.authority.external_key = "another";
    const auto failed = f.issue();
    CHECK(failed.error().kind == Failure::Kind::refused);
    CHECK(failed.error().error.message().contains("unauthorized: the binding is not ours"));
    CHECK(f.authority.accounts == 0);
  }
}

TEST_CASE("a proof that cannot be shown ends the attempt with its reason") {
  SessionFixture f;
  f.cannot_show = Error(Errc::denied, "the hook ended with exit 1");
  const auto failed = f.issue();
  CHECK(failed.error().kind == Failure::Kind::challenge);
  CHECK(failed.error().error.message() == "the hook ended with exit 1");
}

TEST_CASE("a certificate is renewed after two thirds of its life, spread over a twentieth, the same after a restart") {
  const WallTime begin = std::chrono::sys_days{std::chrono::year{2026} / 11 / 23};
  const auto end = begin + std::chrono::days(90);
  std::set<WallTime> times;
  for (int i = 0; i < 50; ++i) {
    const auto host = "h" + std::to_string(i) + ".test";
    const auto when = renewal_time(begin, end, host);
    CHECK(when >= begin + std::chrono::days(60));
    CHECK(when <= begin + std::chrono::days(60) + std::chrono::hours(108));
    CHECK(when == renewal_time(begin, end, host));
    times.insert(when);
  }
  CHECK(times.size() > 45);
}

TEST_CASE("failures are waited out for longer and longer, and as long as the authority asks") {
  Failure refused{.kind = Failure::Kind::refused}, unreachable{.kind = Failure::Kind::unreachable};
  CHECK(wait_after(refused, 1, "a.test") >= 240s);
  CHECK(wait_after(refused, 1, "a.test") <= 360s);
  CHECK(wait_after(refused, 4, "a.test") >= 1920s);
  CHECK(wait_after(refused, 500, "a.test") <= std::chrono::hours(15));
  CHECK(wait_after(unreachable, 1, "a.test") <= 12s);
  CHECK(wait_after(unreachable, 500, "a.test") <= 720s);
  refused.retry_after = std::chrono::hours(48);
  CHECK(wait_after(refused, 1, "a.test") == std::chrono::hours(48));
}
