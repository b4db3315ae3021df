#!/usr/bin/env python3
"""Framing, parsing and smuggling vectors against a real server and relay, by the rules of testdata/http/README.md.

usage: vectors_test.py HTTP_RELAY_PROGRAM
Vectors: $WICK_SHARED/testdata/http, else ../shared beside the checkout; skipped loudly where there are none.
WICK_HTTP_VECTORS=all also splits every vector below 2 KiB at each offset (else a seeded twentieth of them).
"""
import json, os, pathlib, queue, random, re, socket, subprocess, sys, threading, time

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*\Z")
REFUSALS = {400, 405, 408, 413, 414, 417, 431, 501, 505}


class Malformed(Exception):
    pass


def parse_head(data, limit=64 << 10):
    """(start line, fields, rest), or None while it is incomplete. A second opinion: shares nothing with the code under test."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > limit:
            raise Malformed("head too long")
        return None
    lines = data[:end].split(b"\r\n")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name):
            raise Malformed(f"field {line[:60]!r}")
        value = value.strip(b" \t")
        if not VALUE.match(value):
            raise Malformed(f"value {value[:60]!r}")
        fields.append((name.decode().lower(), value))
    return lines[0], fields, data[end + 4:]


def values(fields, name):
    return [value for key, value in fields if key == name]


def take_chunked(data):
    """(body, rest), or None while incomplete."""
    body = b""
    while True:
        line, found, data = data.partition(b"\r\n")
        if not found:
            return None
        if not re.fullmatch(rb"[0-9a-f]+", line):
            raise Malformed(f"chunk line {line[:40]!r}")
        size = int(line, 16)
        if size == 0:
            if len(data) < 2:
                return None
            if data[:2] != b"\r\n":
                raise Malformed("trailers were passed on")
            return body, data[2:]
        if len(data) < size + 2:
            return None
        if data[size:size + 2] != b"\r\n":
            raise Malformed("chunk data without CRLF")
        body += data[:size]
        data = data[size + 2:]


def take_request(data):
    """(request, rest), or None while incomplete. What our proxy may send an instance, and nothing more."""
    head = parse_head(data)
    if head is None:
        return None
    line, fields, rest = head
    match = re.fullmatch(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/[\x21-\x7e]*|\*) HTTP/1\.1", line)
    if not match:
        raise Malformed(f"request line {line[:80]!r}")
    lengths, codings = values(fields, "content-length"), values(fields, "transfer-encoding")
    if len(values(fields, "host")) != 1 or len(lengths) + len(codings) > 1:
        raise Malformed("Host or framing fields")
    if any(name.replace("_", "-") in ("content-length", "transfer-encoding") and "_" in name for name, _ in fields):
        raise Malformed("underscore twin of a framing field")
    body = b""
    if codings:
        if codings != [b"chunked"]:
            raise Malformed("transfer coding")
        taken = take_chunked(rest)
        if taken is None:
            return None
        body, rest = taken
    elif lengths:
        if not re.fullmatch(rb"\d+", lengths[0]):
            raise Malformed("content length")
        size = int(lengths[0])
        if len(rest) < size:
            return None
        body, rest = rest[:size], rest[size:]
    request = {"method": match[1].decode(), "target": match[2].decode("latin1"), "body_len": len(body), "fields": fields}
    return request, rest


class Instance:
    """Records what the proxy sends on each connection and answers every well-formed request."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.reset()
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self, raw=None):
        with self.lock:
            self.requests, self.malformed, self.raw, self.after_vector = [], [], raw, []
            self.vector = getattr(self, "vector", 0) + 1

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        number = 0
        answered_vector = None
        try:
            while True:
                got = connection.recv(65536)
                if not got:
                    return
                data += got
                while data:
                    taken = take_request(data)
                    if taken is None:
                        break
                    request, data = taken
                    with self.lock:
                        self.requests.append(request)
                        raw = self.raw
                        vector = self.vector
                        if answered_vector == vector:
                            self.after_vector.append(request)
                    number += 1
                    if raw is not None and request["target"] == "/":
                        answered_vector = vector
                        connection.sendall(raw)
                        connection.settimeout(0.25)
                        continue
                    body = b"second" if request["target"] == "/second" else b""
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX-N: %d\r\nContent-Length: %d\r\n\r\n" % (number, len(body)) +
                                       (b"" if request["method"] == "HEAD" else body))
        except Malformed as error:
            with self.lock:
                self.malformed.append(f"{error} in {data[:200]!r}")
        except OSError:
            pass
        finally:
            connection.close()


