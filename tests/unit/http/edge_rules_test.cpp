// The small grammars of the edge: traces, Forwarded, trusted networks, limits by name.
#include <fstream>

#include "forwarded.hpp"
#include "http_fixture.hpp"
#include "memory_share.hpp"
#include "spin.hpp"
#include "trace_context.hpp"

using namespace wick;
using namespace wick::http;

TEST_CASE("a traceparent is judged by W3C Trace Context 3.2") {
  const std::string trace(32, 'a'), parent(16, 'b');
  for (const auto& good : {"00-" + trace + "-" + parent + "-01", "00-" + trace + "-" + parent + "-00",
                           "01-" + trace + "-" + parent + "-01-what-comes-later"})
    CHECK(is_traceparent(good));
  for (const auto& bad :
       {std::string(), "00-" + trace + "-" + parent, "ff-" + trace + "-" + parent + "-01",
        "00-" + std::string(32, '0') + "-" + parent + "-01", "00-" + trace + "-" + std::string(16, '0') + "-01",
        "00-" + std::string(32, 'A') + "-" + parent + "-01", "00-" + trace + "-" + parent + "-01-more",
        "00-" + trace + "-" + parent + "-0g", "00_" + trace + "-" + parent + "-01",
        "01-" + trace + "-" + parent + "-01more"})
    CHECK_FALSE(is_traceparent(bad));
}

TEST_CASE("started traces are valid and differ") {
  TraceSource source;
  std::string one, two;
  source.append(one);
  source.append(two);
  CHECK(is_traceparent(one));
  CHECK(is_traceparent(two));
  CHECK(one.substr(3, 32) != two.substr(3, 32));
}

TEST_CASE("Forwarded is judged by RFC 7239 section 4") {
  for (const auto* good : {"for=192.0.2.43", "for=192.0.2.43, for=198.51.100.17", "For=\"[2001:db8::17]:4711\"",
                           "for=a;proto=http;by=203.0.113.43", "for=a ; host=b", "for=\"a\\\"b\""})
    CHECK(is_forwarded(good));
  for (const auto* bad : {"", "for", "for=", "=a", "for=a;", "for=a,", "for=\"a", "for=[::1]", "for=a b=c",
                          "for=\"a\x01\"", "for=\"a\\", ";for=a"})
    CHECK_FALSE(is_forwarded(bad));
}

TEST_CASE("trusted proxies are addresses and networks of both families") {
  const auto proxies = TrustedProxies::parse("10.0.0.0/8, 192.0.2.7, 2001:db8::/33, ::1");
  REQUIRE(proxies);
  for (const auto* in : {"10.255.0.1", "192.0.2.7", "2001:db8:7fff::1", "::1", "::ffff:10.1.1.1"})
    CHECK(proxies->contains(in));
  for (const auto* out : {"11.0.0.1", "192.0.2.8", "2001:db8:8000::1", "::2", "unix", ""})
    CHECK_FALSE(proxies->contains(out));
  CHECK(TrustedProxies::parse("")->empty());
  CHECK_FALSE(proxies->contains("unix"));
  const auto local = TrustedProxies::parse("unix, 10.0.0.0/8");
  REQUIRE(local);
  CHECK(local->contains("unix"));
  CHECK(local->contains("10.1.2.3"));
  CHECK_FALSE(local->contains("127.0.0.1"));
  CHECK(TrustedProxies::parse("0.0.0.0/0")->contains("203.0.113.9"));
  for (const auto* bad : {"10.0.0.0/33", "10.0.0", "a", "10.0.0.0/", "::/129", "10.0.0.0/-1"}) {
    const auto refused = TrustedProxies::parse(bad);
    REQUIRE_FALSE(refused);
    CHECK_THAT(refused.error().what(), Contains(bad));
  }
}

TEST_CASE("the share of the memory limit is read from either cgroup version, and there may be none") {
  namespace fs = std::filesystem;
  char name[] = "/tmp/wick-cgroup-XXXXXX";
  const fs::path root = mkdtemp(name);
  const auto write = [&](const std::string& file, const std::string& text) {
    fs::create_directories((root / file).parent_path());
    std::ofstream(root / file) << text;
  };
  const auto share = [&] { return memory_percent(root / "cgroup", root); };
  CHECK_FALSE(share());
  write("cgroup", "4:memory:/a/b\n0::/a/b\n");
  CHECK_FALSE(share());
  write("memory/a/b/memory.limit_in_bytes", "9223372036854771712\n");
  write("memory/a/b/memory.usage_in_bytes", "950\n");
  CHECK_FALSE(share());
  write("memory/a/b/memory.limit_in_bytes", "1000\n");
  write("memory/a/b/memory.stat", "cache 300\ntotal_inactive_file 200\n");
  CHECK(share() == 75);
  write("cgroup", "0::/a/b\n");
  write("a/b/memory.max", "max\n");
  write("a/b/memory.current", "950\n");
  CHECK_FALSE(share());
  write("a/b/memory.max", "1000\n");
  CHECK(share() == 95);
  write("a/b/memory.stat", "inactive_file 1000\n");
  CHECK(share() == 0);
  fs::remove_all(root);
}

TEST_CASE("looks in vain end, and the more there are the more gaps begin without one") {
  Spin spin;
  int slept = 0;  // gaps without a look; all of them where no core is spare
  for (int gap = 0; gap < 200; ++gap) {
    if (!spin.go_on(Spin::Gap::between_requests)) {
      ++slept;
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    while (spin.go_on(Spin::Gap::between_requests)) REQUIRE(std::chrono::steady_clock::now() - begin < 10s);
  }
  CHECK(slept > 150);
}

TEST_CASE("each limit of the server is set by its name") {
  ServerLimits limits;
  REQUIRE(set_limit(limits, "head-bytes=16384"));
  REQUIRE(set_limit(limits, "head-ms=5000"));
  REQUIRE(set_limit(limits, "connections-per-client=7"));
  CHECK(limits.head_bytes_max == 16384);
  CHECK(limits.head_limit == 5s);
  CHECK(limits.connections_per_client_max == 7);
  for (const auto* bad : {"", "head-bytes", "head-bytes=", "head-bytes=x", "head-bytes=33000", "nothing=1"}) {
    const auto refused = set_limit(limits, bad);
    REQUIRE_FALSE(refused);
    CHECK((refused.error().hint() + refused.error().what()).find("head-bytes") != std::string::npos);
  }
}
