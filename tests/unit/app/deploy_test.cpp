// `wick deploy` against a fake daemon: the way of each kind of source, and the failed-deploy contract to the letter.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <csignal>

#include "app/cli/read_json.hpp"
#include "fake_daemon.hpp"
#include "wick/base/text.hpp"

namespace wick::app::cli {

namespace {

const std::string runs = "/apis/shipwright.io/v1beta1/namespaces/default/buildruns";

std::string service(int generation, int observed, std::string_view ready, std::string_view revision,
                    json::array traffic = {}, json::object more = {}) {
  json::object status{{"observedGeneration", observed},
                      {"url", "http://hello.default.localhost"},
                      {"conditions", {{{"type", "Ready"}, {"status", ready}, {"message", "it says why"}}}},
                      {"latestCreatedRevisionName", revision},
                      {"traffic", std::move(traffic)}};
  for (auto& [key, value] : more) status[key] = std::move(value);
  return json::serialize(json::object{{"apiVersion", "serving.knative.dev/v1"},
                                      {"kind", "Service"},
                                      {"metadata",
                                       {{"name", "hello"},
                                        {"generation", generation},
                                        {"resourceVersion", std::to_string(generation * 10 + observed)}}},
                                      {"spec", json::object()},
                                      {"status", std::move(status)}});
}

std::string build_run(std::string_view succeeded, json::object status = {}) {
  status["conditions"] = {{{"type", "Succeeded"}, {"status", succeeded}}};
  return json::serialize(json::object{{"kind", "BuildRun"},
                                      {"metadata", {{"name", "hello-x"}, {"resourceVersion", "5"}}},
                                      {"status", std::move(status)}});
}

/// A daemon that takes a build run, whatever its name, and whose build ends with `run`.
struct BuildDaemon : FakeDaemon {
  BuildDaemon(std::string log, std::string run) : log_(std::move(log)), run_(std::move(run)) {
    on("POST " + runs, [this](http::Exchange& exchange) -> awaitable<void> {
      const auto body = boost::json::parse(seen().back().body);
      const auto name = text_at(body, "/metadata/name");
      on("GET " + wick_api + "buildruns/" + name + "/log?follow=true", 200, log_);
      on("GET " + runs + "/" + name, 200, run_);
      http::ResponseHead head{.status = 201};
      co_await exchange.respond(std::move(head), seen().back().body);
    });
    on("GET /apis/wick.dev/v1/info", 200, R"({"listen":"127.0.0.1:8080","domain":"localhost"})");
  }
  std::string log_, run_;
};

const std::string good_log =
    R"({"ts":"2026-11-23T08:00:00Z","kind":"started","step":"fetch","text":"https://example.com/hello.git","elapsedMs":0})"
    "\n"
    R"({"ts":"2026-11-23T08:00:01Z","kind":"finished","step":"fetch","text":"commit 0123456789ab","elapsedMs":1200})"
    "\n"
    R"({"ts":"2026-11-23T08:00:01Z","kind":"cached","step":"build","text":"RUN npm ci","elapsedMs":0})"
    "\n"
    R"({"ts":"2026-11-23T08:00:01Z","kind":"output","step":"build","text":"added 3 packages","elapsedMs":0})"
    "\n"
    R"({"ts":"2026-11-23T08:00:02Z","kind":"finished","step":"build","text":"2 steps","elapsedMs":400})"
    "\n";

const json::array all_to_first{{{"revisionName", "hello-00001"}, {"percent", 100}}};

}  // namespace

TEST_CASE("a git URL is built, waited for and answered with its URL on stdout") {
  BuildDaemon daemon(good_log, build_run("True", {{"service", {{"name", "hello"}}}}));
  daemon.on("GET " + services + "/hello", 404, "{}");
  daemon.on("GET " + services + "/hello", 200, service(1, 0, "Unknown", ""));
  daemon.on("GET " + services, 200,
            R"({"type":"MODIFIED","object":)" + service(1, 1, "Unknown", "hello-00001") + "}\n" +
                R"({"type":"MODIFIED","object":)" + service(1, 1, "True", "hello-00001", all_to_first) + "}\n");
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git#main", "--path", "app", "--name", "hello",
                               "--env", "WHO=moon", "--build-arg", "V=1", "--dockerfile", "Dockerfile.prod",
                               "--builder", "node", "--idle", "6s"});
  INFO(ran.err);
  CHECK(ran.exit == 0);
  CHECK(ran.out == "http://hello.default.localhost:8080\n");
  CHECK(masked(ran.err) ==
        "hello  fetch      https://example.com/hello.git\n"
        "hello  fetch      commit 0123456789ab  T\n"
        "hello  build      RUN npm ci                                        cached\n"
        "hello  build      | added 3 packages\n"
        "hello  build      2 steps  T\n"
        "hello  start      revision hello-00001\n"
        "hello  ready      hello-00001  T\n"
        "hello  route      100 % → hello-00001\n");

  const auto run = boost::json::parse(daemon.last("POST " + runs).body);
  CHECK(text_at(run, "/spec/build/spec/source/git/url") == "https://example.com/hello.git");
  CHECK(text_at(run, "/spec/build/spec/source/git/revision") == "main");
  CHECK(text_at(run, "/spec/build/spec/source/contextDir") == "app");
  CHECK(text_at(run, "/spec/build/spec/output/image") == "hello");
  CHECK(text_at(run, "/spec/build/spec/strategy/name") == "node");
  CHECK(text_at(run, "/spec/build/spec/paramValues/0/value") == "Dockerfile.prod");
  CHECK(text_at(run, "/spec/build/spec/paramValues/1/values/0/value") == "V=1");
  const auto manifest = boost::json::parse(text_at(run, "/metadata/annotations/wick.dev~1deploy"));
  CHECK(text_at(manifest, "/metadata/name") == "hello");
  CHECK(text_at(manifest, "/spec/template/spec/containers/0/env/0/value") == "moon");
  CHECK(text_at(manifest, "/spec/template/metadata/annotations/autoscaling.knative.dev~1window") == "6s");
}

