"""Connections to tests/support/server.c that go on: WebSockets (to a proxy) and streams. And a service that calls another one.

Run as a program, inside another network namespace: python3 flows.py HTTP_ADDRESS HTTPS_ADDRESS HOST WEBSOCKETS STREAMS; every line of its
input has each of them looked at, and is answered with "ok" or the first that failed.
"""
import select
import socket
import ssl
import sys

# Calls http://callee without end, by busybox, and says of each in its log how it ended.
CALLER_DOCKERFILE = """FROM scratch
COPY --chmod=755 busybox call /bin/
CMD ["/bin/call"]
"""
CALLER = """#!/bin/busybox sh
while :; do
  if /bin/busybox timeout 60 /bin/busybox wget -q -O /dev/null http://callee.default.svc.cluster.local/; then echo answered; else echo refused; fi
  /bin/busybox usleep 5000
done &
exec /bin/busybox httpd -f -p 8080
"""


class Flow:
    """A connection whose answer has begun and goes on."""

    def __init__(self, address, host, path, fields, tls):
        ip, _, port = address.rpartition(":")
        self.socket = socket.create_connection((ip, int(port)), timeout=30)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket, server_hostname=host)
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            got = self.socket.recv(1)
            if not got:
                raise AssertionError(f"{path}: ended within the head: {head}")
            head += got
        self.status = int(head.split()[1])

    def close(self):
        self.socket.close()


class WebSocket(Flow):
    def __init__(self, address, host, tls):
        super().__init__(address, host, "/echo", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", tls)
        assert self.status == 101, self.status

    def goes_on(self, text):
        self.socket.sendall(text)
        back = b""
        while len(back) < len(text):
            got = self.socket.recv(len(text) - len(back))
            if not got:
                raise AssertionError(f"a WebSocket ended: {back} of {text} came back")
            back += got
        if back != text:
            raise AssertionError(f"{text} went out, {back} came back")


class Stream(Flow):
    def __init__(self, address, host, tls):
        super().__init__(address, host, "/ticks/50", "", tls)
        assert self.status == 200, self.status
        self.raw = self.text = b""
        self.seen = -1

    def goes_on(self, _text):
        """Waits for a tick later than those that had come, and none missing."""
        while (self.socket.pending() if isinstance(self.socket, ssl.SSLSocket) else 0) or select.select([self.socket], [], [], 0)[0]:
            self.take()
        before = self.seen
        while self.seen <= before:
            self.take()

    def take(self):
        got = self.socket.recv(65536)
        if not got:
            raise AssertionError(f"a stream ended after tick {self.seen}")
        self.raw += got
        while (line := self.raw.find(b"\r\n")) >= 0 and len(self.raw) >= line + 4 + (size := int(self.raw[:line], 16)):
            self.text += self.raw[line + 2:line + 2 + size]
            self.raw = self.raw[line + 4 + size:]
        *whole, self.text = self.text.split(b"\n")
        for tick in whole:
            if tick != f"tick {self.seen + 1}".encode():
                raise AssertionError(f"after tick {self.seen} came {tick}")
            self.seen += 1


def open_flows(http, https, host, websockets, streams):
    """Every other one over TLS."""
    made = [WebSocket(https if number % 2 else http, host, bool(number % 2)) for number in range(websockets)]
    return made + [Stream(https if number % 2 else http, host, bool(number % 2)) for number in range(streams)]


def look_at(flows, text):
    for index, each in enumerate(flows):
        each.goes_on(f"{text}, connection {index}\n".encode())


if __name__ == "__main__":
    opened = open_flows(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]))
    print("ok", flush=True)
    for line in sys.stdin:
        try:
            look_at(opened, line.strip())
            print("ok", flush=True)
        except (AssertionError, OSError) as error:
            print(error, flush=True)
