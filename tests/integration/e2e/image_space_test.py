"""What images may use of the disk: collected by itself, beside builds, under kill -9, and when the disk is full."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from fixture import WICK, Daemon, DaemonTest, eventually, main

BUSYBOX = "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY unique /unique\n"


def run(script):
    return f'RUN ["/bin/busybox", "sh", "-c", "{script}"]\n'


class Space(unittest.TestCase):
    """Each test with a daemon and a state folder of its own."""

    def start(self, *flags, state=None):
        self.folder = tempfile.mkdtemp(prefix="wick-e2e-space-")
        os.chmod(self.folder, 0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.wick = Daemon(state, flags).start()
        self.addCleanup(self.wick.close)

    def project(self, name, dockerfile, **files):
        folder = pathlib.Path(self.folder) / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        shutil.copy("/bin/busybox", folder / "busybox")
        (folder / "Dockerfile").write_text(BUSYBOX + dockerfile)
        (folder / "unique").write_text(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return str(folder)

    def layers(self):
        return set(os.listdir(os.path.join(self.wick.state, "runner/layers/sha256")))

    def verified(self):
        done = self.wick.cli("image", "verify", "--json", check=False)
        return {each["name"]: each["ok"] for each in json.loads(done.stdout)}

    def test_gc_says_what_it_freed_and_leaves_what_is_needed(self):
        self.start("--image-use-max", "1M")
        kept = self.project("kept", "COPY big /big\n" + run("echo kept > /kept"), big=os.urandom(2 << 20))
        gone = self.project("gone", "COPY big /big\n", big=os.urandom(3 << 20))
        self.wick.cli("build", kept, "--name", "kept")
        self.wick.cli("build", gone, "--name", "gone")
        self.wick.cli("image", "rm", "gone")
        freed = json.loads(self.wick.cli("image", "gc", "--json").stdout)
        self.assertGreaterEqual(freed["bytes"], 3 << 20)
        self.assertEqual(freed["useMax"], 1 << 20)
        again = self.wick.cli("image", "gc")
        self.assertIn("0 B freed", again.stdout)
        self.assertIn("of at most", again.stderr)
        self.assertEqual(self.verified(), {"kept:latest": True})
        # What is kept is still the cache of the next build.
        self.assertIn("cached", self.wick.cli("build", kept, "--name", "kept", "--json").stderr +
                      self.wick.cli("build", kept, "--name", "kept", "--json").stdout)
        refused = subprocess.run([WICK, "serve", "--image-use-max", "lots"], capture_output=True, text=True)
        self.assertIn("20G", refused.stderr)

    def test_the_daemon_collects_by_itself_after_builds(self):
        self.start("--image-use-max", "1M")
        folder = self.project("self", "COPY big /big\n", big=os.urandom(3 << 20))
        self.wick.cli("build", folder, "--name", "self")
        self.wick.cli("image", "rm", "self")
        self.wick.cli("build", self.project("next", ""), "--name", "next")
        eventually("it has collected", lambda: "images collected" in self.wick.log_text(), 60)
        self.assertEqual(self.verified(), {"next:latest": True})

    def test_a_collection_beside_builds_takes_nothing_from_them(self):
        self.start("--image-use-max", "1M")
        ended = threading.Event()
        answers = []

        def collect():
            while not ended.is_set():
                answers.append(self.wick.cli("image", "gc", "--json", check=False).returncode)

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            for number in range(6):
                name = f"beside{number % 2}"
                steps = "".join(run(f"echo {number} {step} > /step{step}; /bin/busybox sleep 0.1") for step in range(4))
                self.wick.cli("build", self.project(name, steps), "--name", name)
        finally:
            ended.set()
            collector.join()
        self.assertIn(0, answers)
        self.assertEqual(self.verified(), {"beside0:latest": True, "beside1:latest": True})

    def test_a_store_is_sound_after_kill_9_in_a_collection(self):
        self.start("--image-use-max", "1M")
        for number in range(4):
            for name in ("kept", f"gone{number}"):
                folder = self.project(name, "COPY big /big\n" + "".join(run(f"echo {step} > /{name}{step}") for step in range(3)),
                                      big=os.urandom(1 << 20))
                self.wick.cli("build", folder, "--name", name)
            self.wick.cli("image", "rm", f"gone{number}")
            request = threading.Thread(target=lambda: self.wick.cli("image", "gc", check=False))
            before = self.layers()
            request.start()
            end = time.monotonic() + 10
            while self.layers() == before and time.monotonic() < end and number % 2:
                pass  # every other time not before the first layer is gone
            self.wick.kill()
            request.join()
            self.wick.start()
            self.assertEqual(self.verified(), {"kept:latest": True})
            folder = self.project(f"gone{number}", "COPY big /big\n", big=b"x")
            self.wick.cli("build", folder, "--name", "after")
            self.wick.cli("image", "rm", "after")
        incoming = os.path.join(self.wick.state, "runner/layers")
        eventually("nothing half removed is left",
                   lambda: not [name for name in os.listdir(incoming) if name.startswith("incoming-")], 30)

    def test_a_build_on_a_full_disk_collects_and_goes_on_or_says_so(self):
        state = tempfile.mkdtemp(prefix="wick-e2e-disk-")
        self.addCleanup(os.rmdir, state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1400m,mode=755", "tmpfs", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state], check=True)
        self.start("--image-use-max", "100%", state=state)
        fill = run("/bin/busybox dd if=/dev/zero of=/filled bs=1M count={}")
        self.wick.cli("build", self.project("first", fill.replace("{}", "600")), "--name", "first")
        self.wick.cli("image", "rm", "first")
        done = self.wick.cli("build", self.project("second", fill.replace("{}", "900")), "--name", "second")
        self.assertIn("once more", done.stderr)
        self.assertEqual(self.verified(), {"second:latest": True})
        self.wick.cli("image", "rm", "second")
        self.wick.cli("image", "prune", "--yes")
        refused = self.wick.cli("build", self.project("third", fill.replace("{}", "2000")), "--name", "third", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("the disk is full", refused.stderr)
        self.wick.cli("build", self.project("fourth", ""), "--name", "fourth")


class Secrets(DaemonTest):
    CANARY = "canary-3fb1c9-do-not-keep"

    def test_a_secret_is_in_its_step_and_nowhere_else(self):
        folder = self.project("secret", **{
            "Dockerfile": BUSYBOX + 'RUN --mount=type=secret,id=token,required=true --mount=type=secret,id=file,target=/file '
            '["/bin/busybox", "sh", "-c", "/bin/busybox test $(/bin/busybox cat /run/secrets/token) = $(/bin/busybox cat /file)'
            ' && /bin/busybox cat /file && echo done > /done"]\n',
            "busybox": pathlib.Path("/bin/busybox").read_bytes(), "unique": os.urandom(8)})
        file = os.path.join(tempfile.mkdtemp(dir=self.folder), "token")  # beside the source
        pathlib.Path(file).write_text(self.CANARY)
        os.environ["WICK_TEST_TOKEN"] = self.CANARY
        self.addCleanup(os.environ.pop, "WICK_TEST_TOKEN")
        refused = self.wick.cli("build", folder, "--name", "secret", check=False)
        self.assertIn("--secret id=token", refused.stderr)
        for wrong in ("src=x", "id=a,src=b,env=c", "id=a,what=b", "id=a,env=WICK_TEST_NO_SUCH_VARIABLE"):
            self.assertEqual(self.wick.cli("build", folder, "--secret", wrong, check=False).returncode, 2, wrong)
        done = self.wick.cli("build", folder, "--name", "secret", "--secret", "id=token,env=WICK_TEST_TOKEN",
                             "--secret", f"id=file,src={file}")
        self.assertNotIn(self.CANARY, done.stderr + done.stdout)
        self.assertIn("***", done.stderr + done.stdout)
        found = subprocess.run(["grep", "-rlaF", "-e", self.CANARY, self.wick.state, self.wick.run], capture_output=True, text=True)
        self.assertEqual(found.stdout, "")
        # The value is no part of what a step is: with another one, nothing runs again.
        os.environ["WICK_TEST_TOKEN"] = "other"
        pathlib.Path(file).write_text("other")
        again = self.wick.cli("build", folder, "--name", "secret", "--secret", "id=token,env=WICK_TEST_TOKEN",
                              "--secret", f"id=file,src={file}", "--json")
        self.assertIn('"cached"', again.stderr + again.stdout)


if __name__ == "__main__":
    main()
