"""How many calls at once: of a project, of an identity, at a provider; calls that wait for their turn. The provider is the test: a call there ends
when it says so.

Usage: test_concurrency.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import re
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, CHAT, SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")
PATH = "/v1/chat/completions"


class Held:
    """Providers on one port, told apart by the model that is asked for: each call waits until it is let go."""

    def __init__(self, answer=ANSWER):
        self.answer, self.lock, self.over = answer, threading.Condition(), False
        self.here, self.most, self.seen, self.tickets = 0, 0, [], 0
        self.provider = Provider(serve=self.serve)

    def serve(self, conn):
        while True:
            request = conn.request()
            if request is None:
                return
            body = json.loads(request.body)
            with self.lock:
                self.here += 1
                self.most = max(self.most, self.here)
                self.seen.append(body["messages"][0]["content"])
                self.lock.notify_all()
                self.lock.wait_for(lambda: self.tickets or self.over)
                self.tickets -= 1
                self.here -= 1
            try:
                conn.send(self.answer(body) if callable(self.answer) else self.answer)
            except OSError:
                return

    def arrived(self, n):
        with self.lock:
            if not self.lock.wait_for(lambda: len(self.seen) >= n, 30):
                raise AssertionError(f"{n} calls did not arrive: {self.seen}")

    def let_go(self, n=1):
        with self.lock:
            self.tickets += n
            self.lock.notify_all()

    def open(self):
        with self.lock:
            self.over = True
            self.lock.notify_all()

    def close(self):
        self.open()
        self.provider.close()


class Later:
    """A call in a thread of its own."""

    def __init__(self, stack, model="m", text="x", **more):
        self.answer, self.took = None, None
        self.thread = threading.Thread(target=self.run, args=(stack, model, text, more), daemon=True)
        self.thread.start()

    def run(self, stack, model, text, more):
        began = time.monotonic()
        self.answer = stack.chat(model, text, **{"way": "unix", **more})
        self.took = time.monotonic() - began

    def result(self):
        self.thread.join(60)
        return self.answer


def aigwctl(stack, *args):
    return subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), *args], capture_output=True, text=True, check=False)


def policy(models, provider="", second="", project="", other="", identity="", more=""):
    return f"""\
apiVersion: aigw/v1
providers:
  - {{name: p, type: openai-compatible, base_url: "http://127.0.0.1:$PORT/v1"{provider}}}
  - {{name: q, type: openai-compatible, base_url: $SIM{second}}}
customers:
  - name: acme
    projects: [{{name: search{project}}}, {{name: chat{other}}}]
identities:
  - {{uid: $UID, project: search{identity}}}
