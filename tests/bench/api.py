"""The control plane: services created until all are Ready ÷ as many bare commits; lists, watches and memory with many services.

services_ready   1,000 services (each starts an instance of its own in a sandbox) from the first request until the last is Ready,
                 ÷ 1,000 bare SQLite commits (WAL, synchronous=FULL) on the same disk, one after the other.
list_many        one list of 10,000 services ÷ the same bytes through a socket.
memory_many      what the daemon grew by ÷ the JSON text of the objects it grew by.
fan_out          an event at the last of 100 watchers ÷ at a single one.
Services of the last three name an image that nobody has: they are stored and reconciled, and nothing is started.
"""
import concurrent.futures
import http.client
import json
import os
import socket
import sqlite3
import statistics
import threading
import time

from bench import Bench, figure, say

READY = int(os.environ.get("WICK_BENCH_SERVICES", "1000"))
MANY = int(os.environ.get("WICK_BENCH_MANY", "10000"))
WATCHERS = 100
SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"


class Connection(http.client.HTTPConnection):
    """Keep-alive over the daemon's unix socket."""

    def __init__(self, path):
        super().__init__("wick", timeout=300)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(300)
        self.sock.connect(self.path)

    def call(self, method, path, body=None, content_type="application/json"):
        self.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": content_type})
        answer = self.getresponse()
        text = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
        return text


def manifest(name, image):
    return {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"template": {"metadata": {"annotations": {"autoscaling.knative.dev/window": "6s"}},
                                  "spec": {"containers": [{"image": image}]}}}}


def create_all(path, names, image, connections=16):
    local = threading.local()

    def create(name):
        if not hasattr(local, "connection"):
            local.connection = Connection(path)
        local.connection.call("POST", SERVICES, manifest(name, image))

    with concurrent.futures.ThreadPoolExecutor(connections) as pool:
        list(pool.map(create, names))


def is_settled(service, wanted):
    status = service.get("status", {})
    return any(c["type"] == "Ready" and c["status"] == wanted for c in status.get("conditions", []))


def wait_settled(path, prefix, count, wanted, limit):
    """A list and a watch from it, as a client's informer does: asking again and again would measure the asking."""
    end = time.monotonic() + limit
    settled = set()

    def see(item):
        if item["metadata"]["name"].startswith(prefix) and is_settled(item, wanted):
            settled.add(item["metadata"]["name"])

    while time.monotonic() < end:
        connection = Connection(path)
        listed = json.loads(connection.call("GET", SERVICES))
        for item in listed["items"]:
            see(item)
        if len(settled) >= count:
            return
        connection.request("GET", f"{SERVICES}?watch=true&resourceVersion={listed['metadata']['resourceVersion']}")
        events = connection.getresponse()  # 410 Gone when more came since the list than is kept: another list
        while events.status == 200 and len(settled) < count and (line := events.readline()):
            event = json.loads(line)
            if event["type"] == "ERROR":  # 410 Gone, later
                break
            see(event["object"])
        connection.close()
        if len(settled) >= count:
            return
    raise AssertionError(f"{len(settled)} of {count} are settled after {limit} s")


def bare_commits(folder, count):
    database = sqlite3.connect(os.path.join(folder, "bare.db"), isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)")
    body = "x" * 1000
    begin = time.monotonic()
    for _ in range(count):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO t(b) VALUES(?)", (body,))
        database.execute("COMMIT")
    elapsed = time.monotonic() - begin
    database.close()
    return elapsed


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def through_a_socket(size):
    near, far = socket.socketpair()
    payload = bytes(size)

    def send():
        near.sendall(payload)
        near.close()

    begin = time.monotonic()
    thread = threading.Thread(target=send)
    thread.start()
    while far.recv(1 << 20):
        pass
    thread.join()
    return time.monotonic() - begin


class Watcher:
    def __init__(self, path, version):
        self.connection = Connection(path)
        self.connection.request("GET", f"{SERVICES}?watch=true&resourceVersion={version}")
        self.answer = self.connection.getresponse()

    def until(self, label):
        while True:
            line = self.answer.readline()
            if not line:
                raise AssertionError("the watch ended")
            event = json.loads(line)
            if event["object"]["metadata"].get("labels", {}).get("round") == label:
                return time.monotonic()


def fan_out(path, count, label):
    """Seconds from the patch's sending until each of `count` watchers has its event; the last one counts."""
    version = json.loads(Connection(path).call("GET", SERVICES + "?limit=1"))["metadata"]["resourceVersion"]
    watchers = [Watcher(path, version) for _ in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        seen = [pool.submit(watcher.until, label) for watcher in watchers]
        begin = time.monotonic()
        Connection(path).call("PATCH", f"{SERVICES}/many-0", {"metadata": {"labels": {"round": label}}}, "application/merge-patch+json")
        last = max(result.result(60) for result in seen)
    for watcher in watchers:
        watcher.connection.close()
    return last - begin


def run():
    with Bench() as bench:
        path = os.path.join(bench.daemon.run, "wick.sock")
        connection = Connection(path)
        stored = json.loads(connection.call("GET", f"{SERVICES}/bench"))
        image = stored["spec"]["template"]["spec"]["containers"][0]["image"]

        bare = bare_commits(bench.folder, READY)
        begin = time.monotonic()
        create_all(path, [f"ready-{i}" for i in range(READY)], image)
        created = time.monotonic() - begin
        wait_settled(path, "ready-", READY, "True", 600)
        ready = time.monotonic() - begin
        say(f"{READY} services: created in {created:.2f} s, Ready after {ready:.2f} s; as many bare commits {bare:.2f} s")
        figure("services_ready", ready / bare, 30, at_most=True)
        Connection(path).call("DELETE", SERVICES + "?labelSelector=!none")

        before = resident(bench.daemon.process.pid)
        begin = time.monotonic()
        create_all(path, [f"many-{i}" for i in range(MANY)], "dev.local/nobody/has:this")
        created = time.monotonic() - begin
        wait_settled(path, "many-", MANY, "False", 600)
        say(f"{MANY} services: created in {created:.1f} s, told that they have no image after {time.monotonic() - begin:.1f} s")
        connection = Connection(path)
        grown = resident(bench.daemon.process.pid) - before
        text = sum(len(connection.call("GET", SERVICES.replace("/services", "/" + plural)))
                   for plural in ("services", "configurations", "routes", "revisions"))
        say(f"{MANY} services: {grown / 1e6:.0f} MB for {text / 1e6:.0f} MB of JSON")
        figure("memory_many", grown / text, 6, at_most=True)

        lists, bytes_of_list = [], 0
        for _ in range(5):
            begin = time.monotonic()
            bytes_of_list = len(connection.call("GET", SERVICES))
            lists.append(time.monotonic() - begin)
        copies = [through_a_socket(bytes_of_list) for _ in range(5)]
        say(f"list of {bytes_of_list / 1e6:.1f} MB: {statistics.median(lists) * 1e3:.0f} ms, through a socket {statistics.median(copies) * 1e3:.1f} ms")
        figure("list_many", statistics.median(lists) / statistics.median(copies), 30, at_most=True)

        single = statistics.median(fan_out(path, 1, f"one-{i}") for i in range(5))
        many = statistics.median(fan_out(path, WATCHERS, f"all-{i}") for i in range(5))
        say(f"an event reaches one watcher in {single * 1e3:.1f} ms, the last of {WATCHERS} in {many * 1e3:.1f} ms")
        figure("fan_out", many / single, 20, at_most=True)
