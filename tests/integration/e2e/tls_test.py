"""https and HTTP/2 at the edge, with real clients: curl, h2load, openssl and Python's own."""
import base64
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

from fixture import DaemonTest, eventually, main

EXTENDED_CONNECT = """
const http2 = require('http2');
const [origin, host] = process.argv.slice(1);
const session = http2.connect(origin, { rejectUnauthorized: false, servername: host });
const ask = (path, protocol, more) => session.request({ ':method': 'CONNECT', ':protocol': protocol, ':scheme': origin.split(':')[0],
  ':authority': host, ':path': path, 'sec-websocket-version': '13', ...more }, { endStream: false });
const status = (stream) => new Promise((resolve, reject) => {
  stream.once('response', (head) => resolve(head[':status']));
  stream.once('error', reject);
});
const collect = (stream) => new Promise((resolve) => {
  let text = '';
  stream.on('data', (bytes) => { text += bytes; });
  stream.on('end', () => resolve(text));
});
const echo = async (text) => {
  const stream = ask('/echo', 'websocket');
  const code = await status(stream);
  const back = collect(stream);
  stream.end(text);
  return [code, await back === text];
};
session.once('remoteSettings', async (settings) => {
  if (!settings.enableConnectProtocol) return console.log('not offered'), session.destroy();
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) => echo('socket ' + i)));
  const big = ask('/echo', 'websocket');
  await status(big);
  const back = collect(big);
  big.end(Buffer.alloc(1 << 20, 'x'));
  const refused = ask('/', 'websocket'), other = ask('/echo', 'other');
  const codes = await Promise.all([status(refused), status(other)]);
  const get = await status(session.request({ ':path': '/', ':authority': host }));
  console.log(all[0][0], all.filter(([code, same]) => code === 200 && same).length + ' of 20 echo,', (await back).length + ' bytes came back;',
    codes.join('; ') + ';', 'GET', get);
  session.destroy();
});
"""
CERTIFICATES = tempfile.mkdtemp(prefix="wick-tls-")
os.chmod(CERTIFICATES, 0o755)


def certificate(name, *names, folder=CERTIFICATES):
    """A self-signed certificate as NAME.crt and NAME.key; replaced as a renewal would replace it."""
    out = pathlib.Path(folder)
    fresh = tempfile.mkdtemp(dir="/tmp", prefix="wick-tls-new-")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={names[0]}", "-addext", "subjectAltName=" + ",".join(f"DNS:{n}" for n in names),
                    "-keyout", f"{fresh}/key", "-out", f"{fresh}/crt"], check=True, capture_output=True)
    os.chmod(f"{fresh}/key", 0o644)  # the front is not root
    shutil.move(f"{fresh}/key", out / f"{name}.key")
    shutil.move(f"{fresh}/crt", out / f"{name}.crt")
    shutil.rmtree(fresh)
    return out / f"{name}.crt"


