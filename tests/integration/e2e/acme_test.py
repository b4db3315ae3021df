"""Certificates from an ACME authority, against Debian's pebble and its name server: HTTP-01, TLS-ALPN-01 and DNS-01, faults of the
authority, renewal, restarts, and `wick domain`."""
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import unittest
import urllib.request

from fixture import Daemon, DaemonTest, eventually, main

DIRECTORY = tempfile.mkdtemp(prefix="wick-acme-")
os.chmod(DIRECTORY, 0o755)
unittest.addModuleCleanup(shutil.rmtree, DIRECTORY, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def address(port):
    return f"127.0.0.1:{port}"


class Authority:
    """pebble and pebble-challtestsrv. What they are given of the box are ports: these are known before the box starts."""

    def __init__(self, http_port, tls_port):
        self.port, self.management = free_port(), free_port()
        self.dns_port, self.dns_management = free_port(), free_port()
        self.ca = os.path.join(DIRECTORY, "ca.pem")
        self.key = os.path.join(DIRECTORY, "ca.key")
        if not os.path.exists(self.ca):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                            "-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.key, "-out", self.ca],
                           check=True, capture_output=True)
        self.http_port, self.tls_port = http_port, tls_port
        self.process = None
        self.dns = subprocess.Popen(
            ["pebble-challtestsrv", "-dns01", address(self.dns_port), "-management", address(self.dns_management), "-http01", "",
             "-https01", "", "-tlsalpn01", "", "-defaultIPv6", "", "-defaultIPv4", "127.0.0.1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.directory = f"https://{address(self.port)}/dir"
        self.log = os.path.join(DIRECTORY, f"pebble-{self.port}.log")

    def start(self, validity=None, accounts=None, **faults):
        config = {"listenAddress": address(self.port), "managementListenAddress": address(self.management), "certificate": self.ca,
                  "privateKey": self.key, "httpPort": self.http_port, "tlsPort": self.tls_port}
        if validity:
            config["certificateValidityPeriod"] = validity
        if accounts:
            config.update(externalAccountBindingRequired=True, externalAccountMACKeys=accounts)
        file = os.path.join(DIRECTORY, f"pebble-{self.port}.json")
        pathlib.Path(file).write_text(json.dumps({"pebble": config}))
        faults = {f"PEBBLE_{name}": str(value) for name, value in {"VA_NOSLEEP": 1, "WFE_NONCEREJECT": 0, "AUTHZREUSE": 0, **faults}.items()}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["pebble", "-config", file, "-dnsserver", address(self.dns_port)],
                                            env=dict(os.environ, **faults), stdout=log, stderr=log)

        def answers():
            with contextlib.suppress(OSError):
                return self.root()
            return None

        eventually("pebble answers", answers, 30)
        return self

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self):
        self.stop()
        self.dns.kill()
        self.dns.wait()

    def root(self):
        """What clients must trust: pebble makes it anew with each start."""
        context = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(f"https://{address(self.management)}/roots/0", context=context, timeout=10) as answer:
            return answer.read().decode()

    def tell_dns(self, path, **body):
        urllib.request.urlopen(f"http://{address(self.dns_management)}/{path}", json.dumps(body).encode(), timeout=10).close()

    def log_text(self):
        return pathlib.Path(self.log).read_text(errors="replace")


