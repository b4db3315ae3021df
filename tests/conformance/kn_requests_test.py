"""The requests kn sends, one command after the other (recorded from kn 1.12 and 1.15), answered as it needs them.

kn asks for no discovery: it knows its paths. It prints a Status' message as it stands.
"""
from cluster import SERVING, ClusterTest, eventually, main

REVISIONS = SERVING.replace("/services", "/revisions")
EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default"
MERGE = {"Content-Type": "application/merge-patch+json"}


def condition(document, kind="Ready"):
    return next((c for c in document.get("status", {}).get("conditions", []) if c["type"] == kind), {"status": "Unknown"})


class Kn(ClusterTest):
    def tearDown(self):
        for item in self.call("GET", SERVING)[2]["items"]:
            self.call("DELETE", f"{SERVING}/{item['metadata']['name']}")

    def wait_ready(self, name, version):
        """kn's wait: only MODIFIED counts, the generation must be observed, then Ready decides."""
        for event in self.watch(f"{SERVING}?fieldSelector=metadata.name%3D{name}&resourceVersion={version}"):
            self.assertIn(event["type"], ("ADDED", "MODIFIED", "DELETED"))
            seen = event["object"]
            if event["type"] == "MODIFIED" and seen["status"].get("observedGeneration") == seen["metadata"]["generation"]:
                if condition(seen)["status"] == "True":
                    return seen
        self.fail(f"{name} was not ready in time")

    def create(self, name, **spec):
        status, _, missing = self.call("GET", f"{SERVING}/{name}")
        self.assertEqual((status, missing["message"]), (404, f'services.serving.knative.dev "{name}" not found'))
        self.assertEqual(missing["details"], {"name": name, "group": "serving.knative.dev", "kind": "services"})
        status, _, made = self.call("POST", SERVING, self.service(name, **spec))
        self.assertEqual(status, 201, made)
        ready = self.call("GET", f"{SERVING}/{name}")[2]
        if condition(ready)["status"] != "True":
            ready = self.wait_ready(name, made["metadata"]["resourceVersion"])
        return ready

    def test_service_create(self):
        ready = self.create("made")
        self.assertEqual(ready["spec"]["template"]["spec"]["containers"][0]["name"], "user-container")
        self.assertTrue(ready["status"]["url"].startswith("http://made.default."))
        self.assertEqual(ready["status"]["address"]["url"], "http://made.default.svc.cluster.local")
        self.assertEqual(self.call("POST", SERVING, self.service("made"))[2]["reason"], "AlreadyExists")

    def test_service_update_pins_the_digest_of_the_latest_ready_revision(self):
        ready = self.create("updated")
        revision = self.call("GET", f"{REVISIONS}/{ready['status']['latestReadyRevisionName']}")[2]
        digest = revision["status"]["containerStatuses"][0]["imageDigest"]
        self.assertIn("@sha256:", digest)
        ready["spec"]["template"]["spec"]["containers"][0]["image"] = digest
        ready["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "B"}]
        stale = dict(ready, metadata=dict(ready["metadata"], resourceVersion="1"))
        self.assertEqual(self.call("PUT", f"{SERVING}/updated", stale)[2]["reason"], "Conflict")
        status, _, put = self.call("PUT", f"{SERVING}/updated", self.call("GET", f"{SERVING}/updated")[2] | {"spec": ready["spec"]})
        self.assertEqual(status, 200, put)
        self.assertEqual(put["metadata"]["generation"], 2)
        eventually("the update is ready", lambda: self.call("GET", f"{SERVING}/updated")[2]["status"].get("latestReadyRevisionName") == "updated-00002")
        listed = self.call("GET", f"{REVISIONS}?labelSelector=serving.knative.dev%2Fservice%3Dupdated")[2]["items"]
        self.assertEqual({r["metadata"]["name"] for r in listed}, {"updated-00001", "updated-00002"})

    def test_service_create_with_mounts(self):
        """--mount /etc/conf=cm:kn-map --mount /keys=secret:kn-key --mount /scratch=ed:tmp:type=Memory,size=1Mi"""
        core = "/api/v1/namespaces/default/"
        for plural, thing in (("configmaps", {"metadata": {"name": "kn-map"}, "data": {"a": "map"}}),
                              ("secrets", {"metadata": {"name": "kn-key"}, "stringData": {"k": "key"}})):
            self.assertEqual(self.call("POST", core + plural, thing)[0], 201)
            self.addCleanup(self.call, "DELETE", f"{core}{plural}/{thing['metadata']['name']}")
        body = self.service("mounts", volumes=[{"name": "cm-1", "configMap": {"name": "kn-map"}},
                                               {"name": "secret-1", "secret": {"secretName": "kn-key"}},
                                               {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}])
        body["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [
            {"name": "cm-1", "mountPath": "/etc/conf", "readOnly": True}, {"name": "secret-1", "mountPath": "/keys", "readOnly": True},
            {"name": "tmp", "mountPath": "/scratch"}]
        status, _, made = self.call("POST", SERVING, body)
        self.assertEqual(status, 201, made)
        eventually("it is ready", lambda: condition(self.call("GET", f"{SERVING}/mounts")[2])["status"] == "True")
        for path, text in (("/file/etc/conf/a", b"map"), ("/file/keys/k", b"key"), ("/write/scratch/x", b"ok\n")):
            self.assertEqual(self.wick.request("mounts", path), (200, text))

    def test_service_apply_merges(self):
        self.create("applied")
        status, _, patched = self.call("PATCH", f"{SERVING}/applied", {"spec": {"template": {"spec": {"timeoutSeconds": 9}}}}, headers=MERGE)
        self.assertEqual((status, patched["spec"]["template"]["spec"]["timeoutSeconds"]), (200, 9))
        eventually("it is ready again", lambda: condition(self.call("GET", f"{SERVING}/applied")[2])["status"] == "True")

    def test_service_list_describe_and_revision_list(self):
        self.create("listed")
        services = self.call("GET", SERVING)[2]
        self.assertEqual((services["kind"], services["apiVersion"]), ("ServiceList", "serving.knative.dev/v1"))
        self.assertTrue(services["metadata"]["resourceVersion"])
        for revision in self.call("GET", REVISIONS)[2]["items"]:
            self.assertTrue(revision["metadata"]["annotations"])  # kn reads them without looking
            owner = revision["metadata"]["labels"]["serving.knative.dev/service"]
            self.assertEqual(self.call("GET", f"{SERVING}/{owner}")[0], 200)
        routes = self.call("GET", SERVING.replace("/services", "/routes"))[2]
        self.assertEqual(routes["items"][0]["status"]["traffic"][0]["percent"], 100)

    def test_service_delete_with_wait_sees_deleted(self):
        self.create("gone")
        events = self.watch(f"{SERVING}?fieldSelector=metadata.name%3Dgone")
        next(events)
        status, _, answer = self.call("DELETE", f"{SERVING}/gone", {"propagationPolicy": "Background"})
        self.assertEqual((status, answer["status"]), (200, "Success"))
        self.assertIn("DELETED", (event["type"] for event in events))
        eventually("its revisions are gone", lambda: not self.call("GET", REVISIONS)[2]["items"])

    def test_a_failed_service_says_so_to_the_watcher(self):
        body = self.service("broken")
        body["spec"]["template"]["spec"]["containers"][0]["image"] = "dev.local/nobody-has-this:1"
        version = self.call("POST", SERVING, body)[2]["metadata"]["resourceVersion"]
        for event in self.watch(f"{SERVING}?fieldSelector=metadata.name%3Dbroken&resourceVersion={version}"):
            if condition(event["object"])["status"] == "False":
                self.assertEqual(condition(event["object"])["reason"], "RevisionFailed")
                return
        self.fail("nobody said that it failed")

    def test_brokers_triggers_and_sources(self):
        self.create("subscriber")
        self.assertEqual(self.call("POST", f"{EVENTING}/brokers", {"metadata": {"name": "kn"}, "spec": {}})[0], 201)
        trigger = {"apiVersion": "eventing.knative.dev/v1", "kind": "Trigger", "metadata": {"name": "kn"},
                   "spec": {"broker": "kn", "filter": {"attributes": {"type": "t"}},
                            "subscriber": {"ref": {"kind": "Service", "apiVersion": "serving.knative.dev/v1", "name": "subscriber",
                                                   "namespace": "default"}}}}
        self.assertEqual(self.call("POST", f"{EVENTING}/triggers", trigger)[0], 201)
        eventually("the trigger is ready", lambda: condition(self.call("GET", f"{EVENTING}/triggers/kn")[2])["status"] == "True")
        stored = self.call("GET", f"{EVENTING}/triggers/kn")[2]
        stored["spec"]["filter"]["attributes"]["type"] = "u"
        self.assertEqual(self.call("PUT", f"{EVENTING}/triggers/kn", stored)[0], 200)
        self.assertEqual(self.call("DELETE", f"{EVENTING}/triggers/kn")[0], 200)
        self.assertEqual(self.call("DELETE", f"{EVENTING}/brokers/kn")[0], 200)
        messaging = "/apis/messaging.knative.dev/v1/namespaces/default"
        self.assertEqual(self.call("POST", f"{messaging}/channels", {
            "apiVersion": "messaging.knative.dev/v1", "kind": "Channel", "metadata": {"name": "kn", "namespace": "default"},
            "spec": {}})[0], 201)
        self.assertEqual(self.call("POST", f"{messaging}/subscriptions", {
            "apiVersion": "messaging.knative.dev/v1", "kind": "Subscription", "metadata": {"name": "kn", "namespace": "default"},
            "spec": {"channel": {"kind": "Channel", "name": "kn", "apiVersion": "messaging.knative.dev/v1"},
                     "subscriber": {"ref": {"kind": "Service", "namespace": "default", "name": "subscriber",
                                            "apiVersion": "serving.knative.dev/v1"}}}})[0], 201)
        eventually("the subscription is ready", lambda: condition(
            self.call("GET", f"{messaging}/subscriptions/kn")[2]).get("status") == "True")
        for what in ("subscriptions", "channels"):
            self.assertEqual(self.call("DELETE", f"{messaging}/{what}/kn")[0], 200)
        sources = self.call("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?labelSelector=duck.knative.dev%2Fsource%3Dtrue")[2]
        self.assertIn("pingsources.sources.knative.dev", [item["metadata"]["name"] for item in sources["items"]])
        for version in ("v1", "v1beta2"):
            pings = self.call("GET", f"/apis/sources.knative.dev/{version}/namespaces/default/pingsources")
            self.assertEqual((pings[0], pings[2]["apiVersion"]), (200, f"sources.knative.dev/{version}"))

    def test_secrets(self):
        secrets = "/api/v1/namespaces/default/secrets"
        self.assertEqual(self.call("POST", secrets, {"metadata": {"name": "kn"}, "stringData": {"a": "b"}})[0], 201)
        self.assertEqual(self.call("GET", secrets + "/kn")[2]["data"], {"a": "Yg=="})
        self.assertEqual(self.call("DELETE", secrets + "/kn")[0], 200)


if __name__ == "__main__":
    main()
