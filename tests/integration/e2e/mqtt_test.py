"""MQTT in and out against mosquitto: both versions, both modes, TLS and passwords, restarts and kills on either side."""
import base64
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import unittest
import urllib.parse

from fixture import DaemonTest, eventually, main
from receiver import Receiver

SOURCES = "/apis/sources.wick.dev/v1alpha1/namespaces/default/mqttsources"
SINKS = "/apis/sinks.wick.dev/v1alpha1/namespaces/default/mqttsinks"
SECRETS = "/api/v1/namespaces/default/secrets"
TRIGGERS = "/apis/eventing.knative.dev/v1/namespaces/default/triggers"


class Mosquitto:
    """One of Debian's, on a port of its own, with its own state."""

    def __init__(self, folder, *lines):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.lines = lines or ("allow_anonymous true",)
        self.process = None
        self.start()

    def start(self):
        config = self.folder / "mosquitto.conf"
        config.write_text("\n".join([
            f"listener {self.port} 127.0.0.1", "user root", "persistence true", f"persistence_location {self.folder}/",
            "autosave_on_changes true", "autosave_interval 1", "max_queued_messages 0", *self.lines]) + "\n")
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(["mosquitto", "-c", str(config)], stdout=log, stderr=log)
        log.close()

        def listens():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0
        eventually("mosquitto listens", listens, 20)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    def pub(self, topic, message, *flags, qos=1, version="5"):
        command = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-t", topic, "-q", str(qos), "-s",
                   "-V", {"5": "mqttv5", "3.1.1": "mqttv311"}[version], *flags]
        data = message if isinstance(message, bytes) else message.encode()
        subprocess.run(command, input=data, check=True, timeout=30)


