"""What skopeo, podman and docker do with this machine's registry, and what it costs."""
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tempfile
import unittest

from fixture import Daemon, eventually, main
from registry_fixture import OwnRegistryTest
from registries import MANIFEST, RegistryClient, digest_of, image_of, layer_of, write_layout

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER = "application/vnd.docker."


class Pushes(OwnRegistryTest):
    prefix = "pushes"

    def skopeo(self, *arguments, check=True):
        return subprocess.run(["skopeo", *arguments], check=check, capture_output=True, text=True)

    def layout(self, name="server", **files):
        manifest, blobs = image_of([layer_of({"server": self.static_program()}), layer_of(files or {"extra": b"1"})])
        return write_layout(tempfile.mkdtemp(dir=self.folder), manifest, blobs), manifest

    def test_skopeo_pushes_what_is_deployed_and_pulls_the_same_digest(self):
        layout, manifest = self.layout()
        credentials = "anyone:" + self.token
        self.skopeo("copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", credentials, layout,
                    f"docker://{self.host}/pushed:v1")
        self.assertIn("pushed:v1", self.wick.cli("image", "ls").stdout)
        self.wick.cli("deploy", "pushed:v1", "--name", "pushed")
        self.assertEqual(self.wick.request("pushed")[0], 200)
        revision = self.objects("revisions")[self.objects("services")["pushed"]["status"]["latestReadyRevisionName"]]
        self.assertTrue(revision["status"]["containerStatuses"][0]["imageDigest"].endswith("@" + digest_of(manifest)))
        self.assertIn("unchanged", self.wick.cli("deploy", "pushed:v1", "--name", "pushed").stderr)
        seen = self.skopeo("inspect", "--tls-verify=false", "--creds", credentials, f"docker://{self.host}/pushed:v1")
        self.assertEqual(json.loads(seen.stdout)["Digest"], digest_of(manifest))
        copied = tempfile.mkdtemp(dir=self.folder)
        self.skopeo("copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--src-creds", "x:" + self.reader,
                    f"docker://{self.host}/pushed:v1", f"dir:{copied}")
        self.assertEqual((pathlib.Path(copied) / "manifest.json").read_bytes(), manifest)
        refused = self.skopeo("copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "x:" + self.reader,
                              layout, f"docker://{self.host}/refused:v1", check=False)
        self.assertIn("denied", refused.stderr.lower())
        # By its digest, as it was pushed.
        self.wick.cli("deploy", f"pushed@{digest_of(manifest)}", "--name", "pinned")
        self.assertEqual(self.wick.request("pinned")[0], 200)
        # And below another image.
        folder = self.project("derived", Dockerfile="FROM pushed:v1\nCOPY more /more\n", more="1")
        self.wick.cli("deploy", folder, "--name", "derived")
        self.assertEqual(self.wick.request("derived")[0], 200)
        # The tag moves: the next deploy has what it means then.
        other, moved = self.layout(extra=b"other")
        self.skopeo("copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", credentials, other,
                    f"docker://{self.host}/pushed:v1")
        self.assertIn("unchanged", self.wick.cli("deploy", f"pushed@{digest_of(manifest)}", "--name", "pinned").stderr)
        self.assertNotIn("unchanged", self.wick.cli("deploy", "pushed:v1", "--name", "pushed").stderr)
        self.skopeo("delete", "--tls-verify=false", "--creds", credentials, f"docker://{self.host}/pushed:v1")
        self.assertNotIn("pushed:v1", self.wick.cli("image", "ls").stdout)
        self.assertEqual(self.wick.request("pushed")[0], 200)

    def test_what_was_built_here_is_pulled_though_it_was_never_pushed(self):
        folder = self.project("built", **{"Dockerfile": 'FROM scratch\nCOPY --chmod=755 server /server\nCMD ["/server"]\n',
                                          "server": self.static_program()})
        self.wick.cli("build", folder, "--name", "built")
        credentials = "anyone:" + self.token
        copied = tempfile.mkdtemp(dir=self.folder)
        self.skopeo("copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--src-creds", credentials,
                    f"docker://{self.host}/built:latest", f"oci:{copied}:latest")
        self.assertEqual(json.loads(self.registry("GET", "/v2/built/tags/list").body)["tags"], ["latest"])
        # From there to there, under another name: nothing is sent twice.
        self.skopeo("copy", "-q", "--insecure-policy", "--src-tls-verify=false", "--src-creds", credentials,
                    "--dest-tls-verify=false", "--dest-creds", credentials, f"docker://{self.host}/built:latest",
                    f"docker://{self.host}/team/copied:v1")
        self.wick.cli("deploy", "team/copied:v1", "--name", "copied")
        self.assertEqual(self.wick.request("copied")[0], 200)

    def test_podman_pushes_and_pulls(self):
        if not shutil.which("podman"):
            self.skipTest("there is no podman")
        layout, _ = self.layout(podman=random.randbytes(100))
        archive = os.path.join(self.folder, "podman.tar")
        self.skopeo("copy", "-q", "--insecure-policy", layout, f"docker-archive:{archive}:localhost/mine:v1")
        storage = tempfile.mkdtemp(dir=self.folder)
        policy = pathlib.Path(self.folder) / "policy.json"
        policy.write_text('{"default":[{"type":"insecureAcceptAnything"}]}')

        def podman(*arguments):
            done = subprocess.run(["podman", "--root", storage + "/root", "--runroot", storage + "/run", "--storage-driver", "vfs",
                                   "--cgroup-manager", "cgroupfs", "--events-backend", "none", *arguments],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

        auth = os.path.join(storage, "auth.json")
        podman("login", "--authfile", auth, "--tls-verify=false", "-u", "anyone", "-p", self.token, self.host)
        podman("load", "--signature-policy", str(policy), "-q", "-i", archive)
        for kind in ("oci", "v2s2"):
            podman("push", "--authfile", auth, "--tls-verify=false", "-q", "--format", kind, "localhost/mine:v1",
                   f"{self.host}/podman:{kind}")
            self.wick.cli("deploy", f"podman:{kind}", "--name", f"podman-{kind}")
            self.assertEqual(self.wick.request(f"podman-{kind}")[0], 200)
        podman("pull", "--signature-policy", str(policy), "--authfile", auth, "--tls-verify=false", "-q", f"{self.host}/podman:oci")

    def test_docker_push_by_hand(self):
        """What dockerd 20 to 27 sends: HEAD, POST, one PATCH of unknown length, PUT, then the manifest by its tag."""
        tar = layer_of({"server": self.static_program(), "docker": random.randbytes(8)})
        layer = gzip.compress(tar)
        config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/server"]}, "rootfs": {
            "type": "layers", "diff_ids": [digest_of(tar)]}}).encode()
        for data in (layer, config):
            digest = digest_of(data)
            self.assertEqual(self.registry("HEAD", f"/v2/docker/blobs/{digest}").status, 404)
            begun = self.registry("POST", "/v2/docker/blobs/uploads/", headers={"Content-Length": "0"})
            self.assertTrue(begun.getheader("Docker-Upload-UUID"))
            patched = self.registry("PATCH", begun.getheader("Location"), iter([data[:7], data[7:]]),
                                    {"Transfer-Encoding": "chunked"}, chunked=True)
            self.assertEqual(patched.status, 202)
            done = self.registry("PUT", f"{patched.getheader('Location')}?digest={digest.replace(':', '%3A')}", b"")
            self.assertEqual(done.status, 201)
            self.assertEqual(self.registry("HEAD", f"/v2/docker/blobs/{digest}").getheader("Content-Length"), str(len(data)))
        manifest = json.dumps({"schemaVersion": 2, "mediaType": DOCKER + "distribution.manifest.v2+json", "config": {
            "mediaType": DOCKER + "container.image.v1+json", "size": len(config), "digest": digest_of(config)}, "layers": [
            {"mediaType": DOCKER + "image.rootfs.diff.tar.gzip", "size": len(layer), "digest": digest_of(layer)}]}).encode()
        put = self.registry.put("docker", "v1", manifest, DOCKER + "distribution.manifest.v2+json")
        self.assertEqual((put.status, put.getheader("Docker-Content-Digest"), put.getheader("Warning")),
                         (201, digest_of(manifest), None))
        self.wick.cli("deploy", "docker:v1", "--name", "docker")
        self.assertEqual(self.wick.request("docker")[0], 200)

    def test_an_image_that_cannot_run_here_is_kept_and_says_why(self):
        tar = layer_of({"server": b"x"})
        for why, layer, diff_id, architecture in (("diff", gzip.compress(tar), digest_of(b""), "amd64"),
                                                  ("layer", b"no tar at all", digest_of(b"no tar at all!"), "amd64")):
            config = json.dumps({"architecture": architecture, "os": "linux", "rootfs": {
                "type": "layers", "diff_ids": [diff_id]}}).encode()
            for data in (layer, config):
                self.registry.push(self.repository, data)
            manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {
                "mediaType": CONFIG, "size": len(config), "digest": digest_of(config)}, "layers": [
                {"mediaType": LAYER + "+gzip", "size": len(layer), "digest": digest_of(layer)}]}).encode()
            put = self.registry.put(self.repository, why, manifest)
            self.assertEqual(put.status, 201)
            self.assertTrue(put.getheader("Warning").startswith('299 - "it is kept, but does not run here: '))
            self.assertEqual(self.registry("GET", f"/v2/{self.repository}/manifests/{why}").body, manifest)
            self.assertNotIn(f"{self.repository}:{why}", self.wick.cli("image", "ls").stdout)
        said = self.wick.cli("deploy", f"{self.repository}:diff", "--name", "unfit", check=False)
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("was pushed here, but is no image that can run here", said.stderr)

    def test_what_nothing_names_goes_with_a_prune_and_what_is_forgotten_too(self):
        layout, manifest = self.layout(extra=random.randbytes(1 << 20))
        self.skopeo("copy", "-q", "--insecure-policy", "--dest-tls-verify=false", "--dest-creds", "x:" + self.token, layout,
                    f"docker://{self.host}/pruned:v1")
        self.wick.cli("image", "prune", "--yes")
        place = f"/v2/pruned/manifests/{digest_of(manifest)}"
        self.assertEqual(self.registry("HEAD", place).status, 200)
        self.wick.cli("image", "rm", "pruned:v1")
        self.assertEqual(self.registry("HEAD", "/v2/pruned/manifests/v1").status, 404)
        # What was pushed an instant ago and has no name yet is left alone.
        young = self.registry.push(self.repository, random.randbytes(100))
        freed = json.loads(self.wick.cli("image", "prune", "--yes", "--json").stdout)
        self.assertGreater(freed["bytes"], 2 << 20)  # as it was pushed, and as it was here
        self.assertEqual(self.registry("HEAD", place).status, 404)
        self.assertEqual(self.registry("HEAD", f"/v2/{self.repository}/blobs/{young}").status, 200)

    def test_a_large_blob_costs_no_memory(self):
        size, chunk = 256 << 20, bytes(1 << 20)
        hashed = hashlib.sha256()
        for _ in range(size // len(chunk)):
            hashed.update(chunk)

        def peak():
            status = [pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids]
            return max(int(re.search(r"VmHWM:\s+(\d+)", text).group(1)) << 10 for text in status)

        pids = [self.wick.process.pid, *map(int, subprocess.run(["pgrep", "-P", str(self.wick.process.pid), "wick"],
                                                                capture_output=True, text=True).stdout.split())]
        before = peak()
        place = self.registry.begin(self.repository)
        patched = self.registry("PATCH", place, (chunk for _ in range(size // len(chunk))), {"Transfer-Encoding": "chunked"},
                                chunked=True)
        self.assertEqual(patched.status, 202)
        digest = "sha256:" + hashed.hexdigest()
        self.assertEqual(self.registry("PUT", f"{place}?digest={digest}", b"").status, 201)
        connection = http.client.HTTPConnection(self.host, timeout=120)
        with contextlib.closing(connection):
            connection.request("GET", f"/v2/{self.repository}/blobs/{digest}", headers=self.registry.credentials)
            answer = connection.getresponse()
            got = 0
            while data := answer.read(1 << 20):
                got += len(data)
        self.assertEqual(got, size)
        self.assertLess(peak() - before, 16 << 20)
        self.assertEqual(self.registry("DELETE", f"/v2/{self.repository}/blobs/{digest}").status, 202)


class Alone(unittest.TestCase):
    def test_an_upload_survives_kill_9(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        daemon = Daemon(None, ("--api-listen", "127.0.0.1:0")).start()
        self.addCleanup(daemon.close)

        def client():
            host = json.loads(daemon.api("GET", "/apis/wick.dev/v1/info")[1])["apiListen"]
            return RegistryClient(host, daemon.cli("token", "create", "ci", "--scope", "deploy").stdout.strip())

        registry = client()
        place = registry.begin("some/thing")
        self.assertEqual(registry("PATCH", place, b"before, ").status, 202)
        daemon.kill()
        daemon.start()
        registry = client()
        status = registry("GET", place)
        self.assertEqual((status.status, status.getheader("Range")), (204, "0-7"))
        self.assertEqual(registry("PATCH", place, b"after", {"Content-Range": "8-12"}).status, 202)
        digest = digest_of(b"before, after")
        self.assertEqual(registry("PUT", f"{place}?digest={digest}", b"").status, 201)
        self.assertEqual(registry("GET", f"/v2/some/thing/blobs/{digest}").body, b"before, after")

    def test_a_push_to_a_full_disk_is_refused_and_leaves_nothing(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        state = tempfile.mkdtemp(prefix="wick-e2e-disk-")
        self.addCleanup(os.rmdir, state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600m,mode=755", "tmpfs", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=True)
        daemon = Daemon(state, ("--api-listen", "127.0.0.1:0", "--image-use-max", "100%")).start()
        self.addCleanup(daemon.close)
        host = json.loads(daemon.api("GET", "/apis/wick.dev/v1/info")[1])["apiListen"]
        registry = RegistryClient(host, daemon.cli("token", "create", "ci", "--scope", "deploy").stdout.strip())
        place = registry.begin("full/disk")
        chunk = bytes(1 << 20)
        answer = registry("PATCH", place, (chunk for _ in range(200)), {"Transfer-Encoding": "chunked"}, chunked=True)
        self.assertEqual(answer.status, 507, answer.body)
        error = json.loads(answer.body)["errors"][0]
        self.assertEqual(error["code"], "TOOMANYREQUESTS")
        self.assertIn("disk", error["message"])
        self.assertIn("wick image prune", error["message"])
        self.assertEqual(registry("GET", place).status, 404)
        self.assertEqual(os.listdir(os.path.join(state, "front/registry/uploads")), [])
        with open(os.path.join(state, "filled"), "wb") as filled:
            os.posix_fallocate(filled.fileno(), 0, 100 << 20)
        refused = registry("POST", "/v2/full/disk/blobs/uploads/", headers={"Content-Length": "0"})
        self.assertEqual(refused.status, 507)
        os.unlink(os.path.join(state, "filled"))
        eventually("there is room again", lambda: registry("POST", "/v2/full/disk/blobs/uploads/").status == 202)


if __name__ == "__main__":
    main()
