"""Images made, served, written and read by Wick and by its peers: the same Dockerfile, context and machine, in turns.

Every figure is a ratio of medians. BuildKit's bars stand for buildah's as well, at the distance measured between those two (buildah
takes about 5.3 times BuildKit's time for a cached build), so that a machine without dockerd has figures too. WICK_BENCH_RUNS (5) sets
how many rounds, WICK_BENCH_PARTS which of builds, served, images and memory. dockerd 20.10 (docker.io) and buildah are what Debian has; what is missing is left out.
"""
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

from bench import TOP, Bench, figure, say, summary
from build_peers import Docker, Wick, peers
from peers import family

PARTS = os.environ.get("WICK_BENCH_PARTS", "builds,served,images,memory").split(",")
RUNS = int(os.environ.get("WICK_BENCH_RUNS", "5"))
DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox /bin/busybox
COPY lib /lib
ARG FRESH
RUN ["/bin/busybox", "sh", "-c", "echo one > /one"]
COPY source /app/source
RUN ["/bin/busybox", "sh", "-c", "/bin/busybox wc /app/source/* > /two"]
COPY main.txt /main.txt
CMD ["/bin/server"]
"""
# BuildKit's bars, and how many times its time buildah takes.
BUILDS = {"cached": (0.4, 5.3), "one_line": (0.5, 5.1), "cold": (0.8, 4.7)}


def make_context(folder):
    context = pathlib.Path(folder) / "context"
    for name in ("lib", "source"):
        (context / name).mkdir(parents=True)
        for number in range(40):
            (context / name / f"file{number}.txt").write_text(f"{name} {number}\n" * 50)
    shutil.copy("/bin/busybox", context / "busybox")
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "main.txt").write_text("0\n")
    return context


def make_served_context(folder):
    context = pathlib.Path(folder) / "served"
    shutil.copytree(pathlib.Path(folder) / "context", context)
    subprocess.run(["cc", "-O2", "-static", "-pthread", "-o", context / "server", TOP / "tests/support/server.c"], check=True)
    (context / "Dockerfile").write_text(DOCKERFILE.replace("COPY lib", "COPY --chmod=755 server /bin/server\nCOPY lib"))
    return context


def make_tree(folder, files, total, seed):
    """Like a language's packages: text that compresses about three times, sizes of all magnitudes."""
    chance = random.Random(seed)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz_(){}", k=chance.randint(2, 10))) for _ in range(4000)]
    text = " ".join(chance.choices(words, k=1 << 20)).encode()
    sizes = [chance.paretovariate(1.1) for _ in range(files)]
    scale = total / sum(min(size, 300) for size in sizes)
    for number, size in enumerate(sizes):
        path = pathlib.Path(folder) / f"package{number % 97}" / f"part{number % 7}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = chance.randrange(len(text) // 2)
        wanted = int(min(size, 300) * scale)
        path.write_bytes(text[start:start + wanted] + text[:max(0, wanted - len(text) + start)])


def timed(work):
    begun = time.monotonic()
    work()
    return (time.monotonic() - begun) * 1000


def tell(samples):
    for (case, name), values in samples.items():
        say(f"{case:9} {name:9} {summary(values, 'ms')}")
    return {key: statistics.median(values) for key, values in samples.items()}


def builds(sides, folder):
    context, samples = make_context(folder), {}
    for turn in range(RUNS + 1):
        for case in ("cold", "cached", "one_line"):
            if case == "one_line":
                (context / "main.txt").write_text(f"{turn + 1}\n")
            for side in sides:
                if case == "cached":
                    side.build(context)  # whatever the last round left
                took = timed(lambda: side.build(context, fresh=case == "cold"))
                if turn:  # the first round warms up
                    samples.setdefault((case, side.name), []).append(took)
    median = tell(samples)
    for case, (bar, distance) in BUILDS.items():
        for side in sides[1:]:
            scaled = bar if side.name == "buildkit" else bar / distance
            figure(f"build_{case}_to_{side.name}", median[case, "wick"] / median[case, side.name], round(scaled, 3), at_most=True)


