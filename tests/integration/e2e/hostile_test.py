"""What comes from outside stays outside: the front has no rights, builds and archives reach nothing of the host."""
import io
import os
import pathlib
import tarfile

from fixture import DaemonTest, main


class Hostile(DaemonTest):
    def test_the_front_has_no_capability_no_way_back_and_cannot_read_a_root_only_file(self):
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{self.wick.process.pid}/status").read().splitlines() if ":\t" in line)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            self.assertEqual(int(status[kind], 16), 0, kind)
        self.assertNotIn("0", status["Uid"].split())
        self.assertNotIn("0", status["Gid"].split())
        self.assertEqual(status["Groups"].strip(), "")
        self.assertEqual(status["NoNewPrivs"].strip(), "1")
        uid = int(status["Uid"].split()[0])
        secret = pathlib.Path(self.folder) / "secret"
        secret.write_text("root only")
        secret.chmod(0o600)
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            try:
                secret.read_text()
                os._exit(1)
            except PermissionError:
                os._exit(0)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        runner_state = pathlib.Path(self.wick.state) / "runner"
        self.assertEqual(runner_state.stat().st_uid, 0)
        self.assertEqual(runner_state.stat().st_mode & 0o077, 0)

    def test_a_dockerfile_cannot_copy_from_outside_its_context(self):
        for name, line in [("dots", "COPY ../../../etc/passwd /p"), ("absolute", "COPY /etc/shadow /p")]:
            folder = self.project("outside-" + name, Dockerfile=f"FROM scratch\n{line}\n")
            done = self.wick.cli("deploy", folder, check=False)
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn("Dockerfile:2", done.stderr)
        folder = self.project("outside-link", **{"Dockerfile": "FROM scratch\nCOPY --chmod=755 server /server\nCOPY link /link\nCMD [\"/server\"]\n",
                                                 "server": self.static_program()})
        os.symlink("/etc/shadow", os.path.join(folder, "link"))
        done = self.wick.cli("deploy", folder, "--name", "outside-link", check=False)
        if done.returncode == 0:  # the link may go along as a link: it then points into the image, where there is no such file
            self.assertEqual(self.wick.request("outside-link")[0], 200)
        text = "".join(p.read_text(errors="replace") for p in pathlib.Path(self.wick.state, "front/content/blobs/sha256").iterdir()
                       if p.stat().st_size < 1 << 22)
        self.assertNotIn("root:$", text)

    def test_a_build_step_sees_neither_host_files_nor_host_rights(self):
        canary = pathlib.Path(self.folder) / "canary"
        canary.write_text("untouched")
        script = "; ".join([
            f"test ! -e {canary}", "test ! -e /var/lib/wick/control.db", "! mount -t tmpfs none /mnt 2>/dev/null",
            "! cat /proc/kcore >/dev/null 2>&1", "! mknod /tmp/sda b 8 0 2>/dev/null", "! echo 1 > /proc/sys/kernel/sysrq",
            "grep -q 524288 /proc/self/uid_map", "echo contained"])
        folder = self.project("inside", Dockerfile=f"FROM debian:bookworm\nRUN {script.replace(';', ' &&')}\n")
        done = self.wick.cli("deploy", folder, "--name", "inside", check=False, timeout=900)
        self.assertIn("contained", done.stderr + done.stdout)
        self.assertEqual(canary.read_text(), "untouched")

    def test_an_upload_with_hostile_names_is_refused_and_touches_nothing(self):
        outside = pathlib.Path("/tmp/wick-hostile-target")
        outside.unlink(missing_ok=True)
        for name, kind in [("../../../../../../tmp/wick-hostile-target", "file"), ("/tmp/wick-hostile-target", "file"),
                           ("link/wick-hostile-target", "through-link")]:
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                docker = tarfile.TarInfo("Dockerfile")
                content = b"FROM scratch\nCOPY . /\n"
                docker.size = len(content)
                tar.addfile(docker, io.BytesIO(content))
                if kind == "through-link":
                    link = tarfile.TarInfo("link")
                    link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
                    tar.addfile(link)
                entry = tarfile.TarInfo(name)
                entry.size = 4
                tar.addfile(entry, io.BytesIO(b"evil"))
            status, body = self.wick.api("POST", "/apis/wick.dev/v1/namespaces/default/uploads", archive.getvalue(),
                                         {"Content-Type": "application/x-tar"})
            self.assertEqual(status, 201, body)
            import json
            upload = json.loads(body)["name"]
            run = {"apiVersion": "shipwright.io/v1beta1", "kind": "BuildRun", "metadata": {"generateName": "hostile-"},
                   "spec": {"build": {"spec": {"source": {"type": "Local", "local": {"name": upload}},
                                               "strategy": {"name": "wick", "kind": "ClusterBuildStrategy"},
                                               "output": {"image": "hostile"}}}}}
            status, body = self.wick.api("POST", "/apis/shipwright.io/v1beta1/namespaces/default/buildruns", json.dumps(run),
                                         {"Content-Type": "application/json"})
            self.assertEqual(status, 201, body)
            made = json.loads(body)["metadata"]["name"]
            # Follows to the end of the run.
            self.wick.api("GET", f"/apis/wick.dev/v1/namespaces/default/buildruns/{made}/log?follow=true", timeout=120)
            self.assertFalse(outside.exists(), f"{name} left the build")

    def test_garbage_on_every_listener_leaves_the_daemon_up(self):
        import socket
        self.deploy_static("up")
        for address in (self.wick.listen, self.wick.events):
            host, _, port = address.rpartition(":")
            for junk in (b"\x16\x03\x01\x02\x00\x01", b"GET", b"\0" * 5000, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
                         b"Transfer-Encoding: chunked\r\n\r\n", os.urandom(4096), b"A" * 100000):
                with socket.create_connection((host, int(port)), 10) as connection:
                    try:
                        connection.sendall(junk)
                        connection.shutdown(socket.SHUT_WR)
                        connection.settimeout(15)
                        while connection.recv(65536):
                            pass
                    except OSError:
                        pass
        self.assertEqual(self.wick.request("up")[0], 200)


if __name__ == "__main__":
    main()
