// Every verb but deploy against a fake daemon: what it asks, what it prints, how it fails.
#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <catch2/catch.hpp>
#include <csignal>

#include "app/cli/read_json.hpp"
#include "app/cli/traffic.hpp"
#include "fake_daemon.hpp"

namespace wick::app::cli {

namespace {

const std::string triggers = "/apis/eventing.knative.dev/v1/namespaces/default/triggers";
const std::string info =
    R"({"version":"0.1.0","listen":"127.0.0.1:8080","eventsListen":"127.0.0.1:8081","domain":"localhost"})";

const std::string not_found =
    R"({"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"services.serving.knative.dev \"nobody\" not found"})";

}  // namespace

TEST_CASE("ps shows each service with its instances and an address that can be opened") {
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/info", 200, info);
  daemon.on(
      "GET " + wick_api + "ps", 200,
      R"([{"name":"hello","url":"http://hello.default.localhost","ready":true,"message":"","revision":"hello-00001","instances":[{"pid":7}],"desired":1,"queued":0},
                {"name":"sad","url":"","ready":false,"message":"exit 1","revision":"sad-00002","instances":[],"desired":1,"queued":3}])");
  const auto ran = daemon.run({"ps"});
  CHECK(ran.exit == 0);
  CHECK(ran.out ==
        "NAME   READY  REVISION     INSTANCES       URL                                  BECAUSE\n"
        "hello  yes    hello-00001  1               http://hello.default.localhost:8080\n"
        "sad    no     sad-00002    0 of 1, 3 wait                                       exit 1\n");
  CHECK(ran.err.empty());

  const auto document = parse_json(daemon.run({"ps", "--json"}).out);
  REQUIRE(document);
  CHECK(text_at(*document, "/0/url") == "http://hello.default.localhost:8080");
  CHECK(number_at(*document, "/0/instances/0/pid") == 7);
}

TEST_CASE("ps of an empty namespace prints nothing on stdout and says what to do") {
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/namespaces/team/ps", 200, "[]");
  const auto ran = daemon.run({"ls", "-n", "team"});
  CHECK(ran.exit == 0);
  CHECK(ran.out.empty());
  CHECK(ran.err == "no services in namespace team. hint: wick deploy, in the folder of a program\n");
  CHECK(daemon.run({"ps", "--json"}, {{"WICK_NAMESPACE", "team"}}).out == "[]\n");
}

TEST_CASE("logs prints the lines as they were, or as JSON with where they came from") {
  FakeDaemon daemon;
  daemon.on("GET " + wick_api + "services/hello/log?follow=false&tail=2&failed=true", 200,
            R"({"revision":"hello-00001","instance":"a","line":"one"})"
            "\n"
            R"({"revision":"hello-00001","instance":"a","line":"\u001b[31mtwo"})"
            "\n");
  CHECK(daemon.run({"logs", "hello", "--tail", "2", "--failed"}).out == "one\n\x1b[31mtwo\n");
  CHECK(daemon.run({"logs", "hello", "--tail", "2", "--failed", "--json"})
            .out.starts_with(R"({"kind":"line","revision":"hello-00001","instance":"a","line":"one"})"
                             "\n"));
  daemon.on_terminal = true;
  CHECK(daemon.run({"logs", "hello", "--tail", "2", "--failed"}, {{"NO_COLOR", "1"}}).out == "one\n\\x1b[31mtwo\n");
}

TEST_CASE("logs -f goes on until Ctrl-C, which is exit 130") {
  FakeDaemon daemon;
  daemon.on("GET " + wick_api + "services/hello/log?follow=true", [](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 200};
    co_await exchange.start(std::move(head));
    co_await exchange.write(R"({"line":"first"})"
                            "\n");
    std::raise(SIGINT);
    co_await exchange.wait_gone();
  });
  const auto ran = daemon.run({"logs", "-f", "hello"});
  CHECK(ran.exit == 130);
  CHECK(ran.out == "first\n");
}

