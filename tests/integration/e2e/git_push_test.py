"""`git push wick main` deploys: a real git client against the daemon, good pushes, refused ones, and hostile ones."""
import base64
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import unittest
import urllib.error
import urllib.request
import zlib

import fixture
from fixture import eventually
from registry_fixture import OwnRegistryTest

PROGRAM = 'FROM scratch\nCOPY version /version\nCOPY --chmod=755 server /server\nCMD ["/server"]\n'
NOBODY = "0" * 40


def packet(line):
    return b"%04x" % (len(line) + 4) + line


def pack_of(*objects):
    """A pack of (type, bytes) objects, none of them a delta."""
    out = b"PACK" + struct.pack(">II", 2, len(objects))
    for kind, data in objects:
        size = len(data)
        byte, size = {"commit": 1, "tree": 2, "blob": 3}[kind] << 4 | size & 15, size >> 4
        while size:
            out += bytes([byte | 0x80])
            byte, size = size & 0x7f, size >> 7
        out += bytes([byte]) + zlib.compress(data)
    return out + hashlib.sha1(out).digest()


def id_of(kind, data):
    return hashlib.sha1(f"{kind} {len(data)}".encode() + b"\0" + data).hexdigest()


def commit_with(tree):
    return f"tree {tree}\nauthor a <a@b> 1700000000 +0000\ncommitter a <a@b> 1700000000 +0000\n\nx\n".encode()


