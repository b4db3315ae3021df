"""`wick dev`: what editors do on a save, and what is served afterwards."""
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading
import time
import unittest

from fixture import WICK, DaemonTest, eventually, main

PAGE = 'FROM scratch\nCOPY --chmod=755 server /server\nCOPY page.txt /page.txt\nCMD ["/server"]\n'
NODE = """const http = require('node:http');
http.createServer((_, answer) => answer.end('{}')).listen(process.env.PORT, () => console.log('up with {}'));
"""
PYTHON = """import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", str(len("{0}"))); self.end_headers()
        self.wfile.write(b"{0}")
http.server.HTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
"""


class Dev:
    """A running `wick dev --json`: its documents, in order."""

    def __init__(self, wick, *arguments):
        self.process = subprocess.Popen(
            [WICK, "dev", *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, WICK_SOCKET=os.path.join(wick.run, "wick.sock"), NO_COLOR="1"))
        self.documents, self.seen = queue.Queue(), []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.documents.put(json.loads(line))
        self.documents.put(None)

    def until(self, what, wanted, limit=120):
        """The documents up to and with the first that `wanted` takes."""
        passed, end = [], time.monotonic() + limit
        while True:
            try:
                document = self.documents.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"not within {limit} s: {what}\n{self.seen[-20:]}")
            if document is None:
                raise AssertionError(f"wick dev ended before {what}\n{self.seen[-20:]}\n{self.process.stderr.read()}")
            self.seen.append(document)
            passed.append(document)
            if wanted(document):
                return passed

    def until_step(self, step, kind="finished"):
        return self.until(step, lambda document: document.get("step") == step and document["kind"] == kind)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def in_place(path, text):
    """nano, and `echo >`: truncate and write, in two writes."""
    with open(path, "w") as out:
        out.write(text[:5])
        out.flush()
        out.write(text[5:])


def rename_over(path, text):
    """VS Code on some disks, gedit, sed -i: a temporary file beside it, then its name."""
    beside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    in_place(beside, text)
    os.replace(beside, path)


def like_vim(path, text):
    """A swap file while it is open; may I write here; the old one moved away; the new one written; the backup removed."""
    swap, probe, backup = path.with_name(f".{path.name}.swp"), path.with_name("4913"), path.with_name(path.name + "~")
    swap.write_bytes(b"b0VIM")
    probe.touch()
    probe.unlink()
    os.rename(path, backup)
    in_place(path, text)
    with open(path) as written:
        os.fsync(written.fileno())
    backup.unlink()
    swap.unlink()


def like_emacs(path, text):
    """A lock that is a dangling symlink, an auto-save file, and the backup left behind."""
    lock, auto = path.with_name(".#" + path.name), path.with_name(f"#{path.name}#")
    os.symlink("somebody@somewhere.1:2", lock)
    in_place(auto, text)
    path.with_name(path.name + "~").write_text(path.read_text())
    in_place(path, text)
    auto.unlink()
    lock.unlink()