TEST_CASE("logs of a build are those of the newest one") {
  FakeDaemon daemon;
  const std::string runs = "/apis/shipwright.io/v1beta1/namespaces/default/buildruns";
  daemon.on(
      "GET " + runs, 200,
      R"({"items":[{"metadata":{"name":"hello-1","creationTimestamp":"2026-11-23T08:00:00Z","labels":{"wick.dev/service":"hello"}}},
                         {"metadata":{"name":"hello-2","creationTimestamp":"2026-11-23T09:00:00Z","labels":{"wick.dev/service":"hello"}}},
                         {"metadata":{"name":"other-1","creationTimestamp":"2026-11-23T10:00:00Z","labels":{"wick.dev/service":"other"}}}]})");
  daemon.on("GET " + wick_api + "buildruns/hello-2/log", 200,
            R"({"kind":"started","step":"build","text":"RUN make"})"
            "\n"
            R"({"kind":"output","step":"build","text":"cc main.c"})"
            "\n"
            R"({"kind":"failed","step":"build","text":"exit 2","elapsedMs":1500})"
            "\n");
  CHECK(daemon.run({"logs", "hello", "--build"}).out ==
        "[build] started RUN make\ncc main.c\n[build] failed exit 2 (1.5 s)\n");
  const auto none = daemon.run({"logs", "never", "--build"});
  CHECK(none.exit == 6);
  CHECK(none.err ==
        "error: never was never built here  [E_NOT_FOUND]\n  hint: wick deploy builds from a folder or a git URL\n");
}

TEST_CASE("why tells the last failure, what serves and the last requests") {
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/info", 200, info);
  daemon.on(
      "GET " + wick_api + "services/hello/why", 200,
      R"({"service":"hello","url":"http://hello.default.localhost","ready":false,"message":"Revision \"hello-00002\" failed","serving":"hello-00001 100 %",
                "failure":{"step":"start","slug":"E_EXITED","because":"the process exited with code 1","lastOutput":["boom"],"hint":"wick logs hello --failed","elapsedMs":92},
                "requests":[{"when":"2026-11-23T08:00:00Z","method":"GET","target":"/","status":200,"totalMs":84,"queuedMs":71,"cold":true,"revision":"hello-00001"}]})");
  const auto ran = daemon.run({"why", "hello"});
  CHECK(ran.exit == 0);
  CHECK(ran.out ==
        "hello: not ready\n"
        "  because: Revision \"hello-00002\" failed\n"
        "serving: hello-00001 100 %\n"
        "last failure: start after 92 ms  [E_EXITED]\n"
        "  because: the process exited with code 1\n"
        "  last output:\n"
        "    boom\n"
        "  hint: wick logs hello --failed\n"
        "last requests:\n"
        "WHEN                  REQUEST  STATUS  TOTAL  WAITED  START  REVISION\n"
        "2026-11-23T08:00:00Z  GET /    200     84 ms  71 ms   cold   hello-00001\n");
}

TEST_CASE("a service that is not there is exit 6 for every verb that names one") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/nobody", 404, not_found);
  for (const auto* rest : {"why", "log?follow=false"})
    daemon.on("GET " + wick_api + "services/nobody/" + rest, 404, not_found);
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"why", "nobody"}, {"logs", "nobody"}, {"open", "nobody"}, {"rm", "nobody", "--yes"}}) {
    const auto ran = daemon.run(arguments);
    INFO(arguments.front());
    CHECK(ran.exit == 6);
    CHECK(ran.out.empty());
    CHECK(ran.err.find("[E_NOT_FOUND]\n") != std::string::npos);
    CHECK(ran.err.find("services.serving.knative.dev \"nobody\" not found") != std::string::npos);
    CHECK(ran.err.find("  hint: wick ps lists ") != std::string::npos);
  }
}