class GitPush(OwnRegistryTest):
    prefix = "git"

    def setUp(self):
        super().setUp()
        self.wick.remove_all()
        items = json.loads(self.wick.api("GET", "/apis/shipwright.io/v1beta1/namespaces/default/buildruns")[1])["items"]
        self.earlier = {item["metadata"]["uid"] for item in items}

    def git(self, folder, *arguments, check=True):
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, timeout=300,
                              env={"PATH": os.environ["PATH"], "HOME": self.folder, "GIT_CONFIG_NOSYSTEM": "1",
                                   "GIT_TERMINAL_PROMPT": "0"})
        if check and done.returncode != 0:
            raise AssertionError(f"git {' '.join(arguments)}: {done.stderr}\n--- daemon:\n{self.wick.log_text()[-3000:]}")
        return done

    def commit(self, folder, message="change", **files):
        for name, text in files.items():
            path = pathlib.Path(folder) / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git(folder, "add", "-A")
        self.git(folder, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", message, "--allow-empty")
        return self.git(folder, "rev-parse", "HEAD").stdout.strip()

    def checkout(self, name, dockerfile=PROGRAM):
        folder = self.project(name, **{"Dockerfile": dockerfile, "server": self.static_program(),
                                       "version": "1\n"})
        self.git(folder, "init", "-q", "-b", "main")
        self.commit(folder, "first")
        return folder

    def add_remote(self, folder, name):
        done = subprocess.run([fixture.WICK, "git", "remote", name, "--add"], cwd=folder, capture_output=True, text=True,
                              env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock"), NO_COLOR="1"))
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def started(self, name, **more):
        folder = self.checkout(name, **more)
        self.add_remote(folder, name)
        return folder

    def remote_refs(self, folder):
        lines = self.git(folder, "ls-remote", "wick").stdout.splitlines()
        return {line.split("\t")[1]: line.split("\t")[0] for line in lines}

    def runs(self, service):
        """Of this test, newest last: the state folder outlives a run."""
        items = json.loads(self.wick.api("GET", "/apis/shipwright.io/v1beta1/namespaces/default/buildruns")[1])["items"]
        mine = [item for item in items if item["metadata"].get("labels", {}).get("wick.dev/service") == service and
                item["metadata"]["uid"] not in self.earlier]
        return sorted(mine, key=lambda item: item["metadata"]["creationTimestamp"])

    def post(self, name, body, token=None):
        """The status and the body of a push that no git client would send."""
        request = urllib.request.Request(f"http://{self.host}/git/default/{name}.git/git-receive-pack", body, {
            "Content-Type": "application/x-git-receive-pack-request",
            "Authorization": "Basic " + base64.b64encode(f"x:{token or self.token}".encode()).decode()})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, answer.read().decode(errors="replace")
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(errors="replace")

    def push_objects(self, name, new, *objects, ref="refs/heads/main", old=NOBODY):
        head = packet(f"{old} {new} {ref}".encode() + b"\0 report-status side-band-64k object-format=sha1") + b"0000"
        return self.post(name, head + pack_of(*objects))

    def test_a_push_deploys_and_tells_how(self):
        folder = self.started("pushed")
        commit = self.git(folder, "rev-parse", "HEAD").stdout.strip()
        done = self.git(folder, "push", "wick", "main")
        self.assertIn("remote: build", done.stderr)
        self.assertIn("remote: ready      pushed-00001", done.stderr)
        self.assertIn("http://pushed.default.localhost:", done.stderr)
        self.assertIn("* [new branch]      main -> main", done.stderr)
        self.assertEqual(self.wick.request("pushed")[0], 200)
        self.assertEqual(self.remote_refs(folder)["refs/heads/main"], commit)
        self.assertEqual(self.runs("pushed")[0]["status"]["commit"], commit)
        again = self.git(folder, "push", "wick", "main")
        self.assertIn("Everything up-to-date", again.stderr)
        self.assertEqual(len(self.runs("pushed")), 1)

    def test_the_second_push_makes_the_second_revision_and_keeps_the_settings(self):
        folder = self.started("twice")
        self.git(folder, "push", "wick", "main")
        self.wick.cli("deploy", folder, "--name", "twice", "--env", "WHO=moon")
        self.commit(folder, version="2\n")
        done = self.git(folder, "push", "wick", "main")
        self.assertIn("remote: ready      twice-0000", done.stderr)
        newest = self.objects("services")["twice"]["status"]["latestReadyRevisionName"]
        env = self.objects("revisions")[newest]["spec"]["containers"][0]["env"]
        self.assertEqual(env, [{"name": "WHO", "value": "moon"}])

    def test_a_build_that_fails_refuses_the_push_and_moves_nothing(self):
        folder = self.started("unbuilt")
        self.git(folder, "push", "wick", "main")
        before = self.remote_refs(folder)
        self.commit(folder, Dockerfile="FROM scratch\nCOPY nothing /nothing\n")
        done = self.git(folder, "push", "wick", "main", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("! [remote rejected] main -> main (deploy failed: step build: Dockerfile:2", done.stderr)
        self.assertIn("remote: error: the build of unbuilt failed  [E_", done.stderr)
        self.assertIn("remote:   hint: ", done.stderr)
        self.assertEqual(self.remote_refs(folder), before)
        self.assertEqual(self.wick.request("unbuilt")[0], 200)
        self.commit(folder, Dockerfile=PROGRAM)
        self.git(folder, "push", "wick", "main")
        self.assertNotEqual(self.remote_refs(folder), before)

    def test_a_program_that_does_not_start_refuses_the_push_and_the_old_one_serves(self):
        folder = self.started("unready")
        self.git(folder, "push", "wick", "main")
        before = self.remote_refs(folder)
        self.commit(folder, Dockerfile='FROM scratch\nCOPY --chmod=755 server /server\nCMD ["/nothing"]\n')
        done = self.git(folder, "push", "wick", "main", check=False)
        self.assertIn("! [remote rejected] main -> main (deploy failed: ", done.stderr)
        self.assertIn("remote: error: unready-00002 did not become ready", done.stderr)
        self.assertIn("unready-00001 still serves 100 % of the traffic.", done.stderr)
        self.assertEqual(self.remote_refs(folder), before)
        self.assertEqual(self.wick.request("unready")[0], 200)

    def test_a_branch_that_is_not_deployed_is_kept_and_said_so(self):
        folder = self.started("branches")
        self.git(folder, "checkout", "-qb", "feature")
        early = self.git(folder, "push", "wick", "feature", check=False)
        self.assertIn("branches is not deployed yet: git push wick feature:main", early.stderr)
        self.git(folder, "push", "wick", "main")
        commit = self.commit(folder, version="feature\n")
        done = self.git(folder, "push", "wick", "feature")
        self.assertIn("remote: feature is kept, not deployed: branches deploys main (git push wick feature:main)", done.stderr)
        self.assertEqual(self.remote_refs(folder)["refs/heads/feature"], commit)
        self.assertEqual(len(self.runs("branches")), 1)
        self.git(folder, "tag", "v1")
        self.git(folder, "push", "wick", "v1")
        self.assertEqual(self.remote_refs(folder)["refs/tags/v1"], commit)
        self.git(folder, "push", "wick", "--delete", "feature", "v1")
        self.assertEqual(list(self.remote_refs(folder)), ["HEAD", "refs/heads/main"])
        refused = self.git(folder, "push", "wick", "--delete", "main", check=False)
        self.assertIn("it is what branches deploys; wick rm branches removes the service", refused.stderr)

    def test_another_branch_can_be_the_one_that_counts(self):
        folder = self.started("chosen")
        self.git(folder, "push", "wick", "main")
        self.assertEqual(self.wick.cli("git", "branch", "chosen", "release").stdout, "chosen deploys release\n")
        self.git(folder, "checkout", "-qb", "release")
        self.commit(folder, version="release\n")
        done = self.git(folder, "push", "wick", "release", "main")
        self.assertIn("remote: ready      chosen-00002", done.stderr)
        self.commit(folder, version="main\n")
        kept = self.git(folder, "push", "wick", "release:main")
        self.assertIn("main is kept, not deployed: chosen deploys release", kept.stderr)

    def test_a_commit_that_was_built_is_not_built_again(self):
        folder = self.started("rebuilt")
        self.git(folder, "push", "wick", "main")
        first = self.git(folder, "rev-parse", "HEAD").stdout.strip()
        image = self.objects("revisions")["rebuilt-00001"]["spec"]["containers"][0]["image"]
        self.commit(folder, version="2\n")
        self.git(folder, "push", "wick", "main")
        self.git(folder, "reset", "-q", "--hard", first)
        done = self.git(folder, "push", "--force", "wick", "main")
        self.assertIn("remote: ready      rebuilt-00003", done.stderr)
        self.assertRegex(done.stderr, r"remote: build .*COPY.*cached")
        self.assertEqual(self.objects("revisions")["rebuilt-00003"]["spec"]["containers"][0]["image"], image)

    def previews(self, service):
        return {one["branch"]: one for one in json.loads(self.wick.cli("preview", "ls", service, "--json").stdout)}

    def preview_target(self, service, tag):
        found = [target for target in self.objects("services")[service]["status"]["traffic"] if target.get("tag") == tag]
        return found[0] if found else None

    def test_a_branch_becomes_a_preview_where_it_is_asked_for_and_ends_with_the_branch(self):
        folder = self.started("shown")
        self.git(folder, "push", "wick", "main")
        self.assertEqual(self.wick.cli("preview", "branches", "shown", "feature/*").stdout, "shown previews feature/*\n")
        self.git(folder, "checkout", "-qb", "feature/Moon")
        first = self.commit(folder, version="moon\n")
        done = self.git(folder, "push", "wick", "feature/Moon")
        self.assertIn("remote: preview    shown-preview-feature-moon-00001", done.stderr)
        self.assertIn("remote: http://feature-moon-shown.default.localhost:", done.stderr)
        self.assertEqual(self.remote_refs(folder)["refs/heads/feature/Moon"], first)
        target = self.preview_target("shown", "feature-moon")
        self.assertEqual((target["percent"], target["revisionName"]), (0, "shown-preview-feature-moon-00001"))
        before = self.objects("services")["shown"]
        self.assertEqual(before["spec"]["traffic"], [{"latestRevision": True, "percent": 100}])
        self.assertEqual(before["status"]["latestReadyRevisionName"], "shown-00001")
        self.assertEqual(self.wick.request("feature-moon-shown")[0], 200)

        self.commit(folder, version="moon 2\n")  # the tag moves
        self.git(folder, "push", "wick", "feature/Moon")
        self.assertEqual(self.preview_target("shown", "feature-moon")["revisionName"], "shown-preview-feature-moon-00002")
        self.git(folder, "checkout", "-q", "main")
        self.commit(folder, version="2\n")  # an ordinary deploy leaves it alone
        done = self.git(folder, "push", "wick", "main")
        self.assertIn("remote: ready      shown-00002", done.stderr)
        self.assertEqual(self.preview_target("shown", "feature-moon")["revisionName"], "shown-preview-feature-moon-00002")
        self.assertEqual(self.wick.request("feature-moon-shown")[0], 200)
        listed = self.previews("shown")
        self.assertEqual((listed["feature/Moon"]["tag"], listed["feature/Moon"]["revision"]),
                         ("feature-moon", "shown-preview-feature-moon-00002"))
        self.assertIn("//feature-moon-shown.default.localhost:", listed["feature/Moon"]["url"])
        self.assertIn("shown-00001 serves everything", self.wick.cli("rollback", "shown").stderr)
        self.wick.cli("traffic", "shown", "latest=100")
        self.assertEqual(self.preview_target("shown", "feature-moon")["revisionName"], "shown-preview-feature-moon-00002")
        exported = self.wick.cli("export", "shown").stdout
        self.assertNotIn("feature-moon", exported)

        done = self.git(folder, "push", "wick", "--delete", "feature/Moon")
        self.assertIn("remote: the preview feature-moon of feature/Moon is removed", done.stderr)
        eventually("the tag is gone", lambda: self.preview_target("shown", "feature-moon") is None)
        eventually("the revisions are gone", lambda: not [name for name in self.objects("revisions") if "shown-preview" in name])
        self.assertEqual(self.previews("shown"), {})
        self.assertEqual(self.wick.request("shown")[0], 200)

        self.git(folder, "checkout", "-qb", "other")
        self.commit(folder, version="other\n")
        self.assertIn("other is kept, not deployed", self.git(folder, "push", "wick", "other").stderr)

    def test_a_preview_that_does_not_start_refuses_the_push_and_harms_nothing(self):
        folder = self.started("broken")
        self.git(folder, "push", "wick", "main")
        self.wick.cli("preview", "branches", "broken", "*")
        self.git(folder, "checkout", "-qb", "bad")
        self.commit(folder, Dockerfile='FROM scratch\nCOPY --chmod=755 server /server\nCMD ["/nothing"]\n')
        done = self.git(folder, "push", "wick", "bad", check=False)
        self.assertIn("! [remote rejected] bad -> bad (deploy failed: ", done.stderr)
        self.assertIn("remote: error: broken-preview-bad-00001 did not become ready", done.stderr)
        self.assertIn("remote:   The preview does not serve; broken is as it was.", done.stderr)
        self.assertNotIn("refs/heads/bad", self.remote_refs(folder))
        self.git(folder, "checkout", "-q", "main")
        self.commit(folder, version="2\n")
        self.assertIn("remote: ready      broken-00002", self.git(folder, "push", "wick", "main").stderr)
        self.assertEqual(self.wick.request("broken")[0], 200)
        self.git(folder, "checkout", "-q", "bad")
        self.commit(folder, Dockerfile=PROGRAM)
        done = self.git(folder, "push", "wick", "bad")
        self.assertIn("remote: preview    broken-preview-bad-00002", done.stderr)

    def test_the_command_line_deploys_previews_with_variables_of_their_own(self):
        folder = self.checkout("asked")
        refused = self.wick.cli("deploy", folder, "--name", "asked", "--preview", check=False)
        self.assertEqual(refused.returncode, 6)
        self.assertIn("there is no service asked for a preview", refused.stderr)
        self.wick.cli("deploy", folder, "--name", "asked", "--env", "WHO=earth", "--env", "KEPT=yes", "--min", "1")
        self.git(folder, "checkout", "-qb", "9/try")
        done = self.wick.cli("deploy", folder, "--name", "asked", "--preview", "--env", "WHO=moon", "--env", "NEW=1")
        self.assertRegex(done.stdout, r"^http://b-9-try-asked\.default\.localhost:\d+\n$")
        revision = self.objects("revisions")["asked-preview-b-9-try-00001"]
        self.assertEqual({one["name"]: one["value"] for one in revision["spec"]["containers"][0]["env"]},
                         {"WHO": "moon", "KEPT": "yes", "NEW": "1"})
        self.assertNotIn("autoscaling.knative.dev/min-scale", revision["metadata"]["annotations"])
        self.commit(folder, version="2\n")
        self.wick.cli("deploy", folder, "--name", "asked", "--preview", "--env", "NEW-")  # what was said before stays
        revision = self.objects("revisions")["asked-preview-b-9-try-00002"]
        self.assertEqual({one["name"]: one["value"] for one in revision["spec"]["containers"][0]["env"]},
                         {"WHO": "moon", "KEPT": "yes"})
        self.wick.cli("deploy", folder, "--name", "asked", "--preview", "--branch", "9-try")  # another, the same label
        self.assertRegex(self.previews("asked")["9-try"]["tag"], "^b-9-try-[0-9a-f]{5}$")
        self.assertIn("9/try", self.wick.cli("preview", "ls").stdout)
        self.assertEqual(self.wick.cli("preview", "rm", "asked", "9/try").stdout, "the preview b-9-try of 9/try is removed\n")
        self.assertEqual(list(self.previews("asked")), ["9-try"])
        gone = self.wick.cli("preview", "rm", "asked", "9/try", check=False)
        self.assertEqual(gone.returncode, 6)
        self.assertIn("wick preview ls", gone.stderr)
        for flags in (("--branch", "x"), ("--preview", "--env", "=1"), ("--preview", "--follow")):
            self.assertEqual(self.wick.cli("deploy", folder, "--name", "asked", *flags, check=False).returncode, 2, flags)

    def test_push_options_say_what_becomes_of_the_push(self):
        folder = self.started("optional")
        self.git(folder, "push", "wick", "main", "-o", "env=WHO=moon")
        revision = self.objects("revisions")["optional-00001"]
        self.assertEqual(revision["spec"]["containers"][0]["env"], [{"name": "WHO", "value": "moon"}])
        before = self.remote_refs(folder)

        self.commit(folder, version="2\n")
        done = self.git(folder, "push", "wick", "main", "-o", "no-deploy")
        self.assertIn("remote: main was built, is not deployed, and has not moved (no-deploy)", done.stderr)
        self.assertEqual(self.remote_refs(folder), before)
        self.assertEqual(self.objects("services")["optional"]["status"]["latestCreatedRevisionName"], "optional-00001")
        refused = self.git(folder, "push", "wick", "main", "-o", "ci.skip", check=False)
        self.assertIn("remote: error: the push option 'ci.skip' is not known", refused.stderr)
        self.assertIn("remote:   hint: known push options: preview, no-deploy, env=K=V, builder=NAME", refused.stderr)
        refused = self.git(folder, "push", "wick", "main", "-o", "builder=cobol", check=False)
        self.assertIn("! [remote rejected] main -> main (deploy failed: ", refused.stderr)
        self.assertIn("cobol", refused.stderr)
        refused = self.git(folder, "push", "wick", "main", "-o", "preview", check=False)
        self.assertIn("it is what optional deploys; as a preview: git push wick main:NAME -o preview", refused.stderr)
        self.assertEqual(self.remote_refs(folder), before)

        done = self.git(folder, "push", "wick", "main:try", "-o", "preview", "-o", "env=WHO=sun")
        self.assertIn("remote: preview    optional-preview-try-00001", done.stderr)
        revision = self.objects("revisions")["optional-preview-try-00001"]
        self.assertEqual(revision["spec"]["containers"][0]["env"], [{"name": "WHO", "value": "sun"}])
        self.assertIn("remote: ready      optional-00002", self.git(folder, "push", "wick", "main").stderr)
        revision = self.objects("revisions")["optional-00002"]
        self.assertEqual(revision["spec"]["containers"][0]["env"], [{"name": "WHO", "value": "moon"}])

    def test_what_was_pushed_can_be_cloned(self):
        folder = self.started("cloned")
        commit = self.git(folder, "rev-parse", "HEAD").stdout.strip()
        self.git(folder, "push", "wick", "main")
        for number, protocol in enumerate(("0", "2")):
            copy = os.path.join(self.folder, f"copy-{number}")
            subprocess.run(["git", "-c", f"protocol.version={protocol}", "clone", "-q",
                            f"http://x:{self.reader}@{self.host}/git/default/cloned.git", copy], check=True, timeout=120)
            self.assertEqual(self.git(copy, "rev-parse", "HEAD").stdout.strip(), commit)
            self.assertEqual(self.git(copy, "symbolic-ref", "--short", "HEAD").stdout.strip(), "main")
        for number in range(120):  # so many that the next fetch says what it has in a compressed request
            self.commit(copy, f"local {number}")
        self.commit(folder, version="2\n")
        self.git(folder, "push", "wick", "main")
        self.git(copy, "fetch", "-q", "origin")

    def test_who_may_not_push_is_told_so(self):
        folder = self.checkout("denied")
        url = f"{self.host}/git/default/denied.git"
        for user, said in (("x:wrong", "Authentication failed"), (f"x:{self.reader}", "this token may not push")):
            done = self.git(folder, "push", f"http://{user}@{url}", "main", check=False)
            self.assertIn(said, done.stderr)
        self.assertEqual(self.post("denied", b"0000", self.reader)[0], 403)
        self.assertEqual(self.post("denied", b"0000")[0], 200)
        other = self.wick.cli("token", "create", "team", "--scope", "deploy", "--only", "team").stdout.strip()
        self.assertEqual(self.post("denied", b"0000", other)[0], 403)
        missing = self.git(folder, "ls-remote", f"http://x:{self.token}@{url}", check=False)
        self.assertIn("there is no service denied", missing.stderr)
        self.assertEqual(self.post("Not_A_Name", b"0000")[0], 404)

    def test_a_removed_service_begins_anew(self):
        folder = self.started("anew")
        self.git(folder, "push", "wick", "main")
        self.wick.cli("rm", "anew", "--yes")
        eventually("the service is gone", lambda: "anew" not in self.wick.services())
        done = self.git(folder, "push", "wick", "main")
        self.assertIn("remote: ready      anew-00001", done.stderr)

    def test_the_remote_is_set_up_once_and_its_token_is_in_no_url(self):
        folder = self.checkout("remotes")
        self.add_remote(folder, "remotes")
        self.assertNotIn("wick_", self.git(folder, "remote", "-v").stdout)
        secret = pathlib.Path(folder) / ".git/wick-credentials"
        self.assertEqual(secret.stat().st_mode & 0o777, 0o600)
        self.add_remote(folder, "remotes")
        shown = self.wick.cli("git", "remote", "remotes").stdout
        self.assertEqual(shown, f"http://{self.host}/git/default/remotes.git\n")
        other = subprocess.run([fixture.WICK, "git", "remote", "another", "--add"], cwd=folder, capture_output=True, text=True,
                               env=dict(os.environ, WICK_SOCKET=os.path.join(self.wick.run, "wick.sock")))
        self.assertEqual(other.returncode, 7)
        self.assertIn("git remote rm wick", other.stderr)

    def test_hooks_attributes_and_settings_in_what_is_pushed_do_nothing(self):
        folder = self.started("hooked")
        hooks = pathlib.Path(folder) / "hooks"
        hooks.mkdir()
        for name in ("pre-receive", "post-receive", "update", "post-update", "reference-transaction", "proc-receive"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {self.folder}/hook-ran\nexit 1\n")
            (hooks / name).chmod(0o755)
        self.commit(folder, ".", **{".gitattributes": "version export-ignore\n* filter=evil\n",
                                    "config": "[core]\n\thooksPath = hooks\n[filter \"evil\"]\n\tsmudge = touch /tmp/evil\n"})
        self.git(folder, "push", "wick", "main")  # the build finds what export-ignore names
        self.assertFalse(os.path.exists(os.path.join(self.folder, "hook-ran")))

    def test_hostile_packs_are_refused_and_leave_nothing(self):
        blob = b"x"
        state = pathlib.Path(self.wick.state)
        self.started("hostile")
        for what, entry in (("a .git folder", b"40000 .git"), ("its other spelling", b"40000 .GIT"), ("a short one", b"40000 git~1"),
                            ("the parent", b"40000 .."), ("a path", b"100644 a/b"), ("itself", b"40000 .")):
            inner = b"100644 config\0" + bytes.fromhex(id_of("blob", blob))
            target = blob if entry.startswith(b"100644") else inner
            kind = "blob" if target is blob else "tree"
            tree = entry + b"\0" + bytes.fromhex(id_of(kind, target))
            commit = commit_with(id_of("tree", tree))
            with self.subTest(what):
                status, text = self.push_objects("hostile", id_of("commit", commit), ("blob", blob), ("tree", inner),
                                                 ("tree", tree), ("commit", commit))
                self.assertEqual(status, 200)
                self.assertIn("ng refs/heads/main", text)
                self.assertIn("unpack ", text)
                self.assertNotIn("unpack ok", text)
        lone = commit_with("1" * 40)
        status, text = self.push_objects("hostile", id_of("commit", lone), ("commit", lone))
        self.assertIn("ng refs/heads/main", text)
        for bad in (b"PACK", b"PACK\0\0\0\2\0\0\0\1" + b"\xff" * 64, b""):
            head = packet(f"{NOBODY} {'2' * 40} refs/heads/main".encode() + b"\0 report-status") + b"0000"
            status, text = self.post("hostile", head + bad)
            self.assertEqual(status, 200)
            self.assertIn("ng refs/heads/main", text)
        self.assertEqual(self.runs("hostile"), [])
        self.assertFalse(list(state.glob("**/git/default/hostile.git/refs/heads/*")))

    def test_hostile_names_and_requests_are_refused(self):
        commit = commit_with(id_of("tree", b""))
        for ref in ("refs/heads/../../config", "refs/wick/incoming/0", "HEAD", "refs/heads/--upload-pack=touch", "refs/heads/a.lock"):
            with self.subTest(ref):
                status, text = self.push_objects("named", id_of("commit", commit), ("tree", b""), ("commit", commit), ref=ref)
                self.assertEqual(status, 200)
                self.assertIn(f"ng {ref} only branches and tags are taken", text)
        many = b"".join(packet(f"{NOBODY} {'3' * 40} refs/heads/b{n}".encode()) for n in range(200)) + b"0000"
        status, text = self.post("named", many)
        self.assertEqual(status, 413)
        self.assertIn("more than 100 refs", text)
        for body in (b"hello", b"0003", packet(b"push-cert \0 x") + b"0000", packet(b"x" * 90) + b"0000"):
            self.assertIn(self.post("named", body)[0], (400, 422, 501))
        # A symlink out of the source is a link in the image, and the daemon follows it nowhere.
        folder = self.started("linked", dockerfile="FROM scratch\nCOPY out /out\nCOPY --chmod=755 server /server\nCMD [\"/server\"]\n")
        os.symlink("/etc/shadow", os.path.join(folder, "out"))
        self.commit(folder, "link")
        done = self.git(folder, "push", "wick", "main", check=False)
        self.assertNotIn("root:", done.stderr)

    def test_two_pushes_at_once_do_not_mix(self):
        folder = self.started("raced")
        self.git(folder, "push", "wick", "main")
        self.commit(folder, version="2\n")
        first = subprocess.Popen(["git", "-C", folder, "push", "wick", "main"], stderr=subprocess.PIPE, text=True,
                                 env={"PATH": os.environ["PATH"], "HOME": self.folder})
        second = self.git(folder, "push", "wick", "main:master", check=False)
        first_said = first.communicate(timeout=120)[1]
        outcomes = {first.returncode == 0, second.returncode == 0}
        self.assertIn(True, outcomes, first_said + second.stderr)
        for said, code in ((first_said, first.returncode), (second.stderr, second.returncode)):
            if code != 0:
                self.assertIn("another push to raced is being deployed", said)


if __name__ == "__main__":
    fixture.main()
