"""https and HTTP/2 through Wick, nginx and HAProxy to the same program: requests a second and CPU a request over TLS (wrk), over TLS
with HTTP/2 (h2load), and handshakes a second (wrk with a connection a request; it goes on with the session before, so with TLS 1.3
these are resumed ones, with a key exchange each). The rules are those of edge.py. nginx speaks TLS 1.3 here as the others do: by its own
default it stays at 1.2, where a resumed handshake has no key exchange.

WICK_BENCH_CELLS ("h1/64/small h2/16/large handshakes/16") says which part.
"""
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

from bench import Bench, figure, say
from edge import LOOPS, PATHS, RUNS, SECONDS, UNITS, UPSTREAM_PORT
from peers import Peers, Side, answers

STREAMS = 16  # of one connection of HTTP/2
CELLS = ["h1/1/small", "h1/64/small", "h1/64/large", "h2/4/small", "h2/16/small", "h2/16/large", "handshakes/16"]


def make_certificate(folder):
    """NAME.crt, NAME.key and both as NAME.pem; readable for everybody, since the front is not root."""
    folder.mkdir(mode=0o755)
    name = folder / "bench"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=bench", "-addext", "subjectAltName=DNS:bench.localhost", "-keyout", f"{name}.key", "-out", f"{name}.crt"],
                   check=True, capture_output=True)
    pem = name.with_suffix(".crt").read_text() + name.with_suffix(".key").read_text()
    (folder.parent / "bench.pem").write_text(pem)  # not beside the pair, where Wick would take it for another
    for file in folder.iterdir():
        file.chmod(0o644)
    return name


def wrk(side, connections, path, *fields):
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-H", "Host: bench.localhost", *fields,
                           f"https://{side.address}{path}"], check=True, capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx.*|Socket errors: .*", done)
    if bad:
        raise RuntimeError(f"wrk against {side.name}: {bad.group(0)}")
    p99 = re.search(r"99%\s+([0-9.]+)(us|ms|s)\b", done)
    return {"rate": float(re.search(r"Requests/sec:\s*([0-9.]+)", done).group(1)), "p99": float(p99.group(1)) * UNITS[p99.group(2)],
            "requests": int(re.search(r"(\d+) requests in", done).group(1))}


def h2load(side, connections, path):
    done = subprocess.run(["h2load", "-t1", f"-c{connections}", f"-m{STREAMS}", f"-D{SECONDS}", "-H", ":authority: bench.localhost",
                           f"https://{side.address}{path}"], check=True, capture_output=True, text=True).stdout
    succeeded, failed = map(int, re.search(r"(\d+) succeeded, (\d+) failed", done).groups())
    if failed or "3xx, 0 4xx, 0 5xx" not in done.replace("0 3xx", "3xx"):
        raise RuntimeError(f"h2load against {side.name}: {done}")
    return {"rate": float(re.search(r"finished in .*?, ([0-9.]+) req/s", done).group(1)), "requests": succeeded}


def measure(side, kind, connections, size):
    before = side.cpu_seconds()
    if kind == "h2":
        sample = h2load(side, connections, PATHS[size])
    elif kind == "h1":
        sample = wrk(side, connections, PATHS[size])
    else:
        sample = wrk(side, connections, "/", "-H", "Connection: close")
    sample["cpu"] = (side.cpu_seconds() - before) / max(sample.pop("requests"), 1)
    return sample


def run_cell(cell, sides):
    kind, connections, size = (cell.split("/") + ["small"])[:3]
    samples = {side.name: [] for side in sides}
    for turn in range(RUNS + 1):
        for side in sides:
            sample = measure(side, kind, connections, size)
            if turn:  # the first of each warms up
                samples[side.name].append(sample)
            time.sleep(0.1)
    median = {name: {key: statistics.median(sample[key] for sample in of) for key in of[0]} for name, of in samples.items()}
    for name, of in median.items():
        tail = f"   p99 {of['p99'] * 1e6:8.0f} us" if "p99" in of else ""
        say(f"{cell:12} {name:8} {of['rate']:9.0f} a second   CPU each {of['cpu'] * 1e6:6.1f} us{tail}")
    wick, nginx, haproxy = median["wick"], median["nginx"], median["haproxy"]
    tag = cell.replace("/", "_")
    figure(f"tls_rate_to_nginx_{tag}", wick["rate"] / nginx["rate"], 1.0, at_most=False)
    figure(f"tls_rate_to_haproxy_{tag}", wick["rate"] / haproxy["rate"], 1.0, at_most=False)
    figure(f"tls_cpu_to_nginx_{tag}", wick["cpu"] / nginx["cpu"], 1.0, at_most=True)
    if "p99" in wick:
        figure(f"tls_p99_to_nginx_{tag}", wick["p99"] / nginx["p99"], 1.0, at_most=True)


def run():
    cells = os.environ.get("WICK_BENCH_CELLS", " ".join(CELLS)).split()
    with tempfile.TemporaryDirectory(prefix="wick-bench-tls-") as folder:
        os.chmod(folder, 0o755)
        certificate = make_certificate(pathlib.Path(folder) / "pair")
        flags = ["--loops", str(LOOPS), "--https-listen", "127.0.0.1:0", "--tls-certificates", str(certificate.parent)]
        with Bench(flags, ["--min", "1"]) as bench:
            pid = bench.daemon.process.pid
            wick = Side("wick", bench.daemon.https, pid, only=os.readlink(f"/proc/{pid}/exe"))
            instance = bench.eventually("an instance is ready", bench.instances)[0]
            with Peers(bench.folder, instance["pid"], UPSTREAM_PORT, LOOPS, certificate) as sides:
                sides = [side for side in sides if side.name != "direct"]
                for side in sides:
                    bench.eventually(f"{side.name} listens", lambda side=side: answers(side), 10)
                for cell in cells:
                    run_cell(cell, [*sides, wick])