TEST_CASE("rm without a terminal needs --yes, and on one asks first") {
  FakeDaemon daemon;
  daemon.on(
      "GET " + services + "/hello", 200,
      R"({"metadata":{"name":"hello"},"status":{"latestReadyRevisionName":"hello-00001","url":"http://h.example"}})");
  daemon.on("DELETE " + services + "/hello", 200, "{}");
  const auto refused = daemon.run({"rm", "hello"});
  CHECK(refused.exit == 2);
  CHECK(refused.err ==
        "service hello (revision hello-00001, http://h.example) and its logs will be removed\n"
        "error: nothing was removed: there is no terminal to ask on  [E_USAGE]\n"
        "  hint: wick rm hello --yes\n");
  daemon.on_terminal = true;
  daemon.input = "n\n";
  CHECK(daemon.run({"rm", "hello"}).exit == 1);
  for (const auto& seen : daemon.seen()) CHECK(seen.line.starts_with("GET "));
  daemon.input = "y\n";
  CHECK(daemon.run({"rm", "hello"}).exit == 0);
  CHECK(daemon.last("DELETE " + services + "/hello").line.ends_with("/hello"));
  daemon.on_terminal = false;
  CHECK(daemon.run({"rm", "hello", "--yes"}).out == "hello removed\n");
}

TEST_CASE("rm of several looks all of them up before it removes one") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, R"({"metadata":{"name":"hello"}})");
  CHECK(daemon.run({"rm", "hello", "nobody", "--yes"}).exit == 6);
  for (const auto& seen : daemon.seen()) CHECK_FALSE(seen.line.starts_with("DELETE "));
}

TEST_CASE("invoke sends what it is told and prints the body as it is") {
  FakeDaemon daemon;
  daemon.on("POST " + wick_api + "services/hello/proxy/a/b?q=1", 200, "answer");
  const auto ran = daemon.run({"invoke", "hello", "/a/b?q=1", "-d", R"([1,2])", "-H", "X-One: 1", "-H", "Accept: */*"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "answer");
  CHECK(ran.err.empty());
  const auto seen = daemon.last("POST " + wick_api + "services/hello/proxy/a/b");
  CHECK(seen.body == "[1,2]");
  CHECK(seen.fields.find("X-One") == "1");
  CHECK(seen.fields.find("Content-Type") == "application/json");
}

TEST_CASE("invoke tells a program's own error from one of the way to it") {
  FakeDaemon daemon;
  daemon.on("GET " + wick_api + "services/hello/proxy/", 500, "my fault\n");
  const auto own = daemon.run({"invoke", "hello"});
  CHECK(own.exit == 1);
  CHECK(own.out == "my fault\n");
  CHECK(own.err ==
        "error: hello answered 500 Internal Server Error  [E_HTTP_STATUS]\n  because: the program itself answered so\n "
        " hint: wick logs hello\n");

  daemon.on("GET " + wick_api + "services/gone/proxy/", [](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 504};
    head.fields.set("Wick-Error", "E_TIMED_OUT");
    co_await exchange.respond(std::move(head), "no instance became ready within 30 s\n");
  });
  const auto ours = daemon.run({"invoke", "gone"});
  CHECK(ours.exit == 8);
  CHECK(ours.out.empty());
  CHECK(ours.err ==
        "error: gone could not be called  [E_TIMED_OUT]\n  because: no instance became ready within 30 s\n  hint: wick "
        "why gone\n");
}

TEST_CASE("invoke --json is one document") {
  FakeDaemon daemon;
  daemon.on("GET " + wick_api + "services/hello/proxy/", 200, "hi");
  const auto document = parse_json(daemon.run({"invoke", "hello", "--json"}).out);
  REQUIRE(document);
  CHECK(number_at(*document, "/status") == 200);
  CHECK(text_at(*document, "/body") == "hi");
}

