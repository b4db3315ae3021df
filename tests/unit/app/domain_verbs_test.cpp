// wick domain against a fake daemon, and where names lead.
#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "app/cli/read_json.hpp"
#include "app/name_lookup.hpp"
#include "fake_daemon.hpp"

namespace wick::app::cli {

namespace {

const std::string mappings_path = "/apis/serving.knative.dev/v1beta1/namespaces/default/domainmappings";
const std::string secrets_path = "/api/v1/namespaces/default/secrets";

std::string mapping(const std::string& certificate, const std::string& scheme = "http",
                    const std::string& service = "hello") {
  return R"({"metadata":{"name":"localhost"},"spec":{"ref":{"kind":"Service","name":")" + service +
         R"("}},"status":{"url":")" + scheme + R"(://localhost","conditions":[
           {"type":"DomainClaimed","status":"True"},{"type":"ReferenceResolved","status":"True"},)" +
         certificate + "]}}";
}
const std::string pending =
    R"({"type":"CertificateProvisioned","status":"True","reason":"HTTPDowngrade","message":"on its way"},{"type":"Ready","status":"True"})";
const std::string issued = R"({"type":"CertificateProvisioned","status":"True"},{"type":"Ready","status":"True"})";
std::string failed(const std::string& why) {
  return R"({"type":"CertificateProvisioned","status":"False","reason":"CertificateProvisionFailed","message":")" +
         why + R"("},{"type":"Ready","status":"False","message":")" + why + "\"}";
}

struct DomainFixture {
  FakeDaemon daemon;
  DomainFixture() {
    daemon.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
    daemon.on("GET " + mappings_path + "/localhost", 404, "{}");
  }
};

}  // namespace

TEST_CASE("domain add maps the name and waits for its certificate") {
  DomainFixture f;
  f.daemon.on("POST " + mappings_path, 201, mapping(pending));
  f.daemon.on("GET " + mappings_path + "/localhost", 200, mapping(pending));
  f.daemon.on("GET " + mappings_path + "/localhost", 200, mapping(issued, "https"));
  const auto ran = f.daemon.run({"domain", "add", "localhost", "hello"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "https://localhost\n");
  CHECK(ran.err.find("domain localhost → hello") != std::string::npos);
  const auto posted = boost::json::parse(f.daemon.last("POST " + mappings_path).body);
  CHECK(text_at(posted, "/spec/ref/name") == "hello");
  CHECK(text_at(posted, "/kind") == "DomainMapping");
  CHECK_FALSE(text_at(posted, "/metadata/annotations/wick.dev~1certificate-requested").empty());
}

TEST_CASE("domain add says what DNS says when the name leads elsewhere, and maps nothing") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
  daemon.on("GET " + mappings_path + "/203.0.113.9", 404, "{}");
  const auto ran = daemon.run({"domain", "add", "203.0.113.9", "hello"});
  CHECK(ran.exit == 1);
  CHECK(ran.err.find("error: 203.0.113.9 does not point here yet  [E_DNS]") != std::string::npos);
  CHECK(ran.err.find("because: 203.0.113.9 leads to 203.0.113.9; this machine has ") != std::string::npos);
  CHECK(ran.err.find("--no-dns-check") != std::string::npos);
  for (const auto& seen : daemon.seen()) CHECK_FALSE(seen.line.starts_with("POST"));
}

TEST_CASE("domain add says what is no name before it asks anybody") {
  for (const std::string name : {"bad host", "https://shop.example.com", "Shop.example.com", "a..b"}) {
    FakeDaemon daemon;
    const auto ran = daemon.run({"domain", "add", name, "hello"});
    CHECK(ran.exit == 2);
    CHECK(ran.err.find("error: '" + name + "' is not a name of DNS  [E_INVALID]") != std::string::npos);
    CHECK(daemon.seen().empty());
  }
}

TEST_CASE("domain add without the DNS check and without waiting maps the name at once") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
  daemon.on("GET " + mappings_path + "/203.0.113.9", 404, "{}");
  daemon.on("POST " + mappings_path, 201, mapping(pending));
  const auto ran = daemon.run({"domain", "add", "203.0.113.9", "hello", "--no-dns-check", "--no-wait"});
  CHECK(ran.exit == 0);
  CHECK(ran.err.find("certificate: on its way") != std::string::npos);
}

TEST_CASE("domain add says why there is no certificate, and what is served meanwhile") {
  DomainFixture f;
  f.daemon.on("POST " + mappings_path, 201, mapping(failed("the authority answered 429")));
  const auto ran = f.daemon.run({"domain", "add", "localhost", "hello"});
  CHECK(ran.exit == 5);
  CHECK(ran.err.find("error: there is no certificate for localhost  [E_NOT_READY]") != std::string::npos);
  CHECK(ran.err.find("because: the authority answered 429") != std::string::npos);
  CHECK(ran.err.find("It is served, over https with the box's own certificate.") != std::string::npos);
}

