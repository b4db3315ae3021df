"""SIGKILL of the daemon loses no service, no accepted event, and leaves no orphan; SIGTERM drains."""
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import unittest

from fixture import Daemon, DaemonTest, eventually, main


def processes_in_containers(state):
    """Pids whose root is one of our overlay mounts."""
    pids = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/mountinfo") as mounts:
                    if any(line.split()[4] == "/" and state in line for line in mounts):
                        pids.append(int(entry))
            except OSError:
                pass
    return pids


class Survive(DaemonTest):
    def test_a_killed_daemon_comes_back_to_the_same_running_instance(self):
        self.deploy_static("steady", "--min", "1")
        before = self.wick.request("steady")[1]
        pid = self.wick.instances("steady")[0]["pid"]
        stop = threading.Event()
        errors = []

        def traffic():
            # Failures are expected only while nobody listens.
            while not stop.is_set():
                try:
                    status, _ = self.wick.request("steady", timeout=10)
                    if status != 200:
                        errors.append(status)
                except (OSError, http.client.HTTPException):
                    pass

        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            for _ in range(3):
                self.wick.kill()
                self.assertTrue(os.path.exists(f"/proc/{pid}"), "the instance went with the daemon")
                self.wick.start()
                self.assertEqual(self.wick.request("steady")[1], before, "another process answers")
        finally:
            stop.set()
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual([i["pid"] for i in self.wick.instances("steady")], [pid])

    def test_an_accepted_event_is_delivered_after_the_daemon_was_killed(self):
        self.deploy_static("sink", "--idle", "6s")
        self.wick.cli("trigger", "add", "to-sink", "--filter", "type=kill.test", "--to", "sink")
        host, _, port = self.wick.events.rpartition(":")
        accepted = []
        for number in range(20):
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.request("POST", "/default/default", b"{}", {
                "ce-specversion": "1.0", "ce-id": f"k{number}", "ce-source": "/t", "ce-type": "kill.test"})
            if connection.getresponse().status == 202:
                accepted.append(f"k{number}")
            connection.close()
        self.wick.kill()
        self.wick.start()
        self.assertEqual(len(accepted), 20)
        eventually("every accepted event was delivered", lambda: all(
            f"event {name}\n" in self.wick.cli("logs", "sink").stdout for name in accepted), 60)

    def test_sigterm_lets_requests_in_flight_end_and_leaves_no_process(self):
        wick = Daemon()
        self.addCleanup(wick.close)
        wick.start()
        folder = self.project("drain", **{"Dockerfile": "FROM scratch\nCOPY --chmod=755 server /server\nCMD [\"/server\"]\n",
                                          "server": self.static_program()})
        wick.cli("deploy", folder, "--name", "drain")
        answer = []
        thread = threading.Thread(target=lambda: answer.append(wick.request("drain", "/sleep/2000")))
        thread.start()
        eventually("the request is in flight", lambda: any(i.get("inFlight") for i in wick.instances("drain")), 10)
        wick.process.send_signal(signal.SIGTERM)
        thread.join()
        self.assertEqual(answer, [(200, b"slept\n")])
        self.assertEqual(wick.process.wait(60), 0)
        eventually("no container is left", lambda: not processes_in_containers(wick.state), 10)
        mounts = open("/proc/self/mountinfo").read()
        self.assertNotIn(wick.state, mounts, "a mount is left on the host")


if __name__ == "__main__":
    main()