TEST_CASE("open prints the URL where there is no browser") {
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/info", 200, info);
  daemon.on("GET " + services + "/hello", 200,
            R"({"metadata":{"name":"hello"},"status":{"url":"http://hello.default.localhost"}})");
  CHECK(daemon.run({"open", "hello"}).out == "http://hello.default.localhost:8080\n");
  daemon.on("GET " + services + "/new", 200, R"({"metadata":{"name":"new"}})");
  CHECK(daemon.run({"open", "new"}).exit == 5);
}

TEST_CASE("trigger add makes a Trigger with its filter and subscriber") {
  FakeDaemon daemon;
  daemon.on("POST " + triggers, [&](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 201};
    co_await exchange.respond(std::move(head), daemon.seen().back().body);
  });
  const auto ran =
      daemon.run({"trigger", "add", "greet", "--filter", "type=demo.greet", "--filter", "source=/x", "--to", "hello"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "trigger greet: type=demo.greet,source=/x from broker default to hello\n");
  const auto posted = boost::json::parse(daemon.last("POST " + triggers).body);
  CHECK(text_at(posted, "/spec/broker") == "default");
  CHECK(text_at(posted, "/spec/filter/attributes/type") == "demo.greet");
  CHECK(text_at(posted, "/spec/subscriber/ref/name") == "hello");
  daemon.run({"trigger", "add", "out", "--to", "https://example.com/hook", "--broker", "b"});
  const auto outward = boost::json::parse(daemon.last("POST " + triggers).body);
  CHECK(text_at(outward, "/spec/subscriber/uri") == "https://example.com/hook");
  CHECK(text_at(outward, "/spec/broker") == "b");
  CHECK_FALSE(find_at(outward, "/spec/filter"));
}

TEST_CASE("a trigger whose name is taken is refused with the way out") {
  FakeDaemon daemon;
  daemon.on(
      "POST " + triggers, 409,
      R"({"kind":"Status","status":"Failure","reason":"AlreadyExists","code":409,"message":"triggers.eventing.knative.dev \"greet\" already exists"})");
  const auto ran = daemon.run({"trigger", "add", "greet", "--to", "hello"});
  CHECK(ran.exit == 7);
  CHECK(ran.err ==
        "error: trigger greet was not added  [E_CONFLICT]\n"
        "  because: triggers.eventing.knative.dev \"greet\" already exists\n"
        "  hint: wick trigger rm greet first, or take another name\n");
  CHECK(daemon.run({"trigger", "add", "greet", "--to", "hello", "--filter", "type"}).exit == 2);
  CHECK(daemon.run({"trigger", "add", "greet"}).exit == 2);
}

TEST_CASE("trigger ls and rm") {
  FakeDaemon daemon;
  daemon.on(
      "GET " + triggers, 200,
      R"({"items":[{"metadata":{"name":"greet"},"spec":{"broker":"default","filter":{"attributes":{"type":"t"}},"subscriber":{"ref":{"name":"hello"}}},
                "status":{"conditions":[{"type":"Ready","status":"False","message":"no such service"}]}}]})");
  CHECK(daemon.run({"trigger", "ls"}).out ==
        "NAME   BROKER   FILTER  TO     READY  BECAUSE\n"
        "greet  default  type=t  hello  False  no such service\n");
  CHECK(text_at(*parse_json(daemon.run({"trigger", "ls", "--json"}).out), "/0/filter/type") == "t");
  daemon.on("DELETE " + triggers + "/greet", 200, "{}");
  CHECK(daemon.run({"trigger", "rm", "greet"}).out == "trigger greet removed\n");
  CHECK(daemon.run({"trigger", "rm", "nobody"}).exit == 6);
}

