"""Warm requests a second: wrk, 64 connections, 100-byte answers, through Wick ÷ through nginx to the same program.

nginx: one worker, keep-alive to the upstream, no access log; its upstream runs outside a sandbox, which is in its favour. The runs
take turns.
"""
import os
import re
import socket
import statistics
import subprocess
import time

from bench import Bench, figure, say, summary

CONNECTIONS = 64
RUNS = int(os.environ.get("WICK_BENCH_RUNS", "5"))
SECONDS = int(os.environ.get("WICK_BENCH_SECONDS", "4"))

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream program {{ server 127.0.0.1:{upstream}; keepalive {connections}; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://program;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def requests_a_second(address):
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", "Host: bench.localhost", f"http://{address}/"],
                          check=True, capture_output=True, text=True).stdout
    bad = re.search(r"Non-2xx.*|Socket errors: .*", done)
    if bad:
        raise RuntimeError(f"wrk against {address}: {bad.group(0)}")
    return float(re.search(r"Requests/sec:\s*([0-9.]+)", done).group(1))


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run():
    with Bench() as bench:
        port, upstream = free_port(), free_port()
        (bench.folder / "nginx.conf").write_text(
            NGINX.format(folder=bench.folder, port=port, upstream=upstream, connections=CONNECTIONS))
        program = subprocess.Popen([bench.program], env=dict(os.environ, PORT=str(upstream)))
        nginx = subprocess.Popen(["nginx", "-p", bench.folder, "-c", bench.folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            bench.eventually("nginx and the program listen", lambda: answers(port) and answers(upstream), 10)
            places = {"wick": bench.daemon.listen, "nginx": f"127.0.0.1:{port}"}
            rates = {name: [] for name in places}
            for turn in range(RUNS + 1):
                for name, address in places.items():
                    rate = requests_a_second(address)
                    if turn:  # the first of each is warming up
                        rates[name].append(rate)
                    time.sleep(0.3)
            direct = requests_a_second(f"127.0.0.1:{upstream}")
        finally:
            for process in (nginx, program):
                process.terminate()
                process.wait()
        for name, values in rates.items():
            say(f"through {name:6} {summary(values, 'requests/s')}")
        say(f"direct         {direct:.0f} requests/s")
        figure("edge_to_nginx", statistics.median(rates["wick"]) / statistics.median(rates["nginx"]), 1.0, at_most=False)
