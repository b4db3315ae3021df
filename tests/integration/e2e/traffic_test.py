"""Traffic between revisions, changed under load: not one request may fail."""
import collections
import itertools
import json
import os
import threading
import time

from fixture import DaemonTest, eventually, main

RATE = 500  # requests a second, over all clients
CLIENTS = 4
CHURN_SECONDS = float(os.environ.get("WICK_TEST_CHURN_SECONDS", "15"))  # 600 is the length the claim is made for


class Load:
    """Keep-alive clients that ask at a fixed rate and note which revision answered."""

    def __init__(self, wick, service):
        self.wick, self.service = wick, service
        self.answers = collections.Counter()
        self.failures = []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.ask) for _ in range(CLIENTS)]

    def ask(self):
        connection = self.wick.connection()
        due = time.monotonic()
        while not self.done.is_set():
            try:
                connection.request("GET", "/", headers={"Host": f"{self.service}.localhost"})
                answer = connection.getresponse()
                body = answer.read().decode()
                if answer.status == 200:
                    self.answers[body.split()[-1]] += 1
                else:
                    self.failures.append((answer.status, body))
            except Exception as error:  # noqa: BLE001
                self.failures.append(("connection", repr(error)))
                connection = self.wick.connection()
            due += CLIENTS / RATE
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def counted(self, seconds):
        """What answered within the next `seconds`."""
        before = self.answers.copy()
        time.sleep(seconds)
        return self.answers - before


