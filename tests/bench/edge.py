"""Warm requests through Wick, nginx and HAProxy to the same program: requests a second, p50, p99 and CPU a request at 1, 64 and 256
connections, 100-byte and 100-KB answers; the memory of 10,000 idle connections.

WICK_BENCH_LOOPS (1) loops of Wick against as many workers of the others, and one process behind them all (peers.py); the runs take
turns and every figure is a ratio of medians.
WICK_BENCH_RUNS (3) and WICK_BENCH_SECONDS (2) set how long, WICK_BENCH_CELLS ("1/small 64/large memory")
which part.
"""
import os
import re
import resource
import socket
import statistics
import subprocess
import time

from bench import Bench, figure, say
from peers import CONNECTIONS_MAX, Peers, Side, answers

RUNS = int(os.environ.get("WICK_BENCH_RUNS", "3"))
LOOPS = int(os.environ.get("WICK_BENCH_LOOPS", "1"))
SECONDS = int(os.environ.get("WICK_BENCH_SECONDS", "2"))
PATHS = {"small": "/", "large": "/large"}
CELLS = [f"{connections}/{size}" for size in PATHS for connections in (1, 64, 256)] + ["memory"]
IDLE = 10_000
UPSTREAM_PORT = 8080  # what an instance is told by default
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def measure(side, connections, path):
    before = side.cpu_seconds()
    done = subprocess.run([*side.network.prefix, "wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-H",
                           "Host: bench.localhost", f"http://{side.address}{path}"], check=True, capture_output=True, text=True).stdout
    cpu = side.cpu_seconds() - before
    bad = re.search(r"Non-2xx.*|Socket errors: .*", done)
    if bad:
        raise RuntimeError(f"wrk against {side.name}: {bad.group(0)}")
    quantile = {at: float(value) * UNITS[unit] for at, value, unit in re.findall(r"(50|99)%\s+([0-9.]+)(us|ms|s)\b", done)}
    requests = int(re.search(r"(\d+) requests in", done).group(1))
    return {"rate": float(re.search(r"Requests/sec:\s*([0-9.]+)", done).group(1)), "p50": quantile["50"], "p99": quantile["99"],
            "cpu": cpu / requests}


def run_cell(cell, sides):
    connections, size = cell.split("/")
    samples = {side.name: [] for side in sides}
    for turn in range(RUNS + 1):
        for side in sides:
            sample = measure(side, connections, PATHS[size])
            if turn:  # the first of each warms up
                samples[side.name].append(sample)
            time.sleep(0.1)
    median = {name: {key: statistics.median(sample[key] for sample in of) for key in of[0]} for name, of in samples.items()}
    for name, of in median.items():
        say(f"{cell:10} {name:8} {of['rate']:9.0f} requests/s   p50 {of['p50'] * 1e6:7.0f} us   p99 {of['p99'] * 1e6:8.0f} us   "
            f"CPU a request {of['cpu'] * 1e6:6.1f} us")
    wick, nginx, direct = median["wick"], median["nginx"], median["direct"]
    tag = f"{size}_{connections}"
    figure(f"edge_rate_to_nginx_{tag}", wick["rate"] / nginx["rate"], 1.0, at_most=False)
    figure(f"edge_p99_to_nginx_{tag}", wick["p99"] / nginx["p99"], 1.0, at_most=True)
    figure(f"edge_rate_to_haproxy_{tag}", wick["rate"] / median["haproxy"]["rate"], 1.0, at_most=False)
    figure(f"edge_cpu_to_nginx_{tag}", wick["cpu"] / nginx["cpu"], 1.0, at_most=True)
    if connections == "1" and size == "small":
        added = max(nginx["p50"] - direct["p50"], 1e-6)
        figure("edge_added_p50_to_nginx", (wick["p50"] - direct["p50"]) / added, 0.5, at_most=True)


def idle_memory(side):
    """KB a connection: each has made one request and waits."""
    host, port = side.address.rsplit(":", 1)
    request = b"GET / HTTP/1.1\r\nHost: bench.localhost\r\n\r\n"
    before = side.memory_kb()
    clients = []
    try:
        with side.network:
            for _ in range(IDLE):
                client = socket.create_connection((host, int(port)), 20)
                clients.append(client)
                client.sendall(request)
                if not client.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"{side.name} did not answer connection {len(clients)}")
        time.sleep(0.5)
        return (side.memory_kb() - before) / IDLE
    finally:
        for client in clients:
            client.close()


def run_memory(sides):
    resource.setrlimit(resource.RLIMIT_NOFILE, (CONNECTIONS_MAX, max(CONNECTIONS_MAX, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    used = {side.name: idle_memory(side) for side in sides if side.name != "direct"}
    for name, kb in used.items():
        say(f"{IDLE} idle connections through {name:8} {kb:.2f} KB each")
    figure("edge_idle_kb_a_connection", used["wick"], 40, at_most=True)  # trust-and-ux.md 10.1


def run():
    cells = os.environ.get("WICK_BENCH_CELLS", " ".join(CELLS)).split()
    with Bench(["--loops", str(LOOPS)], ["--min", "1"]) as bench:
        pid = bench.daemon.process.pid
        wick = Side("wick", bench.daemon.listen, pid, only=os.readlink(f"/proc/{pid}/exe"))
        instance = bench.eventually("an instance is ready", bench.instances)[0]
        with Peers(bench.folder, instance["pid"], UPSTREAM_PORT, LOOPS) as sides:
            for side in sides:
                bench.eventually(f"{side.name} listens", lambda side=side: answers(side), 10)
            for cell in cells:
                run_memory([*sides, wick]) if cell == "memory" else run_cell(cell, [*sides, wick])
