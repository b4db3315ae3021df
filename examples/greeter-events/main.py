"""Receives CloudEvents over HTTP (binary content mode), logs each, and answers demo.greet with a demo.greeted event."""
import json
import os
import signal
import threading
import uuid
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

BODY_BYTES_MAX = 1 << 20
REQUIRED = ("id", "source", "specversion", "type")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            return self.answer(413, b"at most 1 MiB\n")
        body = self.rfile.read(int(length))
        # HTTP protocol binding 3.1.3.2: attribute values are percent-encoded.
        event = {name[3:].lower(): unquote(value) for name, value in self.headers.items() if name.lower().startswith("ce-")}
        missing = [name for name in REQUIRED if not event.get(name)]
        if missing:
            return self.answer(400, f"no CloudEvent in binary mode: missing ce-{', ce-'.join(missing)}\n".encode())
        print(f"event {event['type']} id={event['id']} source={event['source']} bytes={len(body)}", flush=True)
        if event["type"] != "demo.greet":
            return self.answer(204)
        self.greet(event, body)

    def greet(self, event, body):
        try:
            name = json.loads(body or b"{}").get("name", "world")
        except (ValueError, AttributeError):
            return self.answer(400, b"the data of demo.greet must be a JSON object\n")
        # An answer that is an event goes back to the broker (Knative: "reply").
        reply = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid4()),
            "ce-source": "/greeter",
            "ce-type": "demo.greeted",
            "ce-time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "ce-inreplyto": event["id"] if event["id"].isascii() and event["id"].isprintable() else "",
            "Content-Type": "application/json",
        }
        self.answer(200, json.dumps({"greeting": f"hello, {name}"}).encode(), reply)

    def do_GET(self):
        self.answer(200, b"send CloudEvents here with POST\n", {"Content-Type": "text/plain"})

    def answer(self, status, body=b"", headers={}):
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass  # the event's own line is enough


def main():
    port = int(os.environ.get("PORT", "8080"))
    server = ThreadingHTTPServer(("0.0.0.0", port), Handler)
    # shutdown() waits for the loop to end, so it must not run in it.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on port {port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
