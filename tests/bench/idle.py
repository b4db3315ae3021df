"""What services that nobody asks cost: registered without an instance, the daemon's CPU, wake-ups and memory (WICK_BENCH_SERVICES,
default 1000)."""
import json
import os
import pathlib
import time

from bench import Bench, figure, say

SERVICES = int(os.environ.get("WICK_BENCH_SERVICES", "1000"))
IDLE_SECONDS = 20
TICK = os.sysconf("SC_CLK_TCK")


def cpu_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def idle(bench):
    image = json.loads(bench.daemon.api("GET", "/apis/serving.knative.dev/v1/namespaces/default/services/bench")[1])
    container = image["spec"]["template"]["spec"]["containers"][0]["image"]
    pid = bench.daemon.process.pid
    memory = resident(pid)
    annotations = {"autoscaling.knative.dev/window": "6s"}
    for i in range(SERVICES):
        body = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": f"idle-{i}"},
                "spec": {"template": {"metadata": {"annotations": annotations}, "spec": {"containers": [{"image": container}]}}}}
        status, text = bench.daemon.api("POST", "/apis/serving.knative.dev/v1/namespaces/default/services", json.dumps(body),
                                        {"Content-Type": "application/json"})
        if status != 201:
            raise RuntimeError(f"{status} {text}")

    def settled():
        services = bench.daemon.services().values()
        return all(s["ready"] for s in services) and not any(s["instances"] for s in services)

    bench.eventually("all are ready and at zero", settled, 900)
    time.sleep(5)
    before = cpu_of(pid)
    switches = lambda: sum(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if "ctxt" in line)
    woken = switches()
    time.sleep(IDLE_SECONDS)
    figure("idle_core_share", (cpu_of(pid) - before) / IDLE_SECONDS, 0.01, True)
    say(f"  {(switches() - woken) / IDLE_SECONDS:.1f} wake-ups a second of the daemon with {SERVICES} services at zero")
    figure("idle_kb_a_service", (resident(pid) - memory) * 1024 / SERVICES, 64, True)
    for i in range(SERVICES):
        bench.daemon.api("DELETE", f"/apis/serving.knative.dev/v1/namespaces/default/services/idle-{i}")


def run():
    with Bench() as bench:
        idle(bench)
