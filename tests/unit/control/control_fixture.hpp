// A whole control plane over fakes: memory database, an image in a temporary folder, instances that are told what to
// do.
#pragma once

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <chrono>

#include "support/fake_launcher.hpp"
#include "support/run_loop.hpp"
#include "wick/control/control.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"
#include "wick/os/files.hpp"

namespace wick {

namespace json = boost::json;

/// A runner that has every layer and knows one user; `calls_until_failure` makes its n-th call fail.
class FakeRunner final : public container::Runner {
 public:
  std::optional<int> calls_until_failure;
  int calls = 0;

  awaitable<Result<container::Prepared>> prepare(container::InstanceSpec, Fd) override { co_return unused(); }
  awaitable<Result<void>> park(container::InstanceId) override { co_return unused(); }
  awaitable<Result<void>> start(container::InstanceId) override { co_return unused(); }
  awaitable<Result<Fd>> freeze(container::InstanceId) override { co_return unused(); }
  awaitable<Result<void>> thaw(container::InstanceId) override { co_return unused(); }
  awaitable<Result<Fd>> await_listening(container::InstanceId, std::uint16_t, std::chrono::milliseconds) override {
    co_return unused();
  }
  awaitable<Result<void>> signal(container::InstanceId, int) override { co_return unused(); }
  awaitable<Result<void>> remove(container::InstanceId) override { co_return unused(); }
  awaitable<Result<std::vector<container::Existing>>> list() override { co_return unused(); }
  awaitable<Result<std::vector<Fd>>> connect(container::InstanceId, std::uint16_t, std::size_t) override {
    co_return unused();
  }
  awaitable<Result<container::Executed>> execute(container::InstanceId, container::Process,
                                                 std::chrono::milliseconds) override {
    co_return unused();
  }
  awaitable<Result<container::Command>> begin_command(container::InstanceId, container::Process,
                                                      container::CommandOptions) override {
    co_return unused();
  }
  awaitable<Result<void>> update_volumes(container::InstanceId, std::vector<container::Volume>,
                                         std::vector<container::VolumeMount>) override {
    co_return unused();
  }
  awaitable<Result<container::Usage>> usage(container::InstanceId) override { co_return unused(); }
  awaitable<Result<std::vector<container::Listening>>> listening(container::InstanceId) override { co_return unused(); }
  void on_exit(std::function<void(const container::Exit&)>) override {}
  awaitable<Result<bool>> has_layer(Digest) override {
    if (fails()) co_return fail(Errc::unavailable, "the runner is gone");
    co_return true;
  }
  awaitable<Result<void>> import_layer(Digest, Fd) override { co_return unused(); }
  awaitable<Result<std::vector<Digest>>> layers() override { co_return unused(); }
  awaitable<Result<std::uint64_t>> remove_layer(Digest) override { co_return unused(); }
  awaitable<Result<void>> pack(std::vector<Digest>, std::string, std::string, Fd) override { co_return unused(); }
  awaitable<Result<container::UserIds>> resolve_user(std::vector<Digest>, std::string user) override {
    if (fails()) co_return fail(Errc::unavailable, "the runner is gone");
    if (user != "app") co_return fail(Errc::not_found, "no user " + user);
    co_return container::UserIds{.uid = 1000, .gid = 1000, .groups = {}};
  }
  awaitable<Result<void>> open_step(container::InstanceId, std::vector<Digest>) override { co_return unused(); }
  awaitable<Result<void>> unpack_into(container::InstanceId, Fd, Clash) override { co_return unused(); }
  awaitable<Result<void>> pack_layer(Digest, Fd) override { co_return unused(); }
  awaitable<Result<void>> pack_step(container::InstanceId, Fd, std::int64_t) override { co_return unused(); }
  awaitable<Result<void>> publish_step(container::InstanceId, Digest) override { co_return unused(); }
  awaitable<Result<void>> discard_step(container::InstanceId) override { co_return unused(); }
  awaitable<Result<void>> bootstrap(std::string, Fd) override { co_return unused(); }

 private:
  static std::unexpected<Error> unused() { return fail(Errc::unsupported, "the fake runner does not do this"); }
  bool fails() {
    ++calls;
    return calls_until_failure && --*calls_until_failure == 0;
  }
};

struct ControlFixture {
  asio::io_context loop{1};
  SteadyClock clock;
  WorkerPool workers{1};
  Metrics metrics;
  TemporaryFolder folder = TemporaryFolder::make("/tmp", "wick-test-").value();
  std::unique_ptr<store::Database> database = store::Database::open(":memory:", store::Objects::migrations()).value();
  std::shared_ptr<const store::Vault> vault =
      std::make_shared<const store::Vault>(store::Vault::from_hex(std::string(64, '7')).value());
  std::unique_ptr<store::Objects> objects = store::Objects::open(*database, clock, vault).value();
  std::unique_ptr<store::Database> events =
      store::Database::open((folder.path() / "events.db").string(), eventing::Eventing::migrations()).value();
  image::ContentStore images = image::ContentStore::open(folder.path() / "content").value();
  FakeRunner runner;
  FakeLauncher launcher{loop.get_executor(), clock};
  std::unique_ptr<serving::Serving> serving = make_serving();
  eventing::Eventing eventing{loop.get_executor(), clock, *events, metrics, deliver(), {}};
  control::RunBuild run_build;
  control::Adopt adopt;
  control::RegistryDoors registries;
  std::function<void(control::HttpsHosts)> show_https;  // empty: https is not spoken
  std::function<control::IssuedCertificate(const std::string&)> issued_certificate;
  std::function<void(control::ClientHosts)> show_clients;
  control::ControlOptions options{.domain = "example.com",
                                  .events_address = "127.0.0.1:8081",
                                  .uploads = folder.path() / "uploads",
                                  .build_logs = folder.path() / "builds",
                                  .retry_first = 5ms,
                                  .retry_max = 20ms};
  std::unique_ptr<control::Control> control;
  model::AdmissionPolicy policy{};