TEST_CASE("event send is a CloudEvent in binary mode and prints its id") {
  FakeDaemon daemon;
  const auto route = "POST " + wick_api + "brokers/default/events";
  daemon.on(route, 202, "");
  const auto ran = daemon.run({"event", "send", "--type", "demo greet", "--data", R"({"n":1})", "--id", "7", "--ext",
                               "Part=é", "--subject", "s"});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "7\n");
  const auto seen = daemon.last(route);
  CHECK(seen.fields.find("ce-specversion") == "1.0");
  CHECK(seen.fields.find("ce-type") == "demo%20greet");
  CHECK(seen.fields.find("ce-id") == "7");
  CHECK(seen.fields.find("ce-source") == "/wick/cli");
  CHECK(seen.fields.find("ce-subject") == "s");
  CHECK(seen.fields.find("ce-part") == "%C3%A9");
  CHECK(seen.fields.find("Content-Type") == "application/json");
  CHECK(seen.body == R"({"n":1})");
  const auto document = parse_json(daemon.run({"event", "send", "--type", "t", "--json"}).out);
  REQUIRE(document);
  CHECK(text_at(*document, "/id").size() == 16);
}

TEST_CASE("event send reads its data from a file or stdin, and says when it cannot") {
  FakeDaemon daemon;
  const auto route = "POST " + wick_api + "brokers/default/events";
  daemon.on(route, 202, "");
  daemon.input = "from stdin";
  CHECK(daemon.run({"event", "send", "--type", "t", "--data", "@-"}).exit == 0);
  CHECK(daemon.last(route).body == "from stdin");
  CHECK(daemon.last(route).fields.find("Content-Type") == "text/plain; charset=utf-8");
  CHECK(daemon.run({"event", "send", "--type", "t", "--data", "@/no/such/file"}).exit == 6);
}

TEST_CASE("an event the broker refuses is told with its reason") {
  FakeDaemon daemon;
  daemon.on("POST " + wick_api + "brokers/none/events", 404,
            R"({"kind":"Status","status":"Failure","message":"there is no broker none","code":404})");
  const auto ran = daemon.run({"event", "send", "--type", "t", "--broker", "none"});
  CHECK(ran.exit == 6);
  CHECK(ran.err ==
        "error: the event was not accepted by broker none  [E_NOT_FOUND]\n"
        "  because: there is no broker none\n"
        "  hint: wick ps lists what there is\n");
}

TEST_CASE("event tail shows what came and where it went") {
  FakeDaemon daemon;
  daemon.on(
      "GET " + wick_api + "brokers/default/events?follow=false&tail=20", 200,
      R"({"kind":"accepted","broker":"default","trigger":"","id":"7","type":"t","source":"/x","when":"2026-11-23T08:10:32.5Z","status":0,"attempt":0,"elapsedMs":1,"detail":""})"
      "\n"
      R"({"kind":"failed","broker":"default","trigger":"greet","id":"7","type":"t","source":"/x","when":"2026-11-23T08:10:33Z","status":500,"attempt":2,"elapsedMs":84,"detail":"again in 0.4 s"})"
      "\n");
  CHECK(daemon.run({"event", "tail"}).out ==
        "08:10:32.500  accepted      t  7  from /x\n"
        "08:10:33.000  failed        t  7  → greet  500 in 84 ms  attempt 2  again in 0.4 s\n");
  const auto document = parse_json(
      daemon.run({"event", "tail", "--json"}).out.substr(0, daemon.run({"event", "tail", "--json"}).out.find('\n')));
  REQUIRE(document);
  CHECK(text_at(*document, "/ts") == "2026-11-23T08:10:32.5Z");
  CHECK(text_at(*document, "/kind") == "accepted");
}

