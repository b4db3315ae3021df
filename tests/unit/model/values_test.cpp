#include <catch2/catch.hpp>

#include "wick/model/image_reference.hpp"
#include "wick/model/quantity.hpp"
#include "wick/model/resource.hpp"

using namespace wick;
using namespace wick::model;

TEST_CASE("quantities are Kubernetes'") {
  const auto [text, milli] = GENERATE(table<std::string, std::int64_t>({{"1", 1000},
                                                                        {"500m", 500},
                                                                        {"0.5", 500},
                                                                        {"1.5", 1500},
                                                                        {"128Mi", 134217728000},
                                                                        {"2G", 2000000000000},
                                                                        {"1e3", 1000000},
                                                                        {"100u", 1},
                                                                        {"1k", 1000000},
                                                                        {"0", 0},
                                                                        {"1E3", 1000000}}));
  INFO(text);
  CHECK(parse_quantity(text).value().milli == milli);
}

TEST_CASE("what is no quantity is refused") {
  const auto text =
      GENERATE(as<std::string>(), "", "Mi", "-1", "1X", "1 Mi", "1e", "1e99", "9999999999P", "1.2.3", "0x10");
  INFO(text);
  CHECK(parse_quantity(text).error().code() == Errc::invalid);
}

TEST_CASE("image references split into repository, tag and digest") {
  const auto digest = Digest::of("x");
  auto reference = parse_image_reference("dev.local:5000/a/b:v1@" + digest.text()).value();
  CHECK(reference.repository == "dev.local:5000/a/b");
  CHECK(reference.tag == "v1");
  CHECK(reference.digest == digest);
  CHECK(parse_image_reference("hello").value().repository == "hello");
  const auto bad =
      GENERATE(as<std::string>(), "", "Hello", "a//b", "a:", "a@sha256:12", "a b", "-a", "a/b:c/d", "../x");
  INFO(bad);
  CHECK_FALSE(is_image_reference(bad));
}

TEST_CASE("kinds are found by path and by name") {
  CHECK(find_kind("serving.knative.dev", "v1", "services") == &service_kind());
  CHECK(find_kind("", "v1", "namespaces") == &namespace_kind());
  CHECK(find_kind("serving.knative.dev", "v2", "services") == nullptr);
  CHECK(find_kind_by_name("shipwright.io/v1beta1", "BuildRun") == &build_run_kind());
  CHECK(trigger_kind().resource() == "triggers.eventing.knative.dev");
  CHECK(broker_kind().kind == "Broker");
}