class Proxy:
    def __init__(self, program, instance):
        self.process = subprocess.Popen([program, "127.0.0.1:0", instance.address, "400", "400", "3000"],
                                        stdout=subprocess.PIPE, env={**os.environ, "QUIET": "1"})
        host, port = self.process.stdout.readline().decode().strip().rsplit(":", 1)
        self.address = (host, int(port))

    def alive(self):
        try:
            with socket.create_connection(self.address, 3) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                return client.recv(65536).startswith(b"HTTP/1.1 200 ")
        except OSError:
            return False


def take_response(data, method, closed):
    """(status, body, clean, rest), or None while incomplete. `clean`: the message ended as its framing says."""
    head = parse_head(data, 1 << 20)
    if head is None:
        return None
    line, fields, rest = head
    match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [\t\x20-\xff]*", line)
    if not match:
        raise Malformed(f"status line {line[:60]!r}")
    status = int(match[1])
    lengths, codings = values(fields, "content-length"), values(fields, "transfer-encoding")
    if len(lengths) + len(codings) > 1:
        raise Malformed("two framing fields in the response")
    if status < 200 or status in (204, 304) or method == "HEAD":
        return status, b"", True, rest, fields
    if codings:
        taken = take_chunked(rest)
        if taken is None:
            return (status, rest, False, b"", fields) if closed else None
        return status, taken[0], True, taken[1], fields
    if lengths:
        size = int(lengths[0])
        if len(rest) < size:
            return (status, rest, False, b"", fields) if closed else None
        return status, rest[:size], True, rest[size:], fields
    return (status, rest, closed, b"", fields) if closed else None