TEST_CASE("doctor prints every check and fails when one did") {
  FakeDaemon daemon;
  daemon.on(
      "GET /apis/wick.dev/v1/doctor", 200,
      R"([{"name":"kernel","level":"ok","because":"Linux 6.18","hint":""},{"name":"runc","level":"warn","because":"1.1.5 lacks fixes","hint":"install runc >= 1.2.8"}])");
  daemon.on("GET /apis/wick.dev/v1/doctor", 200,
            R"([{"name":"disk","level":"fail","because":"1 GB free","hint":"free some"}])");
  const auto fine = daemon.run({"doctor"});
  CHECK(fine.exit == 0);
  CHECK(fine.out ==
        "ok    kernel: Linux 6.18\nwarn  runc\n        because: 1.1.5 lacks fixes\n        hint: install runc >= "
        "1.2.8\n");
  const auto bad = daemon.run({"doctor"});
  CHECK(bad.exit == 1);
  CHECK(bad.out.starts_with("fail  disk\n"));
  CHECK(bad.err ==
        "error: this machine is not fit to run services yet  [E_DOCTOR]\n  because: failed: disk\n  hint: each failed "
        "check above says what to do\n");
}

TEST_CASE("apply creates, changes what differs, and leaves what is the same") {
  FakeDaemon daemon;
  const auto file = daemon.folder() / "hello.yaml";
  REQUIRE(write_file(file,
                     "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata:\n  name: hello\nspec:\n  x: 1\n---\n"
                     "apiVersion: eventing.knative.dev/v1\nkind: Trigger\nmetadata:\n  name: greet\n  namespace: "
                     "default\nspec: {broker: default}\n"));
  daemon.on("POST " + services, 201, "{}");
  daemon.on("POST " + triggers, 201, "{}");
  const auto first = daemon.run({"apply", "-f", file.string()});
  INFO(first.err);
  CHECK(first.exit == 0);
  CHECK(first.out == "service.serving.knative.dev/hello created\ntrigger.eventing.knative.dev/greet created\n");

  auto stored = boost::json::parse(daemon.last("POST " + services).body);
  stored.at("spec").get_object()["defaulted"] = true;
  daemon.on("GET " + services + "/hello", 200, boost::json::serialize(stored));
  daemon.on("GET " + triggers + "/greet", 200, daemon.last("POST " + triggers).body);
  CHECK(daemon.run({"apply", "-f", file.string()}).out ==
        "service.serving.knative.dev/hello unchanged\ntrigger.eventing.knative.dev/greet unchanged\n");

  REQUIRE(write_file(
      file, R"({"apiVersion":"serving.knative.dev/v1","kind":"Service","metadata":{"name":"hello"},"spec":{"y":2}})"));
  daemon.on("PATCH " + services + "/hello", 200, R"({"metadata":{"resourceVersion":"9"}})");
  CHECK(daemon.run({"apply", "-f", file.string()}).out == "service.serving.knative.dev/hello configured\n");
  const auto patch = daemon.last("PATCH " + services + "/hello");
  CHECK(patch.fields.find("Content-Type") == "application/merge-patch+json");
  CHECK(boost::json::serialize(boost::json::parse(patch.body).at("spec")) == R"({"y":2,"x":null})");
}

TEST_CASE("apply reads everything before it writes anything") {
  FakeDaemon daemon;
  const auto file = daemon.folder() / "two.yaml";
  REQUIRE(write_file(file,
                     "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: hello}\n---\nkind: "
                     "Trigger\nmetadata: {name: x}\n"));
  const auto ran = daemon.run({"apply", "-f", file.string()});
  CHECK(ran.exit == 1);
  CHECK(ran.err.find("two.yaml, document 2 has no apiVersion  [E_INVALID]\n  because: ") != std::string::npos);
  CHECK(daemon.seen().empty());
  CHECK(daemon.run({"apply", "-f", "/no/such.yaml"}).exit == 6);
  REQUIRE(write_file(file, "a: [1,\n"));
  CHECK(daemon.run({"apply", "-f", file.string()}).err.find("is not YAML") != std::string::npos);
}

TEST_CASE("a daemon that is not there is exit 3 with the way to start it") {
  const auto ran = run_cli_with({"ps"}, {{"WICK_SOCKET", "/nonexistent/wick.sock"}});
  CHECK(ran.exit == 3);
  CHECK(ran.out.empty());
  CHECK(ran.err.starts_with("error: no wick daemon answers at /nonexistent/wick.sock  [E_UNREACHABLE]\n  because: "));
  CHECK(ran.err.find("  hint: start it: systemctl start wick, or: wick serve") != std::string::npos);
}

