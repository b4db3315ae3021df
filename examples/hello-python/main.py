"""A greeting from the standard library's HTTP server."""
import os
import platform
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WHO = os.environ.get("TARGET", "world")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.split("?")[0] != "/":
            return self.answer(404, "not found\n")
        self.answer(200, f"hello, {WHO}, from Python {platform.python_version()}\n")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            return self.answer(411, "Content-Length is needed\n")
        self.answer(200, self.rfile.read(int(length)).decode(errors="replace"))

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        print(format % args, flush=True)


def main():
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    # shutdown() waits for the loop to end, so it must not run in it.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on port {port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
