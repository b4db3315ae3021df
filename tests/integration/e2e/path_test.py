"""The whole path: a git URL becomes an answered request, goes to zero, wakes, and is woken by an event."""
import json
import os
import shutil
import subprocess
import sys

from fixture import TOP, DaemonTest, eventually, git_server, main


class Path(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        repositories = os.path.join(cls.folder, "git")
        os.mkdir(repositories)
        cls.git, cls.url = git_server.serve(repositories)
        cls.addClassCleanup(cls.git.shutdown)
        cls.repositories = repositories

    def repository(self, name):
        bare = os.path.join(self.repositories, name + ".git")
        source = self.project("source-" + name, **{
            "Dockerfile": "FROM scratch\nCOPY --chmod=755 server /server\nCMD [\"/server\"]\n", "server": self.static_program()})
        git_server.make_repository(source, bare)
        return f"{self.url}/{name}.git", bare

    def test_a_git_url_becomes_an_answered_request_that_goes_to_zero_and_wakes(self):
        url, bare = self.repository("first")
        done = self.wick.cli("deploy", url, "--idle", "6s")
        self.assertEqual(done.stdout.strip().split()[0], json.loads(self.wick.cli("ps", "--json").stdout)[0]["url"])
        status, body = self.wick.request("first")
        self.assertEqual(status, 200)
        self.assertRegex(body.decode(), r"^hello from \d+ first-00001\n$")
        self.assertEqual(self.wick.request("first", "/env/K_SERVICE")[1], b"first")
        self.assertEqual(self.wick.request("first", "/env/K_CONFIGURATION")[1], b"first")
        self.assertEqual(self.wick.request("first", "/env/PORT")[1], b"8080")
        pid = self.wick.instances("first")[0]["pid"]
        self.assertTrue(os.path.exists(f"/proc/{pid}"))
        self.scaled_to_zero("first")
        eventually("the process is gone", lambda: not os.path.exists(f"/proc/{pid}"), 10)
        self.assertEqual(self.wick.request("first")[0], 200)

        again = self.wick.cli("deploy", url, "--idle", "6s")
        self.assertIn("unchanged", again.stdout + again.stderr)
        self.assertEqual(self.wick.request("first")[1].split()[-1], b"first-00001")

        commit = subprocess.run(["git", "--git-dir", bare, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        self.wick.cli("deploy", f"{url}#{commit}", "--idle", "6s")
        wrong = self.wick.cli("deploy", f"{url}#no-such-branch", check=False)
        self.assertEqual(wrong.returncode, 4, wrong.stderr)
        self.assertIn("no-such-branch", wrong.stderr)
        self.assertIn("hint:", wrong.stderr)

    def test_an_event_wakes_a_sleeping_service_and_its_reply_goes_back_to_the_broker(self):
        source = os.path.join(self.folder, "greeter-events")
        shutil.copytree(TOP / "examples/greeter-events", source)
        self.wick.cli("deploy", source, "--name", "greeter", "--idle", "6s")
        self.wick.cli("trigger", "add", "greet", "--filter", "type=demo.greet", "--to", "greeter")
        self.scaled_to_zero("greeter")
        sent = self.wick.cli("event", "send", "--type", "demo.greet", "--data", '{"name":"Ada"}', "--json")
        event = json.loads(sent.stdout)["id"]

        def seen():
            lines = self.wick.cli("event", "tail", "--json").stdout.splitlines()
            records = [json.loads(line) for line in lines]
            delivered = any(r["kind"] == "delivered" and r["id"] == event for r in records)
            replied = any(r["kind"] == "accepted" and r["type"] == "demo.greeted" for r in records)
            return delivered and replied

        eventually("the event is delivered and its reply accepted", seen, 30)
        self.assertIn("demo.greet", self.wick.cli("logs", "greeter").stdout)

    def test_the_broker_refuses_what_is_not_an_event_and_says_why(self):
        host, _, port = self.wick.events.rpartition(":")
        import http.client
        cases = [("/default/default", {"Content-Type": "application/json"}, b"{}", 400),
                 ("/default/none", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "t"}, b"", 404),
                 ("/default/default", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "t"}, b"", 202),
                 ("/default/default", {"Content-Type": "application/cloudevents+json"},
                  b'{"specversion":"1.0","id":"2","source":"/x","type":"t","data":{"a":1}}', 202),
                 ("/default/default", {"Content-Type": "application/cloudevents+json"}, b'{"specversion":"1.0","id":"2"}', 400)]
        for path, headers, body, expected in cases:
            connection = http.client.HTTPConnection(host, int(port), timeout=30)
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            self.assertEqual(answer.status, expected, (path, headers, text))
            if expected == 400:
                self.assertTrue(text.strip(), "a refusal says why")
            connection.close()


if __name__ == "__main__":
    main()
