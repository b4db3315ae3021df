#include "control/client_hosts.hpp"

#include "control_fixture.hpp"
#include "wick/base/text.hpp"

using namespace wick;
using model::Truth;

TEST_CASE("a service that wants certificates of its clients does so under every name, and says when it cannot") {
  control::ClientHosts shown;  // told until the control plane has stopped
  ControlFixture f;
  f.show_clients = [&](control::ClientHosts hosts) { shown = std::move(hosts); };
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  CHECK(shown.empty());
  auto mapping = f.yaml(
      "metadata: {name: shop.example.org, namespace: default}\n"
      "spec: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: hello}}");
  f.apply(model::domain_mapping_kind(), std::move(mapping));
  const store::ObjectKey key{model::service_kind().resource(), "default", "hello"};
  auto service = *f.objects->find(key);
  model::object_at(service, {"metadata", "annotations"})["wick.dev/client-ca"] = "clients";
  REQUIRE(run_on(f.loop, f.objects->update(key, service)));
  const std::vector<std::string> names{
      "hello.default.example.com", "hello.localhost", "hello.default.svc.cluster.local",
      "hello.default.svc",         "hello.default",   "shop.example.org"};
  REQUIRE(f.until([&] { return shown.size() == names.size(); }));
  for (const auto& name : names) {
    REQUIRE(shown.contains(name));
    CHECK(shown.at(name).error().what() == "secrets \"clients\" not found");
  }
  const auto problem = [&] {
    const auto& first = shown.begin()->second;
    return first ? std::string() : first.error().what();
  };
  const auto keep = [&](const std::string& fields) {
    f.apply(model::secret_kind(), f.yaml("metadata: {name: clients}\ndata: {" + fields + "}"));
  };
  keep("other: eA==");
  REQUIRE(f.until([&] { return problem() == "secret \"clients\" has no ca.crt"; }));
  keep("ca.crt: eA==");
  REQUIRE(f.until([&] { return problem() == "secret \"clients\": not PEM of a certificate"; }));
  const auto authority = http::LocalAuthority::create(f.clock.wall()).value();
  keep("ca.crt: " + base64_encode(authority.certificate()));
  REQUIRE(f.until([&] { return problem().empty(); }));
  CHECK(shown.at("shop.example.org")->id() == shown.at("hello.default")->id());
}
