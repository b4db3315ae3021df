"""Containers as Knative allows them, where only a real one shows it: what a template says of its start, its probes and its end."""
import json

from fixture import DaemonTest, eventually, main

SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"


class Containers(DaemonTest):
    flags = ("--allow-zero-initial-scale",)

    def image(self):
        """What the tests run, built once."""
        if not hasattr(type(self), "reference"):
            self.deploy_static("first")
            type(self).reference = self.objects("revisions")["first-00001"]["spec"]["containers"][0]["image"]
        return self.reference

    def objects(self, plural):
        items = json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1/namespaces/default/{plural}")[1])["items"]
        return {item["metadata"]["name"]: item for item in items}

    def create(self, name, container=None, annotations=None):
        status, text = self.wick.api("POST", SERVICES, json.dumps({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"template": {"metadata": {"annotations": annotations or {}},
                                  "spec": {"containers": [{"image": self.image(), **(container or {})}]}}}}),
            {"Content-Type": "application/json"})
        self.assertEqual(status, 201, text)

    def condition(self, name, kind="Ready"):
        conditions = self.objects("services").get(name, {}).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {"status": "Unknown"})

    def ready(self, name):
        return self.condition(name)["status"] == "True"

    def test_with_initial_scale_0_the_first_request_is_what_starts_it(self):
        self.create("later", annotations={"autoscaling.knative.dev/initial-scale": "0"})
        eventually("it is ready", lambda: self.ready("later"))
        self.assertEqual(self.wick.instances("later"), [])
        self.assertNotIn("instance ready\" revision=default/later", self.wick.log_text())
        self.assertEqual(self.wick.request("later")[0], 200)
        self.assertEqual(len(self.wick.instances("later")), 1)


if __name__ == "__main__":
    main()
