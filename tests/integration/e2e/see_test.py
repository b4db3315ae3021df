"""What a person can see: ps, logs, why, invoke, event tail, doctor; plain and JSON."""
import json
import os
import subprocess
import threading

from fixture import WICK, DaemonTest, eventually, main


class See(DaemonTest):
    def test_ps_logs_why_invoke_and_rm_tell_the_life_of_a_service(self):
        self.deploy_static("seen")
        self.assertEqual(self.wick.request("seen")[0], 200)
        self.assertIn("seen", self.wick.cli("ps").stdout)
        entry = self.wick.services()["seen"]
        self.assertTrue(entry["ready"])
        self.assertEqual(len(entry["instances"]), 1)
        self.assertIn("listening on 8080", self.wick.cli("logs", "seen").stdout)
        self.assertEqual(self.wick.cli("invoke", "seen", "/env/K_SERVICE").stdout, "seen")
        self.assertEqual(self.wick.cli("invoke", "seen", "/count", "-X", "POST", "-d", "12345").stdout, "5\n")
        why = json.loads(self.wick.cli("why", "seen", "--json").stdout)
        self.assertTrue(why["ready"])
        self.assertTrue(why["requests"])
        self.wick.cli("rm", "seen", "--yes")
        eventually("the service is gone", lambda: "seen" not in self.wick.services(), 30)
        self.assertEqual(self.wick.request("seen")[0], 404)

    def test_logs_can_be_followed(self):
        self.deploy_static("followed", "--idle", "6s")
        self.scaled_to_zero("followed")
        follow = subprocess.Popen([WICK, "logs", "followed", "-f"], stdout=subprocess.PIPE, text=True,
                                  env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock")))
        self.addCleanup(follow.wait)
        self.addCleanup(follow.kill)
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(iter(follow.stdout.readline, "")), daemon=True)
        reader.start()
        eventually("the first start's line", lambda: len(lines) >= 1, 20)
        self.wick.request("followed")
        eventually("the second start's line", lambda: sum("listening" in line for line in lines) >= 2, 20)

    def test_events_can_be_watched_as_they_come(self):
        tail = subprocess.Popen([WICK, "event", "tail", "-f", "--json"], stdout=subprocess.PIPE, text=True,
                                env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock")))
        self.addCleanup(tail.wait)
        self.addCleanup(tail.kill)
        lines = []
        threading.Thread(target=lambda: lines.extend(iter(tail.stdout.readline, "")), daemon=True).start()
        eventually("an event of ours shows", lambda: self.wick.cli("event", "send", "--type", "watch.me") and
                   any("watch.me" in line for line in lines), 20)

    def test_doctor_names_every_check_and_a_way_out_of_each_failing_one(self):
        checks = json.loads(self.wick.cli("doctor", "--json", check=False).stdout)
        names = " ".join(check["name"] for check in checks)
        for wanted in ("kernel", "runc", "cgroup", "user namespaces", "disk"):
            self.assertIn(wanted, names)
        for check in checks:
            if check["level"] != "ok":
                self.assertTrue(check["hint"], check)


if __name__ == "__main__":
    main()