def converse(address, pieces, methods, finals, patience):
    """Sends the pieces, reads responses until `finals` of them came, the connection closed, or `patience` seconds passed."""
    responses, data, closed = [], b"", False
    client = socket.create_connection(address, 5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send():
        try:
            for piece in pieces:
                client.sendall(piece)
        except OSError:
            pass

    sender = threading.Thread(target=send, daemon=True)
    if len(pieces) == 1 and len(pieces[0]) < 60000:
        send()
    else:
        sender.start()
    end = time.monotonic() + patience
    settle = None
    while not closed:
        now = time.monotonic()
        left = (min(end, settle) if settle else end) - now
        if left <= 0:
            break
        client.settimeout(left)
        try:
            got = client.recv(65536)
            closed = not got
            data += got
        except TimeoutError:
            pass
        except OSError:
            closed = True
        while data:
            method = methods[len([r for r in responses if r[0] >= 200])] if len(responses) < len(methods) else "GET"
            taken = take_response(data, method, closed)
            if taken is None:
                break
            data = taken[3]
            responses.append(taken)
        if finals is not None and settle is None and len([r for r in responses if r[0] >= 200]) >= finals:
            settle = time.monotonic() + 0.03  # more than was asked for would show now
    client.close()
    if sender.ident:
        sender.join()
    return responses, data, closed


def judge_request(vector, instance, proxy, pieces):
    expect, allowed = vector["expect"], vector["forward_max"]
    wanted = vector.get("requests", [])
    finals = allowed if expect == "accept" else None
    patience = {"accept": 5, "reject": 5, "incomplete": 5, "either": 0.7}[expect]
    instance.reset()
    try:
        responses, left, closed = converse(proxy.address, pieces, [r["method"] for r in wanted] or ["GET"], finals, patience)
    except Malformed as error:
        return f"the client got a malformed response: {error}"
    with instance.lock:
        seen, malformed = list(instance.requests), list(instance.malformed)
    if malformed:
        return f"the instance got malformed bytes: {malformed[0]}"
    if any("/smuggled" in r["target"] for r in seen):
        return "a smuggled request reached the instance"
    if len(seen) > allowed:
        return f"{len(seen)} requests reached the instance, at most {allowed} may"
    if expect == "accept":
        got = [(r["method"], r["target"], r["body_len"]) for r in seen]
        want = [(r["method"], r["target"], r["body_len"]) for r in wanted]
        if got != want:
            return f"the instance saw {got}, expected {want}; the client got {[r[0] for r in responses]}"
        statuses = [r[0] for r in responses if r[0] >= 200]
        if statuses != [200] * allowed:
            return f"the client got {statuses}"
        fields = seen[0]["fields"]
        for name in vector.get("upstream_present", []):
            if not values(fields, name.lower()):
                return f"{name} did not reach the instance"
        for name in vector.get("upstream_absent", []):
            if values(fields, name.lower()):
                return f"{name} reached the instance"
        if "upstream_host" in vector and values(fields, "host") != [vector["upstream_host"].encode()]:
            return f"Host was {values(fields, 'host')}"
    if expect in ("reject", "incomplete") and not closed:
        return f"the connection was left open after {[r[0] for r in responses]}"
    if expect == "reject" and responses and responses[-1][0] not in REFUSALS:
        if len(seen) < len(responses):
            return f"answered {responses[-1][0]}"
        # only the good requests before were answered, then a plain close
    return None


def judge_response(vector, instance, proxy, raw):
    expect = vector["expect"]
    instance.reset(raw)
    try:
        request = b"GET / HTTP/1.1\r\nHost: v.test\r\n\r\n"
        responses, left, closed = converse(proxy.address, [request], ["GET"], 1, 5)
    except Malformed as error:
        return f"the client got a malformed response: {error}"
    try:
        follow = b"GET /second HTTP/1.1\r\nHost: v.test\r\nConnection: close\r\n\r\n"
        after, _, _ = converse(proxy.address, [follow], ["GET"], 1, 5)
    except Malformed as error:
        return f"the second client got a malformed response: {error}"
    finals = [r for r in responses if r[0] >= 200]
    if not finals and not closed:
        return "the client hung"
    final = finals[0] if finals else None
    if len(finals) > 1 or (left and final and final[2]):
        return f"the client got more than one response: {[r[0] for r in responses]} {left[:60]!r}"
    second = [r for r in after if r[0] >= 200]
    if not second or (second[0][0] != 502 and (second[0][0] != 200 or second[0][1] != b"second")):
        return f"the second client got {second[:1]}"
    if expect == "relay":
        want = vector["client_messages"][-1]
        if not final or (final[0], len(final[1]), final[2]) != (want["status"], want["body_len"], True):
            return f"the client got {final and final[:3]}, expected {want}"
    if expect == "bad-gateway" and final and final[0] != 502 and final[2]:
        return f"the client got a clean {final[0]}"
    if expect == "incomplete" and final and final[0] != 502 and final[2]:
        return f"the client got a clean {final[0]}"
    if final:
        for name in vector.get("client_absent", []):
            if values(final[4], name.lower()):
                return f"{name} reached the client"
    with instance.lock:
        if vector.get("reuse_upstream") is False and instance.after_vector:
            return "the instance's connection was used again"
    return None


def modes(vector, raw, everything):
    yield "whole", [raw]
    if vector["kind"] == "response":
        return
    if len(raw) <= (1 << 20 if everything else 8500):
        yield "one byte a write", [raw[i:i + 1] for i in range(len(raw))]
    if len(raw) < 2048:
        chosen = random.Random(vector["id"])
        slow = vector["expect"] in ("either", "incomplete")
        for at in range(1, len(raw)):
            if everything or chosen.random() < (1 / 200 if slow else 1 / 20):
                yield f"split at {at}", [raw[:at], raw[at:]]


def work(program, vectors, folder, everything, failures, counts):
    instance = Instance()
    proxy = Proxy(program, instance)
    while True:
        try:
            vector = vectors.get_nowait()
        except queue.Empty:
            break
        raw = (folder / vector["file"]).read_bytes()
        for name, pieces in modes(vector, raw, everything):
            if vector["kind"] == "request":
                wrong = judge_request(vector, instance, proxy, pieces)
            else:
                wrong = judge_response(vector, instance, proxy, raw)
            with counts["lock"]:
                counts[name.split(" at ")[0]] = counts.get(name.split(" at ")[0], 0) + 1
                if wrong:
                    failures.append((vector["id"], vector["expect"], name, wrong))
            if not proxy.alive():
                failures.append((vector["id"], vector["expect"], name, "the proxy died"))
                proxy = Proxy(program, instance)
            if wrong:
                break
    proxy.process.terminate()
    if proxy.process.wait(10) != 0:
        failures.append(("-", "-", "-", f"the proxy ended with {proxy.process.returncode}"))


def main():
    root = pathlib.Path(os.environ.get("WICK_SHARED") or pathlib.Path(__file__).resolve().parents[4] / "shared")
    folder = root / "testdata" / "http"
    if not (folder / "manifest.jsonl").exists():
        print(f"SKIPPED: no HTTP vectors at {folder} (set WICK_SHARED)")
        return 77
    wanted = sys.argv[2:]
    vectors = queue.Queue()
    total = 0
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        vector = json.loads(line)
        if not wanted or any(part in vector["id"] for part in wanted):
            vectors.put(vector)
            total += 1
    failures, counts = [], {"lock": threading.Lock()}
    everything = os.environ.get("WICK_HTTP_VECTORS") == "all"
    workers = [threading.Thread(target=work, args=(sys.argv[1], vectors, folder, everything, failures, counts))
               for _ in range(int(os.environ.get("WICK_HTTP_WORKERS", "8")))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for failure in sorted(failures):
        print("WRONG %s (%s, %s): %s" % failure)
    wrong = len({failure[0] for failure in failures})
    print(f"{total - wrong}/{total} vectors right; runs: { {k: v for k, v in counts.items() if k != 'lock'} }")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
