"""Upgrades in place (--linger, SIGUSR2): requests, WebSockets and streams of before go on, in clear and over TLS.

WICK_UPGRADES (3; by hand: 50) says how many upgrades the load goes through.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from fixture import WICK, Daemon, DaemonTest, eventually, main
from flows import CALLER, CALLER_DOCKERFILE, look_at, open_flows

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

    def test_5_several_listeners_have_their_own_policy_and_stay_through_an_upgrade(self):
        folder = tempfile.mkdtemp(prefix="wick-e2e-listen-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.chmod(folder, 0o755)
        edge = os.path.join(folder, "edge.sock")
        wick = Daemon(flags=("--linger", "10m", "--https-listen", "127.0.0.1:0", "--trusted-proxies", "127.0.0.1,unix",
                             "--also-listen", f"unix:{edge}", "--also-listen", "127.0.0.1:0,proxy-protocol",
                             "--also-listen", "[::1]:0,https,proxy-protocol"))
        self.addCleanup(wick.close)
        wick.start()
        also = re.findall(r"also listening\W+listen=(\S+)", wick.log_text())
        header = b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 80\r\n"

        def answer(address, first=b"", tls=False):
            """Status and the words of the box about a host that nobody serves."""
            if address.startswith("unix:"):
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                connection = socket.create_connection((host.strip("[]"), int(port)), timeout=30)
            with connection:
                connection.sendall(first)
                if tls:
                    context = ssl.create_default_context()
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
                    connection = context.wrap_socket(connection, server_hostname="nobody.localhost")
                with contextlib.suppress(ConnectionError):  # who is refused may be told so before it has asked
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\n\r\n")
                    return b"".join(iter(lambda: connection.recv(65536), b""))[:12]
                return b""

        def check():
            self.assertEqual(answer(wick.listen), b"HTTP/1.1 404")
            self.assertEqual(answer(also[0]), b"HTTP/1.1 404")
            self.assertEqual(answer(also[1], header), b"HTTP/1.1 404")
            self.assertEqual(answer(also[1]), b"")
            self.assertEqual(answer(wick.listen, header), b"HTTP/1.1 400")

        self.assertEqual(also[0], f"unix:{edge}")
        check()
        # ::1 is no trusted proxy: nothing is answered there.
        self.assertEqual(answer(also[2], header), b"")
        wick.process.send_signal(signal.SIGUSR2)
        eventually("the next daemon serves", lambda: len(re.findall(r"\bserving\b.*listen=", wick.log_text())) == 2, SETTLE_LIMIT)
        check()
        self.assertEqual(re.findall(r"also listening\W+listen=(\S+)", wick.log_text())[3:], also)

    def test_6_calls_between_services_are_all_answered_through_upgrades(self):
        self.deploy_static("callee")
        caller = f"caller-{os.getpid()}"  # the logs of one before it would count too
        folder = self.project(caller, **{
            "Dockerfile": CALLER_DOCKERFILE, "busybox": pathlib.Path("/bin/busybox").read_bytes(), "call": CALLER})
        self.wick.cli("deploy", folder, "--name", caller, "--min", "1")

        def lines(word):
            return self.wick.cli("logs", caller, "--tail", "100000").stdout.count(word)

        for number in range(UPGRADES):
            seen = lines("answered")
            self.upgrade()
            eventually(f"calls go on after upgrade {number}", lambda so_far=seen: lines("answered") > so_far + 20)
        self.assertEqual(lines("refused"), 0)
        print(f"\n{UPGRADES} upgrades, {lines('answered')} calls between services", flush=True)
        self.wick.cli("rm", caller, "callee", "--yes")

    def test_7_what_cannot_be_meant_is_told(self):
        os.chmod(self.folder, 0o755)
        for flags, words in ((("--also-listen", "127.0.0.1:0,tls"), "--also-listen: expected ADDR[,https][,proxy-protocol], found 'tls'"),
                             (("--also-listen", ",https"), "--also-listen: expected ADDR[,https][,proxy-protocol], found ',https'"),
                             (("--also-listen", "127.0.0.1:0,https"), "--also-listen: https is spoken nowhere else"),
                             (("--linger", "long"), "--linger: expected a time like 90s, 10m or 1h, found 'long'"),
                             (("--acme-eab-id", "kid-1"), "--acme-eab-id and --acme-eab-key belong together")):
            done = subprocess.run([WICK, "serve", "--state", os.path.join(self.folder, "none"), "--run", os.path.join(self.folder, "none"),
                                   "--listen", "127.0.0.1:0", "--events-listen", "127.0.0.1:0", *flags],
                                  capture_output=True, text=True, check=False, timeout=30)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(words, done.stderr)


if __name__ == "__main__":
    main()
