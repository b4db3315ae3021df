"""Several containers in one revision, and init containers: their order, what they share, their ends, kubectl's and wick's views."""
import json
import os
import signal
import subprocess
import time

from fixture import DaemonTest, eventually, main

SERVICES = "/apis/serving.knative.dev/v1/namespaces/default/services"
PODS = "/api/v1/namespaces/default/pods"

# What a shell would do, in an image that has none.
TOOL = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int get(int port, const char* path) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int s = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(s, (struct sockaddr*)&to, sizeof to) != 0) return perror("connect"), 1;
  dprintf(s, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
  shutdown(s, SHUT_WR);
  static char answer[65536];
  size_t used = 0;
  for (ssize_t got; (got = read(s, answer + used, sizeof answer - 1 - used)) > 0;) used += got;
  const char* body = strstr(answer, "\r\n\r\n");
  return body ? (fputs(body + 4, stdout), 0) : 1;
}
int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  for (int i = 1; i < argc; ++i) {
    if (!strcmp(argv[i], "get")) return get(atoi(argv[i + 1]), argv[i + 2]);
    if (!strcmp(argv[i], "say")) puts(argv[++i]);
    if (!strcmp(argv[i], "env")) puts(getenv(argv[++i]) ? getenv(argv[i]) : "none");
    if (!strcmp(argv[i], "sleep")) sleep(atoi(argv[++i]));
    if (!strcmp(argv[i], "exit")) return atoi(argv[i + 1]);
    if (!strcmp(argv[i], "append")) {
      FILE* file = fopen(argv[i + 1], "a");
      if (!file) return perror(argv[i + 1]), 9;
      fprintf(file, "%s\n", argv[i + 2]);
      fclose(file);
      i += 2;
    }
  }
  return 0;
}
"""


class Pods(DaemonTest):
    def image(self):
        return self.image_with("tool", TOOL)

    def tool(self, name, *words, **more):
        return {"name": name, "image": self.image(), "command": ["/tool", *words],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}], **more}

    def main_container(self, **more):
        return {"name": "app", "image": self.image(), "ports": [{"containerPort": 8080}],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}], **more}

    def side(self, name="side", **more):
        return {"name": name, "image": self.image(), "command": ["/server", "--port", "8882"],
                "volumeMounts": [{"name": "shared", "mountPath": "/shared"}], **more}

    def create(self, name, containers, init=(), annotations=None):
        spec = {"containers": containers, "volumes": [{"name": "shared", "emptyDir": {}}]}
        if init:
            spec["initContainers"] = list(init)
        status, text = self.wick.api("POST", SERVICES, json.dumps({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"template": {"metadata": {"annotations": annotations or {}}, "spec": spec}}}),
            {"Content-Type": "application/json"})
        self.assertEqual(status, 201, text)

    def condition(self, name, kind="Ready"):
        conditions = self.objects("services").get(name, {}).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {"status": "Unknown"})

    def await_ready(self, name):
        eventually("it is ready", lambda: self.condition(name)["status"] != "Unknown")
        self.assertEqual(self.condition(name)["status"], "True", self.condition(name))

    def pod(self, name):
        """The pod of a service that has one."""
        items = json.loads(self.wick.api("GET", f"{PODS}?labelSelector=serving.knative.dev/service%3D{name}")[1])["items"]
        return items[0] if items else None

    def statuses(self, name, key="containerStatuses"):
        pod = self.pod(name)
        return {status["name"]: status for status in (pod or {}).get("status", {}).get(key, [])}

    def cgroups_of(self, ids):
        """Control groups of instances, wherever they are mounted."""
        found = []
        for folder, names, _ in os.walk("/sys/fs/cgroup"):
            found += [os.path.join(folder, name) for name in names if name in ids]
        return found

    def test_they_share_network_and_volumes_and_are_seen_one_by_one(self):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "word"}, "stringData": {"word": "s3cret"}}
        self.wick.api("POST", "/api/v1/namespaces/default/secrets", json.dumps(secret), {"Content-Type": "application/json"})
        init = [self.tool("one", "say", "first of all", "append", "/shared/page", "one"),
                self.tool("two", "env", "WORD", "env", "K_SERVICE", "append", "/shared/page", "two", env=[
                    {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "word", "key": "word"}}}])]
        self.create("many", [self.side(env=[{"name": "PORT", "value": "8882"}], command=["/server"],
                                       resources={"limits": {"memory": "64Mi"}}),
                             self.main_container()], init)
        self.await_ready("many")
        # The port is what tells which one serves; the others' environment and files are their own.
        self.assertEqual(self.wick.request("many", "/env/PORT")[1], b"8080")
        self.assertEqual(self.wick.request("many", "/file/shared/page")[1], b"one\ntwo\n")
        talk = lambda container, *words: self.wick.cli("exec", "many", "-c", container, "--", "/tool", *words).stdout
        self.assertEqual(talk("app", "get", "8882", "/env/PORT").strip(), "8882")
        self.assertEqual(talk("app", "get", "8882", "/env/K_REVISION").strip(), "many-00001")
        self.assertEqual(talk("side", "get", "8080", "/file/shared/page"), "one\ntwo\n")
        self.assertEqual(talk("side", "env", "PORT").strip(), "8882")
        # An earlier run of this test may have left its logs in the state folder.
        self.assertEqual(set(self.wick.cli("logs", "many", "-c", "one").stdout.splitlines()), {"first of all"})
        self.assertEqual(set(self.wick.cli("logs", "many", "-c", "two").stdout.splitlines()), {"s3cret", "none"})
        wrong = self.wick.cli("logs", "many", "-c", "none", check=False)
        self.assertNotEqual(wrong.returncode, 0)
        choices = "choose one of: [side app] or one of the init containers: [one two]"
        self.assertIn(choices, wrong.stderr)
        self.assertIn(choices, self.wick.cli("exec", "many", "-c", "none", "--", "/tool", check=False).stderr)

        revision = self.objects("revisions")["many-00001"]
        self.assertEqual([s["name"] for s in revision["status"]["containerStatuses"]], ["side", "app"])
        self.assertEqual([s["name"] for s in revision["status"]["initContainerStatuses"]], ["one", "two"])
        self.assertTrue(all("@sha256:" in s["imageDigest"] for s in revision["status"]["containerStatuses"]))
        pod = self.pod("many")
        self.assertEqual([(s["name"], s["ready"], s["restartCount"]) for s in pod["status"]["containerStatuses"]],
                         [("side", True, 0), ("app", True, 0)])
        self.assertEqual([s["state"]["terminated"]["reason"] for s in pod["status"]["initContainerStatuses"]], ["Completed"] * 2)
        name = pod["metadata"]["name"]
        self.assertEqual(self.wick.api("GET", f"{PODS}/{name}/log?container=one")[1], "first of all\n")
        status, text = self.wick.api("GET", f"{PODS}/{name}/log?container=none")
        self.assertEqual((status, json.loads(text)["message"]),
                         (400, f"container none is not valid for pod {name}, {choices}"))
        table = self.wick.api("GET", PODS, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})[1]
        row = next(r["cells"] for r in json.loads(table)["rows"] if r["cells"][0] == name)
        self.assertEqual(row[1:3], ["2/2", "Running"])

    def test_an_export_of_them_is_what_was_applied(self):
        self.create("again", [self.main_container(), self.side()], [self.tool("setup", "append", "/shared/page", "x")])
        self.await_ready("again")
        exported = self.wick.cli("export", "again").stdout
        for word in ("initContainers:", "name: setup", "name: side", "name: app"):
            self.assertIn(word, exported)

    def test_an_init_container_that_fails_is_named_with_its_code_and_last_words(self):
        self.create("broken", [self.main_container()],
                    [self.tool("fine"), self.tool("setup", "say", "no database at db:5432", "exit", "7"), self.tool("never")])
        eventually("it has failed", lambda: self.condition("broken")["status"] == "False")
        ready = next(c for c in self.objects("revisions")["broken-00001"]["status"]["conditions"] if c["type"] == "ContainerHealthy")
        self.assertEqual(ready["reason"], "ExitCode7")
        self.assertIn('the init container "setup" exited with code 7', ready["message"])
        self.assertIn("no database at db:5432", ready["message"])
        why = self.wick.cli("why", "broken", check=False).stdout
        self.assertIn('the init container "setup" exited with code 7', why)
        self.assertIn("no database at db:5432", why)

    def test_a_container_beside_it_that_dies_is_started_again_and_counted(self):
        self.create("hurt", [self.main_container(), self.side()], annotations={"autoscaling.knative.dev/min-scale": "1"})
        self.await_ready("hurt")
        before = self.wick.instances("hurt")[0]["pid"]
        self.wick.cli("exec", "hurt", "-c", "app", "--", "/tool", "get", "8882", "/exit/3", check=False)
        eventually("it runs again", lambda: self.statuses("hurt").get("side", {}).get("restartCount") == 1
                   and "running" in self.statuses("hurt")["side"]["state"])
        last = self.statuses("hurt")["side"]["lastState"]["terminated"]
        self.assertEqual((last["exitCode"], last["reason"]), (3, "Error"))
        self.assertEqual(self.statuses("hurt")["app"]["restartCount"], 0)
        self.assertEqual(self.wick.instances("hurt")[0]["pid"], before)
        eventually("it answers", lambda: self.wick.cli("exec", "hurt", "--", "/tool", "get", "8882", "/env/K_REVISION",
                                                       check=False).stdout.strip() == "hurt-00001")

    def test_they_scale_to_zero_and_wake_together_and_leave_nothing(self):
        self.create("sleepy", [self.main_container(), self.side()], [self.tool("setup", "append", "/shared/page", "x")],
                    {"autoscaling.knative.dev/window": "6s"})
        self.await_ready("sleepy")
        self.assertEqual(self.wick.request("sleepy")[0], 200)
        pod = self.pod("sleepy")
        ids = [s["containerID"].removeprefix("wick://") for s in pod["status"]["containerStatuses"]]
        self.assertEqual(len(set(ids)), 2)
        self.assertTrue(self.cgroups_of(ids))
        self.scaled_to_zero("sleepy")
        eventually("nothing is left", lambda: not self.cgroups_of(ids))
        self.assertEqual(self.wick.request("sleepy", "/file/shared/page")[1], b"x\n")  # a fresh volume

    def test_they_outlive_a_daemon_that_is_killed(self):
        self.create("kept", [self.main_container(), self.side()], annotations={"autoscaling.knative.dev/min-scale": "1"})
        self.await_ready("kept")
        pids = lambda: {s["name"]: s["containerID"] for s in (self.pod("kept") or {"status": {"containerStatuses": []}})["status"]["containerStatuses"]}
        pid, before = self.wick.instances("kept")[0]["pid"], pids()
        self.wick.kill()
        self.wick.start()
        eventually("it serves", lambda: self.wick.request("kept")[0] == 200)
        self.assertEqual(self.wick.instances("kept")[0]["pid"], pid)
        self.assertEqual(pids(), before)
        self.assertIn("hello", self.wick.cli("exec", "kept", "-c", "side", "--", "/tool", "get", "8080", "/").stdout)
        # Nothing can be added to an instance of the runner before: one that ends takes all with it, and another serves.
        self.wick.cli("exec", "kept", "--", "/tool", "get", "8882", "/exit/3", check=False)
        eventually("another one serves", lambda: [i for i in self.wick.instances("kept")
                                                  if i["state"] == "ready" and i["pid"] not in (0, pid)])
        self.assertEqual(self.wick.request("kept")[0], 200)


if __name__ == "__main__":
    main()
