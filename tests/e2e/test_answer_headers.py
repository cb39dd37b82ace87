"""What answers tell in their heads about how they came to be: settings.headers, server-timing, traceparent.

Usage: test_answer_headers.py [BUILD_ROOT] [unittest arguments]
"""
import os
import re
import socket
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root  # noqa: E402
from provider import ANSWER, SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402

BUILD = build_root()

POLICY = """\
apiVersion: aigw/v1
settings: {$SETTINGS}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, targets: [{provider: a, model: sim-m}]}
  - {name: early, early_head: true, targets: [{provider: a, model: sim-e}]}
  - {name: busy, retry: {attempts: 1}, targets: [{provider: a, model: sim-b+fail-503}]}
  - {name: second, targets: [{provider: a, model: sim-s+fail-500}, {provider: b, model: sim-t, priority: 2}]}
"""
CHAT = "/v1/chat/completions"


class Case(unittest.TestCase):
    maxDiff = None

    def start(self, settings="", **agent):
        self.stack = self.enterContext(Stack(BUILD, None, agent=agent, sim=["--log-headers"]))
        self.apply(settings)

    def apply(self, settings=""):
        answer = self.stack.apply(POLICY.replace("$SETTINGS", settings))
        self.stack.wait_ready()
        return str(answer["revision"])

    def answers(self, headers=()):
        """One of each kind: name, status, answer."""
        ask = {"messages": [{"role": "user", "content": "hi"}]}
        calls = (("plain", 200, CHAT, {"model": "m", **ask}), ("stream", 200, CHAT, {"model": "m", "stream": True, **ask}),
                 ("early head", 200, CHAT, {"model": "early", "stream": True, **ask}), ("second try", 200, CHAT, {"model": "second", **ask}),
                 ("the provider's error", 503, CHAT, {"model": "busy", **ask}), ("no such model", 404, CHAT, {"model": "nobody", **ask}),
                 ("no JSON", 400, CHAT, b"{"), ("a header that is refused", 400, CHAT, {"model": "m", **ask}), ("no caller", 401, CHAT, {"model": "m", **ask}))
        for name, status, path, body in calls:
            more = {"a header that is refused": [("x-aigw-nonsense", "1")], "no caller": [("authorization", "Bearer sk-aigw-x")]}.get(name, [])
            a = self.stack.call(path, body, way="unix", headers=[*headers, *more])
            self.assertEqual(a.status, status, (name, a.body))
            yield name, a


class Debug(Case):
    def test_off_unless_it_is_asked_for(self):
        self.start()
        for settings in ("", "headers: {}", "headers: {debug: false}"):
            self.apply(settings)
            for name, a in self.answers():
                self.assertEqual((a.header("x-aigw-revision"), a.header("x-aigw-agent")), (None, None), name)

    def test_who_answered_by_which_revision(self):
        self.start(agent_id="web-01")
        for more in ("", ", default_model: m"):
            revision = self.apply("headers: {debug: true}" + more)
            for name, a in self.answers():
                known = (None, None) if name == "a header that is refused" else (revision, "web-01")  # before the policy is looked at
                self.assertEqual((a.header("x-aigw-revision"), a.header("x-aigw-agent")), known, name)
            a = self.stack.call("/v1/models", way="unix")
            self.assertEqual((a.status, a.header("x-aigw-revision"), a.header("x-aigw-agent")), (200, revision, "web-01"))
            for path in ("/healthz", "/metrics"):
                self.assertEqual(self.stack.call(path, way="unix").header("x-aigw-revision"), None)

    def test_the_host_s_name_where_the_agent_has_none(self):
        self.start("headers: {debug: true}", agent_id='""')
        self.assertEqual(self.stack.call(CHAT, {"model": "m", "messages": []}, way="unix").header("x-aigw-agent"), socket.gethostname())


TIMING = re.compile(r"gw;dur=(\d+\.\d\d), queue;dur=(\d+), upstream;dur=(\d+)")
PAUSE_MS = 300
TIMED = """\
apiVersion: aigw/v1
providers:
  - {name: own, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1"}
  - {name: hasty, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", timeouts: {first_byte: 300ms}}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, targets: [{provider: own, model: x}]}
  - {name: early, early_head: true, targets: [{provider: own, model: x}]}
  - {name: second, targets: [{provider: own, model: x}, {provider: b, model: sim-b, priority: 2}]}
  - {name: hasty, retry: {attempts: 1}, targets: [{provider: hasty, model: x}]}
  - {name: nobody, retry: {attempts: 1}, targets: [{provider: nobody, model: x}]}
"""


def pause():
    threading.Event().wait(PAUSE_MS / 1000)


def timing(a):
    """gw, queue, upstream in milliseconds."""
    return tuple(float(x) for x in TIMING.fullmatch(a.header("server-timing")).groups())


