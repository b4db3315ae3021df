#!/usr/bin/env python3
"""A real sshd on loopback: each connection gets an `sshd -i` of its own.

  ssh_server.py FOLDER      makes host.pub, user (a private key) and authorized keys in FOLDER, prints the port and stays
"""
import os
import socket
import subprocess
import sys

folder = sys.argv[1]
for name in ("host", "user"):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/{name}"], check=True)
os.makedirs("/run/sshd", exist_ok=True)
with open(f"{folder}/sshd_config", "w") as config:
    config.write(f"""HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PasswordAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
LogLevel QUIET
""")
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    subprocess.Popen(["/usr/sbin/sshd", "-i", "-f", f"{folder}/sshd_config"], stdin=connection, stdout=connection,
                     stderr=subprocess.DEVNULL)
    connection.close()