class Traffic(DaemonTest):
    def deploy(self, name, generation):
        self.deploy_static(name, "--env", f"GENERATION={generation}")

    def service(self, name):
        return json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1/namespaces/default/services/{name}")[1])

    def split(self, name):
        """Who gets a share, in the order of status.traffic; a target that is there for its tag alone has none."""
        return [(t["revisionName"], t["percent"]) for t in self.service(name)["status"]["traffic"] if t["percent"] > 0]

    def test_split_tags_rollback_and_rollout_under_load_lose_no_request(self):
        self.deploy("shop", 1)
        with Load(self.wick, "shop") as load:
            self.deploy("shop", 2)
            self.assertEqual(self.split("shop"), [("shop-00002", 100)])
            self.wick.cli("traffic", "shop", "latest=50", "00001=50")
            shares = load.counted(2)
            total = sum(shares.values())
            self.assertLessEqual(abs(shares["shop-00001"] - total / 2), total * 0.02 + 5)

            shown = self.wick.cli("traffic", "shop", "--tag", "00001=old").stdout
            self.assertIn("old-shop.default.", shown)
            for _ in range(3):
                self.assertTrue(self.wick.request("old-shop")[1].endswith(b"shop-00001\n"))
                self.assertTrue(self.wick.request("shop", headers={"Knative-Serving-Tag": "old"})[1].endswith(b"shop-00001\n"))

            self.wick.cli("traffic", "shop", "latest=100")
            self.wick.cli("rollback", "shop")
            self.assertEqual(set(load.counted(1)), {"shop-00001"})

            self.wick.cli("traffic", "shop", "latest=100")
            self.wick.cli("rollout", "shop", "--over", "4s")
            self.deploy("shop", 3)
            eventually("the third revision has everything", lambda: self.split("shop") == [("shop-00003", 100)], 15)
            self.assertEqual(set(load.counted(0.5)), {"shop-00003"})

            self.wick.cli("rollout", "shop", "--over", "600s")
            self.wick.cli("deploy", self.folder + "/shop", "--name", "shop", "--env", "GENERATION=4", "--detach")
            eventually("the fourth revision begins", lambda: self.split("shop") == [("shop-00003", 99), ("shop-00004", 1)], 60)
            self.assertIn("in progress: shop-00004 has 1 of 100 %", self.wick.cli("rollout", "shop").stdout)
            self.wick.cli("rollout", "shop", "--abort")
            self.assertEqual(self.split("shop"), [("shop-00003", 100)])
            self.assertEqual(set(load.counted(0.5)), {"shop-00003"})
            self.wick.cli("rollout", "shop", "--finish")
            self.assertEqual(self.split("shop"), [("shop-00004", 100)])
        self.assertEqual(load.failures, [])
        self.assertGreater(sum(load.answers.values()), RATE)

    def patch(self, name, annotations, env):
        """A new revision with these scaling annotations; returns its name once it has all the traffic."""
        container = self.service(name)["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": "GENERATION", "value": str(env)}]
        template = {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}
        before = self.service(name)["status"]["latestReadyRevisionName"]
        status, answer = self.wick.api("PATCH", f"/apis/serving.knative.dev/v1/namespaces/default/services/{name}",
                                       json.dumps({"spec": {"template": template}}), {"Content-Type": "application/merge-patch+json"})
        self.assertEqual(status, 200, answer)
        eventually("the next revision has the traffic", lambda: self.service(name)["status"]["latestReadyRevisionName"] != before
                   and [name for name, _ in self.split(name)] == [self.service(name)["status"]["latestReadyRevisionName"]])

    def test_constant_scaling_and_releases_lose_no_request(self):
        self.deploy("mill", 0)
        until = time.monotonic() + CHURN_SECONDS
        shapes = itertools.cycle(({"min-scale": "3", "max-scale": "4"}, {"min-scale": "1", "max-scale": "1"},
                                  {"min-scale": "0", "max-scale": "5", "target": "1"}))
        with Load(self.wick, "mill") as load:
            for release in itertools.count(1):
                shape = {f"autoscaling.knative.dev/{key}": value for key, value in next(shapes).items()}
                self.patch("mill", shape | {"autoscaling.knative.dev/window": "6s"}, release)
                self.assertEqual(load.failures, [], f"after release {release}")
                if release % 3 == 0:  # back to the one before, and on
                    self.wick.cli("rollback", "mill")
                    self.wick.cli("traffic", "mill", "latest=100")
                if time.monotonic() > until:
                    break
        self.assertEqual(load.failures, [])
        self.assertGreater(release, CHURN_SECONDS / 10)
        print(f"{sum(load.answers.values())} requests over {release} releases, {len(load.answers)} revisions answered")

    def test_a_revision_that_fails_requests_is_taken_back_by_itself(self):
        self.deploy("bank", 1)
        self.wick.cli("rollout", "bank", "--over", "60s", "--rollback-on-error-rate", "10")
        # Ends with each request: 502 for whoever asked.
        broken = self.project("broken", **{
            "Dockerfile": 'FROM scratch\nCOPY --chmod=755 server /server\nCMD ["/server"]\n',
            "server": self.static_program("broken-server", self.broken_source())})
        with Load(self.wick, "bank") as load:
            self.wick.cli("deploy", broken, "--name", "bank", "--detach")
            eventually("the second revision was taken back",
                       lambda: any(g.get("refused") == "bank-00002" for g in self.service("bank")["status"].get("rollout", [])), 90)
            self.assertEqual(self.split("bank"), [("bank-00001", 100)])
            self.assertEqual(set(load.counted(0.5)), {"bank-00001"})
        self.assertIn("bank-00002 was taken back:", self.wick.cli("rollout", "bank").stdout)
        ready = {c["type"]: c for c in self.service("bank")["status"]["conditions"]}["Ready"]
        self.assertEqual((ready["status"], ready["reason"]), ("False", "RolloutAborted"))
        # Far fewer were lost than half of what came meanwhile.
        self.assertLess(len(load.failures), sum(load.answers.values()) / 4)

    def broken_source(self):
        """server.c whose / answers 500."""
        import pathlib
        from fixture import TOP
        source = (TOP / "tests/support/server.c").read_text()
        path = pathlib.Path(self.folder) / "broken.c"
        path.write_text(source.replace("HTTP/1.1 200 OK", "HTTP/1.1 500 Internal Server Error"))
        return str(path)


if __name__ == "__main__":
    main()
