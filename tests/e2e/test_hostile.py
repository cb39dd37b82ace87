"""Clients that mean harm. What they may not do is in each test's name; that nothing leaks and no number overflows the harness sees
from the programs' end under the sanitizers.
    AIGW_BUILD=BUILD_ROOT python3 tests/e2e/test_hostile.py"""
import contextlib
import json
import os
import resource
import select
import socket
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Stack, build_root, wait_for

BUILD = build_root()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD))
        cls.key = cls.stack.make_key("search")

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.stack.port), timeout=60)
        self.addCleanup(s.close)
        return s

    def inflight_is_over(self):
        return self.stack.call("/healthz", way="tcp").status == 200

    def test_a_refused_call_whose_body_never_ends_leaves_nothing(self):
        heads = ("authorization: Bearer nonsense\r\n", f"authorization: Bearer {self.key}\r\nx-api-key: other\r\n",
                 f"authorization: Bearer {self.key}\r\nx-aigw-new: 1\r\n")
        for head in heads:
            for path in ("/v1/chat/completions", "/v1/nowhere"):
                with self.connect() as s:
                    s.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-length: 100\r\n\r\n{{".encode())
        wait_for(self.inflight_is_over, "the agent goes on")

    def test_a_model_in_other_letters_beside_the_plain_one_is_refused(self):
        for members in ('"model":"small","Model":"dear"', '"MODEL":"dear","model":"small"', '"model":"small","\\u004dodel":"dear"'):
            answer = self.stack.call("/v1/chat/completions", ("{" + members + ',"messages":[]}').encode(), self.key)
            self.assertEqual((answer.status, json.loads(answer.body)["error"]["code"]), (400, "duplicate_member"), members)

    def rss(self):
        with open(f"/proc/{self.stack.agent.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    @unittest.skipIf(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 16000, "5,000 connections need more descriptors than this host gives")
    def test_5000_idle_connections_slow_heads_and_slow_bodies(self):
        """They hold little, others are served as before, and each ends at its deadline."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        alone = sorted(self.times(100))
        before = self.rss()
        idle = [self.connect() for _ in range(5000)]
        for s in idle[::50]:  # some have had an answer
            s.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            self.assertIn(b"200 OK", s.recv(4096))
        heads = [self.connect() for _ in range(100)]
        for s in heads:
            s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        bodies = [self.connect() for _ in range(100)]
        for s in bodies:
            s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self.key}\r\ncontent-length: 30000000\r\n\r\n{{".encode())
        beside = sorted(self.times(100))
        more = self.rss() - before
        print(f"# 5,200 connections: {more / 5200:.0f} bytes each under the sanitizers; a call {1e6 * alone[50]:.0f} us alone, {1e6 * beside[50]:.0f} beside them",
              file=sys.stderr)
        self.assertLess(more, 64 << 20)
        self.assertLess(beside[50], 5 * alone[50])
        # A byte now and then keeps nobody: a head has 10 s from its first byte.
        until = time.monotonic() + 30
        while heads and time.monotonic() < until:
            time.sleep(0.5)
            heads = [s for s in heads if not self.ended(s, b"y")]
        self.assertEqual(heads, [])
        self.assertEqual(self.stack.chat("small", key=self.key).status, 200)

    def times(self, n):
        for _ in range(n):
            began = time.perf_counter()
            self.assertEqual(self.stack.call("/healthz", way="tcp").status, 200)
            yield time.perf_counter() - began

    def ended(self, s, more):
        """Whether the agent has answered 408 or closed; else it gets one byte more."""
        poll = select.poll()
        poll.register(s, select.POLLIN)
        if poll.poll(0):
            with contextlib.suppress(ConnectionError):
                self.assertIn(s.recv(4096)[:12], (b"", b"HTTP/1.1 408"))
            return True
        with contextlib.suppress(OSError):
            s.sendall(more)
        return False


if __name__ == "__main__":
    unittest.main(verbosity=1)