TEST_CASE("a connection that the daemon cuts is told as lost") {
  FakeDaemon daemon;
  daemon.on("GET " + wick_api + "services/hello/log", [](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 200};
    co_await exchange.start(std::move(head));
    co_await exchange.write(R"({"line":"first"})"
                            "\n");
    throw std::runtime_error("the daemon dies");
  });
  const auto ran = daemon.run({"logs", "-f", "hello"});
  CHECK(ran.exit == 3);
  CHECK(ran.out == "first\n");
  CHECK(ran.err.starts_with("error: the connection to the wick daemon was lost  [E_UNREACHABLE]\n"));
}

TEST_CASE("version works without a daemon") {
  const auto ran = run_cli_with({"version"}, {{"WICK_SOCKET", "/nonexistent/wick.sock"}});
  CHECK(ran.exit == 0);
  CHECK(ran.out == "wick " WICK_VERSION "\ndaemon: not running, or not reachable\n");
  FakeDaemon daemon;
  daemon.on("GET /apis/wick.dev/v1/info", 200, info);
  CHECK(daemon.run({"version"}).out == "wick " WICK_VERSION "\ndaemon: 0.1.0\n");
  CHECK(daemon.run({"info"}).out.find("listen        127.0.0.1:8080\n") != std::string::npos);
}

TEST_CASE("names for completion come from the daemon, and silently not at all without one") {
  FakeDaemon daemon;
  daemon.on("GET " + services, 200, R"({"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"}}]})");
  CHECK(daemon.run({"__names"}).out == "a\nb\n");
  const auto none = run_cli_with({"__names"}, {{"WICK_SOCKET", "/nonexistent/wick.sock"}});
  CHECK(none.exit == 0);
  CHECK((none.out + none.err).empty());
}

namespace {

std::string traffic_after(std::string before, std::vector<Share> shares,
                          std::vector<std::pair<std::string, std::string>> tags, std::vector<std::string> untags) {
  return json::serialize(changed_traffic(json::parse(before).as_array(), shares, tags, untags));
}

std::string service_with(std::string spec_traffic, std::string status_traffic) {
  return R"({"metadata":{"name":"hello","generation":2},"spec":{"traffic":)" + spec_traffic +
         R"(},"status":{"observedGeneration":2,"latestReadyRevisionName":"hello-00002","traffic":)" + status_traffic +
         R"(,"conditions":[{"type":"Ready","status":"True"},{"type":"RoutesReady","status":"True"}]}})";
}

}  // namespace

TEST_CASE("shares replace shares, tags stay until they are taken away or moved") {
  const std::string latest = R"([{"latestRevision":true,"percent":100}])";
  CHECK(traffic_after(latest, {{"hello-00001", 100}}, {}, {}) ==
        R"([{"revisionName":"hello-00001","latestRevision":false,"percent":100}])");
  CHECK(traffic_after(latest, {{"latest", 90}, {"hello-00001", 10}}, {}, {}) ==
        R"([{"latestRevision":true,"percent":90},{"revisionName":"hello-00001","latestRevision":false,"percent":10}])");
  CHECK(
      traffic_after(latest, {}, {{"hello-00001", "old"}}, {}) ==
      R"([{"latestRevision":true,"percent":100},{"revisionName":"hello-00001","latestRevision":false,"percent":0,"tag":"old"}])");
  CHECK(traffic_after(latest, {}, {{"latest", "new"}}, {}) == R"([{"latestRevision":true,"percent":100,"tag":"new"}])");
  const std::string tagged =
      R"([{"latestRevision":true,"percent":100},{"revisionName":"a-00001","latestRevision":false,"percent":0,"tag":"t","url":"http://t"}])";
  CHECK(traffic_after(tagged, {}, {}, {"t"}) == latest);
  CHECK(
      traffic_after(tagged, {}, {{"a-00002", "t"}}, {}) ==
      R"([{"latestRevision":true,"percent":100},{"revisionName":"a-00002","latestRevision":false,"percent":0,"tag":"t"}])");
  CHECK(
      traffic_after(tagged, {{"latest", 100}}, {}, {}) ==
      R"([{"revisionName":"a-00001","latestRevision":false,"percent":0,"tag":"t"},{"latestRevision":true,"percent":100}])");
}

