// The verbs for channels, flows, sources and the graph against a fake daemon: what they ask and what they print.
#include <boost/json/parse.hpp>
#include <catch2/catch.hpp>

#include "app/cli/read_json.hpp"
#include "fake_daemon.hpp"

namespace wick::app::cli {

namespace {

const std::string messaging_path = "/apis/messaging.knative.dev/v1/namespaces/default/";
const std::string flows_path = "/apis/flows.knative.dev/v1/namespaces/default/";
const std::string sources_path = "/apis/sources.knative.dev/v1/namespaces/default/";
const std::string own_sources_path = "/apis/sources.wick.dev/v1alpha1/namespaces/default/";
const std::string own_sinks_path = "/apis/sinks.wick.dev/v1alpha1/namespaces/default/";
const std::string eventing_path = "/apis/eventing.knative.dev/v1/namespaces/default/";
const std::string transforms_path = "/apis/eventing.knative.dev/v1alpha1/namespaces/default/eventtransforms";

/// Takes what is created, and gives it back.
void take(FakeDaemon& daemon, const std::string& path) {
  daemon.on("POST " + path, [&](http::Exchange& exchange) -> awaitable<void> {
    http::ResponseHead head{.status = 201};
    co_await exchange.respond(std::move(head), daemon.seen().back().body);
  });
}

json::value posted(FakeDaemon& daemon, const std::string& path) {
  return boost::json::parse(daemon.last("POST " + path).body);
}

}  // namespace

TEST_CASE("channel add and subscribe make a Channel and a Subscription") {
  FakeDaemon daemon;
  take(daemon, messaging_path + "channels");
  take(daemon, messaging_path + "subscriptions");
  CHECK(daemon.run({"channel", "add", "orders"}).out ==
        "channel orders: http://orders-kn-channel.default.svc.cluster.local\n");
  const auto ran = daemon.run({"channel", "subscribe", "audit", "orders", "--to", "auditor", "--reply",
                               "channel:audited", "--retry", "3", "--dead-letter", "broker:default"});
  CHECK(ran.out == "subscription audit: from channel orders to auditor, answers to channel:audited\n");
  const auto subscription = posted(daemon, messaging_path + "subscriptions");
  CHECK(text_at(subscription, "/spec/channel/name") == "orders");
  CHECK(text_at(subscription, "/spec/subscriber/ref/kind") == "Service");
  CHECK(text_at(subscription, "/spec/reply/ref/kind") == "Channel");
  CHECK(number_at(subscription, "/spec/delivery/retry") == 3);
  CHECK(text_at(subscription, "/spec/delivery/deadLetterSink/ref/kind") == "Broker");
}

TEST_CASE("a destination of a kind that takes no events is a usage error that says which there are") {
  FakeDaemon daemon;
  const auto ran = daemon.run({"trigger", "add", "t", "--to", "queue:jobs"});
  CHECK(ran.exit == 2);
  CHECK(ran.err.find("'queue:jobs' is no place that takes events") != std::string::npos);
  CHECK(ran.err.find("channel:NAME") != std::string::npos);
}

TEST_CASE("channel ls shows every channel with its subscriptions") {
  FakeDaemon daemon;
  daemon.on("GET " + messaging_path + "channels", 200,
            R"({"items":[{"metadata":{"name":"orders"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}]})");
  daemon.on("GET " + messaging_path + "subscriptions", 200,
            R"({"items":[{"metadata":{"name":"audit"},"spec":{"channel":{"name":"orders"},
                "subscriber":{"ref":{"kind":"Service","name":"auditor"}},"reply":{"ref":{"kind":"Broker","name":"b"}}},
                "status":{"conditions":[{"type":"Ready","status":"False","message":"no auditor"}]}}]})");
  CHECK(daemon.run({"channel", "ls"}).out ==
        "NAME    SUBSCRIPTION  TO       REPLY     READY  BECAUSE\n"
        "orders                                   True\n"
        "orders  audit         auditor  broker:b  False  no auditor\n");
}

