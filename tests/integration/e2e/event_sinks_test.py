"""Sinks, container sources and policies against real containers: a job for every event, once, and across a crash."""
import glob
import http.client
import json
import os
import pathlib

from fixture import TOP, DaemonTest, eventually, main

EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default"
POLICIES = "/apis/eventing.knative.dev/v1alpha1/namespaces/default/eventpolicies"
SOURCES = "/apis/sources.knative.dev/v1/namespaces/default"
SINKS = "/apis/sinks.knative.dev/v1alpha1/namespaces/default/jobsinks"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
FEATURES = "/api/v1/namespaces/knative-eventing/configmaps"


class EventSinks(DaemonTest):
    @classmethod
    def setUpClass(cls):
        os.environ.pop("WICK_E2E", None)  # logs are counted: a state of its own
        super().setUpClass()

    def setUp(self):
        self.clear()
        self.addCleanup(self.clear)
        self.apply(EVENTING + "/brokers", "eventing.knative.dev/v1", "Broker", "b", {})

    def clear(self):
        for path in (SOURCES + "/containersources", SINKS, POLICIES, JOBS, EVENTING + "/triggers"):
            self.wick.api("DELETE", path)
        self.wick.api("DELETE", FEATURES + "/config-features")
        eventually("nothing of an earlier test is left", lambda: not json.loads(self.wick.api("GET", JOBS)[1])["items"], 40)

    def image(self):
        """Of tests/support/event_worker.c."""
        if not hasattr(type(self), "worker"):
            folder = self.project("worker-source", **{
                "Dockerfile": 'FROM scratch\nCOPY --chmod=755 worker server /\nCMD ["/server"]\n',
                "server": self.static_program(),
                "worker": self.static_program("worker", str(TOP / "tests/support/event_worker.c"))})
            self.wick.cli("deploy", folder, "--name", "worker")
            type(self).worker = self.objects("revisions")["worker-00001"]["spec"]["containers"][0]["image"]
        return self.worker

    def apply(self, path, version, kind, name, spec, annotations=None):
        metadata = {"name": name, "namespace": "default", "annotations": annotations or {}}
        status, body = self.wick.api(
            "PATCH", f"{path}/{name}?fieldManager=test&force=true", json.dumps(
                {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}),
            {"Content-Type": "application/apply-patch+yaml"})
        self.assertIn(status, (200, 201), body)

    def get(self, path, name):
        status, body = self.wick.api("GET", f"{path}/{name}")
        return json.loads(body) if status == 200 else None

    def ready(self, path, name, limit=60):
        def is_ready():
            item = self.get(path, name) or {}
            return any(c["type"] == "Ready" and c["status"] == "True" for c in
                       item.get("status", {}).get("conditions", [])) and item
        return eventually(f"{path}/{name} is ready", is_ready, limit)

    def job_sink(self, *args, name="js", annotations=None, **job):
        self.apply(SINKS, "sinks.knative.dev/v1alpha1", "JobSink", name, {"job": {"spec": {
            **job, "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": self.image(), "command": ["/worker", "job", *args]}]}}}}}, annotations)
        return self.ready(SINKS, name)

    def ask(self, method, path, headers=None, body=""):
        address, _, port = self.wick.events.rpartition(":")
        connection = http.client.HTTPConnection(address, int(port), timeout=30)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def send(self, path, event, headers=None, type="demo"):
        return self.ask("POST", path, {"ce-specversion": "1.0", "ce-id": event, "ce-source": "/test", "ce-type": type,
                                       "Content-Type": "text/plain", **(headers or {})}, "payload of " + event)

    def runs(self, owner):
        """The output of every run of that owner that is kept, oldest first."""
        found = []
        for record in glob.glob(os.path.join(self.wick.state, "front/logs/*.json")):
            with open(record) as file:
                if json.load(file).get("owner") == owner:
                    found.append(pathlib.Path(record).with_suffix(".log"))
        return [path.read_text() for path in sorted(found, key=lambda path: path.stat().st_mtime)]

    def jobs(self):
        return json.loads(self.wick.api("GET", JOBS)[1])["items"]

    @staticmethod
    def ended(job, how="Complete"):
        return any(c["type"] == how and c["status"] == "True" for c in job.get("status", {}).get("conditions", []))

    def test_every_event_is_a_job_once_and_its_status_can_be_asked_for(self):
        sink = self.job_sink("0", "0")
        self.assertEqual(sink["status"]["address"]["url"], "http://job-sink.knative-eventing.svc.cluster.local/default/js")
        status, headers, _ = self.send("/default/jobsinks/js", "once")
        self.assertEqual((status, headers["Location"]), (202, "/namespaces/default/name/js/sources/%2Ftest/ids/once"))
        eventually("the job is complete", lambda: self.ask("GET", headers["Location"])[0] == 200, 60)
        self.assertEqual(self.ask("GET", headers["Location"])[1]["Reason"], "Complete")
        self.assertEqual(self.send("/default/jobsinks/js", "once")[0], 202)
        job, = self.jobs()
        output, = self.runs("default/jobs/" + job["metadata"]["name"])
        self.assertIn('"id":"once"', output)
        self.assertIn("payload of once", output)
        self.assertIn("mode batch", output)
        self.assertEqual(self.wick.cli("logs", "js").stdout, output)
        self.assertEqual(self.wick.cli("logs", job["metadata"]["name"]).stdout, output)
        self.assertEqual(job["metadata"]["labels"]["sinks.knative.dev/job-sink-name"], "js")
        self.assertEqual(self.send("/default/jobsinks/other", "e1")[0], 400)
        self.assertEqual(self.ask("GET", "/namespaces/default/name/js/sources/%2Ftest/ids/none")[0], 404)

    def test_a_job_that_fails_says_so(self):
        self.job_sink("0", "3", backoffLimit=0)
        location = self.send("/default/jobsinks/js", "e1")[1]["Location"]
        eventually("the job has failed", lambda: self.ask("GET", location)[0] == 400, 60)
        self.assertEqual(self.ask("GET", location)[1]["Reason"], "Failed")
        job, = self.jobs()
        self.assertEqual(job["status"]["conditions"][0]["reason"], "BackoffLimitExceeded")
        self.assertIn("exit", job["status"]["conditions"][0]["message"])

    def test_a_trigger_sends_to_a_job_sink(self):
        self.job_sink("0", "0")
        self.apply(EVENTING + "/triggers", "eventing.knative.dev/v1", "Trigger", "t", {
            "broker": "b", "subscriber": {"ref": {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "JobSink", "name": "js"}}})
        self.ready(EVENTING + "/triggers", "t")
        self.assertEqual(self.send("/default/b", "through")[0], 202)
        eventually("the job is complete", lambda: any(map(self.ended, self.jobs())), 60)

    def test_a_log_sink_writes_events_to_the_daemons_log(self):
        self.apply(SINKS.replace("jobsinks", "integrationsinks"), "sinks.knative.dev/v1alpha1", "IntegrationSink", "audit", {
            "log": {"loggerName": "audit"}})
        self.apply(EVENTING + "/triggers", "eventing.knative.dev/v1", "Trigger", "t", {"broker": "b", "subscriber": {
            "ref": {"apiVersion": "sinks.knative.dev/v1alpha1", "kind": "IntegrationSink", "name": "audit"}}})
        self.ready(EVENTING + "/triggers", "t")
        self.assertEqual(self.send("/default/b", "logged")[0], 202)
        line = 'msg="audit" sink=default/audit id=logged type=demo source=/test data="payload of logged"'
        eventually("the event is in the log", lambda: line in self.wick.log_text(), 20)

    def test_a_crash_in_the_middle_loses_no_event_and_runs_no_job_twice(self):
        self.job_sink("2", "0", annotations={"wick.dev/max-in-flight": "2"})
        sent = [f"e{n}" for n in range(8)]
        for event in sent:
            self.assertEqual(self.send("/default/jobsinks/js", event)[0], 202)
        eventually("two run and two are over", lambda: sum(map(self.ended, self.jobs())) >= 2, 60)
        for crash in range(2):
            before = {job["metadata"]["name"] for job in self.jobs() if self.ended(job)}
            self.wick.kill()
            self.wick.start()
            now = {job["metadata"]["name"] for job in self.jobs() if self.ended(job)}
            self.assertLessEqual(before, now)
            eventually("it goes on", lambda: len([job for job in self.jobs() if self.ended(job)]) > len(before) + 1, 60)
        eventually("all are complete", lambda: all(map(self.ended, self.jobs())), 120)
        self.assertEqual(len(self.jobs()), len(sent))
        for job in self.jobs():
            # One that the crash found made and not started has a log too, without a word of its program.
            outputs = [output for output in self.runs("default/jobs/" + job["metadata"]["name"]) if output.startswith("event ")]
            self.assertEqual([output.count("done") for output in outputs], [1], outputs)
            self.assertEqual(job["status"]["succeeded"], 1)
        for event in sent:
            self.assertEqual(self.send("/default/jobsinks/js", event)[0], 202)
        self.assertEqual(len(self.jobs()), len(sent))

    def test_a_container_source_runs_always_and_listens_nowhere(self):
        self.apply(SOURCES + "/containersources", "sources.knative.dev/v1", "ContainerSource", "cs", {
            "template": {"spec": {"containers": [
                {"name": "main", "image": self.image(), "command": ["/worker", "source", "from.container"]}]}},
            "ceOverrides": {"extensions": {"team": "blue"}},
            "sink": {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}}})
        source = self.ready(SOURCES + "/containersources", "cs")
        self.assertEqual(source["status"]["sinkUri"], "http://broker-ingress.knative-eventing.svc.cluster.local/default/b")
        def count():
            return self.wick.cli("event", "list", "--broker", "b", "--count", "1000").stdout.count("from.container")
        eventually("its events are in the broker", lambda: count() > 2, 30)
        output, = self.runs("default/containersources/cs")
        self.assertIn('overrides {"extensions":{"team":"blue"}}', output)
        self.assertIn("status 202", self.wick.cli("logs", "cs").stdout)
        instance = source["status"]["instance"]
        self.wick.kill()
        self.wick.start()
        self.assertEqual(self.ready(SOURCES + "/containersources", "cs")["status"]["instance"], instance)
        seen = count()
        eventually("it still sends after a crash of the daemon", lambda: count() > seen + 2, 30)
        self.wick.api("DELETE", SOURCES + "/containersources/cs")
        def silent():
            before = count()
            return before == count()
        eventually("it is stopped", silent, 40)

    def test_a_policy_lets_in_whom_it_names_from_inside_and_with_a_token_from_outside(self):
        status, body = self.wick.api("POST", FEATURES, json.dumps({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "config-features", "namespace": "knative-eventing"},
            "data": {"authentication-oidc": "enabled"}}), {"Content-Type": "application/json"})
        self.assertIn(status, (200, 201), body)
        eventually("the broker asks", lambda: self.send("/default/b", "x")[0] == 401, 20)
        self.assertEqual(self.send("/default/b", "x")[2].splitlines()[0], "no JWT token found in request")
        eventually("the broker says what a token is for", lambda: self.get(EVENTING + "/brokers", "b")["status"]["address"].get("audience"), 20)
        token = self.wick.cli("event", "token", "--to", "broker:b").stdout.strip()
        bearer = {"Authorization": "Bearer " + token}
        self.assertEqual(self.send("/default/b", "with-token", bearer)[0], 202)
        self.apply(POLICIES, "eventing.knative.dev/v1alpha1", "EventPolicy", "only-cs", {
            "to": [{"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}}],
            "from": [{"ref": {"apiVersion": "sources.knative.dev/v1", "kind": "ContainerSource", "name": "cs"}}],
            "filters": [{"prefix": {"type": "good."}}]})
        eventually("the token's subject is not named", lambda: self.send("/default/b", "x", bearer)[0] == 403, 20)
        for type in ("good.one", "bad.one"):
            self.apply(SOURCES + "/containersources", "sources.knative.dev/v1", "ContainerSource", "cs", {
                "template": {"spec": {"containers": [
                    {"name": "main", "image": self.image(), "command": ["/worker", "source", type]}]}},
                "sink": {"ref": {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "name": "b"}}})
            wanted = "status 202" if type == "good.one" else "status 403"
            eventually(f"the source is answered {wanted}", lambda: any(
                wanted in output for output in self.runs("default/containersources/cs")[-1:]), 60)
        policy = self.ready(POLICIES, "only-cs")
        self.assertEqual(policy["status"]["from"], [
            "system:serviceaccount:default:cs-oidc-sources.knative.dev-containersource"])
        self.assertEqual(self.wick.cli("event", "send", "--type", "t", "--broker", "b").returncode, 0)


if __name__ == "__main__":
    main()
