"""From each rung of the ladder to the first byte, as ratios: to `runc run` of the same bundle, to the program's own boot from
fork+exec, to a warm request. The timeline of a prepared wake is printed too, so that what is left to save is visible.

The bundle is the runner's own, caught by a stand-in for the runtime that copies config.json and then becomes runc; only its root (a
plain folder with the same program) and its cgroup differ. Both sides end with a GET and its first byte. The samples take turns.
"""
import ctypes
import json
import os
import pathlib
import shutil
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


def first_byte(connection, service):
    connection.sendall(f"GET / HTTP/1.1\r\nHost: {service}.localhost\r\nConnection: close\r\n\r\n".encode())
    if not connection.recv(1):
        raise RuntimeError("the connection was closed without an answer")


# Soon asleep, and a second later gone: how a sample comes back to nothing.
SHORT = {"freeze_after": "100ms", "frozen_for": "1s"}


def annotations_of(settings):
    return {"wick.dev/" + key.replace("_", "-"): value for key, value in settings.items()}


def annotate(bench, service, **settings):
    """A new revision with these wick.dev annotations, ready; its name."""
    names = annotations_of(settings)
    path = f"/apis/serving.knative.dev/v1/namespaces/default/services/{service}"
    patch = {"spec": {"template": {"metadata": {"annotations": names}}}}
    status, text = bench.daemon.api("PATCH", path, json.dumps(patch), {"Content-Type": "application/merge-patch+json"})
    if status != 200:
        raise RuntimeError(text)

    def settled():
        service_now = json.loads(bench.daemon.api("GET", path)[1])
        status = service_now["status"]
        return (status.get("observedGeneration") == service_now["metadata"]["generation"]
                and all(each["status"] == "True" for each in status["conditions"])) and status["latestReadyRevisionName"]

    revision = bench.eventually(f"{service} is ready with {names}", settled)
    time.sleep(0.5)
    return revision


def gauge(bench, revision, state):
    """wick_instances of one revision."""
    for line in bench.daemon.api("GET", "/metrics")[1].splitlines():
        if line.startswith("wick_instances{") and f'revision="{revision}"' in line and f'state="{state}"' in line:
            return int(float(line.rsplit(" ", 1)[1]))
    return 0


def to_first_byte(bench, service):
    host, _, port = bench.daemon.listen.rpartition(":")
    begin = time.perf_counter()
    with socket.create_connection((host, int(port)), LIMIT) as connection:
        first_byte(connection, service)
    return (time.perf_counter() - begin) * 1000


def to_zero(bench, service):
    """Nothing is left: by the ladder. A kill would be a crash, and crashes in a row are backed off."""
    bench.eventually("no instance is left", lambda: not bench.daemon.instances(service))


def quiet(bench, service):
    """What a sample begins from, of whichever side: the one before has nothing left to do, and has left no cache warm. Measured: a
    `runc run` right after a wake takes 22 ms, half a second later 42."""
    to_zero(bench, service)
    time.sleep(0.5)


def wake_from_nothing(bench, service):
    quiet(bench, service)
    return to_first_byte(bench, service)


def wake_from_spare(bench, service, revision):
    to_zero(bench, service)
    bench.eventually("a spare is there", lambda: gauge(bench, revision, "spare") == 1)
    quiet(bench, service)
    return to_first_byte(bench, service)


def wake_frozen(bench, service):
    bench.eventually("it is frozen", lambda: [each["state"] for each in bench.daemon.instances(service)] == ["frozen"])
    return to_first_byte(bench, service)


