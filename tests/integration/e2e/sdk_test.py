"""The broker with software it was not written for: the CloudEvents JavaScript SDK as producer and consumer, and Knative's Node function
runtime as a subscriber that replies. Skips loudly without node or the npm registry."""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from fixture import Daemon, eventually

PACKAGES = ("cloudevents", "faas-js-runtime")
EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default"

PRODUCER = """
const { CloudEvent, HTTP } = require('cloudevents');
const send = async (message) => {
  const answer = await fetch(process.argv[2], { method: 'POST', headers: message.headers, body: message.body });
  if (answer.status !== 202) throw new Error(`${answer.status} ${await answer.text()}`);
};
const make = (id, data, extra) => new CloudEvent({ id, source: '/sdk', type: 'sdk.event', data, ...extra });
(async () => {
  await send(HTTP.binary(make('binary', { n: 1.50, text: 'Zürich' }, { subject: 'a b', number: 7 })));
  await send(HTTP.structured(make('structured', { n: 2 }, { flag: true })));
  await send(HTTP.structured(make('bytes', Buffer.from([0, 255, 10]), { datacontenttype: 'application/octet-stream' })));
  await send({ headers: { 'content-type': 'application/cloudevents-batch+json' },
               body: JSON.stringify([make('batch1', 'one', { datacontenttype: 'text/plain' }), make('batch2', 'two', { datacontenttype: 'text/plain' })]) });
})().catch((error) => { console.error(error); process.exit(1); });
"""

CONSUMER = """
const { HTTP } = require('cloudevents');
const http = require('http');
const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    const event = HTTP.toEvent({ headers: request.headers, body: Buffer.concat(parts).toString('latin1') });
    console.log(JSON.stringify({ id: event.id, type: event.type, subject: event.subject, cause: event.causationid, number: event.number,
                                 flag: event.flag, data: event.data, body: Buffer.concat(parts).toString('base64') }));
    response.writeHead(204).end();
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"""

FUNCTION = """
const { CloudEvent } = require('cloudevents');
module.exports = { handle: (context, event) =>
  new CloudEvent({ source: '/function', type: 'function.reply', datacontenttype: 'application/json', data: { saw: event.id } }) };
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("node") or not shutil.which("npm"):
            raise unittest.SkipTest("SKIPPED: no node and npm")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="wick-sdk-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES], cwd=cls.folder, capture_output=True,
                              text=True, timeout=300)
        if done.returncode != 0:
            raise unittest.SkipTest("SKIPPED: npm cannot install " + " ".join(PACKAGES) + ": " + done.stderr[-500:])
        for name, text in (("produce.js", PRODUCER), ("consume.js", CONSUMER), ("function/index.js", FUNCTION)):
            path = cls.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        cls.daemon = Daemon().start()
        cls.addClassCleanup(cls.daemon.close)
        cls.make("brokers", {"kind": "Broker", "metadata": {"name": "default"}})

    @classmethod
    def make(cls, plural, resource):
        status, text = cls.daemon.api("POST", f"{EVENTING}/{plural}", json.dumps({"apiVersion": "eventing.knative.dev/v1", **resource}),
                                      {"Content-Type": "application/json"})
        assert status in (200, 201, 409), text

    def node(self, *arguments, **options):
        process = subprocess.Popen(["node", *arguments], cwd=self.folder, stdout=subprocess.PIPE, text=True, **options)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()

        self.addCleanup(end)
        return process

    def trigger(self, name, url, event_type):
        self.make("triggers", {"kind": "Trigger", "metadata": {"name": name}, "spec": {
            "broker": "default", "filter": {"attributes": {"type": event_type}}, "subscriber": {"uri": url}}})

    def produce(self):
        subprocess.run(["node", "produce.js", f"http://{self.daemon.events}/default/default"], cwd=self.folder, check=True, timeout=60)

    def test_every_mode_round_trips_through_the_broker(self):
        consumer = self.node("consume.js")
        self.trigger("consumer", f"http://127.0.0.1:{consumer.stdout.readline().strip()}/", "sdk.event")
        eventually("the trigger is ready", lambda: '"Ready"' in self.daemon.api("GET", f"{EVENTING}/triggers/consumer")[1])
        self.produce()
        events = {event["id"]: event for event in (json.loads(consumer.stdout.readline()) for _ in range(5))}
        self.assertEqual(events["binary"]["data"]["n"], 1.5)
        self.assertEqual(events["binary"]["subject"], "a b")
        self.assertEqual(str(events["binary"]["number"]), "7")
        self.assertEqual(str(events["structured"]["flag"]).lower(), "true")
        self.assertEqual(events["structured"]["data"], {"n": 2})
        self.assertEqual(events["bytes"]["body"], "AP8K")
        self.assertEqual({events["batch1"]["data"], events["batch2"]["data"]}, {"one", "two"})

    def test_a_knative_function_replies_and_its_reply_says_what_caused_it(self):
        consumer = self.node("consume.js")
        port = free_port()
        environment = dict(os.environ, PORT=str(port), FUNC_PORT=str(port), LOG_LEVEL="error")
        self.node("node_modules/.bin/faas-js-runtime", "function", env=environment, stderr=subprocess.DEVNULL)

        def answers():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually("the function listens", answers)
        self.trigger("function", f"http://127.0.0.1:{port}/", "sdk.event")
        self.trigger("replies", f"http://127.0.0.1:{consumer.stdout.readline().strip()}/", "function.reply")
        eventually("the triggers are ready", lambda: '"Ready"' in self.daemon.api("GET", f"{EVENTING}/triggers/replies")[1])
        self.produce()
        replies = [json.loads(consumer.stdout.readline()) for _ in range(5)]
        self.assertEqual({reply["data"]["saw"] for reply in replies}, {"binary", "structured", "bytes", "batch1", "batch2"})
        self.assertEqual({reply["cause"] for reply in replies}, {"binary", "structured", "bytes", "batch1", "batch2"})
        why = self.daemon.cli("why", "binary").stdout
        self.assertIn("function: delivered", why)


if __name__ == "__main__":
    unittest.main(verbosity=2)
