"""A provider that closes each connection after one answer: before the next request comes, or when its bytes come. No call may fail,
each is booked once, and what had to be replaced is counted.

Usage: test_stale.py [BUILD_ROOT] [unittest arguments]; AIGW_FULL=1: 10,000 calls instead of 2,000.
"""
import collections
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
from harness import Stack, bearer, build_root, wait_for  # noqa: E402

BUILD = build_root()
CALLS = 10000 if os.environ.get("AIGW_FULL") == "1" else 2000
CLIENTS = 4

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: plain, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: tls, type: openai-compatible, base_url: $SIM_TLS, credential: sim, options: {ca_file: "$CA"}}
models:
  - {name: plain-before, targets: [{provider: plain, model: sim+tokens-5+close-after}]}
  - {name: plain-during, targets: [{provider: plain, model: sim+tokens-5+close-on-next}]}
  - {name: tls-before, targets: [{provider: tls, model: sim+tokens-6+close-after}]}
  - {name: tls-during, targets: [{provider: tls, model: sim+tokens-6+close-on-next}]}
customers:
  - {name: acme, projects: [{name: p}]}
identities:
  - {uid: $UID, project: p}
"""


class Stale(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.mount = os.access("/dev/fuse", os.R_OK | os.W_OK)
        cls.stack = Stack(BUILD, POLICY, agent={"durability": "relaxed"})
        if cls.mount:
            cls.stack.agent_settings["stats"] = cls.stack.path("stats")
            os.mkdir(cls.stack.path("stats"))
        cls.stack.__enter__()
        cls.key = cls.stack.make_key("p")

    @classmethod
    def tearDownClass(cls):
        cls.stack.__exit__(None, None, None)

    def replaced(self):
        """stale_replaced of the agent's own numbers; None where they can't be mounted."""
        if not self.mount:
            return None
        with open(self.stack.path("stats/stat")) as f:
            return dict(line.split() for line in f)["stale_replaced"]

    def client(self, model, calls, wrong, ids):
        way = "tcp" if len(ids) % 2 else "unix"
        with self.stack.connect(way) as wire:
            for i in range(calls):
                stream = i % 3 == 0
                body = {"model": model, "messages": [{"role": "user", "content": "x" * (i % 50)}], "stream": stream}
                a = wire.call("/v1/chat/completions", body, bearer(self.key if way == "tcp" else None))
                if a is None or a.status != 200 or not a.whole or (stream and not a.body.endswith(b"data: [DONE]\n\n")):
                    wrong.append(a and (a.status, a.body[:200]))
                    return
                ids.append(a.header("x-request-id"))

    def run_calls(self, model, calls):
        wrong, ids = [], [[None] * (i % 2) for i in range(CLIENTS)]
        threads = [threading.Thread(target=self.client, args=(model, calls // CLIENTS, wrong, ids[i])) for i in range(CLIENTS)]
        before, dropped, first = self.replaced(), self.stack.sim_stats()["dropped_on_next"], len(self.stack.sim_log())
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(wrong, [])
        got = {i for part in ids for i in part if i}
        self.assertEqual(len(got), calls // CLIENTS * CLIENTS)
        lines = self.stack.wait_sim(lambda line: True)[first:]
        answered = collections.Counter(line["client_request_id"] for line in lines if line["event"] == "recv")
        self.assertEqual(set(answered), got)
        self.assertEqual(set(answered.values()), {1})
        dropped = self.stack.sim_stats()["dropped_on_next"] - dropped
        if before is not None:
            return int(self.replaced()) - int(before), dropped
        print("# skipped: stale_replaced, for want of /dev/fuse")
        return dropped, dropped

    def test_closed_before_the_next_request(self):
        for kind in ("plain", "tls"):
            with self.subTest(provider=kind):
                replaced, dropped = self.run_calls(kind + "-before", CALLS // 4)
                # The closed connection is noticed while idle, mostly; where the request was faster it is replaced.
                self.assertEqual(dropped, 0)
                self.assertLess(replaced, CALLS // 4)

    def test_closed_when_the_next_request_comes(self):
        for kind in ("plain", "tls"):
            with self.subTest(provider=kind):
                replaced, dropped = self.run_calls(kind + "-during", CALLS // 4)
                self.assertEqual(replaced, dropped)
                self.assertGreater(replaced, CALLS // 16)

    def test_z_one_record_each(self):
        """After the others."""
        sim = {line["client_request_id"] for line in self.stack.sim_log() if line["event"] == "recv"}
        records = self.stack.check_ledger()
        self.assertEqual(set(records), sim)
        for r in records.values():
            self.assertEqual((r["outcome"], r["usage_seen"], r["attempts"]), ("ok", True, 1))
        stats = wait_for(lambda: (a := self.stack.api("GET", "/api/v1/agents/a1")) and a["records"] == len(sim) and a, "all records")
        self.assertEqual(stats["records"], len(sim))


if __name__ == "__main__":
    unittest.main(verbosity=2)
