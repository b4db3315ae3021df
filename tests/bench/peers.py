"""The proxies Wick's edge is measured against, tuned as their manuals say: keep-alive to the upstream, one worker, no access log."""
import os
import pathlib
import socket
import subprocess

CONNECTIONS_MAX = 12000
FILES_MAX = 15000  # a few upstream connections more than clients

NGINX = """
worker_processes 1;
worker_rlimit_nofile {files_max};
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log error;
events {{ worker_connections {files}; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream program {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
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

HAPROXY = """
global
  nbthread 1
  maxconn {files}
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
  option forwardfor
frontend edge
  bind 127.0.0.1:{port} backlog 4096
  default_backend program
backend program
  server program 127.0.0.1:{upstream}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def family(pid):
    """The process and everything below it."""
    children = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


class Side:
    """One way to the program: an address, and the processes that it costs."""

    def __init__(self, name, address, pid, only=None):
        self.name, self.address, self.pid, self.only = name, address, pid, only

    def processes(self):
        for pid in family(self.pid):
            try:
                if self.only is None or os.readlink(f"/proc/{pid}/exe") == self.only:
                    yield pid
            except OSError:
                continue

    def cpu_seconds(self):
        total = 0
        for pid in self.processes():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def memory_kb(self):
        total = 0
        for pid in self.processes():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total


class Peers:
    """nginx, HAProxy and the bare program, each on a port of its own."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.running = []
        self.upstream = free_port()

    def __enter__(self):
        self.start([self.program], env=dict(os.environ, PORT=str(self.upstream)))
        sides = [Side("direct", f"127.0.0.1:{self.upstream}", self.running[0].pid)]
        for name, text, command in (("nginx", NGINX, ["nginx", "-p", str(self.folder), "-c"]), ("haproxy", HAPROXY, ["haproxy", "-f"])):
            port = free_port()
            config = self.folder / f"{name}.conf"
            config.write_text(text.format(folder=self.folder, files=CONNECTIONS_MAX, files_max=FILES_MAX, port=port, upstream=self.upstream))
            self.start([*command, str(config)])
            sides.append(Side(name, f"127.0.0.1:{port}", self.running[-1].pid))
        return sides

    def start(self, command, env=None):
        self.running.append(subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL))

    def __exit__(self, *_):
        for process in self.running:
            process.terminate()
            process.wait()
