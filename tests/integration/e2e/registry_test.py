"""Images of registries: deployed by name, followed when a tag moves, private, missing, collected, and as a base."""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from fixture import Daemon, DaemonTest, eventually, main
from registries import Registry, digest_of, image_of, layer_of, own_authority, push, write_layout


class Registries(DaemonTest):
    def registry(self, **options):
        registry = Registry(**options)
        self.addCleanup(shutil.rmtree, registry.folder, True)
        self.addCleanup(registry.stop)
        return registry

    def pushed(self, host, name, *flags, extra=b"one"):
        """A server that answers; gives its digest at the registry."""
        manifest, blobs = image_of([layer_of({"server": self.static_program()}), layer_of({"extra": extra})])
        push(write_layout(tempfile.mkdtemp(dir=self.folder), manifest, blobs), host, name, *flags)
        return digest_of(manifest)

    def revision(self, service):
        name = self.service(service)["status"]["latestCreatedRevisionName"]
        return json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1/namespaces/default/revisions/{name}")[1])

    def service(self, name):
        return json.loads(self.wick.api("GET", f"/apis/serving.knative.dev/v1/namespaces/default/services/{name}")[1])

    def digest(self, service):
        return self.revision(service)["status"]["containerStatuses"][0]["imageDigest"].split("@")[1]

    def test_a_tag_is_deployed_and_followed_when_it_moves(self):
        registry = self.registry()
        first = self.pushed(registry.host, "hello:v1")
        image = registry.host + "/hello:v1"
        self.wick.cli("deploy", image, "--idle", "6s")
        self.assertEqual(self.wick.request("hello")[0], 200)
        self.assertEqual(self.digest("hello"), first)
        self.assertIn("unchanged", self.wick.cli("deploy", image).stderr)
        fetched = registry.log_text().count("GET /v2/hello/blobs/")
        second = self.pushed(registry.host, "hello:v1", extra=os.urandom(1000))
        self.wick.cli("deploy", image)
        self.assertEqual(self.digest("hello"), second)
        self.assertEqual(self.service("hello")["spec"]["template"]["spec"]["containers"][0]["image"], image)
        # The config and one layer: the other was here already.
        self.assertEqual(registry.log_text().count("GET /v2/hello/blobs/"), fetched + 2)
        # Without its registry it still wakes.
        registry.stop()
        self.scaled_to_zero("hello")
        self.assertEqual(self.wick.request("hello")[0], 200)
        said = self.wick.cli("deploy", registry.host + "/other:v1", check=False)
        self.assertEqual(said.returncode, 5)
        self.assertIn("Unable to fetch image", said.stderr)
        self.assertIn(registry.host, said.stderr)

    def test_a_private_image_needs_a_secret_and_takes_one_that_comes_later(self):
        registry = self.registry(password=("me", "secret"))
        self.pushed(registry.host, "hello:v1", "--dest-creds", "me:secret")
        said = self.wick.cli("deploy", registry.host + "/hello:v1", "--name", "private", "--pull-secret", "box", check=False)
        self.assertEqual(said.returncode, 5)
        self.assertIn("imagePullSecrets", said.stderr)
        condition = next(c for c in self.revision("private")["status"]["conditions"] if c["type"] == "ContainerHealthy")
        self.assertEqual(condition["reason"], "ContainerMissing")
        self.assertIn(f'Unable to fetch image "{registry.host}/hello:v1": failed to resolve image to digest: registry',
                      condition["message"])
        self.assertIn("401", condition["message"])
        config = json.dumps({"auths": {registry.host: {"auth": base64.b64encode(b"me:secret").decode()}}})
        self.addCleanup(self.wick.api, "DELETE", "/api/v1/namespaces/default/secrets/box")
        status, answer = self.wick.api("POST", "/api/v1/namespaces/default/secrets", json.dumps({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "box"}, "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64.b64encode(config.encode()).decode()}}),
            {"Content-Type": "application/json"})
        self.assertEqual(status, 201, answer)
        eventually("the revision goes on by itself", lambda: self.wick.request("private")[0] == 200)
        self.assertNotIn(base64.b64encode(b"me:secret").decode(), self.wick.log_text())

    def test_pull_policies_say_who_is_asked(self):
        registry = self.registry()
        first = self.pushed(registry.host, "app:v1")
        image = registry.host + "/app:v1"

        def apply(name, policy):
            manifest = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": name}, "spec": {
                "template": {"spec": {"containers": [{"image": image, "imagePullPolicy": policy}]}}}}
            path = os.path.join(self.folder, name + ".yaml")
            pathlib.Path(path).write_text(json.dumps(manifest))
            self.wick.cli("apply", "-f", path)

        def condition(name):
            conditions = self.service(name).get("status", {}).get("conditions", [])
            return next((c for c in conditions if c["type"] == "Ready"), {})

        apply("never", "Never")
        eventually("it is refused", lambda: condition("never").get("status") == "False")
        self.assertIn("pull policy is Never", condition("never")["message"])
        self.assertIn(first, self.wick.cli("image", "pull", image).stdout)
        eventually("what is pulled serves", lambda: condition("never").get("status") == "True")
        second = self.pushed(registry.host, "app:v1", extra=b"newer")
        apply("present", "IfNotPresent")
        eventually("it serves", lambda: condition("present").get("status") == "True")
        apply("always", "Always")
        eventually("it serves", lambda: condition("always").get("status") == "True")
        self.assertEqual(self.digest("always"), second)
        self.assertNotEqual(self.digest("present"), second)

    def test_what_was_collected_is_pulled_again(self):
        registry = self.registry()
        digest = self.pushed(registry.host, "again:v1", extra=os.urandom(1 << 20))
        image = f"{registry.host}/again@{digest}"
        self.wick.cli("deploy", image, "--name", "again")
        self.assertEqual(self.wick.request("again")[0], 200)
        self.wick.cli("rm", "again", "--yes")
        eventually("its layers are gone", lambda: json.loads(
            self.wick.cli("image", "prune", "--yes", "--json").stdout)["bytes"] == 0 and "again" not in self.wick.services())
        self.wick.cli("deploy", image, "--name", "again")
        self.assertEqual(self.wick.request("again")[0], 200)
        self.assertGreater(registry.log_text().count("GET /v2/again/blobs/"), 3)

    def test_a_dockerfile_stands_on_an_image_of_a_registry(self):
        registry = self.registry()
        self.pushed(registry.host, "base:v1")
        folder = self.project("onbase", **{"Dockerfile": f"FROM {registry.host}/base:v1\nCOPY file /file\n", "file": b"x"})
        self.wick.cli("deploy", folder, "--name", "onbase")
        self.assertEqual(self.wick.request("onbase")[0], 200)
        folder = self.project("nobase", **{"Dockerfile": f"FROM {registry.host}/none:v1\n"})
        said = self.wick.cli("deploy", folder, "--name", "nobase", check=False)
        self.assertEqual(said.returncode, 4)
        self.assertIn("cannot be pulled", said.stderr)
        self.assertIn("404", said.stderr)

    def test_an_image_is_pulled_and_pushed_with_the_users_login(self):
        registry = self.registry(password=("me", "secret"))
        self.pushed(registry.host, "one:v1", "--dest-creds", "me:secret")
        login = os.path.join(self.folder, "auth.json")
        subprocess.run(["skopeo", "login", "--tls-verify=false", "--authfile", login, "-u", "me", "-p", "secret",
                        registry.host], check=True, capture_output=True)
        said = self.wick.cli("image", "pull", registry.host + "/one:v1", check=False)
        self.assertEqual(said.returncode, 7, said.stderr)
        os.environ["REGISTRY_AUTH_FILE"] = login
        self.addCleanup(os.environ.pop, "REGISTRY_AUTH_FILE")
        self.wick.cli("image", "pull", registry.host + "/one:v1")
        digest = self.wick.cli("image", "push", registry.host + "/one:v1", registry.host + "/two/copy:v2").stdout.split()[1]
        shown = json.loads(subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", "--authfile", login, f"docker://{registry.host}/two/copy:v2"],
            check=True, capture_output=True).stdout)
        self.assertEqual(shown["Digest"], digest)
        self.assertEqual(len(shown["Layers"]), 2)
        front = os.path.join(self.wick.state, "front")
        self.assertEqual(os.listdir(os.path.join(front, "work")), [])


