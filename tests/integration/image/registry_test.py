"""The child that asks registries: a real registry in all its ways, a hostile one in all of its own."""
import contextlib
import gzip
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "tests/support"))
from registries import (MANIFEST, Registry, Scripted, TokenServer, digest_of, image_of, layer_of, own_authority, push,  # noqa: E402
                        respond, write_layout)

WICK = os.environ.get("WICK", str(TOP / "build/src/app/wick"))


class Said:
    def __init__(self, lines, code, seconds):
        self.lines, self.code, self.seconds = [line.split("\t") for line in lines], code, seconds

    def of(self, kind):
        return [line[1:] for line in self.lines if line[0] == kind]

    @property
    def error(self):
        found = self.of("error")
        return found[0] if found else None

    def __repr__(self):
        return repr(self.lines)


class RegistryTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="wick-registry-test-")
        self.addCleanup(shutil.rmtree, self.folder, True)

    def registry(self, **options):
        registry = Registry(**options)
        self.addCleanup(shutil.rmtree, registry.folder, True)
        self.addCleanup(registry.stop)
        return registry

    def scripted(self, answer, **options):
        server = Scripted(answer, **options)
        self.addCleanup(server.stop)
        return server

    def child(self, verb, reference, endpoints, *arguments, known=(), after=b""):
        """`known`: {DiffID: size}."""
        request = json.dumps({"reference": reference, "endpoints": [dict(
            {"url": "http://" + reference.split("/")[0], "ca": "", "username": "", "password": "", "identityToken": ""}, **one)
            for one in endpoints]})
        began = time.monotonic()
        child = subprocess.Popen([WICK, "helper", "fetch", verb, *arguments], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
        child.stdin.write(request.encode() + b"\n" + after)
        child.stdin.flush()
        if after:
            child.stdin.close()
        lines = []
        for line in child.stdout:
            lines.append(line.decode().rstrip("\n"))
            if lines[-1].startswith("known?"):
                child.stdin.write(str(dict(known).get(lines[-1].split("\t")[1], "-")).encode() + b"\n")
                child.stdin.flush()
        child.stdout.close()
        if not after:
            child.stdin.close()
        return Said(lines, child.wait(), time.monotonic() - began)

    def resolve(self, reference, *endpoints):
        return self.child("registry-resolve", reference, endpoints or [{}])

    def pull(self, reference, *endpoints, known=()):
        self.layout = tempfile.mkdtemp(dir=self.folder)
        return self.child("registry-pull", reference, endpoints or [{}], self.layout, known=known)

    def pulled(self, said):
        """{DiffID: bytes} of what a pull that went well left, every digest checked."""
        self.assertIsNone(said.error, said)
        self.assertEqual(said.code, 0)
        blobs = os.path.join(self.layout, "content/blobs/sha256")
        found = {"sha256:" + name: pathlib.Path(blobs, name).read_bytes() for name in os.listdir(blobs)}
        for digest, data in found.items():
            self.assertEqual(digest_of(data), digest)
        manifest = json.loads(found[said.of("image")[0][0]])
        return {layer["digest"]: found.get(layer["digest"]) for layer in manifest["layers"]}

    def refused(self, said, code, *words):
        self.assertIsNotNone(said.error, said)
        self.assertEqual(said.error[0], code, said)
        for word in words:
            self.assertIn(word, said.error[1])
        return said

    def pushed(self, host, name, layers, *flags, **options):
        manifest, blobs = image_of(layers, **options)
        push(write_layout(tempfile.mkdtemp(dir=self.folder), manifest, blobs), host, name, *flags)
        return manifest


class Real(RegistryTest):
    def test_a_tag_is_resolved_and_its_image_pulled(self):
        registry = self.registry()
        layers = [layer_of({"a": os.urandom(1 << 20)}), layer_of({"b": b"b" * 100000}), layer_of({"c": b""})]
        manifest = self.pushed(registry.host, "team/hello:v1", layers)
        reference = registry.host + "/team/hello:v1"
        self.assertEqual(self.resolve(reference).of("digest"), [[digest_of(manifest)]])
        said = self.pull(reference)
        self.assertEqual(self.pulled(said), {digest_of(layer): layer for layer in layers})
        self.assertEqual(said.of("digest"), [[digest_of(manifest)]])
        said = self.pull(f"{registry.host}/team/hello@{digest_of(manifest)}")
        self.assertEqual(set(self.pulled(said)), {digest_of(layer) for layer in layers})

    def test_layers_that_are_here_are_not_fetched(self):
        registry = self.registry()
        layers = [layer_of({"a": b"a"}), layer_of({"b": b"b"})]
        self.pushed(registry.host, "hello:v1", layers)
        said = self.pull(registry.host + "/hello:v1", known={digest_of(layers[0]): len(layers[0])})
        self.assertEqual(self.pulled(said), {digest_of(layers[0]): None, digest_of(layers[1]): layers[1]})
        log = registry.log_text()
        self.assertNotIn(f'GET /v2/hello/blobs/{digest_of(gzip.compress(layers[0]))}', log)

    def test_zstd_layers_and_an_index_for_several_machines(self):
        layer = layer_of({"a": b"a" * 5000})

        def zstd(data):
            return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout

        mine, blobs = image_of([layer], compress=zstd, suffix="+zstd")
        other, more = image_of([layer_of({"a": b"arm"})], architecture="arm64")
        index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
            {"mediaType": MANIFEST, "digest": digest_of(other), "size": len(other),
             "platform": {"os": "linux", "architecture": "arm64"}},
            {"mediaType": MANIFEST, "digest": digest_of(mine), "size": len(mine),
             "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()
        documents = {"v1": index, digest_of(index): index, digest_of(mine): mine, digest_of(other): other}

        def answer(handler):
            last = handler.path.rsplit("/", 1)[1]
            respond(handler, 200, documents.get(last) or {**blobs, **more}[last])

        server = self.scripted(answer)
        said = self.pull(server.host + "/hello:v1")
        self.assertEqual(self.pulled(said), {digest_of(layer): layer})
        self.assertEqual(said.of("digest"), [[digest_of(index)], [digest_of(mine)]])

    def test_passwords_are_asked_for_and_wrong_ones_refused(self):
        registry = self.registry(password=("me", "secret"))
        self.pushed(registry.host, "hello:v1", [layer_of({"a": b"a"})], "--dest-creds", "me:secret")
        reference = registry.host + "/hello:v1"
        self.assertEqual(len(self.resolve(reference, {"username": "me", "password": "secret"}).of("digest")), 1)
        self.pulled(self.pull(reference, {"username": "me", "password": "secret"}))
        said = self.refused(self.resolve(reference), "denied", f"registry {registry.host}", "401")
        self.assertIn("imagePullSecrets", said.error[2])
        said = self.refused(self.pull(reference, {"username": "me", "password": "wrong"}), "denied", "401")
        self.assertNotIn("wrong", repr(said))

    def test_a_certificate_of_its_own_counts_when_its_authority_is_given(self):
        certificate, key = own_authority(self.folder)
        registry = self.registry(tls=(certificate, key))
        self.pushed(registry.host, "hello:v1", [layer_of({"a": b"a"})])
        reference = registry.host + "/hello:v1"
        pem = pathlib.Path(certificate).read_text()
        self.pulled(self.pull(reference, {"url": "https://" + registry.host, "ca": pem}))
        said = self.refused(self.resolve(reference, {"url": "https://" + registry.host}), "denied", "certificate")
        self.assertIn("--registry-ca", said.error[2])
        self.assertIsNotNone(self.resolve(reference).error)  # plain HTTP to a server that has TLS

    def test_tokens_are_fetched_for_what_is_wanted(self):
        tokens = TokenServer("me", "secret", self.folder)
        self.addCleanup(tokens.stop)
        registry = self.registry(token_realm=f"http://{tokens.host}/token", token_certificate=tokens.certificate)
        for name in ("public/hello:v1", "private/hello:v1"):
            self.pushed(registry.host, name, [layer_of({"a": b"a"})], "--dest-creds", "me:secret")
        del tokens.seen[:]
        self.pulled(self.pull(registry.host + "/public/hello:v1"))
        self.assertNotIn("Authorization", tokens.seen[0][2])
        self.refused(self.pull(registry.host + "/private/hello:v1"), "denied", "401")
        me = {"username": "me", "password": "secret"}
        del tokens.seen[:]
        self.pulled(self.pull(registry.host + "/private/hello:v1", me))
        self.assertEqual(len(tokens.seen), 1)  # one for the whole pull
        self.assertIn("scope=repository%3Aprivate%2Fhello%3Apull", tokens.seen[0][1])

    def test_what_is_not_there_is_said_with_its_place(self):
        registry = self.registry()
        said = self.refused(self.resolve(registry.host + "/nothing:v1"), "not_found", f"registry {registry.host}",
                            "/v2/nothing/manifests/v1", "404", "MANIFEST_UNKNOWN")
        self.assertTrue(said.error[2])
        registry.stop()
        self.refused(self.resolve(registry.host + "/nothing:v1"), "unavailable", registry.host)

    def test_a_mirror_comes_first_and_may_be_gone(self):
        registry, mirror = self.registry(), self.registry()
        layer = layer_of({"a": b"a"})
        self.pushed(registry.host, "hello:v1", [layer])
        places = [{"url": "http://" + mirror.host}, {"url": "http://" + registry.host}]
        self.pulled(self.pull(registry.host + "/hello:v1", *places))  # the mirror lacks it
        self.pushed(mirror.host, "hello:v1", [layer])
        before = registry.log_text()
        self.pulled(self.pull(registry.host + "/hello:v1", *places))
        self.assertEqual(registry.log_text(), before)
        mirror.stop()
        self.pulled(self.pull(registry.host + "/hello:v1", *places))


class Hostile(RegistryTest):
    def setUp(self):
        super().setUp()
        self.layer = layer_of({"a": os.urandom(3 << 20)})
        self.manifest, self.blobs = image_of([self.layer])
        self.zipped = gzip.compress(self.layer)

    def serve(self, handler):
        """What an honest one does."""
        last = handler.path.rsplit("/", 1)[1]
        respond(handler, 200, self.manifest if "/manifests/" in handler.path else self.blobs[last])

    def layer_digest(self):
        return json.loads(self.manifest)["layers"][0]["digest"]

    def with_layer(self, answer_layer):
        def answer(handler):
            if handler.path.endswith(self.layer_digest()):
                return answer_layer(handler, self.blobs[self.layer_digest()])
            return self.serve(handler)

        return self.scripted(answer)

    def test_a_blob_that_is_another_is_refused(self):
        server = self.with_layer(lambda handler, data: respond(handler, 200, data[:-1] + b"x"))
        self.refused(self.pull(server.host + "/hello:v1"), "corrupt", "layer 1", "hashes to")

    def test_a_manifest_that_is_another_is_refused(self):
        server = self.scripted(self.serve)
        self.refused(self.pull(f"{server.host}/hello@{digest_of(b'other')}"), "corrupt", "hashes to")

    def test_an_endless_blob_ends_at_its_size(self):
        def endless(handler, data):
            respond(handler, 200, data, content_length=None, Connection="close")
            with contextlib.suppress(OSError):
                while True:
                    handler.wfile.write(b"x" * 65536)

        server = self.with_layer(endless)
        said = self.refused(self.pull(server.host + "/hello:v1"), "corrupt", "longer than")
        self.assertLess(said.seconds, 5)

    def test_an_endless_manifest_and_endless_fields_end(self):
        def endless(handler):
            handler.send_response(200)
            handler.end_headers()
            with contextlib.suppress(OSError):
                while True:
                    handler.wfile.write(b"{" * 65536)

        self.refused(self.pull(self.scripted(endless).host + "/hello:v1"), "too_large")

        def fields(handler):
            with contextlib.suppress(OSError):
                handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
                for i in range(1 << 20):
                    handler.wfile.write(b"X-%d: %s\r\n" % (i, b"y" * 1000))

        self.refused(self.pull(self.scripted(fields).host + "/hello:v1"), "too_large")

    def test_a_connection_that_breaks_is_taken_up_where_it_broke(self):
        ranges = []

        def broken(handler, data):
            wanted = handler.headers.get("Range")
            ranges.append(wanted)
            start = int(wanted.split("=")[1].rstrip("-")) if wanted else 0
            part = data[start:start + 1000000]
            fields = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if wanted else {}
            respond(handler, 206 if wanted else 200, part, content_length=len(data) - start, **fields)
            handler.close_connection = True

        server = self.with_layer(broken)
        self.assertEqual(self.pulled(self.pull(server.host + "/hello:v1")), {digest_of(self.layer): self.layer})
        self.assertEqual(ranges[:3], [None, "bytes=1000000-", "bytes=2000000-"])

    def test_a_server_without_ranges_begins_again(self):
        turns = []

        def whole(handler, data):
            turns.append(1)
            respond(handler, 200, data if len(turns) > 1 else data[:5000], content_length=len(data))
            handler.close_connection = True

        server = self.with_layer(whole)
        self.assertEqual(self.pulled(self.pull(server.host + "/hello:v1")), {digest_of(self.layer): self.layer})

    def test_a_blob_that_stays_short_is_given_up(self):
        def short(handler, data):
            respond(handler, 200, b"", content_length=len(data))
            handler.close_connection = True

        self.assertIsNotNone(self.pull(self.with_layer(short).host + "/hello:v1").error)

    def test_a_server_that_says_nothing_more_is_given_up_after_half_a_minute(self):
        over = threading.Event()
        self.addCleanup(over.set)

        def stall(handler, data):
            respond(handler, 200, b"", content_length=len(data))
            over.wait(120)

        said = self.refused(self.pull(self.with_layer(stall).host + "/hello:v1"), "timed_out")
        self.assertGreater(said.seconds, 20)

    def test_a_redirect_to_where_clouds_keep_keys_is_not_followed(self):
        for place in ("http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://0.0.0.0:1/"):
            server = self.with_layer(lambda handler, data, place=place: respond(handler, 307, Location=place))
            said = self.refused(self.pull(server.host + "/hello:v1"), "denied", "an address that images are not fetched")
            self.assertLess(said.seconds, 5)
        server = self.with_layer(lambda handler, data: respond(handler, 307, Location="file:///etc/passwd"))
        self.refused(self.pull(server.host + "/hello:v1"), "unavailable", "redirect to nowhere")
        server = self.with_layer(lambda handler, data: respond(handler, 307, Location=handler.path))
        self.refused(self.pull(server.host + "/hello:v1"), "unavailable", "too often")

    def test_credentials_do_not_follow_a_redirect_to_another_server(self):
        other = self.scripted(lambda handler: respond(handler, 200, self.blobs[self.layer_digest()]))

        def answer(handler):
            if "Authorization" not in handler.headers:
                return respond(handler, 401, WWW_Authenticate='Basic realm="box"')
            if handler.path.endswith(self.layer_digest()):
                return respond(handler, 302, Location=f"http://{other.host}/blob")
            return self.serve(handler)

        server = self.scripted(answer)
        said = self.pull(server.host + "/hello:v1", {"username": "me", "password": "secret"})
        self.pulled(said)
        self.assertEqual(len(other.seen), 1)
        self.assertNotIn("Authorization", other.seen[0][2])

    def test_a_registry_that_is_never_content_is_asked_twice(self):
        server = self.scripted(lambda handler: respond(handler, 401, WWW_Authenticate='Basic realm="box"'))
        self.refused(self.pull(server.host + "/hello:v1", {"username": "me", "password": "secret"}), "denied", "401")
        self.assertEqual(len(server.seen), 2)
        loop = self.scripted(lambda handler: respond(
            handler, 401, WWW_Authenticate=f'Bearer realm="http://{loop.host}/token",service="x"'))
        self.refused(self.pull(loop.host + "/hello:v1"), "denied", "401")
        self.assertLess(len(loop.seen), 4)
        strange = self.scripted(lambda handler: respond(handler, 401, WWW_Authenticate='Bearer realm="'))
        self.assertIsNotNone(self.pull(strange.host + "/hello:v1").error)

    def test_a_registry_with_tls_has_no_token_server_without(self):
        tls = own_authority(self.folder)
        server = self.scripted(lambda handler: respond(
            handler, 401, WWW_Authenticate='Bearer realm="http://127.0.0.1:1/token",service="x"'), tls=tls)
        place = {"url": "https://" + server.host, "ca": pathlib.Path(tls[0]).read_text()}
        self.refused(self.pull(server.host + "/hello:v1", place), "denied", "no TLS")

    def test_a_rate_limit_is_waited_for_and_told(self):
        turns = []

        def busy(handler):
            turns.append(1)
            if len(turns) == 1:
                return respond(handler, 429, Retry_After="1")
            return self.serve(handler)

        said = self.pull(self.scripted(busy).host + "/hello:v1")
        self.pulled(said)
        self.assertGreaterEqual(said.seconds, 1)
        said = self.pull(self.scripted(lambda handler: respond(handler, 429, Retry_After="3600")).host + "/hello:v1")
        self.refused(said, "overloaded", "429")
        self.assertLess(said.seconds, 5)

    def test_a_document_that_is_an_index_and_a_manifest_is_neither(self):
        both = dict(json.loads(self.manifest), manifests=[])
        server = self.scripted(lambda handler: respond(handler, 200, json.dumps(both).encode()))
        self.refused(self.pull(server.host + "/hello:v1"), "corrupt")

    def test_a_bomb_is_refused(self):
        layer = layer_of({"zeros": bytes(300 << 20)})
        manifest, blobs = image_of([layer])
        server = self.scripted(lambda handler: respond(
            handler, 200, manifest if "/manifests/" in handler.path else blobs[handler.path.rsplit("/", 1)[1]]))
        self.refused(self.pull(server.host + "/hello:v1"), "too_large")


class Push(RegistryTest):
    def archive(self, name, layers):
        manifest, blobs = image_of(layers, compress=lambda data: data, suffix="")
        layout = write_layout(tempfile.mkdtemp(dir=self.folder), manifest, blobs)
        path = os.path.join(self.folder, "archive.tar")
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", "--dest-decompress", layout,
                        f"oci-archive:{path}:{name}"], check=True)
        return pathlib.Path(path).read_bytes()

    def push(self, reference, layers, mounts={}, *endpoints):
        scratch = tempfile.mkdtemp(dir=self.folder)
        return self.child("registry-push", reference, endpoints or [{}], scratch, "hello:v1",
                          after=json.dumps(mounts).encode() + b"\n" + self.archive("hello:v1", layers))

    def test_what_is_pushed_comes_back_the_same(self):
        registry = self.registry(password=("me", "secret"))
        layers = [layer_of({"a": os.urandom(2 << 20)}), layer_of({"b": b"b"})]
        me = {"username": "me", "password": "secret"}
        said = self.push(registry.host + "/team/hello:v1", layers, {}, me)
        self.assertIsNone(said.error, said)
        digest = said.of("digest")[0][0]
        out = os.path.join(self.folder, "back")
        subprocess.run(["skopeo", "copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--src-creds", "me:secret",
                        f"docker://{registry.host}/team/hello:v1", f"dir:{out}"], check=True)
        self.assertEqual(digest_of(pathlib.Path(out, "manifest.json").read_bytes()), digest)
        said = self.pull(f"{registry.host}/team/hello@{digest}", me)
        self.assertEqual(self.pulled(said), {digest_of(layer): layer for layer in layers})
        # Once more: nothing is sent again, and the digest is the same.
        sent = registry.log_text().count("PUT /v2/team/hello/blobs/uploads")
        self.assertGreater(sent, 0)
        again = self.push(registry.host + "/team/hello:v2", layers, {}, me)
        self.assertEqual(again.of("digest"), [[digest]])
        self.assertEqual(registry.log_text().count("PUT /v2/team/hello/blobs/uploads"), sent)
        self.refused(self.push(registry.host + "/team/hello:v3", layers), "denied", "401")

    def test_a_layer_of_another_repository_is_mounted(self):
        registry = self.registry()
        layers = [layer_of({"a": os.urandom(1 << 20)})]
        self.assertIsNone(self.push(registry.host + "/one:v1", layers).error)
        self.assertIsNone(self.push(registry.host + "/two:v1", layers, {digest_of(layers[0]): "one"}).error)
        log = registry.log_text()
        self.assertIn("&from=one", log)
        self.assertEqual(log.count("PUT /v2/two/blobs/uploads"), 1)  # the config
        self.pulled(self.pull(registry.host + "/two:v1"))


if __name__ == "__main__":
    unittest.main()
