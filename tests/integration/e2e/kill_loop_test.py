"""SIGKILL of daemon, runner or both, again and again at random points under traffic: what runs keeps its pid and goes on serving, and in
the end nothing is left over. And many cold starts, after which everything is as it was.

WICK_KILLS (100; by hand: 1000) and WICK_COLD_STARTS (50; by hand: 10000, with WICK_AT_A_TIME 50 of them together) say how often.
"""
import http.client
import json
import os
import pathlib
import random
import signal
import socket
import statistics
import threading
import time
import unittest

from fixture import Daemon, DaemonTest, eventually, main

KILLS = int(os.environ.get("WICK_KILLS", "100"))
COLD_STARTS = int(os.environ.get("WICK_COLD_STARTS", "50"))
AT_A_TIME = int(os.environ.get("WICK_AT_A_TIME", "10"))
SEED = int(os.environ.get("WICK_SEED", "20260614"))


def children_of(pid):
    try:
        return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def named(pid, name):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == name
    except FileNotFoundError:
        return False


def worker_of(daemon):
    """The runner's process that does the work: the child of the one that the daemon started."""
    for guard in children_of(daemon.process.pid):
        for worker in children_of(guard):
            if named(worker, "wick-runner"):
                return worker
    return None


def instance_ids(daemon):
    """Every instance that the runner has made and not given back."""
    folder = pathlib.Path(daemon.run) / "instances"
    return {entry.name for entry in folder.iterdir()} if folder.exists() else set()


def control_groups(ids):
    found = []
    for wick in [*pathlib.Path("/sys/fs/cgroup").glob("*/wick"), pathlib.Path("/sys/fs/cgroup/wick")]:
        found += [str(wick / name) for name in ids if (wick / name).exists()]
    return found


