"""The broker: durable acknowledged events a second over HTTP, against Redis and the disk in the same run; deliveries; triggers.

Peers: redis-server streams with `appendfsync always` (it syncs before it answers, many clients a sync), and the machine's own fdatasync.
nats-server before 2.10 cannot sync before it acknowledges, so it is no peer for a durable broker and is left out, loudly; so is
RabbitMQ, for which this bench has no client. All run on the same file system and take turns.

A client waits for each answer before it sends the next event, so with N connections no broker gets past N events a sync;
with 32 it is the processor, not the disk, that is met first.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import zlib

from bench import HERE, TOP, build_wick, figure, say

SECONDS = float(os.environ.get("WICK_BENCH_SECONDS", "4"))
RUNS = int(os.environ.get("WICK_BENCH_RUNS", "3"))
BACKLOG = int(os.environ.get("WICK_BENCH_BACKLOG", "1000000"))
EVENTING = "/apis/eventing.knative.dev/v1/namespaces/default"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def numbers(text):
    words = text.split()
    return dict(zip(words[::2], map(float, words[1::2])))


class Broker:
    """A daemon with broker `default`, on the folder's file system."""

    def __init__(self, folder, program):
        build_wick()
        sys.path.insert(0, str(TOP / "tests/integration/e2e"))
        import fixture  # reads $WICK
        state = pathlib.Path(tempfile.mkdtemp(prefix="state-", dir=folder))
        self.program, self.daemon = program, fixture.Daemon(state=str(state))

    def __enter__(self):
        self.daemon.start()
        self.make("brokers", {"kind": "Broker", "metadata": {"name": "default"}})
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.daemon.close()

    def make(self, plural, resource):
        resource = {"apiVersion": "eventing.knative.dev/v1", **resource}
        status, text = self.daemon.api("POST", f"{EVENTING}/{plural}", json.dumps(resource), {"Content-Type": "application/json"})
        if status not in (200, 201, 409):
            raise RuntimeError(f"{plural}: {status} {text}")

    def trigger(self, name, url, event_type=None):
        spec = {"broker": "default", "subscriber": {"uri": url}}
        if event_type is not None:
            spec["filter"] = {"attributes": {"type": event_type}}
        self.make("triggers", {"kind": "Trigger", "metadata": {"name": name}, "spec": spec})

    def publish(self, connections, types=1, seconds=None):
        host, _, port = self.daemon.events.rpartition(":")
        done = subprocess.run([self.program, "publish", host, port, "/default/default", str(connections), str(seconds or SECONDS),
                               str(types)], check=True, capture_output=True, text=True)
        result = numbers(done.stdout)
        result["rate"] = result["count"] / result["seconds"]
        return result

    def memory_mib(self):
        status = pathlib.Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status).group(1)) / 1024


class Sink:
    def __init__(self, program):
        self.port = free_port()
        self.process = subprocess.Popen([program, "sink", str(self.port)], stdout=subprocess.PIPE, text=True)

    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return numbers(self.process.communicate(timeout=10)[0])


class Redis:
    def __init__(self, folder):
        self.folder = tempfile.mkdtemp(prefix="redis-", dir=folder)
        self.port = free_port()
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder,
                                         "--appendonly", "yes", "--appendfsync", "always", "--save", ""], stdout=subprocess.DEVNULL)
        end = time.monotonic() + 10
        while subprocess.run(["redis-cli", "-p", str(self.port), "ping"], capture_output=True).returncode != 0:
            if time.monotonic() > end:
                raise RuntimeError("redis-server does not answer")
            time.sleep(0.05)

    def publish(self, connections, count):
        done = subprocess.run(["redis-benchmark", "-p", str(self.port), "-c", str(connections), "-n", str(count), "--csv",
                               "XADD", "s", "MAXLEN", "~", "100000", "*", "d", "x" * 256], check=True, capture_output=True, text=True)
        row = [cell.strip('"') for cell in done.stdout.strip().splitlines()[-1].split('","')]
        return {"rate": float(row[-7]), "p50_us": float(row[-4]) * 1000, "p99_us": float(row[-2]) * 1000}

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def fdatasync_times(folder, count=300):
    path = os.path.join(folder, "sync")
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(file, b"\0" * 4096 * count, 0)
    os.fsync(file)
    times = []
    for i in range(count):
        begin = time.perf_counter()
        os.pwrite(file, b"x" * 4096, 4096 * i)
        os.fdatasync(file)
        times.append((time.perf_counter() - begin) * 1e6)
    os.close(file)
    os.unlink(path)
    return sorted(times)


def middle(results, key):
    return statistics.median(result[key] for result in results)


