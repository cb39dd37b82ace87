"""When a target is left alone, and when it is not: circuits by the share of failures, how many of them at once, one caller's own failures; an
operator's drains.

Usage: test_health.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import subprocess
import sys
import threading
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


class Drains(unittest.TestCase):
    """An operator's word, by the agent's control socket: nothing is sent there, by whatever way."""

    ROWS = ("  - {name: m, strategy: priority, targets: [{provider: a, model: sim-a}, {provider: b, model: sim-b}]}\n"
            "  - {name: n, aliases: [nn], when_all_out: try_best, targets: [{provider: a, model: sim-a}]}\n"
            "  - {name: s, sticky: user, targets: [{provider: a, model: sim-a}, {provider: b, model: sim-b}]}\n"
            "  - {name: f, strategy: priority, retry: {attempts: 5, backoff: 1ms, budget: 100%}, targets: [{provider: b, model: sim-f+fail-500}, {provider: a, model: sim-a}]}\n")

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, head("open_after: 1, half_open_after: 1ms") + self.ROWS))

    def ctl(self, *args, code=0):
        got = subprocess.run([os.path.join(BUILD, "ctl/aigwctl/aigwctl"), *args, "--agent", self.stack.path("control.sock")],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(got.returncode, code, got)
        return got.stdout + got.stderr

    def calls_of_a(self):
        return len([l for l in self.stack.sim_log() if l["event"] == "recv" and l["model"] == "sim-a"])

    def everything(self):
        """Each way that could lead to a."""
        for name in ("m", "n", "nn", "f"):
            for stream in (False, True):
                self.stack.chat(name, way="unix", stream=stream)
        for i in range(12):
            self.assertEqual(self.stack.chat("s", way="unix", user=f"u-{i}").header("x-aigw-provider"), "b")

    def test_a_drained_provider_gets_nothing_by_any_way(self):
        self.assertIn("gets no calls of this host for 1h", self.ctl("provider", "drain", "a"))
        self.assertEqual([states(self.stack, name)["a"] for name in "mnsf"], ["drained"] * 4)
        before = self.calls_of_a()
        self.everything()
        a = self.stack.chat("n", way="unix")
        self.assertEqual((a.status, a.json()["error"]["code"]), (503, "upstream_unavailable"))
        self.assertIn("a is drained", a.json()["error"]["message"])
        self.assertAlmostEqual(int(a.header("retry-after-ms")), 3600000, delta=60000)
        self.stack.apply(head("open_after: 1, half_open_after: 1ms") + self.ROWS.replace("name: m,", "name: m2,"))  # a new policy changes nothing
        wait_for(lambda: self.stack.chat("m2", way="unix").header("x-aigw-provider") == "b", "the new policy is in force")
        self.stack.end(self.stack.agent)
        self.stack.start_agent()  # nor does a restart
        self.everything()
        self.assertEqual(self.calls_of_a(), before)
        self.assertIn("gets calls again", self.ctl("provider", "resume", "a"))
        self.assertIn("was not drained", self.ctl("provider", "resume", "a"))
        self.assertEqual(self.stack.chat("n", way="unix").status, 200)
        log = self.stack.agent_log()
        self.assertIn("event=drain.set kind=provider name=a target=- ", log)
        self.assertIn("event=drain.resumed", log)

    def test_by_the_controller(self):
        """To every agent, kept by both over their restarts; what this host has drained is its own."""
        def admin(*args, code=0):
            got = subprocess.run([os.path.join(BUILD, "ctl/aigwctl/aigwctl"), *args, "--ctl", "unix:" + self.stack.path("admin.sock")],
                                 capture_output=True, text=True, timeout=60, check=False, env={"PATH": os.environ["PATH"]})
            self.assertEqual(got.returncode, code, got)
            return got.stdout + got.stderr
        self.assertIn("provider a gets no calls of any host for 2h", admin("provider", "drain", "a", "--for", "2h"))
        before = self.calls_of_a()
        self.everything()  # the command has waited for the agent
        (drain,) = self.stack.api("GET", "/api/v1/drains")["drains"]
        self.assertEqual((drain["kind"], drain["name"], drain["target"]), ("provider", "a", None))
        self.assertIn("was not drained", self.ctl("provider", "resume", "a"))
        self.stack.end(self.stack.ctld)
        self.stack.end(self.stack.agent)
        self.stack.start_agent()  # without the controller
        self.everything()
        self.stack.start_ctld()
        self.assertEqual(len(self.stack.api("GET", "/api/v1/drains")["drains"]), 1)
        self.everything()
        self.assertEqual(self.calls_of_a(), before)
        wait_for(lambda: self.stack.api("GET", "/api/v1/agents")["agents"][0]["state"] == "up", "it is connected")
        self.assertIn("provider a gets calls again", admin("provider", "resume", "a"))
        self.assertEqual(self.stack.chat("n", way="unix").status, 200)
        admin("model", "disable", "nn", "--target", "a/sim-a")
        self.assertEqual((states(self.stack, "n"), states(self.stack, "m")["a"]), ({"a": "drained"}, "ok"))
        undone = self.stack.api("POST", "/api/v1/drains/resume", {"model": "n", "target": "a/sim-a"})
        self.assertEqual((undone["kind"], undone["changed"], [a["state"] for a in undone["agents"]]), ("target", True, ["confirmed"]))
        self.assertEqual(states(self.stack, "n"), {"a": "ok"})
        self.assertIn("the running policy has no provider nobody", admin("provider", "drain", "nobody", code=3))
        self.assertIn("from 1 s to 30 days", admin("provider", "drain", "a", "--for", "31d", code=2))
        with open(self.stack.path("ctld.log"), encoding="utf-8") as f:
            self.assertIn("event=drain.set", f.read())

    def test_who_was_asked_is_named_whoever_was_looked_at_since(self):
        """All targets are drained between two tries: the answer, the record and the counters are of the one that was called."""
        go = threading.Event()

        def serve(conn):
            conn.request()
            go.wait(60)
            conn.send(b"HTTP/1.1 503 E\r\ncontent-length: 0\r\nretry-after-ms: 2000\r\n\r\n")
        with Provider(serve) as p:
            own = f'  - {{name: own, type: openai-compatible, base_url: "http://127.0.0.1:{p.port}/v1"}}\n'
            row = "  - {name: g, strategy: priority, retry: {attempts: 3}, targets: [{provider: own, model: x}, {provider: b, model: sim-b}]}\n"
            self.stack.apply(head("open_after: 1000").replace("providers:\n", "providers:\n" + own, 1) + self.ROWS + row)
            with self.stack.connect("unix") as wire:
                wire.send("/v1/chat/completions", {"model": "g", "messages": []})
                wait_for(lambda: p.accepted, "the call is there")
                self.ctl("provider", "drain", "b")
                go.set()
                wait_for(lambda: "call.retry" in self.stack.agent_log(), "it waits for its second try")
                self.ctl("provider", "drain", "own")
                a = wire.answer()
        self.assertEqual((a.status, a.header("x-aigw-provider"), a.header("x-aigw-attempts")), (503, "own", None))
        record = self.stack.wait_records(1)[0]
        self.assertEqual((record["provider"], record["upstream_model"], record["attempts"], record["outcome"]), ("own", "x", 1, "failed"))
        errors = [dict(line.split()[:2] for line in self.stack.agent_stat(f"providers/{name}/stat").splitlines())["upstream_errors"] for name in ("own", "b")]
        self.assertEqual(errors, ["1", "0"])

    def test_one_target_and_one_model(self):
        self.ctl("model", "disable", "m", "--target", "a/sim-a", "--for", "2h")
        self.assertEqual((states(self.stack, "m"), states(self.stack, "n")), ({"a": "drained", "b": "ok"}, {"a": "ok"}))
        self.assertEqual({self.stack.chat("m", way="unix").header("x-aigw-provider") for _ in range(5)}, {"b"})
        self.assertEqual(self.stack.chat("n", way="unix").header("x-aigw-provider"), "a")
        self.assertRegex(self.ctl("model", "targets", "m"), r"(?s)a +sim-a +1 +100 +drained +(2h|1h59m59s|\d+m|\d+s).*b +sim-b +1 +100 +ok +- ")
        self.ctl("model", "enable", "m", "--target", "a/sim-a")
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "a")
        self.ctl("model", "disable", "nn")  # by its alias
        self.assertEqual(self.stack.chat("n", way="unix").status, 503)
        self.ctl("model", "enable", "n")
        self.assertEqual(self.stack.chat("n", way="unix").status, 200)

    def test_provider_status(self):
        self.assertRegex(self.ctl("provider", "status"), r"(?s)a +ok +closed +- +0 +- +- +0 +- +-\n.*b +ok +closed +- +0 +- +- +0 +- +-\n")
        self.stack.chat("m", way="unix", stream=True)
        self.stack.chat("f", way="unix")  # b fails once, its circuit opens; a answers
        self.stack.apply(head("open_after: 1, half_open_after: 5m", "open_after: 1, half_open_after: 5m") + self.ROWS)
        wait_for(lambda: self.stack.chat("f", way="unix").header("x-aigw-fallback") is None, "its circuit stays open")
        self.stack.script({"sim-a": "fail-hang"})
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "n", "messages": [{"role": "user", "content": "x"}]})
        wait_for(lambda: json.loads(self.ctl("provider", "status", "a", "-o", "json"))["providers"][0]["in_flight"] == 1, "one is in flight")
        a, b = json.loads(self.ctl("provider", "status", "-o", "json"))["providers"]
        self.assertEqual((a["name"], a["circuit"], a["errors"]), ("a", "closed", 0))
        self.assertTrue(0 < a["ttft_p50_us"] <= a["ttft_p95_us"])
        self.assertEqual((b["name"], b["circuit"], b["ttft_p50_us"]), ("b", "1 of 3 open", None))
        self.assertEqual((a["state"], b["state"]), ("ok", "ok"))  # two of its targets may be called
        self.assertGreater(b["errors"], 0)
        self.assertEqual((a["last_error"], a["last_error_at"], b["last_error"]), (None, None, "failed"))
        self.assertRegex(b["last_error_at"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(self.ctl("provider", "status", "b"), r" failed (now|\d+s ago) ")
        wire.reset()
        self.assertEqual((a["drained"], a["drained_ms"]), (None, None))
        self.ctl("model", "disable", "n", "--for", "30m")  # one of its targets
        one = json.loads(self.ctl("provider", "status", "a", "-o", "json"))["providers"][0]
        self.assertNotEqual(one["state"], "drained")
        self.assertRegex(one["drained"], r"^1 of [2-9]$")
        self.assertTrue(29 * 60000 < one["drained_ms"] <= 30 * 60000, one)
        self.ctl("provider", "drain", "a", "--for", "2h")
        self.assertRegex(self.ctl("provider", "status", "a"), r"a +drained .* ([2-9]) of \1, back in (2h|1h) ")
        row = next(r for r in json.loads(self.ctl("model", "targets", "m", "-o", "json"))["targets"] if r["provider"] == "a")
        self.assertEqual(row["state"], "drained")
        self.assertTrue(119 * 60000 < int(row["recover_in_ms"]) <= 120 * 60000, row)  # and so says when it ends
        self.ctl("provider", "status", "nobody", code=3)
        self.stack.apply(head("", "open_after: 1, half_open_after: 5m") + self.ROWS.splitlines()[-1] + "\n")
        self.ctl("provider", "resume", "a")
        rows = json.loads(self.ctl("provider", "status", "-o", "json"))["providers"]
        self.assertEqual([r["state"] for r in rows], ["ok", "open"])  # none of its targets is in use

    def test_it_ends_by_itself(self):
        self.ctl("provider", "drain", "a", "--for", "2s")
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "b")
        wait_for(lambda: self.stack.chat("m", way="unix").header("x-aigw-provider") == "a", "it is over")
        self.assertIn("was not drained", self.ctl("provider", "resume", "a"))

    def test_running_calls_go_on(self):
        self.stack.script({"sim-a": "pace-20000+tokens-40"})
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "n", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        self.assertEqual(wire.head().status, 200)
        self.ctl("provider", "drain", "a")
        self.assertEqual(self.stack.chat("n", way="unix").status, 503)
        record = wait_for(lambda: next((r for r in self.stack.records() if r["outcome"] == "ok"), None), "the running one ends well")
        self.assertEqual(record["provider"], "a")

    def test_what_is_wrong_is_said(self):
        self.assertIn("no provider nobody", self.ctl("provider", "drain", "nobody", code=3))
        self.assertIn("no target m with a/none", self.ctl("model", "disable", "m", "--target", "a/none", code=3))
        self.assertIn("write a whole number with its unit", self.ctl("provider", "drain", "a", "--for", "soon", code=2))
        self.assertIn("from 1 s to 30 days", self.ctl("provider", "drain", "a", "--for", "31d", code=2))
        self.assertIn("PROVIDER/MODEL", self.ctl("model", "disable", "m", "--target", "a", code=2))
        self.assertIn("no model named none; aigwctl model list", self.ctl("model", "targets", "none", code=3))
        self.ctl("model", "disable", "m", "--target", "a/sim-a")
        self.assertIn("was not drained\nhow it stands: aigwctl model targets m\n", self.ctl("model", "enable", "m"))


if __name__ == "__main__":
    unittest.main()
