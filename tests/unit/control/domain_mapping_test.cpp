#include "control/routes.hpp"
#include "control_fixture.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using model::Truth;

namespace {

struct MappingFixture : ControlFixture {
  void map(std::string name_space, std::string_view service = "hello", std::string_view more = "",
           std::string_view annotations = "") {
    auto mapping =
        yaml("metadata: {name: shop.example.org, namespace: " + name_space + std::string(annotations) +
             "}\nspec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: " + std::string(service) + "}" +
             std::string(more) + "}");
    auto admitted = model::admit(model::domain_mapping_kind(), std::move(mapping), {.old = nullptr, .user = "test"});
    REQUIRE(admitted);
    (*admitted)["apiVersion"] = model::domain_mapping_kind().api_version();
    (*admitted)["kind"] = "DomainMapping";
    REQUIRE(run_on(loop, objects->create(where(std::move(name_space)), *admitted)));
  }
  store::ObjectKey where(std::string name_space) {
    return {model::domain_mapping_kind().resource(), std::move(name_space), "shop.example.org"};
  }
  model::Condition told(std::string name_space, std::string_view type) {
    const auto object = objects->find(where(std::move(name_space)));
    return object ? model::find_condition(*object, type) : model::Condition{};
  }
};

}  // namespace

TEST_CASE("a domain mapping resolves its service, claims its name and becomes ready") {
  MappingFixture f;
  f.start();
  f.map("default");
  REQUIRE(f.until([&] { return f.told("default", "Ready").status == Truth::no; }));
  CHECK(f.told("default", "DomainClaimed").status == Truth::yes);
  CHECK(f.told("default", "ReferenceResolved").reason == "ResolveFailed");
  CHECK(f.told("default", "ReferenceResolved").message == "services.serving.knative.dev \"hello\" not found");

  f.apply_service();
  REQUIRE(f.until([&] { return f.told("default", "Ready").status == Truth::yes; }));
  const auto object = *f.objects->find(f.where("default"));
  CHECK(model::text_at(object, {"status", "url"}) == "http://shop.example.org");
  CHECK(model::text_at(object, {"status", "address", "url"}) == "http://shop.example.org");
  CHECK(f.told("default", "CertificateProvisioned").reason == "TLSNotEnabled");
  CHECK(model::text_at(object, {"spec", "ref", "namespace"}) == "default");
}

TEST_CASE("of two mappings of one name the first has it, and the second gets it when the first goes") {
  MappingFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.map("default");
  REQUIRE(f.until([&] { return f.told("default", "Ready").status == Truth::yes; }));
  f.map("another");
  REQUIRE(f.until([&] { return f.told("another", "DomainClaimed").status == Truth::no; }));
  CHECK(f.told("another", "DomainClaimed").reason == "DomainAlreadyClaimed");
  CHECK(f.told("another", "DomainClaimed").message == "The domain name is already in use by another DomainMapping");
  CHECK(f.told("default", "Ready").status == Truth::yes);
  REQUIRE(run_on(f.loop, f.objects->remove(f.where("default"))));
  CHECK(f.until([&] { return f.told("another", "DomainClaimed").status == Truth::yes; }));
}

TEST_CASE("a mapping's certificate comes from its Secret, is said when it is wrong, and follows a change") {
  control::HttpsHosts shown;  // told until the control plane has stopped
  MappingFixture f;
  f.show_https = [&](control::HttpsHosts hosts) { shown = std::move(hosts); };
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.map("default", "hello", ", tls: {secretName: shop-tls}");
  const auto message = [&] { return f.told("default", "CertificateProvisioned").message; };
  REQUIRE(f.until([&] { return message() == "secrets \"shop-tls\" not found"; }));
  CHECK(f.told("default", "Ready").status == Truth::no);
  REQUIRE(f.until([&] { return shown.outside.contains("shop.example.org"); }));
  CHECK(shown.certificates.empty());
  CHECK(shown.outside.contains("hello.default." + f.options.domain));
  CHECK(shown.outside.contains("hello.localhost"));

  const auto authority = http::LocalAuthority::create(f.clock.wall()).value();
  const auto keep = [&](const std::string& chain, const std::string& key) {
    f.apply(model::secret_kind(), f.yaml("metadata: {name: shop-tls}\ntype: kubernetes.io/tls\ndata: {tls.crt: " +
                                         base64_encode(chain) + ", tls.key: " + base64_encode(key) + "}"));
  };
  keep("nonsense", "nonsense");
  REQUIRE(f.until([&] { return message().contains("not PEM of a certificate"); }));
  keep(authority.certificate(), authority.key());  // an authority's own names no host
  REQUIRE(f.until([&] { return message().contains("not for shop.example.org"); }));
}