models:
{models}{more}"""


def queued_ms(a):
    return int(re.search(r"queue;dur=(\d+)", a.header("server-timing"))[1])


M = "  - {name: m, targets: [{provider: p, model: x}]}\n"
SIM = "  - {name: sim, targets: [{provider: q, model: sim-small}]}\n"


class Case(unittest.TestCase):
    answer = ANSWER

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None))
        self.held = Held(self.answer)
        self.addCleanup(self.held.close)

    def apply(self, *args, **more):
        self.stack.apply(policy(*args, **more).replace("$PORT", str(self.held.provider.port)))
        self.stack.wait_ready()

    def code(self, a):
        return a.status, a.json()["error"]["code"]

    def stat(self, path, name):
        return int(re.search(rf"^{name} (\d+)", self.stack.agent_stat(path), re.M)[1])

    def waiting(self, n):
        wait_for(lambda: self.stat("stat", "queued") == n, f"{n} calls wait")


class Callers(Case):
    def refused(self, a, words, limit):
        self.assertEqual(self.code(a), (429, "concurrency_limit"))
        self.assertIn(words, a.json()["error"]["message"])
        self.assertEqual((a.header("retry-after-ms"), a.header("x-should-retry"), a.header("x-aigw-limit")), ("1000", "true", limit))

    def test_project(self):
        """fail:concurrency_limit, policy_fields:concurrency. One call more than may be is refused, whoever asks; another project's is not."""
        self.apply(M + SIM, project=", limits: {concurrency: 2}")
        key, other = self.stack.make_key("search"), self.stack.make_key("chat")
        calls = [Later(self.stack), Later(self.stack, key=key, way="tcp")]
        self.held.arrived(2)
        self.assertEqual(self.stack.agent_stat("projects/search/limits"), "concurrency limit=2 used=2\n")
        self.assertEqual(self.stack.agent_stat("projects/chat/limits"), "")
        for who in ({"way": "unix"}, {"key": key, "way": "tcp"}):
            self.refused(self.stack.chat("sim", **who), "The project 'search' has 2 calls on their way", "project:search/concurrency")
        self.assertEqual(self.stack.chat("sim", key=other, way="tcp").status, 200)
        self.held.let_go()
        wait_for(lambda: any(c.answer for c in calls), "one has ended")
        self.assertEqual(self.stack.chat("sim", way="unix").status, 200)
        self.held.open()
        self.assertEqual([c.result().status for c in calls], [200, 200])
        self.assertEqual(self.stat("projects/search/stat", "rejected_concurrency"), 2)
        self.assertIn('aigw_rejected_total{reason="concurrency"} 2', self.stack.call("/metrics", method="GET").body.decode().splitlines())
        refused = [r for r in self.stack.wait_records(6) if r["outcome"] == "refused"]
        self.assertEqual([r["fail"] for r in refused], ["concurrency_limit"] * 2)
        self.assertEqual([(r["model"], r["provider"], r["upstream_model"]) for r in refused], [("sim", "", "")] * 2)  # none was asked
        told = aigwctl(self.stack, "explain", "request", refused[0]["request_id"]).stdout
        self.assertRegex(told, r"(?s)\A\S+  accepted .*\n\S+  route +sim -> no target was looked for\n\S+  done +refused:concurrency_limit 429  ")
        tail = aigwctl(self.stack, "tail", "--filter", "outcome=refused", "--columns", "model,target", "--no-header")
        self.assertEqual([line.split() for line in tail.stdout.splitlines()], [["sim", "-"]] * 2, tail.stderr)

    def test_every_way_out_gives_its_place_back(self):
        self.apply(M + SIM + "  - {name: cut, targets: [{provider: q, model: sim-cut+tokens-9+cut-after-3}]}\n"
                   "  - {name: bad, targets: [{provider: q, model: sim-bad+fail-500}]}\n", project=", limits: {concurrency: 1}")
        for _ in range(2):
            self.assertEqual(self.stack.chat("nobody", way="unix").status, 404)
            self.assertEqual(self.stack.chat("bad", way="unix").status, 500)
            self.stack.chat("cut", way="unix", stream=True)
            self.assertEqual(self.stack.chat("sim", way="unix").status, 200)
            with self.stack.connect("unix") as wire:  # a client that goes in its midst
                wire.send(PATH, {"model": "m", "messages": [{"role": "user", "content": "left"}]})
                self.held.arrived(1)
            wait_for(lambda: self.stack.chat("sim", way="unix").status == 200, "its place is free")
            self.held.seen.clear()
            self.held.let_go()

    def test_identity(self):
        """What an identity matches is one; its project has its own limit."""
        self.apply(M + SIM, identity=", limits: {concurrency: 1}", project=", limits: {concurrency: 3}")
        key = self.stack.make_key("search")
        first = Later(self.stack)
        self.held.arrived(1)
        self.refused(self.stack.chat("sim", way="unix"), "The identity that you call by has 1 calls", "identity/concurrency")
        self.assertEqual(self.stack.chat("sim", key=key, way="tcp").status, 200)
        self.held.open()
        self.assertEqual(first.result().status, 200)
        self.assertEqual(self.stack.chat("sim", way="unix").status, 200)

    def test_a_new_policy_finds_what_is_on_its_way(self):
        self.apply(M + SIM, project=", limits: {concurrency: 2}")
        calls = [Later(self.stack), Later(self.stack)]
        self.held.arrived(2)
        self.apply(M + SIM, project=", limits: {concurrency: 3}")
        self.assertEqual(self.stack.chat("sim", way="unix").status, 200)
        self.apply(M + SIM, project=", limits: {concurrency: 1}")
        self.refused(self.stack.chat("sim", way="unix"), "has 1 calls", "project:search/concurrency")
        self.held.open()
        self.assertEqual([c.result().status for c in calls], [200, 200])
        self.assertEqual(self.stack.chat("sim", way="unix").status, 200)


