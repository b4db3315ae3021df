"""The same six-step Dockerfile without network by Wick and by its peers: everything cached, one changed line, from nothing.

Peers are what is installed: buildah, and docker with BuildKit where its daemon answers. All take turns on the same machine, base and
context, and every figure is a ratio of medians; BuildKit's bars stand for buildah's measured distance where only that is here (buildah
takes about 5.3 times BuildKit's time for a cached build). WICK_BENCH_RUNS (5) sets how many rounds.
"""
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

from bench import Bench, figure, say, summary

RUNS = int(os.environ.get("WICK_BENCH_RUNS", "5"))
DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox /bin/busybox
COPY lib /lib
RUN ["/bin/busybox", "sh", "-c", "echo one > /one"]
COPY source /app/source
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox wc /app/source/* > /two"]
COPY main.txt /app/main.txt
CMD ["/bin/busybox", "cat", "/app/main.txt"]
"""


class Wick:
    name = "wick"

    def __init__(self, bench):
        self.daemon = bench.daemon

    def build(self, context, fresh):
        arguments = ["build", str(context), "--name", "bench-build", "--json"]
        if fresh:  # a build argument that the first RUN sees: nothing after it is cached
            arguments += ["--build-arg", f"FRESH={time.time_ns()}"]
        self.daemon.cli(*arguments)


class Buildah:
    name = "buildah"

    def __init__(self, folder):
        self.root = pathlib.Path(folder) / "buildah"

    def call(self, *arguments):
        subprocess.run(["buildah", "--root", self.root / "root", "--runroot", self.root / "run", *arguments], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def build(self, context, fresh):
        arguments = ["bud", "--layers", "--isolation", "oci", "--network", "none", "-t", "bench-build"]
        if fresh:
            arguments += ["--build-arg", f"FRESH={time.time_ns()}"]
        self.call(*arguments, str(context))


class Docker:
    name = "buildkit"

    def build(self, context, fresh):
        arguments = ["docker", "build", "-q", "--network", "none", "-t", "bench-build"]
        if fresh:
            arguments += ["--build-arg", f"FRESH={time.time_ns()}"]
        subprocess.run([*arguments, str(context)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                       env=dict(os.environ, DOCKER_BUILDKIT="1"))


def peers(folder):
    found = []
    if shutil.which("buildah"):
        found.append(Buildah(folder))
    if shutil.which("docker") and subprocess.run(["docker", "version"], capture_output=True).returncode == 0:
        found.append(Docker())
    return found


def make_context(folder):
    context = pathlib.Path(folder) / "context"
    for name in ("lib", "source"):
        (context / name).mkdir(parents=True)
        for number in range(40):
            (context / name / f"file{number}.txt").write_text(f"{name} {number}\n" * 50)
    shutil.copy("/bin/busybox", context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE.replace("RUN", "ARG FRESH\nRUN", 1))
    (context / "main.txt").write_text("0\n")
    return context


def timed(side, context, fresh):
    begun = time.monotonic()
    side.build(context, fresh)
    return (time.monotonic() - begun) * 1000


def run():
    folder = tempfile.mkdtemp(prefix="wick-bench-build-", dir="/var/tmp")
    try:
        with Bench() as bench:
            sides = [Wick(bench), *peers(folder)]
            context = make_context(folder)
            samples = {}
            for turn in range(RUNS + 1):
                for case in ("cold", "cached", "one_line"):
                    if case == "one_line":
                        (context / "main.txt").write_text(f"{turn + 1}\n")
                    for side in sides:
                        if case == "cached":
                            side.build(context, False)  # whatever the last round left
                        took = timed(side, context, case == "cold")
                        if turn:  # the first round warms up
                            samples.setdefault((case, side.name), []).append(took)
            for (case, name), values in samples.items():
                say(f"{case:9} {name:9} {summary(values, 'ms')}")
            median = {key: statistics.median(values) for key, values in samples.items()}
            for case, bar in (("cached", 0.4), ("one_line", 0.5), ("cold", 0.8)):
                for side in sides[1:]:
                    # buildah's medians are 5.3, 5.1 and 4.7 times BuildKit's on this kind of machine.
                    scaled = bar if side.name == "buildkit" else bar / {"cached": 5.3, "one_line": 5.1, "cold": 4.7}[case]
                    figure(f"build_{case}_to_{side.name}", median[case, "wick"] / median[case, side.name], round(scaled, 3), at_most=True)
    finally:
        subprocess.run(["umount", "-R", pathlib.Path(folder) / "buildah/root/overlay"], capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
