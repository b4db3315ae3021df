#include <catch2/catch.hpp>

#include "api_parts.hpp"
#include "memory_exchange.hpp"
#include "wick/os/task_group.hpp"

using namespace wick;
using model::Truth;

namespace {

const std::string wick_api = "/apis/wick.dev/v1/";
const std::string here = wick_api + "namespaces/default/";

struct ApiFixture : ApiParts {
  std::map<std::string, std::vector<container::RunnerLauncher::LogFile>, std::less<>> log_files;
  std::vector<api::Check> checks;
  bool ready = true;
  TaskGroup tasks{loop.get_executor()};
  std::optional<http::Handler> handler;

  ~ApiFixture() { run_on(loop, tasks.stop()); }

  void start() {
    ControlFixture::start();
    auto parts = doors();
    parts.logs = [this](std::string_view owner) { return log_files[std::string(owner)]; };
    parts.doctor = [this] { return give_checks(); };
    parts.ready = [this] { return ready; };
    parts.info = {.version = "1",
                  .listen = "127.0.0.1:8080",
                  .events_listen = "127.0.0.1:8081",
                  .domain = "example.com",
                  .api_listen = {}};
    parts.builders = folder.path() / "builders";
    parts.bases = "debian";
    handler = api::make_api(std::move(parts)).value();
  }
  awaitable<std::vector<api::Check>> give_checks() { co_return checks; }

  std::unique_ptr<MemoryExchange> open(std::string method, std::string target, std::string body = {},
                                       http::Fields fields = {}) {
    return std::make_unique<MemoryExchange>(loop.get_executor(), std::move(method), std::move(target), std::move(body),
                                            std::move(fields));
  }
  awaitable<void> handle(MemoryExchange& exchange) { co_await (*handler)(exchange); }
  std::unique_ptr<MemoryExchange> call(std::string method, std::string target, std::string body = {},
                                       http::Fields fields = {}) {
    auto exchange = open(std::move(method), std::move(target), std::move(body), std::move(fields));
    run_on(loop, handle(*exchange));
    return exchange;
  }
  std::unique_ptr<MemoryExchange> stream(std::string target) {
    auto exchange = open("GET", std::move(target));
    tasks.spawn("stream", handle(*exchange));
    return exchange;
  }
  json::array array(const MemoryExchange& exchange) { return json::parse(exchange.text).as_array(); }

  std::string add_log(const std::string& revision, std::string_view text) {
    const auto id = container::InstanceId::random();
    const auto path = (folder.path() / std::string(id.text())).string();
    REQUIRE(write_file(path, text));
    auto& files = log_files["default/" + revision];
    files.insert(files.begin(), {.id = id, .owner = "default/" + revision, .path = path, .running = true});
    return path;
  }
};

std::vector<std::string> texts(const MemoryExchange& exchange) {
  std::vector<std::string> lines;
  for (const auto& line : exchange.lines()) lines.push_back(model::text_at(line, {"line"}));
  return lines;
}

}  // namespace

