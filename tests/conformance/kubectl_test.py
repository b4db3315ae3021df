"""kubectl, as it comes, drives a daemon: create, get, describe, apply, patch, wait, logs -f, delete and the rest."""
import fcntl
import json
import os
import pathlib
import pty
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time

from cluster import WICK, ClusterTest, client, eventually, main

KUBECTL = client("kubectl")


class Kubectl(ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = tempfile.mkdtemp(prefix="wick-kubectl-", dir=cls.folder)  # its discovery cache

    def environment(self):
        return dict(os.environ, KUBECONFIG=self.kubeconfig, HOME=self.home)

    def kubectl(self, *arguments, stdin=None, fails=False, timeout=120):
        done = subprocess.run([KUBECTL, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout,
                              env=self.environment())
        if fails:
            self.assertNotEqual(done.returncode, 0, done.stdout)
            return done.stderr
        self.assertEqual(done.returncode, 0, f"kubectl {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.stdout + done.stderr

    def manifest(self, name, extra=""):
        return f"""apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: {name}
  labels:
    team: a
spec:
  template:
    spec:
      containers:
        - image: {self.image()}
{extra}"""

    def tearDown(self):
        self.kubectl("delete", "ksvc", "--all", "--wait=true")
        self.kubectl("delete", "configmap,secret", "--all")
        self.kubectl("delete", "namespace", "team", "--ignore-not-found")

    def test_a_service_goes_through_its_whole_life(self):
        self.assertIn("service.serving.knative.dev/life created", self.kubectl("create", "-f", "-", stdin=self.manifest("life")))
        self.assertIn("condition met", self.kubectl("wait", "--for=condition=Ready", "ksvc/life", "--timeout=60s"))
        columns, row = self.kubectl("get", "ksvc", "life").splitlines()
        self.assertEqual(columns.split(), ["NAME", "URL", "LATESTCREATED", "LATESTREADY", "READY", "REASON"])
        self.assertEqual(row.split()[0], "life")
        self.assertEqual(row.split()[2:], ["life-00001", "life-00001", "True"])
        described = self.kubectl("describe", "ksvc", "life")
        for part in (r"Name:\s+life", r"API Version:\s+serving.knative.dev/v1", r"Type:\s+Ready", r"Normal\s+Created\s"):
            self.assertRegex(described, part)
        self.assertEqual(self.wick.request("life")[0], 200)

        pods = self.kubectl("get", "pods", "-l", "serving.knative.dev/service=life").splitlines()
        self.assertEqual(pods[0].split(), ["NAME", "READY", "STATUS", "RESTARTS", "AGE"])
        self.assertEqual(pods[1].split()[1:4], ["1/1", "Running", "0"])

        self.assertIn("patched", self.kubectl("patch", "ksvc", "life", "--type=merge", "-p",
                                              '{"spec":{"template":{"spec":{"timeoutSeconds":7}}}}'))
        self.kubectl("wait", "--for=jsonpath={.status.latestReadyRevisionName}=life-00002", "ksvc/life", "--timeout=60s")
        self.assertIn("patched", self.kubectl("patch", "ksvc", "life", "--type=json", "-p",
                                              '[{"op":"add","path":"/metadata/labels/x","value":"y"}]'))
        self.assertIn("labeled", self.kubectl("label", "ksvc", "life", "z=1"))
        self.assertIn("annotated", self.kubectl("annotate", "ksvc", "life", "note=hello"))
        self.assertIn("life", self.kubectl("get", "ksvc", "-l", "x=y,z in (1,2)"))
        revisions = self.kubectl("get", "revisions").splitlines()
        self.assertEqual(revisions[0].split()[:5], ["NAME", "CONFIG", "NAME", "GENERATION", "READY"])
        self.assertEqual(len(revisions), 3)

        self.assertIn("deleted", self.kubectl("delete", "ksvc", "life"))
        self.assertIn("NotFound", self.kubectl("get", "ksvc", "life", fails=True))
        eventually("the children are gone", lambda: "No resources found" in self.kubectl("get", "configurations,routes,revisions"))

    def test_apply_is_idempotent_in_both_ways(self):
        for flags in ((), ("--server-side",)):
            name = "applied" + str(len(flags))
            self.assertIn("created" if not flags else "serverside-applied",
                          self.kubectl("apply", *flags, "-f", "-", stdin=self.manifest(name)))
            self.kubectl("wait", "--for=condition=Ready", f"ksvc/{name}", "--timeout=60s")
            version = self.kubectl("get", "ksvc", name, "-o", "jsonpath={.metadata.resourceVersion}")
            self.kubectl("apply", *flags, "-f", "-", stdin=self.manifest(name))
            self.assertEqual(version, self.kubectl("get", "ksvc", name, "-o", "jsonpath={.metadata.resourceVersion}"))
            self.kubectl("apply", *flags, "-f", "-", stdin=self.manifest(name, "      timeoutSeconds: 9\n"))
            self.assertEqual("9", self.kubectl("get", "ksvc", name, "-o", "jsonpath={.spec.template.spec.timeoutSeconds}"))
        # The manager that client-side apply made is taken over.
        self.kubectl("apply", "--server-side", "-f", "-", stdin=self.manifest("applied0"))

    def test_server_side_apply_says_who_owns_a_field(self):
        self.kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=self.manifest("owned", "      timeoutSeconds: 5\n"))
        told = self.kubectl("apply", "--server-side", "--field-manager=two", "-f", "-", fails=True,
                            stdin=self.manifest("owned", "      timeoutSeconds: 6\n"))
        self.assertIn('conflict with "one"', told)
        self.assertIn(".spec.template.spec.timeoutSeconds", told)
        self.kubectl("apply", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-",
                     stdin=self.manifest("owned", "      timeoutSeconds: 6\n"))
        self.assertIn("two", self.kubectl("get", "ksvc", "owned", "-o", "yaml", "--show-managed-fields"))

    def test_mistakes_are_told_in_kubernetes_words(self):
        told = self.kubectl("apply", "-f", "-", stdin=self.manifest("typo", "      timeoutSecond: 5\n"), fails=True)
        self.assertIn('strict decoding error: unknown field "spec.template.spec.timeoutSecond"', told)
        told = self.kubectl("apply", "-f", "-", stdin=self.manifest("limit", "      timeoutSeconds: 5000\n"), fails=True)
        self.assertIn('admission webhook "validation.webhook.serving.knative.dev" denied the request', told)
        self.assertIn("(NotFound)", self.kubectl("get", "ksvc", "nobody", fails=True))
        self.kubectl("create", "-f", "-", stdin=self.manifest("twice"))
        self.assertIn("(AlreadyExists)", self.kubectl("create", "-f", "-", stdin=self.manifest("twice"), fails=True))
        self.assertIn("(server dry run)", self.kubectl("delete", "ksvc", "twice", "--dry-run=server"))
        self.assertIn("twice", self.kubectl("get", "ksvc", "-o", "name"))

    def test_logs_are_followed_until_the_instance_ends(self):
        self.kubectl("create", "-f", "-", stdin=self.manifest("logged"))
        self.kubectl("wait", "--for=condition=Ready", "ksvc/logged", "--timeout=60s")
        self.wick.request("logged")
        pod = self.kubectl("get", "pods", "-l", "serving.knative.dev/service=logged", "-o", "name").split()[0]
        follower = subprocess.Popen([KUBECTL, "logs", "-f", pod], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                    env=self.environment())
        self.addCleanup(follower.kill)
        self.wick.request("logged", "/", "POST", b"{}", {"ce-id": "seen-in-logs", "ce-specversion": "1.0", "ce-type": "t",
                                                      "ce-source": "/s", "Content-Type": "application/json"})
        for line in follower.stdout:
            if "seen-in-logs" in line:
                break
        else:
            self.fail("the event's line was not followed: " + follower.stderr.read())
        self.assertIn("seen-in-logs", self.kubectl("logs", pod, "--tail=5"))
        self.assertIn("seen-in-logs", self.kubectl("logs", "-l", "serving.knative.dev/service=logged"))
        self.assertIn("not valid", self.kubectl("logs", pod, "-c", "other", fails=True))
        self.kubectl("delete", "ksvc", "logged")
        follower.communicate(timeout=60)

    def pod_with_tools(self, name, *flags):
        """A service's pod whose image has busybox."""
        self.deploy_busybox(name, *flags)
        self.addCleanup(self.wick.cli, "rm", name, "--yes", check=False)
        self.wick.request(name)
        return self.kubectl("get", "pods", "-l", f"serving.knative.dev/service={name}", "-o", "name").split()[0]

    def deploy_busybox(self, name, *flags):
        busybox = pathlib.Path("/bin/busybox")
        if not busybox.exists():
            self.skipTest("busybox-static is not installed")
        folder = self.project(name, **{"Dockerfile": "FROM scratch\nCOPY --chmod=755 server /server\n"
                                                     "COPY --chmod=755 busybox /bin/busybox\nCMD [\"/server\"]\n",
                                       "server": self.static_program(), "busybox": busybox.read_bytes()})
        self.wick.cli("deploy", folder, "--name", name, *flags)

    def exec(self, *arguments, stdin=None, timeout=60):
        done = subprocess.run([KUBECTL, "exec", *arguments], input=stdin, capture_output=True, timeout=timeout,
                              env=self.environment())
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def in_terminal(self, command, typed, until, timeout=60):
        """What `command` shows on a terminal of 31 rows and 71 columns where `typed` is typed, and its exit code."""
        child, master = pty.fork()
        if child == 0:
            os.execvpe(command[0], command, dict(self.environment(), WICK_SOCKET=os.path.join(self.wick.run, "wick.sock")))
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 71, 0, 0))
        shown = b""
        ends = time.monotonic() + timeout
        typed = list(typed)
        while time.monotonic() < ends:
            if typed and typed[0][0] in shown:
                os.write(master, typed.pop(0)[1])
            if not select.select([master], [], [], 0.2)[0]:
                continue
            try:
                got = os.read(master, 4096)
            except OSError:
                got = b""
            if not got:
                break
            shown += got
        os.close(master)
        if until.encode() not in shown:
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.assertIn(until, shown.decode(errors="replace"))
        return code

    def processes(self, pod):
        return self.exec(pod, "--", "/bin/busybox", "ps")[1]

    def test_exec_runs_a_command_beside_the_program(self):
        pod = self.pod_with_tools("tools")
        box = "/bin/busybox"
        self.assertEqual(self.exec(pod, "--", box, "echo", "hello there"), (0, "hello there\n", ""))
        code, out, err = self.exec(pod, "--", box, "sh", "-c", "echo out; echo err >&2; exit 7")
        self.assertEqual((code, out), (7, "out\n"))
        self.assertEqual(err.splitlines(), ["err", "command terminated with exit code 7"])
        code, out, err = self.exec(pod, "--", "/bin/none")
        self.assertNotEqual(code, 0)
        self.assertIn("the command '/bin/none' is not in the image", err)

        text = b"".join(b"%d\n" % i for i in range(200_000))
        done = subprocess.run([KUBECTL, "exec", "-i", pod, "--", box, "cat"], input=text, capture_output=True, timeout=60,
                              env=self.environment())
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, text)

    def test_exec_says_what_is_wrong_as_kubernetes_does(self):
        pod = self.pod_with_tools("wrong")
        code, _, err = self.exec("pod/nobody", "--", "/bin/busybox", "true")
        self.assertEqual((code, err.strip()), (1, 'Error from server (NotFound): pods "nobody" not found'))
        self.assertIn("container other", self.exec(pod, "-c", "other", "--", "/bin/busybox", "true")[2])
        spdy = subprocess.run([KUBECTL, "exec", pod, "--", "/bin/busybox", "true"], capture_output=True, text=True, timeout=60,
                              env=dict(self.environment(), KUBECTL_REMOTE_COMMAND_WEBSOCKETS="false"))
        self.assertIn("exec goes over WebSocket (v5.channel.k8s.io) here, not over SPDY", spdy.stderr)
        self.assertIn("/exec", self.wick.cli("audit").stdout)

    def test_exec_starts_an_instance_of_a_service_at_zero(self):
        self.deploy_busybox("asleep")
        self.addCleanup(self.wick.cli, "rm", "asleep", "--yes", check=False)
        annotations = {"autoscaling.knative.dev/window": "6s", "wick.dev/prepared-spares": "0"}
        self.kubectl("patch", "ksvc", "asleep", "--type=merge", "-p",
                     json.dumps({"spec": {"template": {"metadata": {"annotations": annotations}}}}))
        self.kubectl("wait", "ksvc/asleep", "--for=jsonpath={.status.latestReadyRevisionName}=asleep-00002", "--timeout=60s")
        awake = ("--", "/bin/busybox", "echo", "awake")
        at_zero = lambda: eventually("it is at zero", lambda: not self.wick.instances("asleep"), 90)
        for name in ("asleep", "svc/asleep", "asleep-00002"):
            with self.subTest(name):
                at_zero()
                self.assertEqual(self.exec(name, *awake), (0, "awake\n", ""))
        at_zero()
        done = self.wick.cli("exec", "asleep", *awake, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "awake\n"), done.stderr)
        # Looking alone starts nothing.
        at_zero()
        self.assertIn("NotFound", self.kubectl("get", "pod", "asleep", fails=True))
        self.assertIn("No resources found", self.kubectl("get", "pods", "-l", "serving.knative.dev/service=asleep"))
        self.assertEqual(self.wick.instances("asleep"), [])
        self.assertIn("NotFound", self.exec("nobody", *awake)[2])

    def test_exec_gives_a_terminal(self):
        pod = self.pod_with_tools("terminal")
        shell = [KUBECTL, "exec", "-it", pod, "--", "/bin/busybox", "sh"]
        code = self.in_terminal(shell, [(b"/ ", b"/bin/busybox stty size; /bin/busybox tty; exit 5\r")], "31 71")
        self.assertEqual(code, 5)

    def test_a_command_dies_with_its_client(self):
        pod = self.pod_with_tools("left")
        client = subprocess.Popen([KUBECTL, "exec", pod, "--", "/bin/busybox", "sleep", "4321"], env=self.environment())
        eventually("it runs", lambda: "sleep 4321" in self.processes(pod))
        client.kill()
        client.wait()
        eventually("it is gone", lambda: "sleep 4321" not in self.processes(pod))

    def test_a_command_hears_of_its_instance_s_end(self):
        pod = self.pod_with_tools("kept")
        client = subprocess.Popen([KUBECTL, "exec", pod, "--", "/bin/busybox", "sleep", "4322"], env=self.environment(),
                                  stderr=subprocess.PIPE, text=True)
        eventually("it runs", lambda: "sleep 4322" in self.processes(pod))
        self.wick.cli("rm", "kept", "--yes")
        self.assertIn("the instance was stopped", client.communicate(timeout=60)[1])

    def test_wick_exec_is_the_same(self):
        self.pod_with_tools("own")
        box = "/bin/busybox"
        wick = lambda *arguments, **more: self.wick.cli("exec", *arguments, check=False, **more)
        done = wick("own", "--", box, "sh", "-c", "echo out; echo err >&2; exit 9")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (9, "out\n", "err\n"))
        self.assertIn("'/bin/none' is not in the image", wick("own", "--", "/bin/none").stderr)
        self.assertEqual(wick("nobody", "--", box).returncode, 6)
        self.assertEqual(wick("-i", "own", "--", box, "cat", stdin="typed").stdout, "typed")
        code = self.in_terminal([WICK, "exec", "own", "-it", "--", box, "sh"], [(b"/ ", b"/bin/busybox stty size; exit 4\r")], "31 71")
        self.assertEqual(code, 4)

    def test_discovery_schemas_and_questions(self):
        resources = self.kubectl("api-resources")
        for name in ("services", "ksvc", "revisions", "brokers", "triggers", "configmaps", "secrets", "pods"):
            self.assertIn(name, resources)
        self.assertIn("containerConcurrency", self.kubectl("explain", "ksvc.spec.template.spec"))
        self.assertIn("<integer>", self.kubectl("explain", "ksvc.spec.template.spec.timeoutSeconds"))
        self.assertIn("Server Version: v1.", self.kubectl("version"))
        self.assertIn("yes", self.kubectl("auth", "can-i", "create", "ksvc"))
        self.assertIn("token:kubeconfig", self.kubectl("auth", "whoami"))
        self.assertIn("services.serving.knative.dev", self.kubectl("get", "crd"))
        self.assertIn("istio-ingressgateway", self.kubectl("get", "service", "-n", "istio-system"))
        self.kubectl("get", "all")
        self.kubectl("get", "events")

    def test_secrets_and_configmaps_are_kept(self):
        self.kubectl("create", "secret", "generic", "key", "--from-literal=password=canary")
        self.assertEqual("Y2FuYXJ5", self.kubectl("get", "secret", "key", "-o", "jsonpath={.data.password}"))
        self.kubectl("create", "configmap", "settings", "--from-literal=a=1")
        self.assertIn("configured", self.kubectl("apply", "-f", "-", stdin="""apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {a: "2"}
"""))
        self.assertEqual("2", self.kubectl("get", "cm", "settings", "-o", "jsonpath={.data.a}"))
        self.kubectl("patch", "cm", "settings", "-p", '{"data":{"b":"3"}}')
        self.assertEqual(["settings", "2"], self.kubectl("get", "cm", "settings").splitlines()[1].split()[:2])
        self.kubectl("create", "namespace", "team")
        self.assertIn("Active", self.kubectl("get", "ns", "team"))
        self.kubectl("delete", "namespace", "team")

    def test_what_the_server_shows_it_takes_back(self):
        self.kubectl("apply", "-f", "-", stdin=self.manifest("shown"))
        self.kubectl("wait", "--for=condition=Ready", "ksvc/shown", "--timeout=60s")
        for kind in ("ksvc", "configuration", "route", "broker.eventing.knative.dev"):
            name = "default" if kind.startswith("broker") else "shown"
            shown = self.kubectl("get", kind, name, "-o", "yaml")
            self.assertIn(f"{name}", self.kubectl("replace", "--validate=strict", "-f", "-", stdin=shown))

    def test_channels_flows_and_sources_round_trip(self):
        """Applied, ready, applied again unchanged, given back as shown, exported without what they made, deleted."""
        self.kubectl("apply", "-f", "-", stdin=self.manifest("worker"))
        self.kubectl("wait", "--for=condition=Ready", "ksvc/worker", "--timeout=60s")
        worker = "{ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: worker}}"
        channel = "{ref: {apiVersion: messaging.knative.dev/v1, kind: Channel, name: pipe}}"
        specs = {
            ("messaging.knative.dev/v1", "InMemoryChannel", "memory"): "{delivery: {retry: 3}}",
            ("messaging.knative.dev/v1", "Channel", "pipe"): "{}",
            ("messaging.knative.dev/v1", "Subscription", "pipe"): f"""{{channel: {{apiVersion: messaging.knative.dev/v1, kind: Channel,
                name: pipe}}, subscriber: {worker}, delivery: {{retry: 2, backoffPolicy: linear, backoffDelay: PT1S}}}}""",
            ("flows.knative.dev/v1", "Sequence", "chain"): f"{{steps: [{worker}, {worker}], reply: {channel}}}",
            ("flows.knative.dev/v1", "Parallel", "split"): f"{{branches: [{{filter: {worker}, subscriber: {worker}}}], reply: {channel}}}",
            ("sources.knative.dev/v1", "PingSource", "ping"): f"{{schedule: '@hourly', timezone: Europe/Berlin, data: hello, sink: {channel}}}",
            ("sources.knative.dev/v1", "SinkBinding", "binding"): f"""{{subject: {{apiVersion: serving.knative.dev/v1, kind: Service,
                name: worker}}, sink: {channel}}}""",
            ("sources.knative.dev/v1", "ApiServerSource", "changes"): f"""{{mode: Resource, resources: [{{apiVersion: v1, kind: ConfigMap}}],
                sink: {channel}}}""",
            ("sources.knative.dev/v1", "ContainerSource", "runs"): f"""{{template: {{spec: {{containers: [{{name: main,
                image: {self.image()}, resources: {{limits: {{memory: 64Mi}}}}}}]}}}}, sink: {channel}}}""",
            ("eventing.knative.dev/v1alpha1", "EventTransform", "turned"): f"""{{jsonata: {{expression: 'data.a'}}, sink: {channel},
                reply: {{discard: true}}}}""",
            ("sinks.knative.dev/v1alpha1", "JobSink", "works"): f"""{{job: {{spec: {{backoffLimit: 1, template: {{spec: {{
                restartPolicy: Never, containers: [{{name: main, image: {self.image()}}}]}}}}}}}}}}"""}
        manifest = "---\n".join(f"apiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
                                for (version, kind, name), spec in specs.items())
        self.assertEqual(self.kubectl("apply", "-f", "-", stdin=manifest).count(" created\n"), len(specs))
        for (version, kind, name) in specs:
            what = f"{kind.lower()}s.{version.split('/')[0]}/{name}"
            self.kubectl("wait", "--for=condition=Ready", what, "--timeout=60s")
            self.assertIn("True", self.kubectl("get", what))
            self.kubectl("describe", what)
            shown = self.kubectl("get", what, "-o", "yaml")
            self.assertIn(name, self.kubectl("replace", "--validate=strict", "-f", "-", stdin=shown))
        again = self.kubectl("apply", "-f", "-", stdin=manifest)
        self.assertEqual(again.count(" unchanged\n") + again.count(" configured\n"), len(specs), again)
        exported = self.wick.cli("export").stdout
        for (version, kind, name) in specs:
            self.assertIn(f"kind: {kind}\n", exported)
        self.assertNotIn("chain-kn-sequence-0", exported)
        self.kubectl("delete", "-f", "-", stdin=manifest)
        def left():
            names = self.kubectl("get", "subscriptions.messaging.knative.dev,inmemorychannels", "-o", "name")
            return "-kn-" in names or "/pipe" in names
        eventually("what they made is gone", lambda: not left(), 20)

    def test_watching_shows_what_comes(self):
        watcher = subprocess.Popen([KUBECTL, "get", "ksvc", "-w"], stdout=subprocess.PIPE, text=True, env=self.environment())
        self.addCleanup(watcher.kill)
        self.kubectl("create", "-f", "-", stdin=self.manifest("seen"))
        for line in watcher.stdout:
            if line.startswith("seen") and " True" in line:
                break
        watcher.kill()
        watcher.communicate()

    def test_what_is_exported_applies_to_the_same_export(self):
        self.kubectl("apply", "-f", "-", stdin=self.manifest("exported", "      timeoutSeconds: 9\n"))
        first = self.wick.cli("export").stdout
        self.assertIn("name: exported", first)
        self.kubectl("delete", "ksvc", "exported")
        folder = pathlib.Path(self.folder) / "exported"
        folder.mkdir()
        (folder / "all.yaml").write_text(first)
        self.assertIn("exported created", self.wick.cli("apply", "-f", str(folder)).stdout)
        self.assertEqual(first, self.wick.cli("export").stdout)
        self.assertIn("exported unchanged", self.wick.cli("apply", "-f", "-", stdin=first).stdout)
        self.assertEqual(json.loads(self.wick.cli("export", "exported", "--json").stdout)["items"][0]["kind"], "Service")


if __name__ == "__main__":
    main()
