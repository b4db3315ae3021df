"""Programs in several languages from their own files alone: on a Debian base, and static on scratch."""
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import unittest

from fixture import TOP, DaemonTest, main

EXAMPLES = ["hello-node", "hello-python", "hello-c", "static-site"]


class Languages(DaemonTest):
    pass


def example(name):
    def test(self):
        source = os.path.join(self.folder, name)
        shutil.copytree(TOP / "examples" / name, source)
        self.wick.cli("deploy", source, "--name", name, timeout=1800)
        status, _ = self.wick.request(name)
        self.assertEqual(status, 200)
        # The example's own check, as a person would run it.
        subprocess.run(["sh", str(TOP / "examples" / name / "check.sh")], check=True,
                       env=dict(os.environ, URL=f"http://{name}.localhost:{self.wick.listen.rpartition(':')[2]}"))

    return test


for each in EXAMPLES:
    setattr(Languages, "test_" + each.replace("-", "_") + "_is_built_and_answers", example(each))


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
