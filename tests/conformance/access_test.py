"""Who may do what over TCP: tokens and their scopes against every kind of request, and where secrets do not go."""
import base64
import json
import pathlib
import subprocess

from cluster import SERVING, ClusterTest, Daemon, eventually, main

CANARY = "canary-b1946ac92492d2347c6235b8d2611184"


class Access(ClusterTest):
    def token_of(self, *flags):
        return self.wick.cli("token", "create", "case", *flags).stdout.strip()

    def test_nothing_is_answered_without_a_token_but_health(self):
        for path in ("/healthz", "/livez", "/readyz"):
            self.assertEqual(self.call("GET", path, token="")[0], 200)
        for method, path in (("GET", "/api"), ("GET", "/apis"), ("GET", "/version"), ("GET", "/metrics"), ("GET", "/openapi/v3"),
                             ("GET", SERVING), ("POST", SERVING), ("GET", "/apis/wick.dev/v1/info"), ("GET", "/nothing"),
                             ("POST", "/apis/wick.dev/v1/tokens"), ("GET", "/api/v1/namespaces/default/secrets")):
            status, headers, document = self.call(method, path, token="")
            self.assertEqual((status, document["reason"]), (401, "Unauthorized"), path)
            self.assertEqual(headers["WWW-Authenticate"], "Bearer")
        self.assertEqual(self.call("GET", "/api", token="wick_00_00")[0], 401)

    def test_scopes_and_namespaces_hold(self):
        read, deploy = self.token_of("--scope", "read"), self.token_of("--scope", "deploy")
        team = self.token_of("--scope", "deploy", "--only", "team")
        secrets = "/api/v1/namespaces/default/secrets"
        self.assertEqual(self.call("GET", SERVING, token=read)[0], 200)
        self.assertEqual(self.call("GET", secrets, token=read)[0], 403)
        self.assertEqual(self.call("DELETE", SERVING + "/x", token=read)[0], 403)
        self.assertEqual(self.call("GET", secrets, token=deploy)[0], 200)
        self.assertEqual(self.call("DELETE", SERVING + "/x", token=deploy)[0], 404)
        self.assertEqual(self.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}, token=deploy)[0], 403)
        self.assertEqual(self.call("GET", "/apis/wick.dev/v1/tokens", token=deploy)[0], 403)
        self.assertEqual(self.call("GET", SERVING, token=team)[0], 403)
        self.assertEqual(self.call("GET", SERVING.replace("default", "team"), token=team)[0], 200)
        self.assertEqual(self.call("GET", "/apis/serving.knative.dev/v1/services", token=team)[0], 403)
        self.assertEqual(self.call("GET", "/apis", token=team)[0], 200)

    def test_a_page_or_a_rebound_name_is_refused(self):
        self.assertEqual(self.call("GET", SERVING, headers={"Host": "evil.example"})[0], 403)
        self.assertEqual(self.call("GET", SERVING, headers={"Origin": "http://evil.example"})[0], 403)

    def test_a_revoked_token_is_worth_nothing(self):
        token = self.token_of("--scope", "read")
        self.assertEqual(self.call("GET", SERVING, token=token)[0], 200)
        self.wick.cli("token", "rm", token.split("_")[1])
        self.assertEqual(self.call("GET", SERVING, token=token)[0], 401)

    def test_who_did_what_is_kept(self):
        self.call("DELETE", SERVING + "/audited")
        self.call("GET", SERVING, token="")
        trail = json.loads(self.wick.cli("audit", "--json").stdout)
        self.assertEqual(trail["firstBroken"], 0)
        rows = [(row["user"], row["method"], row["path"], row["status"]) for row in trail["rows"]]
        self.assertIn(("token:test", "DELETE", SERVING + "/audited", 404), rows)
        self.assertIn(("anonymous", "GET", SERVING, 401), rows)

    def test_a_secret_is_in_no_file_of_the_daemon(self):
        secrets = "/api/v1/namespaces/default/secrets"
        manifest = {"metadata": {"name": "canary", "annotations": {"note": CANARY}}, "stringData": {"a": CANARY}}
        self.assertEqual(self.call("POST", secrets, manifest)[0], 201)
        self.assertEqual(self.call("PATCH", secrets + "/canary", {"stringData": {"b": CANARY}},
                                   headers={"Content-Type": "application/merge-patch+json"})[0], 200)
        service = self.service("reads-it", volumes=[{"name": "v", "secret": {"secretName": "canary"}}])
        container = service["spec"]["template"]["spec"]["containers"][0]
        container["volumeMounts"] = [{"name": "v", "mountPath": "/keys"}]
        container["env"] = [{"name": "NOT_A_SECRET", "value": "x"}]
        self.assertEqual(self.call("POST", SERVING, service)[0], 201)
        eventually("the service that reads it is ready", lambda: self.wick.request("reads-it", "/file/keys/a") == (200, CANARY.encode()))
        self.wick.stop()
        forms = [CANARY.encode(), base64.b64encode(CANARY.encode())]
        for folder in (self.wick.state, self.wick.run):
            for path in pathlib.Path(folder).rglob("*"):
                if path.is_file() and not path.is_symlink():
                    content = path.read_bytes()
                    for form in forms:
                        self.assertNotIn(form[:24], content, path)
        self.wick.start()
        type(self).address = json.loads(self.wick.api("GET", "/apis/wick.dev/v1/info")[1])["apiListen"]
        stored = self.call("GET", secrets + "/canary")[2]
        self.assertEqual(stored["data"]["a"], forms[1].decode())
        for process in subprocess.run(["pgrep", "-f", self.wick.run], capture_output=True, text=True).stdout.split():
            environment = pathlib.Path(f"/proc/{process}/environ")
            if environment.exists():
                self.assertNotIn(CANARY.encode(), environment.read_bytes())
        self.assertEqual(self.wick.request("reads-it", "/file/keys/b"), (200, CANARY.encode()))
        self.call("DELETE", SERVING + "/reads-it")
        self.call("DELETE", secrets + "/canary")

    def test_the_key_of_the_secrets_is_rotated(self):
        """On a daemon of its own, with its own key file: read, sealed anew, and then the old key is of no use."""
        folder = pathlib.Path(self.folder) / "keys"
        folder.mkdir()
        key = folder / "secret.key"
        key.write_text("a" * 64 + "\n")
        secrets = "/api/v1/namespaces/default/secrets"
        wick = Daemon(flags=["--api-listen", "none", "--secret-key", str(key)]).start()
        try:
            body = json.dumps({"metadata": {"name": "kept"}, "stringData": {"a": CANARY}})
            self.assertEqual(wick.api("POST", secrets, body)[0], 201)
            wick.cli("secret", "rotate-key", "--key-file", str(key))
            early = wick.cli("secret", "rotate-key", "--key-file", str(key), "--drop-old", check=False)
            self.assertIn("the older keys are still needed", early.stderr)
            wick.stop()
            wick.start()
            wick.cli("secret", "rotate-key", "--key-file", str(key), "--drop-old")
            self.assertEqual(len(key.read_text().split()), 1)
            wick.stop()
            wick.start()
            stored = json.loads(wick.api("GET", secrets + "/kept")[1])
            self.assertEqual(base64.b64decode(stored["data"]["a"]).decode(), CANARY)
            wick.stop()
            key.write_text("a" * 64 + "\n")
            with self.assertRaises(AssertionError):
                wick.start()
        finally:
            wick.close()


if __name__ == "__main__":
    main()