@unittest.skipUnless(shutil.which("mosquitto") and shutil.which("mosquitto_pub"), "mosquitto is not installed")
class Mqtt(DaemonTest):
    @classmethod
    def setUpClass(cls):
        os.environ.pop("WICK_E2E", None)
        super().setUpClass()

    def setUp(self):
        self.clear()
        self.addCleanup(self.clear)
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)

    def clear(self):
        for path in (SOURCES, SINKS, TRIGGERS):
            self.wick.api("DELETE", path)
        for name in ("login", "ca"):
            self.wick.api("DELETE", f"{SECRETS}/{name}")
        eventually("nothing of an earlier test is left", lambda: not json.loads(self.wick.api("GET", SOURCES)[1])["items"], 40)

    def mosquitto(self, *lines):
        server = Mosquitto(os.path.join(self.wick.state, "mosquitto", self.id().rsplit(".", 1)[1]), *lines)
        self.addCleanup(server.stop)
        return server

    def apply(self, path, kind, name, spec, version=None, **more):
        body = {"apiVersion": version or path.split("/apis/")[1].split("/namespaces")[0], "kind": kind,
                "metadata": {"name": name, "namespace": "default"}, **({"spec": spec} if spec is not None else {}), **more}
        status, answer = self.wick.api("PATCH", f"{path}/{name}?fieldManager=test&force=true", json.dumps(body),
                                       {"Content-Type": "application/apply-patch+yaml"})
        self.assertIn(status, (200, 201), answer)

    def condition(self, path, name, type="Ready"):
        item = json.loads(self.wick.api("GET", f"{path}/{name}")[1])
        return next((c for c in item.get("status", {}).get("conditions", []) if c["type"] == type), {})

    def ready(self, path, name, limit=30):
        eventually(f"{name} is ready", lambda: self.condition(path, name).get("status") == "True", limit)

    def source(self, server, name="in", scheme="mqtt", host="127.0.0.1", **spec):
        self.apply(SOURCES, "MQTTSource", name, {
            "url": f"{scheme}://{host}:{server.port}", "topics": [{"topic": "in/#", "qos": spec.pop("qos", 1)}],
            "sink": {"uri": self.receiver.url}, **spec})

    def sink(self, server, name="out", **spec):
        self.apply(SINKS, "MQTTSink", name, {"url": f"mqtt://127.0.0.1:{server.port}", "topic": "out/{type}", **spec})

    def send(self, name, event, body="payload", type="demo", **attributes):
        address, _, port = self.wick.events.rpartition(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=30)
        try:
            connection.request("POST", f"/default/mqttsinks/{name}", body, {
                "ce-specversion": "1.0", "ce-id": event, "ce-source": "/test", "ce-type": type,
                "Content-Type": "text/plain", **{"ce-" + key: value for key, value in attributes.items()}})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def one(self, text):
        """The event whose body holds this."""
        found = lambda: [event for event in list(self.receiver.events) if text in event[1].decode(errors="replace")]
        eventually(f"an event with {text}", found, 30)
        event, = found()
        return event

    def test_messages_of_both_versions_become_events(self):
        server = self.mosquitto()
        for version in ("5", "3.1.1"):
            for qos in (0, 1, 2):
                self.source(server, version=version, qos=qos, ceOverrides={"extensions": {"team": "blue"}})
                self.ready(SOURCES, "in")
                generation = json.loads(self.wick.api("GET", SOURCES + "/in")[1])["metadata"]["generation"]
                eventually("the status is of this spec", lambda: self.condition(SOURCES, "in").get("status") == "True" and
                           json.loads(self.wick.api("GET", SOURCES + "/in")[1])["status"]["observedGeneration"] == generation, 30)
                text = f"hello {version} {qos}"
                eventually("it is subscribed", lambda: server.pub(f"in/a b/{qos}", text, qos=qos, version=version) or
                           any(text in body for body in self.receiver.bodies()), 20, 0.2)
                headers, body = next(event for event in self.receiver.events if event[1].decode() == text)
                self.assertEqual(headers["ce-type"], "dev.wick.mqtt.message")
                self.assertEqual(urllib.parse.unquote(headers["ce-source"]), f"mqtt://127.0.0.1:{server.port}/in/a%20b/{qos}")
                self.assertEqual(headers["ce-subject"], f"in/a b/{qos}")
                self.assertEqual(headers["ce-team"], "blue")
                self.assertNotIn("content-type", headers)

    def test_cloudevents_come_as_they_were_sent(self):
        server = self.mosquitto()
        self.source(server)
        self.ready(SOURCES, "in")
        server.pub("in/binary", '{"n":1}', "-D", "publish", "content-type", "application/json",
                   *[part for name, value in {"specversion": "1.0", "id": "b1", "source": "/dev/1", "type": "demo.binary",
                                              "room": "kitchen"}.items() for part in ("-D", "publish", "user-property", name, value)])
        headers, body = self.one('{"n":1}')
        self.assertEqual((headers["ce-id"], headers["ce-source"], headers["ce-type"], headers["ce-room"]),
                         ("b1", "/dev/1", "demo.binary", "kitchen"))
        self.assertEqual(headers["content-type"], "application/json")
        structured = {"specversion": "1.0", "id": "s1", "source": "/dev/1", "type": "demo.structured", "datacontenttype": "text/plain", "data": "inside"}
        server.pub("in/structured", json.dumps(structured), "-D", "publish", "content-type", "application/cloudevents+json; charset=utf-8")
        headers, body = self.one("inside")
        self.assertEqual((headers["ce-id"], headers["ce-type"], body), ("s1", "demo.structured", b"inside"))
        self.source(server, name="old", version="3.1.1")
        self.wick.api("DELETE", SOURCES + "/in")
        self.ready(SOURCES, "old")
        server.pub("in/structured", json.dumps({**structured, "id": "s2", "data": "of 3.1.1"}), version="3.1.1")
        headers, body = self.one("of 3.1.1")
        self.assertEqual((headers["ce-id"], headers["ce-type"], body), ("s2", "demo.structured", b"of 3.1.1"))

    def test_odd_messages_are_events_all_the_same(self):
        server = self.mosquitto()
        self.source(server)
        self.ready(SOURCES, "in")
        properties = lambda *pairs: [part for name, value in pairs for part in ("-D", "publish", "user-property", name, value)]
        event = (("specversion", "1.0"), ("id", "1"), ("source", "/s"), ("type", "claimed"))
        server.pub("in/names", "odd names", *properties(*event, ("Not-A-Name", "x"), ("data", "y"), ("two words", "z")))
        self.assertEqual(self.one("odd names")[0]["ce-type"], "claimed")
        plain = {"duplicate": properties(*event, ("type", "again")), "missing": properties(*event[:2]),
                 "version": properties(("specversion", "9"), *event[1:]),
                 "{not json": ["-D", "publish", "content-type", "application/cloudevents+json"],
                 "no media type": ["-D", "publish", "content-type", "nonsense"]}
        for text, flags in plain.items():
            server.pub("in/garbage", text, *flags)
            self.assertEqual(self.one(text)[0]["ce-type"], "dev.wick.mqtt.message", text)
        server.pub("in/bytes", b"\x00\xff\xfe bytes")
        self.assertEqual(self.one(" bytes")[1], b"\x00\xff\xfe bytes")
        large = "large " + "x" * (256 << 10)
        server.pub("in/large", large)
        self.assertEqual(self.one("large ")[1].decode(), large)
        server.pub("in/too-large", "y" * ((1 << 20) + (200 << 10)))
        server.pub("in/after", "after what is too large")
        self.one("after what is too large")
        self.assertIn("MQTT message dropped: too large", self.wick.log_text())

    def certificates(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        run = lambda *args: subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)
        run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test ca", "-days", "2")
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
        (folder / "names").write_text("subjectAltName=DNS:localhost\n")
        run("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.crt",
            "-days", "2", "-extfile", "names")

    def test_tls_and_passwords_and_what_is_said_when_they_are_wrong(self):
        folder = pathlib.Path(self.wick.state) / "mqtt-tls"
        self.certificates(folder)
        subprocess.run(["mosquitto_passwd", "-c", "-b", str(folder / "passwords"), "wick", "right"], check=True)
        server = self.mosquitto("allow_anonymous false", f"password_file {folder}/passwords", f"certfile {folder}/server.crt",
                                f"keyfile {folder}/server.key", f"cafile {folder}/ca.crt")
        secret = lambda **data: self.apply(SECRETS, "Secret", "login", None, version="v1", data={
            key.replace("_", "."): base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode() for key, value in data.items()})
        told = lambda reason: eventually(f"it says {reason}", lambda: self.condition(SOURCES, "in", "Connected").get("reason") == reason and
                                         self.condition(SOURCES, "in", "Connected")["message"], 30)
        self.source(server, scheme="mqtts", host="localhost", auth={"secret": {"ref": {"name": "login"}}})
        self.assertIn('secret "login" not found', told("Unavailable"))
        secret(username="wick", password="right")
        self.assertIn("certificate is not trusted: ", told("TLSFailed"))
        authority = (folder / "ca.crt").read_bytes()
        secret(username="wick", password="wrong", ca_crt=authority)
        self.assertIn("not authorized", told("NotAuthorized"))
        secret(username="wick", password="right", ca_crt=authority)
        self.ready(SOURCES, "in")
        server.pub("in/tls", "over tls", "--cafile", str(folder / "ca.crt"), "-u", "wick", "-P", "right", "-h", "localhost")
        self.one("over tls")
        self.source(server, scheme="mqtts", host="127.0.0.1", auth={"secret": {"ref": {"name": "login"}}})
        self.assertIn("IP address mismatch", told("TLSFailed"))

    def test_a_server_that_is_away_is_found_again_and_what_came_meanwhile_is_fetched(self):
        server = self.mosquitto()
        self.source(server)
        self.sink(server)
        self.ready(SOURCES, "in")
        self.ready(SINKS, "out")
        server.pub("in/1", "before the restart")
        self.one("before the restart")
        server.stop()
        eventually("it says so", lambda: self.condition(SOURCES, "in").get("status") == "False", 30)
        status, headers, body = self.send("out", "away")
        self.assertEqual((status, headers["Retry-After"]), (503, "5"), body)
        server.start()
        self.ready(SOURCES, "in")
        server.pub("in/2", "after the restart")
        self.one("after the restart")
        self.wick.stop()
        server.pub("in/3", "while the daemon was away")
        self.wick.start()
        self.one("while the daemon was away")

    def test_kill_9_in_the_middle_loses_no_message(self):
        server = self.mosquitto()
        for qos in (1, 2):
            self.source(server, name=f"in{qos}", qos=qos)
            self.ready(SOURCES, f"in{qos}")
            ledger = {f"ledger {qos} {number}" for number in range(400)}
            sender = threading.Thread(target=lambda: subprocess.run(
                ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(server.port), "-V", "mqttv5", "-t", "in/ledger", "-q", str(qos), "-l"],
                input="\n".join(sorted(ledger)) + "\n", text=True, check=True, timeout=120))
            sender.start()
            for _ in range(3):
                seen = len(self.receiver.events)
                eventually("some more came", lambda: len(self.receiver.events) > seen + 5 or not sender.is_alive(), 60)
                self.wick.kill()
                self.wick.start()
            sender.join()
            eventually("all came", lambda: ledger <= set(self.receiver.bodies()), 60)
            self.wick.api("DELETE", SOURCES + f"/in{qos}")

    def subscribe(self, server, topic, *flags):
        process = subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(server.port), "-V", "mqttv5", "-t", topic, "-q", "1",
                                    "-C", "1", "-W", "30", *flags], stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        return process

    def test_events_are_published_by_a_sink(self):
        server = self.mosquitto()
        for name, spec in {"binary": {}, "structured": {"contentMode": "structured", "retain": True, "qos": 2},
                           "old": {"version": "3.1.1", "qos": 0}}.items():
            self.sink(server, name=name, **spec)
            self.ready(SINKS, name)
            subscriber = self.subscribe(server, "out/demo." + name, "-F", "%t|%C|%P|%p")

            def received():
                self.assertEqual(self.send(name, f"e-{name}", type="demo." + name, room="kitchen")[0], 202)
                return subscriber.poll() is not None
            eventually("it is received", received, 20, 0.2)
            topic, content_type, properties, payload = subscriber.stdout.read().strip().split("|", 3)
            self.assertEqual(topic, "out/demo." + name)
            if name == "binary":
                self.assertEqual((content_type, payload), ("text/plain", "payload"))
                self.assertIn("room:kitchen", properties)
                self.assertIn("specversion:1.0", properties)
            else:
                event = json.loads(payload)
                self.assertEqual((event["type"], event["room"], event["data"]), ("demo." + name, "kitchen", "payload"))
                self.assertEqual(content_type, "application/cloudevents+json" if name == "structured" else "")
        self.assertEqual(self.send("binary", "wild", type="a/#")[0], 400)
        self.sink(server, name="byroom", topic="rooms/{room}")
        self.ready(SINKS, "byroom")
        status, _, body = self.send("byroom", "none")
        self.assertEqual((status, body.strip()), (400, "the topic needs the attribute 'room', which the event has not"))

    def test_a_trigger_sends_to_a_sink_and_the_verbs_show_it(self):
        server = self.mosquitto()
        self.sink(server)
        self.source(server)
        self.ready(SINKS, "out")
        self.ready(SOURCES, "in")
        self.apply(TRIGGERS, "Trigger", "t", {"broker": "default", "subscriber": {
            "ref": {"apiVersion": "sinks.wick.dev/v1alpha1", "kind": "MQTTSink", "name": "out"}}})
        self.ready(TRIGGERS, "t")
        subscriber = self.subscribe(server, "out/#")

        def through():
            self.wick.cli("event", "send", "--type", "through", "--data", "text")
            return subscriber.poll() is not None
        eventually("it is published", through, 20, 0.3)
        self.assertIn("mqtt://127.0.0.1", self.wick.cli("source", "ls").stdout)
        self.assertIn("out/{type}", self.wick.cli("sink", "ls").stdout)
        graph = self.wick.cli("event", "graph").stdout
        self.assertIn("mqtt:in", graph)
        self.assertIn("mqttsink:out", graph)
        exported = self.wick.cli("export")
        self.assertIn("# Wick's own: a Knative cluster has no such kind.\napiVersion: sources.wick.dev/v1alpha1", exported.stdout)
        self.assertIn("a Knative cluster has no MQTTSink", exported.stderr)


if __name__ == "__main__":
    main()