class AcmeTest(DaemonTest):
    extra = ()

    @classmethod
    def setUpClass(cls):
        if not shutil.which("pebble") or not shutil.which("pebble-challtestsrv"):
            print("SKIP: no pebble", file=sys.stderr)
            sys.exit(77)
        cls.http_port, cls.https_port = free_port(), free_port()
        cls.authority = Authority(cls.http_port, cls.https_port).start()
        cls.addClassCleanup(lambda: cls.authority.close())
        cls.flags = ("--listen", address(cls.http_port), "--https-listen", address(cls.https_port), "--acme-directory",
                     cls.authority.directory, "--acme-ca", cls.authority.ca, "--acme-agree-tos", "--acme-email", "box@example.test",
                     *cls.extra)
        super().setUpClass()
        cls("deploy").deploy_static("hello")

    def deploy(self):
        pass

    def setUp(self):
        for item in json.loads(self.wick.cli("domain", "ls", "--json").stdout):
            self.wick.cli("domain", "rm", item["name"])

    def add(self, name, *flags, check=True):
        return self.wick.cli("domain", "add", name, "hello", "--no-dns-check", *flags, check=check)

    def condition(self, name, kind="CertificateProvisioned"):
        mapping = json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1beta1/namespaces/default/domainmappings/{name}")[1])
        return next((c for c in mapping.get("status", {}).get("conditions", []) if c["type"] == kind), {})

    def shown(self, name):
        """The serial and issuer of what is shown for this name; None where it is not the authority's or not good."""
        context = ssl.create_default_context(cadata=self.authority.root())
        try:
            with socket.create_connection(("127.0.0.1", self.https_port), 30) as plain:
                with context.wrap_socket(plain, server_hostname=name) as secure:
                    return secure.getpeercert()["serialNumber"]
        except ssl.SSLCertVerificationError:
            return None

    def get(self, name):
        """Over https, as a client that trusts the authority alone."""
        context = ssl.create_default_context(cadata=self.authority.root())
        with socket.create_connection(("127.0.0.1", self.https_port), 30) as plain:
            with context.wrap_socket(plain, server_hostname=name) as secure:
                secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
                return b"".join(iter(lambda: secure.recv(65536), b"")).decode(errors="replace")

    def kept(self, ending):
        return sorted(self.store.rglob(f"*{ending}"))

    @property
    def store(self):
        mark = hashlib.sha256(self.authority.directory.encode()).hexdigest()[:8]
        return pathlib.Path(self.wick.state, "front/tls/acme", f"127.0.0.1-{mark}")

    def forget(self, name):
        for file in self.kept(f"{name}.pem"):
            file.unlink()