TEST_CASE("a build that fails is told with its step, its last output and a hint, and exits 4") {
  const json::object failure{{"step", "build"},
                             {"slug", "E_BUILD_STEP"},
                             {"because", "Dockerfile:2: RUN npm ci: exit 1"},
                             {"lastOutput", {"npm ERR! missing lockfile"}},
                             {"hint", "run npm install and commit package-lock.json"},
                             {"elapsedMs", 1500}};
  BuildDaemon daemon(R"({"kind":"failed","step":"build","text":"RUN npm ci","elapsedMs":1500})"
                     "\n",
                     build_run("False", {{"failure", failure}}));
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git"});
  CHECK(ran.exit == 4);
  CHECK(ran.out.empty());
  CHECK(masked(ran.err) ==
        "hello  build      failed RUN npm ci  T\n"
        "error: the build of hello failed  [E_BUILD_STEP]\n"
        "  because: step build after  T: Dockerfile:2: RUN npm ci: exit 1\n"
        "  last output:\n"
        "    npm ERR! missing lockfile\n"
        "  hint: run npm install and commit package-lock.json\n");
}

TEST_CASE("a revision that does not become ready is told after the failed-deploy contract, and exits 5") {
  const json::object failure{
      {"step", "start"},
      {"slug", "E_EXITED"},
      {"because", "the process exited with code 1 after 92 ms, before listening on port 8080"},
      {"lastOutput", {"/app/index.js:1", "TypeError: require(...).createSever is not a function"}},
      {"hint", "fix and run wick deploy; full output: wick logs hello --failed"},
      {"elapsedMs", 92}};
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, service(2, 2, "True", "hello-00002"));
  daemon.on("PUT " + services + "/hello", 200, service(3, 2, "True", "hello-00002"));
  const json::array old_serves{{{"revisionName", "hello-00002"}, {"percent", 100}}};
  daemon.on("GET " + services + "/hello", 200, service(3, 3, "Unknown", "hello-00002", old_serves));
  const auto failed = service(3, 3, "False", "hello-00003", old_serves, {{"lastFailure", failure}});
  daemon.on("GET " + services, 200,
            R"({"type":"MODIFIED","object":)" + service(3, 3, "Unknown", "hello-00003", old_serves) + "}\n" +
                R"({"type":"MODIFIED","object":)" + failed + "}\n");

  const auto ran = daemon.run({"deploy", "hello:2"});
  CHECK(ran.exit == 5);
  CHECK(ran.out.empty());
  CHECK(masked(ran.err) ==
        "hello  start      revision hello-00003\n"
        "hello  start      failed hello-00003  T\n"
        "error: hello-00003 did not become ready  [E_EXITED]\n"
        "  because: the process exited with code 1 after  T, before listening on port 8080\n"
        "  last output:\n"
        "    /app/index.js:1\n"
        "    TypeError: require(...).createSever is not a function\n"
        "  hello-00002 still serves 100 % of the traffic.\n"
        "  hint: fix and run wick deploy; full output: wick logs hello --failed\n");
}

