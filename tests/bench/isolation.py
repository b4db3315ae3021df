"""A victim beside bombs: p99 of a warm service while another one forks, fills its disk and memory, logs and spins ÷ p99 alone.

The samples take turns: a stretch of requests alone, the bombs on, a stretch beside them, the bombs off.
"""
import http.client
import pathlib
import signal
import os
import statistics
import time

from bench import Bench, figure, say, summary

ROUNDS = int(os.environ.get("WICK_BENCH_ROUNDS", "3"))
STRETCH = 300  # requests
BOMBS = r"""#!/bin/busybox sh
/bin/busybox httpd -p 8080 -h /
sleep() { /bin/busybox sleep "$@"; }
( while :; do :; done ) &
( while :; do :; done ) &
( while :; do ( sleep 1 & ) ; done ) 2>/dev/null &
( while :; do /bin/busybox dd if=/dev/zero of=/tmp/a bs=1M; done ) 2>/dev/null &
( /bin/busybox yes 'a line that nobody reads' ) &
while :; do /bin/busybox dd if=/dev/zero of=/dev/null bs=100M count=1; sleep 0.1; done 2>/dev/null
"""


def stretch(bench):
    host, _, port = bench.daemon.listen.rpartition(":")
    times = []
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    for _ in range(STRETCH):
        begin = time.perf_counter()
        connection.request("GET", "/", headers={"Host": "bench.localhost"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"the victim answers {answer.status}")
        times.append((time.perf_counter() - begin) * 1000)
    connection.close()
    return times


def deploy_bombs(bench):
    project = bench.folder / "bombs"
    project.mkdir()
    (project / "busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (project / "bombs").write_text(BOMBS)
    (project / "Dockerfile").write_text('FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nCOPY --chmod=755 bombs /bombs\n'
                                        'CMD ["/bin/busybox", "sh", "/bombs"]\n')
    bench.daemon.cli("deploy", str(project), "--name", "bombs", "--memory", "128Mi", "--json")


def all_pids(instance):
    return [entry["pid"] for entry in instance]


def freeze(bench, number):
    for pid in all_pids(bench.daemon.instances("bombs")):
        group = next((line.split(":")[2] for line in open(f"/proc/{pid}/cgroup") if ":pids:" in line or line.startswith("0::/wick")), None)
        if not group:
            continue
        for tree in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
            procs = pathlib.Path(tree + group) / "cgroup.procs"
            if procs.exists():
                for member in procs.read_text().split():
                    try:
                        os.kill(int(member), number)
                    except ProcessLookupError:
                        pass


def run():
    with Bench() as bench:
        stretch(bench)
        deploy_bombs(bench)
        alone, beside = [], []
        for _ in range(ROUNDS):
            freeze(bench, signal.SIGSTOP)
            time.sleep(0.3)
            alone += stretch(bench)
            freeze(bench, signal.SIGCONT)
            time.sleep(0.3)
            beside += stretch(bench)
        p99 = lambda values: statistics.quantiles(values, n=100)[98]
        say("victim alone: " + summary(alone, "ms") + f", p99 {p99(alone):.2f}")
        say("victim beside bombs: " + summary(beside, "ms") + f", p99 {p99(beside):.2f}")
        figure("isolation.victim_p99_beside_bombs_over_alone", p99(beside) / p99(alone), 2.0, at_most=True)
        bench.daemon.cli("rm", "bombs", "--yes", check=False)
