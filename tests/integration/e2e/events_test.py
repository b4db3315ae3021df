"""Channels, flows and sources against real containers: what goes in comes out at the other end, once, and across a crash."""
import contextlib
import http.client
import json
import os
import sqlite3

from fixture import TOP, DaemonTest, eventually, main

MESSAGING = "/apis/messaging.knative.dev/v1/namespaces/default"
FLOWS = "/apis/flows.knative.dev/v1/namespaces/default"
SOURCES = "/apis/sources.knative.dev/v1/namespaces/default"


def service(name):
    return {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}}


def channel(name):
    return {"ref": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": name}}


class Events(DaemonTest):
    @classmethod
    def setUpClass(cls):
        os.environ.pop("WICK_E2E", None)  # what a step logged in an earlier run would count: a state of its own
        super().setUpClass()

    def setUp(self):
        self.clear()
        self.addCleanup(self.clear)

    def clear(self):
        for path in (SOURCES + "/pingsources", SOURCES + "/sinkbindings", SOURCES + "/apiserversources", FLOWS + "/sequences", FLOWS + "/parallels", MESSAGING + "/subscriptions", MESSAGING + "/channels",
                     MESSAGING + "/inmemorychannels"):
            self.wick.api("DELETE", path)
        eventually("nothing of an earlier test is left", lambda: not json.loads(
            self.wick.api("GET", MESSAGING + "/inmemorychannels")[1])["items"], 20)

    def step(self, name, argv=(), **environment):
        """A Service of tests/support/step.c with this environment."""
        if not hasattr(type(self), "step_image"):
            folder = self.project("step-source", **{
                "Dockerfile": 'FROM scratch\nCOPY --chmod=755 step /step\nCMD ["/step"]\n',
                "step": self.static_program("step", str(TOP / "tests/support/step.c"))})
            self.wick.cli("deploy", folder, "--name", "step")
            type(self).step_image = self.objects("revisions")["step-00001"]["spec"]["containers"][0]["image"]
        container = {"image": self.step_image, "env": [{"name": k, "value": v} for k, v in environment.items()]}
        if argv:
            container["args"] = list(argv)
        self.apply("/apis/serving.knative.dev/v1/namespaces/default/services", "serving.knative.dev/v1", "Service", name,
                   {"template": {"metadata": {"annotations": {"autoscaling.knative.dev/min-scale": "1"}},
                                 "spec": {"containers": [container]}}})
        eventually(f"{name} is ready", lambda: self.wick.services().get(name, {}).get("ready"), 60)

    def apply(self, path, version, kind, name, spec, annotations=None):
        """As `kubectl apply --server-side` does."""
        metadata = {"name": name, "namespace": "default"}
        if annotations:
            metadata["annotations"] = annotations
        status, body = self.wick.api(
            "PATCH", f"{path}/{name}?fieldManager=test&force=true", json.dumps(
                {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}),
            {"Content-Type": "application/apply-patch+yaml"})
        self.assertIn(status, (200, 201), body)

    def messaging(self, kind, name, spec):
        self.apply(f"{MESSAGING}/{kind.lower()}s", "messaging.knative.dev/v1", kind, name, spec)

    def subscription(self, name, of, **spec):
        self.messaging("Subscription", name, {
            "channel": {"apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "name": of}, **spec})

    def ready(self, path, name, limit=30):
        def is_ready():
            item = json.loads(self.wick.api("GET", f"{path}/{name}")[1])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in
                       item.get("status", {}).get("conditions", [])) and item
        return eventually(f"{path}/{name} is ready", is_ready, limit)

    def send(self, host, event, body="", path="/", type="demo"):
        """From outside, at the events listener."""
        address, _, port = self.wick.events.rpartition(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=30)
        try:
            connection.request("POST", path, body, {
                "Host": host, "ce-specversion": "1.0", "ce-id": event, "ce-source": "/test", "ce-type": type,
                "Content-Type": "text/plain"})
            return connection.getresponse().status
        finally:
            connection.close()

    def seen(self, name):
        """What a step logged: [(id, type, body)]."""
        lines = self.wick.cli("logs", name, "--tail", "1000").stdout.splitlines()
        events = [line[line.index("event "):].split(" ", 3) for line in lines if "event " in line]
        return [tuple(event[1:]) for event in events]

    def ids(self, name):
        return [event[0] for event in self.seen(name)]

    def test_a_channel_hands_every_event_to_every_subscription_and_answers_to_the_next(self):
        self.step("one", STEP_NAME="A")
        self.step("two")
        self.messaging("Channel", "first", {})
        self.messaging("Channel", "second", {})
        self.subscription("s1", "first", subscriber=service("one"), reply=channel("second"))
        self.subscription("s2", "second", subscriber=service("two"))
        first = self.ready(MESSAGING + "/channels", "first")
        self.ready(MESSAGING + "/subscriptions", "s1")
        self.ready(MESSAGING + "/subscriptions", "s2")
        self.assertEqual(first["status"]["address"]["url"], "http://first-kn-channel.default.svc.cluster.local")
        self.assertEqual(self.send("first-kn-channel.default.svc.cluster.local", "e1", "x"), 202)
        eventually("the answer is in the second channel", lambda: ("e1-A", "demo", "xA") in self.seen("two"), 30)
        self.assertEqual(self.send("anything", "e2", "y", path="/default/channels/second"), 202)
        eventually("the path names the channel too", lambda: "e2" in self.ids("two"), 30)
        # From inside an instance, by its name.
        status = self.wick.request("one", "/send/second-kn-channel.default.svc.cluster.local/")
        self.assertEqual(status, (200, b"202\n"))
        eventually("the gateway leads to the channel", lambda: "from-inside" in self.ids("two"), 30)
        self.assertEqual(self.send("third-kn-channel.default.svc.cluster.local", "e3"), 404)

    def test_what_nobody_takes_is_a_dead_letter_of_the_channel(self):
        self.step("broken", STEP_FAIL="1000")
        self.step("letters")
        self.messaging("Channel", "work", {"delivery": {"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT0.1S",
                                                        "deadLetterSink": service("letters")}})
        self.subscription("worker", "work", subscriber=service("broken"))
        self.ready(MESSAGING + "/subscriptions", "worker")
        self.send("work-kn-channel.default.svc.cluster.local", "lost")
        eventually("the dead letter sink has it", lambda: "lost" in self.ids("letters"), 30)
        self.assertEqual(self.ids("broken"), ["lost", "lost"])

    def test_an_answer_that_its_service_does_not_take_is_tried_again_without_asking_the_subscriber_once_more(self):
        self.step("asked", STEP_NAME="A")
        self.step("hesitant", STEP_FAIL="2")
        self.messaging("Channel", "ask", {})
        self.subscription("asking", "ask", subscriber=service("asked"), reply=service("hesitant"),
                          delivery={"retry": 5, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"})
        self.ready(MESSAGING + "/subscriptions", "asking")
        self.send("ask-kn-channel.default.svc.cluster.local", "q")
        eventually("the third attempt", lambda: self.ids("hesitant") == ["q-A", "q-A", "q-A"], 30)
        self.assertEqual(self.ids("asked"), ["q"])

    def test_a_channel_keeps_its_events_across_kill_9(self):
        self.step("sink")
        self.messaging("Channel", "kept", {})
        self.subscription("keeper", "kept", subscriber=service("sink"))
        self.ready(MESSAGING + "/subscriptions", "keeper")
        sent = []
        for round in range(3):
            for number in range(20):
                event = f"r{round}-{number}"
                if self.send("kept-kn-channel.default.svc.cluster.local", event) == 202:
                    sent.append(event)
            self.wick.kill()
            self.wick.start()
        eventually("every acknowledged event came", lambda: set(sent) <= set(self.ids("sink")), 60)
        self.assertEqual(set(self.ids("sink")), set(sent))

    def flow(self, kind, name, spec):
        self.apply(f"{FLOWS}/{kind.lower()}s", "flows.knative.dev/v1", kind, name, spec)
        return self.ready(f"{FLOWS}/{kind.lower()}s", name)

    def test_a_sequence_hands_the_answer_of_each_step_to_the_next_and_the_last_to_its_reply(self):
        self.step("alpha", STEP_NAME="A")
        self.step("beta", STEP_NAME="B", STEP_DROP="stop")
        self.step("gamma", STEP_NAME="C", STEP_FAIL="1")
        self.step("reply")
        flow = self.flow("Sequence", "chain", {
            "steps": [service("alpha"), service("beta"),
                      {**service("gamma"), "delivery": {"retry": 3, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"}}],
            "reply": service("reply")})
        self.assertEqual(flow["status"]["address"]["url"],
                         "http://chain-kn-sequence-0-kn-channel.default.svc.cluster.local")
        host = "chain-kn-sequence-0-kn-channel.default.svc.cluster.local"
        self.assertEqual(self.send(host, "1", "x"), 202)
        eventually("the end has it", lambda: ("1-A-B-C", "demo", "xABC") in self.seen("reply"), 30)
        self.assertEqual(self.ids("gamma"), ["1-A-B", "1-A-B"])  # tried again, and no other step was
        self.assertEqual((self.ids("alpha"), self.ids("beta")), (["1"], ["1-A"]))
        # A step that answers with nothing ends the flow of that event.
        self.send(host, "2", "stop")
        self.send(host, "3", "y")
        eventually("the third came", lambda: ("3-A-B-C", "demo", "yABC") in self.seen("reply"), 30)
        self.assertEqual(sorted(self.ids("reply")), ["1-A-B-C", "3-A-B-C"])
        # Deleted and made again: nothing comes twice.
        self.wick.api("DELETE", FLOWS + "/sequences/chain")
        eventually("its channels are gone", lambda: self.send(host, "gone") == 404, 20)
        self.flow("Sequence", "chain", {"steps": [service("alpha")], "reply": service("reply")})
        self.send(host, "4", "z")
        eventually("the new one works", lambda: ("4-A", "demo", "zA") in self.seen("reply"), 30)
        self.assertEqual(len(self.ids("reply")), 3)

    def test_a_parallel_sends_each_event_into_every_branch_whose_filter_answers(self):
        self.step("filter", STEP_NAME="F", STEP_DROP="no")
        self.step("left", STEP_NAME="L")
        self.step("right", STEP_NAME="R")
        self.step("own")
        self.step("common")
        self.flow("Parallel", "split", {
            "branches": [{"filter": service("filter"), "subscriber": service("left"), "reply": service("own")},
                         {"subscriber": service("right")}],
            "reply": service("common")})
        host = "split-kn-parallel-kn-channel.default.svc.cluster.local"
        self.send(host, "1", "yes")
        self.send(host, "2", "no")
        eventually("both went through the branch without a filter", lambda: sorted(self.seen("common")) == [
            ("1-R", "demo", "yesR"), ("2-R", "demo", "noR")], 30)
        eventually("one passed the filter", lambda: self.seen("own") == [("1-F-L", "demo", "yesFL")], 30)
        self.assertEqual(sorted(self.ids("filter")), ["1", "2"])

    def source(self, kind, name, spec, annotations=None):
        plural = f"{SOURCES}/{kind.lower()}s"
        self.apply(plural, "sources.knative.dev/v1", kind, name, spec, annotations)
        return self.ready(plural, name)

    def test_a_ping_source_sends_to_a_service_or_a_channel_and_tells_of_the_ticks_it_missed(self):
        self.step("pinged")
        self.messaging("Channel", "pings", {})
        self.subscription("pings", "pings", subscriber=service("pinged"))
        self.ready(MESSAGING + "/subscriptions", "pings")
        self.source("PingSource", "direct", {"schedule": "* * * * * *", "data": "direct", "contentType": "text/plain",
                                             "sink": service("pinged")})
        self.source("PingSource", "through", {"schedule": "* * * * * *", "data": "through", "sink": channel("pings")})
        eventually("both ways", lambda: {"direct", "through"} <= {body for _, _, body in self.seen("pinged")}, 30)
        self.assertEqual({kind for _, kind, _ in self.seen("pinged")}, {"dev.knative.sources.ping"})
        ids = self.ids("pinged")
        self.assertEqual(len(ids), len(set(ids)))
        # Stopped for longer than a tick may be late, by a clock that was: the mark is put back.
        self.source("PingSource", "direct", {"schedule": "* * * * * *", "data": "direct", "sink": service("pinged")},
                    {"wick.dev/missed-ticks": "one"})
        uid = json.loads(self.wick.api("GET", SOURCES + "/pingsources/direct")[1])["metadata"]["uid"]
        self.wick.stop()
        with contextlib.closing(sqlite3.connect(os.path.join(self.wick.state, "front/events.db"))) as log:
            log.execute("UPDATE source_mark SET at = at - 100 * 1000000 WHERE source = ?", (uid,))
            log.commit()
        self.wick.start()

        def told():
            events = json.loads(self.wick.api("GET", "/api/v1/namespaces/default/events")[1])["items"]
            return [e for e in events if e["reason"] == "TicksMissed" and e["involvedObject"]["name"] == "direct"]
        self.assertIn("one event was sent for all", eventually("an Event tells", told, 30)[0]["message"])

    def test_a_sink_binding_tells_a_service_where_its_events_go(self):
        self.step("told")
        self.step("receiver")
        self.messaging("Channel", "bound", {})
        self.subscription("bound", "bound", subscriber=service("receiver"))
        self.source("SinkBinding", "tell", {
            "subject": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "told", "namespace": "default"},
            "sink": channel("bound"), "ceOverrides": {"extensions": {"team": "blue"}}})
        url = b"http://bound-kn-channel.default.svc.cluster.local"
        eventually("the new revision has K_SINK", lambda: self.wick.request("told", "/env/K_SINK")[1] == url, 30)
        self.assertEqual(json.loads(self.wick.request("told", "/env/K_CE_OVERRIDES")[1]), {"extensions": {"team": "blue"}})
        self.assertEqual(self.wick.request("told", "/send/" + url.decode()[len("http://"):] + "/")[1], b"202\n")
        eventually("it came", lambda: self.ids("receiver") == ["from-inside"], 30)
        self.wick.api("DELETE", SOURCES + "/sinkbindings/tell")
        eventually("it is taken back", lambda: self.wick.request("told", "/env/K_SINK")[1] == b"", 30)

    def test_an_api_server_source_tells_of_changes(self):
        self.step("watcher")
        self.source("ApiServerSource", "watch", {
            "mode": "Resource", "resources": [{"apiVersion": "v1", "kind": "ConfigMap"}], "sink": service("watcher")})
        maps = "/api/v1/namespaces/default/configmaps"
        for method, path, body in (("POST", maps, {"data": {"a": "b"}}), ("PUT", maps + "/m", {"data": {"a": "c"}}),
                                   ("DELETE", maps + "/m", None)):
            if body:
                body = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, **body})
            self.assertIn(self.wick.api(method, path, body, {"Content-Type": "application/json"})[0], (200, 201))
        prefix = "dev.knative.apiserver.resource."
        eventually("all three", lambda: [kind for _, kind, _ in self.seen("watcher")] == [
            prefix + "add", prefix + "update", prefix + "delete"], 30)

    def test_a_subscription_its_channel_and_its_service_come_and_go_in_any_order(self):
        self.subscription("early", "later", subscriber=service("latest"),
                          delivery={"retry": 50, "backoffPolicy": "linear", "backoffDelay": "PT0.2S"})
        self.messaging("Channel", "later", {})
        self.step("latest")
        self.ready(MESSAGING + "/subscriptions", "early")
        host = "later-kn-channel.default.svc.cluster.local"
        self.send(host, "1")
        eventually("the first came", lambda: self.ids("latest") == ["1"], 30)
        # A channel made again begins anew.
        self.wick.api("DELETE", MESSAGING + "/channels/later")
        eventually("the channel is gone", lambda: self.send(host, "nobody") == 404, 20)
        self.messaging("Channel", "later", {})
        self.ready(MESSAGING + "/subscriptions", "early")
        self.send(host, "2")
        eventually("the second came", lambda: self.ids("latest") == ["1", "2"], 30)
        # A service made again gets what came while it was away.
        self.wick.cli("rm", "latest", "--yes")
        eventually("the service is gone", lambda: "latest" not in self.wick.services(), 30)
        self.assertEqual(self.send(host, "3"), 202)
        self.step("latest")
        eventually("the third came", lambda: "3" in self.ids("latest"), 30)
        self.assertEqual(self.ids("latest").count("3"), 1)

    def test_event_types_make_themselves_while_the_feature_is_enabled(self):
        self.messaging("Channel", "typed", {})
        self.ready(MESSAGING + "/channels", "typed")
        self.wick.api("POST", "/api/v1/namespaces", json.dumps({"metadata": {"name": "knative-eventing"}}))
        features = "/api/v1/namespaces/knative-eventing/configmaps/config-features"
        self.wick.api("PATCH", features + "?fieldManager=test&force=true", json.dumps({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-features"},
            "data": {"eventtype-auto-create": "enabled"}}), {"Content-Type": "application/apply-patch+yaml"})
        self.addCleanup(self.wick.api, "DELETE", features)
        types = "/apis/eventing.knative.dev/v1beta3/namespaces/default/eventtypes"

        def registered():
            self.send("typed-kn-channel.default.svc.cluster.local", "t", type="com.example.typed")
            items = json.loads(self.wick.api("GET", types)[1])["items"]
            return [i for i in items if i["spec"]["attributes"][0].get("value") == "com.example.typed"]
        found = eventually("the registry has the type", registered, 20)[0]
        self.assertEqual(found["spec"]["reference"]["name"], "typed")
        self.wick.api("DELETE", MESSAGING + "/channels/typed")
        eventually("it goes with its channel", lambda: found["metadata"]["name"] not in self.wick.api("GET", types)[1], 20)


if __name__ == "__main__":
    main()