TEST_CASE("flow makes a Sequence of its steps and a Parallel of its branches with their filters") {
  FakeDaemon daemon;
  take(daemon, flows_path + "sequences");
  take(daemon, flows_path + "parallels");
  CHECK(daemon.run({"flow", "sequence", "chain", "--step", "a", "--step", "channel:c", "--reply", "broker:b"}).exit ==
        0);
  const auto sequence = posted(daemon, flows_path + "sequences");
  CHECK(text_at(sequence, "/spec/steps/0/ref/name") == "a");
  CHECK(text_at(sequence, "/spec/steps/1/ref/kind") == "Channel");
  CHECK(text_at(sequence, "/spec/reply/ref/name") == "b");
  CHECK(daemon.run({"flow", "parallel", "split", "--branch", "check,work", "--branch", "rest"}).exit == 0);
  const auto parallel = posted(daemon, flows_path + "parallels");
  CHECK(text_at(parallel, "/spec/branches/0/filter/ref/name") == "check");
  CHECK(text_at(parallel, "/spec/branches/0/subscriber/ref/name") == "work");
  CHECK_FALSE(find_at(parallel, "/spec/branches/1/filter"));
}

TEST_CASE("source makes a PingSource, a SinkBinding and an ApiServerSource") {
  FakeDaemon daemon;
  for (const auto* plural : {"pingsources", "sinkbindings", "apiserversources"}) take(daemon, sources_path + plural);
  CHECK(daemon
            .run({"source", "ping", "p", "--schedule", "@hourly", "--timezone", "Europe/Berlin", "--data", R"({"a":1})",
                  "--to", "hello", "--ext", "team=blue"})
            .out == "ping p: @hourly to hello\n");
  const auto ping = posted(daemon, sources_path + "pingsources");
  CHECK(text_at(ping, "/spec/schedule") == "@hourly");
  CHECK(text_at(ping, "/spec/timezone") == "Europe/Berlin");
  CHECK(text_at(ping, "/spec/contentType") == "application/json");
  CHECK(text_at(ping, "/spec/ceOverrides/extensions/team") == "blue");
  CHECK(daemon.run({"source", "binding", "b", "--service", "hello", "--to", "broker:default"}).exit == 0);
  CHECK(text_at(posted(daemon, sources_path + "sinkbindings"), "/spec/subject/name") == "hello");
  CHECK(
      daemon.run({"source", "apiserver", "a", "--resource", "Service:serving.knative.dev/v1", "--to", "hello"}).exit ==
      0);
  const auto watched = posted(daemon, sources_path + "apiserversources");
  CHECK(text_at(watched, "/spec/resources/0/apiVersion") == "serving.knative.dev/v1");
  CHECK(text_at(watched, "/spec/mode") == "Reference");
  CHECK(daemon.run({"source", "apiserver", "a", "--resource", "Service", "--to", "hello"}).exit == 2);
}

