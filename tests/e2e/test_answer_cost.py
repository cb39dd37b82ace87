"""What answers tell of cost and tokens (settings.headers.cost): the same numbers as the record's.

Usage: test_answer_cost.py [BUILD_ROOT] [unittest arguments]
"""
import gzip
import json
import os
import sys
import time
import unittest
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, CHAT, Provider, answer_bytes  # noqa: E402

BUILD = build_root()

POLICY = """\
apiVersion: aigw/v1
settings: {$SETTINGS}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 1000}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: free, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: own, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", health: {open_after: 1000}}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1", health: {open_after: 1000}}
prices:
  - {provider: nobody, model: "*", from: 2020-01-01, input: 1, output: 1, per_request: 1}
  - {provider: a, model: "*", from: 2020-01-01, input: 0.15, output: 0.6, per_request: 0.25}
  - {provider: b, model: "*", from: 2020-01-01, input: 10, output: 20.000001}
  - {provider: own, model: "*", from: 2020-01-01, input: 100.5, cached_input: 10, output: 200}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, targets: [{provider: a, model: sim-m}]}
  - {name: long, targets: [{provider: a, model: sim-l+tokens-30000}]}
  - {name: free, targets: [{provider: free, model: sim-f}]}
  - {name: second, targets: [{provider: a, model: sim-s+fail-500}, {provider: b, model: sim-t, priority: 2}]}
  - {name: refused, retry: {attempts: 1}, targets: [{provider: a, model: sim-r+fail-400}]}
  - {name: down, retry: {attempts: 1}, targets: [{provider: nobody, model: x}]}
  - {name: own, retry: {attempts: 1}, targets: [{provider: own, model: x}]}
"""
PATH = "/v1/chat/completions"
ON = "headers: {cost: true}"


class Case(unittest.TestCase):
    maxDiff = None

    def start(self, settings=ON, **agent):
        self.script = []  # steps of the own provider: bytes, or a function that it calls
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, None, agent=agent))
        self.apply(settings)

    def serve(self, conn):
        while conn.request():
            for step in self.script:
                step() if callable(step) else conn.send(step)

    def apply(self, settings):
        self.stack.apply(POLICY.replace("$SETTINGS", settings).replace("$OWN", str(self.provider.port)))
        self.stack.wait_ready()

    def ask(self, name, status=200, **more):
        a = self.stack.chat(name, way="unix", **more)
        self.assertEqual((a.status, a.whole), (status, True), a.body)
        return a

    def record(self, a):
        return wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")

    def check(self, a, currency="usd"):
        """The head says what the record says. Gives the record."""
        r = self.record(a)
        names = sorted(n for n, _ in a.headers if n.startswith("x-aigw-cost"))
        if r["priced"]:
            cost = a.header("x-aigw-cost-" + currency)
            self.assertEqual((names, Decimal(cost)), (["x-aigw-cost-" + currency], Decimal(r["cost"])))
            self.assertGreaterEqual(len(cost.split(".")[1]), 6)
        else:
            self.assertEqual(names, [])
        tail = ";estimated=1" if r["estimated"] else ""
        self.assertEqual(a.header("x-aigw-tokens"), f"in={r['input_tokens']};cached={r['cached_input_tokens']};out={r['output_tokens']}{tail}")
        return r


