"""64 sleeping services hit at once, until all have answered ÷ 64 `runc run` of the same bundle at once; and the memory that
sleeping costs: of one prepared spare, and of daemon and runner with 1,000 services at rest.
"""
import json
import os
import pathlib
import socket
import statistics
import subprocess
import time

import wake
from bench import Bench, figure, say, summary

SERVICES = 64
ROUNDS = int(os.environ.get("WICK_BENCH_ROUNDS", "7"))
REGISTERED = int(os.environ.get("WICK_BENCH_SERVICES", "1000"))
SERVICES_PATH = "/apis/serving.knative.dev/v1/namespaces/default/services"
SHORT = wake.annotations_of(wake.SHORT)


def hit_all(bench, names):
    """One thread asks all and reads as they answer: 64 threads of Python would measure Python."""
    host, _, port = bench.daemon.listen.rpartition(":")
    connections = [socket.create_connection((host, int(port)), wake.LIMIT) for _ in names]
    begin = time.perf_counter()
    for name, connection in zip(names, connections):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}.localhost\r\nConnection: close\r\n\r\n".encode())
    for name, connection in zip(names, connections):
        head = connection.recv(64)
        if b" 200 " not in head:
            raise RuntimeError(f"{name}: {head!r}")
    spent = (time.perf_counter() - begin) * 1000
    for connection in connections:
        connection.close()
    return spent


class BareMany(wake.Bare):
    """The same bundle under 64 names."""

    def burst(self):
        runc = ["runc", "--root", str(self.state)]
        names = [f"burst-{index}" for index in range(SERVICES)]
        bundles = [self.bundle_of(name) for name in names]
        begin = time.perf_counter()
        runs = [subprocess.Popen([*runc, "run", "-d", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"), name],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for bundle, name in zip(bundles, names)]
        try:
            for bundle in bundles:
                while not ((bundle / "pid").exists() and (bundle / "pid").stat().st_size):
                    if time.perf_counter() > begin + wake.LIMIT:
                        raise RuntimeError("runc run does not come up")
                    time.sleep(0.0005)
                with self.connect(int((bundle / "pid").read_text()), begin + wake.LIMIT) as connection:
                    wake.first_byte(connection, "bench")
            return (time.perf_counter() - begin) * 1000
        finally:
            for run in runs:
                run.wait()
            for name in names:
                subprocess.run([*runc, "delete", "--force", name], check=False, stderr=subprocess.DEVNULL)

    def bundle_of(self, name):
        bundle = self.bundle.parent / name
        if not bundle.exists():
            bundle.mkdir()
            config = json.loads((self.bundle / "config.json").read_text())
            config["linux"]["cgroupsPath"] = f"/wick-bench-{name}"
            (bundle / "config.json").write_text(json.dumps(config))
        (bundle / "pid").unlink(missing_ok=True)
        return bundle


def create(bench, name, image, annotations):
    service = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"},
               "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [{"image": image}]}}}}
    status, text = bench.daemon.api("POST", SERVICES_PATH, json.dumps(service), {"Content-Type": "application/json"})
    if status != 201:
        raise RuntimeError(text)


def spares(bench):
    lines = bench.daemon.api("GET", "/metrics")[1].splitlines()
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith("wick_instances{") and 'state="spare"' in line)


def spare_mib():
    """Of each control group of this daemon's kind; the spares are most of them."""
    groups = [pathlib.Path("/sys/fs/cgroup/memory/wick"), pathlib.Path("/sys/fs/cgroup/wick")]
    files = [child / name for group in groups if group.exists() for child in group.iterdir() if child.is_dir()
             for name in ("memory.usage_in_bytes", "memory.current")]
    return statistics.median(int(file.read_text()) / (1 << 20) for file in files if file.exists())


def resident_mib(pid):
    """Proportional share of a process and of all it started that is no container."""
    total = 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            total = int(line.split()[1]) / 1024
    for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if pathlib.Path(f"/proc/{child}/comm").read_text().strip().startswith("wick"):
            total += resident_mib(int(child))
    return total


def burst(bench, bare, image):
    names = [f"burst-{index}" for index in range(SERVICES)]
    for name in names:
        create(bench, name, image, {"wick.dev/prepared-spares": "1", **SHORT})
    bench.eventually("all are ready", lambda: all(name in (now := bench.daemon.services()) and now[name]["ready"] for name in names), 300)
    wick, runc = [], []
    for turn in range(ROUNDS + 1):
        for name in names:
            wake.to_zero(bench, name)
        bench.eventually("the spares are back", lambda: spares(bench) >= SERVICES, 120)
        if turn == 0:
            figure("prepared_spare_mib", spare_mib(), 6, at_most=True)
        time.sleep(1)
        pair = hit_all(bench, names), bare.burst()
        if turn:
            wick.append(pair[0])
            runc.append(pair[1])
    say(f"64 at once, prepared   {summary(wick, 'ms')}")
    say(f"64 at once, runc run   {summary(runc, 'ms')}")
    figure("burst_to_runc", statistics.median(wick) / statistics.median(runc), 0.12, at_most=True)


def idle_memory(bench, image):
    for index in range(REGISTERED - SERVICES):
        create(bench, f"idle-{index}", image, {"wick.dev/prepared-spares": "0", **SHORT})
    bench.eventually("all services are registered and at rest", lambda: len(now := bench.daemon.services()) >= REGISTERED
                     and all(service["ready"] for service in now.values())
                     and not any(service["instances"] for name, service in now.items() if name.startswith("idle-")), 900)
    figure("idle_daemon_1000_services_mib", resident_mib(bench.daemon.process.pid), 30, at_most=True)


def run():
    config = wake.caught_config()
    with Bench() as bench:
        service = json.loads(bench.daemon.api("GET", f"{SERVICES_PATH}/bench")[1])
        image = service["spec"]["template"]["spec"]["containers"][0]["image"]
        burst(bench, BareMany(bench, config), image)
        idle_memory(bench, image)
