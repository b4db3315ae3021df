"""The Debian package under a real systemd: an mmdebstrap root booted by systemd-nspawn, driven from outside. Installed, used, upgraded
under load, killed, stopped dead, removed and purged.

Skipped, loudly, where debhelper, lintian, mmdebstrap or systemd-nspawn is missing. What nspawn takes away from its guest and a real
machine does not (Landlock's calls, writable control groups of version 1) is given back first. WICK_UPGRADES (3; by hand: 50) says how
many upgrades the load goes through.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from fixture import TOP, WICK, eventually, main
from flows import CALLER, CALLER_DOCKERFILE

TOOLS = ("dpkg-buildpackage", "dh", "lintian", "mmdebstrap", "systemd-nspawn", "nsenter", "wrk")
MISSING = [tool for tool in TOOLS if not shutil.which(tool)]
CALLS = ("landlock_create_ruleset landlock_add_rule landlock_restrict_self bpf keyctl ptrace open_tree move_mount mount_setattr fsopen "
         "fsmount fsconfig")
DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "id -u > /built-by"]
COPY --chmod=755 server /server
CMD ["/server"]
"""
READY_LIMIT = 60.0
UPGRADES = int(os.environ.get("WICK_UPGRADES", "3"))
WEBSOCKETS = 100
STREAMS = 10


def skip(why):
    print(f"SKIP: {why}", file=sys.stderr)
    sys.exit(77)