class Saves(DaemonTest):
    def dev(self, *arguments):
        dev = Dev(self.wick, *arguments)
        self.addCleanup(dev.close)
        return dev

    def page(self, name):
        return pathlib.Path(self.project(name, Dockerfile=PAGE, server=self.static_program(), **{"page.txt": "first"}))

    def served(self, name, path="/file/page.txt"):
        return self.wick.request(name, path)[1].decode()

    def test_a_save_is_served_however_the_editor_does_it(self):
        folder = self.page("dev-saves")
        dev = self.dev(str(folder))
        dev.until_step("watching")
        self.assertEqual(self.served("dev-saves"), "first")
        for number, save in enumerate((in_place, rename_over, like_vim, like_emacs)):
            save(folder / "page.txt", f"{number} by {save.__name__}")
            documents = dev.until_step("live")
            self.assertEqual(self.served("dev-saves"), f"{number} by {save.__name__}")
            changed = [document["text"] for document in documents if document.get("step") == "changed"]
            self.assertEqual(changed, ["page.txt"], "one save, one build")
            built = [d["text"] for d in documents if d.get("step") == "build" and d["kind"] == "started" and "/" in d["text"]]
            self.assertEqual(len(built), 1, f"only the step of the saved file is made anew: {built}")

    def test_what_an_editor_keeps_open_is_no_save(self):
        folder = self.page("dev-quiet")
        dev = self.dev(str(folder))
        dev.until_step("watching")
        (folder / ".page.txt.swp").write_bytes(b"b0VIM")
        (folder / "page.txt~").write_text("backup")
        (folder / "#page.txt#").write_text("auto-saved")
        in_place(folder / "page.txt", "second")
        documents = dev.until_step("live")
        self.assertEqual([d["text"] for d in documents if d.get("step") == "changed"], ["page.txt"])

    def test_saves_in_a_row_end_with_the_last_one_served(self):
        folder = self.page("dev-row")
        dev = self.dev(str(folder))
        dev.until_step("watching")
        for number in range(12):
            rename_over(folder / "page.txt", f"save {number}")
            time.sleep(0.05 * (number % 3))  # a person's pace, not a wait for anything
        eventually("the last save is served", lambda: self.served("dev-row") == "save 11", 60)
        rename_over(folder / "page.txt", "the end")
        eventually("the end is served", lambda: self.served("dev-row") == "the end", 60)

    def test_a_folder_made_while_it_watches_is_watched_too(self):
        folder = self.page("dev-deeper")
        (folder / "Dockerfile").write_text(PAGE.replace("COPY page.txt /page.txt", "COPY page.txt pages* /pages/"))
        dev = self.dev(str(folder))
        dev.until_step("watching")
        (folder / "pages/new").mkdir(parents=True)
        (folder / "pages/new/one.txt").write_text("one")
        dev.until_step("live")
        eventually("the new file is served", lambda: self.served("dev-deeper", "/file/pages/new/one.txt") == "one")
        like_vim(folder / "pages/new/one.txt", "two")
        eventually("its save is served", lambda: self.served("dev-deeper", "/file/pages/new/one.txt") == "two")

    def breaks_and_is_mended(self, name, broken, why):
        folder = self.page(name)
        dev = self.dev(str(folder))
        dev.until_step("watching")
        in_place(folder / "Dockerfile", broken)
        failed = dev.until("a failure", lambda document: document["kind"] == "failed" and "error" in document)[-1]
        self.assertIn(why, json.dumps(failed))
        self.assertEqual(self.served(name), "first")
        in_place(folder / "page.txt", "second")
        in_place(folder / "Dockerfile", PAGE)
        dev.until_step("live")
        self.assertEqual(self.served(name), "second")

    def test_what_does_not_build_is_told_and_the_old_code_goes_on(self):
        self.breaks_and_is_mended("dev-broken", PAGE.replace("COPY page", "COPPY page"), "COPPY")

    def test_what_does_not_start_is_told_and_the_old_code_goes_on(self):
        self.breaks_and_is_mended("dev-exits", PAGE.replace('["/server"]', '["/server", "--exit", "3"]'), "code 3")

    def test_a_folder_that_does_not_build_at_first_is_served_once_it_does(self):
        folder = self.page("dev-first")
        (folder / "Dockerfile").write_text("FROM scratch\nNOPE\n")
        dev = self.dev(str(folder))
        dev.until("a failure", lambda document: document["kind"] == "failed" and "error" in document)
        in_place(folder / "Dockerfile", PAGE)
        dev.until_step("live")
        self.assertEqual(self.served("dev-first"), "first")

    def test_ctrl_c_ends_it_and_the_service_stays(self):
        folder = self.page("dev-ends")
        dev = self.dev(str(folder))
        dev.until_step("watching")
        self.assertEqual(dev.interrupt(), 0)
        self.assertIn("goes on serving", dev.process.stderr.read())
        self.assertEqual(self.served("dev-ends"), "first")

    def test_a_folder_that_goes_away_ends_it(self):
        folder = self.page("dev-gone")
        dev = self.dev(str(folder))
        dev.until_step("watching")
        folder.rename(folder.with_name("dev-elsewhere"))
        self.assertNotEqual(dev.process.wait(30), 0)
        self.assertIn("removed or renamed", dev.process.stderr.read())

    def test_only_folders_are_watched(self):
        done = self.wick.cli("dev", "https://example.com/repo.git", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("wick deploy takes git URLs", done.stderr)


class Languages(DaemonTest):
    def saved_and_served(self, name, file, program, **files):
        folder = pathlib.Path(self.project(name, **{file: program.replace("{}", "zero").replace("{0}", "zero")}, **files))
        dev = Dev(self.wick, str(folder))
        self.addCleanup(dev.close)
        dev.until_step("watching")
        self.assertEqual(self.wick.request(name)[1], b"zero")
        for number, save in enumerate((like_vim, rename_over, in_place)):
            word = f"save{number}"
            begun = time.monotonic()
            save(folder / file, program.replace("{}", word).replace("{0}", word))
            eventually(f"{word} is served", lambda: self.wick.request(name)[1] == word.encode(), 60, 0.005)
            print(f"{name}: {save.__name__}: served {time.monotonic() - begun:.2f} s after the save", file=sys.stderr)
            documents = dev.until_step("live")
            ran = [d["text"] for d in documents if d["kind"] == "started" and "] RUN" in d.get("text", "")]
            self.assertEqual(ran, [], "dependencies are not touched")
        return dev

    def test_node_code_is_served_after_each_save_and_its_log_shown(self):
        dev = self.saved_and_served("dev-node", "server.js", NODE)
        if not any(document.get("line") == "up with save2" for document in dev.seen):
            dev.until("the log's line", lambda document: document.get("line") == "up with save2")

    def test_python_code_is_served_after_each_save(self):
        self.saved_and_served("dev-python", "main.py", PYTHON, **{"requirements.txt": ""})


if __name__ == "__main__":
    main()
