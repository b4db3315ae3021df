"""Wick, buildah and BuildKit behind the same few calls: build, build and serve, export, import.

Every peer has a folder of its own for everything it keeps. dockerd is started here with its own socket, without bridge and firewall
rules, and ended again; it brings its own containerd. Its command line is the one beside it: a newer one refuses its API.
"""
import http.client
import os
import pathlib
import shutil
import socket
import subprocess
import time

LIMIT = 60.0


def call(arguments, **options):
    done = subprocess.run([str(each) for each in arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(str(each) for each in arguments)}: {done.stderr.decode(errors='replace')[-2000:]}")


def fresh_argument(fresh):
    """A build argument that the first RUN sees: nothing after it is cached."""
    return ["--build-arg", f"FRESH={time.time_ns()}"] if fresh else []


class Wick:
    name = "wick"

    def __init__(self, bench):
        self.daemon = bench.daemon

    def build(self, context, fresh=False, name="bench-build"):
        self.daemon.cli("build", context, "--name", name, "--json", *fresh_argument(fresh))

    def serve(self, context):
        """Builds and starts; the first answer's body."""
        self.daemon.cli("deploy", context, "--name", "bench-serve", "--json")
        return self.daemon.request("bench-serve", "/file/main.txt")[1]

    def export(self, name, archive):
        self.daemon.cli("image", "save", name, "--zstd", "-o", archive)

    def export_plain(self, name, archive):
        self.daemon.cli("image", "save", name, "-o", archive)

    def load(self, archive, name, context):
        """Until a build or an instance could stand on it: a build of no more than `FROM name` unpacks every layer."""
        self.daemon.cli("image", "load", archive)
        self.build(context, name="bench-runnable")

    def forget(self, name):
        for each in (name, "bench-runnable"):
            self.daemon.cli("image", "rm", each, check=False)
        self.daemon.cli("image", "prune", "--yes")

    def close(self):
        self.daemon.cli("rm", "bench-serve", "--yes", check=False)


class Buildah:
    """Its pull is podman's: both are containers/image on containers/storage."""
    name = "buildah"

    def __init__(self, folder):
        self.root = pathlib.Path(folder) / "buildah"

    def call(self, *arguments):
        call(["buildah", "--root", self.root / "root", "--runroot", self.root / "run", *arguments])

    def build(self, context, fresh=False, name="bench-build"):
        # crun, its own choice where it is installed, refuses hybrid control groups.
        self.call("bud", "--layers", "--isolation", "oci", "--runtime", "runc", "--network", "none", "-t", name,
                  *fresh_argument(fresh), context)

    def export(self, name, archive):
        self.call("push", name, f"oci-archive:{archive}:{name}")

    def load(self, archive, name, context):
        self.call("pull", f"docker-archive:{archive}")

    def forget(self, name):
        self.call("rmi", "--force", name)

    def close(self):
        subprocess.run(["umount", "-R", self.root / "root/overlay"], capture_output=True, check=False)


class Docker:
    name = "buildkit"

    def __init__(self, folder):
        self.root = pathlib.Path(folder) / "docker"
        self.root.mkdir()
        beside = "/usr/bin/docker"
        self.docker = beside if os.path.exists(beside) else "docker"
        self.environment = dict(os.environ, DOCKER_HOST=f"unix://{self.root}/docker.sock", DOCKER_BUILDKIT="1",
                                DOCKER_CONFIG=str(self.root / "config"))
        log = open(self.root / "log", "wb")
        with log:
            self.process = subprocess.Popen(
                ["dockerd", "--host", f"unix://{self.root}/docker.sock", "--data-root", self.root / "data", "--exec-root",
                 self.root / "exec", "--pidfile", self.root / "pid", "--iptables=false", "--ip6tables=false", "--ip-masq=false",
                 "--bridge=none"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        end = time.monotonic() + LIMIT
        while subprocess.run([self.docker, "version"], capture_output=True, env=self.environment, check=False).returncode:
            if self.process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError(f"dockerd does not start: {(self.root / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def call(self, *arguments):
        call([self.docker, *arguments], env=self.environment)

    def build(self, context, fresh=False, name="bench-build"):
        self.call("build", "-q", "--network", "none", "-t", name, *fresh_argument(fresh), context)

    def serve(self, context):
        """On the machine's own network, which costs it no network of its own."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.build(context, name="bench-serve")
        self.call("run", "-d", "--name", "bench-serve", "--network", "host", "-e", f"PORT={port}", "bench-serve")
        end = time.monotonic() + LIMIT
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT)
            try:
                connection.request("GET", "/file/main.txt")
                return connection.getresponse().read()
            except ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.001)
            finally:
                connection.close()

    def end_served(self):
        subprocess.run([self.docker, "rm", "-f", "bench-serve"], capture_output=True, env=self.environment, check=False)

    def load(self, archive, name, context):
        self.call("load", "-q", "-i", archive)

    def forget(self, name):
        self.call("rmi", "-f", name)

    def close(self):
        if self.process.poll() is None:
            self.end_served()
            self.process.terminate()
            self.process.wait(LIMIT)


def peers(folder):
    """Those that are installed; one that does not start is named and left out."""
    found = []
    if shutil.which("buildah"):
        found.append(Buildah(folder))
    if shutil.which("dockerd"):
        try:
            found.append(Docker(folder))
        except RuntimeError as error:
            print(f"not measured: {error}", flush=True)
    return found