  ControlFixture() { put_image("hello"); }
  ~ControlFixture() {
    stop_control();
    run_on(loop, serving->stop(true));
    run_on(loop, eventing.stop(0ms));
  }

  std::unique_ptr<serving::Serving> make_serving() {
    return std::make_unique<serving::Serving>(loop.get_executor(), clock, launcher, metrics, serving::ServingOptions{});
  }
  static eventing::Deliver deliver() {
    return [](eventing::Destination, http::Request, milliseconds) -> awaitable<Result<http::Response>> {
      co_return fail(Errc::unavailable, "nobody is there");
    };
  }

  image::Image put_image(std::string_view name, std::string_view command = "/server") {
    image::ImageConfig config;
    config.command = {std::string(command)};
    config.user = "app";
    const auto layer =
        images.put_blob("layer of " + std::string(name), "application/vnd.oci.image.layer.v1.tar").value();
    config.diff_ids = {layer.digest};
    return images.put_image(config, {layer}, name).value();
  }

  void start() {
    control = std::make_unique<control::Control>(control::Collaborators{.executor = loop.get_executor(),
                                                                        .clock = clock,
                                                                        .workers = workers,
                                                                        .metrics = metrics,
                                                                        .objects = *objects,
                                                                        .images = images,
                                                                        .runner = runner,
                                                                        .serving = *serving,
                                                                        .eventing = eventing,
                                                                        .run_build = run_build,
                                                                        .adopt = adopt,
                                                                        .registries = registries,
                                                                        .show_https = show_https,
                                                                        .show_clients = show_clients,
                                                                        .issued_certificate = issued_certificate,
                                                                        .launcher = &launcher},
                                                 options);
    REQUIRE(run_on(loop, control->start()));
  }
  void stop_control() {
    if (!control) return;
    run_on(loop, control->stop());
    control.reset();
  }

  /// Runs the loop until `holds` does; false after ten seconds.
  bool until(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + 10s;
    loop.restart();
    while (!holds()) {
      if (std::chrono::steady_clock::now() > end) return false;
      if (loop.stopped()) loop.restart();
      loop.run_one_for(20ms);
    }
    return true;
  }

  json::object yaml(std::string_view text) { return model::parse_yaml(text).value().at(0).as_object(); }

  store::ObjectKey key(const model::Kind& kind, std::string name) {
    return {kind.resource(), kind.namespaced ? "default" : "", std::move(name)};
  }
  json::object get(const model::Kind& kind, const std::string& name) {
    const auto object = objects->find(key(kind, name));
    return object ? *object : json::object();
  }
  /// Creates or replaces as the API does.
  void apply(const model::Kind& kind, json::object object) {
    model::object_at(object, {"metadata"})["namespace"] = "default";
    const auto name = model::text_at(object, {"metadata", "name"});
    const auto old = objects->find(key(kind, name));
    auto admitted = model::admit(kind, std::move(object), {.old = old.get(), .user = "test", .policy = policy});
    INFO((admitted ? "" : admitted.error().what()));
    REQUIRE(admitted);
    if (old && old->contains("status")) (*admitted)["status"] = old->at("status");
    (*admitted)["apiVersion"] = kind.api_version();
    (*admitted)["kind"] = kind.kind;
    REQUIRE((old ? run_on(loop, objects->update(key(kind, name), *admitted))
                 : run_on(loop, objects->create(key(kind, name), *admitted))));
  }
  void apply_service(std::string_view container = "", std::string_view more = "", std::string_view image = "hello") {
    apply(model::service_kind(), yaml("metadata: {name: hello}\nspec: {" + std::string(more) +
                                      " template: {spec: {containers: [{image: " + std::string(image) + ", " +
                                      std::string(container) + "}]}}}"));
  }

  model::Condition condition(const model::Kind& kind, const std::string& name, std::string_view type = "Ready") {
    return model::find_condition(get(kind, name), type);
  }
  bool settled(const model::Kind& kind, const std::string& name, model::Truth status) {
    const auto object = get(kind, name);
    return model::integer_at(object, {"status", "observedGeneration"}, -1) ==
               model::integer_at(object, {"metadata", "generation"}) &&
           model::find_condition(object, "Ready").status == status;
  }
  bool await_service(model::Truth status) {
    return until([&] { return settled(model::service_kind(), "hello", status); });
  }
  std::string traffic() {
    const auto service = get(model::service_kind(), "hello");
    const auto* value = model::find_value(service, {"status", "traffic"});
    return value ? json::serialize(*value) : "";
  }
};

}  // namespace wick