class TlsTest(DaemonTest):
    flags = ("--https-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--tls-certificates", CERTIFICATES)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(shutil.rmtree, CERTIFICATES, ignore_errors=True)
        cls.info = json.loads(cls.wick.api("GET", "/apis/wick.dev/v1/info")[1])
        cls.port = int(cls.info["httpsListen"].rpartition(":")[2])
        cls.authority = os.path.join(cls.folder, "authority.pem")
        pathlib.Path(cls.authority).write_text(cls.info["authority"])
        test = cls("deploy")
        test.deploy_static("hello")

    def deploy(self):
        pass

    def curl(self, url, *flags, authority=None, check=True):
        done = subprocess.run(["curl", "-sS", "--max-time", "30", "--cacert", str(authority or self.authority), *flags, url],
                              capture_output=True, text=True)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def at(self, host):
        return ["--resolve", f"{host}:{self.port}:127.0.0.1"]

    def shown_names(self, host):
        """Subject alternative names of what is shown to who asks for `host`; nothing where the handshake fails."""
        shown = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", host],
                               input=b"", capture_output=True).stdout
        text = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=shown, capture_output=True).stdout.decode()
        return sorted(part.strip().removeprefix("DNS:") for part in text.partition("\n")[2].split(",") if part.strip())

    def test_a_service_is_reached_over_https_with_the_boxs_own_authority(self):
        for host in ("hello.default.localhost", "hello.localhost"):
            for version in ("--http1.1", "--http2"):
                answer = self.curl(f"https://{host}:{self.port}/", version, "-w", "%{http_version}", *self.at(host)).stdout
                self.assertIn("hello from", answer)
                self.assertEqual(answer.splitlines()[-1], "2" if version == "--http2" else "1.1")

    def test_http2_without_tls_is_spoken_by_prior_knowledge(self):
        answer = self.curl(f"http://{self.wick.listen}/", "--http2-prior-knowledge", "-H", "Host: hello.localhost",
                           "-w", "%{http_version}").stdout
        self.assertIn("hello from", answer)
        self.assertTrue(answer.endswith("2"))

    def test_a_scaled_down_service_wakes_for_a_request_over_http2(self):
        host = "hello.default.localhost"
        answer = self.curl(f"https://{host}:{self.port}/", "--http2", *self.at(host)).stdout
        self.assertIn("hello from", answer)

    def test_many_streams_of_many_connections_are_all_answered(self):
        if not shutil.which("h2load"):
            print("SKIP: no h2load", file=sys.stderr)
            self.skipTest("no h2load")
        out = subprocess.run(["h2load", "-n", "20000", "-c", "8", "-m", "16", "-t", "1", f"https://127.0.0.1:{self.port}/bytes/3000",
                              "-H", f":authority: hello.default.localhost:{self.port}"], capture_output=True, text=True).stdout
        self.assertIn("20000 succeeded, 0 failed, 0 errored, 0 timeout", out)
        self.assertIn("20000 2xx", out)

    def test_websockets_run_in_streams_of_one_http2_connection(self):
        if not shutil.which("node"):
            print("SKIP: no node", file=sys.stderr)
            self.skipTest("no node")
        for origin in (f"https://127.0.0.1:{self.port}", f"http://{self.wick.listen}"):
            done = subprocess.run(["node", "-e", EXTENDED_CONNECT, origin, "hello.default.localhost"], capture_output=True, text=True,
                                  timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "200 20 of 20 echo, 1048576 bytes came back; 502; 501; GET 200\n", ""))

    def test_large_bodies_pass_both_ways_over_tls(self):
        blob = os.path.join(self.folder, "blob")
        pathlib.Path(blob).write_bytes(os.urandom(1 << 20) * 40)
        host = "hello.default.localhost"
        for version in ("--http1.1", "--http2"):
            up = self.curl(f"https://{host}:{self.port}/count", version, "--data-binary", f"@{blob}", "-H", "Expect:", *self.at(host)).stdout
            self.assertEqual(up.strip(), str(40 << 20))
            out = os.path.join(self.folder, "down")
            self.curl(f"https://{host}:{self.port}/bytes/50000000", version, "-o", out, *self.at(host))
            self.assertEqual(os.path.getsize(out), 50_000_000)

    def test_a_certificate_from_the_folder_is_shown_for_its_names_and_changes_under_load_without_a_failed_handshake(self):
        certificate("box", "*.default.localhost")
        eventually("the certificate is shown", lambda: self.shown_names("hello.default.localhost") == ["*.default.localhost"])
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        failures, shaken, done = [], [0], threading.Event()

        def shake():
            while not done.is_set():
                try:
                    with socket.create_connection(("127.0.0.1", self.port), 30) as plain:
                        with context.wrap_socket(plain, server_hostname="hello.default.localhost"):
                            shaken[0] += 1
                except OSError as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=shake) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            for swap in range(5):
                certificate("box", "*.default.localhost", f"swap-{swap}.test")
                eventually("the next certificate is shown",
                           lambda: f"swap-{swap}.test" in self.shown_names("hello.default.localhost"))
        finally:
            done.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(shaken[0], 100)
        pathlib.Path(CERTIFICATES, "broken.crt").write_text("nonsense")
        eventually("the log says what is wrong", lambda: "a certificate is not used" in self.wick.log_text())
        self.assertIn("swap-4.test", self.shown_names("hello.default.localhost"))
        for file in pathlib.Path(CERTIFICATES).iterdir():
            file.unlink()
        eventually("the box's own is shown again", lambda: self.shown_names("hello.default.localhost") == ["*.default.localhost"]
                   and self.curl(f"https://hello.default.localhost:{self.port}/", *self.at("hello.default.localhost"), check=False).returncode == 0)

    def mapping(self, host, secret=None, annotations=None):
        spec = {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "hello"}}
        if secret:
            spec["tls"] = {"secretName": secret}
        document = {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
                    "metadata": {"name": host, "annotations": annotations or {}}, "spec": spec}
        self.wick.cli("apply", "-f", "-", stdin=json.dumps(document))

    def secret(self, name, chain, key):
        document = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name},
                    "data": {"tls.crt": base64.b64encode(chain).decode(), "tls.key": base64.b64encode(key).decode()}}
        self.wick.cli("apply", "-f", "-", stdin=json.dumps(document))

    def condition(self, host, name):
        mapping = json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1beta1/namespaces/default/domainmappings/{host}")[1])
        found = [c for c in mapping.get("status", {}).get("conditions", []) if c["type"] == name]
        return found[0] if found else {}

    def test_a_domain_brings_its_certificate_in_a_secret_as_on_a_cluster(self):
        host, folder = "shop.example.test", tempfile.mkdtemp(dir=self.folder)
        for old in (f"/apis/serving.knative.dev/v1beta1/namespaces/default/domainmappings/{host}",  # of an earlier run
                    "/api/v1/namespaces/default/secrets/shop-tls"):
            self.wick.api("DELETE", old)
        self.mapping(host, "shop-tls")
        eventually("the mapping says what is missing",
                   lambda: 'secrets "shop-tls" not found' in self.condition(host, "CertificateProvisioned").get("message", ""))
        wrong = certificate("wrong", "other.test", folder=folder)
        self.secret("shop-tls", wrong.read_bytes(), wrong.with_suffix(".key").read_bytes())
        eventually("the mapping says whose certificate it is",
                   lambda: "is for other.test, not for shop.example.test" in self.condition(host, "CertificateProvisioned").get("message", ""))
        right = certificate("right", host, folder=folder)
        self.secret("shop-tls", right.read_bytes(), right.with_suffix(".key").read_bytes())
        eventually("the mapping is ready", lambda: self.condition(host, "Ready").get("status") == "True")
        self.assertEqual(self.condition(host, "CertificateProvisioned")["reason"], "CertificateExternallyProvided")
        eventually("its certificate is shown", lambda: self.shown_names(host) == [host])
        self.assertIn("hello from", self.curl(f"https://{host}:{self.port}/", *self.at(host), authority=right).stdout)

    def test_http_is_redirected_where_a_service_asks_for_it(self):
        host = "moved.example.test"
        self.mapping(host, annotations={"networking.knative.dev/http-protocol": "Redirected"})

        def head():
            return self.curl(f"http://{self.wick.listen}/a?b=c", "-i", "-H", f"Host: {host}").stdout

        eventually("a redirect is answered", lambda: head().startswith("HTTP/1.1 301 "))
        self.assertIn(f"Location: https://{host}:{self.port}/a?b=c", head())
        followed = self.curl(f"https://{host}:{self.port}/", *self.at(host)).stdout
        self.assertIn("hello from", followed)

    def test_the_api_is_spoken_to_over_tls_with_the_kubeconfigs_authority_and_in_clear_as_before(self):
        config = self.wick.cli("kubeconfig", "--json").stdout
        config = json.loads(config)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.assertTrue(cluster["server"].startswith("https://127.0.0.1:"))
        authority = os.path.join(self.folder, "api.pem")
        pathlib.Path(authority).write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        token = ["-H", "Authorization: Bearer " + user["token"]]
        for version in ("--http1.1", "--http2"):
            names = self.curl(cluster["server"] + "/api/v1/namespaces", version, *token, authority=authority).stdout
            self.assertIn('"default"', names)
        clear = self.curl(cluster["server"].replace("https:", "http:") + "/api/v1/namespaces", *token).stdout
        self.assertIn('"default"', clear)
        refused = self.curl(cluster["server"] + "/api/v1/namespaces", "-i", authority=authority).stdout
        self.assertIn(" 401", refused.splitlines()[0])

    def test_a_request_in_clear_on_the_port_of_https_is_told_so(self):
        answer = self.curl(f"http://127.0.0.1:{self.port}/", "-i").stdout
        self.assertTrue(answer.startswith("HTTP/1.1 400 "))
        self.assertIn("this port speaks TLS", answer)

    def test_the_authority_outlives_the_daemon(self):
        before = self.info["authority"]
        self.wick.kill()
        self.wick.start()
        type(self).info = json.loads(self.wick.api("GET", "/apis/wick.dev/v1/info")[1])
        type(self).port = int(self.info["httpsListen"].rpartition(":")[2])
        self.assertEqual(before, self.info["authority"])


if __name__ == "__main__":
    main()