TEST_CASE("an upload is kept under the digest of what it holds, once it is whole") {
  ApiFixture f;
  f.start();
  const std::string tar(300'000, 't');
  const auto taken = f.call("POST", here + "uploads", tar, {{"X-Wick-Commit", "abc"}, {"X-Wick-Dirty", "true"}});
  REQUIRE(taken->status() == 201);
  const auto name = model::text_at(taken->json(), {"name"});
  CHECK(name == Digest::of(tar).hex());
  CHECK(read_file(f.options.uploads / name).value() == tar);
  CHECK(read_file(f.options.uploads / (name + ".json")).value() == R"({"commit":"abc","dirty":true})");

  CHECK(f.call("POST", here + "uploads")->status() == 400);
  auto cut = f.open("POST", here + "uploads", std::string(400'000, 'x'));
  cut->fail_after = 300'000;
  run_on(f.loop, f.handle(*cut));
  CHECK(cut->status() == 503);
  CHECK(std::distance(std::filesystem::directory_iterator(f.options.uploads), {}) == 2);
  CHECK(f.call("GET", here + "uploads")->status() == 405);
}

TEST_CASE("ps and why say what serves and why the newest does not") {
  ApiFixture f;
  f.start();
  CHECK(f.array(*f.call("GET", here + "ps")).empty());
  CHECK(f.call("GET", here + "services/hello/why")->status() == 404);
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  const auto row = f.array(*f.call("GET", here + "ps")).at(0).as_object();
  CHECK(row.at("name") == "hello");
  CHECK(row.at("ready") == true);
  CHECK(row.at("url") == "http://hello.default.example.com");
  CHECK(row.at("revision") == "hello-00001");
  CHECK(row.at("instances").as_array().at(0).as_object().at("state") == "ready");

  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 1}, .output = {"no"}};
  f.apply_service("args: [broken]");
  REQUIRE(f.await_service(Truth::no));
  const auto why = f.call("GET", here + "services/hello/why")->json();
  CHECK(why.at("ready") == false);
  CHECK(why.at("reason") == "RevisionFailed");
  CHECK(why.at("serving") == "hello-00001 100 %");
  CHECK(model::text_at(why, {"failure", "slug"}) == "E_EXITED");
  CHECK(why.at("requests").as_array().empty());
}

TEST_CASE("a service's log has the lines of all its instances, a tail, and only the failed ones when asked") {
  ApiFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  f.launcher.behaviour = {.never_listens = true, .exits = ExitStatus{.code = 1}};
  f.apply_service("args: [broken]");
  REQUIRE(f.await_service(Truth::no));
  f.add_log("hello-00001", "one\ntwo\n");
  f.add_log("hello-00001", "three\nfour without end");
  f.add_log("hello-00002", "broken \xff\n");
  const auto log = [&](std::string query) { return texts(*f.call("GET", here + "services/hello/log" + query)); };
  CHECK(log("") == std::vector<std::string>{"one", "two", "three", "broken \xef\xbf\xbd", "four without end"});
  CHECK(log("?tail=1") == std::vector<std::string>{"two", "broken \xef\xbf\xbd", "four without end"});
  CHECK(log("?tail=0").empty());
  CHECK(log("?failed=true") == std::vector<std::string>{"broken \xef\xbf\xbd"});
  CHECK(f.call("GET", here + "services/hello/log?tail=x")->status() == 400);
  CHECK(f.call("GET", here + "services/none/log")->status() == 404);
}

TEST_CASE("a followed log brings new lines and new instances until the client goes") {
  ApiFixture f;
  f.start();
  f.apply_service();
  REQUIRE(f.await_service(Truth::yes));
  const auto path = f.add_log("hello-00001", "one\n");
  auto log = f.stream(here + "services/hello/log?follow=true");
  REQUIRE(f.until([&] { return log->lines().size() == 1; }));
  REQUIRE(write_file(path, "one\ntwo\n"));
  f.add_log("hello-00001", "new\n");
  REQUIRE(f.until([&] { return log->lines().size() == 3; }));
  log->hang_up();
  CHECK(f.until([&] { return f.tasks.size() == 0; }));
}

TEST_CASE("a build run's log is followed from before its beginning to its end") {
  ApiFixture f;
  f.run_build = [&](build::BuildRequest request,
                    build::OnProgress progress) -> awaitable<std::expected<build::BuiltImage, build::BuildFailure>> {
    progress({.kind = build::Progress::Kind::started, .step = "build", .text = "RUN make"});
    co_await f.clock.sleep(20ms);
    progress({.kind = build::Progress::Kind::finished, .step = "build", .text = "done", .elapsed = 20ms});
    co_return build::BuiltImage{.image = f.put_image(request.reference)};
  };
  f.start();
  f.apply(model::build_run_kind(),
          f.yaml("metadata: {name: run}\nspec: {build: {spec: {source: {git: {url: u}}, output: {image: x}}}}"));
  auto log = f.stream(here + "buildruns/run/log?follow=true");
  REQUIRE(f.until([&] { return log->finished; }));
  REQUIRE(log->lines().size() == 2);
  CHECK(log->lines()[0].at("kind") == "started");
  CHECK(log->lines()[1].at("elapsedMs") == 20);
  REQUIRE(f.until([&] { return f.tasks.size() == 0; }));
  CHECK(f.call("GET", here + "buildruns/run/log")->lines().size() == 2);
  CHECK(f.call("GET", here + "buildruns/none/log")->status() == 404);
}

TEST_CASE("an event goes through the ingress and shows in the tail") {
  ApiFixture f;
  f.start();
  const http::Fields event{{"ce-specversion", "1.0"},
                           {"ce-id", "1"},
                           {"ce-type", "demo.greet"},
                           {"ce-source", "/test"},
                           {"Content-Type", "application/json"}};
  CHECK(f.call("POST", here + "brokers/default/events", "{}", event)->status() == 202);
  CHECK(f.call("POST", here + "brokers/default/events", "{}")->status() == 400);
  CHECK(f.call("POST", here + "brokers/none/events", "{}", event)->status() == 404);
  CHECK(f.call("POST", wick_api + "namespaces/team/brokers/default/events", "{}", event)->status() == 202);

  auto tail = f.stream(here + "brokers/default/events?follow=true&tail=10");
  REQUIRE(f.until([&] { return !tail->lines().empty(); }));
  CHECK(tail->lines()[0].at("kind") == "accepted");
  CHECK(tail->lines()[0].at("type") == "demo.greet");
  const auto before = tail->lines().size();
  CHECK(f.call("POST", here + "brokers/default/events", "{}", event)->status() == 202);
  CHECK(f.until([&] { return tail->lines().size() > before; }));
  tail->hang_up();
  CHECK(f.until([&] { return f.tasks.size() == 0; }));
  const auto once = f.call("GET", here + "brokers/default/events?tail=1");
  CHECK(once->finished);
  CHECK(once->lines().size() == 1);
}

TEST_CASE("info, doctor, builders, health, version and metrics answer") {
  ApiFixture f;
  f.checks = {{.level = api::Check::Level::warn, .name = "disk", .because = "little is left", .hint = "free some"}};
  f.start();
  CHECK(f.call("GET", wick_api + "info")->json().at("eventsListen") == "127.0.0.1:8081");
  CHECK(f.array(*f.call("GET", wick_api + "doctor")).at(0).as_object().at("level") == "warn");
  CHECK(f.call("GET", wick_api + "builders")->status() == 404);
  REQUIRE(make_folders(f.folder.path() / "builders"));
  REQUIRE(write_file(f.folder.path() / "builders/x.yaml", "name: x\n"));
  CHECK(f.call("GET", wick_api + "builders")->json() ==
        json::object{{"bases", "debian"}, {"files", {{"x.yaml", "name: x\n"}}}});
  CHECK(f.call("GET", "/healthz")->status() == 200);
  CHECK(f.call("GET", "/readyz")->status() == 200);
  f.ready = false;
  CHECK(f.call("GET", "/readyz")->status() == 503);
  CHECK(f.call("GET", "/version")->json().contains("gitVersion"));
  CHECK(f.call("GET", "/metrics")->status() == 200);
  CHECK(f.call("GET", "/apis")->json().at("kind") == "APIGroupList");
  CHECK(f.call("GET", "/nothing")->status() == 404);
  CHECK(f.call("GET", "/%zz")->status() == 400);
  CHECK(f.call("GET", wick_api + "nothing")->status() == 404);
  CHECK(f.call("GET", here + "services/none/proxy/path")->status() == 404);
}
