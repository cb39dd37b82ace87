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
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "halt_on_error=1") + ":quarantine_size_mb=8"  # what is freed is not what is held
from harness import POLICY, Stack, build_root, wait_for
from provider import Provider, answer_bytes, answer_each
from wire import request_bytes

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


LARGE = b'{"x":"' + b"a" * (2 << 20) + b'"}'


class Slow(unittest.TestCase):
    """Clients that take their answer or give their request by bytes. `./dev bench --only slow` has 5,000 of each and judges the time."""

    COUNT = 300

    def setUp(self):
        self.provider = self.enterContext(Provider(serve=lambda conn: answer_each(conn, answer_bytes(LARGE))))
        self.stack = self.enterContext(Stack(BUILD, POLICY.replace("prices:", f'  - {{name: large, type: openai-compatible, base_url: "http://127.0.0.1:{self.provider.port}/v1"}}\nprices:', 1)
                                             .replace("customers:", "  - {name: large, targets: [{provider: large, model: x}]}\ncustomers:", 1)))

    def rss(self):
        with open(f"/proc/{self.stack.agent.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def test_what_lies_in_the_kernel_is_bounded(self):
        """Over TCP, where a socket on loopback would take megabytes: how much of an answer the provider gets rid of while nobody reads."""
        key = self.stack.make_key("search")
        with Provider() as provider:
            self.stack.apply(POLICY.replace("base_url: $SIM", f'base_url: "http://127.0.0.1:{provider.port}/v1"'))
            self.stack.wait_ready()
            wire = self.enterContext(self.stack.connect("tcp"))
            wire.send("/v1/chat/completions", {"model": "small", "messages": []}, headers=[("authorization", f"Bearer {key}")])
            with provider.accept() as conn:
                conn.request()
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
                data, sent = memoryview(answer_bytes(b'{"x":"' + b"a" * (8 << 20) + b'"}')), 0
                conn.sock.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    while sent < len(data):
                        sent += conn.sock.send(data[sent:sent + 16384])
                print(f"# {sent >> 10} KiB are on their way", file=sys.stderr)
                self.assertLess(sent, 2 << 20)
                conn.sock.settimeout(60)
                rest = threading.Thread(target=conn.sock.sendall, args=(data[sent:],))
                rest.start()
                a = wire.answer()
                rest.join()
            self.assertEqual((a.whole, len(a.body)), (True, (8 << 20) + 8))

    def test_they_hold_little_and_nobody_waits_for_them(self):
        body = {"model": "large", "messages": [{"role": "user", "content": "hello"}]}
        for _ in range(20):
            self.assertEqual(self.stack.chat("small", way="unix").status, 200)
        before = self.rss()
        readers = [self.enterContext(self.stack.connect("unix")) for _ in range(self.COUNT)]
        for wire in readers:
            wire.send("/v1/chat/completions", body)
        heads = [wire.head() for wire in readers]
        self.assertEqual({a.status for a in heads}, {200})
        senders = [self.enterContext(self.stack.connect("unix")) for _ in range(self.COUNT)]
        whole = request_bytes("/v1/chat/completions", {**body, "model": "small"})
        for wire in senders:
            wire.sock.sendall(whole[:-20])
        for n in range(10):  # a byte of each, and calls of others between
            for wire in senders:
                wire.sock.sendall(whole[len(whole) - 20 + n:][:1])
            for _ in range(10):
                self.assertEqual(self.stack.chat("small", way="unix").status, 200)
        held = self.rss() - before
        print(f"# {self.COUNT} slow readers and {self.COUNT} slow senders: {held / self.COUNT / 2 / 1024:.0f} KiB each under the sanitizers", file=sys.stderr)
        self.assertLess(held, self.COUNT * (256 << 10))  # a read of 64 KiB and what the sanitizers keep, of 2 MB that each of them is to get
        for wire in senders:
            wire.sock.sendall(whole[-10:])
        self.assertEqual({wire.answer().status for wire in senders}, {200})
        for wire, a in zip(readers, heads):  # nothing is lost for being taken late
            wire.finish(a)
            self.assertTrue(a.whole and a.body == LARGE)
        self.stack.wait_records(20 + 2 * self.COUNT + 100)


if __name__ == "__main__":
    unittest.main(verbosity=1)
