"""What tests of the daemon's own registry stand on: its address, tokens that may push and only pull, a repository a test."""
import json
import random
import re

from fixture import DaemonTest
from registries import RegistryClient


class OwnRegistryTest(DaemonTest):
    flags = ("--api-listen", "127.0.0.1:0")
    prefix = "tests"  # of the repositories' names

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.host = json.loads(cls.wick.api("GET", "/apis/wick.dev/v1/info")[1])["apiListen"]
        cls.token = cls.wick.cli("token", "create", "ci", "--scope", "deploy").stdout.strip()
        cls.reader = cls.wick.cli("token", "create", "reader", "--scope", "read").stdout.strip()

    def setUp(self):
        self.registry = RegistryClient(self.host, self.token)
        self.repository = f"{self.prefix}/" + re.sub("[^a-z0-9]+", "-", self.id().split(".")[-1])[:50].strip("-")
        self.repository += f"/{random.randrange(1 << 40):010x}"  # the state folder outlives a run
