"""Pushes elsewhere: webhooks of each forge, and branches that are looked at, deploy what was pushed; nothing else does."""
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import urllib.parse

import fixture
from fixture import DaemonTest, eventually, git_server
from receiver import Receiver

PROGRAM = 'FROM scratch\nCOPY version /version\nCOPY --chmod=755 server /server\nCMD ["/server"]\n'


class Webhook(DaemonTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repositories = os.path.join(cls.folder, "served")
        os.makedirs(cls.repositories)
        cls.server, cls.url = git_server.serve(cls.repositories)
        cls.addClassCleanup(cls.server.shutdown)

    def setUp(self):
        self.wick.remove_all()
        for hook in json.loads(self.wick.cli("webhook", "ls", "--json").stdout):
            self.wick.cli("webhook", "rm", hook["name"])
        self.wick.api("DELETE", "/apis/shipwright.io/v1beta1/namespaces/default/builds")
        self.earlier = {run["metadata"]["uid"] for run in self.all_runs()}

    def all_runs(self):
        return json.loads(self.wick.api("GET", "/apis/shipwright.io/v1beta1/namespaces/default/buildruns")[1])["items"]

    def runs(self, service):
        return [run for run in self.all_runs() if run["metadata"]["uid"] not in self.earlier and
                run["metadata"].get("labels", {}).get("wick.dev/service") == service]

    def git(self, folder, *arguments):
        return subprocess.run(["git", "-C", folder, "-c", "user.name=Ada", "-c", "user.email=a@b", *arguments], check=True,
                              capture_output=True, text=True).stdout.strip()

    def deployed(self, name):
        """A service from a repository of the server; gives the working copy."""
        folder = self.project(name, **{"Dockerfile": PROGRAM, "server": self.static_program(), "version": "1\n"})
        bare = os.path.join(self.repositories, name + ".git")
        shutil.rmtree(bare, ignore_errors=True)
        git_server.make_repository(folder, bare)
        copy = os.path.join(self.folder, name + "-copy")
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", bare, copy], check=True)
        self.wick.cli("deploy", f"{self.url}/{name}.git#main", "--name", name)
        return copy

    def commit(self, copy, text, branch="main"):
        pathlib.Path(copy, "version").write_text(text)
        self.git(copy, "commit", "-qam", text)
        self.git(copy, "push", "-q", "origin", f"HEAD:{branch}")
        return self.git(copy, "rev-parse", "HEAD")

    def add(self, service, *flags):
        return json.loads(self.wick.cli("webhook", "add", service, "--json", *flags).stdout)

    def deliver(self, hook, event, signed_with=None, method="POST", **headers):
        """As the forge does, at the edge; (status, answer)."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        digest = hmac.new((signed_with or hook["secret"]).encode(), body, hashlib.sha256).hexdigest()
        own = {"github": {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=" + digest},
               "gitea": {"X-Gitea-Event": "push", "X-Gitea-Signature": digest},
               "gitlab": {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": signed_with or hook["secret"]},
               "generic": {"X-Hub-Signature-256": "sha256=" + digest}}[hook["provider"]]
        path = urllib.parse.urlsplit(hook["url"]).path
        connection = self.wick.connection()
        try:
            connection.request(method, path, body, {**own, "Content-Type": "application/json", **{
                name.replace("_", "-"): value for name, value in headers.items()}})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def push(self, commit, branch="main", **more):
        return {"ref": f"refs/heads/{branch}", "after": commit, "repository": {"default_branch": "main"}, **more}

    def ended(self, name):
        def settled():
            run = json.loads(self.wick.api("GET", f"/apis/shipwright.io/v1beta1/namespaces/default/buildruns/{name}")[1])
            found = [c for c in run.get("status", {}).get("conditions", []) if c["type"] == "Succeeded"]
            return run if found and found[0]["status"] != "Unknown" else None

        return eventually("the run has ended", settled)

    def test_every_forge_deploys_what_was_pushed(self):
        copy = self.deployed("forged")
        for number, provider in enumerate(("github", "gitea", "gitlab", "generic"), 2):
            with self.subTest(provider):
                hook = self.add("forged", "--provider", provider)
                commit = self.commit(copy, f"{number}\n")
                status, answer = self.deliver(hook, self.push(commit))
                self.assertEqual((status, answer["commit"]), (202, commit), answer)
                run = self.ended(answer["buildRun"])
                self.assertEqual(run["status"]["commit"], commit)
                eventually("the next revision serves", lambda: self.objects("services")["forged"]["status"].get(
                    "latestReadyRevisionName") == f"forged-{number:05d}")

    def test_deliveries_become_events_once_each_and_survive_a_kill(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        self.wick.cli("secret", "set", "hook", "secret=whsec")
        self.addCleanup(self.wick.cli, "secret", "rm", "hook", check=False)
        for provider in ("github", "gitlab", "gitea", "generic"):
            self.wick.cli("source", "webhook", provider, "--provider", provider, "--secret", "hook", "--to", receiver.url,
                          "--ext", "team=blue", *(("--event", "push") if provider == "github" else ()))
            self.addCleanup(self.wick.cli, "source", "rm", provider, check=False)

        sources = "/apis/sources.wick.dev/v1alpha1/namespaces/default/webhooksources/"

        def hook(provider):
            uid = json.loads(self.wick.api("GET", sources + provider)[1]).get("metadata", {}).get("uid", "nobody")
            return {"provider": provider, "secret": "whsec", "url": "http://x/.well-known/wick/webhooks/default/sources/" + uid}

        def delivered(provider, event, **headers):
            return eventually("it is taken", lambda: (answer := self.deliver(hook(provider), event, **headers))[0] != 503 and answer, 20)

        event = {"ref": "refs/heads/main", "repository": {"html_url": "https://example.org/a"}}
        for number, provider in enumerate(("github", "gitlab", "gitea", "generic")):
            uuid = {"github": "X_GitHub_Delivery", "gitlab": "X_Gitlab_Event_UUID", "gitea": "X_Gitea_Delivery", "generic": "X_Delivery_Id"}
            self.assertEqual(delivered(provider, event, **{uuid[provider]: f"n{number}"})[0], 202)
        eventually("all arrived", lambda: len(receiver.events) == 4, 20)
        seen = {fields["ce-id"]: fields for fields, _ in receiver.events}
        self.assertEqual(seen["n0"]["ce-type"], "dev.knative.source.github.push")
        self.assertEqual(seen["n1"]["ce-type"], "dev.knative.sources.gitlab.push")
        self.assertEqual(seen["n2"]["ce-type"], "dev.wick.source.gitea.push")
        self.assertEqual(seen["n3"]["ce-type"], "dev.wick.source.webhook")
        self.assertEqual((seen["n0"]["ce-source"], seen["n0"]["ce-subject"], seen["n0"]["ce-team"]),
                         ("https://example.org/a", "refs/heads/main", "blue"))
        self.assertEqual(seen["n3"]["ce-source"], "/apis/v1/namespaces/default/webhooksources/generic")
        self.assertEqual(json.loads(receiver.events[0][1]), event)
        # Once each; only what was asked for; only what is signed.
        self.assertIn("was here before", self.deliver(hook("github"), event, X_GitHub_Delivery="n0")[1]["message"])
        self.assertIn("none of the events", self.deliver(hook("github"), {"a": 1}, X_GitHub_Event="issues")[1]["message"])
        self.assertEqual(self.deliver(hook("github"), {"a": 1}, X_GitHub_Event="ping")[1]["message"], "pong")
        self.assertEqual(self.deliver(hook("github"), {"a": 2}, signed_with="wrong")[0], 401)
        self.assertEqual(self.deliver({**hook("generic"), "url": hook("nobody")["url"]}, {"a": 2})[0], 401)
        # What was answered is on disk.
        receiver.close()
        self.assertEqual(delivered("generic", {"a": 3}, X_Delivery_Id="n4")[0], 202)
        self.wick.kill()
        self.wick.start()
        again = json.loads(self.wick.api("GET", sources + "generic")[1])
        self.assertEqual(again["status"]["path"], urllib.parse.urlsplit(hook("generic")["url"]).path)
        self.assertIn("was here before", eventually("it is known", lambda: (
            answer := self.deliver(hook("generic"), {"a": 3}, X_Delivery_Id="n4"))[0] == 200 and answer, 20)[1]["message"])
        self.assertIn("webhook  generic", self.wick.cli("source", "ls").stdout)
        # Without its Secret nobody gets in, and the status says so.
        self.wick.cli("secret", "rm", "hook")
        self.assertEqual(self.deliver(hook("generic"), {"a": 5})[0], 401)

        def told():
            item = json.loads(self.wick.api("GET", sources + "generic")[1])
            return any(c["type"] == "SecretProvided" and c["status"] == "False" and 'secrets "hook" not found' in c["message"]
                       for c in item["status"]["conditions"])
        eventually("the status says it", told, 20)

    def test_what_is_not_signed_rightly_does_nothing_and_tells_nothing(self):
        copy = self.deployed("signed")
        hook = self.add("signed")
        commit = self.commit(copy, "2\n")
        before = len(self.runs("signed"))
        said = set()
        for headers in ({"signed_with": "another"}, {"X_Hub_Signature_256": ""}, {"X_Hub_Signature_256": "sha256=zz"}):
            status, answer = self.deliver(hook, self.push(commit), **headers)
            self.assertEqual(status, 401)
            said.add(answer["message"])
        for url in ("/.well-known/wick/webhooks/default/webhook-0000", "/.well-known/wick/webhooks/default",
                    "/.well-known/wick/webhooks/default/../x/y", "/.well-known/wick/webhooks/a%2fb/c"):
            status, answer = self.deliver({**hook, "url": url}, self.push(commit))
            self.assertEqual(status, 401)
            said.add(answer["message"])
        self.assertEqual(len(said), 1)
        self.wick.cli("secret", "set", "plain", "secret=x", "provider=github", "service=signed", "build=signed")
        self.assertEqual(self.deliver({**hook, "secret": "x", "url": "/.well-known/wick/webhooks/default/plain"}, {})[0], 401)
        self.assertEqual(self.deliver(hook, self.push(commit), method="GET")[0], 405)
        self.assertEqual(len(self.runs("signed")), before)

    def test_other_events_branches_and_repetitions_are_ignored_and_said_so(self):
        copy = self.deployed("ignored")
        hook = self.add("ignored")
        commit = self.commit(copy, "2\n")
        before = len(self.runs("ignored"))
        for event, headers, status, said in (
                ({"zen": "x"}, {"X_GitHub_Event": "ping"}, 200, "pong"),
                ({"action": "opened"}, {"X_GitHub_Event": "issues"}, 200, "only pushes are deployed"),
                (self.push(commit, "feature"), {}, 200, "refs/heads/feature is not the branch main"),
                ({"ref": "refs/tags/v1", "after": commit}, {}, 200, "refs/tags/v1 is not the branch main"),
                (self.push("0" * 40), {}, 200, "the branch was deleted"),
                (b"payload=%7B%7D", {}, 400, "choose the content type application/json"),
                ({"after": commit}, {}, 400, "names no ref"),
                (b"[" * 100_000, {}, 400, "no JSON object")):
            with self.subTest(said):
                got, answer = self.deliver(hook, event, **headers)
                self.assertEqual(got, status, answer)
                self.assertIn(said, answer["message"])
        self.assertEqual(len(self.runs("ignored")), before)
        status, answer = self.deliver(hook, self.push(commit), X_GitHub_Delivery="one")
        self.assertEqual(status, 202, answer)
        self.ended(answer["buildRun"])
        for number in ("one", "two"):  # the number is not signed, the body is
            status, answer = self.deliver(hook, self.push(commit), X_GitHub_Delivery=number)
            self.assertEqual((status, answer["message"]), (200, "ignored: this delivery was here before"))
        status, answer = self.deliver(hook, self.push(commit, pushed_at=2), X_GitHub_Delivery="three")
        self.assertEqual(status, 200)
        self.assertIn("was built already", answer["message"])
        self.assertEqual(len(self.runs("ignored")), before + 1)

    def test_an_old_delivery_brings_nothing_old_back(self):
        copy = self.deployed("replayed")
        hook = self.add("replayed")
        old = self.commit(copy, "2\n")
        new = self.commit(copy, "3\n")
        status, answer = self.deliver(hook, self.push(old))
        self.assertEqual(status, 202, answer)
        self.assertEqual(self.ended(answer["buildRun"])["status"]["commit"], new)

    def test_a_delivery_that_comes_again_after_the_daemon_was_killed_builds_nothing(self):
        copy = self.deployed("remembered")
        hook = self.add("remembered")
        deliveries = []
        for text in ("2\n", "3\n"):
            deliveries.append(self.push(self.commit(copy, text)))
            status, answer = self.deliver(hook, deliveries[-1], X_GitHub_Delivery=text.strip())
            self.assertEqual(status, 202, answer)
            self.ended(answer["buildRun"])
        before = len(self.runs("remembered"))
        self.wick.kill()
        self.wick.start()
        for number in ("2", "9"):  # the forge's number is not signed, the body is
            status, answer = self.deliver(hook, deliveries[0], X_GitHub_Delivery=number)
            self.assertEqual((status, answer["message"]), (200, "ignored: this delivery was here before"))
        self.assertEqual(len(self.runs("remembered")), before)
        self.wick.api("DELETE", "/apis/shipwright.io/v1beta1/namespaces/default/builds/remembered")
        refused = self.push(self.commit(copy, "4\n"))
        for _ in range(2):  # what was refused may come again
            self.assertEqual(self.deliver(hook, refused, X_GitHub_Delivery="4")[0], 409)

    def test_other_branches_become_previews_where_the_service_wants_them(self):
        copy = self.deployed("branchy")
        hook = self.add("branchy")
        main = self.git(copy, "rev-parse", "HEAD")
        commit = self.commit(copy, "2\n", "feature/sun")
        event = self.push(commit, "feature/sun")
        self.assertEqual(self.deliver(hook, event)[0], 200)
        self.wick.cli("preview", "branches", "branchy", "feature/*")
        status, answer = self.deliver(hook, {**event, "again": 1})
        self.assertEqual((status, answer["commit"]), (202, commit), answer)
        run = self.ended(answer["buildRun"])
        self.assertEqual((run["status"]["commit"], run["status"]["preview"]["tag"]), (commit, "feature-sun"))
        eventually("the preview serves", lambda: [
            target for target in self.objects("services")["branchy"]["status"]["traffic"] if target.get("tag") == "feature-sun"])
        self.assertEqual(self.wick.request("feature-sun-branchy")[0], 200)
        self.assertEqual(self.objects("services")["branchy"]["status"]["latestReadyRevisionName"], "branchy-00001")
        status, answer = self.deliver(hook, {**event, "again": 2})
        self.assertEqual(status, 200)
        self.assertIn("was built already", answer["message"])
        self.git(copy, "push", "-q", "origin", "HEAD:main")  # the same commit is what main deploys all the same
        status, answer = self.deliver(hook, self.push(commit, "main"))
        self.assertEqual(status, 202, answer)
        self.ended(answer["buildRun"])
        status, answer = self.deliver(hook, self.push("0" * 40, "feature/sun"))
        self.assertEqual((status, answer["message"]), (200, "the preview feature-sun of feature/sun is removed"))
        eventually("the tag is gone", lambda: len(self.objects("services")["branchy"]["status"]["traffic"]) == 1)
        self.assertNotEqual(main, commit)

    def test_the_branch_can_be_another(self):
        copy = self.deployed("branched")
        hook = self.add("branched", "--branch", "release")
        commit = self.commit(copy, "2\n", "release")
        self.assertEqual(self.deliver(hook, self.push(commit, "main"))[0], 200)
        status, answer = self.deliver(hook, self.push(commit, "release"))
        self.assertEqual(status, 202, answer)
        self.assertEqual(self.ended(answer["buildRun"])["status"]["commit"], commit)

    def test_too_much_is_refused(self):
        self.deployed("much")
        hook = self.add("much")
        path = urllib.parse.urlsplit(hook["url"]).path
        connection = self.wick.connection()
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(26 << 20))
        connection.endheaders()
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()
        statuses = [self.deliver(hook, {"n": n}, X_GitHub_Event="issues")[0] for n in range(140)]  # two minutes at most
        self.assertIn(429, statuses)
        self.assertEqual(set(statuses), {200, 429})

    def test_the_command_line_adds_lists_and_removes(self):
        self.deployed("listed")
        shown = self.wick.cli("webhook", "add", "listed", "--provider", "gitea")
        url, secret = (line.split()[1] for line in shown.stdout.splitlines())
        self.assertRegex(url, r"^http://listed\.default\.localhost:\d+/\.well-known/wick/webhooks/default/webhook-[0-9a-f]{20}$")
        self.assertEqual(len(secret), 64)
        self.assertIn("pushes to main of " + self.url, shown.stderr)
        listed = self.wick.cli("webhook", "ls").stdout
        self.assertIn(url, listed)
        self.assertNotIn(secret, listed)
        self.assertNotIn(secret, self.wick.log_text())
        self.assertEqual(self.deliver({"provider": "gitea", "secret": secret, "url": url}, {"ref": "refs/tags/x"})[0], 200)
        self.wick.cli("webhook", "rm", "listed")
        self.assertEqual(self.deliver({"provider": "gitea", "secret": secret, "url": url}, {"ref": "refs/tags/x"})[0], 401)
        gone = self.wick.cli("webhook", "rm", "listed", check=False)
        self.assertEqual(gone.returncode, 6)
        self.deploy_static("folder")
        refused = self.wick.cli("webhook", "add", "folder", check=False)
        self.assertEqual(refused.returncode, 7)
        self.assertIn("folder was not deployed from a git URL", refused.stderr)
        self.assertIn("wick git remote folder", refused.stderr)
        self.assertEqual(self.wick.cli("webhook", "add", "nothing", check=False).returncode, 6)
        self.assertEqual(self.wick.cli("webhook", "add", "listed", "--provider", "cvs", check=False).returncode, 2)

    def test_a_build_that_is_gone_is_said(self):
        copy = self.deployed("unbuilt")
        hook = self.add("unbuilt")
        self.wick.api("DELETE", "/apis/shipwright.io/v1beta1/namespaces/default/builds/unbuilt")
        status, answer = self.deliver(hook, self.push(self.commit(copy, "2\n")))
        self.assertEqual(status, 409)
        self.assertIn("the build unbuilt is gone", answer["message"])

    def test_a_removed_service_does_not_come_back_by_a_webhook(self):
        copy = self.deployed("removed")
        hook = self.add("removed")
        self.wick.cli("rm", "removed", "--yes")
        eventually("the service is gone", lambda: "removed" not in self.wick.services())
        status, answer = self.deliver(hook, self.push(self.commit(copy, "2\n")))
        self.assertEqual(status, 409)
        self.assertIn("the service removed was removed", answer["message"])

    def follow_state(self, name):
        return json.loads(self.wick.cli("git", "follow", name, "--json").stdout)

    def serves(self, name, revision):
        eventually(f"{revision} serves", lambda: self.objects("services")[name]["status"].get("latestReadyRevisionName") == revision)

    def test_a_followed_branch_is_deployed_when_it_moves(self):
        copy = self.deployed("followed")
        self.wick.cli("deploy", f"{self.url}/followed.git#main", "--name", "followed", "--follow=5s")
        first = self.git(copy, "rev-parse", "HEAD")
        eventually("the branch was looked at", lambda: self.follow_state("followed")["commit"] == first)
        before = len(self.runs("followed"))
        commit = self.commit(copy, "2\n")
        self.serves("followed", "followed-00002")
        eventually("the commit is shown", lambda: self.follow_state("followed")["commit"] == commit)
        self.assertEqual(len(self.runs("followed")), before + 1)
        self.assertIn(commit, self.wick.cli("git", "follow", "followed").stdout)
        self.assertEqual(self.wick.cli("git", "follow", "followed", "off").stdout, "followed follows no branch\n")
        self.assertEqual(self.wick.cli("git", "follow", "followed").stdout, "followed follows no branch\n")

    def test_a_look_that_fails_is_said_and_tried_again(self):
        copy = self.deployed("unseen")
        self.wick.cli("git", "follow", "unseen", "5s")
        eventually("the branch was looked at", lambda: self.follow_state("unseen")["followed"] == "True")
        bare = os.path.join(self.repositories, "unseen.git")
        os.rename(bare, bare + "-away")
        said = eventually("the failure is shown", lambda: self.follow_state("unseen")["followed"] == "False" and
                          self.follow_state("unseen")["message"])
        self.assertIn("there is no repository at", said)
        self.assertIn("the next look is in", said)
        os.rename(bare + "-away", bare)
        commit = self.commit(copy, "2\n")
        eventually("it is followed again", lambda: self.follow_state("unseen")["commit"] == commit)
        self.serves("unseen", "unseen-00002")

    def test_what_cannot_be_followed_is_refused(self):
        folder = self.project("plain", **{"Dockerfile": PROGRAM})
        refused = self.wick.cli("deploy", folder, "--follow", check=False)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("only the branch of a git URL can be followed", refused.stderr)
        self.deploy_static("uploaded")
        refused = self.wick.cli("git", "follow", "uploaded", "1m", check=False)
        self.assertEqual(refused.returncode, 7)
        self.deployed("often")
        self.wick.cli("git", "follow", "often", "1s")
        eventually("the interval is refused", lambda: "at least 5 s" in self.follow_state("often")["message"])


if __name__ == "__main__":
    fixture.main()