class ServerTiming(unittest.TestCase):
    """What the header says, against what the client has measured: all its parts lie within that, the pauses of the provider where they belong."""
    STREAM = [chunk(event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "x",
                           "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]})), chunk(event(b"[DONE]")) + chunk(b"")]

    def setUp(self):
        self.script = []  # bytes that the provider sends, and functions that it calls between
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, TIMED.replace("$OWN", str(self.provider.port))))

    def serve(self, conn):
        while conn.request():
            for step in self.script:
                step() if callable(step) else conn.send(step)

    def ask(self, name, script, status=200, **members):
        """Its parts, and how long it took."""
        self.script = script
        began = time.monotonic()
        a = self.stack.chat(name, way="unix", **members)
        took = (time.monotonic() - began) * 1000
        self.assertEqual(a.status, status, a.body)
        parts = timing(a)
        self.assertLessEqual(sum(parts), took)
        return *parts, took

    def test_the_provider_s_time_until_its_head(self):
        for _ in range(2):  # the second time on a connection that is there
            gw, queue, upstream, took = self.ask("m", [pause, ANSWER])
            self.assertGreaterEqual(upstream, PAUSE_MS - 1)
            self.assertGreater(gw, 0)
            self.assertLessEqual(gw, took - PAUSE_MS)
            self.assertEqual(queue, 0)

    def test_a_stream_s_head_is_not_its_content(self):
        gw, queue, upstream, took = self.ask("m", [pause, SSE_HEAD, pause, *self.STREAM], stream=True)
        self.assertGreaterEqual(upstream, PAUSE_MS - 1)
        self.assertLessEqual(gw + queue + upstream, took - PAUSE_MS)

    def test_an_early_head_knows_no_more_than_that(self):
        gw, queue, upstream, took = self.ask("early", [pause, SSE_HEAD, *self.STREAM], stream=True)
        self.assertLessEqual(gw + queue + upstream, took - PAUSE_MS)

    def test_of_several_tries_the_last(self):
        """What the first one took is in none of the parts."""
        gw, queue, upstream, took = self.ask("second", [pause, answer_bytes({"error": {"message": "no"}}, status=500)])
        self.assertLessEqual(gw + queue + upstream, took - PAUSE_MS)

    def test_on_errors(self):
        _, _, upstream, _ = self.ask("m", [pause, answer_bytes({"error": {"message": "no"}}, status=400)], 400)
        self.assertGreaterEqual(upstream, PAUSE_MS - 1)
        _, _, upstream, _ = self.ask("hasty", [lambda: threading.Event().wait(2)], 504)
        self.assertGreaterEqual(upstream, PAUSE_MS - 1)
        for name, status in (("nobody", 503), ("no-such-model", 404)):
            self.assertEqual(self.ask(name, [], status)[1:3], (0, 0), name)

    def test_whatever_is_asked_below_v1(self):
        for path, body, status in (("/v1/models", None, 200), ("/v1/models/m", None, 200), (CHAT, b"{", 400), (CHAT, None, 405), ("/v1/nothing", {}, 404)):
            a = self.stack.call(path, body, way="unix")
            self.assertEqual((a.status, timing(a)[1:]), (status, (0, 0)), path)
        for path in ("/healthz", "/readyz", "/metrics"):
            self.assertIsNone(self.stack.call(path, way="unix").header("server-timing"))


class Traceparent(Case):
    VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    def forwarded(self, a):
        line = next(l for l in self.stack.sim_log() if l["event"] == "recv" and l.get("client_request_id") == a.header("x-request-id"))
        return [v for n, v in line["headers"] if n.lower() == "traceparent"]

    def ask(self, *values, name="traceparent"):
        a = self.stack.chat("m", way="unix", headers=[(name, v) for v in values])
        self.assertEqual((a.status, self.forwarded(a)), (200, list(values)))
        return a.header("traceparent")

    def test_every_answer_has_the_caller_s(self):
        self.start()
        for name, a in self.answers([("traceparent", self.VALID)]):
            self.assertEqual(a.header("traceparent"), self.VALID, name)
        for name, a in self.answers():
            self.assertIsNone(a.header("traceparent"), name)

    def test_only_a_valid_one(self):
        self.start()
        version, trace, parent, flags = self.VALID.split("-")
        for valid in (self.VALID, f"00-{trace}-{parent}-00", f"cc-{trace}-{parent}-ff"):
            self.assertEqual(self.ask(valid, name="TraceParent"), valid)
        for wrong in (f"ff-{trace}-{parent}-01", f"00-{'0' * 32}-{parent}-01", f"00-{trace}-{'0' * 16}-01", self.VALID.upper(), self.VALID + "-00", self.VALID[:-1],
                      self.VALID.replace("-", "_", 1), f"00-{trace}_{parent}-01", f"00-{trace}-{parent}_01", f"0g-{trace}-{parent}-01",
                      f"00-{trace[:-1]}g-{parent}-01", f"00-{trace}-{parent[:-1]}g-01", f"00-{trace}-{parent}-0g", "x"):
            self.assertIsNone(self.ask(wrong), wrong)
        self.assertIsNone(self.ask(self.VALID, self.VALID))

    def test_it_is_of_its_request_alone(self):
        self.start()
        with self.stack.connect("unix") as wire:
            body = {"model": "m", "messages": []}
            for sent in (self.VALID, None, "x", self.VALID):
                a = wire.call(CHAT, body, [("traceparent", sent)] if sent else [])
                self.assertEqual(a.header("traceparent"), sent if sent == self.VALID else None)


if __name__ == "__main__":
    unittest.main()
