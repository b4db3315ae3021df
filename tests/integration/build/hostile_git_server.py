"""A git server on loopback for the tests: `git http-backend` behind a small CGI. Prints its port. Usage: git_server.py FOLDER

/NAME.git       a repository below FOLDER        /private/…      asks for a login
/redirect/…     302 to /…                        /file/…         302 to file:///
/slow/…         one byte a second                /garbage/…      an answer that is no git
"""
import http.server
import os
import subprocess
import sys
import time


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(body)

    def answer(self, body):
        path, _, query = self.path.partition("?")
        first = path.split("/")[1]
        if first == "private":
            return self.reply(401, [("WWW-Authenticate", 'Basic realm="git"')], b"no")
        if first == "redirect":
            return self.reply(302, [("Location", self.path.replace("/redirect", "", 1))], b"")
        if first == "file":
            return self.reply(302, [("Location", "file:///etc/")], b"")
        if first == "garbage":
            return self.reply(200, [("Content-Type", "application/x-git-upload-pack-advertisement")], b"\0" * 65536)
        if first == "slow":
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
                return None
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": sys.argv[1], "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "CONTENT_TYPE": self.headers.get("Content-Type") or "",
            "CONTENT_LENGTH": str(len(body)), "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        status, headers = 200, []
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            elif name:
                headers.append((name, value))
        return self.reply(status, headers, rest)

    def reply(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):  # a client that gives up is what some tests are about
        pass


server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
