"""The proxies Wick's edge is measured against, tuned as their manuals say: keep-alive to the upstream, as many workers as Wick has
loops, no access log.

They stand as Wick does: the listening socket is the host's, the connections to the program are made within the network namespace of
Wick's own instance. One process answers all sides, with the same filter, control group and namespaces around it: what is measured is
the proxy.
"""
import ctypes
import os
import pathlib
import socket
import subprocess

CONNECTIONS_MAX = 12000
FILES_MAX = 15000  # a few upstream connections more than clients

NGINX = """
worker_processes {workers};
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
    listen 127.0.0.1:{port}{nginx_tls} backlog=4096;
    {nginx_certificate}
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
  nbthread {workers}
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
  bind fd@{listener}{haproxy_tls}
  default_backend program
backend program
  server program 127.0.0.1:{upstream}
"""


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


CLONE_NEWNET = 0x40000000


class Network:
    """The network namespace of a process; entered as a context manager by the calling thread."""

    def __init__(self, pid):
        self.path = f"/proc/{pid}/ns/net"
        self.prefix = ["nsenter", f"--net={self.path}"]

    def __enter__(self):
        self.own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        other = os.open(self.path, os.O_RDONLY)
        self.set(other)
        os.close(other)

    def __exit__(self, *_):
        self.set(self.own)
        os.close(self.own)

    @staticmethod
    def set(fd):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


class Side:
    """One way to the program: an address in a network, and the processes that it costs."""

    def __init__(self, name, address, pid, network=None, only=None):
        self.name, self.address, self.pid, self.only = name, address, pid, only
        self.network = network or Network("self")  # the clients'

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


def answers(side):
    host, port = side.address.rsplit(":", 1)
    with side.network, socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


class Peers:
    """nginx and HAProxy, each on a port of its own in the network of the process `upstream`, and that process itself."""

    def __init__(self, folder, upstream, port, workers, certificate=None):
        """`certificate`: NAME of NAME.crt, NAME.key and both together as NAME.pem: the proxies are spoken to over TLS."""
        self.tls = {"nginx_tls": "", "nginx_certificate": "", "haproxy_tls": ""} if not certificate else {
            "nginx_tls": " ssl http2", "haproxy_tls": f" ssl crt {certificate.parent.parent / certificate.name}.pem alpn h2,http/1.1 ssl-min-ver TLSv1.2",
            "nginx_certificate": f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {certificate}.crt; ssl_certificate_key {certificate}.key; http2_max_requests 1000000000;"}
        self.folder, self.upstream, self.port, self.workers = folder, upstream, port, workers
        self.network = Network(upstream)
        self.running = []

    def __enter__(self):
        sides = [Side("direct", f"127.0.0.1:{self.port}", self.upstream, self.network)]
        for name, text, command in (("nginx", NGINX, ["nginx", "-p", str(self.folder), "-c"]), ("haproxy", HAPROXY, ["haproxy", "-f"])):
            with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
                port, fd = listener.getsockname()[1], listener.fileno()
                config = self.folder / f"{name}.conf"
                config.write_text(text.format(folder=self.folder, files=CONNECTIONS_MAX, files_max=FILES_MAX, port=port, listener=fd,
                                              upstream=self.port, workers=self.workers, **self.tls))
                self.running.append(subprocess.Popen([*self.network.prefix, *command, str(config)], stderr=subprocess.DEVNULL,
                                                     pass_fds=[fd], env=dict(os.environ, NGINX=f"{fd};")))
            sides.append(Side(name, f"127.0.0.1:{port}", self.running[-1].pid))
        return sides

    def __exit__(self, *_):
        for process in self.running:
            process.terminate()
            process.wait()