class Settings(unittest.TestCase):
    def test_mirrors_authorities_and_credentials_are_the_daemons(self):
        folder = tempfile.mkdtemp(prefix="wick-registry-settings-")
        self.addCleanup(shutil.rmtree, folder, True)
        os.chmod(folder, 0o755)
        tls = own_authority(folder)
        registry = Registry(password=("me", "secret"), tls=tls)
        mirror = Registry()
        for one in (registry, mirror):
            self.addCleanup(shutil.rmtree, one.folder, True)
            self.addCleanup(one.stop)
        layer = layer_of({"file": b"x"})
        manifest, blobs = image_of([layer])
        layout = write_layout(os.path.join(folder, "layout"), manifest, blobs)
        push(layout, registry.host, "hello:v1", "--dest-creds", "me:secret")
        push(layout, mirror.host, "library/mirrored:v1")
        auth = os.path.join(folder, "auth.json")
        subprocess.run(["skopeo", "login", "--tls-verify=false", "--authfile", auth, "-u", "me", "-p", "secret",
                        registry.host], check=True, capture_output=True)
        os.chmod(auth, 0o644)
        wick = Daemon(flags=["--registry-ca", f"{registry.host}={tls[0]}", "--registry-auth", auth,
                             "--registry-mirror", f"docker.io=http://{mirror.host}"])
        self.addCleanup(wick.close)
        wick.start()
        self.assertIn(digest_of(manifest), wick.cli("image", "pull", registry.host + "/hello:v1").stdout)
        self.assertIn(digest_of(manifest), wick.cli("image", "pull", "mirrored:v1").stdout)

    def test_a_builder_starts_with_a_registrys_image_where_debian_has_not_the_version(self):
        folder = tempfile.mkdtemp(prefix="wick-bases-")
        self.addCleanup(shutil.rmtree, folder, True)
        mirror = Registry()
        self.addCleanup(shutil.rmtree, mirror.folder, True)
        self.addCleanup(mirror.stop)
        manifest, blobs = image_of([layer_of({"server": b"no program"})])
        push(write_layout(os.path.join(folder, "layout"), manifest, blobs), mirror.host, "library/node:20-slim")
        source = os.path.join(folder, "new")
        os.makedirs(source)
        with open(os.path.join(source, "package.json"), "w") as f:
            json.dump({"engines": {"node": ">=20"}, "scripts": {"start": "/server"}}, f)
        for flags, base in (([], "node:20-slim"), (["--bases", "debian"], "debian:bookworm")):
            wick = Daemon(flags=["--registry-mirror", f"docker.io=http://{mirror.host}", *flags])
            self.addCleanup(wick.close)
            wick.start()
            shown = wick.cli("build", source, "--explain").stdout
            self.assertIn(f"FROM {base} AS base\n", shown)
            self.assertEqual("Debian 12 has 18" in shown, bool(flags))
            if flags:
                continue
            wick.cli("build", source, "--name", "new")
            labels = json.loads(wick.cli("image", "inspect", "new").stdout)["config"]["config"]["Labels"]
            self.assertEqual(labels["org.opencontainers.image.base.name"], base)
            self.assertEqual(labels["org.opencontainers.image.base.digest"], digest_of(manifest))


if __name__ == "__main__":
    main()