def ingest(folder, program):
    redis = Redis(folder) if shutil.which("redis-server") and shutil.which("redis-benchmark") else None
    if not redis:
        say("SKIPPED: no redis-server and redis-benchmark (apt-get install redis-server redis-tools): no ratio to Redis")
    version = subprocess.run(["nats-server", "--version"], capture_output=True, text=True).stdout if shutil.which("nats-server") else "none"
    say(f"SKIPPED: JetStream (nats-server: {version.strip()}) and RabbitMQ: no durable peer here")
    wick, peer, disk = {1: [], 32: [], 128: []}, {1: [], 32: [], 128: []}, []
    try:
        with Broker(folder, program) as broker:
            for _ in range(RUNS):
                disk += fdatasync_times(folder)
                for connections in wick:
                    wick[connections].append(broker.publish(connections))
                    if redis:
                        count = max(200, int(wick[connections][-1]["rate"] * SECONDS))
                        peer[connections].append(redis.publish(connections, count))
            say(f"memory after the run: {broker.memory_mib():.0f} MiB")
    finally:
        if redis:
            redis.stop()
    disk.sort()
    sync_us = disk[len(disk) // 2]
    say(f"fdatasync: p50 {sync_us:.0f} us, p99 {disk[len(disk) * 99 // 100]:.0f} us, {1e6 / sync_us:.0f} a second")
    for connections, results in wick.items():
        say(f"wick {connections} connections: {middle(results, 'rate'):.0f}/s p50 {middle(results, 'p50_us'):.0f} us p99 {middle(results, 'p99_us'):.0f} us")
        if redis:
            results = peer[connections]
            say(f"redis {connections} connections: {middle(results, 'rate'):.0f}/s p50 {middle(results, 'p50_us'):.0f} us p99 {middle(results, 'p99_us'):.0f} us")
    figure("events_32_per_second", middle(wick[32], "rate"), 20000, at_most=False)
    figure("events_1_p50_of_fdatasync", middle(wick[1], "p50_us") / sync_us, 2, at_most=True)
    if redis:
        figure("events_32_of_redis", middle(wick[32], "rate") / middle(peer[32], "rate"), 1.0, at_most=False)
        figure("events_32_p99_of_redis", middle(wick[32], "p99_us") / middle(peer[32], "p99_us"), 3, at_most=True)


def deliveries(folder, program):
    rates = {}
    for count in (1, 8):
        with Broker(folder, program) as broker:
            sinks = [Sink(program) for _ in range(count)]
            for i, sink in enumerate(sinks):
                broker.trigger(f"t{i}", sink.url())
            time.sleep(0.5)
            published = broker.publish(8)
            rates[count] = published["rate"]
            time.sleep(1)
            taken = [sink.stop() for sink in sinks]
        delivered = sum(result["count"] for result in taken)
        say(f"{count} triggers: {published['rate']:.0f} events/s published, {delivered / published['seconds']:.0f} deliveries/s; "
            f"publish to delivered p50 {middle(taken, 'p50_us'):.0f} us p99 {middle(taken, 'p99_us'):.0f} us")
        if delivered < published["count"] * count:
            say(f"{published['count'] * count - delivered:.0f} were still on their way")
    figure("events_8_triggers_of_1", rates[8] / rates[1], 0.6, at_most=False)


def many_triggers(folder, program):
    rates = {}
    for count in (1, 100, 1000):
        with Broker(folder, program) as broker:
            sink = Sink(program)
            for i in range(count):
                broker.trigger(f"t{i}", sink.url(), f"type.{i // 3}")
            time.sleep(2 if count == 1000 else 0.5)
            rates[count] = broker.publish(32, types=max(count // 3, 1))["rate"]
            sink.stop()
        say(f"{count} triggers, at most three match: {rates[count]:.0f} events/s")
    figure("events_1000_triggers_of_100", rates[1000] / rates[100], 0.8, at_most=False)


def backlog(folder, program):
    """Rows put into the file while the daemon is down: what a broker has after its subscribers were away for long."""
    with Broker(folder, program) as broker:
        broker.trigger("away", f"http://127.0.0.1:{free_port()}/")
        broker.publish(8, seconds=1)
        time.sleep(1)
        before = broker.memory_mib()
        broker.daemon.kill()
        database = next(pathlib.Path(broker.daemon.state).rglob("events.db"))
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA synchronous=OFF")
        # The row's own checksum is over its position; without that it is one of the first schema.
        broker_name, received, attributes, fields, body, _ = connection.execute("SELECT broker, received, attributes, fields, body, crc FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        row = broker_name, received, attributes, fields, body, zlib.crc32(attributes.encode() + fields.encode() + body)
        connection.executemany("INSERT INTO event(broker, received, attributes, fields, body, crc) VALUES(?,?,?,?,?,?)",
                               (row for _ in range(BACKLOG)))
        connection.commit()
        connection.close()
        begin = time.monotonic()
        broker.daemon.start()
        ready = time.monotonic() - begin
        published = broker.publish(8, seconds=2)
        time.sleep(5)
        memory = broker.memory_mib()
        say(f"{BACKLOG} events behind: ready after {ready:.2f} s, {published['rate']:.0f} events/s, {memory:.0f} MiB (before {before:.0f})")
        figure("recovery_seconds", ready, 2, at_most=True)
        figure("backlog_memory_mib", memory, 64, at_most=True)


def run():
    with tempfile.TemporaryDirectory(prefix="wick-bench-", dir=os.environ.get("WICK_BENCH_FOLDER")) as folder:
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "events")
        subprocess.run(["cc", "-O2", "-o", program, HERE / "events.c"], check=True)
        only = os.environ.get("WICK_BENCH_ONLY", "").split()
        for part in (ingest, deliveries, many_triggers, backlog):
            if not only or part.__name__ in only:
                part(folder, program)