class Plain(Case):
    def test_off_unless_it_is_asked_for(self):
        """The same lines in the same order, whatever else the policy says."""
        self.start("")
        heads = []
        for settings in ("", "headers: {}", "headers: {cost: false}"):
            self.apply(settings)
            a = self.ask("m")
            heads.append([n for n, _ in a.headers])
            self.assertFalse([n for n in heads[-1] if "cost" in n or "tokens" in n])
        self.assertEqual(heads, heads[:1] * 3)
        self.apply(ON)
        a = self.ask("m")
        self.assertEqual([n for n, _ in a.headers if n not in ("x-aigw-cost-usd", "x-aigw-tokens")], heads[0])

    def test_the_record_s_numbers(self):
        self.start()
        a = self.ask("m")
        r = self.check(a)
        self.assertEqual((r["priced"], r["estimated"]), (True, False))
        usage = a.json()["usage"]
        self.assertEqual(a.header("x-aigw-tokens"), f"in={usage['prompt_tokens']};cached=0;out={usage['completion_tokens']}")
        cost = Decimal("0.25") + (Decimal("0.15") * usage["prompt_tokens"] + Decimal("0.6") * usage["completion_tokens"]) / 1000000
        self.assertEqual(Decimal(a.header("x-aigw-cost-usd")), cost)

    def test_cached_input(self):
        self.start()
        usage = {"prompt_tokens": 4120, "completion_tokens": 301, "total_tokens": 4421, "prompt_tokens_details": {"cached_tokens": 4000}}
        self.script = [answer_bytes({**CHAT, "usage": usage})]
        a = self.ask("own")
        self.check(a)
        self.assertEqual((a.header("x-aigw-tokens"), a.header("x-aigw-cost-usd")), ("in=4120;cached=4000;out=301", "0.112260"))

    def test_more_decimals_where_there_are_more(self):
        self.start()
        self.script = [ANSWER]
        a = self.ask("own")
        self.check(a)
        self.assertEqual(a.header("x-aigw-cost-usd"), "0.0007015")

    def test_of_several_tries(self):
        self.start()
        a = self.ask("second")
        self.assertEqual((a.header("x-aigw-provider"), a.header("x-aigw-attempts")), ("b", "2"))
        self.assertEqual(self.check(a)["provider"], "b")

    def test_another_currency(self):
        self.start(ON + ", currency: EUR")
        self.check(self.ask("m"), "eur")

    def test_without_a_price(self):
        self.start()
        self.assertFalse(self.check(self.ask("free"))["priced"])

    def test_what_nobody_has_served(self):
        """The provider's error, and ours for one that gave no answer, cost nothing; a call that we refuse is none."""
        self.start()
        for name, status in (("refused", 400), ("down", 503)):
            a = self.ask(name, status)
            self.check(a)
            self.assertEqual((a.header("x-aigw-cost-usd"), a.header("x-aigw-tokens")), ("0.000000", "in=0;cached=0;out=0"), name)
        a = self.ask("no-such-model", 404)
        self.assertEqual((a.header("x-aigw-cost-usd"), a.header("x-aigw-tokens")), (None, None))
        a = self.stack.call("/v1/models", way="unix")
        self.assertEqual((a.status, a.header("x-aigw-cost-usd"), a.header("x-aigw-tokens")), (200, None, None))

    def test_an_estimate_says_so(self):
        self.start()
        packed = gzip.compress(json.dumps(CHAT).encode())
        self.script = [answer_bytes(packed, headers=[("content-encoding", "gzip")])]
        a = self.ask("own", headers=[("accept-encoding", "gzip")])
        self.assertEqual(a.body, packed)
        self.assertTrue(self.check(a)["estimated"])

    def test_not_on_what_is_not_whole_in_memory(self):
        self.start()
        for a in (self.ask("long"), self.ask("m", stream=True)):
            self.record(a)
            self.assertFalse([n for n, _ in a.headers if "cost" in n or "tokens" in n])

    def test_an_answer_in_pieces(self):
        """Its head has to be kept over them; with the record durable before the end, and without."""
        for durability in ("strict", "relaxed"):
            with self.subTest(durability):
                self.start(durability=durability)
                body = json.dumps({**CHAT, "padding": "x" * 30000}).encode()
                whole = answer_bytes(body)
                cuts = [whole[:-29000], whole[-29000:-10], whole[-10:]]
                self.script = [step for piece in cuts for step in (piece, self.pause)]
                with self.stack.connect("unix") as wire:
                    for _ in range(3):
                        a = wire.call(PATH, {"model": "own", "messages": []})
                        self.assertEqual((a.status, a.body), (200, body))
                        self.check(a)

    @staticmethod
    def pause():
        """Long enough for a read of its own, mostly; the outcome is the same without."""
        time.sleep(0.05)


if __name__ == "__main__":
    unittest.main()