class Http01Test(AcmeTest):
    def test_a_domain_gets_a_certificate_that_clients_of_the_authority_trust(self):
        answer = self.add("shop.example.test")
        self.assertEqual(answer.stdout, "https://shop.example.test\n")
        self.assertIn("hello from", self.get("shop.example.test"))
        self.assertEqual(self.condition("shop.example.test")["status"], "True")
        self.assertEqual(self.condition("shop.example.test", "Ready")["status"], "True")
        row = [line.split() for line in self.wick.cli("domain", "ls").stdout.splitlines()][1]
        self.assertEqual(row[:5], ["shop.example.test", "hello", "https://shop.example.test", "issued", "True"])
        files = self.kept("shop.example.test.pem") + self.kept("account.key") + self.kept("account.url")
        self.assertEqual(len(files), 3)
        for file in files:
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        self.assertIn('wick_acme_attempts_total{result="issued"}', self.wick.api("GET", "/metrics")[1])
        self.assertIn('wick_certificate_not_after_seconds{host="shop.example.test"}', self.wick.api("GET", "/metrics")[1])
        self.wick.cli("domain", "rm", "shop.example.test")
        eventually("it is shown no more", lambda: self.shown("shop.example.test") is None)

    def test_a_redirected_domain_is_validated_in_clear_all_the_same(self):
        document = {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
                    "metadata": {"name": "moved.example.test", "annotations": {"networking.knative.dev/http-protocol": "Redirected"}},
                    "spec": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}}}
        self.wick.cli("apply", "-f", "-", stdin=json.dumps(document))
        eventually("the certificate is there", lambda: self.shown("moved.example.test"))
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        connection.request("GET", "/", headers={"Host": "moved.example.test"})
        self.assertEqual(connection.getresponse().status, 301)
        connection.close()

    def test_a_token_that_is_not_ours_goes_to_the_service(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=30)
        connection.request("GET", "/.well-known/acme-challenge/nobodys", headers={"Host": "hello.default.localhost"})
        self.assertIn(b"hello from", connection.getresponse().read())
        connection.close()

    def test_every_other_nonce_is_refused_and_authorizations_are_reused(self):
        self.authority.stop()
        self.authority.start(WFE_NONCEREJECT=50, AUTHZREUSE=100)
        try:
            for name in ("one.example.test", "two.example.test"):
                self.assertEqual(self.add(name).stdout, f"https://{name}\n")
            # pebble forgot our account with its restart: another was made.
            self.wick.cli("domain", "rm", "one.example.test")
            self.forget("one.example.test")
            self.assertEqual(self.add("one.example.test").stdout, "https://one.example.test\n")
            self.assertIn("hello from", self.get("one.example.test"))
        finally:
            self.authority.stop()
            self.authority.start()

    def test_a_name_that_leads_elsewhere_is_told_and_tried_again_when_asked(self):
        self.authority.tell_dns("add-a", host="lost.example.test.", addresses=["127.0.0.77"])
        refused = self.add("lost.example.test", check=False)
        self.assertEqual(refused.returncode, 5, refused.stderr)
        self.assertIn("error: there is no certificate for lost.example.test  [E_NOT_READY]", refused.stderr)
        self.assertIn("http-01 failed: connection: ", refused.stderr)
        self.assertIn("127.0.0.77", refused.stderr)
        self.assertIn("seen from here, lost.example.test leads nowhere", refused.stderr)
        self.assertIn("next attempt at ", refused.stderr)
        condition = self.condition("lost.example.test")
        self.assertEqual((condition["status"], condition["reason"]), ("False", "CertificateProvisionFailed"))
        self.assertEqual(self.condition("lost.example.test", "Ready")["status"], "False")
        self.authority.tell_dns("clear-a", host="lost.example.test.")
        self.assertEqual(self.add("lost.example.test").stdout, "https://lost.example.test\n")
        self.assertEqual(self.kept("lost.example.test.attempts"), [])

    def test_an_authority_that_is_down_is_asked_again_until_it_answers(self):
        self.authority.stop()
        refused = self.add("patient.example.test", check=False)
        self.assertEqual(refused.returncode, 5)
        self.assertIn("onnect", refused.stderr)
        self.authority.start()
        eventually("the certificate is there", lambda: self.shown("patient.example.test"), 60)

    def test_a_restart_asks_for_nothing_that_is_valid(self):
        self.add("kept.example.test")
        serial = self.shown("kept.example.test")
        self.assertTrue(serial)
        orders = self.authority.log_text().count("POST /order-plz")
        self.wick.kill()
        self.wick.start()
        eventually("the same certificate is shown", lambda: self.shown("kept.example.test") == serial)
        self.assertEqual(self.authority.log_text().count("POST /order-plz"), orders)

    def test_a_daemon_that_is_killed_while_it_waits_for_the_authority_goes_on_after_its_restart(self):
        self.authority.stop()
        self.authority.start(VA_NOSLEEP="", VA_SLEEPTIME=5)
        try:
            self.add("cut.example.test", "--no-wait")
            eventually("the authority was asked", lambda: "cut.example.test" in self.wick.log_text() and
                       "asking for a certificate" in self.wick.log_text())
            self.wick.kill()
            self.wick.start()
            eventually("the certificate is there", lambda: self.shown("cut.example.test"), 90)
        finally:
            self.authority.stop()
            self.authority.start()

    def test_certificates_are_renewed_before_they_expire(self):
        self.authority.stop()
        self.authority.start(validity=30)
        try:
            self.add("short.example.test")
            root = self.authority.root()
            first = self.shown("short.example.test")
            self.assertTrue(first)
            second = eventually("another certificate is shown", lambda: self.shown("short.example.test") not in (None, first) and
                                self.shown("short.example.test"), 60)
            self.assertNotEqual(first, second)
            self.assertEqual(root, self.authority.root())
            self.assertNotIn("short.example.test: no certificate", self.wick.log_text())
        finally:
            self.wick.cli("domain", "rm", "short.example.test")
            self.authority.stop()
            self.authority.start()

    def test_a_certificate_of_ones_own_is_used_in_place_of_one_by_acme(self):
        chain, key = os.path.join(self.folder, "own.crt"), os.path.join(self.folder, "own.key")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
                        "-subj", "/CN=own", "-addext", "subjectAltName=DNS:own.example.test", "-keyout", key, "-out", chain],
                       check=True, capture_output=True)
        self.assertEqual(self.add("own.example.test", "--cert", chain, "--key", key).stdout, "https://own.example.test\n")
        self.assertEqual(self.condition("own.example.test")["reason"], "CertificateExternallyProvided")
        self.assertEqual(self.kept("own.example.test.pem"), [])
        self.wick.cli("domain", "rm", "own.example.test")
        self.assertEqual(self.wick.api("GET", "/api/v1/namespaces/default/secrets/own.example.test-tls")[0], 404)

    def test_domain_add_looks_at_dns_first(self):
        hosts = os.path.join(self.folder, "hosts")
        pathlib.Path(hosts).write_text("127.0.0.1 localhost here.example.test\n203.0.113.9 there.example.test\n")

        def add(name):
            script = f'mount --bind {hosts} /etc/hosts && exec "$0" domain add {name} hello'
            return subprocess.run(["unshare", "-m", "sh", "-c", script, os.environ.get("WICK", "wick")], capture_output=True, text=True,
                                  env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock"), NO_COLOR="1"))

        there = add("there.example.test")
        self.assertEqual(there.returncode, 1, there.stderr)
        self.assertIn("error: there.example.test does not point here yet  [E_DNS]", there.stderr)
        self.assertIn("because: there.example.test leads to 203.0.113.9; this machine has ", there.stderr)
        self.assertEqual(self.wick.cli("domain", "ls").stdout, "")
        here = add("here.example.test")
        self.assertEqual((here.returncode, here.stdout), (0, "https://here.example.test\n"), here.stderr)


class ExternalAccountTest(AcmeTest):
    account = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}

    @classmethod
    def setUpClass(cls):
        cls.key = os.path.join(DIRECTORY, "eab.key")
        pathlib.Path(cls.key).write_text(cls.account["kid-1"] + "\n")
        cls.extra = ("--acme-eab-id", "kid-1", "--acme-eab-key", cls.key)
        super().setUpClass()

    def test_an_account_that_the_authority_gave_out_is_used(self):
        self.authority.stop()
        self.authority.start(accounts=self.account)
        self.assertEqual(self.add("bound.example.test").stdout, "https://bound.example.test\n")
        self.assertIn("hello from", self.get("bound.example.test"))

    def test_the_key_of_another_account_is_refused_in_the_authoritys_words(self):
        for file in self.kept("account.url"):
            file.unlink()
        self.authority.stop()
        self.authority.start(accounts={"kid-1": "AAAA" + self.account["kid-1"][4:]})
        self.wick.kill()
        self.wick.start()
        refused = self.add("unbound.example.test", check=False)
        self.assertEqual(refused.returncode, 5, refused.stderr)
        self.assertIn("external account binding JWS verification error", refused.stderr)


