"""What every end-to-end test stands on: a real daemon as root, the real command line, a real git server.

One state folder is shared by all test programs of a run (WICK_E2E), so that a Debian base is made once; each program starts with no
service in it.
"""
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

TOP = pathlib.Path(__file__).resolve().parents[3]
WICK = os.environ.get("WICK", str(TOP / "build/src/app/wick"))
sys.path.insert(0, str(TOP / "tests/support"))
import git_server  # noqa: E402


def eventually(what, check, limit=60.0, pause=0.02):
    """Waits for `check` to give something true; fails with `what` at the limit."""
    end = time.monotonic() + limit
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit:g} s: {what}")
        time.sleep(pause)


class Daemon:
    def __init__(self, state=None, flags=()):
        self.own_state = state is None
        self.state = state or tempfile.mkdtemp(prefix="wick-e2e-state-")
        self.run = tempfile.mkdtemp(prefix="wick-e2e-run-")
        for folder in (self.state, self.run):  # the front, which is not root, must get through
            os.chmod(folder, 0o755)
        self.flags = list(flags)
        self.log = os.path.join(self.run, "serve.log")
        self.process = None
        self.program = WICK

    def start(self):
        self.spawn()
        self.wait_ready()
        return self

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "serve", "--state", self.state, "--run", self.run, "--listen", "127.0.0.1:0",
                 "--events-listen", "127.0.0.1:0", *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError("wick serve ended: " + self.log_text()[-3000:])
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.api("GET", "/readyz")[0] == 200
            return False

        eventually("the daemon answers /readyz", ready, 30)
        info = json.loads(self.api("GET", "/apis/wick.dev/v1/info")[1])
        self.listen, self.events, self.https = info["listen"], info["eventsListen"], info["httpsListen"]

    def log_text(self):
        return pathlib.Path(self.log).read_text(errors="replace")

    def api(self, method, path, body=None, headers=None, timeout=60):
        class Connection(http.client.HTTPConnection):
            def connect(connection):
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(timeout)
                connection.sock.connect(os.path.join(self.run, "wick.sock"))

        connection = Connection("wick")
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def cli(self, *arguments, check=True, timeout=600, stdin=None):
        done = subprocess.run([WICK, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout,
                              env=dict(os.environ, WICK_SOCKET=os.path.join(self.run, "wick.sock"), NO_COLOR="1"))
        if check and done.returncode != 0:
            raise AssertionError(f"wick {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n"
                                 f"--- daemon:\n{self.log_text()[-4000:]}")
        return done

    def connection(self, timeout=120):
        host, _, port = self.listen.rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=timeout)

    def request(self, service, path="/", method="GET", body=None, headers=None, timeout=120):
        connection = self.connection(timeout)
        try:
            connection.request(method, path, body, {"Host": f"{service}.localhost", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def services(self):
        return {entry["name"]: entry for entry in json.loads(self.cli("ps", "--json").stdout)}

    def instances(self, service):
        return [i for i in self.services().get(service, {}).get("instances", [])]

    def remove_all(self):
        for trigger in json.loads(self.api("GET", "/apis/eventing.knative.dev/v1/namespaces/default/triggers")[1])["items"]:
            self.cli("trigger", "rm", trigger["metadata"]["name"])
        for name in list(self.services()):
            self.cli("rm", name, "--yes")
        eventually("no service is left", lambda: not self.services(), 60)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("wick serve did not end within 60 s of SIGTERM:\n" + self.log_text()[-3000:])
        return self.process.returncode if self.process else 0

    def close(self):
        self.stop()
        shutil.rmtree(self.run, ignore_errors=True)
        if self.own_state:
            shutil.rmtree(self.state, ignore_errors=True)


class DaemonTest(unittest.TestCase):
    """A test case with one daemon for all its tests, on the shared state folder."""
    flags = ()

    @classmethod
    def setUpClass(cls):
        if os.geteuid() != 0:
            print("SKIP: needs root", file=sys.stderr)
            sys.exit(77)
        state = os.environ.get("WICK_E2E")
        if state:
            os.makedirs(state, exist_ok=True)
        cls.wick = Daemon(state, cls.flags).start()
        cls.addClassCleanup(cls.wick.close)
        cls.wick.remove_all()
        cls.folder = tempfile.mkdtemp(prefix="wick-e2e-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)

    def project(self, name, **files):
        """A folder with the given files; a key's "__" is "/", and "Dockerfile" etc. go as they are."""
        folder = pathlib.Path(self.folder) / name
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, bytes):
                target.write_bytes(text)
            else:
                target.write_text(text)
        return str(folder)

    def static_program(self, name="server", source=None):
        """A static C HTTP server (tests/support/server.c): answers on $PORT, see there for its paths."""
        out = pathlib.Path(self.folder) / name
        source = source or str(TOP / "tests/support/server.c")
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-o", str(out), source], check=True)
        return out.read_bytes()

    def deploy_static(self, name, *flags, argv=("/server",), check=True):
        folder = self.project(name, **{"Dockerfile": f"FROM scratch\nCOPY --chmod=755 server /server\nCMD {json.dumps(list(argv))}\n",
                                       "server": self.static_program()})
        return self.wick.cli("deploy", folder, "--name", name, *flags, check=check)

    def objects(self, plural):
        """Of serving.knative.dev, by name."""
        items = json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1/namespaces/default/{plural}")[1])["items"]
        return {item["metadata"]["name"]: item for item in items}

    def image_with(self, name, source):
        """The test server and, as /NAME, a program of this C source; built once a class."""
        if not hasattr(type(self), "reference"):
            path = pathlib.Path(self.folder) / f"{name}.c"
            path.write_text(source)
            folder = self.project("first", **{
                "Dockerfile": f'FROM scratch\nCOPY --chmod=755 server {name} /\nCMD ["/server"]\n',
                "server": self.static_program(), name: self.static_program(name, str(path))})
            self.wick.cli("deploy", folder, "--name", "first")
            type(self).reference = self.objects("revisions")["first-00001"]["spec"]["containers"][0]["image"]
        return self.reference

    def scaled_to_zero(self, name, limit=60):
        eventually(f"{name} has no instance", lambda: not self.wick.instances(name), limit)


def main():
    unittest.main(verbosity=2)
