#!/usr/bin/env python3
"""A real git server on loopback: `git http-backend` (Debian's git) behind a small CGI bridge.

  git_server.py FOLDER      serves every repository below FOLDER, prints "http://127.0.0.1:PORT" and stays
"""
import http.server
import os
import subprocess
import sys
import threading
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    root = "."

    def run_backend(self):
        parts = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": urllib.parse.unquote(parts.path),
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": self.client_address[0],
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True)
        head, _, answer = done.stdout.partition(b"\r\n\r\n")
        status, fields = 200, []
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            elif value:
                fields.append((name, value.strip()))
        self.send_response(status)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = run_backend

    def log_message(self, *_):
        pass


def serve(root):
    """Starts the server on a free port in a thread; returns (server, url)."""
    handler = type("Rooted", (Handler,), {"root": os.path.abspath(root)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_address[1]}"


def make_repository(source, bare):
    """A bare repository at `bare` with one commit holding the files of the folder `source`."""
    environment = dict(os.environ, GIT_AUTHOR_NAME="Example", GIT_AUTHOR_EMAIL="example@example.com",
                       GIT_COMMITTER_NAME="Example", GIT_COMMITTER_EMAIL="example@example.com",
                       GIT_AUTHOR_DATE="2026-01-01T00:00:00Z", GIT_COMMITTER_DATE="2026-01-01T00:00:00Z",
                       GIT_CONFIG_NOSYSTEM="1", HOME="/nonexistent")

    def git(*arguments):
        subprocess.run(["git", *arguments], check=True, env=environment, capture_output=True)

    git("init", "--bare", "-b", "main", bare)
    git("--git-dir", bare, "--work-tree", source, "add", "-A")
    git("--git-dir", bare, "--work-tree", source, "commit", "-m", "first")


if __name__ == "__main__":
    running, url = serve(sys.argv[1])
    print(url, flush=True)
    threading.Event().wait()
