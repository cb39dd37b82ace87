"""When a target is left alone, and when it is not: circuits by the share of failures, how many of them at once, one caller's own failures.

Usage: test_health.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, Provider  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, health: {$A}}
  - {name: b, type: openai-compatible, base_url: $SIM, health: {$B}}
prices: []
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""


def head(a, b="open_after: 1000"):
    return HEAD.replace("$A", a).replace("$B", b)


def states(stack, name):
    text = stack.agent_stat(f"models/{name}/targets")
    return {line.split()[0]: dict(word.split("=", 1) for word in line.split()[1:])["state"] for line in text.splitlines()}


class Share(unittest.TestCase):
    ROW = "  - {name: m, strategy: priority, retry: {attempts: 1}, targets: [{provider: a, model: sim-x+fail-500+flaky-2}, {provider: b, model: sim-b}]}\n"

    def test_half_of_enough_results_open_it(self):
        stack = self.enterContext(Stack(BUILD, None))
        for more, opened in (("", False), (", min_samples: 6", True)):
            stack.apply(head("open_after: 100, half_open_after: 5m" + more) + self.ROW)
            stack.wait_ready()
            seen = [stack.chat("m", way="unix") for _ in range(20)]
            at_a = [a.status for a in seen if a.header("x-aigw-provider") == "a"]
            if opened:
                self.assertEqual((states(stack, "m")["a"], len(at_a)), ("open", 6), at_a)
            else:
                self.assertEqual((states(stack, "m")["a"], len(at_a), at_a.count(500)), ("ok", 20, 10))


class Ejection(unittest.TestCase):
    def test_not_all_are_left_out_at_once(self):
        stack = self.enterContext(Stack(BUILD, None))
        row = ("  - {name: m, strategy: priority, when_all_out: refuse, retry: {attempts: 2}, targets: [{provider: a, model: sim-a}, "
               "{provider: b, model: sim-b}]}\n")
        stack.script({f"sim-{share}{t}": "fail-500" for share in (50, 100) for t in "ab"})
        for share, status, calls in (("100%", 503, 2), ("50%", 500, 10)):
            stack.apply(head(f"open_after: 1, half_open_after: 5m, max_ejected: {share}", f"open_after: 1, half_open_after: 5m, max_ejected: {share}") +
                        row.replace("sim-", f"sim-{share[:-1]}"))
            stack.wait_ready()
            self.assertEqual([stack.chat("m", way="unix").status for _ in range(5)], [500] + [status] * 4)
            self.assertEqual(states(stack, "m"), {"a": "open", "b": "open"})
            got = [l["model"] for l in stack.sim_log() if l["event"] == "recv" and l["model"].startswith(f"sim-{share[:-1]}")]
            self.assertEqual(len(got), calls)
            if share == "50%":  # the one that is back first, and tried again as if well
                self.assertEqual(set(got[2:]), {"sim-50a"})
        stack.script({"sim-50a": None})
        self.assertEqual(stack.chat("m", way="unix").status, 200)


class Callers(unittest.TestCase):
    """A provider that breaks at what one caller asks."""

    def setUp(self):
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, head("open_after: 3, half_open_after: 5m").replace(
            "  - {name: b,", f'  - {{name: own, type: openai-compatible, base_url: "http://127.0.0.1:{self.provider.port}/v1", health: {{open_after: 3, half_open_after: 5m}}}}\n  - {{name: b,') +
            "  - {name: m, strategy: priority, retry: {attempts: 1}, targets: [{provider: own, model: x}, {provider: b, model: sim-b}]}\n"))

    @staticmethod
    def serve(conn):
        while (request := conn.request()):
            conn.send(b"HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n" if b"poison" in request.body else ANSWER)

    def test_one_callers_failures_leave_the_target_to_others(self):
        key = self.stack.make_key("search", name="unlucky")
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "own")
        self.assertEqual({self.stack.chat("m", "poison", key=key).status for _ in range(20)}, {500})
        self.assertEqual(states(self.stack, "m")["own"], "ok")
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "own")
        # When it fails for others, too, it is the target's.
        for _ in range(3):
            self.stack.chat("m", "poison", key=key)
            self.stack.chat("m", "poison", way="unix")
        self.assertEqual(states(self.stack, "m")["own"], "open")

    def test_a_lone_callers_failures_count(self):
        key = self.stack.make_key("search", name="lone")
        self.assertEqual(self.stack.chat("m", key=key).status, 200)
        for _ in range(3):
            self.stack.chat("m", "poison", key=key)
        self.assertEqual(states(self.stack, "m")["own"], "open")


if __name__ == "__main__":
    unittest.main()
