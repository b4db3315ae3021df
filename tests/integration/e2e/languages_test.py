"""Programs in several languages from their own files alone: on a Debian base, and static on scratch."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import unittest

from fixture import TOP, DaemonTest, main

EXAMPLES = ["hello-node", "function-node", "hello-python", "function-python", "hello-c", "hello-ruby", "hello-php", "static-site"]


class Languages(DaemonTest):
    pass


def example(name):
    def test(self):
        source = os.path.join(self.folder, name)
        shutil.copytree(TOP / "examples" / name, source)
        began = time.monotonic()
        self.wick.cli("deploy", source, "--name", name, timeout=1800)
        deployed = time.monotonic()
        status, _ = self.wick.request(name)
        self.assertEqual(status, 200)
        # The example's own check, as a person would run it.
        subprocess.run(["sh", str(TOP / "examples" / name / "check.sh")], check=True,
                       env=dict(os.environ, URL=f"http://{name}.localhost:{self.wick.listen.rpartition(':')[2]}"))
        print(f"{name}: built and ready in {deployed - began:.1f} s", file=sys.stderr)

    return test


for each in EXAMPLES:
    setattr(Languages, "test_" + each.replace("-", "_") + "_is_built_and_answers", example(each))


class Explain(DaemonTest):
    def test_the_plan_of_a_folder_is_printed_as_a_dockerfile_that_builds_the_same(self):
        source = os.path.join(self.folder, "explained")
        shutil.copytree(TOP / "examples/function-python", source)
        shown = self.wick.cli("build", source, "--explain").stdout
        self.assertIn("# Python (func.py)\n", shown)
        self.assertIn("#   start: python3 /opt/wick/function.py func.py  (func.py)\n", shown)
        document = json.loads(self.wick.cli("build", source, "--explain", "--json").stdout)
        self.assertEqual(document["builder"], "python")
        self.assertIn({"name": "base", "value": "debian:bookworm", "from": ""}, document["reasons"])
        digest = self.wick.cli("build", source, "--name", "explained").stdout
        with open(os.path.join(source, "Dockerfile"), "w") as f:
            f.write(shown)
        with open(os.path.join(source, ".dockerignore"), "w") as f:
            f.write("\n".join([*document["ignore"], ".dockerignore"]))
        again = self.wick.cli("build", source, "--name", "by-hand").stderr
        self.assertTrue(digest.startswith("sha256:"))
        self.assertIn("COPY . ./", again)
        for line in again.splitlines():
            if "RUN" in line or "COPY" in line:
                self.assertIn("cached", line)
        self.assertIn("as it is", self.wick.cli("build", source, "--explain").stdout)

    def test_what_two_builders_fit_names_both_and_builder_chooses(self):
        folder = self.project("both", **{"main.py": "print()\n", "config.ru": "run 1\n"})
        for command in (["build", folder, "--explain"], ["build", folder]):
            failed = self.wick.cli(*command, check=False)
            self.assertNotEqual(failed.returncode, 0)
            self.assertIn("more than one builder fits: python (main.py) and ruby (config.ru)", failed.stderr)
            self.assertIn("--builder python", failed.stderr)
        self.assertIn("# Ruby (config.ru)", self.wick.cli("build", folder, "--explain", "--builder", "ruby").stdout)
        failed = self.wick.cli("build", folder, "--builder", "rubi", check=False)
        self.assertIn("there is no builder 'rubi'", failed.stderr)
        self.assertIn("did you mean ruby?", failed.stderr)

    def test_an_image_of_a_builder_names_its_base(self):
        folder = self.project("based", **{"run.sh": "#!/bin/sh\nexit 0\n"})
        self.wick.cli("build", folder, "--name", "based")
        labels = json.loads(self.wick.cli("image", "inspect", "based").stdout)["config"]["config"]["Labels"]
        self.assertEqual(labels["org.opencontainers.image.base.name"], "debian:bookworm")
        self.assertRegex(labels["org.opencontainers.image.base.digest"], "^sha256:[0-9a-f]{64}$")


class Folders(DaemonTest):
    def test_a_folder_with_uncommitted_changes_deploys_as_it_is_without_what_is_ignored(self):
        folder = self.project("dirty", **{
            "Dockerfile": "FROM scratch\nCOPY --chmod=755 . /app/\nCMD [\"/app/server\"]\n", "server": self.static_program(),
            ".gitignore": "ignored\n", ".dockerignore": "unwanted\n", "ignored": "x", "unwanted": "x", "wanted": "x"})
        run = lambda *a: subprocess.run(["git", "-C", folder, "-c", "user.name=e", "-c", "user.email=e@example.com", *a],
                                        check=True, capture_output=True)
        run("init", "-q")
        run("add", "-A")
        run("commit", "-q", "-m", "first")
        with open(os.path.join(folder, "wanted"), "w") as f:
            f.write("changed")
        self.wick.cli("deploy", folder, "--name", "dirty")
        self.assertEqual(self.wick.request("dirty")[0], 200)
        self.assertIn("dirty", self.wick.api("GET", "/apis/shipwright.io/v1beta1/namespaces/default/buildruns")[1])

    def test_images_are_valid_for_skopeo_and_umoci(self):
        self.deploy_static("oci")
        archive = os.path.join(self.folder, "oci.tar")
        self.wick.cli("image", "save", "oci", "-o", archive)
        subprocess.run(["skopeo", "inspect", "--raw", f"oci-archive:{archive}"], check=True, capture_output=True)
        subprocess.run(["skopeo", "copy", "-q", f"oci-archive:{archive}:oci:latest", f"oci:{self.folder}/copied:oci"],
                       check=True)
        out = os.path.join(self.folder, "unpacked")
        subprocess.run(["umoci", "unpack", "--image", f"{self.folder}/copied:oci", out], check=True, capture_output=True)
        self.assertTrue(os.path.exists(os.path.join(out, "rootfs/server")))
        # What `docker load` reads.
        subprocess.run(["skopeo", "inspect", "--raw", f"docker-archive:{archive}:oci:latest"], check=True,
                       capture_output=True)
        with tarfile.open(archive) as tar:
            [loaded] = json.load(tar.extractfile("manifest.json"))
            self.assertEqual(loaded["RepoTags"], ["oci:latest"])
            self.assertEqual(json.load(tar.extractfile(loaded["Config"]))["os"], "linux")
            for layer in loaded["Layers"]:
                self.assertEqual(layer, "blobs/sha256/" + hashlib.sha256(tar.extractfile(layer).read()).hexdigest())


if __name__ == "__main__":
    main()
