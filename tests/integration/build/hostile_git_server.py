"""The git server of tests/support, with places below which it is no git. Prints its port. Usage: hostile_git_server.py FOLDER

/NAME.git       a repository below FOLDER        /private/…      asks for a login
/redirect/…     302 to /…                        /file/…         302 to file:///
/slow/…         one byte a second                /garbage/…      an answer that is no git
"""
import http.server
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import git_server  # noqa: E402


class Handler(git_server.Handler):
    root = os.path.abspath(sys.argv[1])

    def answer(self):
        place = self.path.split("/")[1]
        if place == "private":
            self.reply(401, ("WWW-Authenticate", 'Basic realm="git"'), b"no")
        elif place == "redirect":
            self.reply(302, ("Location", self.path.replace("/redirect", "", 1)), b"")
        elif place == "file":
            self.reply(302, ("Location", "file:///etc/"), b"")
        elif place == "garbage":
            self.reply(200, ("Content-Type", "application/x-git-upload-pack-advertisement"), b"\0" * 65536)
        elif place == "slow":
            self.answer_slowly()
        else:
            self.run_backend()

    def reply(self, status, field, body):
        self.send_response(status)
        self.send_header(*field)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def answer_slowly(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"0")
                self.wfile.flush()
                time.sleep(1)
        except OSError:
            pass

    do_GET = do_POST = answer


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):  # a client that gives up is what some tests are about
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