class Providers(Case):
    LIMIT = ", limits: {concurrency: 1}"

    def test_the_next_target_takes_it(self):
        self.apply("  - {name: m, strategy: priority, targets: [{provider: p, model: x}, {provider: q, model: sim-q}]}\n", provider=self.LIMIT)
        first = Later(self.stack)
        self.held.arrived(1)
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "q")
        self.assertIn("state=at_capacity", self.stack.agent_stat("models/m/targets").splitlines()[0])
        self.assertEqual(self.stack.agent_stat("providers/p/limits"), "concurrency limit=1 used=1\n")
        self.held.open()
        self.assertEqual(first.result().header("x-aigw-provider"), "p")
        self.assertIn("state=ok", self.stack.agent_stat("models/m/targets").splitlines()[0])

    def test_none_takes_it(self):
        """fail:provider_at_capacity. Also where try_best would try a target that is down: that helps here, this does not."""
        for best in ("refuse", "try_best"):
            with self.subTest(best):
                self.held.seen.clear()
                self.apply(f"  - {{name: m, when_all_out: {best}, targets: [{{provider: p, model: x}}]}}\n", provider=self.LIMIT)
                first = Later(self.stack)
                self.held.arrived(1)
                a = self.stack.chat("m", way="unix")
                self.assertEqual(self.code(a), (503, "provider_at_capacity"))
                self.assertIn("p is at_capacity", a.json()["error"]["message"])
                self.assertEqual((a.header("retry-after-ms"), a.header("x-should-retry"), a.header("x-aigw-limit")), ("1000", "true", "provider:p/concurrency"))
                route = aigwctl(self.stack, "explain", "route", "m", "--project", "search")
                self.assertIn("at_capacity", route.stdout, route.stderr)
                self.held.let_go()
                self.assertEqual(first.result().status, 200)
        self.assertEqual(self.held.most, 1)

    def test_a_stream_is_a_call_until_its_end(self):
        self.apply("  - {name: m, targets: [{provider: q, model: sim-m+tokens-3+hold-open}]}\n  - {name: n, targets: [{provider: q, model: sim-n}]}\n", second=self.LIMIT)
        with self.stack.connect("unix") as wire:
            wire.send(PATH, {"model": "m", "messages": [], "stream": True})
            self.assertEqual(wire.head().status, 200)
            self.assertEqual(self.code(self.stack.chat("n", way="unix")), (503, "provider_at_capacity"))
        wait_for(lambda: self.stack.chat("n", way="unix").status == 200, "the place of a client that has gone is free")

    def test_a_call_does_not_stand_in_its_own_way(self):
        """Its next try may go to the same provider: another credential, another model of it."""
        self.apply("  - {name: m, strategy: priority, targets: [{provider: q, model: sim-a+fail-500}, {provider: q, model: sim-b}]}\n", second=self.LIMIT)
        for _ in range(3):
            self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-attempts"), "2")

    def test_never_more_than_that_at_once(self):
        """Of callers on both workers."""
        self.apply("  - {name: m, queue: {max: 100, wait: 60s}, targets: [{provider: p, model: x}]}\n", provider=", limits: {concurrency: 3}")
        calls = [Later(self.stack, text=str(i)) for i in range(40)]
        self.held.arrived(3)
        self.waiting(37)
        for i in range(40):
            self.held.let_go()
            self.held.arrived(min(i + 4, 40))
        self.assertEqual([c.result().status for c in calls], [200] * 40)
        self.assertEqual(self.held.most, 3)
        self.waiting(0)