TEST_CASE("traffic writes what was asked for, waits until it is in force and shows it") {
  FakeDaemon daemon;
  const auto before = service_with(R"([{"latestRevision":true,"percent":100}])",
                                   R"([{"revisionName":"hello-00002","latestRevision":true,"percent":100}])");
  const auto after = service_with(R"([])", R"([{"revisionName":"hello-00002","latestRevision":true,"percent":90},
                                {"revisionName":"hello-00001","latestRevision":false,"percent":10}])");
  daemon.on("GET " + services + "/hello", 200, before);
  daemon.on("GET " + services + "/hello", 200, after);
  daemon.on("GET " + services, 200, R"({"items":[)" + after + "]}");
  daemon.on("PATCH " + services + "/hello", 200, after);
  const auto ran = daemon.run({"traffic", "hello", "latest=90", "00001=10%"});
  CHECK(ran.err.empty());
  CHECK(
      daemon.last("PATCH " + services + "/hello").body ==
      R"({"spec":{"traffic":[{"latestRevision":true,"percent":90},{"revisionName":"hello-00001","latestRevision":false,"percent":10}]}})");
  CHECK(ran.out ==
        "REVISION     PERCENT  FOLLOWS  TAG  URL\n"
        "hello-00002  90 %     latest\n"
        "hello-00001  10 %\n");
}

TEST_CASE("shares that do not add up are refused before anything is asked") {
  FakeDaemon daemon;
  daemon.on("GET " + services + "/hello", 200, service_with("[]", "[]"));
  for (const auto* shares : {"latest=90", "latest=101", "latest", "=100", "latest=x"}) {
    const auto ran = daemon.run({"traffic", "hello", shares});
    CHECK(ran.exit == 2);
    CHECK(ran.err.find("hint:") != std::string::npos);
  }
}

TEST_CASE("rollback goes to the newest ready revision before the one that serves") {
  FakeDaemon daemon;
  const auto now = service_with(R"([{"latestRevision":true,"percent":100}])",
                                R"([{"revisionName":"hello-00003","latestRevision":true,"percent":100}])");
  const auto revision = [](int generation, const char* ready) {
    return fmt::format(
        R"({{"metadata":{{"name":"hello-0000{0}","labels":{{"serving.knative.dev/configurationGeneration":"{0}"}}}},"status":{{"conditions":[{{"type":"Ready","status":"{1}"}}]}}}})",
        generation, ready);
  };
  daemon.on("GET " + services + "/hello", 200, now);
  daemon.on("GET " + services, 200, R"({"items":[)" + now + "]}");
  daemon.on("PATCH " + services + "/hello", 200, now);
  daemon.on("GET /apis/serving.knative.dev/v1/namespaces/default/revisions", 200,
            R"({"items":[)" + revision(1, "True") + "," + revision(2, "False") + "," + revision(3, "True") + "," +
                revision(4, "True") + "]}");
  const auto ran = daemon.run({"rollback", "hello"});
  CHECK(ran.exit == 0);
  CHECK(daemon.last("PATCH " + services + "/hello").body ==
        R"({"spec":{"traffic":[{"revisionName":"hello-00001","latestRevision":false,"percent":100}]}})");
  CHECK(ran.err.starts_with("hello-00001 serves everything, hello-00003 nothing."));
}

}  // namespace wick::app::cli
