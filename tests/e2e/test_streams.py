"""Streams that wait, break and go on: what their client gets meanwhile.

Usage: test_streams.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: own, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", timeouts: {first_byte: 30s}, health: {open_after: 1000}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: own, model: "*", from: 2020-01-01, input: 1, output: 2}
  - {provider: b, model: "*", from: 2020-01-01, input: 10, output: 20}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""
ALIVE = b": keep-alive\n\n"
DONE = chunk(event(b"[DONE]")) + chunk(b"")


def model(name, *targets, **more):
    """A row of the policy: targets are PROVIDER:MODEL."""
    rows = ", ".join(f'{{provider: {t.split(" ")[0]}, model: "{t.split(" ")[1]}"}}' for t in targets)
    return f'  - {{name: "{name}", strategy: priority, targets: [{rows}]' + "".join(f", {k}: {v}" for k, v in more.items()) + "}\n"


def delta(finish=None, **members):
    return chunk(event({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "x",
                        "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}))


class Case(unittest.TestCase):
    maxDiff = None
    MODELS = ()

    def setUp(self):
        self.script = []  # bytes that the provider sends, and functions that it calls between
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, HEAD.replace("$OWN", str(self.provider.port)) + "".join(self.MODELS)))

    def serve(self, conn):
        while conn.request():
            for step in self.script:
                if callable(step):
                    step()
                else:
                    conn.send(step)

    def open(self, name="m", path="/v1/chat/completions", **members):
        wire = self.enterContext(self.stack.connect("unix"))
        wire.send(path, {"model": name, "stream": True, "messages": [{"role": "user", "content": "x"}], **members})
        return wire

    def record(self, a):
        return wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")


class Keepalive(Case):
    MODELS = (model("m", "own x", keepalive="100ms"), model("off", "own x", keepalive="off"), model("early", "own x", keepalive="100ms", early_head="true"))

    def test_a_silent_stream_shows_that_it_lives(self):
        go = threading.Event()
        self.script = [SSE_HEAD + delta(content="a"), go.wait, delta(content="b") + delta("stop") + DONE]
        wire = self.open()
        a = wire.head()
        self.assertIn(b'"a"', wire.chunk())
        self.assertEqual([wire.chunk() for _ in range(3)], [ALIVE] * 3)
        go.set()
        wire.finish(a)
        self.assertEqual((a.text(), a.events()[-1], a.whole), ("b", "[DONE]", True))
        self.assertEqual(a.body.index(b"data: [DONE]"), len(a.body) - len(b"data: [DONE]\n\n"))  # nothing behind the end
        record = self.record(a)
        self.assertEqual((record["outcome"], record["first_byte_us"] < record["duration_us"] - 200000), ("ok", True))

    def test_never_before_the_head(self):
        go = threading.Event()
        self.script = [SSE_HEAD + delta(role="assistant", content=""), go.wait, delta(content="a") + delta("stop") + DONE]
        wire = self.open()
        wire.sock.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            wire.sock.recv(1)
        wire.sock.settimeout(60)
        go.set()
        a = wire.answer()
        self.assertTrue(a.body.startswith(b"data: "), a.body)

    def test_never_within_an_event(self):
        """An event so large that it is handed through in parts, and a part of it that is late."""
        go = threading.Event()
        big = event({"id": "x", "choices": [{"index": 0, "delta": {"content": "y" * (5 << 20)}, "finish_reason": None}]})
        self.script = [SSE_HEAD + delta(content="a") + chunk(big[:-4096]), lambda: go.wait(1), chunk(big[-4096:]) + delta("stop") + DONE]
        a = self.open().answer()
        self.assertEqual(len(a.text()), 1 + (5 << 20))
        self.assertNotIn(b"y: keep", a.body)
        self.assertEqual(a.events()[-1], "[DONE]")

    def test_half_an_event_waits_behind_it(self):
        go = threading.Event()
        half = event({"id": "x", "choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": None}]})
        self.script = [SSE_HEAD + delta(content="a") + chunk(half[:20]), go.wait, chunk(half[20:]) + delta("stop") + DONE]
        wire = self.open()
        a = wire.head()
        wire.chunk()
        self.assertEqual(wire.chunk(), ALIVE)
        go.set()
        wire.finish(a)
        self.assertEqual(a.text(), "b")

    def test_steady_tokens_need_none(self):
        pause = threading.Event()
        self.script = [SSE_HEAD] + [step for i in range(20) for step in (delta(content="a"), lambda: pause.wait(0.02))] + [delta("stop") + DONE]
        a = self.open().answer()
        self.assertEqual((a.body.count(ALIVE), len(a.text())), (0, 20))

    def test_off(self):
        go = threading.Event()
        self.script = [SSE_HEAD + delta(content="a"), lambda: go.wait(0.6), delta("stop") + DONE]
        self.assertNotIn(b"keep-alive", self.open("off").answer().body)

    def test_a_client_that_does_not_read_gets_no_more_of_them(self):
        go = threading.Event()
        self.script = [SSE_HEAD + b"".join(delta(content="z" * 60000) for _ in range(100)) + delta("stop") + DONE]
        wire = self.open()
        go.wait(1.2)
        a = wire.answer()
        self.assertEqual((a.events()[-1], len(a.text())), ("[DONE]", 6000000))
        self.assertLess(a.body.count(ALIVE), 4)


class EarlyHead(Case):
    MODELS = (model("m", "own x", "b sim-b", early_head="true", keepalive="100ms"), model("alone", "own x", early_head="true"), model("late", "own x"))

    def test_the_head_comes_at_once(self):
        go = threading.Event()
        self.script = [go.wait, SSE_HEAD + delta(role="assistant", content="") + delta(content="a") + delta("stop") + DONE]
        wire = self.open()
        a = wire.head()
        self.assertEqual((a.status, a.header("content-type"), a.header("x-aigw-model"), a.header("x-aigw-provider")), (200, "text/event-stream", "m", None))
        self.assertEqual([wire.chunk(), wire.chunk()], [ALIVE] * 2)  # while nobody has answered
        go.set()
        wire.finish(a)
        self.assertIn(b": x-aigw-provider: own\n\ndata: ", a.body)
        self.assertEqual((a.text(), a.events()[-1]), ("a", "[DONE]"))
        self.assertEqual((self.record(a)["outcome"], self.record(a)["status"]), ("ok", 200))

    def test_only_where_the_policy_has_it(self):
        go = threading.Event()
        self.script = [lambda: go.wait(0.5), answer_bytes({"error": {"message": "no"}}, status=400)]
        self.assertEqual(self.open("late").answer().status, 400)

    def test_a_failure_goes_on_unseen(self):
        for fault in ([b"HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n"], [SSE_HEAD + delta(role="assistant", content="") + chunk(b"")],
                      [SSE_HEAD + chunk(event({"error": {"message": "m", "type": "server_error"}})) + chunk(b"")], [answer_bytes({"choices": []})],
                      [b"HTTP/1.1 204 No\r\n\r\n"], [answer_bytes(b"x", "text/plain")]):
            self.script = [lambda: threading.Event().wait(0.05), *fault]
            a = self.open().answer()
            self.assertEqual((a.status, a.events()[-1], len({e["id"] for e in a.events()[:-1]})), (200, "[DONE]", 1), fault)
            self.assertIn(b": x-aigw-provider: b\n: x-aigw-attempts: 2\n: x-aigw-fallback: own:", a.body)
            self.assertIn(b">b\n", a.body)
            record = self.record(a)
            self.assertEqual((record["provider"], record["outcome"], record["status"]), ("b", "ok", 200))

    def test_an_error_is_told_in_the_stream(self):
        refusal = {"message": "too warm", "type": "invalid_request_error", "param": "temperature", "code": None}
        for answer, error, name in ((answer_bytes({"error": refusal}, status=400), refusal, "upstream_error"),
                                    (answer_bytes(b"<h1>No</h1>", "text/html", 400), None, "upstream_error"),
                                    (answer_bytes(b"{\n\"error\":\n{\"message\":\n\"m\"}}", status=400), None, "upstream_error"),
                                    (answer_bytes({"error": {"message": "CANARY"}}, status=401), None, "upstream_auth_failed"),
                                    (SSE_HEAD + chunk(event({"error": refusal})) + chunk(b""), refusal, "upstream_error"),
                                    (SSE_HEAD + chunk(b""), None, "upstream_protocol")):
            self.script = [lambda: threading.Event().wait(0.05), answer]
            a = self.open("alone").answer()
            errors = [e["error"] for e in a.events() if "error" in e]
            self.assertEqual((a.status, a.whole, len(errors), len(a.events())), (200, True, 1, 1), a.body)
            if error:
                self.assertEqual(errors[0], error)
            else:
                self.assertEqual(errors[0]["code"], name)
            self.assertNotIn(b"CANARY", a.body)
            record = self.record(a)
            self.assertEqual((record["status"], record["outcome"], record["fail"], record["cost"], record["output_tokens"]), (200, "failed", name, "0.000000000", 0))

    def test_what_is_no_stream_gets_its_own_head(self):
        self.script = [lambda: threading.Event().wait(0.05), answer_bytes({"error": {"message": "no"}}, status=400)]
        self.assertEqual(self.open("alone", stream=False).answer().status, 400)

    def test_a_client_that_leaves_meanwhile(self):
        go = threading.Event()
        self.addCleanup(go.set)
        self.script = [go.wait]
        wire = self.open()
        wire.head()
        wire.reset()
        self.assertEqual(self.stack.wait_records(1)[0]["outcome"], "client_gone")


if __name__ == "__main__":
    unittest.main()