class Queue(Case):
    def model(self, queue, more=""):
        return f"  - {{name: m, queue: {queue}, targets: [{{provider: p, model: x}}]{more}}}\n"

    def test_it_waits_for_its_turn(self):
        """In the order of their coming; what it has waited is no time of the gateway."""
        self.stack.end(self.stack.agent)
        self.stack.agent_settings["workers"] = 1
        self.stack.start_agent(ready=False)
        self.apply(self.model("{max: 5, wait: 60s}") + "  - {name: short, queue: {wait: 300ms}, targets: [{provider: p, model: x}]}\n", provider=", limits: {concurrency: 1}")
        calls = []
        for i in range(5):
            calls.append(Later(self.stack, text=f"call {i}"))
            self.held.arrived(1) if i == 0 else self.waiting(i)
        self.assertEqual(self.stat("models/m/stat", "queued"), 4)
        self.assertEqual(self.code(self.stack.chat("short", way="unix")), (503, "queue_timeout"))  # so long they wait, to be looked for below
        for i in range(5):
            self.held.let_go()
            self.held.arrived(min(i + 2, 5))
        self.assertEqual([c.result().status for c in calls], [200] * 5)
        self.assertEqual(self.held.seen, [f"call {i}" for i in range(5)])
        records = [r for r in self.stack.wait_records(6) if r["model"] == "m"]
        self.assertGreater(max(r["duration_us"] for r in records), 300000)
        self.assertLess(max(r["overhead_us"] for r in records), 300000)
        story = aigwctl(self.stack, "explain", "request", calls[4].answer.header("x-request-id"))
        self.assertGreaterEqual(queued_ms(calls[4].answer), 299)
        self.assertRegex(story.stdout, r"queue +waited (\d{3} ms|\d\.\d+ s) for a target", story.stderr)

    def test_full(self):
        """fail:queue_full"""
        self.apply(self.model("{max: 2, wait: 60s}"), provider=", limits: {concurrency: 1}")
        calls = [Later(self.stack)]
        self.held.arrived(1)
        for i in range(2):
            calls.append(Later(self.stack))
            self.waiting(i + 1)
        a = self.stack.chat("m", way="unix")
        self.assertEqual(self.code(a), (503, "queue_full"))
        self.assertIn("2 calls wait for this model", a.json()["error"]["message"])
        self.assertEqual(a.header("x-aigw-limit"), "model:m/queue")
        self.assertEqual(self.stat("stat", "rejected_overload"), 1)
        self.held.open()
        self.assertEqual([c.result().status for c in calls], [200] * 3)

    def test_time_is_over(self):
        """fail:queue_timeout"""
        self.apply(self.model("{wait: 300ms}"), provider=", limits: {concurrency: 1}")
        first = Later(self.stack)
        self.held.arrived(1)
        second = Later(self.stack)
        self.assertEqual(self.code(second.result()), (503, "queue_timeout"))
        self.assertIn("within the 300 ms", second.answer.json()["error"]["message"])
        self.assertEqual(second.answer.header("x-aigw-limit"), "model:m/queue")
        self.assertGreaterEqual(second.took, 0.3)
        self.assertGreaterEqual(queued_ms(second.answer), 299)
        self.assertEqual(self.stat("stat", "queued"), 0)
        self.held.open()
        self.assertEqual(first.result().status, 200)
        self.assertEqual(self.held.seen, ["x"])

    def test_a_client_that_goes_leaves_it(self):
        self.apply(self.model("{max: 1, wait: 60s}"), provider=", limits: {concurrency: 1}")
        first = Later(self.stack)
        self.held.arrived(1)
        with self.stack.connect("unix") as wire:
            wire.send(PATH, {"model": "m", "messages": [{"role": "user", "content": "gone"}]})
            self.waiting(1)
        self.waiting(0)
        second = Later(self.stack, text="stays")
        self.waiting(1)
        self.held.open()
        self.assertEqual([first.result().status, second.result().status], [200, 200])
        self.assertEqual(self.held.seen, ["x", "stays"])

    def test_it_waits_for_a_limit_that_ends_in_time(self):
        """And is refused at once by one that does not."""
        self.held.answer = lambda body: answer_bytes({"error": {"message": "slow down"}}, status=429, headers=[("retry-after", "1")]) if body["messages"][0]["content"] == "limit" else ANSWER
        self.held.open()
        self.apply("".join(f"  - {{name: {n}, queue: {{wait: {w}}}, when_all_out: refuse, retry: {{attempts: 1}}, targets: [{{provider: p, model: x}}]}}\n" for n, w in (("patient", "30s"), ("short", "100ms"))))
        self.assertEqual(self.stack.chat("patient", "limit", way="unix").status, 429)
        self.assertEqual(self.code(self.stack.chat("short", way="unix")), (429, "upstream_rate_limited"))
        began = time.monotonic()
        self.assertEqual(self.stack.chat("patient", way="unix").status, 200)
        self.assertGreater(time.monotonic() - began, 0.3)

    def test_others_pass_by(self):
        """Who waits for one provider is in nobody's way at another; a place of one model's provider serves the calls of each model that wait for it."""
        more = "".join(f"  - {{name: n{i}, queue: {{}}, targets: [{{provider: p, model: x}}]}}\n" for i in range(3)) + SIM
        self.apply(self.model("{wait: 60s}"), provider=", limits: {concurrency: 1}", more=more)
        calls = [Later(self.stack)]
        self.held.arrived(1)
        for i in range(9):
            calls.append(Later(self.stack, model=("m", "n0", "n1", "n2")[i % 4]))
            self.waiting(i + 1)
        self.assertEqual(self.stack.chat("sim", way="unix").status, 200)
        self.held.open()
        self.assertEqual([c.result().status for c in calls], [200] * 10)
        self.assertEqual(self.held.most, 1)

    def test_the_agent_ends(self):
        """Calls that wait are served, as all that are on their way."""
        self.apply(self.model("{wait: 60s}"), provider=", limits: {concurrency: 1}")
        calls = [Later(self.stack)]
        self.held.arrived(1)
        calls.append(Later(self.stack))
        self.waiting(1)
        self.stack.agent.proc.terminate()
        wait_for(lambda: "event=agent.draining" in self.stack.agent_log(), "it drains")
        self.held.open()
        self.assertEqual([c.result().status for c in calls], [200, 200])


class StreamedAnswers(Case):
    answer = staticmethod(lambda body: SSE_HEAD + chunk(event({"id": "c", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}) + event(
        {"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n") + b"0\r\n\r\n" if body.get("stream") else answer_bytes(CHAT))

    def test_a_stream_waits_like_any_call(self):
        self.apply("  - {name: m, queue: {wait: 60s}, targets: [{provider: p, model: x}]}\n", provider=", limits: {concurrency: 1}")
        first = Later(self.stack)
        self.held.arrived(1)
        second = Later(self.stack, stream=True)
        self.waiting(1)
        self.held.open()
        self.assertEqual(first.result().status, 200)
        self.assertIn(b"data: [DONE]", second.result().body)


if __name__ == "__main__":
    unittest.main()
