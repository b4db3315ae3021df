"""EventTransform against real containers: an answer that the broker takes in again, a sink, what becomes of its answer,
and what is refused."""
import http.client
import json
import os

from events_test import Events, channel, service
from fixture import eventually, main
from receiver import Receiver

BROKERS = "/apis/eventing.knative.dev/v1/namespaces/default"
TRANSFORMS = "/apis/eventing.knative.dev/v1alpha1/namespaces/default/eventtransforms"


def transform(name):
    return {"ref": {"apiVersion": "eventing.knative.dev/v1alpha1", "kind": "EventTransform", "name": name}}


class EventTransforms(Events):
    def clear(self):
        super().clear()
        for path in (TRANSFORMS, BROKERS + "/triggers"):
            self.wick.api("DELETE", path)

    def trigger(self, name, type, subscriber, **more):
        self.apply(BROKERS + "/triggers", "eventing.knative.dev/v1", "Trigger", name, {
            "broker": "b", "filter": {"attributes": {"type": type}}, "subscriber": subscriber, **more})
        self.ready(BROKERS + "/triggers", name)

    def transform(self, name, expression, **more):
        self.apply(TRANSFORMS, "eventing.knative.dev/v1alpha1", "EventTransform", name,
                   {"jsonata": {"expression": expression}, **more})
        return self.ready(TRANSFORMS, name)

    def broker(self):
        self.apply(BROKERS + "/brokers", "eventing.knative.dev/v1", "Broker", "b", {"delivery": {"retry": 1}})
        self.ready(BROKERS + "/brokers", "b")

    def ask(self, path, event, data, type="demo"):
        address, _, port = self.wick.events.rpartition(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=30)
        try:
            connection.request("POST", path, json.dumps(data), {
                "ce-specversion": "1.0", "ce-id": event, "ce-source": "/test", "ce-type": type, "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()
        finally:
            connection.close()

    def test_the_answer_of_a_transform_goes_into_the_broker_and_on_to_the_next_trigger(self):
        self.broker()
        self.step("shown")
        made = self.transform("total", '$merge([$, {"type": "totalled", "data": {"total": $sum(data.items.(price * qty))}}])')
        self.assertEqual(made["status"]["address"]["url"],
                         "http://event-transform.knative-eventing.svc.cluster.local/default/total")
        self.trigger("in", "placed", transform("total"))
        self.trigger("out", "totalled", service("shown"))
        self.assertEqual(self.ask("/default/b", "1", {"items": [{"price": 2, "qty": 3}, {"price": 1.5, "qty": 2}]}, "placed")[0], 202)
        eventually("it arrived", lambda: ("1", "totalled", '{"total":9}') in self.seen("shown"), 30)
        # What is dropped by the expression ends there; what it fails for is a dead letter with the reason.
        self.transform("total", 'data.wanted ? $merge([$, {"type": "totalled"}])')
        self.assertEqual(self.ask("/default/b", "2", {"wanted": False}, "placed")[0], 202)
        self.assertEqual(self.ask("/default/b", "3", {"wanted": True}, "placed")[0], 202)
        eventually("the wanted one arrived", lambda: "3" in self.ids("shown"), 30)
        self.assertNotIn("2", self.ids("shown"))
        self.trigger("in", "placed", transform("total"), delivery={"deadLetterSink": service("shown")})
        self.transform("total", '$merge([$, {"type": 1 + data.name}])')
        self.assertEqual(self.ask("/default/b", "4", {"name": "x"}, "placed")[0], 202)
        eventually("its dead letter arrived", lambda: ("4", "placed", '{"name": "x"}') in self.seen("shown"), 30)

    def test_from_outside_the_result_is_the_answer(self):
        self.transform("plain", "data.a")
        self.transform("event", '$merge([$, {"type": "seen"}])')
        self.assertEqual(self.ask("/default/eventtransforms/plain", "1", {"a": [1, 2]}), (200, "application/json", "[1,2]"))
        status, type, body = self.ask("/default/eventtransforms/event", "2", {"a": 1})
        self.assertEqual((status, type, json.loads(body)["type"]), (200, "application/cloudevents+json", "seen"))
        self.assertEqual(self.ask("/default/eventtransforms/plain", "3", {"b": 1})[::2], (202, ""))
        self.transform("plain", "$number(data.a)")
        status, _, body = self.ask("/default/eventtransforms/plain", "4", {"a": "x"})
        self.assertEqual(status, 422)
        self.assertIn('EventTransform default/plain: spec.jsonata.expression: D3030: "x" is no number (line 1, column 8)', body)
        self.transform("plain", "($f := function($x) { $f($x) + 1 }; $f(1))")
        status, _, body = self.ask("/default/eventtransforms/plain", "5", {})
        self.assertEqual((status, "D1011" in body), (422, True), body)
        self.wick.api("DELETE", TRANSFORMS + "/plain")
        eventually("it is gone", lambda: self.ask("/default/eventtransforms/plain", "6", {})[0] == 400, 20)

    def test_a_sink_gets_the_result_and_its_answer_goes_back_changed_or_not_at_all(self):
        self.step("answering", STEP_NAME="A")
        ask = '$merge([$, {"type": "asked"}])'
        self.transform("through", ask, sink=service("answering"))
        status, _, body = self.ask("/default/eventtransforms/through", "1", {"x": 1})
        self.assertEqual((status, body), (200, '{"x":1}A'))
        eventually("the sink has it", lambda: any(event[:2] == ("1", "asked") for event in self.seen("answering")), 30)
        self.transform("changing", ask, sink=service("answering"), reply={"jsonata": {"expression": '{"was": id}'}})
        self.assertEqual(self.ask("/default/eventtransforms/changing", "2", {})[::2], (200, '{"was":"2-A"}'))
        self.transform("quiet", ask, sink=service("answering"), reply={"discard": True})
        self.assertEqual(self.ask("/default/eventtransforms/quiet", "3", {})[::2], (202, ""))
        eventually("the sink has the third", lambda: "3" in self.ids("answering"), 30)
        self.messaging("Channel", "pipe", {})
        self.ready(MESSAGING_CHANNELS, "pipe")
        self.subscription("pipe", "pipe", subscriber=service("answering"))
        self.transform("piped", ask, sink=channel("pipe"))
        self.assertEqual(self.ask("/default/eventtransforms/piped", "4", {})[0], 202)
        eventually("the channel handed it on", lambda: "4" in self.ids("answering"), 30)
        # One whose sink is itself ends.
        self.transform("loop", ask, sink=transform("loop"))
        status, _, body = self.ask("/default/eventtransforms/loop", "5", {})
        self.assertEqual((status, "sends to itself" in body), (422, True), body)

    def test_a_sink_outside_the_box_gets_the_result_and_one_that_is_not_there_is_named(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        self.transform("far", '$merge([$, {"type": "asked"}])', sink={"uri": receiver.url + "in"})
        self.assertEqual(self.ask("/default/eventtransforms/far", "1", {"x": 1})[0], 202)
        fields, body = receiver.events[0]
        self.assertEqual((fields["ce-id"], fields["ce-type"], json.loads(body)), ("1", "asked", {"x": 1}))
        self.transform("nowhere", "$", sink={"uri": "http://127.0.0.1:1/"})
        status, _, body = self.ask("/default/eventtransforms/nowhere", "2", {"x": 1})
        self.assertEqual(status, 502)
        self.assertIn("EventTransform default/nowhere: sink: ", body)

    def test_what_is_wrong_is_refused_or_told(self):
        def refused(spec):
            status, body = self.wick.api("POST", TRANSFORMS, json.dumps({
                "apiVersion": "eventing.knative.dev/v1alpha1", "kind": "EventTransform", "metadata": {"name": "x"}, "spec": spec}))
            self.assertEqual(status, 400, body)
            return json.loads(body)["message"]
        message = refused({"jsonata": {"expression": "data.(a + "}})
        self.assertIn("spec.jsonata.expression", message)
        self.assertIn('S0203: expected ")" before the end of the expression (line 1, column 11)', message)
        self.assertIn("expected exactly one, got neither: spec.jsonata", refused({}))
        self.assertIn("reply is set without spec.sink: spec.reply", refused(
            {"jsonata": {"expression": "a"}, "reply": {"discard": True}}))
        self.assertIn("expected exactly one, got both: spec.reply.discard, spec.reply.jsonata", refused(
            {"jsonata": {"expression": "a"}, "sink": service("s"), "reply": {"discard": True, "jsonata": {"expression": "a"}}}))
        self.assertIn("spec.reply.jsonata.expression", refused(
            {"jsonata": {"expression": "a"}, "sink": service("s"), "reply": {"jsonata": {"expression": "a["}}}))
        self.assertIn("missing field(s): spec.jsonata.expression", refused({"jsonata": {"expression": ""}}))

        def told(name, spec):
            self.apply(TRANSFORMS, "eventing.knative.dev/v1alpha1", "EventTransform", name, spec)
            def message():
                item = json.loads(self.wick.api("GET", f"{TRANSFORMS}/{name}")[1])
                found = [c for c in item.get("status", {}).get("conditions", []) if c["type"] == "SinkResolved"]
                return found and found[0]["status"] == "False" and found[0]["message"]
            return eventually("it is told", message, 20)
        self.assertIn('"nobody" not found', told("lost", {"jsonata": {"expression": "data.a"}, "sink": service("nobody")}))
        self.assertEqual(self.ask("/default/eventtransforms/lost", "1", {"a": 1})[0], 502)
        self.assertIn("lost", self.wick.cli("sink", "ls").stdout)
        self.assertIn("transform:lost", self.wick.cli("event", "graph").stdout)


MESSAGING_CHANNELS = "/apis/messaging.knative.dev/v1/namespaces/default/channels"
for name in [name for name in dir(Events) if name.startswith("test_")]:
    setattr(EventTransforms, name, None)  # only the fixture is shared
del Events

if __name__ == "__main__":
    main()
