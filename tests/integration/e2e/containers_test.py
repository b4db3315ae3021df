"""Containers as Knative allows them, where only a real one shows it: what a template says of its start, its probes and its end."""
import json
import time

from fixture import DaemonTest, eventually, main

SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"

PROBE = r"""
#include <stdio.h>
#include <unistd.h>
int main(int argc, char** argv) {
  const int absent = argc > 1 && argv[1][0] == '!';
  const char* path = argc > 1 ? argv[1] + absent : "/";
  if ((access(path, F_OK) == 0) != absent) return 0;
  printf(absent ? "there is %s\n" : "no %s\n", path);
  return 1;
}
"""


class Containers(DaemonTest):
    flags = ("--allow-zero-initial-scale",)

    def image(self):
        """The test server, and /probe PATH (ends with 0 when it is there) and /probe !PATH (when it is not)."""
        return self.image_with("probe", PROBE)

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

    def test_a_command_as_readiness_probe_decides_whether_a_revision_is_ready(self):
        self.create("well", {"readinessProbe": {"exec": {"command": ["/probe", "/server"]}}})
        eventually("it is ready", lambda: self.ready("well"))
        self.assertEqual(self.wick.request("well")[0], 200)
        self.create("unwell", {"readinessProbe": {"exec": {"command": ["/probe", "/none"]}}},
                    {"serving.knative.dev/progress-deadline": "3s"})
        eventually("it has failed", lambda: self.condition("unwell")["status"] == "False")
        self.assertIn("the readiness command '/probe' ended with exit 1: no /none", self.condition("unwell")["message"])

    def test_a_command_as_liveness_probe_replaces_an_instance_that_is_not_well(self):
        self.create("alive", {"livenessProbe": {"exec": {"command": ["/probe", "!/tmp/sick"]}, "periodSeconds": 1}},
                    {"autoscaling.knative.dev/min-scale": "1"})
        eventually("it is ready", lambda: self.ready("alive"))
        pid = self.wick.instances("alive")[0]["pid"]
        time.sleep(3.5)  # long enough for three looks
        self.assertEqual([i["pid"] for i in self.wick.instances("alive")], [pid])
        self.assertEqual(self.wick.request("alive", "/write/tmp/sick")[0], 200)
        eventually("another one serves", lambda: [i for i in self.wick.instances("alive")
                                                  if i["state"] == "ready" and i["pid"] not in (0, pid)])
        self.assertEqual(self.wick.request("alive")[0], 200)


if __name__ == "__main__":
    main()
