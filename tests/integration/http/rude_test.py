#!/usr/bin/env python3
"""Many rude clients at once against a real server and relay: slowhttptest, 10,000 idle connections, resets in every state, too many
connections from one address. usage: rude_test.py HTTP_RELAY_PROGRAM

Times are printed, never judged; what is judged: nothing hangs, nothing leaks, memory a connection, and that good clients are served.
"""
import os, resource, shutil, socket, struct, subprocess, sys, threading, time

sys.dont_write_bytecode = True
from clients_test import Instance, Proxy, read_all, wait_until

IDLE = 10_000
KB_A_CONNECTION = 40  # trust-and-ux.md 10.1


def raise_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class GoodClients:
    """One keep-alive client that asks again and again, and how long each answer took."""

    def __init__(self, proxy):
        self.proxy, self.stopping, self.times, self.wrong = proxy, False, [], 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        with self.proxy.connect() as client:
            while not self.stopping:
                begin = time.perf_counter()
                client.sendall(b"GET /get/5 HTTP/1.1\r\nHost: v.test\r\n\r\n")
                if not client.recv(65536).startswith(b"HTTP/1.1 200 "):
                    self.wrong += 1
                    return
                self.times.append(time.perf_counter() - begin)
                time.sleep(0.002)

    def stop(self):
        self.stopping = True
        self.thread.join()
        ordered = sorted(self.times)
        assert not self.wrong and ordered, "a good client was refused"
        return ordered[len(ordered) * 99 // 100] * 1000


def reset(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_slow_clients_of_slowhttptest_do_not_hold_up_good_ones(program, instance):
    if not shutil.which("slowhttptest"):
        return "SKIPPED: there is no slowhttptest"
    proxy = Proxy(program, instance, limits=("2000", "2000", "20000"))
    good = GoodClients(proxy)
    time.sleep(2)
    before, memory = good.stop(), proxy.memory_kb()
    said = [f"p99 alone {before:.1f} ms"]
    url = "http://%s:%d" % proxy.address
    for name, mode in (("heads", ["-H", "-i", "1"]), ("bodies", ["-B", "-i", "1"]),
                       ("reads", ["-X", "-w", "1", "-y", "1", "-n", "1", "-z", "1", "-k", "1"])):
        target = url + ("/get/1000000" if name == "reads" else "/put")
        slow = subprocess.Popen(["slowhttptest", *mode, "-c", "500", "-r", "250", "-l", "6", "-u", target],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        good = GoodClients(proxy)
        most = 0
        while slow.poll() is None:
            most = max(most, proxy.memory_kb())
            time.sleep(0.1)
        said.append(f"with slow {name} {good.stop():.1f} ms")
        assert (most - memory) / 500 < KB_A_CONNECTION + 8, f"slow {name}: {most - memory} KB for 500 connections"
    assert wait_until(lambda: proxy.accepted() == 0, 10), f"{proxy.accepted()} connections are still open"
    proxy.stop()
    return ", ".join(said)


def test_ten_thousand_idle_connections_cost_little_and_block_nobody(program, instance):
    if raise_files() < IDLE + 500:
        return "SKIPPED: too few open files are allowed"
    proxy = Proxy(program, instance, limits=("60000", "60000", "60000"))
    before = proxy.memory_kb()
    clients = []
    for i in range(IDLE):
        client = proxy.connect()
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: v.test\r\n\r\n")
        clients.append(client)
        if i % 100 == 99:
            for each in clients[-100:]:
                assert each.recv(4096).startswith(b"HTTP/1.1 200 ")
    each_kb = (proxy.memory_kb() - before) / IDLE
    assert each_kb < KB_A_CONNECTION, f"{each_kb:.1f} KB a connection"
    assert proxy.get().startswith(b"HTTP/1.1 200 ")
    used = proxy.cpu_seconds()
    time.sleep(1)
    used = proxy.cpu_seconds() - used
    for client in clients:
        client.close()
    assert wait_until(lambda: proxy.files() < 50, 20), proxy.files()
    proxy.stop()
    return f"{each_kb:.1f} KB each, {used * 100:.0f} % CPU while idle"


def test_a_reset_in_any_state_leaves_nothing_behind(program, instance):
    proxy = Proxy(program, instance)
    proxy.get()
    states = {
        "connected": b"",
        "within the request line": b"GET /get",
        "within a field": b"GET / HTTP/1.1\r\nHost: v.t",
        "waiting for the instance": b"GET /hang HTTP/1.1\r\nHost: v.test\r\n\r\n",
        "within a body": b"POST /put HTTP/1.1\r\nHost: v.test\r\nContent-Length: 100000\r\n\r\nabc",
        "within a chunk": b"POST /put HTTP/1.1\r\nHost: v.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "while 100 MB are sent": b"GET /get/100000000 HTTP/1.1\r\nHost: v.test\r\n\r\n",
        "after a refusal": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n" + b"x" * 2000,
        "between requests": b"GET /get/5 HTTP/1.1\r\nHost: v.test\r\n\r\n",
        "with requests in line": b"GET /get/50000 HTTP/1.1\r\nHost: v.test\r\n\r\n" * 20,
    }
    base = proxy.files()
    for data in states.values():
        clients = [proxy.connect() for _ in range(20)]
        for client in clients:
            client.sendall(data)
        time.sleep(0.1)
        for client in clients:
            reset(client)
    # Kept connections to the instance are none of the clients'.
    assert wait_until(lambda: proxy.files() <= base + 64 and instance.open <= 64, 10), (proxy.files(), instance.open)
    assert proxy.get().startswith(b"HTTP/1.1 200 ")
    proxy.stop()
    return f"{len(states)} states"


def test_requests_in_line_are_answered_in_order(program, instance):
    proxy = Proxy(program, instance)
    sizes = [1 + 37 * i % 5000 for i in range(300)]
    with proxy.connect() as client:
        lines = [b"GET /get/%d HTTP/1.1\r\nHost: v.test\r\n" % size for size in sizes]
        client.sendall(b"\r\n".join(lines) + b"Connection: close\r\n\r\n")
        data = read_all(client)
    for size in sizes:
        head, _, data = data.partition(b"\r\n\r\n")
        assert b"Content-Length: %d" % size in head, (size, head)
        data = data[size:]
    proxy.stop()
    return f"{len(sizes)} requests in one write"


def test_running_out_of_files_ends_when_files_are_free(program, instance):
    proxy = Proxy(program, instance, files=64)
    clients = [socket.create_connection(proxy.address, 5) for _ in range(200)]
    time.sleep(0.3)
    for client in clients:
        client.close()
    begin = time.monotonic()
    assert wait_until(lambda: b"200 OK" in proxy.get(), 10)
    took = time.monotonic() - begin
    proxy.stop()
    return f"well again after {took * 1000:.0f} ms"


def test_one_address_may_not_take_all_connections(program, instance):
    if os.geteuid() != 0:
        return "SKIPPED: needs root for a network of its own"
    inside = subprocess.run(["unshare", "-n", sys.executable, __file__, program, "inside"], capture_output=True, text=True, timeout=60)
    assert inside.returncode == 0, inside.stdout + inside.stderr
    return inside.stdout.strip()


def inside_a_network_of_its_own(program):
    for command in ("ip link set lo up", "ip addr add 192.0.2.1/32 dev lo"):
        subprocess.run(command.split(), check=True)
    process = subprocess.Popen([program, "192.0.2.1:0", "127.0.0.1:1"], stdout=subprocess.PIPE, env={**os.environ, "QUIET": "1"})
    host, port = process.stdout.readline().decode().strip().rsplit(":", 1)

    def ask(source):
        client = socket.create_connection((host, int(port)), 5, source_address=(source, 0))
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: v.test\r\n\r\n")
        return client, client.recv(4096)

    held = [ask("192.0.2.1") for _ in range(512)]
    assert all(answer.startswith(b"HTTP/1.1 200 ") for _, answer in held)
    _, refused = ask("192.0.2.1")
    assert refused.startswith(b"HTTP/1.1 503 ") and b"E_OVERLOADED" in refused, refused
    _, other = ask("127.0.0.1")
    assert other.startswith(b"HTTP/1.1 200 "), other
    held[0][0].close()
    assert wait_until(lambda: ask("192.0.2.1")[1].startswith(b"HTTP/1.1 200 "), 10)
    process.terminate()
    process.wait()
    print("512 served, the next got 503, others were served")


def main():
    program = sys.argv[1]
    if sys.argv[2:] == ["inside"]:
        return inside_a_network_of_its_own(program)
    raise_files()
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (sys.argv[2:] and sys.argv[2] not in name):
            continue
        try:
            print(f"ok    {name[5:].replace('_', ' ')}: {test(program, Instance())}", flush=True)
        except (AssertionError, OSError) as error:
            failed += 1
            print(f"WRONG {name[5:].replace('_', ' ')}: {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
