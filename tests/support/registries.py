"""Registries for tests: Debian's docker-registry, with passwords, TLS and tokens where asked, and a hostile one."""
import base64
import contextlib
import hashlib
import gzip
import http.client
import http.server
import io
import json
import os
import re
import socketserver
import ssl
import subprocess
import tarfile
import tempfile
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer_of(files):
    """A tar; {name: bytes}, each executable."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def image_of(layers, command=("/server",), architecture="amd64", compress=gzip.compress, suffix="+gzip"):
    """(manifest bytes, {digest: bytes}) of an image whose layers are tars."""
    blobs = {}

    def keep(data, media_type):
        blobs[digest_of(data)] = data
        return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}

    config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Cmd": list(command)},
                         "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}).encode()
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": keep(config, "application/vnd.oci.image.config.v1+json"),
                "layers": [keep(compress(layer), "application/vnd.oci.image.layer.v1.tar" + suffix) for layer in layers]}
    return json.dumps(manifest).encode(), blobs


def own_authority(folder):
    """A certificate for 127.0.0.1 that vouches for itself: (certificate, key)."""
    certificate, key = os.path.join(folder, "ca.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


class Registry:
    """docker-registry on a free port of loopback; `host` is HOST:PORT."""

    def __init__(self, password=None, tls=None, token_realm=None, token_certificate=None, folder=None, port=0):
        self.folder = folder or tempfile.mkdtemp(prefix="wick-registry-")
        config = {"version": 0.1, "log": {"level": "info"},
                  "storage": {"filesystem": {"rootdirectory": os.path.join(self.folder, "data")},
                              "delete": {"enabled": True}},
                  "http": {"addr": f"127.0.0.1:{port}", "secret": "x"}}
        if tls:
            config["http"]["tls"] = {"certificate": tls[0], "key": tls[1]}
        if password:
            passwords = os.path.join(self.folder, "htpasswd")
            subprocess.run(["htpasswd", "-Bbc", passwords, *password], check=True, capture_output=True)
            config["auth"] = {"htpasswd": {"realm": "box", "path": passwords}}
        if token_realm:
            config["auth"] = {"token": {"realm": token_realm, "service": "box", "issuer": "issuer",
                                        "rootcertbundle": token_certificate}}
        path = os.path.join(self.folder, "config.yml")
        with open(path, "w") as out:
            json.dump(config, out)  # JSON is YAML
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", path], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not (found := re.search(r"listening on ([0-9.]+:[0-9]+)", self.log_text())):
            assert self.process.poll() is None and time.monotonic() < end, self.log_text()
            time.sleep(0.02)
        self.host = found.group(1)

    def log_text(self):
        with open(self.log) as log:
            return log.read()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def push(layout, host, name, *flags):
    """`layout`: a transport of skopeo ("oci:/x:tag", "docker-archive:/x")."""
    subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", "--dest-tls-verify=false", *flags, layout,
                    f"docker://{host}/{name}"], check=True, capture_output=True)


def write_layout(folder, manifest, blobs, tag="v1"):
    """An OCI layout that skopeo can read; gives its transport."""
    os.makedirs(os.path.join(folder, "blobs/sha256"), exist_ok=True)
    for data in [manifest, *blobs.values()]:
        with open(os.path.join(folder, "blobs/sha256", digest_of(data)[7:]), "wb") as out:
            out.write(data)
    with open(os.path.join(folder, "oci-layout"), "w") as out:
        out.write('{"imageLayoutVersion":"1.0.0"}')
    with open(os.path.join(folder, "index.json"), "w") as out:
        json.dump({"schemaVersion": 2, "manifests": [
            {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest),
             "annotations": {"org.opencontainers.image.ref.name": tag}}]}, out)
    return f"oci:{folder}:{tag}"


def digest_by(algorithm, data):
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class RegistryClient:
    """A client of a registry that says what it got; its password is a token."""

    def __init__(self, host, token):
        self.host, self.token = host, token
        self.credentials = {"Authorization": "Basic " + base64.b64encode(f"anyone:{token}".encode()).decode()}

    def __call__(self, method, path, body=None, headers=None, credentials=None, chunked=False):
        connection = http.client.HTTPConnection(self.host, timeout=120)
        with contextlib.closing(connection):
            # Who is refused while it sends may find nobody who reads any more, but the answer is there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, {**(self.credentials if credentials is None else credentials),
                                                        **(headers or {})}, encode_chunked=chunked)
            answer = connection.getresponse()
            answer.body = answer.read()
            return answer

    def begin(self, repository, query=""):
        answer = self("POST", f"/v2/{repository}/blobs/uploads/{query}", headers={"Content-Length": "0"})
        assert answer.status == 202, (answer.status, answer.body)
        return answer.getheader("Location")

    def push(self, repository, data, algorithm="sha256"):
        digest = digest_by(algorithm, data)
        place = self.begin(repository)
        answer = self("PUT", f"{place}?digest={digest}", data, {"Content-Type": "application/octet-stream"})
        assert answer.status == 201, (answer.status, answer.body)
        return digest

    def put(self, repository, reference, manifest, media_type=MANIFEST):
        return self("PUT", f"/v2/{repository}/manifests/{reference}", manifest, {"Content-Type": media_type})


class Scripted:
    """A server whose answers the test makes: `answer(handler)` for every request. Requests are kept in `seen`."""

    def __init__(self, answer, tls=None):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(handler):
                seen.append((handler.command, handler.path, dict(handler.headers)))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    answer(handler)

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = handle_one

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def respond(handler, status, body=b"", **fields):
    """One whole answer; `content_length` in `fields` lies about its size."""
    handler.send_response(status)
    length = fields.pop("content_length", len(body))
    if length is not None:
        handler.send_header("Content-Length", str(length))
    for name, value in fields.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


class TokenServer(Scripted):
    """Gives the tokens that docker-registry asks for (distribution's auth/token spec), to who knows the password."""

    def __init__(self, user, password, folder):
        self.certificate, self.key = own_authority(folder)
        self.account = base64.b64encode(f"{user}:{password}".encode()).decode()
        super().__init__(self.give)

    def give(self, handler):
        from urllib.parse import parse_qs, urlsplit
        query = parse_qs(urlsplit(handler.path).query)
        known = handler.headers.get("Authorization") == "Basic " + self.account
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            wanted = set(actions.split(","))
            allowed = wanted if known else wanted & {"pull"} if name.startswith("public") else set()
            access.append({"type": kind, "name": name, "actions": sorted(allowed)})
        respond(handler, 200, json.dumps({"token": self.sign(query["service"][0], access)}).encode(),
                Content_Type="application/json")

    def sign(self, service, access):
        def part(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        der = subprocess.run(["openssl", "x509", "-in", self.certificate, "-outform", "DER"], check=True,
                             capture_output=True).stdout
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        now = int(time.time())
        claims = {"iss": "issuer", "sub": "", "aud": service, "exp": now + 300, "nbf": now - 10, "iat": now,
                  "jti": os.urandom(8).hex(), "access": access}
        signed = part(json.dumps(header).encode()) + "." + part(json.dumps(claims).encode())
        made = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=signed.encode(), check=True,
                              capture_output=True).stdout
        return signed + "." + part(raw_signature(made))


def raw_signature(der):
    """ECDSA as JWS wants it: r and s, 32 bytes each (RFC 7518 3.4)."""
    out, at = b"", 2
    for _ in range(2):
        size = der[at + 1]
        number = der[at + 2:at + 2 + size]
        out += number.lstrip(b"\0").rjust(32, b"\0")
        at += 2 + size
    return out