TEST_CASE("source container and sink job run an image, with its variables and arguments") {
  FakeDaemon daemon;
  const std::string sinks_path = "/apis/sinks.knative.dev/v1alpha1/namespaces/default/";
  take(daemon, sources_path + "containersources");
  take(daemon, sinks_path + "jobsinks");
  CHECK(daemon
            .run({"source", "container", "c", "--image", "poll", "--env", "LEVEL=debug", "--to", "broker:b", "--",
                  "--every", "5s"})
            .out == "container c: poll sends to broker:b\n");
  const auto source = posted(daemon, sources_path + "containersources");
  CHECK(text_at(source, "/spec/template/spec/containers/0/image") == "poll");
  CHECK(text_at(source, "/spec/template/spec/containers/0/env/0/value") == "debug");
  CHECK(text_at(source, "/spec/template/spec/containers/0/args/1") == "5s");
  CHECK(text_at(source, "/spec/sink/ref/kind") == "Broker");
  CHECK(daemon.run({"source", "container", "c", "--image", "poll", "--env", "LEVEL", "--to", "b"}).exit == 2);
  CHECK(daemon.run({"sink", "job", "j", "--image", "work", "--retries", "2", "--at-once", "3"}).out ==
        "job sink j: work for every event; send to jobsink:j\n");
  const auto sink = posted(daemon, sinks_path + "jobsinks");
  CHECK(text_at(sink, "/spec/job/spec/template/spec/restartPolicy") == "Never");
  CHECK(number_at(sink, "/spec/job/spec/backoffLimit") == 2);
  CHECK(find_at(sink, "/metadata/annotations")->at("wick.dev/max-in-flight").as_string() == "3");
  daemon.on("GET " + sinks_path + "jobsinks", 200,
            R"({"items":[{"metadata":{"name":"j"},"spec":{"job":{"spec":{"template":{"spec":{"containers":[{"image":
                "work"}]}}}}},"status":{"address":{"url":"http://x/j"},"conditions":[{"type":"Ready","status":"True"}]}}]})");
  daemon.on("GET " + own_sinks_path + "mqttsinks", 200,
            R"({"items":[{"metadata":{"name":"m"},"spec":{"url":"mqtt://h","topic":"out/{type}"}}]})");
  daemon.on("GET " + transforms_path, 200,
            R"({"items":[{"metadata":{"name":"t"},"spec":{"jsonata":{"expression":"data"}},"status":{"address":{"url":
                "http://x/t"},"conditions":[{"type":"Ready","status":"False","message":"no sink"}]}}]})");
  CHECK(daemon.run({"sink", "ls"}).out ==
        "NAME  KIND       WHAT                 URL         READY    BECAUSE\n"
        "j     job        work                 http://x/j  True\n"
        "m     mqtt       mqtt://h out/{type}              Unknown\n"
        "t     transform  data                 http://x/t  False    no sink\n");
}

TEST_CASE("source mqtt and sink mqtt name a server, its topics and a secret") {
  FakeDaemon daemon;
  take(daemon, own_sources_path + "mqttsources");
  take(daemon, own_sinks_path + "mqttsinks");
  CHECK(daemon
            .run({"source", "mqtt", "m", "--url", "mqtts://broker.example", "--topic", "a/+", "--topic", "b/#", "--qos",
                  "2", "--secret", "login", "--ext", "team=blue", "--to", "broker:b"})
            .out == "mqtt m: mqtts://broker.example a/+,b/# to broker:b\n");
  const auto source = posted(daemon, own_sources_path + "mqttsources");
  CHECK(text_at(source, "/spec/url") == "mqtts://broker.example");
  CHECK(text_at(source, "/spec/topics/1/topic") == "b/#");
  CHECK(number_at(source, "/spec/topics/0/qos") == 2);
  CHECK(text_at(source, "/spec/auth/secret/ref/name") == "login");
  CHECK(text_at(source, "/spec/ceOverrides/extensions/team") == "blue");
  CHECK_FALSE(find_at(source, "/spec/version"));
  CHECK(daemon.run({"source", "mqtt", "m", "--url", "mqtt://h", "--to", "b"}).exit == 2);  // no topic
  CHECK(daemon.run({"source", "mqtt", "m", "--url", "mqtt://h", "--topic", "a", "--qos", "3", "--to", "b"}).exit == 2);
  CHECK(daemon
            .run({"sink", "mqtt", "out", "--url", "mqtt://h", "--mqtt-version", "3.1.1", "--topic", "out/{type}",
                  "--retain", "--structured"})
            .out == "mqtt sink out: mqtt://h out/{type}; send to mqttsink:out\n");
  const auto sink = posted(daemon, own_sinks_path + "mqttsinks");
  CHECK(text_at(sink, "/spec/version") == "3.1.1");
  CHECK(text_at(sink, "/spec/topic") == "out/{type}");
  CHECK(text_at(sink, "/spec/contentMode") == "structured");
  CHECK(find_at(sink, "/spec/retain")->as_bool());
  CHECK(number_at(sink, "/spec/qos") == 1);
}