def served(sides, folder):
    sides = [side for side in sides if hasattr(side, "serve")]
    if not (pathlib.Path(folder) / "context").exists():
        make_context(folder)
    context, samples = make_served_context(folder), {}
    for turn in range(RUNS + 1):
        (context / "main.txt").write_text(f"{turn}\n")
        for side in sides:
            if isinstance(side, Docker):
                side.end_served()
            answers = []
            took = timed(lambda: answers.append(side.serve(context)))
            if answers != [f"{turn}\n".encode()]:
                raise RuntimeError(f"{side.name} answers {answers}, not {turn}")
            if turn:
                samples.setdefault(("served", side.name), []).append(took)
    median = tell(samples)
    for side in sides[1:]:
        figure(f"change_to_first_answer_to_{side.name}_and_run", median["served", "wick"] / median["served", side.name], 0.3,
               at_most=True)


def images(sides, folder):
    """A 107 MB layer of 11,000 files written compressed; with a second layer, 136 MB, read until something could run on it."""
    folder = pathlib.Path(folder)
    big, more, runnable = folder / "big", folder / "more", folder / "runnable"
    make_tree(big / "tree", 11_000, 107_000_000, 1)
    make_tree(more / "tree", 1_000, 29_000_000, 2)
    runnable.mkdir()
    (big / "Dockerfile").write_text("FROM scratch\nCOPY tree /tree\n")
    (more / "Dockerfile").write_text("FROM bench-big\nCOPY tree /more\n")
    (runnable / "Dockerfile").write_text("FROM bench-more\nWORKDIR /\n")
    exporting = [side for side in sides if hasattr(side, "export")]
    for side in exporting:
        side.build(big, name="bench-big")
    rounds, samples, archive = max(2, RUNS // 2), {}, folder / "out.tar"
    for turn in range(rounds + 1):
        for side in exporting:
            ways = [("export", side.export)]
            if hasattr(side, "export_plain"):
                ways.append(("plain", side.export_plain))
            for case, way in ways:
                archive.unlink(missing_ok=True)
                took = timed(lambda: way("bench-big", archive))
                if turn == 0:
                    say(f"{case:9} {side.name:9} {archive.stat().st_size / 1e6:.1f} MB")
                else:
                    samples.setdefault((case, side.name), []).append(took)
    sides[0].build(more, name="bench-more")
    sides[0].export_plain("bench-more", archive)
    sides[0].forget("bench-more")
    for turn in range(rounds + 1):
        for side in sides:
            took = timed(lambda: side.load(archive, "bench-more", runnable))
            side.forget("bench-more")
            if turn:
                samples.setdefault(("import", side.name), []).append(took)
    median = tell(samples)
    for side in exporting[1:]:
        figure(f"export_to_{side.name}", median["export", "wick"] / median["export", side.name], 0.25, at_most=True)
    for side in sides[1:]:
        figure(f"import_to_{side.name}", median["import", "wick"] / median["import", side.name], 0.3, at_most=True)


class Peak:
    """The most memory that a process and everything below it had at once (Pss, MB), looked at all the time while inside."""

    def __init__(self, pid):
        self.pid, self.most, self.ended = pid, 0.0, threading.Event()
        self.watch = threading.Thread(target=self.look)

    def now(self):
        total = 0
        for pid in family(self.pid):
            try:
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total / 1024

    def look(self):
        while not self.ended.wait(0.005):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self.watch.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.watch.join()


def memory(sides, folder):
    wick = sides[0]
    pid, over = wick.daemon.process.pid, {}
    for megabytes in (20, 320):
        context = pathlib.Path(folder) / f"context{megabytes}"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM scratch\nCOPY data /data\nCOPY . /all\n")
        (context / "data").write_bytes(random.Random(3).randbytes(1 << 20) * megabytes)
        time.sleep(1)
        idle = Peak(pid).now()
        with Peak(pid) as peak:
            wick.build(context, name="bench-memory")
        over[megabytes] = peak.most - idle
        say(f"a build of {megabytes} MB: {idle:.1f} MB idle, {over[megabytes]:.1f} MB over it at most")
        shutil.rmtree(context)
    figure("build_memory_over_idle_mb", over[320], 30, at_most=True)
    figure("build_memory_320_mb_to_20_mb", over[320] / over[20], 1.2, at_most=True)


def run():
    folder = tempfile.mkdtemp(prefix="wick-bench-build-", dir="/var/tmp")
    sides = []
    try:
        with Bench() as bench:
            try:
                sides = [Wick(bench), *peers(folder)]
                for part in PARTS:
                    {"builds": builds, "served": served, "images": images, "memory": memory}[part](sides, folder)
            finally:
                for side in sides:
                    side.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