class TlsAlpn01Test(AcmeTest):
    extra = ("--acme-challenge", "tls-alpn-01")

    def test_a_domain_is_proven_within_tls(self):
        self.assertEqual(self.add("alpn.example.test").stdout, "https://alpn.example.test\n")
        self.assertIn("hello from", self.get("alpn.example.test"))
        self.assertIn("tls-alpn-01", self.wick.log_text())
        self.assertNotIn("http-01", self.wick.log_text())


class Dns01Test(AcmeTest):
    @classmethod
    def setUpClass(cls):
        cls.hook = os.path.join(DIRECTORY, "hook")
        cls.extra = ("--acme-hook", cls.hook)
        super().setUpClass()

    def test_a_hook_sets_the_record(self):
        at = f"http://{address(self.authority.dns_management)}"
        pathlib.Path(self.hook).write_text(
            "#!/bin/sh\ncase $1 in\n"
            f"present) exec curl -sSf {at}/set-txt -d \"{{\\\"host\\\":\\\"$2\\\",\\\"value\\\":\\\"$3\\\"}}\" ;;\n"
            f"cleanup) exec curl -sSf {at}/clear-txt -d \"{{\\\"host\\\":\\\"$2\\\"}}\" ;;\nesac\nexit 1\n")
        os.chmod(self.hook, 0o755)
        self.assertEqual(self.add("record.example.test").stdout, "https://record.example.test\n")
        self.assertIn("hello from", self.get("record.example.test"))
        self.assertIn("dns-01", self.wick.log_text())


class SettingsTest(unittest.TestCase):
    def refused(self, *flags):
        daemon = Daemon(flags=flags)
        self.addCleanup(daemon.close)
        daemon.spawn()
        daemon.process.wait(30)
        self.assertNotEqual(daemon.process.returncode, 0)
        return daemon.log_text()

    def test_what_acme_needs_is_said_at_the_start(self):
        self.assertIn("--acme needs --acme-agree-tos", self.refused("--acme", "--https-listen", "127.0.0.1:0"))
        self.assertIn("https is not spoken", self.refused("--acme", "--acme-agree-tos"))
        self.assertIn("expected an https:// URL", self.refused("--acme-directory", "http://ca.test/"))
        self.assertIn("--acme-ca", self.refused("--acme-directory", "https://ca.test/", "--https-listen", "127.0.0.1:0", "--acme-ca", "/none"))


if __name__ == "__main__":
    main()