def own_processes(daemon):
    """Whoever was started for this daemon: named by its run folder, or rooted in one of its overlays."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mounts = pathlib.Path(f"/proc/{entry}/mountinfo").read_text()
        except OSError:
            continue
        rooted = any(row.split()[4] == "/" and daemon.state in row for row in mounts.splitlines())
        if daemon.run in line or rooted:
            found.append((int(entry), line[:120]))
    return found


class KillLoop(DaemonTest):
    def daemon_on_a_port_that_stays(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        wick = Daemon(flags=["--listen", f"127.0.0.1:{port}", "--on-stop", "stop"])
        self.addCleanup(wick.close)
        wick.start()
        return wick

    def deploy(self, wick, name, *flags):
        folder = self.project(name, **{"Dockerfile": "FROM scratch\nCOPY --chmod=755 server /server\nCMD [\"/server\"]\n",
                                       "server": self.static_program()})
        wick.cli("deploy", folder, "--name", name, *flags)

    def test_nothing_leaks_and_what_runs_keeps_running_however_often_we_are_killed(self):
        dice = random.Random(SEED)
        wick = self.daemon_on_a_port_that_stays()
        self.deploy(wick, "steady", "--min", "1")
        self.deploy(wick, "sleepy", "--idle", "6s")
        pid = wick.instances("steady")[0]["pid"]
        stop, wrong, seen, outages = threading.Event(), [], set(), []

        def traffic(service):
            while not stop.is_set():
                try:
                    status, _ = wick.request(service, timeout=20)
                    # 502 and 503 are what a request gets whose start, or whose instance's socket, died with the runner.
                    if status not in (200, 502, 503):
                        wrong.append((service, status))
                except (OSError, http.client.HTTPException):
                    pass  # nobody listens, or the connection died with the daemon
                time.sleep(0.002)

        threads = [threading.Thread(target=traffic, args=(name,)) for name in ("steady", "sleepy")]
        for thread in threads:
            thread.start()
        try:
            for kill in range(1, KILLS + 1):
                time.sleep(dice.uniform(0, 0.1))
                seen |= instance_ids(wick)
                if kill % 5 == 0:  # something for the next kill to come into
                    for instance in wick.instances("sleepy"):
                        if instance["pid"] > 0:  # 0, while it is being made, would be all of us
                            os.kill(instance["pid"], signal.SIGKILL)
                worker = eventually("the runner is at work", lambda: worker_of(wick), 30)
                begin = time.monotonic()
                if kill % 3 == 0:
                    os.kill(worker, signal.SIGKILL)
                if kill % 3 != 0 or kill % 7 == 0:
                    wick.kill()
                    wick.spawn()
                eventually("it answers again", lambda: self.answers(wick, "steady"), 30, pause=0.002)
                outages.append((time.monotonic() - begin) * 1000)
                wick.wait_ready()
                self.assertEqual([i["pid"] for i in wick.instances("steady")], [pid], f"kill {kill}: another process serves")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(wrong, [])
        print(f"\n{KILLS} kills: back after {statistics.median(outages):.0f} ms in the median, at most {max(outages):.0f} ms", flush=True)
        seen |= instance_ids(wick)
        wick.remove_all()
        eventually("every instance is given back", lambda: not instance_ids(wick), 60)
        self.assertEqual(control_groups(seen), [])
        self.assertEqual(os.listdir(os.path.join(wick.run, "runc")), [])
        wick.stop()
        eventually("no process is left", lambda: not own_processes(wick), 30)
        self.assertNotIn(wick.run, pathlib.Path("/proc/self/mountinfo").read_text())

    def answers(self, wick, service):
        try:
            return wick.request(service, timeout=5)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def test_after_many_cold_starts_everything_is_as_it_was(self):
        wick = self.daemon_on_a_port_that_stays()
        # A cold start ends by going idle: an instance that is killed again and again is a crash loop, which is slowed down.
        # All at a time, for the shortest idle time there is takes 6 s.
        names = [f"often-{number}" for number in range(min(COLD_STARTS, AT_A_TIME))]
        for name in names:
            self.deploy(wick, name, "--idle", "6s")

        def at_zero():
            return not any(service["instances"] for service in wick.services().values())

        def wake_each(times):
            for _ in range(times):
                eventually("all are at zero", at_zero, 60)
                for name in names:
                    self.assertEqual(wick.request(name)[0], 200)
            eventually("all are at zero", at_zero, 60)

        def counts():
            eventually("one spare each is left", lambda: len(instance_ids(wick)) == len(names), 30)
            time.sleep(1.5)
            pids = [wick.process.pid, *children_of(wick.process.pid), worker_of(wick)]
            return {"instances": len(instance_ids(wick)),
                    "runtime state": len(os.listdir(os.path.join(wick.run, "runc"))),
                    "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
                    "mounts": len(pathlib.Path(f"/proc/{worker_of(wick)}/mountinfo").read_text().splitlines()),
                    "children": len(children_of(worker_of(wick)))}

        def resident():
            pids = [wick.process.pid, worker_of(wick)]
            return sum(int(line.split()[1]) for pid in pids for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                       if line.startswith("Pss:"))

        def fill_change_feed():
            """What the API keeps of the past is bounded (1 MiB, 2,000 changes), and is filled by each cold start too."""
            path = f"/apis/serving.knative.dev/v1/namespaces/default/services/{names[0]}"
            for number in range(1000):
                patch = json.dumps({"metadata": {"annotations": {"example.com/number": str(number)}}})
                self.assertEqual(wick.api("PATCH", path, patch, {"Content-Type": "application/merge-patch+json"})[0], 200)

        def fill_traces():
            """The timelines of the last 100 requests of each service."""
            for name in names:
                for _ in range(100):
                    self.assertEqual(wick.request(name)[0], 200)

        fill_change_feed()
        fill_traces()
        wake_each(2 if COLD_STARTS < 1000 else 6)  # until every pool and cache has its size: five ended logs are kept a service
        before, memory_before = counts(), resident()
        waves = -(-COLD_STARTS // len(names))
        wake_each(waves)
        after, memory_after = counts(), resident()
        print(f"\nbefore {before}, after {after}", flush=True)
        # Fewer is fine: links and namespaces that nobody has needed for a while are given back.
        self.assertEqual({name: count for name, count in after.items() if count > before[name]}, {})
        print(f"{waves * len(names)} cold starts: {memory_before} KiB before, {memory_after} KiB after", flush=True)
        self.assertLessEqual(memory_after, memory_before * 1.05 + 512)


if __name__ == "__main__":
    main()
