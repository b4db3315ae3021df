"""Mutual TLS per service (annotation wick.dev/client-ca): who is let in, by which names, and what the service learns."""
import base64
import hashlib
import json
import os
import pathlib
import subprocess

from fixture import DaemonTest, eventually, main


class ClientCertificatesTest(DaemonTest):
    flags = ("--https-listen", "127.0.0.1:0")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.port = int(cls.wick.https.rpartition(":")[2])
        cls.authority = os.path.join(cls.folder, "box.pem")
        pathlib.Path(cls.authority).write_text(json.loads(cls.wick.api("GET", "/apis/wick.dev/v1/info")[1])["authority"])
        for name in ("clients", "others"):
            cls.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3", "-subj",
                        f"/CN={name}", "-keyout", f"{cls.folder}/{name}.key", "-out", f"{cls.folder}/{name}.crt")
        cls.sign("ann", "clients")
        cls.sign("mallory", "others")
        test = cls("deploy")
        test.deploy_static("vault")
        test.deploy_static("open")
        test.secret("clients")
        test.annotate("clients")

    def deploy(self):
        pass

    @staticmethod
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    @classmethod
    def sign(cls, name, authority):
        at = f"{cls.folder}/{name}"
        cls.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout",
                    f"{at}.key", "-out", f"{at}.csr")
        cls.openssl("x509", "-req", "-in", f"{at}.csr", "-CA", f"{cls.folder}/{authority}.crt", "-CAkey", f"{cls.folder}/{authority}.key",
                    "-CAcreateserial", "-days", "2", "-out", f"{at}.crt")

    def secret(self, authority):
        pem = pathlib.Path(self.folder, f"{authority}.crt").read_bytes()
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "clients"}, "data": {"ca.crt": base64.b64encode(pem).decode()}}
        self.wick.cli("apply", "-f", "-", stdin=json.dumps(document))

    def annotate(self, value):
        status, body = self.wick.api("PATCH", "/apis/serving.knative.dev/v1/namespaces/default/services/vault",
                                     json.dumps({"metadata": {"annotations": {"wick.dev/client-ca": value}}}),
                                     {"Content-Type": "application/merge-patch+json"})
        self.assertEqual(status, 200, body)

    def curl(self, host, *flags, client=None, path="/"):
        own = ["--cert", f"{self.folder}/{client}.crt", "--key", f"{self.folder}/{client}.key"] if client else []
        return subprocess.run(["curl", "-sS", "-i", "--max-time", "30", "--cacert", self.authority, "--resolve",
                               f"{host}:{self.port}:127.0.0.1", *own, *flags, f"https://{host}:{self.port}{path}"],
                              capture_output=True, text=True)

    def test_only_clients_of_the_authority_are_let_in_whatever_they_speak(self):
        for version in ("--http1.1", "--http2"):
            for tls in ("1.2", "1.3"):
                flags = (version, "--tls-max", tls)
                self.assertIn("hello from", self.curl("vault.default.localhost", *flags, client="ann").stdout)
                self.assertNotEqual(self.curl("vault.default.localhost", *flags).returncode, 0)
                self.assertNotEqual(self.curl("vault.default.localhost", *flags, client="mallory").returncode, 0)
                self.assertIn("hello from", self.curl("open.default.localhost", *flags).stdout)

    def test_no_other_name_leads_around_it(self):
        for host in ("vault.default.localhost", "vault.localhost", "vault.default.svc.cluster.local", "vault.default.svc", "vault.default",
                     "VAULT.default.localhost", "vault.default.localhost.", "vault.default.localhost.:443"):
            clear = subprocess.run(["curl", "-sS", "-i", "-H", f"Host: {host}", f"http://{self.wick.listen}/"], capture_output=True, text=True).stdout
            self.assertIn(" 403 ", clear.splitlines()[0], host)
            for client in (None, "ann", "mallory"):
                other = self.curl("open.default.localhost", "-H", f"Host: {host}", client=client).stdout
                self.assertIn(" 421 ", other.splitlines()[0], (host, client))
        mapping = {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping", "metadata": {"name": "vault.example.test"},
                   "spec": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "vault"}}}
        self.wick.cli("apply", "-f", "-", stdin=json.dumps(mapping))

        def clear():
            return subprocess.run(["curl", "-sS", "-i", "-H", "Host: vault.example.test", f"http://{self.wick.listen}/"],
                                  capture_output=True, text=True).stdout

        eventually("the mapping asks too", lambda: " 403 " in clear().splitlines()[0])
        self.assertNotEqual(self.curl("vault.example.test").returncode, 0)
        self.assertIn("hello from", self.curl("vault.example.test", client="ann").stdout)
        self.wick.cli("domain", "rm", "vault.example.test")

    def test_the_service_learns_who_it_is_and_nobody_can_say_so_himself(self):
        der = subprocess.run(["openssl", "x509", "-in", f"{self.folder}/ann.crt", "-outform", "DER"], check=True, capture_output=True).stdout
        forged = ["-H", "Client-Cert: :Zm9yZ2Vk:", "-H", "Client-Cert-Chain: :Zm9yZ2Vk:", "-H", "X-Forwarded-Client-Cert: Subject=root",
                  "-H", "client_cert: forged", "-H", "X_Forwarded_Client_Cert: forged"]
        for version in ("--http1.1", "--http2"):
            seen = self.curl("vault.default.localhost", version, *forged, client="ann", path="/head").stdout.lower()
            self.assertIn(f"client-cert: :{base64.b64encode(der).decode()}:".lower(), seen)
            self.assertIn(f'x-forwarded-client-cert: hash={hashlib.sha256(der).hexdigest()};subject="cn=ann"', seen)
            for word in ("zm9yz2vk", "subject=root", "forged"):
                self.assertNotIn(word, seen)
            seen = self.curl("open.default.localhost", version, *forged, path="/head").stdout.lower()
            for word in ("client-cert", "client_cert", "zm9yz2vk", "forged"):
                self.assertNotIn(word, seen)

    def test_authorities_change_under_way_and_a_missing_secret_lets_nobody_in(self):
        try:
            self.secret("others")
            eventually("the new authority's clients are let in", lambda: "hello from" in self.curl("vault.default.localhost", client="mallory").stdout)
            self.assertNotEqual(self.curl("vault.default.localhost", client="ann").returncode, 0)
            self.wick.cli("secret", "rm", "clients")
            eventually("nobody is let in", lambda: " 503 " in (self.curl("vault.default.localhost", client="ann").stdout.splitlines() or [""])[0])
            self.assertIn('secrets "clients" not found', self.curl("vault.default.localhost", client="ann").stdout)
        finally:
            self.secret("clients")
        eventually("as before", lambda: "hello from" in self.curl("vault.default.localhost", client="ann").stdout)
        self.annotate(None)
        eventually("everybody is let in", lambda: "hello from" in self.curl("vault.default.localhost").stdout)
        self.annotate("clients")
        eventually("as before", lambda: self.curl("vault.default.localhost").returncode != 0)


if __name__ == "__main__":
    main()
