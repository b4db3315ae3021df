"""A daemon as clients of a cluster meet it: an address, a token, a kubeconfig, and an image to run."""
import http.client
import json
import os
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration/e2e"))
from fixture import WICK, Daemon, DaemonTest, eventually, main  # noqa: E402,F401

SERVING = "/apis/serving.knative.dev/v1/namespaces/default/services"


class ClusterTest(DaemonTest):
    flags = ("--api-listen", "127.0.0.1:0")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kubeconfig = os.path.join(cls.folder, "kubeconfig")
        pathlib.Path(cls.kubeconfig).write_text(cls.wick.cli("kubeconfig").stdout)
        os.chmod(cls.kubeconfig, 0o600)
        info = json.loads(cls.wick.api("GET", "/apis/wick.dev/v1/info")[1])
        cls.address = info["apiListen"]
        cls.token = cls.wick.cli("token", "create", "test").stdout.strip()
        cls.image_of_server = None

    def image(self):
        """A reference of an image the daemon has: the static test server."""
        cls = type(self)
        if not cls.image_of_server:
            self.deploy_static("image-source")
            stored = json.loads(self.wick.api("GET", SERVING + "/image-source")[1])
            cls.image_of_server = stored["spec"]["template"]["spec"]["containers"][0]["image"]
            self.wick.cli("rm", "image-source", "--yes")
        return cls.image_of_server

    def call(self, method, path, body=None, token=None, headers=None, timeout=60):
        """One request over TCP; the answer's status, fields and document."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
        fields = {"Content-Type": "application/json", **(headers or {})}
        if token != "":
            fields["Authorization"] = "Bearer " + (token or self.token)
        try:
            connection.request(method, path, json.dumps(body) if isinstance(body, (dict, list)) else body, fields)
            answer = connection.getresponse()
            text = answer.read().decode()
            document = json.loads(text) if "json" in (answer.getheader("Content-Type") or "") else text
            return answer.status, answer.headers, document
        finally:
            connection.close()

    def watch(self, path, seconds=30):
        """Events of a watch, one by one, until the server ends it."""
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=seconds + 10)
        connection.request("GET", f"{path}&watch=true&timeoutSeconds={seconds}", headers={"Authorization": "Bearer " + self.token})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        try:
            while line := answer.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def service(self, name, **template_spec):
        return {"apiVersion": "serving.knative.dev/v1", "kind": "Service",
                "metadata": {"name": name, "namespace": "default", "creationTimestamp": None},
                "spec": {"template": {"metadata": {"creationTimestamp": None},
                                      "spec": {"containers": [{"image": self.image(), "name": "", "resources": {}}],
                                               **template_spec}}},
                "status": {}}


def client(name):
    """The path of a client, or the end of this test program."""
    found = shutil.which(name)
    if not found:
        print(f"SKIP: {name} is not installed", file=sys.stderr)
        sys.exit(77)
    return found