TEST_CASE("names that ask for it are told as redirected to https, those inside the box are not told") {
  control::HttpsHosts shown;  // told until the control plane has stopped
  MappingFixture f;
  f.show_https = [&](control::HttpsHosts hosts) { shown = std::move(hosts); };
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.map("default", "hello", "", ", annotations: {networking.knative.dev/http-protocol: Redirected}");
  REQUIRE(f.until([&] { return shown.redirected.contains("shop.example.org"); }));
  CHECK(shown.redirected.size() == 1);
  CHECK_FALSE(shown.outside.contains("hello.default.svc.cluster.local"));
}

TEST_CASE("a mapping without a Secret says what becomes of the certificate that the daemon asks for") {
  using State = control::IssuedCertificate::State;
  control::HttpsHosts shown;  // told until the control plane has stopped
  control::IssuedCertificate issued;
  MappingFixture f;
  f.show_https = [&](control::HttpsHosts hosts) { shown = std::move(hosts); };
  f.issued_certificate = [&](const std::string& host) {
    return host == "shop.example.org" ? issued : control::IssuedCertificate{};
  };
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.map("default", "hello", "", ", annotations: {wick.dev/certificate-requested: now}");
  REQUIRE(f.until([&] { return f.told("default", "CertificateProvisioned").reason == "TLSNotEnabled"; }));
  REQUIRE(f.until([&] { return shown.uncertified.contains("shop.example.org"); }));
  CHECK(shown.uncertified.at("shop.example.org") == "now");
  const auto becomes = [&](State state, std::string message) {
    issued = {.state = state, .message = std::move(message)};
    f.control->certificate_changed("shop.example.org");
    REQUIRE(f.until([&] {
      const auto told = f.told("default", "CertificateProvisioned");
      return told.message.contains(issued.message) && told.reason != "TLSNotEnabled";
    }));
    return f.told("default", "CertificateProvisioned");
  };
  const auto url = [&] { return model::text_at(*f.objects->find(f.where("default")), {"status", "url"}); };

  const auto pending = becomes(State::pending, "asking the authority");
  CHECK(pending.status == Truth::yes);
  CHECK(pending.reason == "HTTPDowngrade");
  CHECK(f.told("default", "Ready").status == Truth::yes);
  CHECK(url() == "http://shop.example.org");
  const auto failed = becomes(State::failed, "no A record");
  CHECK(failed.status == Truth::no);
  CHECK(failed.reason == "CertificateProvisionFailed");
  CHECK(failed.message == "Certificate shop.example.org failed to be provisioned: no A record");
  CHECK(f.told("default", "Ready").status == Truth::no);
  const auto renewing = becomes(State::ready, "the authority is down");
  CHECK(renewing.status == Truth::yes);
  CHECK(renewing.reason == "RenewalFailed");
  CHECK(url() == "https://shop.example.org");
  CHECK(becomes(State::ready, "").status == Truth::yes);
}

TEST_CASE("a mapping that is redirected to https is not ready while its certificate is on the way") {
  MappingFixture f;
  f.show_https = [](control::HttpsHosts) {};
  f.issued_certificate = [](const std::string&) {
    return control::IssuedCertificate{.state = control::IssuedCertificate::State::pending, .message = "asking"};
  };
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.map("default", "hello", "", ", annotations: {networking.knative.dev/http-protocol: Redirected}");
  REQUIRE(f.until([&] { return f.told("default", "CertificateProvisioned").reason == "CertificateNotReady"; }));
  CHECK(f.told("default", "CertificateProvisioned").status == Truth::unknown);
  CHECK(f.told("default", "Ready").status == Truth::unknown);
}
