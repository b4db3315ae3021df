"""Many at once and much at once."""
import concurrent.futures
import http.client
import os
import threading
import time

from fixture import DaemonTest, main


class Load(DaemonTest):
    def test_fifty_parallel_requests_into_a_sleeping_service_all_succeed(self):
        self.deploy_static("burst", "--idle", "6s")
        self.scaled_to_zero("burst")
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: self.wick.request("burst")[0], range(50)))
        self.assertEqual(answers, [200] * 50)

    def test_two_hundred_megabytes_go_up_and_down_with_flat_memory(self):
        size = 200 << 20
        self.deploy_static("bulk")
        self.wick.request("bulk")
        status = f"/proc/{self.wick.process.pid}/status"
        resident = lambda: int(next(line for line in open(status) if line.startswith("VmRSS")).split()[1]) << 10
        before = resident()
        peak = [before]
        done = threading.Event()

        def watch():
            while not done.is_set():
                peak[0] = max(peak[0], resident())
                time.sleep(0.005)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            connection = self.wick.connection()
            connection.request("GET", f"/bytes/{size}", headers={"Host": "bulk.localhost"})
            answer = connection.getresponse()
            got = 0
            while chunk := answer.read(1 << 20):
                got += len(chunk)
            self.assertEqual(got, size)
            connection.close()

            connection = self.wick.connection()
            piece = b"x" * (1 << 20)
            connection.request("POST", "/count", body=(piece for _ in range(200)),
                               headers={"Host": "bulk.localhost", "Content-Length": str(size)})
            self.assertEqual(connection.getresponse().read(), f"{size}\n".encode())
            connection.close()

            connection = self.wick.connection()
            connection.request("POST", "/count", body=(piece for _ in range(50)), headers={"Host": "bulk.localhost"},
                               encode_chunked=True)
            self.assertEqual(connection.getresponse().read(), f"{50 << 20}\n".encode())
            connection.close()
        finally:
            done.set()
            watcher.join()
        self.assertLess(peak[0] - before, 16 << 20, "the proxy held bodies in memory")


if __name__ == "__main__":
    main()
