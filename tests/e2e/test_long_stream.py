"""S19: a stream of 20 minutes with steady tokens is cut by no timer but `idle` and `total`. For the agent 200 seconds go by in each, so that
whatever it waits for comes in time: its timers for slow clients, for what rests and for what is late are all met on the way.

Usage: test_long_stream.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root  # noqa: E402

BUILD = build_root()
CLOCK = os.path.join(BUILD, "tests/e2e/libfast_clock.so")
RATE = 200
MINUTES = 20
TOKENS = 120  # one every ten seconds
PACE_US = MINUTES * 60 * 1_000_000 // RATE // TOKENS

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: steady, type: openai-compatible, base_url: $SIM, timeouts: {idle: 5m, total: 3h}}
  - {name: idle, type: openai-compatible, base_url: $SIM, timeouts: {idle: 2s, total: 3h}}
  - {name: total, type: openai-compatible, base_url: $SIM, timeouts: {idle: 5m, total: 10m}}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
""" + "".join(f"  - {{name: {name}, targets: [{{provider: {name}, model: sim+tokens-{TOKENS}+pace-{PACE_US}}}]}}\n" for name in ("steady", "idle", "total"))


class LongStream(unittest.TestCase):
    def setUp(self):
        stack = self.stack = self.enterContext(Stack(BUILD, None))
        stack.end(stack.agent)
        stack.preload(CLOCK, FAST_CLOCK_RATE=str(RATE))
        stack.start_agent(ready=False)
        stack.apply(POLICY)
        stack.wait_ready()

    def stream(self, model):
        """(its data, the record)"""
        known = len(self.stack.records())
        answer = self.stack.chat(model, stream=True)
        data = [line[len(b"data: "):] for line in answer.body.split(b"\n") if line.startswith(b"data: ")]
        self.assertEqual(answer.status, 200, answer.body)
        return data, self.stack.wait_records(known + 1)[-1]

    def test_s19_only_idle_and_total_end_a_stream(self):
        data, record = self.stream("steady")
        self.assertEqual(data[-1], b"[DONE]")
        self.assertEqual(sum(bool(json.loads(d)["choices"][0]["delta"].get("content")) for d in data[:-1]), TOKENS)
        self.assertEqual((record["outcome"], record["output_tokens"]), ("ok", TOKENS))
        self.assertGreaterEqual(record["duration_us"], (MINUTES - 1) * 60 * 1_000_000)  # the clock does run like that
        for model, minutes in (("idle", 0), ("total", 10)):
            with self.subTest(model):
                data, record = self.stream(model)
                self.assertIn("error", json.loads(data[-1]))
                self.assertNotEqual(record["outcome"], "ok")
                self.assertGreaterEqual(record["duration_us"], minutes * 60 * 1_000_000)
                self.assertLess(record["duration_us"], (minutes + 5) * 60 * 1_000_000)


if __name__ == "__main__":
    unittest.main()
