"""Strategies that look at how targets do: fastest, least_busy, headroom. Real processes; a target that slows down, one that stalls, one whose
limit runs out.

Usage: test_strategies.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import os
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import CHAT, Provider, answer_bytes  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM}
  - {name: b, type: openai-compatible, base_url: $SIM}
prices: []
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""


def targets_of(stack, name):
    text = stack.agent_stat(f"models/{name}/targets")
    return {line.split()[0]: dict(word.split("=", 1) for word in line.split()[1:]) for line in text.splitlines()}


class Load:
    """Callers that ask one call after the other until it ends; who served the last ones."""

    def __init__(self, stack, n=8, **more):
        self.stack, self.more, self.over = stack, more, False
        self.seen, self.lock = collections.deque(maxlen=400), threading.Lock()
        self.threads = [threading.Thread(target=self.run) for _ in range(n)]
        for t in self.threads:
            t.start()

    def run(self):
        while not self.over:
            provider = self.stack.chat("m", way="unix", **self.more).header("x-aigw-provider")
            with self.lock:
                self.seen.append(provider)

    def share(self, provider, of):
        """Of the next calls that end."""
        with self.lock:
            self.seen.clear()
        wait_for(lambda: len(self.seen) >= of, "calls")
        with self.lock:
            return list(self.seen)[:of].count(provider) / of

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.over = True
        for t in self.threads:
            t.join()


class Fastest(unittest.TestCase):
    def test_a_target_that_becomes_slower_loses_its_share_and_wins_it_back(self):
        stack = self.enterContext(Stack(BUILD, HEAD + '  - {name: m, strategy: fastest, targets: [{provider: a, model: sim-a}, {provider: b, model: sim-b}]}\n'))
        stack.script({"sim-a": "slow-60", "sim-b": "slow-60"})
        for more in ({"stream": True}, {}):
            with self.subTest(**more), Load(stack, **more) as load:
                wait_for(lambda: 0.25 < load.share("b", 100) < 0.75, "both take part")
                stack.script({"sim-b": "slow-600"})
                threading.Event().wait(5)  # what is promised: by then its share is gone
                self.assertLess(load.share("b", 150), 0.1)
                row = targets_of(stack, "m")["b"]
                self.assertGreater(int(row["ttft_us"]), 300000)
                stack.script({"sim-b": "slow-60"})
                wait_for(lambda: load.share("b", 100) > 0.25, "it is in use again")

    def test_one_that_stalls_needs_no_answer_to_be_slow(self):
        stack = self.enterContext(Stack(BUILD, HEAD + '  - {name: m, strategy: fastest, targets: [{provider: a, model: sim-a}, {provider: b, model: sim-b}]}\n'))
        for _ in range(40):
            stack.chat("m", way="unix", stream=True)
        self.assertNotIn("-", [t["ttft_us"] for t in targets_of(stack, "m").values()])
        stack.script({"sim-b": "fail-hang"})
        wires = []
        def stalled():
            wires.append(stack.connect("unix"))
            wires[-1].send("/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
            return int(targets_of(stack, "m")["b"]["ttft_us"]) > 1000000
        wait_for(stalled, "its calls wait")
        got = collections.Counter(stack.chat("m", way="unix", stream=True).header("x-aigw-provider") for _ in range(40))
        self.assertEqual(got, {"a": 40})
        for wire in wires:
            wire.reset()


class LeastBusy(unittest.TestCase):
    def test_a_stalled_target_gets_what_is_left(self):
        stack = self.enterContext(Stack(BUILD, HEAD + '  - {name: m, strategy: least_busy, targets: [{provider: a, model: sim-a, weight: 30}, {provider: b, model: sim-b, weight: 10}]}\n'))
        stack.script({"sim-a": "fail-hang"})
        wires = []

        def hold():
            wires.append(stack.connect("unix"))
            wires[-1].send("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
            return targets_of(stack, "m")["a"]["in_flight"]
        wait_for(lambda: hold() == "1", "one hangs there")
        wait_for(lambda: targets_of(stack, "m")["b"]["in_flight"] == "0", "what went to the other is answered")
        got = collections.Counter(stack.chat("m", way="unix").header("x-aigw-provider") for _ in range(30))
        self.assertEqual(got, {"b": 30})
        for wire in wires:
            wire.reset()
        wait_for(lambda: [t["in_flight"] for t in targets_of(stack, "m").values()] == ["0", "0"], "none is left in flight")
        stack.script({"sim-a": None})
        got = collections.Counter(stack.chat("m", way="unix").header("x-aigw-provider") for _ in range(400))
        self.assertTrue(250 < got["a"] < 350, got)  # idle: by weight, 300 of 400 and five times its deviation of 9

    def test_every_end_of_a_call_is_counted(self):
        rows = [("ok", "sim-ok"), ("error", "sim-error+fail-500"), ("cut", "sim-cut+cut-after-1"), ("hang", "sim-hang+fail-hang"), ("gone", "sim-gone+stall-after-1")]
        stack = self.enterContext(Stack(BUILD, HEAD.replace("name: b,", "name: b, timeouts: {first_byte: 200ms},") + "".join(
            f'  - {{name: {name}, targets: [{{provider: b, model: {upstream}}}, {{provider: a, model: sim-a, priority: 2}}]}}\n' for name, upstream in rows)))
        for name, _ in rows[:-1]:
            for stream in (True, False):
                stack.chat(name, way="unix", stream=stream)
        wire = stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "gone", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        wait_for(lambda: targets_of(stack, "gone")["b"]["in_flight"] == "1", "it is in flight")
        wire.reset()
        for name, _ in rows:
            wait_for(lambda name=name: {t["in_flight"] for t in targets_of(stack, name).values()} == {"0"}, name)


class Headroom(unittest.TestCase):
    def setUp(self):
        self.fields = {"p": [], "q": []}
        self.ports = {name: self.enterContext(Provider(serve=lambda conn, name=name: self.serve(conn, name))).port for name in self.fields}
        rows = "".join(f'  - {{name: {name}, type: openai-compatible, base_url: "http://127.0.0.1:{port}/v1"}}\n' for name, port in self.ports.items())
        self.stack = self.enterContext(Stack(BUILD, HEAD.replace("providers:\n", "providers:\n" + rows) +
                                             '  - {name: m, strategy: headroom, targets: [{provider: p, model: x}, {provider: q, model: x}]}\n'))

    def serve(self, conn, name):
        while conn.request():
            conn.send(answer_bytes(CHAT, headers=self.fields[name]))

    @staticmethod
    def limit(kind, left, reset):
        return [(f"x-ratelimit-limit-{kind}", "1000"), (f"x-ratelimit-remaining-{kind}", str(left)), (f"x-ratelimit-reset-{kind}", reset)]

    def served(self, n=30):
        return collections.Counter(self.stack.chat("m", way="unix").header("x-aigw-provider") for _ in range(n))

    def test_the_one_with_most_left_comes_first(self):
        self.assertEqual(len(self.served(60)), 2)  # nothing is said: by chance
        self.check("requests", "tokens")

    def test_the_scarcer_limit_counts(self):
        self.check("tokens", "requests")

    def check(self, kind, other):
        self.fields = {"p": self.limit(kind, 100, "1m0s") + self.limit(other, 990, "1m0s"), "q": self.limit(kind, 600, "1m0s")}
        wait_for(lambda: self.served(4) and [t["headroom"] for t in targets_of(self.stack, "m").values()] == ["10%", "60%"], "both have told")
        metrics = self.stack.agent_stat("metrics").splitlines()
        self.assertIn('aigw_provider_ratelimit_remaining_ratio{provider="p"} 0.100000000', metrics)
        self.assertIn('aigw_provider_ratelimit_remaining_ratio{provider="q"} 0.600000000', metrics)
        self.assertEqual(self.served(), {"q": 30})
        self.fields["q"] = self.limit(kind, 50, "1m0s")
        self.served(1)
        self.assertEqual(self.served(), {"p": 30})
        self.fields["p"] = []  # what was told holds still
        self.assertEqual(self.served(), {"p": 30})

    def test_anthropics_limits_count_too(self):
        def limit(kind, left):
            return [(f"anthropic-ratelimit-{kind}-limit", "50"), (f"anthropic-ratelimit-{kind}-remaining", str(left)),
                    (f"anthropic-ratelimit-{kind}-reset", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60)))]
        self.fields = {"p": limit("requests", 40) + limit("output-tokens", 5), "q": self.limit("requests", 600, "1m0s")}
        wait_for(lambda: self.served(4) and [t["headroom"] for t in targets_of(self.stack, "m").values()] == ["10%", "60%"], "both have told")
        self.assertEqual(self.served(), {"q": 30})

    def test_a_limit_is_forgotten_after_its_reset(self):
        self.fields = {"p": self.limit("requests", 10, "2s"), "q": self.limit("requests", 500, "1h0m0s")}
        wait_for(lambda: self.served(1) and [t["headroom"] for t in targets_of(self.stack, "m").values()] == ["1%", "50%"], "both have told")
        self.fields["p"] = []
        wait_for(lambda: targets_of(self.stack, "m")["p"]["headroom"] == "100%", "it is forgotten")
        self.assertEqual(self.served(), {"p": 30})


if __name__ == "__main__":
    unittest.main()
