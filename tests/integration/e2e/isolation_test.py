"""What an instance reaches: other services by their cluster names, names outside, and nothing it should not."""
import json
import pathlib

from fixture import DaemonTest, eventually, main

FETCH = """#!/bin/busybox sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
/bin/busybox timeout 20 /bin/busybox wget -q -O - "http://$QUERY_STRING" 2>&1
echo "exit $?"
"""
LOOKUP = """#!/bin/busybox sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
/bin/busybox timeout 10 /bin/busybox nslookup "$QUERY_STRING" 2>&1
"""


class Isolation(DaemonTest):
    flags = ("--runtime-class", "mine=/usr/sbin/runc")

    def deploy_caller(self, name):
        folder = self.project(name, **{
            "Dockerfile": "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY --chmod=755 www /www\n"
                          'CMD ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]\n',
            "busybox": pathlib.Path("/bin/busybox").read_bytes(), "www/cgi-bin/fetch": FETCH, "www/cgi-bin/lookup": LOOKUP})
        self.wick.cli("deploy", folder, "--name", name)

    def deploy_like(self, model, name, annotations, **spec):
        """A second service of the image of `model`."""
        services = "/apis/serving.knative.dev/v1/namespaces/default/services"
        image = json.loads(self.wick.api("GET", f"{services}/{model}")[1])["spec"]["template"]["spec"]["containers"][0]["image"]
        service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
                   "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [{"image": image}], **spec}}}}
        status, text = self.wick.api("POST", services, json.dumps(service), {"Content-Type": "application/json"})
        self.assertIn(status, (200, 201), text)

        def is_ready():
            answer = json.loads(self.wick.api("GET", f"{services}/{name}")[1])
            return any(c["type"] == "Ready" and c["status"] == "True" for c in answer.get("status", {}).get("conditions", []))

        eventually(f"{name} is ready", is_ready)

    def ask(self, service, script, query):
        return self.wick.request(service, f"/cgi-bin/{script}?{query}")[1].decode()

    def test_services_call_each_other_by_their_cluster_names_and_wake_each_other(self):
        self.deploy_static("target")
        self.deploy_caller("caller")
        for name in ("target.default.svc.cluster.local", "target.default", "target"):
            self.assertIn("exit 0", self.ask("caller", "fetch", name + "/"), name)
        self.wick.cli("scale", "target", "0", check=False)
        self.assertIn("exit 0", self.ask("caller", "fetch", "target.default.svc.cluster.local/"))
        unknown = self.ask("caller", "fetch", "nobody.default.svc.cluster.local/")
        self.assertIn("bad address", unknown)
        self.assertIn("127.0.0.80", self.ask("caller", "lookup", "broker-ingress.knative-eventing.svc.cluster.local"))

    def test_a_service_without_egress_still_calls_its_neighbours_and_nothing_else(self):
        self.deploy_static("neighbour")
        self.deploy_caller("open-one")
        self.deploy_like("open-one", "sealed", {"wick.dev/egress": "none"}, runtimeClassName="mine")
        self.assertIn("exit 0", self.ask("sealed", "fetch", "neighbour.default.svc.cluster.local/"))
        self.assertNotIn("exit 0", self.ask("sealed", "fetch", "deb.debian.org/"))
        self.assertIn("REFUSED", self.ask("sealed", "lookup", "example.com").upper())

    def test_the_admin_socket_and_the_daemons_ports_are_not_there(self):
        self.deploy_caller("inside")
        for address in (self.wick.listen, self.wick.events):
            self.assertNotIn("exit 0", self.ask("inside", "fetch", address + "/"))
        self.assertFalse(any(p.name == "wick.sock" for p in pathlib.Path(self.wick.state).rglob("*.sock")))

    def test_a_manifest_that_cannot_be_meant_is_refused_at_the_door(self):
        service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "wrong"},
                   "spec": {"template": {"metadata": {"annotations": {"wick.dev/egress": "everything"}},
                                         "spec": {"containers": [{"image": "x/y"}]}}}}
        status, text = self.wick.api("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", json.dumps(service),
                                     {"Content-Type": "application/json"})
        self.assertIn(status, (400, 422), text)
        self.assertIn("wick.dev/egress", text)
        self.assertIn("internet, none, open", text)

    def test_doctor_names_what_the_host_lacks_with_the_way_out(self):
        checks = {c["name"]: c for c in json.loads(self.wick.cli("doctor", "--json", check=False).stdout)}
        for name in ("kernel", "cgroup", "user namespaces", "id-mapped mounts", "egress", "runtime class mine"):
            self.assertIn(name, checks)
        self.assertNotIn("build network", checks)
        self.assertIn("CVE-2025-31133", checks["runc"]["because"])
        for check in checks.values():
            if check["level"] != "ok":
                self.assertTrue(check["hint"], check)


if __name__ == "__main__":
    main()
