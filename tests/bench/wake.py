"""From nothing to the first byte: a request to a service without an instance ÷ `runc run` of the same bundle.

The bundle is the runner's own, caught by a stand-in for the runtime that copies config.json and then becomes runc; only its root (a
plain folder with the same program) and its cgroup differ. Both sides end with a GET and its first byte. The samples take turns.
"""
import ctypes
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import time

from bench import Bench, figure, say, summary

SAMPLES = int(os.environ.get("WICK_BENCH_SAMPLES", "21"))
CLONE_NEWNET = 0x40000000
LIMIT = 20.0
libc = ctypes.CDLL(None, use_errno=True)

CATCH = """#!/bin/bash
arguments=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --bundle|-b) cp "$2/config.json" {caught} ;;
    --bundle=*) cp "${{1#--bundle=}}/config.json" {caught} ;;
  esac
  shift
done
exec runc "${{arguments[@]}}"
"""


def first_byte(connection):
    connection.sendall(b"GET / HTTP/1.1\r\nHost: bench.localhost\r\nConnection: close\r\n\r\n")
    if not connection.recv(1):
        raise RuntimeError("the connection was closed without an answer")


def wake_through_wick(bench):
    for instance in bench.instances():
        os.kill(instance["pid"], signal.SIGKILL)
    bench.eventually("no instance is left", lambda: not bench.instances())
    time.sleep(0.2)  # what the end leaves to do is not the wake's
    host, _, port = bench.daemon.listen.rpartition(":")
    begin = time.perf_counter()
    with socket.create_connection((host, int(port)), LIMIT) as connection:
        first_byte(connection)
    return (time.perf_counter() - begin) * 1000


class Bare:
    """runc run of the caught bundle."""

    def __init__(self, bench, config):
        self.bundle = bench.folder / "bundle"
        self.state = bench.folder / "runc"
        self.pid_file = bench.folder / "pid"
        self.count = 0
        root = self.bundle / "root"
        root.mkdir(parents=True)
        shutil.copy(bench.program, root / "server")
        (root / "server").chmod(0o755)
        for mount in config["mounts"]:
            (root / mount["destination"].lstrip("/")).mkdir(parents=True, exist_ok=True)
        config["root"]["path"] = str(root)
        config["linux"]["cgroupsPath"] = "/wick-bench"
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)

    def connect(self, pid, until):
        """A socket that is made inside the instance's network namespace, retried until somebody listens."""
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            while True:
                self.enter(namespace)
                try:
                    connection = socket.socket()
                    connection.settimeout(LIMIT)
                    connection.connect(("127.0.0.1", 8080))
                    return connection
                except OSError:
                    connection.close()
                    if time.perf_counter() > until:
                        raise
                finally:
                    self.enter(self.home)
                time.sleep(0.0002)
        finally:
            os.close(namespace)

    @staticmethod
    def enter(namespace):
        if libc.setns(namespace, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")

    def wake(self):
        self.count += 1
        name = f"bench-{self.count}"
        runc = ["runc", "--root", str(self.state)]
        self.pid_file.unlink(missing_ok=True)
        errors = self.bundle / "errors"
        with open(errors, "wb") as err:
            begin = time.perf_counter()
            run = subprocess.Popen([*runc, "run", "-d", "--bundle", str(self.bundle), "--pid-file", str(self.pid_file), name],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)
            try:
                while not (self.pid_file.exists() and self.pid_file.stat().st_size):
                    if run.poll() or time.perf_counter() > begin + LIMIT:
                        raise RuntimeError(f"runc run: {errors.read_text()}")
                    time.sleep(0.0002)
                with self.connect(int(self.pid_file.read_text()), begin + LIMIT) as connection:
                    first_byte(connection)
                return (time.perf_counter() - begin) * 1000
            finally:
                run.wait()
                subprocess.run([*runc, "delete", "--force", name], check=False, stderr=subprocess.DEVNULL)


def caught_config():
    """config.json of one instance as the runner composes it."""
    import tempfile
    folder = pathlib.Path(tempfile.mkdtemp(prefix="wick-bench-catch-"))
    try:
        caught, runtime = folder / "config.json", folder / "runtime"
        runtime.write_text(CATCH.format(caught=caught))
        runtime.chmod(0o755)
        with Bench(["--runtime", str(runtime)]):
            return json.loads(caught.read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run():
    config = caught_config()
    with Bench() as bench:
        bare = Bare(bench, config)
        wick, runc = [], []
        for turn in range(SAMPLES + 2):
            pair = wake_through_wick(bench), bare.wake()
            if turn >= 2:  # the first ones warm the page cache of both
                wick.append(pair[0])
                runc.append(pair[1])
        say(f"through wick   {summary(wick, 'ms')}")
        say(f"bare runc run  {summary(runc, 'ms')}")
        figure("wake_to_runc", statistics.median(wick) / statistics.median(runc), 1.1, at_most=True)
