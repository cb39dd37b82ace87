"""What a usual call allocates: routing, fallback, limits and queues that are set and not needed add nothing to it.

Usage: test_allocations.py [BUILD_ROOT] [unittest arguments]
"""
import os
import struct
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root  # noqa: E402

BUILD = build_root()
COUNTER = os.path.join(BUILD, "tests/e2e/libmalloc_count.so")
AGENTD = os.path.join(BUILD, "agentd/aigw-agentd")
PATH = "/v1/chat/completions"
CALLS = 200

PLAIN = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM}
  - {name: b, type: openai-compatible, base_url: $SIM}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, targets: [{provider: a, model: sim-small}]}
"""
# Each part of the machinery, at rest.
FULL = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, limits: {concurrency: 10}, health: {min_samples: 20, max_ejected: 50%}, errors: {x: transient}}
  - {name: b, type: openai-compatible, base_url: $SIM, credentials: [sim, other], options: {prefill: message}}
  - {name: c, type: openai-compatible, base_url: $SIM, limits: {concurrency: 10}}
customers:
  - name: acme
    require_tags: [eu]
    projects: [{name: search, limits: {concurrency: 10}, require_tags: [eu]}]
identities:
  - {uid: $UID, project: search, limits: {concurrency: 10}}
models:
  - name: m
    strategy: $STRATEGY
    queue: {max: 10, wait: 1s}
    retry: {attempts: 3, backoff: 100ms, on: [500, timeout]}
    when_all_out: try_best
    require_tags: [eu]
    keepalive: 10s
    targets:
      - {provider: a, model: sim-small, tags: [eu], context_window: 100000, capabilities: [chat, tools, vision]}
      - {provider: b, model: sim-small, tags: [eu], context_window: 100000}
      - {provider: c, model: sim-small, tags: [eu], priority: 2}
"""


def is_sanitized():
    return b"libasan" in subprocess.run(["ldd", AGENTD], capture_output=True, check=False).stdout


@unittest.skipUnless(is_sanitized(), "allocations are counted in a build with the address sanitizer")
class Allocations(unittest.TestCase):
    def setUp(self):
        stack = self.stack = self.enterContext(Stack(BUILD, None, secrets={"sim": "sk-a", "other": "sk-b"}))
        self.file = stack.path("allocations")
        with open(self.file, "wb") as f:
            f.write(bytes(8))
        stack.end(stack.agent)
        stack.preload(COUNTER, MALLOC_COUNT_FILE=self.file, MALLOC_COUNT_THREADS="worker-")
        stack.start_agent(ready=False)

    def count(self):
        with open(self.file, "rb") as f:
            return struct.unpack("<Q", f.read(8))[0]

    def per_call(self, stream):
        """Of calls one after the other, when the first ones have made what is kept."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
        with self.stack.connect("unix") as wire:
            for n in (CALLS, CALLS):
                before = self.count()
                for _ in range(n):
                    self.assertEqual(wire.call(PATH, body).status, 200)
        return (self.count() - before) / CALLS

    def test_what_is_not_needed_allocates_nothing(self):
        self.stack.apply(PLAIN)
        self.stack.wait_ready()
        first = self.count()
        self.assertGreater(first, 0)  # the counter counts
        plain = {stream: self.per_call(stream) for stream in (False, True)}
        for strategy in ("weighted", "priority", "cheapest", "fastest", "least_busy", "headroom"):
            with self.subTest(strategy):
                self.stack.apply(FULL.replace("$STRATEGY", strategy))
                self.stack.wait_ready()
                self.assertEqual({stream: round(self.per_call(stream), 2) for stream in plain}, {stream: round(n, 2) for stream, n in plain.items()})
        print(f"# allocations per call: {plain[False]:.2f}, of a stream: {plain[True]:.2f}", file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
