"""Upgrades in place (--linger, SIGUSR2): requests, WebSockets and streams of before go on, in clear and over TLS.

WICK_UPGRADES (3; by hand: 50) says how many upgrades the load goes through.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from fixture import WICK, Daemon, DaemonTest, eventually, main
from flows import look_at, open_flows

UPGRADES = int(os.environ.get("WICK_UPGRADES", "3"))
WEBSOCKETS = 100
STREAMS = 10
SETTLE_LIMIT = 30.0


def fronts(guard):
    """Children of the guard that run: the front that serves, and those that linger."""
    with contextlib.suppress(OSError):
        found = []
        for pid in pathlib.Path(f"/proc/{guard}/task/{guard}/children").read_text().split():
            with contextlib.suppress(OSError):
                if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(pid))
        return found
    return []


class Upgrade(DaemonTest):
    flags = ("--linger", "10m", "--https-listen", "127.0.0.1:0")

    def upgrade(self):
        before = self.served()
        self.wick.process.send_signal(signal.SIGUSR2)
        eventually("the next daemon serves", lambda: self.served() > before, SETTLE_LIMIT, 0.02)

    def served(self):
        return len(re.findall(r"\bserving\b.*listen=", self.wick.log_text()))

    def test_1_upgrades_under_load_lose_no_request_no_websocket_and_no_stream(self):
        self.deploy_static("flow", "--idle", "6s", "--max", "1")
        pid = self.wick.instances("flow")[0]["pid"]
        flows = open_flows(self.wick.listen, self.wick.https, "flow.default.localhost", WEBSOCKETS, STREAMS)
        for each in flows:
            self.addCleanup(each.close)
        seconds = 3 * UPGRADES + 3
        loads = [subprocess.Popen(["wrk", "-t1", "-c8", f"-d{seconds}s", "--timeout", "30s", "-H", "Host: flow.default.localhost",
                                   f"{scheme}://{address}/"], stdout=subprocess.PIPE, text=True)
                 for scheme, address in (("http", self.wick.listen), ("https", self.wick.https))]
        slowest = 0.0
        for number in range(UPGRADES):
            began = time.monotonic()
            self.upgrade()
            slowest = max(slowest, time.monotonic() - began)
            look_at(flows, f"upgrade {number}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                loads[0].wait(1)
        outputs = [load.communicate()[0] for load in loads]
        requests = 0
        for output in outputs:
            self.assertNotIn("Socket errors", output)
            self.assertNotIn("Non-2xx", output)
            requests += int(re.search(r"([0-9]+) requests in", output)[1])
        print(f"\n{UPGRADES} upgrades, {requests} requests, the slowest upgrade took {slowest:.2f} s", flush=True)
        self.assertEqual([each["pid"] for each in self.wick.instances("flow")], [pid])

        # The instance is idle for all that the newest daemon relays to it, and is kept for what the first one does.
        time.sleep(12)
        self.assertEqual([each["pid"] for each in self.wick.instances("flow")], [pid])
        self.assertEqual(self.wick.instances("flow")[0]["inFlight"], WEBSOCKETS + STREAMS)
        look_at(flows, "later")
        self.assertEqual(len(fronts(self.wick.process.pid)), 2)
        for each in flows:
            each.close()
        eventually("nothing lingers", lambda: len(fronts(self.wick.process.pid)) == 1, 30)
        self.scaled_to_zero("flow")
        self.assertEqual(self.wick.request("flow")[0], 200)

    def test_2_a_broken_program_is_not_upgraded_to(self):
        folder = tempfile.mkdtemp(prefix="wick-e2e-program-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chmod(folder, 0o755)
        program = os.path.join(folder, "wick")
        shutil.copy(WICK, program)
        wick = Daemon(flags=("--linger", "10m"))
        self.addCleanup(wick.close)
        wick.program = program
        wick.start()
        os.unlink(program)
        pathlib.Path(program).write_text("#!/bin/sh\nexit 3\n")
        os.chmod(program, 0o755)
        wick.process.send_signal(signal.SIGUSR2)
        eventually("it says why", lambda: "no upgrade" in wick.log_text(), 30)
        self.assertIn("'serve --help' ends with 3", wick.log_text())
        self.assertEqual(wick.api("GET", "/readyz")[0], 200)

    def test_3_with_the_guard_the_front_dies(self):
        wick = Daemon(flags=("--linger", "10m"))
        self.addCleanup(wick.close)
        wick.start()
        front = fronts(wick.process.pid)
        self.assertEqual(len(front), 1)
        wick.kill()
        eventually("the front is gone", lambda: not os.path.exists(f"/proc/{front[0]}"), 10)

    def test_4_sigterm_with_linger_ends_all_where_instances_are_to_end(self):
        wick = Daemon(flags=("--linger", "10m"))
        self.addCleanup(wick.close)
        wick.start()
        front = fronts(wick.process.pid)[0]
        self.assertEqual(wick.stop(), 0)
        self.assertFalse(os.path.exists(f"/proc/{front}"))


if __name__ == "__main__":
    main()