TEST_CASE("a failure that the daemon cannot explain still has a reason and a hint") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 404, "{}");
  daemon.on("GET " + services + "/hello", 200, service(1, 1, "False", "hello-00001"));
  daemon.on("POST " + services, 201, service(1, 0, "Unknown", ""));
  const auto ran = daemon.run({"deploy", "registry.example.com/team/hello:1"});
  CHECK(ran.exit == 5);
  CHECK(ran.err.find("error: hello-00001 did not become ready  [E_NOT_READY]\n"
                     "  because: it says why\n"
                     "  No revision of hello serves.\n"
                     "  hint: fix and run wick deploy; full output: wick logs hello --failed\n") != std::string::npos);
  const auto posted = boost::json::parse(daemon.last("POST " + services).body);
  CHECK(text_at(posted, "/spec/template/spec/containers/0/image") == "registry.example.com/team/hello:1");
}

TEST_CASE("unchanged inputs say so and print the URL") {
  BuildDaemon daemon(good_log, build_run("True", {{"service", {{"name", "hello"}}}}));
  daemon.on("GET " + services + "/hello", 200, service(7, 7, "True", "hello-00007", all_to_first));
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "http://hello.default.localhost:8080\n");
  CHECK(ran.err.find("hello  unchanged  hello-00007") != std::string::npos);
}

