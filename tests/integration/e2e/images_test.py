"""Images as files: from and to other tools, and what goes wrong on the way."""
import hashlib
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import unittest

from fixture import Daemon, DaemonTest, eventually, main

ROOM_KEPT = 512 << 20  # bytes that a load leaves free


def tar_of(members):
    """members: (name, bytes) or a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(member[1]))
    return out.getvalue()


def docker_archive(name, layers, command=("/server",), extra=(), diff_ids=None):
    """What `docker save` writes, of layers that are tars."""
    config = json.dumps({
        "architecture": "amd64", "os": "linux", "config": {"Cmd": list(command)},
        "rootfs": {"type": "layers",
                   "diff_ids": diff_ids or ["sha256:" + hashlib.sha256(layer).hexdigest() for layer in layers]}}).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": [f"{i}/layer.tar" for i in range(len(layers))]}]
    return tar_of([("manifest.json", json.dumps(manifest).encode()), ("config.json", config),
                   *((f"{i}/layer.tar", layer) for i, layer in enumerate(layers)), *extra])


class Images(DaemonTest):
    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as out:
            out.write(content)
        return path

    def names(self):
        return {image["name"]: image for image in json.loads(self.wick.cli("image", "ls", "--json").stdout)}

    def left_over(self):
        front = os.path.join(self.wick.state, "front")
        return os.listdir(os.path.join(front, "work")) + os.listdir(os.path.join(front, "content/ingest"))

    def load(self, name, content, *flags, check=True):
        return self.wick.cli("image", "load", self.file(name, content), *flags, check=check)

    def test_a_loaded_image_is_deployed_saved_and_loaded_again(self):
        archive = docker_archive("loaded:v1", [tar_of([("server", self.static_program())])])
        self.assertIn("loaded:v1 sha256:", self.load("docker.tar", archive).stdout)
        self.wick.cli("deploy", "loaded:v1", "--name", "loaded")
        self.assertEqual(self.wick.request("loaded")[0], 200)
        saved = os.path.join(self.folder, "saved.tar")
        self.wick.cli("image", "save", "loaded:v1", "-o", saved)
        digest = self.names()["loaded:v1"]["digest"]
        # By way of another tool, compressed, from a pipe.
        zipped = os.path.join(self.folder, "zipped.tar")
        subprocess.run(["skopeo", "copy", "-q", "--dest-compress", f"oci-archive:{saved}:loaded:v1",
                        f"oci-archive:{zipped}:other"], check=True)
        with open(zipped, "rb") as pipe:
            done = subprocess.run([os.environ.get("WICK", "build/src/app/wick"), "image", "load", "--name", "team/again:v2"],
                                  stdin=pipe, capture_output=True, text=True,
                                  env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock")))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.names()["team/again:v2"]["digest"], digest)
        self.assertEqual(self.left_over(), [])

    def test_a_save_ends_with_the_client_and_the_next_one_is_whole(self):
        layer = tar_of([("server", self.static_program()), ("big", os.urandom(40 << 20))])
        self.load("big.tar", docker_archive("big:v1", [layer]))
        self.deploy_static("built")
        client = socket.socket(socket.AF_UNIX)
        client.connect(os.path.join(self.wick.run, "wick.sock"))
        client.sendall(b"GET /apis/wick.dev/v1/imagearchive?names=big:v1,built HTTP/1.1\r\nHost: wick\r\n\r\n")
        self.assertIn(b"200 OK", client.recv(4096))
        # It has images in hand: nothing is removed under it.
        refused = self.wick.cli("image", "prune", "--yes", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("built, loaded or saved", refused.stderr)
        client.close()
        eventually("the save has ended", lambda: self.wick.cli("image", "prune", "--yes", check=False).returncode == 0)
        both = os.path.join(self.folder, "both.tar")
        self.wick.cli("image", "save", "big:v1", "built", "-o", both)
        for name in ("big:v1", "built:latest"):
            subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{both}:{name}", f"dir:{self.folder}/{name[:3]}"],
                           check=True)
            self.assertTrue(os.path.exists(os.path.join(self.folder, name[:3], "manifest.json")))

    def test_prune_leaves_what_services_run_and_takes_the_rest(self):
        archive = docker_archive("kept:v1", [tar_of([("server", self.static_program()), ("kept", b"x")])])
        self.load("kept.tar", archive)
        self.wick.cli("deploy", "kept:v1", "--name", "kept", "--idle", "6s")
        self.load("gone.tar", docker_archive("gone:v1", [tar_of([("only-here", os.urandom(3 << 20))])]))
        self.wick.cli("image", "rm", "gone:v1", "kept:v1")
        self.assertNotIn("kept:v1", self.names())
        freed = json.loads(self.wick.cli("image", "prune", "--yes", "--json").stdout)
        self.assertGreater(freed["bytes"], 3 << 20)
        self.scaled_to_zero("kept")
        self.assertEqual(self.wick.request("kept")[0], 200)
        # Nothing is left to free, and a build whose kept steps went runs them again.
        folder = self.project("again", **{  # a layer that no other test has
            "Dockerfile": "FROM scratch\nCOPY --chmod=755 . /\nCMD [\"/server\"]\n", "server": self.static_program(),
            "only-here": os.urandom(1000)})
        self.wick.cli("deploy", folder, "--name", "again")
        self.wick.cli("rm", "again", "--yes")
        self.wick.cli("image", "rm", "again")
        eventually("the layer is free",
                   lambda: json.loads(self.wick.cli("image", "prune", "--yes", "--json").stdout)["layers"] > 0)
        self.wick.cli("deploy", folder, "--name", "again")
        self.assertEqual(self.wick.request("again")[0], 200)
        self.wick.cli("rm", "kept", "--yes")
        eventually("the image of a removed service goes too",
                   lambda: json.loads(self.wick.cli("image", "prune", "--yes", "--json").stdout)["blobs"] > 0)
        # A layer that an ending instance still has goes with a later prune; after that nothing is left.
        eventually("nothing is left to free",
                   lambda: json.loads(self.wick.cli("image", "prune", "--yes", "--json").stdout)["bytes"] == 0)

    def test_hostile_archives_are_refused_and_leave_nothing(self):
        layer = tar_of([("server", b"x")])
        outside = tarfile.TarInfo("link")
        outside.type, outside.linkname = tarfile.SYMTYPE, "/"
        device = tarfile.TarInfo("disk")
        device.type, device.devmajor, device.devminor = tarfile.BLKTYPE, 8, 0
        hard = tarfile.TarInfo("hard")
        hard.type, hard.linkname = tarfile.LNKTYPE, "/etc/shadow"
        config_link = tarfile.TarInfo("config.json")
        config_link.type, config_link.linkname = tarfile.SYMTYPE, "/etc/shadow"
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["bad:v1"], "Layers": []}]).encode()
        wrong = "sha256:" + "0" * 64
        archives = {
            "outside by its name": docker_archive("bad:v1", [layer], extra=[("../../canary", b"x")]),
            "outside by a link": docker_archive("bad:v1", [layer], extra=[outside, ("link/tmp/canary", b"x")],
                                                diff_ids=[wrong]),
            "a device": docker_archive("bad:v1", [layer], extra=[device]),
            "a link to a file of the host": docker_archive("bad:v1", [layer], extra=[hard]),
            "a config that is a file of the host": tar_of([("manifest.json", manifest), config_link]),
            "a layer that is another": docker_archive("bad:v1", [layer], diff_ids=[wrong]),
            "a name that is a path": docker_archive("../../bad:v1", [layer]),
            "no image": tar_of([("hello", b"x")]),
            "no archive": os.urandom(1 << 20),
            "cut": docker_archive("bad:v1", [layer])[:5000],
            "empty": b"",
            "a bomb": subprocess.run("head -c 3G /dev/zero | gzip -1", shell=True, check=True, capture_output=True).stdout,
        }
        before = self.names()
        canary = pathlib_listing("/tmp")
        for what, archive in archives.items():
            with self.subTest(what):
                done = self.load("bad.tar", archive, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("was not loaded", done.stderr)
                self.assertIn("hint:", done.stderr)
                self.assertEqual(self.left_over(), [])
        self.assertEqual(self.names(), before)
        self.assertEqual(canary, pathlib_listing("/tmp"))

    def test_a_load_that_is_cut_leaves_nothing(self):
        connection = http.client.HTTPConnection("wick")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.path.join(self.wick.run, "wick.sock"))
        archive = docker_archive("cut:v1", [tar_of([("big", os.urandom(20 << 20))])])
        connection.putrequest("POST", "/apis/wick.dev/v1/images")
        connection.putheader("Content-Length", str(len(archive)))
        connection.endheaders()
        connection.send(archive[:10 << 20])
        eventually("it is being unpacked", self.left_over)
        connection.close()
        eventually("nothing of it is left", lambda: not self.left_over())
        self.assertNotIn("cut:v1", self.names())


def pathlib_listing(folder):
    return sorted(name for name in os.listdir(folder) if "canary" in name)


class FullDisk(unittest.TestCase):
    def test_a_load_leaves_room_on_the_disk_and_the_daemon_goes_on(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        state = "/tmp/wick-e2e-small-disk"
        os.makedirs(state, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM_KEPT + (64 << 20)},mode=755", "none", state], check=True)
        self.addCleanup(lambda: (subprocess.run(["umount", "-l", state], check=True), shutil.rmtree(state)))
        wick = Daemon(state).start()
        self.addCleanup(wick.close)
        free = lambda: os.statvfs(state).f_bavail * os.statvfs(state).f_frsize
        log = os.path.join(state, "front/events.db-wal")  # made long while the daemon is idle
        eventually("the log of events has its length", lambda: os.path.exists(log) and os.stat(log).st_size >= 18 << 20)
        before = free()
        archive = os.path.join(wick.run, "archive.tar")

        def load(content):
            with open(archive, "wb") as out:
                out.write(content)
            return wick.cli("image", "load", archive, check=False)

        # Too large as an archive; and as what is in it, which is there twice for a while.
        for size in (100 << 20, 40 << 20):
            done = load(docker_archive("big:v1", [tar_of([("big", os.urandom(size))])]))
            self.assertNotEqual(done.returncode, 0, size)
            self.assertIn("nearly full", done.stderr)
            self.assertIn("wick image prune", done.stderr)
            eventually("the room is given back", lambda: before - free() < 1 << 20)
        self.assertEqual(load(docker_archive("small:v1", [tar_of([("small", b"x")])])).returncode, 0)
        self.assertIn("small:v1", wick.cli("image", "ls").stdout)


if __name__ == "__main__":
    main()
