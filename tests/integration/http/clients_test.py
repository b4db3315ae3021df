#!/usr/bin/env python3
"""Rude and slow clients, and large bodies, against a real server and relay. usage: clients_test.py HTTP_RELAY_PROGRAM"""
import atexit, hashlib, os, resource, socket, struct, subprocess, sys, threading, time

BLOCK = bytes(range(256)) * 256  # 64 KiB


class Instance:
    """/get/N answers N bytes; /put answers the digest of what it got; /hang never answers; /echo streams back."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open = 0
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.guarded, args=(connection,), daemon=True).start()

    def guarded(self, connection):
        with self.lock:
            self.open += 1
        try:
            self.serve(connection)
        except (OSError, ValueError):  # ValueError: the body was cut
            pass
        with self.lock:
            self.open -= 1
        connection.close()

    def serve(self, connection):
        stream = connection.makefile("rwb", buffering=1 << 16)
        while True:
            line = stream.readline()
            if not line:
                return
            target = line.split()[1].decode()
            length, chunked = 0, False
            while (field := stream.readline()) not in (b"\r\n", b""):
                name, _, value = field.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                chunked = chunked or name.lower() == b"transfer-encoding"
            if target.startswith("/get/"):
                size = int(target[5:])
                stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                while size > 0:
                    stream.write(BLOCK[:size])
                    size -= len(BLOCK)
            elif target == "/hang":
                connection.recv(1)
                return
            elif target == "/early":
                stream.write(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                stream.flush()
                return
            else:
                digest = hashlib.sha256()
                for part in self.body(stream, length, chunked):
                    digest.update(part)
                text = digest.hexdigest().encode()
                stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
            stream.flush()

    @staticmethod
    def body(stream, length, chunked):
        if not chunked:
            while length > 0:
                part = stream.read(min(length, 65536))
                if not part:
                    return
                length -= len(part)
                yield part
            return
        while (size := int(stream.readline(), 16)) > 0:
            yield stream.read(size)
            stream.readline()
        stream.readline()


LISTEN, NO_FILE = "0A", "0"  # of /proc/net/tcp


class Proxy:
    def __init__(self, program, instance, limits=("1000", "1000", "20000"), files=None):
        def set_files():
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        # At its limit of files the program's stderr is of no use: it says so often, and UBSan's vptr check, which makes a pipe to
        # look at memory, calls every object broken.
        self.process = subprocess.Popen([program, "127.0.0.1:0", instance.address, *limits], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL if files else None,
                                        env={**os.environ, "QUIET": "1"}, preexec_fn=set_files if files else None)
        # A test that fails leaves its proxy behind, and whoever reads our output would wait for it.
        atexit.register(self.process.kill)
        host, port = self.process.stdout.readline().decode().strip().rsplit(":", 1)
        self.address = (host, int(port))

    def memory_kb(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1])

    def cpu_seconds(self):
        parts = open(f"/proc/{self.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")

    def files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def accepted(self):
        """Connections of clients it holds. Its files are more: connections to the instance are kept for the next request."""
        rows = [line.split() for line in open(f"/proc/{self.process.pid}/net/tcp")][1:]
        return sum(row[1].endswith(f":{self.address[1]:04X}") and row[3] != LISTEN and row[9] != NO_FILE for row in rows)

    def connect(self):
        client = socket.create_connection(self.address, 20)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def get(self, target="/healthz"):
        with self.connect() as client:
            client.sendall(f"GET {target} HTTP/1.1\r\nHost: v.test\r\nConnection: close\r\n\r\n".encode())
            return read_all(client)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, f"the proxy ended with {self.process.returncode}"


def read_all(client):
    data = b""
    while got := client.recv(1 << 16):
        data += got
    return data


def wait_until(condition, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def test_large_bodies_pass_whole_with_flat_memory(proxy, instance):
    proxy.get("/get/1000000")
    before = proxy.memory_kb()
    size = 200 << 20
    with proxy.connect() as client:
        client.sendall(f"GET /get/{size} HTTP/1.1\r\nHost: v.test\r\nConnection: close\r\n\r\n".encode())
        digest, got, head = hashlib.sha256(), 0, b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        body = head.split(b"\r\n\r\n", 1)[1] or client.recv(1 << 16)
        while body:
            digest.update(body)
            got += len(body)
            body = client.recv(1 << 16)
    expected = hashlib.sha256()
    for _ in range(size // len(BLOCK)):
        expected.update(BLOCK)
    assert got == size and digest.digest() == expected.digest(), f"{got} of {size} bytes"
    for chunked in (False, True):
        with proxy.connect() as client:
            framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {10 << 20}"
            client.sendall(f"POST /put HTTP/1.1\r\nHost: v.test\r\n{framing}\r\nConnection: close\r\n\r\n".encode())
            expected = hashlib.sha256()
            for _ in range((10 << 20) // len(BLOCK)):
                expected.update(BLOCK)
                client.sendall(b"%x\r\n" % len(BLOCK) + BLOCK + b"\r\n" if chunked else BLOCK)
            client.sendall(b"0\r\n\r\n" if chunked else b"")
            assert read_all(client).endswith(expected.hexdigest().encode())
    grown = proxy.memory_kb() - before
    assert grown < 16384, f"memory grew by {grown} KB"
    return f"200 MB down, 2 x 10 MB up, memory grew {grown} KB"


def test_a_client_that_reads_nothing_is_cut(proxy, instance):
    with proxy.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /get/100000000 HTTP/1.1\r\nHost: v.test\r\n\r\n")
        assert wait_until(lambda: instance.open == 0, 8), "the instance's connection was kept"
    return "cut after its limit, the instance's connection with it"


def test_slow_heads_and_bodies_end_at_their_limit(proxy, instance):
    clients = [proxy.connect() for _ in range(200)]
    for i, client in enumerate(clients):
        client.sendall(b"GET / HTTP/1.1\r\nHost: " if i % 2 else b"POST /put HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx")
    begin = time.monotonic()
    while time.monotonic() < begin + 0.9:
        for i, client in enumerate(clients):
            if i % 2:
                client.sendall(b"a")
        assert proxy.get().startswith(b"HTTP/1.1 200 ")
        time.sleep(0.05)
    for client in clients:
        answer = read_all(client)
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        client.close()
    took = time.monotonic() - begin
    assert took < 6, took
    return f"200 of them got 408 within {took:.1f} s"


def test_half_close_still_gets_the_answer(proxy, instance):
    with proxy.connect() as client:
        client.sendall(b"GET /get/5 HTTP/1.1\r\nHost: v.test\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client).endswith(BLOCK[:5])
    return "yes"


def test_reset_ends_the_request_at_the_instance(proxy, instance):
    client = proxy.connect()
    client.sendall(b"GET /hang HTTP/1.1\r\nHost: v.test\r\n\r\n")
    time.sleep(0.2)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert wait_until(lambda: instance.open <= 64), "the instance's connection was kept"
    with proxy.connect() as half:
        half.sendall(b"POST /put HTTP/1.1\r\nHost: v.test\r\nContent-Length: 100000\r\n\r\n" + b"x" * 500)
        half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert proxy.get().startswith(b"HTTP/1.1 200 ")
    return "yes"


def test_an_early_answer_reaches_a_client_that_is_still_sending(proxy, instance):
    with proxy.connect() as client:
        client.sendall(b"POST /early HTTP/1.1\r\nHost: v.test\r\nContent-Length: 50000000\r\n\r\n")

        def flood():
            try:
                for _ in range(760):
                    client.sendall(BLOCK)
            except OSError:
                pass

        sender = threading.Thread(target=flood, daemon=True)
        sender.start()
        got = client.recv(65536)
        assert got.startswith(b"HTTP/1.1 413 "), got
    sender.join()
    return "413 read while sending"


def test_nothing_is_left_behind(proxy, instance):
    assert wait_until(lambda: proxy.files() < 20 + 64), proxy.files()
    return f"{proxy.files()} files open"


def test_running_out_of_files_does_not_spin(program, instance):
    proxy = Proxy(program, instance, files=64)
    clients = []
    for _ in range(200):
        clients.append(socket.create_connection(proxy.address, 5))
    time.sleep(0.3)
    before = proxy.cpu_seconds()
    time.sleep(1)
    used = proxy.cpu_seconds() - before
    assert used < 0.2, f"{used} s of CPU in a second"
    for client in clients:
        client.close()
    assert wait_until(lambda: b"200 OK" in proxy.get(), 5)
    proxy.stop()
    return f"{used * 100:.0f} % CPU with 200 clients on 64 files, then well again"


def main():
    program = sys.argv[1]
    instance = Instance()
    proxy = Proxy(program, instance)
    failed = 0
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        try:
            arguments = (program, instance) if "out_of_files" in name else (proxy, instance)
            print(f"ok    {name[5:].replace('_', ' ')}: {test(*arguments)}", flush=True)
        except (AssertionError, OSError) as error:
            failed += 1
            print(f"WRONG {name[5:].replace('_', ' ')}: {error!r}", flush=True)
    proxy.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