TEST_CASE("a deploy keeps what an earlier one set and changes what the flags say") {
  FakeDaemon daemon;
  auto before = boost::json::parse(service(1, 1, "True", "hello-00001"));
  before.at("spec") = boost::json::parse(
      R"({"template":{"metadata":{"name":"hello-fixed","annotations":{"autoscaling.knative.dev/minScale":"2"}},
    "spec":{"containers":[{"image":"old","env":[{"name":"A","value":"1"},{"name":"B","value":"2"}]}]}}})");
  daemon.on("GET " + services + "/hello", 200, boost::json::serialize(before));
  daemon.on("PUT " + services + "/hello", 200, service(1, 1, "True", "hello-00001"));
  const auto ran = daemon.run({"deploy", "hello:2", "--env", "B=3", "--env", "A-", "--env", "C=4", "--min", "1",
                               "--port", "3000", "--memory", "64Mi"});
  CHECK(ran.exit == 0);
  const auto put = boost::json::parse(daemon.last("PUT " + services + "/hello").body);
  CHECK(
      boost::json::serialize(put.at("spec")) ==
      R"({"template":{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":"1"}},"spec":{"containers":[{"env":[{"name":"B","value":"3"},)"
      R"({"name":"C","value":"4"}],"image":"hello:2","ports":[{"containerPort":3000}],"resources":{"limits":{"memory":"64Mi"}}}]}}})");
  CHECK(text_at(put, "/metadata/resourceVersion") == "11");
}

TEST_CASE("--detach returns at once with the name to follow") {
  BuildDaemon daemon(good_log, build_run("Unknown"));
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git", "--detach"});
  CHECK(ran.exit == 0);
  CHECK(masked(ran.out) == "hello-RUN\n");
}

TEST_CASE("--json gives one line an event and the result last") {
  BuildDaemon daemon(good_log, build_run("True", {{"service", {{"name", "hello"}}}}));
  daemon.on("GET " + services + "/hello", 404, "{}");
  daemon.on("GET " + services + "/hello", 200, service(1, 1, "True", "hello-00001", all_to_first));
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git", "--json"});
  CHECK(ran.exit == 0);
  CHECK(ran.err.empty());
  std::istringstream lines(ran.out);
  json::value last;
  for (std::string line; std::getline(lines, line);) {
    const auto document = parse_json(line);
    REQUIRE(document);
    CHECK_FALSE(text_at(*document, "/ts").empty());
    CHECK_FALSE(text_at(*document, "/kind").empty());
    last = *document;
  }
  CHECK(text_at(last, "/kind") == "ready");
  CHECK(text_at(last, "/url") == "http://hello.default.localhost:8080");
  CHECK(text_at(last, "/revision") == "hello-00001");
}

TEST_CASE("a failed deploy with --json ends with the failure as a document") {
  FakeDaemon daemon;
  daemon.on(
      "POST " + services, 403,
      R"({"kind":"Status","status":"Failure","message":"quota exceeded","code":403,"wick":{"slug":"E_QUOTA","hint":"remove a service"}})");
  const auto ran = daemon.run({"deploy", "hello:1", "--json"});
  CHECK(ran.exit == 7);
  const auto document = parse_json(ran.out);
  REQUIRE(document);
  CHECK(text_at(*document, "/kind") == "failed");
  CHECK(text_at(*document, "/slug") == "E_QUOTA");
  CHECK(number_at(*document, "/exitCode") == 7);
  CHECK(ran.err == "error: hello was not deployed  [E_QUOTA]\n  because: quota exceeded\n  hint: remove a service\n");
}

TEST_CASE("Ctrl-C while a build runs says that the deploy goes on and how to follow it") {
  BuildDaemon daemon(good_log, build_run("Unknown"));
  daemon.on("POST " + runs, [&daemon](http::Exchange& exchange) -> awaitable<void> {
    const auto name = text_at(boost::json::parse(daemon.seen().back().body), "/metadata/name");
    daemon.on("GET " + wick_api + "buildruns/" + name + "/log", [](http::Exchange& log) -> awaitable<void> {
      http::ResponseHead head{.status = 200};
      co_await log.start(std::move(head));
      co_await log.write(R"({"kind":"started","step":"fetch","text":"x"})"
                         "\n");
      std::raise(SIGINT);
      co_await log.wait_gone();
    });
    http::ResponseHead head{.status = 201};
    co_await exchange.respond(std::move(head), "{}");
  });
  // The first answer set is BuildDaemon's own: use it up.
  daemon.run({"deploy", "https://example.com/hello.git", "--detach"});
  const auto ran = daemon.run({"deploy", "https://example.com/hello.git"});
  CHECK(ran.exit == 130);
  CHECK(ran.err.find("error: interrupted  [E_INTERRUPTED]\n"
                     "  because: this terminal no longer follows; the deploy of hello goes on\n"
                     "  hint: follow it: wick logs hello --build -f; how it ended: wick why hello\n") !=
        std::string::npos);
}

TEST_CASE("a folder is handed over as a tar with its name from the folder") {
  BuildDaemon daemon(good_log, build_run("True", {{"service", {{"name", "my-app"}}}}));
  daemon.on("POST " + wick_api + "uploads", 201, R"({"name":"ab12"})");
  daemon.on("GET " + services + "/my-app", 200, service(1, 1, "True", "my-app-00001", all_to_first));
  const auto app = daemon.folder() / "My_App";
  std::filesystem::create_directory(app);
  REQUIRE(write_file(app / "index.js", "hello"));
  const auto ran = daemon.run({"deploy", app.string()});
  INFO(ran.err);
  CHECK(ran.exit == 0);
  const auto upload = daemon.last("POST " + wick_api + "uploads");
  CHECK(upload.body.size() % 512 == 0);
  CHECK(upload.body.starts_with("index.js"));
  CHECK_FALSE(upload.fields.contains("X-Wick-Commit"));
  const auto run = boost::json::parse(daemon.last("POST " + runs).body);
  CHECK(text_at(run, "/spec/build/spec/source/type") == "Local");
  CHECK(text_at(run, "/spec/build/spec/source/local/name") == "ab12");
  CHECK(ran.err.find("1 files, 5 B") != std::string::npos);
}

TEST_CASE("the secrets of a build go to the daemon's memory, and the build has no more than the ticket") {
  BuildDaemon daemon(good_log, build_run("True"));
  daemon.on("POST " + wick_api + "uploads", 201, R"({"name":"ab12"})");
  daemon.on("POST " + wick_api + "buildsecrets", 201, R"({"name":"t1cket"})");
  const auto app = daemon.folder() / "app";
  std::filesystem::create_directory(app);
  REQUIRE(write_file(app / "index.js", "hello"));
  REQUIRE(write_file(daemon.folder() / "key", "of a file"));
  const std::map<std::string, std::string> environment{{"TOKEN", "of a variable"}, {"own", "of its name"}};
  const auto ran =
      daemon.run({"build", app.string(), "--secret", "id=token,env=TOKEN", "--secret", "id=own", "--secret",
                  "id=key,src=" + (daemon.folder() / "key").string(), "--secret", "id=typed,type=env,src=TOKEN"},
                 environment);
  INFO(ran.err);
  CHECK(ran.exit == 0);
  const auto handed = boost::json::parse(daemon.last("POST " + wick_api + "buildsecrets").body);
  CHECK(text_at(handed, "/secrets/token") == base64_encode("of a variable"));
  CHECK(text_at(handed, "/secrets/typed") == base64_encode("of a variable"));
  CHECK(text_at(handed, "/secrets/own") == base64_encode("of its name"));
  CHECK(text_at(handed, "/secrets/key") == base64_encode("of a file"));
  const auto run = daemon.last("POST " + runs).body;
  CHECK(text_at(boost::json::parse(run), "/metadata/annotations/wick.dev~1build-secrets") == "t1cket");
  for (const char* value : {"of a", "of its"}) CHECK_FALSE(run.contains(value));
  for (const char* wrong : {"x", "src=a", "id=a,src=b,env=c", "id=a,mode=1", "id=a,env=NONE", "id="}) {
    INFO(wrong);
    CHECK(daemon.run({"build", app.string(), "--secret", wrong}).exit == 2);
  }
  const auto absent = daemon.run({"build", app.string(), "--secret", "id=a,src=/nowhere"});
  CHECK_THAT(absent.err, Catch::Contains("/nowhere") && Catch::Contains("hint: src is a file as this command sees it"));
  CHECK(
      daemon.run({"build", app.string(), "--secret", "id=token,env=TOKEN", "--secret", "id=token"}, environment).exit ==
      2);
}

TEST_CASE("what the daemon refuses of an upload is told as such") {
  FakeDaemon daemon;
  daemon.on("POST " + wick_api + "uploads", 413, R"({"kind":"Status","message":"more than 1 GiB","code":413})");
  const auto app = daemon.folder() / "app";
  std::filesystem::create_directory(app);
  REQUIRE(write_file(app / "index.js", "hello"));
  const auto ran = daemon.run({"deploy", app.string()});
  CHECK(ran.exit == 7);
  INFO(ran.err);
  CHECK(ran.err.find("could not be handed over  [E_TOO_LARGE]\n  because: more than 1 GiB\n  hint: ") !=
        std::string::npos);
}

TEST_CASE("what cannot be a source is refused before the daemon is asked") {
  FakeDaemon daemon;
  CHECK(daemon.run({"deploy", "./no/such/folder"}).exit == 6);
  CHECK(daemon.run({"deploy", "file:///srv/x.git"}).exit == 7);
  CHECK(daemon.run({"deploy", "https://example.com/x.git#"}).exit == 2);
  CHECK(daemon.run({"deploy", "https://example.com/x.git", "--name", "Bad_Name"}).exit == 2);
  CHECK(daemon.run({"deploy", "https://example.com/x.git", "--idle", "soon"}).exit == 2);
  CHECK(daemon.run({"deploy", "hello:1", "--env", "NOVALUE"}).exit == 2);
  for (const auto& seen : daemon.seen()) CHECK(seen.line.starts_with("GET "));
}

}  // namespace wick::app::cli