def warm(bench, service):
    to_first_byte(bench, service)
    return to_first_byte(bench, service)


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
        # The runner gives a network made ahead, with a sysfs of it; bare, the runtime makes both.
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace.pop("path", None)
        for mount in config["mounts"]:
            if mount["destination"] == "/sys":
                mount.update(type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"])
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
                    first_byte(connection, "bench")
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


def boot(argv, folder):
    """The program's own boot: fork, exec, first byte."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env={"PORT": str(port), "PATH": "/usr/bin:/bin"}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as connection:
                connection.settimeout(LIMIT)
                if connection.connect_ex(("127.0.0.1", port)) == 0:
                    first_byte(connection, "bench")
                    return (time.perf_counter() - begin) * 1000
            if time.perf_counter() > begin + LIMIT:
                raise RuntimeError(f"{argv} does not listen")
            time.sleep(0.0002)
    finally:
        process.kill()
        process.wait()


NODE = """const http = require('http');
process.on('SIGTERM', () => process.exit());
http.createServer((q, r) => r.end('hello')).listen(process.env.PORT || 8080, '127.0.0.1');
"""
PYTHON = """import http.server, os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '5')
        self.end_headers()
        self.wfile.write(b'hello')
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ.get('PORT', 8080))), Hello).serve_forever()
"""


def with_libraries(project, *programs):
    """Copies of `programs` and of the libraries they load, at their own paths below project/root."""
    seen = set()
    for program in programs:
        output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for path in [program, *(word for word in output.split() if word.startswith("/"))]:
            if path in seen:
                continue
            seen.add(path)
            target = project / "root" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def deploy_language(bench, name, program, source, suffix, tree=None):
    """`source` as a service whose image has this machine's interpreter; its command and folder for boot()."""
    project = bench.folder / name
    project.mkdir()
    (project / f"server{suffix}").write_text(source)
    libraries = [program]
    if tree:
        shutil.copytree(tree, project / "root" / tree.lstrip("/"), ignore=shutil.ignore_patterns("test", "idlelib", "config-*"))
        libraries += [str(each) for each in pathlib.Path(tree).glob("lib-dynload/*.so")]
        # Layers have times of their own, so compiled modules must not be checked against their sources' times.
        subprocess.run([program, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", str(project / "root" / tree.lstrip("/"))],
                       check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with_libraries(project, *libraries)
    (project / "Dockerfile").write_text(
        f'FROM scratch\nCOPY root/ /\nCOPY server{suffix} /app/server{suffix}\nWORKDIR /app\nCMD ["{program}", "/app/server{suffix}"]\n')
    bench.daemon.cli("deploy", str(project), "--name", name, "--json")
    return [program, f"server{suffix}"], project


def interleaved(samples, *functions):
    """The values of each; the samples take turns, and the first two of each warm the page cache of all."""
    taken = [[] for _ in functions]
    for turn in range(samples + 2):
        for values, function in zip(taken, functions):
            value = function()
            if turn >= 2:
                values.append(value)
    return taken


def static_rungs(bench, bare):
    def bare_run():
        quiet(bench, "bench")
        return bare.wake()

    annotate(bench, "bench", prepared_spares="0", **SHORT)
    wick, runc = interleaved(SAMPLES, lambda: wake_from_nothing(bench, "bench"), bare_run)
    say(f"from nothing     {summary(wick, 'ms')}")
    say(f"bare runc run    {summary(runc, 'ms')}")
    figure("wake_to_runc", statistics.median(wick) / statistics.median(runc), 1.1, at_most=True)
    spared = annotate(bench, "bench", prepared_spares="1", **SHORT)
    wick, runc = interleaved(SAMPLES, lambda: wake_from_spare(bench, "bench", spared), bare_run)
    say(f"prepared         {summary(wick, 'ms')}")
    say(f"bare runc run    {summary(runc, 'ms')}")
    figure("prepared_to_runc", statistics.median(wick) / statistics.median(runc), 0.12, at_most=True)
    print_timeline(bench, "bench")
    annotate(bench, "bench", prepared_spares="0", freeze_after="1s", frozen_for="1h")
    frozen, awake = interleaved(SAMPLES, lambda: wake_frozen(bench, "bench"), lambda: warm(bench, "bench"))
    say(f"frozen           {summary(frozen, 'ms')}")
    say(f"warm             {summary(awake, 'ms')}")
    figure("frozen_over_warm_ms", statistics.median(frozen) - statistics.median(awake), 1.5, at_most=True)


def print_timeline(bench, service):
    why = json.loads(bench.daemon.api("GET", f"/apis/wick.dev/v1/namespaces/default/services/{service}/why")[1])
    latest = next((each for each in why["requests"] if each["cold"]), None)
    if latest:
        say("timeline (ms)    " + ", ".join(f"{step['step']} {step['ms']:.2f}" for step in latest["timeline"]))


def language_rungs(bench, name, program, source, suffix, parked_bar, tree=None):
    argv, folder = deploy_language(bench, name, program, source, suffix, tree)

    def own_boot():
        quiet(bench, name)
        return boot(argv, folder)

    samples = max(5, SAMPLES // 2)
    revision = annotate(bench, name, park="never", prepared_spares="1", **SHORT)
    prepared, own = interleaved(samples, lambda: wake_from_spare(bench, name, revision), own_boot)
    say(f"{name:<7}prepared  {summary(prepared, 'ms')}")
    say(f"{name:<7}own boot  {summary(own, 'ms')}")
    figure(f"{name}_prepared_over_boot_ms", statistics.median(prepared) - statistics.median(own), 5, at_most=True)
    revision = annotate(bench, name, park="auto", prepared_spares="1", **SHORT)
    parked, own = interleaved(samples, lambda: wake_from_spare(bench, name, revision), own_boot)
    say(f"{name:<7}parked    {summary(parked, 'ms')}")
    say(f"{name:<7}own boot  {summary(own, 'ms')}")
    print_timeline(bench, name)
    figure(f"{name}_parked_to_boot", statistics.median(parked) / statistics.median(own), parked_bar, at_most=True)


def run():
    config = caught_config()
    with Bench() as bench:
        static_rungs(bench, Bare(bench, config))
        if os.path.exists("/usr/bin/node"):
            language_rungs(bench, "node", "/usr/bin/node", NODE, ".js", 0.4)
        python = os.path.realpath("/usr/bin/python3")
        if os.path.exists(python):
            language_rungs(bench, "python", python, PYTHON, ".py", 0.15, f"/usr/lib/{os.path.basename(python)}")