TEST_CASE("source webhook names who delivers and what with") {
  FakeDaemon daemon;
  daemon.on("POST " + own_sources_path + "webhooksources", 201, R"({"metadata":{"name":"pushes","uid":"u-1"}})");
  CHECK(daemon
            .run({"source", "webhook", "pushes", "--provider", "github", "--secret", "hook", "--event", "push",
                  "--event", "issues", "--to", "broker:b"})
            .out ==
        "webhook pushes: what github delivers at /.well-known/wick/webhooks/default/sources/u-1 goes to broker:b\n");
  const auto source = posted(daemon, own_sources_path + "webhooksources");
  CHECK(text_at(source, "/spec/provider") == "github");
  CHECK(text_at(source, "/spec/secret/ref/name") == "hook");
  CHECK(text_at(source, "/spec/events/1") == "issues");
  CHECK(daemon.run({"source", "webhook", "p", "--provider", "svn", "--secret", "hook", "--to", "b"}).exit == 2);
  CHECK(daemon.run({"source", "webhook", "p", "--to", "b"}).exit == 2);
}

TEST_CASE("sink transform takes an expression, where it goes, and what becomes of the answer") {
  FakeDaemon daemon;
  take(daemon, transforms_path);
  CHECK(daemon.run({"sink", "transform", "t", "-e", "data.name"}).out == "transform t: send to transform:t\n");
  const auto alone = posted(daemon, transforms_path);
  CHECK(text_at(alone, "/spec/jsonata/expression") == "data.name");
  CHECK_FALSE(find_at(alone, "/spec/sink"));
  CHECK(daemon.run({"sink", "transform", "t", "-e", "data", "--to", "channel:c", "--reply", "$uppercase(data)"}).out ==
        "transform t: send to transform:t; what comes out goes to channel:c\n");
  CHECK(text_at(posted(daemon, transforms_path), "/spec/reply/jsonata/expression") == "$uppercase(data)");
  CHECK(daemon.run({"sink", "transform", "t", "-e", "data", "--to", "channel:c", "--discard-reply"}).exit == 0);
  CHECK(find_at(posted(daemon, transforms_path), "/spec/reply/discard")->as_bool());
  CHECK(daemon.run({"sink", "transform", "t", "-e", "data", "--discard-reply"}).exit == 2);
  CHECK(daemon.run({"sink", "transform", "t", "-e", "@/nowhere"}).exit != 0);
}

TEST_CASE("event token asks for one for the audience of what it is for") {
  FakeDaemon daemon;
  const std::string tokens = "/apis/wick.dev/v1/namespaces/default/sendertokens";
  daemon.on("GET " + eventing_path + "brokers/b", 200, R"({"status":{"address":{"audience":"a/b"}}})");
  daemon.on("POST " + tokens, 201, R"({"token":"x.y.z","subject":"s","audience":"a/b","expires":"later"})");
  CHECK(daemon.run({"event", "token", "--to", "broker:b", "--as", "ci", "--ttl", "2h"}).out == "x.y.z\n");
  const auto wish = posted(daemon, tokens);
  CHECK(text_at(wish, "/serviceAccount") == "ci");
  CHECK(text_at(wish, "/audience") == "a/b");
  CHECK(number_at(wish, "/ttlSeconds") == 7200);
  const auto nobody = daemon.run({"event", "token", "--to", "hello"});
  CHECK(nobody.exit == 2);
  CHECK(nobody.err.find("'hello' asks nobody for a token") != std::string::npos);
}

