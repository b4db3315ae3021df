"""Knative's serving conformance suite (test/conformance/api/v1 and parts of runtime), row by row: each test has the name of the
row it stands for and asserts what that asserts, against real containers that run tests/support/server.c."""
import concurrent.futures
import copy
import json
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration/e2e"))
from fixture import DaemonTest, eventually, main  # noqa: E402

SERVING = "serving.knative.dev/v1"
PREFIX = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '


def condition(thing, kind="Ready"):
    return next((c for c in thing.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def is_settled(thing, status):
    return (thing.get("status", {}).get("observedGeneration") == thing["metadata"].get("generation")
            and condition(thing).get("status") == status)


class ServingApi(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        maker = cls("test_ServiceCreateListAndDelete")
        for name in ("image-one", "image-two"):
            maker.deploy_static(name, argv=("/server", name))
            stored = json.loads(cls.wick.api("GET", maker.path("services", name))[1])
            setattr(cls, name.replace("-", "_"), stored["spec"]["template"]["spec"]["containers"][0]["image"])
            cls.wick.cli("rm", name, "--yes")

    # --- the API, as a client library calls it
    def path(self, plural, name="", version=SERVING, namespace="default"):
        root = "/api/v1" if version == "v1" else f"/apis/{version}"
        return f"{root}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")

    def call(self, method, path, body=None, kind="application/json"):
        status, text = self.wick.api(method, path, json.dumps(body) if body is not None else None, {"Content-Type": kind})
        return status, json.loads(text)

    def get(self, plural, name, **where):
        status, thing = self.call("GET", self.path(plural, name, **where))
        return thing if status == 200 else None

    def items(self, plural, selector=""):
        return self.call("GET", self.path(plural) + (f"?labelSelector={selector}" if selector else ""))[1]["items"]

    def make(self, plural, thing, **where):
        status, made = self.call("POST", self.path(plural, **where), thing)
        self.assertEqual(status, 201, made)
        self.addCleanup(self.call, "DELETE", self.path(plural, made["metadata"]["name"], **where))
        return made

    def change(self, plural, name, edit):
        """Read, edit, write; again when somebody else wrote meanwhile."""
        while True:
            thing = self.get(plural, name)
            edit(thing)
            status, answer = self.call("PUT", self.path(plural, name), thing)
            if status != 409:
                return status, answer

    def manifest(self, name, kind="Service", container=None, template=None, annotations=None, spec=None, metadata=None, **pod):
        return {"apiVersion": SERVING, "kind": kind, "metadata": {"name": name, **(metadata or {})},
                "spec": {"template": {"metadata": {"annotations": annotations or {}, **(template or {})},
                                      "spec": {"containers": [{"image": self.image_one, **(container or {})}], **pod}},
                         **(spec or {})}}

    def until(self, plural, name, status="True", limit=60):
        return eventually(f"{plural} {name} is {status}",
                          lambda: (thing := self.get(plural, name)) and is_settled(thing, status) and thing, limit)

    def ready(self, *arguments, **more):
        made = self.make("services", self.manifest(*arguments, **more))
        return self.until("services", made["metadata"]["name"])

    def answer(self, url, path="/", limit=120):
        """Status and body of a request to the host of a URL."""
        connection = self.wick.connection(limit)
        try:
            connection.request("GET", path, headers={"Host": url.removeprefix("http://")})
            got = connection.getresponse()
            return got.status, got.read().decode()
        finally:
            connection.close()

    def revision_of(self, url):
        status, text = self.answer(url)
        self.assertEqual(status, 200, text)
        return text.split()[-1]

    # --- api/v1
    def test_ServiceCreateListAndDelete(self):
        service = self.ready("create-list")
        self.assertIn("create-list", [item["metadata"]["name"] for item in self.items("services")])
        revision = self.get("revisions", service["status"]["latestReadyRevisionName"])
        self.assertEqual(service["status"]["latestCreatedRevisionName"], "create-list-00001")
        labels = revision["metadata"]["labels"]
        self.assertEqual(labels["serving.knative.dev/service"], "create-list")
        self.assertEqual(labels["serving.knative.dev/configuration"], "create-list")
        self.assertEqual(labels["serving.knative.dev/configurationGeneration"], "1")
        self.assertEqual(labels["serving.knative.dev/serviceUID"], service["metadata"]["uid"])
        self.assertEqual(labels["serving.knative.dev/configurationUID"],
                         self.get("configurations", "create-list")["metadata"]["uid"])
        eventually("the revision is active", lambda: self.get("revisions", "create-list-00001")["metadata"]["labels"].get(
            "serving.knative.dev/routingState") == "active")
        self.assertEqual(self.get("revisions", "create-list-00001")["metadata"]["annotations"]["serving.knative.dev/routes"],
                         "create-list")
        status = revision["status"]["containerStatuses"][0]
        self.assertEqual(status["name"], "user-container")
        self.assertRegex(status["imageDigest"], r"^.+@sha256:[0-9a-f]{64}$")
        self.assertEqual(service["status"]["url"].split("//")[1].split(".")[:2], ["create-list", "default"])
        self.assertEqual(service["status"]["address"]["url"], "http://create-list.default.svc.cluster.local")
        self.assertEqual(self.revision_of(service["status"]["url"]), "create-list-00001")
        self.assertEqual(self.call("DELETE", self.path("services", "create-list"))[0], 200)
        for plural in ("services", "configurations", "routes"):
            eventually(f"no {plural}", lambda: self.get(plural, "create-list") is None)
        eventually("no revision", lambda: not self.items("revisions", "serving.knative.dev/service=create-list"))

    def test_ServiceCreateAndUpdate(self):
        service = self.ready("update")
        url, failures, over = service["status"]["url"], [], threading.Event()

        def probe():
            while not over.is_set():
                status, _ = self.answer(url)
                if status != 200:
                    failures.append(status)

        prober = threading.Thread(target=probe)
        prober.start()
        self.addCleanup(over.set)

        def image(thing):
            thing["spec"]["template"]["spec"]["containers"][0]["image"] = self.image_two

        def label(thing):
            thing["spec"]["template"]["metadata"]["labels"] = {"label-x": "abc"}

        def annotation(thing):
            thing["spec"]["template"]["metadata"].setdefault("annotations", {})["annotation-x"] = "abc"

        for generation, edit in enumerate((image, label, annotation), start=2):
            self.assertEqual(self.change("services", "update", edit)[0], 200)
            name = f"update-{generation:05d}"
            service = eventually(f"{name} serves", lambda: (s := self.until("services", "update"))["status"].get(
                "latestReadyRevisionName") == name and s)
            self.assertEqual(self.get("configurations", "update")["metadata"]["generation"], generation)
            eventually("the traffic moved", lambda: self.revision_of(url) == name)
        self.assertEqual(self.get("revisions", "update-00003")["metadata"]["labels"]["label-x"], "abc")
        self.assertEqual(self.get("revisions", "update-00004")["metadata"]["annotations"]["annotation-x"], "abc")
        self.assertEqual(self.answer(url, "/args")[1].split()[1], "image-two")
        over.set()
        prober.join()
        self.assertEqual(failures, [])

    def test_ServiceBYOName(self):
        service = self.ready("byo", template={"name": "byo-mine"})
        self.assertEqual(service["status"]["latestReadyRevisionName"], "byo-mine")

        def image(thing):
            thing["spec"]["template"]["spec"]["containers"][0]["image"] = self.image_two

        status, answer = self.change("services", "byo", image)
        self.assertEqual(status, 400)
        self.assertTrue(answer["message"].startswith(
            PREFIX + "Saw the following changes without a name change (-old +new): spec.template.metadata.name"), answer["message"])

        def image_and_name(thing):
            image(thing)
            thing["spec"]["template"]["metadata"]["name"] = "byo-next"

        self.assertEqual(self.change("services", "byo", image_and_name)[0], 200)
        eventually("the new name serves", lambda: self.until("services", "byo")["status"]["latestReadyRevisionName"] == "byo-next")
        status, answer = self.call("POST", self.path("services"), self.manifest("byo-wrong", template={"name": "other"}))
        self.assertEqual((status, answer["reason"]), (400, "BadRequest"))
        self.assertEqual(answer["message"],
                         PREFIX + 'invalid value: "other" must have prefix "byo-wrong-": spec.template.metadata.name')

    def share(self, url, requests=200):
        counts = {}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for name in pool.map(lambda _: self.revision_of(url), range(requests)):
                counts[name] = counts.get(name, 0) + 1
        return {name: count / requests for name, count in counts.items()}

    def test_ServiceWithTrafficSplit(self):
        service = self.ready("split")
        url = service["status"]["url"]

        def traffic(*targets):
            def edit(thing):
                thing["spec"]["traffic"] = [dict(t) for t in targets]
            self.assertEqual(self.change("services", "split", edit)[0], 200)
            return self.until("services", "split")

        # 1: pinned to the first, with the tags current and latest.
        first = {"tag": "current", "revisionName": "split-00001", "percent": 100}
        latest = {"tag": "latest", "latestRevision": True, "percent": 0}
        traffic(first, latest)

        # 2: a second revision comes; nothing but the tag latest reaches it.
        def image(thing):
            thing["spec"]["template"]["spec"]["containers"][0]["image"] = self.image_two
        self.assertEqual(self.change("services", "split", image)[0], 200)
        eventually("the second is there", lambda: self.until("services", "split")["status"]["latestReadyRevisionName"] == "split-00002")
        self.assertEqual(self.share(url, 20), {"split-00001": 1})
        tags = {t["tag"]: t for t in self.until("services", "split")["status"]["traffic"]}
        self.assertEqual(tags["latest"]["url"].split("//")[1].split(".")[0], "latest-split")
        eventually("the tag moved", lambda: self.revision_of(tags["latest"]["url"]) == "split-00002")
        self.assertEqual(self.revision_of(tags["current"]["url"]), "split-00001")

        # 3: half for a candidate.
        second = {"tag": "candidate", "revisionName": "split-00002", "percent": 50}
        service = traffic({**first, "percent": 50}, second, latest)
        shares = self.share(url)
        for name in ("split-00001", "split-00002"):
            self.assertAlmostEqual(shares.get(name, 0), 0.5, delta=0.15)
        tags = {t["tag"]: t for t in service["status"]["traffic"]}
        self.assertEqual(self.revision_of(tags["candidate"]["url"]), "split-00002")

        # 4: all for the second, the first keeps its tag; 5: a third revision under latest alone.
        traffic({**first, "percent": 0}, {**second, "percent": 100}, latest)
        self.assertEqual(self.share(url, 20), {"split-00002": 1})

        def environment(thing):
            thing["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "A", "value": "B"}]
        self.assertEqual(self.change("services", "split", environment)[0], 200)
        service = eventually("the third is there", lambda: (s := self.until("services", "split"))["status"][
            "latestReadyRevisionName"] == "split-00003" and s)
        self.assertEqual(self.share(url, 20), {"split-00002": 1})
        tags = {t["tag"]: t for t in self.until("services", "split")["status"]["traffic"]}
        eventually("the tag latest moved", lambda: self.revision_of(tags["latest"]["url"]) == "split-00003")

    def test_BlueGreenRoute(self):
        self.ready("colours", template={"name": "colours-blue"})

        def green(thing):
            thing["spec"]["template"]["metadata"]["name"] = "colours-green"
            thing["spec"]["template"]["spec"]["containers"][0]["image"] = self.image_two
            thing["spec"]["traffic"] = [{"revisionName": "colours-blue", "tag": "blue", "percent": 50},
                                        {"revisionName": "colours-green", "tag": "green", "percent": 50}]
        self.assertEqual(self.change("services", "colours", green)[0], 200)
        service = self.until("services", "colours")
        shares = self.share(service["status"]["url"])
        for name in ("colours-blue", "colours-green"):
            self.assertAlmostEqual(shares.get(name, 0), 0.5, delta=0.15)
        for target in service["status"]["traffic"]:
            self.assertEqual(self.revision_of(target["url"]), target["revisionName"])

    def propagation(self, field, name):
        self.ready(name, metadata={field: {"team.example.com/key": "value"}})
        for plural in ("configurations", "routes"):
            self.assertEqual(self.get(plural, name)["metadata"][field]["team.example.com/key"], "value")

        def remove(thing):
            del thing["metadata"][field]["team.example.com/key"]
        self.assertEqual(self.change("services", name, remove)[0], 200)
        for plural in ("configurations", "routes"):
            eventually(f"it is gone from {plural}",
                       lambda: "team.example.com/key" not in self.get(plural, name)["metadata"].get(field, {}))
        self.assertEqual(len(self.items("revisions", f"serving.knative.dev/service={name}")), 1)

    def test_AnnotationPropagation(self):
        self.propagation("annotations", "annotated")

    def test_LabelPropagation(self):
        self.propagation("labels", "labelled")

    def test_ConfigurationGetAndList_RevisionGetAndList_RouteGetAndList(self):
        self.ready("listed")
        for plural, kind in (("configurations", "Configuration"), ("routes", "Route")):
            self.assertEqual(self.get(plural, "listed")["kind"], kind)
            self.assertIn("listed", [item["metadata"]["name"] for item in self.items(plural)])
        self.assertEqual(self.get("revisions", "listed-00001")["kind"], "Revision")
        self.assertIn("listed-00001", [item["metadata"]["name"] for item in self.items("revisions")])

    def test_RouteCreation(self):
        configuration = self.manifest("alone", kind="Configuration")
        self.make("configurations", configuration)
        self.make("routes", {"apiVersion": SERVING, "kind": "Route", "metadata": {"name": "alone"},
                             "spec": {"traffic": [{"configurationName": "alone", "percent": 100}]}})
        self.until("configurations", "alone")
        route = self.until("routes", "alone")
        self.assertEqual(self.revision_of(route["status"]["url"]), "alone-00001")

        def image(thing):
            thing["spec"]["template"]["spec"]["containers"][0]["image"] = self.image_two
        self.assertEqual(self.change("configurations", "alone", image)[0], 200)
        eventually("the second revision answers", lambda: self.revision_of(route["status"]["url"]) == "alone-00002")

    def test_UpdateConfigurationMetadata(self):
        self.make("configurations", self.manifest("meta", kind="Configuration"))
        before = self.until("configurations", "meta")

        def label(thing):
            thing["metadata"].setdefault("labels", {})["label-x"] = "abc"
            thing["metadata"].setdefault("annotations", {})["annotation-x"] = "abc"
        self.assertEqual(self.change("configurations", "meta", label)[0], 200)
        after = self.until("configurations", "meta")
        self.assertEqual(after["status"]["latestCreatedRevisionName"], before["status"]["latestCreatedRevisionName"])
        revision = self.get("revisions", "meta-00001")
        self.assertNotIn("label-x", revision["metadata"]["labels"])
        self.assertNotIn("annotation-x", revision["metadata"]["annotations"])

    def test_ServiceGenerateName(self):
        manifest = self.manifest("")
        manifest["metadata"] = {"generateName": "generated-"}
        name = self.make("services", manifest)["metadata"]["name"]
        self.assertRegex(name, r"^generated-[a-z0-9]{5}$")
        service = self.until("services", name)
        self.assertEqual(service["status"]["latestReadyRevisionName"], f"{name}-00001")
        self.assertEqual(self.revision_of(service["status"]["url"]), f"{name}-00001")

    def test_RouteAndConfigGenerateName(self):
        manifest = self.manifest("", kind="Configuration")
        manifest["metadata"] = {"generateName": "generated-"}
        name = self.make("configurations", manifest)["metadata"]["name"]
        self.until("configurations", name)
        route = self.make("routes", {"apiVersion": SERVING, "kind": "Route", "metadata": {"generateName": "generated-"},
                                     "spec": {"traffic": [{"configurationName": name, "percent": 100}]}})
        route = self.until("routes", route["metadata"]["name"])
        self.assertEqual(self.revision_of(route["status"]["url"]), f"{name}-00001")

    def test_ContainerErrorMsg(self):
        self.make("services", self.manifest("no-image", container={"image": "dev.local/never-built:latest"}))
        service = self.until("services", "no-image", "False")
        self.assertEqual(condition(service, "ConfigurationsReady")["reason"], "RevisionFailed")
        configuration = condition(self.get("configurations", "no-image"))
        self.assertEqual(configuration["reason"], "RevisionFailed")
        self.assertIn("Unable to fetch image", configuration["message"])
        revision = condition(self.get("revisions", "no-image-00001"))
        self.assertEqual(revision["reason"], "ContainerMissing")
        self.assertIn("Unable to fetch image", revision["message"])

    def test_ContainerExitingMsg(self):
        for name, probe in (("exits", None), ("exits-http", {"httpGet": {"path": "/"}}), ("exits-tcp", {"tcpSocket": {}})):
            with self.subTest(name):
                container = {"command": ["/server", "--exit", "5"], **({"readinessProbe": probe} if probe else {})}
                self.make("services", self.manifest(name, container=container))
                self.until("services", name, "False")
                revision = condition(self.get("revisions", f"{name}-00001"))
                self.assertEqual(revision["reason"], "ExitCode5")
                self.assertIn("ending as told", revision["message"])
                configuration = condition(self.get("configurations", name))
                self.assertEqual(configuration["reason"], "RevisionFailed")
                self.assertIn("ending as told", configuration["message"])

    def test_a_termination_message_is_told_where_the_end_is(self):
        """Kubernetes' terminationMessagePath and terminationMessagePolicy; Knative has the message in ContainerHealthy."""
        for name, more, told in (
                ("left", {"terminationMessagePath": "/tmp/end"}, "no route to the database"),
                ("file", {"terminationMessagePolicy": "File"}, "no route to the database"),
                ("silent", {"terminationMessagePolicy": "File"}, "exited with code 5"),
                ("logs", {"terminationMessagePolicy": "FallbackToLogsOnError"}, "ending as told")):
            with self.subTest(name):
                path = more.get("terminationMessagePath", "/dev/termination-log")
                words = ["--leave", path, "no route to the database"] if "route" in told else []
                self.make("services", self.manifest(name, container={"command": ["/server", *words, "--exit", "5"], **more}))
                self.until("services", name, "False")
                revision = condition(self.get("revisions", f"{name}-00001"), "ContainerHealthy")
                self.assertEqual(revision["reason"], "ExitCode5")
                self.assertIn(told, revision["message"])
                if words:
                    self.assertEqual(revision["message"], "Container failed with: no route to the database")
                    self.assertIn("\n  message: no route to the database", self.wick.cli("why", name).stdout)
                else:
                    self.assertNotIn("\n  message:", self.wick.cli("why", name).stdout)

        url = self.ready("ends", container={"terminationMessagePolicy": "File"})["status"]["url"]
        self.answer(url, "/write/dev/termination-log")
        self.answer(url, "/exit/7")
        eventually("another instance answers", lambda: self.answer(url)[0] == 200)
        pod = eventually("the next pod says how the last one ended", lambda: next(
            (pod for pod in self.items_of("pods", "serving.knative.dev/service=ends")
             if pod["status"]["containerStatuses"][0]["lastState"]), None))
        status = pod["status"]["containerStatuses"][0]
        self.assertEqual(status["restartCount"], 1)
        ended = status["lastState"]["terminated"]
        self.assertEqual((ended["exitCode"], ended["reason"], ended["message"]), (7, "Error", "written"))

    def items_of(self, plural, selector):
        return self.call("GET", self.path(plural, version="v1") + f"?labelSelector={selector}")[1]["items"]

    def test_CustomResourcesLimits(self):
        service = self.ready("limits", container={"resources": {"limits": {"memory": "350Mi"}}})
        url = service["status"]["url"]
        for megabytes in (100, 200):
            self.assertEqual(self.answer(url, f"/eat/{megabytes}")[0], 200)
        self.assertGreaterEqual(self.answer(url, "/eat/500")[0], 500)
        eventually("another instance answers", lambda: self.answer(url)[0] == 200)

    def test_RevisionTimeout(self):
        url = self.ready("timeout", timeoutSeconds=3)["status"]["url"]
        self.assertEqual(self.answer(url, "/sleep/1000")[0], 200)
        self.assertEqual(self.answer(url, "/sleep/5000")[0], 504)

    def test_SingleConcurrency(self):
        url = self.ready("single", containerConcurrency=1)["status"]["url"]
        end = time.monotonic() + 5

        def client(_):
            seen = set()
            while time.monotonic() < end:
                seen.add(self.answer(url, "/alone/20")[0])
            return seen

        with concurrent.futures.ThreadPoolExecutor(5) as pool:
            self.assertEqual(set().union(*pool.map(client, range(5))), {200})

    def test_ServiceAccountValidation(self):
        status, answer = self.call("POST", self.path("services"), self.manifest("account", serviceAccountName="foo@bar.baz"))
        self.assertEqual((status, answer["reason"]), (400, "BadRequest"))
        self.assertEqual(answer["message"], PREFIX + "invalid value: foo@bar.baz: spec.template.spec.serviceAccountName")

    # --- v1beta1
    def test_DomainMapping(self):
        service = self.ready("mapped")
        where = {"version": "serving.knative.dev/v1beta1"}

        def mapping(namespace):
            return {"apiVersion": "serving.knative.dev/v1beta1", "kind": "DomainMapping",
                    "metadata": {"name": "shop.example.org", "namespace": namespace},
                    "spec": {"ref": {"apiVersion": SERVING, "kind": "Service", "name": "mapped"}}}

        def told(namespace, kind="Ready"):
            thing = self.get("domainmappings", "shop.example.org", namespace=namespace, **where)
            return condition(thing, kind) if thing else {}

        self.make("domainmappings", mapping("default"), **where)
        eventually("the mapping is ready", lambda: told("default").get("status") == "True")
        self.assertEqual(self.revision_of("http://shop.example.org"), service["status"]["latestReadyRevisionName"])
        self.make("domainmappings", mapping("second"), namespace="second", **where)
        eventually("the second is told", lambda: told("second", "DomainClaimed").get("reason") == "DomainAlreadyClaimed")
        self.call("DELETE", self.path("domainmappings", "shop.example.org", **where))
        eventually("the second takes over", lambda: told("second", "DomainClaimed").get("status") == "True")

    # --- runtime
    def test_ShouldEnvVars_MustEnvVars(self):
        url = self.ready("env", container={"ports": [{"containerPort": 8801}]})["status"]["url"]
        for name, value in (("PORT", "8801"), ("K_SERVICE", "env"), ("K_CONFIGURATION", "env"), ("K_REVISION", "env-00001")):
            self.assertEqual(self.answer(url, f"/env/{name}"), (200, value))

    def test_CmdArgs(self):
        url = self.ready("args", container={"command": ["/server"], "args": ["abra", "$(K_SERVICE)"]})["status"]["url"]
        self.assertEqual(self.answer(url, "/args")[1].split(), ["/server", "abra", "args"])

    def test_SecretsViaEnv_ConfigsViaEnv(self):
        self.make("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "conformance-test-secret"},
                              "stringData": {"testKey": "testValue"}}, version="v1")
        self.make("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conformance-test-configmap"},
                                 "data": {"testKey": "testValue"}}, version="v1")
        for name, key, source in (("secret", "secretKeyRef", "secretRef"), ("configmap", "configMapKeyRef", "configMapRef")):
            with self.subTest(name):
                thing = f"conformance-test-{name}"
                url = self.ready(f"via-{name}", container={
                    "env": [{"name": "ONE", "valueFrom": {key: {"name": thing, "key": "testKey"}}}],
                    "envFrom": [{source: {"name": thing}}]})["status"]["url"]
                self.assertEqual(self.answer(url, "/env/ONE"), (200, "testValue"))
                self.assertEqual(self.answer(url, "/env/testKey"), (200, "testValue"))

    # --- volumes (api/v1/volumes_test.go, api/v1 ServiceCreateWithEmptyDir)
    def volume_objects(self):
        self.make("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vol-secret"},
                              "stringData": {"password": "s3cret", "user": "ada"}}, version="v1")
        self.make("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vol-map"},
                                 "data": {"settings.ini": "a=1", "user": "of-the-map"}, "binaryData": {"raw": "AAEC/w=="}}, version="v1")

    def with_volume(self, name, source, mounts=None, **more):
        mounts = mounts or [{"name": "v", "mountPath": "/etc/some/place"}]
        return self.ready(name, container={"volumeMounts": mounts, **more}, volumes=[{"name": "v", **source}])["status"]["url"]

    def test_ConfigMapVolume_SecretVolume(self):
        self.volume_objects()
        url = self.with_volume("map-volume", {"configMap": {"name": "vol-map"}})
        self.assertEqual(self.answer(url, "/file/etc/some/place/settings.ini"), (200, "a=1"))
        self.assertEqual(self.answer(url, "/stat/etc/some/place/raw"), (200, "644 0 0\n"))
        self.assertEqual(self.answer(url, "/write/etc/some/place/more"), (200, "error 30\n"))  # EROFS
        url = self.with_volume("secret-volume", {"secret": {"secretName": "vol-secret", "defaultMode": 0o440,
                                                            "items": [{"key": "password", "path": "deep/er/word", "mode": 0o444}]}})
        self.assertEqual(self.answer(url, "/file/etc/some/place/deep/er/word"), (200, "s3cret"))
        self.assertEqual(self.answer(url, "/file/etc/some/place/user"), (200, "error 2\n"))
        self.assertEqual(self.answer(url, "/stat/etc/some/place/deep/er/word"), (200, "444 0 0\n"))
        stored = self.get("services", "secret-volume")["spec"]["template"]["spec"]
        self.assertIs(stored["containers"][0]["volumeMounts"][0]["readOnly"], True)

    def test_ProjectedConfigMapVolume_ProjectedSecretVolume_ProjectedComplex(self):
        self.volume_objects()
        url = self.with_volume("projected", {"projected": {"sources": [
            {"configMap": {"name": "vol-map"}}, {"secret": {"name": "vol-secret"}},
            {"secret": {"name": "vol-secret", "items": [{"key": "user", "path": "settings.ini"}]}},
            {"configMap": {"name": "not-there", "optional": True}}]}})
        self.assertEqual(self.answer(url, "/file/etc/some/place/password"), (200, "s3cret"))
        self.assertEqual(self.answer(url, "/file/etc/some/place/user"), (200, "ada"))  # the later source stays
        self.assertEqual(self.answer(url, "/file/etc/some/place/settings.ini"), (200, "ada"))

    def test_a_sub_path_is_one_file_among_those_of_the_image(self):
        self.volume_objects()
        url = self.with_volume("sub-path", {"configMap": {"name": "vol-map"}}, [
            {"name": "v", "mountPath": "/etc/hosts", "subPath": "settings.ini"}, {"name": "v", "mountPath": "/tmp/raw", "subPath": "raw"}])
        self.assertEqual(self.answer(url, "/file/etc/hosts"), (200, "a=1"))
        self.assertEqual(self.answer(url, "/stat/tmp/raw"), (200, "644 0 0\n"))
        self.assertEqual(self.answer(url, "/file/etc/hostname"), (200, "wick\n"))

    def test_ServiceCreateWithEmptyDir(self):
        url = self.with_volume("empty", {"emptyDir": {"medium": "Memory", "sizeLimit": "100M"}},
                               [{"name": "v", "mountPath": "/data"}, {"name": "v", "mountPath": "/data/read", "readOnly": True},
                                {"name": "v", "mountPath": "/srv/sub", "subPath": "a/b"}], securityContext={"runAsUser": 2020})
        self.assertEqual(self.answer(url, "/stat/data"), (200, "777 0 0\n"))
        self.assertEqual(self.answer(url, "/write/data/x"), (200, "ok\n"))
        self.assertEqual(self.answer(url, "/file/data/read/x"), (200, "written"))
        self.assertEqual(self.answer(url, "/write/data/read/y"), (200, "error 30\n"))
        self.assertEqual(self.answer(url, "/write/srv/sub/z"), (200, "ok\n"))
        self.assertEqual(self.answer(url, "/file/data/a/b/z"), (200, "written"))
        self.assertEqual(self.answer(url, "/write/srv/beside"), (200, "error 30\n"))

    def test_a_volume_whose_secret_is_missing_waits_for_it(self):
        mounts = [{"name": "v", "mountPath": "/keys"}]
        self.make("services", self.manifest("waits", container={"volumeMounts": mounts},
                                            volumes=[{"name": "v", "secret": {"secretName": "later"}}]))
        self.until("services", "waits", "False")
        told = condition(self.get("revisions", "waits-00001"))
        self.assertIn('MountVolume.SetUp failed for volume "v" : secret "later" not found', told["message"])
        self.make("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later"}, "stringData": {"k": "one"}},
                  version="v1")
        url = self.until("services", "waits")["status"]["url"]
        self.assertEqual(self.answer(url, "/file/keys/k"), (200, "one"))

    def test_mounted_secrets_and_configmaps_follow_their_values(self):
        """Kubernetes' "Mounted Secrets are updated automatically": in the instance that runs; an environment and a sub-path stay."""
        self.volume_objects()
        sources = [{"secret": {"name": "vol-secret"}}, {"configMap": {"name": "vol-map", "items": [{"key": "settings.ini", "path": "deep/ini"}]}},
                   {"configMap": {"name": "later", "optional": True}}]
        url = self.with_volume("follows", {"projected": {"sources": sources}}, [
            {"name": "v", "mountPath": "/keys"}, {"name": "v", "mountPath": "/tmp/one", "subPath": "password"}],
            env=[{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "vol-secret", "key": "password"}}}])
        self.assertEqual(self.answer(url, "/file/keys/password"), (200, "s3cret"))
        ids = lambda: [instance["id"] for instance in self.wick.instances("follows")]
        before = ids()
        self.change_value("secrets", "vol-secret", {"stringData": {"password": "n3w", "more": "one"}})
        self.change_value("configmaps", "vol-map", {"data": {"settings.ini": "a=2"}})
        self.make("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"come": "late"}},
                  version="v1")
        for path, text in (("password", "n3w"), ("more", "one"), ("deep/ini", "a=2"), ("come", "late"), ("user", "ada")):
            eventually(f"{path} is {text}", lambda: self.answer(url, "/file/keys/" + path) == (200, text), 30)
        self.assertEqual(self.answer(url, "/file/tmp/one"), (200, "s3cret"))
        self.assertEqual(self.answer(url, "/env/WORD"), (200, "s3cret"))
        self.call("DELETE", self.path("configmaps", "later", version="v1"))
        eventually("the key goes with its map", lambda: self.answer(url, "/file/keys/come") == (200, "error 2\n"), 30)
        self.assertEqual(ids(), before)

    def change_value(self, plural, name, fields):
        status, text = self.call("PATCH", self.path(plural, name, version="v1"), fields, "application/merge-patch+json")
        self.assertEqual(status, 200, text)

    def test_MustNotContainerConstraints_ShouldNotContainerConstraints(self):
        at = "spec.template.spec.containers[0]"
        for name, container, expected in (
                ("ArbitraryPortName", {"ports": [{"containerPort": 8888, "name": "arbitrary"}]},
                 f"Port name arbitrary is not allowed: {at}.ports\nName must be empty, or one of: 'h2c', 'http1'"),
                ("MountPropagation", {"volumeMounts": [{"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}]},
                 f"must not set the field(s): {at}.volumeMounts[0].mountPropagation"),
                ("PostStart", {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sh"]}}}},
                 f"must not set the field(s): {at}.lifecycle"),
                ("HostPort", {"ports": [{"containerPort": 8888, "hostPort": 80}]},
                 f"must not set the field(s): {at}.ports[0].hostPort"),
                ("MultiplePorts", {"ports": [{"containerPort": 80}, {"containerPort": 81}]}, "more than one container port is set"),
                ("Stdin", {"stdin": True}, f"must not set the field(s): {at}.stdin"),
                ("StdinOnce", {"stdinOnce": True}, f"must not set the field(s): {at}.stdinOnce"),
                ("TTY", {"tty": True}, f"must not set the field(s): {at}.tty"),
                ("InvalidUID", {"securityContext": {"runAsUser": -10}},
                 f"expected 0 <= -10 <= 2147483647: {at}.securityContext.runAsUser")):
            with self.subTest(name):
                status, answer = self.call("POST", self.path("services"), self.manifest("refused", container=container))
                self.assertEqual(status, 400, answer)
                self.assertTrue(answer["message"].startswith(PREFIX + expected), answer["message"])

    def test_a_revision_is_not_made_by_hand_and_never_changes(self):
        self.ready("fixed")
        revision = self.get("revisions", "fixed-00001")
        changed = copy.deepcopy(revision)
        changed["spec"]["timeoutSeconds"] = 17
        status, answer = self.call("PUT", self.path("revisions", "fixed-00001"), changed)
        self.assertEqual(status, 400)
        self.assertTrue(answer["message"].startswith(PREFIX + "Immutable fields changed (-old +new): spec"), answer["message"])
        revision["metadata"] = {"name": "by-hand", "namespace": "default"}
        self.assertEqual(self.call("POST", self.path("revisions"), revision)[0] // 100, 4)


if __name__ == "__main__":
    main()