def run(*arguments, **options):
    done = subprocess.run([str(each) for each in arguments], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(str(each) for each in arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def make_package(folder, version):
    target = pathlib.Path(folder) / version
    target.mkdir()
    run(TOP / "packaging/deb", "--binary", WICK, "--version", version, target)
    return target / f"wick_{version}_{run('dpkg', '--print-architecture').strip()}.deb"


def make_root(package):
    """What the package depends on and a systemd, once for all runs."""
    root = pathlib.Path(os.environ.get("WICK_E2E", tempfile.gettempdir())) / "package-root"
    if (root / "complete").exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    needed = [re.split(r"[ (|]", each.strip())[0] for each in run("dpkg-deb", "-f", package, "Depends").split(",")]
    run("mmdebstrap", "--variant=minbase", f"--include={','.join(['systemd', 'systemd-sysv', 'dbus', 'procps', 'curl', *needed])}",
        "bookworm", root)
    (root / "complete").touch()
    return root


class Machine:
    """A booted copy of the root with a network of its own; `share` is /io inside."""

    def __init__(self, root, folder):
        self.root = pathlib.Path(folder) / "machine"
        self.share = pathlib.Path(folder) / "io"
        self.share.mkdir()
        run("cp", "-a", root, self.root)
        self.console = open(pathlib.Path(folder) / "console", "wb")  # pylint: disable=consider-using-with
        self.guest = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", f"--machine=wick-{os.getpid()}",
             "--capability=all", f"--system-call-filter={CALLS}", f"--bind={self.share}:/io", "-D", str(self.root), "-b"],
            env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="0" if pathlib.Path("/sys/fs/cgroup/memory").exists() else "1"),
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console)
        try:
            try:
                self.init = eventually("the machine has a first process", self.first_process)
                eventually("the machine is up", lambda: self.call("systemctl", "is-system-running") in ("running\n", "degraded\n"), READY_LIMIT)
            except AssertionError as error:  # nothing of ours is in it yet
                skip(f"systemd-nspawn boots nothing here: {error}")
            for group in self.root_groups():
                self.sh(f"mount -o remount,rw,bind {group}")
        except BaseException:
            self.close()
            raise

    def root_groups(self):
        return [line.split()[1] for line in self.call("cat", "/proc/mounts").splitlines() if " cgroup ro," in line]

    def first_process(self):
        children = pathlib.Path(f"/proc/{self.guest.pid}/task/{self.guest.pid}/children").read_text().split()
        return next((int(child) for child in children if pathlib.Path(f"/proc/{child}/comm").read_text().strip() in ("systemd", "init")), None)

    def command(self, *arguments):
        return ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", "-r", "-w", "env", "-i",
                "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", *arguments]

    def call(self, *arguments):
        """Output, whatever the exit code."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=120).stdout

    def sh(self, script):
        return run(*self.command("sh", "-c", script), timeout=300)

    def property(self, unit, name):
        return self.call("systemctl", "show", unit, "-p", name, "--value").strip()

    def close(self):
        if self.guest.poll() is None:
            self.guest.send_signal(signal.SIGTERM)
            try:
                self.guest.wait(30)
            except subprocess.TimeoutExpired:
                self.guest.kill()
                self.guest.wait()
        self.console.close()


class PackageTest(unittest.TestCase):
    """One machine's life, in the order of the names."""

    @classmethod
    def setUpClass(cls):
        if MISSING:
            skip(f"{', '.join(MISSING)} missing")
        cls.folder = tempfile.mkdtemp(prefix="wick-package-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.first, cls.second = make_package(cls.folder, "0.1.0"), make_package(cls.folder, "0.1.1")
        cls.machine = Machine(make_root(cls.first), cls.folder)
        cls.addClassCleanup(cls.machine.close)
        for package in (cls.first, cls.second):
            shutil.copy(package, cls.machine.share)
        caller = cls.machine.share / "caller"
        caller.mkdir()
        shutil.copy("/bin/busybox", caller / "busybox")
        (caller / "Dockerfile").write_text(CALLER_DOCKERFILE)
        (caller / "call").write_text(CALLER.replace("callee", "hello"))
        project = cls.machine.share / "hello"
        project.mkdir()
        run("cc", "-O2", "-static", "-pthread", "-o", project / "server", TOP / "tests/support/server.c")
        shutil.copy("/bin/busybox", project / "busybox")
        (project / "Dockerfile").write_text(DOCKERFILE)

    def in_the_machine(self, script):
        return self.machine.sh(script)

    def install(self, package):
        return self.in_the_machine(f"dpkg --install /io/{package.name} 2>&1")

    def services(self):
        return {each["name"]: each for each in json.loads(self.in_the_machine("wick ps --json"))}

    def instance(self):
        return self.services()["hello"]["instances"][0]

    def answers(self):
        return self.machine.call("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: hello.localhost", "http://127.0.0.1/") == "200"

    def open_flows(self):
        """Connections into the machine that go on, from a process of their own."""
        flows = subprocess.Popen(["nsenter", "-t", str(self.machine.init), "-n", sys.executable, TOP / "tests/support/flows.py", "127.0.0.1:80",
                                  "127.0.0.1:443", "hello.default.localhost", str(WEBSOCKETS), str(STREAMS)],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def end():
            if flows.poll() is None:
                flows.communicate()

        self.addCleanup(end)
        self.assertEqual(flows.stdout.readline(), "ok\n")
        return flows

    def look_at(self, flows, what):
        flows.stdin.write(what + "\n")
        flows.stdin.flush()
        self.assertEqual(flows.stdout.readline(), "ok\n")

    def test_1_lintian_has_nothing_to_say(self):
        done = subprocess.run(["lintian", "--pedantic", "--allow-root", str(self.first)], capture_output=True, text=True, check=False)
        self.assertEqual(done.stdout, "")

    def test_2_installed_it_runs_and_only_the_runner_has_rights(self):
        self.install(self.first)
        for unit in ("wick.service", "wick-runner.service", "wick.socket", "wick-https.socket", "wick-events.socket", "wick-api.socket"):
            self.assertEqual(self.machine.property(unit, "ActiveState"), "active", unit)
        status = self.in_the_machine(f"cat /proc/{self.machine.property('wick.service', 'MainPID')}/status")
        self.assertRegex(status, r"CapEff:\s+0000000000000000")
        self.assertRegex(status, r"CapBnd:\s+0000000000000000")
        self.assertRegex(status, r"NoNewPrivs:\s+1")
        self.assertNotRegex(status, r"Uid:\s+0")
        self.assertEqual(self.in_the_machine("stat -c '%a %U' /etc/wick/secret.key"), "600 root\n")
        self.assertIn("wick", self.in_the_machine("man -w wick 2>/dev/null || ls /usr/share/man/man1/wick.1.gz"))

    def test_3_it_builds_serves_and_keeps_secrets(self):
        self.in_the_machine("cd /io/hello && wick deploy --max 1 --json")
        self.assertTrue(self.answers())
        self.assertEqual(self.in_the_machine("curl -s -k -o /dev/null -w '%{http_code}' --resolve hello.default.localhost:443:127.0.0.1 "
                                             "https://hello.default.localhost/"), "200")
        self.assertIn("secret app set", self.in_the_machine("printf s3cret | wick secret set app PASSWORD=@-"))
        self.assertEqual(self.in_the_machine("wick exec hello -- /bin/busybox cat /built-by"), "0\n")

    def calls(self, word):
        """Of a service to another, by how they ended."""
        return self.in_the_machine("wick logs caller --tail 100000").count(word)

    def test_4_an_upgrade_under_load_loses_no_request_no_instance_and_nothing_that_flows(self):
        self.in_the_machine("cd /io/caller && wick deploy --min 1 --json")
        before = self.instance()["pid"]
        load = subprocess.Popen(["nsenter", "-t", str(self.machine.init), "-n", "wrk", "-t1", "-c8", f"-d{4 * UPGRADES}s", "-H", "Host: hello.localhost",
                                 "http://127.0.0.1/"], stdout=subprocess.PIPE, text=True)
        flows = self.open_flows()
        daemon = self.machine.property("wick.service", "MainPID")
        for number in range(UPGRADES):
            self.install(self.first if number % 2 else self.second)
            now = self.machine.property("wick.service", "MainPID")
            self.assertNotEqual(now, daemon)
            daemon = now
            self.look_at(flows, f"upgrade {number}")
            eventually("services call each other", lambda so_far=self.calls("answered"): self.calls("answered") > so_far, READY_LIMIT)
        log = self.in_the_machine("wick logs caller --tail 100000")
        self.assertNotIn("refused", log, set(log.splitlines()))
        self.assertEqual(self.machine.property("wick-runner.service", "NFileDescriptorStore"), "0")
        output = load.communicate()[0]
        # What serves and its guard, and the front that was there when they were opened.
        self.assertEqual(len(self.machine.call("pgrep", "-u", "wick").split()), 3)
        self.assertEqual(sum(each["inFlight"] for each in self.services()["hello"]["instances"]), WEBSOCKETS + STREAMS)
        flows.communicate()
        eventually("nothing lingers", lambda: len(self.machine.call("pgrep", "-u", "wick").split()) == 2, READY_LIMIT)
        self.assertRegex(output, r"[0-9]+ requests in")
        self.assertNotIn("Socket errors", output)
        self.assertNotIn("Non-2xx", output)
        self.assertIn(before, [each["pid"] for each in self.services()["hello"]["instances"]])
        self.assertIn("0.1.1" if UPGRADES % 2 else "0.1.0", self.in_the_machine("dpkg-query -W wick"))
        self.in_the_machine("wick rm caller --yes")

    def test_5_killed_or_stuck_it_is_back_and_the_instance_goes_on(self):
        before = self.instance()["pid"]
        self.in_the_machine("mkdir -p /run/systemd/system/wick.service.d && printf '[Service]\\nWatchdogSec=1\\n' > "
                            "/run/systemd/system/wick.service.d/short.conf && systemctl daemon-reload && systemctl restart wick")
        for number in ("KILL", "STOP"):
            daemon = self.machine.property("wick.service", "MainPID")
            self.in_the_machine(f"kill -{number} {daemon}")
            eventually(f"another daemon runs after SIG{number}",
                       lambda gone=daemon: self.machine.property("wick.service", "MainPID") not in (gone, "0", ""), READY_LIMIT)
            eventually("it answers", self.answers, READY_LIMIT)
        self.assertEqual(self.machine.property("wick.service", "Result"), "success")
        self.assertIn("watchdog", self.in_the_machine("journalctl -u wick.service --no-pager").lower())
        self.assertEqual(self.instance()["pid"], before)

    def test_6_removed_nothing_runs_and_what_was_kept_is_taken_up_again(self):
        instance = self.instance()["id"]
        # A front of before an upgrade that still relays goes too.
        flows = self.open_flows()
        self.in_the_machine("systemctl restart wick")
        self.look_at(flows, "restarted")
        self.assertEqual(len(self.machine.call("pgrep", "-u", "wick").split()), 3)
        self.in_the_machine("dpkg --remove wick 2>&1")
        # The groups of version 1 are the host's, where other daemons may have some: only this one is ours.
        self.assertEqual(self.in_the_machine(f"find /sys/fs/cgroup -type d -name {instance}"), "")
        self.assertEqual(self.machine.call("pgrep", "-f", "/server|wick"), "")
        self.assertEqual(self.in_the_machine("grep -c wick /proc/mounts || true"), "0\n")
        self.assertNotIn("wick", self.machine.call("nft", "list", "tables"))
        self.assertEqual(self.in_the_machine("ls -d /var/lib/wick/front"), "/var/lib/wick/front\n")
        self.install(self.second)
        eventually("the service of before answers", self.answers, READY_LIMIT)

    def test_7_purged_nothing_is_left(self):
        self.in_the_machine("dpkg --purge wick 2>&1")
        left = self.in_the_machine("find / -xdev \\( -path /proc -o -path /sys -o -path /io -o -path /var/log/journal \\) -prune -o "
                                   "\\( -name '*wick*' -a ! -path '/var/lib/dpkg/*' -a ! -path '/run/systemd/system/wick.service.d*' \\) -print")
        self.assertEqual(left, "")
        self.assertEqual(self.in_the_machine("getent passwd wick; getent group wick; true"), "")
        self.assertEqual(self.machine.call("pgrep", "-f", "/server|wick"), "")


if __name__ == "__main__":
    main()