TEST_CASE("a name that several sources have needs its kind, one that none has is not found") {
  FakeDaemon daemon;
  const auto missing = R"({"kind":"Status","status":"Failure","reason":"NotFound","code":404,"message":"not found"})";
  daemon.on("GET " + sources_path + "pingsources/x", 200, R"({"metadata":{"name":"x"}})");
  daemon.on("GET " + sources_path + "sinkbindings/x", 200, R"({"metadata":{"name":"x"}})");
  daemon.on("GET " + sources_path + "apiserversources/x", 404, missing);
  daemon.on("GET " + sources_path + "containersources/x", 404, missing);
  daemon.on("GET " + own_sources_path + "mqttsources/x", 404, missing);
  daemon.on("DELETE " + sources_path + "pingsources/x", 200, "{}");
  const auto unclear = daemon.run({"source", "rm", "x"});
  CHECK(unclear.exit == 2);
  CHECK(unclear.err.find("ping/x says which") != std::string::npos);
  CHECK(daemon.run({"source", "rm", "ping/x"}).out == "ping x removed\n");
  for (const auto* plural : {"pingsources", "sinkbindings", "containersources", "apiserversources"})
    daemon.on("GET " + sources_path + plural + "/y", 404, missing);
  daemon.on("GET " + own_sources_path + "mqttsources/y", 404, missing);
  CHECK(daemon.run({"source", "show", "y"}).exit == 6);
}

TEST_CASE("event graph says who sends what to whom, as text, DOT and JSON") {
  FakeDaemon daemon;
  daemon.on("GET " + eventing_path + "brokers", 200, R"({"items":[{"metadata":{"name":"b"}}]})");
  daemon.on("GET " + eventing_path + "triggers", 200,
            R"({"items":[{"metadata":{"name":"t"},"spec":{"broker":"b","filter":{"attributes":{"type":"x"}},
                "subscriber":{"ref":{"kind":"Service","name":"hello"}}}}]})");
  for (const auto* plural : {"inmemorychannels", "subscriptions"})
    daemon.on("GET " + messaging_path + plural, 200, R"({"items":[]})");
  for (const auto* plural : {"sequences", "parallels"}) daemon.on("GET " + flows_path + plural, 200, R"({"items":[]})");
  daemon.on("GET " + own_sources_path + "mqttsources", 200, R"({"items":[]})");
  daemon.on("GET " + own_sources_path + "webhooksources", 200, R"({"items":[]})");
  daemon.on("GET " + own_sinks_path + "mqttsinks", 200, R"({"items":[]})");
  daemon.on("GET " + transforms_path, 200,
            R"({"items":[{"metadata":{"name":"x"},"spec":{"sink":{"ref":{"kind":"Service","name":"hello"}}}}]})");
  for (const auto* plural : {"apiserversources", "containersources", "sinkbindings"})
    daemon.on("GET " + sources_path + plural, 200, R"({"items":[]})");
  daemon.on("GET " + sources_path + "pingsources", 200,
            R"({"items":[{"metadata":{"name":"p"},"spec":{"schedule":"@hourly",
                "sink":{"ref":{"kind":"Broker","name":"b"}}}}]})");
  daemon.on("GET /metrics", 200,
            "wick_events_total{broker=\"default/b\",kind=\"accepted\"} 7\n"
            "wick_event_dispatch_seconds_count{trigger=\"default/t\"} 5\n");
  CHECK(daemon.run({"event", "graph"}).out ==
        "FROM         TO               BY                 EVENTS\n"
        "broker:b                                         7 accepted, 0/s\n"
        "             → service:hello  trigger t  type=x  5 sent, 0/s\n"
        "ping:p\n"
        "             → broker:b       @hourly\n"
        "transform:x\n"
        "             → service:hello  transform x\n");
  const auto dot = daemon.run({"event", "graph", "-o", "dot"}).out;
  CHECK(dot.starts_with("digraph events {\n"));
  CHECK(dot.find("\"broker:b\" -> \"service:hello\" [label=\"trigger t  type=x  5 sent, 0/s\"];") != std::string::npos);
  const auto document = parse_json(daemon.run({"event", "graph", "-o", "json"}).out);
  REQUIRE(document);
  CHECK(array_at(*document, "/edges").size() == 3);
  CHECK(number_at(*document, "/nodes/0/accepted") == 7);
}

}  // namespace wick::app::cli
