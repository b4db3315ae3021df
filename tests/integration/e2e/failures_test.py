"""The failed-deploy contract: each way a deploy can fail is named, with the last output, what still serves, and a hint."""
import json

from fixture import DaemonTest, main


class Failures(DaemonTest):
    def failing(self, name, *argv, flags=()):
        done = self.deploy_static(name, *flags, argv=("/server", *argv), check=False)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("hint:", done.stderr)
        why = self.wick.cli("why", name, check=False)
        return done.stderr, why.stdout + why.stderr

    def test_a_program_that_exits_before_listening_is_named_with_its_code_and_output(self):
        text, why = self.failing("exits", "--exit", "3")
        for part in ("code 3", "before listening", "ending as told", "E_EXITED"):
            self.assertIn(part, text)
        self.assertIn("code 3", why)

    def test_exit_0_before_listening_is_a_failure_of_its_own(self):
        text, _ = self.failing("exits-zero", "--exit", "0")
        self.assertIn("code 0", text)

    def test_the_wrong_port_is_found_in_the_instances_own_sockets(self):
        text, _ = self.failing("wrong-port", "--port", "3000", flags=("--timeout-start", "5s"))
        self.assertIn("3000", text)
        self.assertIn("8080", text)
        self.assertIn("E_WRONG_PORT", text)

    def test_out_of_memory_says_so_and_not_137(self):
        text, _ = self.failing("hungry", "--eat", "200", flags=("--memory", "64Mi"))
        self.assertIn("out of memory", text)
        self.assertIn("64", text)
        self.assertIn("E_OUT_OF_MEMORY", text)

    def test_a_program_that_never_listens_runs_into_the_start_limit(self):
        text, _ = self.failing("silent", "--never", flags=("--timeout-start", "3s"))
        self.assertIn("E_NOT_READY", text)
        self.assertIn("8080", text)

    def test_a_failing_build_step_ends_with_its_line_and_output(self):
        folder = self.project("bad-step", **{"Dockerfile": "FROM debian:bookworm\nRUN echo working && echo broken >&2 && exit 7\n"})
        done = self.wick.cli("deploy", folder, check=False, timeout=900)
        self.assertEqual(done.returncode, 4, done.stderr)
        for part in ("Dockerfile:2", "exit", "7", "broken", "hint:"):
            self.assertIn(part, done.stderr)

    def test_a_wrong_dockerfile_is_refused_with_file_line_and_the_nearest_word(self):
        folder = self.project("typo", Dockerfile="FROM scratch\nCOPPY a b\n")
        done = self.wick.cli("deploy", folder, check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        for part in ("Dockerfile:2", "COPPY", "COPY"):
            self.assertIn(part, done.stderr)

    def test_a_folder_nobody_can_build_says_what_was_tried(self):
        folder = self.project("nothing", notes="just words\n")
        done = self.wick.cli("deploy", folder, check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("package.json", done.stderr)
        self.assertIn("hint:", done.stderr)

    def test_the_old_revision_keeps_serving_when_the_new_one_fails(self):
        self.deploy_static("keeps")
        done = self.deploy_static("keeps", argv=("/server", "--exit", "1"), check=False)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("keeps-00001", done.stderr)
        status, body = self.wick.request("keeps")
        self.assertEqual((status, body.split()[-1]), (200, b"keeps-00001"))

    def test_unknown_names_and_flags_have_exit_codes_and_hints_of_their_own(self):
        self.assertEqual(self.wick.cli("why", "nobody", check=False).returncode, 6)
        self.assertEqual(self.wick.cli("rm", "nobody", "--yes", check=False).returncode, 6)
        self.assertEqual(self.wick.cli("deploy", "--no-such-flag", check=False).returncode, 2)
        self.assertEqual(self.wick.request("nobody")[0], 404)
        import os
        import subprocess
        from fixture import WICK
        gone = subprocess.run([WICK, "ps"], env=dict(os.environ, WICK_SOCKET="/nonexistent/wick.sock"), capture_output=True, text=True)
        self.assertEqual(gone.returncode, 3)
        self.assertIn("hint:", gone.stderr)


if __name__ == "__main__":
    main()