TEST_CASE("domain add once more asks for the certificate at once and waits past the old failure") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
  daemon.on("GET " + mappings_path + "/localhost", 200, mapping(failed("old")));
  daemon.on("PATCH " + mappings_path + "/localhost", 200, mapping(failed("old")));
  daemon.on("GET " + mappings_path + "/localhost", 200, mapping(failed("old")));
  daemon.on("GET " + mappings_path + "/localhost", 200, mapping(issued, "https"));
  CHECK(daemon.run({"domain", "add", "localhost", "hello"}).out == "https://localhost\n");
  const auto patch = boost::json::parse(daemon.last("PATCH " + mappings_path + "/localhost").body);
  CHECK_FALSE(text_at(patch, "/metadata/annotations/wick.dev~1certificate-requested").empty());
}

TEST_CASE("domain add refuses a domain of another service and a service that is not there") {
  DomainFixture f;
  f.daemon.on("GET " + services + "/nothing", 404, "{}");
  auto ran = f.daemon.run({"domain", "add", "localhost", "nothing"});
  CHECK(ran.exit == 6);
  CHECK(ran.err.find("there is no service nothing in namespace default") != std::string::npos);
  FakeDaemon other;
  other.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
  other.on("GET " + mappings_path + "/localhost", 200, mapping(issued, "https", "shop"));
  ran = other.run({"domain", "add", "localhost", "hello"});
  CHECK(ran.exit == 7);
  CHECK(ran.err.find("domain localhost leads to service shop") != std::string::npos);
  CHECK(ran.err.find("wick domain rm localhost") != std::string::npos);
}

TEST_CASE("a certificate of one's own becomes a Secret that goes with the domain") {
  DomainFixture f;
  const auto file = (f.daemon.folder() / "pem").string();
  REQUIRE(write_file(file, "PEM"));
  CHECK(f.daemon.run({"domain", "add", "localhost", "hello", "--cert", file}).exit == 2);
  f.daemon.on("GET " + secrets_path + "/localhost-tls", 404, "{}");
  f.daemon.on("POST " + secrets_path, 201, "{}");
  f.daemon.on("POST " + mappings_path, 201, mapping(issued, "https"));
  CHECK(f.daemon.run({"domain", "add", "localhost", "hello", "--cert", file, "--key", file}).exit == 0);
  const auto secret = boost::json::parse(f.daemon.last("POST " + secrets_path).body);
  CHECK(text_at(secret, "/type") == "kubernetes.io/tls");
  CHECK(text_at(secret, "/data/tls.crt") == "UEVN");
  CHECK(text_at(boost::json::parse(f.daemon.last("POST " + mappings_path).body), "/spec/tls/secretName") ==
        "localhost-tls");

  FakeDaemon later;
  later.on("GET " + mappings_path + "/localhost", 200,
           R"({"metadata":{"name":"localhost"},"spec":{"tls":{"secretName":"localhost-tls"}}})");
  later.on("DELETE " + mappings_path + "/localhost", 200, "{}");
  later.on("GET " + secrets_path + "/localhost-tls", 200, R"({"metadata":{"labels":{"wick.dev/domain":"true"}}})");
  later.on("DELETE " + secrets_path + "/localhost-tls", 200, "{}");
  CHECK(later.run({"domain", "rm", "localhost"}).exit == 0);
  later.last("DELETE " + secrets_path + "/localhost-tls");
}

TEST_CASE("domain ls says of every certificate what it is") {
  FakeDaemon daemon;
  daemon.on("GET " + mappings_path, 200,
            "{\"items\":[" + mapping(issued, "https") + "," + mapping(pending) + "," + mapping(failed("no")) + "]}");
  const auto out = daemon.run({"domain", "ls"}).out;
  CHECK(out.find("https://localhost  issued") != std::string::npos);
  CHECK(out.find("http://localhost   pending      True   on its way") != std::string::npos);
  CHECK(out.find("http://localhost   failed       False  no") != std::string::npos);
  FakeDaemon none;
  none.on("GET " + mappings_path, 200, R"({"items":[]})");
  CHECK(none.run({"domain", "ls"}).err.find("wick domain add NAME SERVICE") != std::string::npos);
}

TEST_CASE("a name leads here by one of our addresses or loopback") {
  NameView view{.name = "a.test", .leads_to = {"203.0.113.9"}, .problem = {}, .ours = {"198.51.100.7"}};
  CHECK_FALSE(leads_here(view));
  CHECK(describe(view) == "a.test leads to 203.0.113.9; this machine has 198.51.100.7");
  view.leads_to.push_back("198.51.100.7");
  CHECK(leads_here(view));
  CHECK(leads_here({.name = "a", .leads_to = {"127.3.2.1"}, .problem = {}, .ours = {}}));
  CHECK(leads_here({.name = "a", .leads_to = {"::1"}, .problem = {}, .ours = {}}));
  view.leads_to.clear();
  view.problem = "Name or service not known";
  CHECK(describe(view) == "a.test leads nowhere (Name or service not known); this machine has 198.51.100.7");
}

TEST_CASE("a machine with private addresses alone may be reached by one it does not know") {
  const auto behind = [](std::vector<std::string> ours) {
    return is_behind_nat({.name = {}, .leads_to = {}, .problem = {}, .ours = std::move(ours)});
  };
  CHECK(behind({"10.1.2.3", "172.31.0.1", "192.168.1.1", "100.127.0.1", "fd00::1"}));
  CHECK_FALSE(behind({"10.1.2.3", "198.51.100.7"}));
  CHECK_FALSE(behind({"172.32.0.1"}));
  CHECK_FALSE(behind({"2001:db8::1"}));
}

}  // namespace wick::app::cli
