"""Streams that break off within their text: another target goes on (on_cut: continue), or the client is told. S08, S09, S14 and S19.

Usage: test_streams_cut.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import socket
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim, timeouts: {first_byte: 2s, idle: 800ms}, health: {open_after: 1000}, options: {prefill: message}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 1000}}
  - {name: anew, type: openai-compatible, base_url: $SIM, credential: sim, options: {prefill: none}}
  - {name: free, type: openai-compatible, base_url: $SIM, credential: sim, options: {prefill: message}}
  - {name: own, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", timeouts: {first_byte: 30s}, health: {open_after: 1000}, options: {prefill: message}}
  - {name: prefix, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", options: {prefill: prefix}}
  - {name: partial, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", options: {prefill: partial}}
  - {name: vllm, type: openai-compatible, base_url: "http://127.0.0.1:$OWN/v1", options: {prefill: continue_final_message}}
prices:
  - {provider: a, model: "*", from: 2020-01-01, input: 1, output: 2, per_request: 0.5}
  - {provider: b, model: "*", from: 2020-01-01, input: 10, output: 20, per_request: 0.25}
  - {provider: anew, model: "*", from: 2020-01-01, input: 10, output: 20}
  - {provider: own, model: "*", from: 2020-01-01, input: 100, output: 200}
  - {provider: prefix, model: "*", from: 2020-01-01, input: 1, output: 1}
  - {provider: partial, model: "*", from: 2020-01-01, input: 1, output: 1}
  - {provider: vllm, model: "*", from: 2020-01-01, input: 1, output: 1}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""


def model(name, *targets, **more):
    """A row of the policy: targets are PROVIDER:MODEL, tried in this order."""
    rows = []
    for t in targets:
        provider, upstream, *rest = t.split(" ", 2)
        rows.append(f'{{provider: {provider}, model: "{upstream}"{", " + rest[0] if rest else ""}}}')
    more = {"strategy": "priority", "on_cut": "continue", **more}
    return f'  - {{name: "{name}", targets: [{", ".join(rows)}]' + "".join(f", {k}: {v}" for k, v in more.items()) + "}\n"


def part(text=None, finish=None, id="x", **members):
    content = {} if text is None else {"content": text}
    return {"id": id, "object": "chat.completion.chunk", "created": 7, "model": "up", "choices": [{"index": 0, "delta": {**content, **members}, "finish_reason": finish}]}


def say(*texts, id="x", **members):
    return b"".join(chunk(event(part(t, id=id, **members))) for t in texts)


KEPT = "the connection stays for the next call"
END = chunk(event(part(finish="stop"))) + chunk(event(b"[DONE]")) + chunk(b"")


class Case(unittest.TestCase):
    maxDiff = None
    HEAD = HEAD

    def setUp(self):
        self.script, self.asked = [], []  # what the own provider does, call by call; what it was asked
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, None))

    def serve(self, conn):
        while (request := conn.request()):
            self.asked.append(json.loads(request.body))
            steps = self.script.pop(0) if self.script else ()
            for step in steps:
                if callable(step):
                    step()
                elif step is not KEPT:
                    conn.send(step)
            if KEPT in steps:
                continue
            conn.sock.shutdown(socket.SHUT_WR)  # what has been sent arrives, however late it is read
            conn.gone()
            return

    def apply(self, *models):
        self.stack.apply(self.HEAD.replace("$OWN", str(self.provider.port)) + "".join(models))
        self.stack.wait_ready()

    def ask(self, name="m", text="hello", **members):
        return self.stack.chat(name, text, way="unix", stream=True, **{"stream_options": {"include_usage": True}, **members})

    def record(self, a):
        return wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")

    def check_whole(self, a, text=None):
        """One answer: one id, one role, one finish, and the end mark."""
        events = a.events()
        self.assertEqual((a.status, a.whole, events[-1]), (200, True, "[DONE]"), a.body[-600:])
        self.assertFalse([e for e in events[:-1] if "error" in e])
        self.assertEqual(len({(e["id"], e["created"], e["model"]) for e in events[:-1]}), 1)
        self.assertEqual(sum("role" in c["delta"] for e in events[:-1] for c in e["choices"]), 1)
        self.assertEqual([c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]], ["stop"])
        if text is not None:
            self.assertEqual(a.text(), text)

    def check_cut(self, a, *codes):
        errors = [e["error"] for e in a.events() if "error" in e]
        self.assertEqual((a.status, len(errors)), (200, 1), a.body[-600:])
        self.assertIn(errors[0]["code"], codes)
        self.assertNotIn("[DONE]", a.events())
        self.assertEqual(len({e["id"] for e in a.events() if "id" in e}), 1)
        return self.record(a)

    def text_of(self, upstream, text="hello"):
        """What the simulator says when nothing breaks."""
        self.apply(model("whole", f"b {upstream}", on_cut="error"))
        return self.ask("whole", text).text()


class Scenarios(Case):
    def test_s08_cut_after_40_of_60(self):
        whole = self.text_of("sim-w+tokens-60")
        self.apply(model("m", "a sim-s08+tokens-60+cut-after-40", "b sim-b+tokens-60"), model("error", "a sim-s08+tokens-60+cut-after-40", "b sim-b+tokens-60", on_cut="error"))
        a = self.ask()
        self.check_whole(a, whole)
        record = self.record(a)
        self.assertEqual((record["outcome"], record["attempts"], record["provider"], record["upstream_model"], record["status"]), ("ok", 2, "b", "sim-b+tokens-60", 200))
        self.assertIn(b": x-aigw-provider: b\n: x-aigw-attempts: 2\n: x-aigw-fallback: a:cut>b\n", a.body)
        record = self.check_cut(self.ask("error"), "upstream_cut")
        self.assertEqual((record["outcome"], record["attempts"], record["provider"]), ("cut", 1, "a"))
        self.assertGreater(record["output_tokens"], 0)

    def test_the_connection_goes_on_behind_an_error(self):
        """Its head did not say that it would close, so who pools it may use it at once: behind an error in the stream, too, early or late."""
        self.apply(model("cut", "a sim-s08+tokens-60+cut-after-40", on_cut="error"), model("early", "a sim-e+fail-500", early_head="true", on_cut="error"), model("good", "b sim-b", on_cut="error"))
        with self.stack.connect("unix") as wire:
            for name in ("cut", "early", "cut"):
                a = wire.call("/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "x"}], "stream": True})
                self.assertEqual((a.status, a.whole, a.header("connection")), (200, True, None), name)
                self.assertIn("error", a.events()[-1])
                self.assertEqual(wire.call("/v1/chat/completions", {"model": "good", "messages": []}).status, 200, name)

    def test_s09_stall_after_10(self):
        whole = self.text_of("sim-w+tokens-60")
        self.apply(model("m", "a sim-s09+tokens-60+stall-after-10", "b sim-b+tokens-60", keepalive="100ms"), model("error", "a sim-s09+tokens-60+stall-after-10", "b sim-b", on_cut="error"))
        a = self.ask()
        self.check_whole(a, whole)
        self.assertIn(b": keep-alive\n\n", a.body)
        self.assertIn(b"fallback: a:timeout_idle>b", a.body)
        self.assertEqual(self.record(a)["outcome"], "ok")
        self.assertEqual(self.check_cut(self.ask("error"), "upstream_timeout")["outcome"], "cut")

    def test_s14_the_prefill_is_refused(self):
        whole = self.text_of("sim-w+tokens-60")
        cut = "a sim-s14+tokens-60+cut-after-40"
        elsewhere = "own x capabilities: [embeddings, prefill]"  # it could, and is none for chat
        self.apply(model("m", cut, "b sim-no+no-prefill", "b sim-b+tokens-60"), model("none", cut, "b sim-no+no-prefill", retry="{attempts: 2}"),
                   model("anew", cut.replace("a ", "anew ", 1), "anew sim-anew+tokens-60", elsewhere), model("lacks", cut.replace("a ", "anew ", 1), "b sim-lacks+tokens-60 capabilities: [chat]", elsewhere))
        a = self.ask()
        self.check_whole(a, whole)
        self.assertEqual(self.record(a)["attempts"], 3)
        for name in ("none", "anew", "lacks"):
            with self.subTest(name):
                a = self.ask(name)
                self.assertEqual((self.check_cut(a, "upstream_cut")["outcome"], len(a.text())), ("cut", len(" ".join(whole.split(" ")[:40]))))
                self.assertTrue(whole.startswith(a.text()))
        self.assertFalse([l for l in self.stack.sim_log() if l["event"] == "recv" and l["model"].startswith(("sim-anew", "sim-lacks"))])

    def test_s19_a_long_stream_is_cut_by_no_other_timer(self):
        """Minutes stand for a second: connect, first_byte and keepalive pass many times over."""
        self.HEAD = HEAD.replace("timeouts: {first_byte: 2s, idle: 800ms}", "timeouts: {connect: 150ms, first_byte: 150ms, idle: 5s, total: 60s}")
        self.apply(model("m", "a sim-s19+tokens-100+pace-40000", "b sim-b", keepalive="20ms"), model("early", "a sim-s19e+tokens-100+pace-40000", "b sim-b", early_head="true", keepalive="1s"))
        for name in ("m", "early"):
            began = time.monotonic()
            a = self.ask(name)
            self.check_whole(a)
            self.assertEqual(sum(bool(c["delta"].get("content")) for e in a.events()[:-1] for c in e["choices"]), 100)
            self.assertGreater(time.monotonic() - began, 3.5)
            self.assertEqual((self.record(a)["attempts"], self.record(a)["outcome"]), (1, "ok"))

    def test_total_is_over_all_parts(self):
        self.HEAD = HEAD.replace("idle: 800ms}", "idle: 800ms, total: 2s}")
        self.apply(model("m", "a sim-t+tokens-60+cut-after-40", "b sim-t+tokens-60+first-after-20000"))
        self.assertEqual(self.check_cut(self.ask(), "upstream_timeout")["outcome"], "cut")


class Money(Case):
    def test_both_parts_at_their_prices(self):
        self.apply(model("m", "a sim-m+tokens-60+cut-after-40", "b sim-b+tokens-60"))
        a = self.ask()
        record = self.record(a)
        second = next(e["usage"] for e in a.events()[:-1] if e.get("usage"))
        self.assertEqual((second["prompt_tokens"], second["completion_tokens"], second["total_tokens"]), (record["input_tokens"], record["output_tokens"], record["input_tokens"] + record["output_tokens"]))
        self.assertTrue(record["estimated"])  # the first one broke off without its usage
        b_in, b_out = [(i, o) for m, i, o in self.sim_calls() if m.startswith("sim-b")][-1]
        self.assertEqual(b_out, 20)
        a_in, a_out = record["input_tokens"] - b_in, record["output_tokens"] - b_out
        self.assertGreaterEqual(a_out, 40)
        self.assertEqual(record["cost"], f"{(a_in * 1 + a_out * 2 + b_in * 10 + b_out * 20) / 1e6 + 0.75:.9f}")
        self.assertEqual(self.stats("providers/a", "tokens_out"), a_out)
        self.assertEqual(self.stats("providers/b", "tokens_out"), b_out)
        self.assertEqual(self.stats("models/m", "tokens_out"), a_out + b_out)

    def sim_calls(self):
        """(model, input, output) of those that have ended."""
        lines = self.stack.sim_log()
        models = {l["seq"]: l["model"] for l in lines if l["event"] == "recv"}
        return [(models[l["seq"]], l["input_tokens"], l["output_tokens"]) for l in lines if l["event"] != "recv"]

    def stats(self, where, name):
        return int(dict(l.split() for l in self.stack.agent_stat(f"{where}/stat").splitlines())[name])

    def test_exact_where_each_part_reports(self):
        usage = lambda i, o: {"prompt_tokens": i, "completion_tokens": o, "total_tokens": i + o, "prompt_tokens_details": {"cached_tokens": 1}}
        self.script = [[SSE_HEAD + say("", role="assistant") + chunk(event({**part("one"), "usage": usage(5, 1)})) + chunk(event({**part(" two"), "usage": usage(5, 2)}))],
                       [SSE_HEAD + say("", id="y", role="assistant") + chunk(event({**part(" three", id="y"), "usage": usage(8, 1)})) + chunk(event({**part(finish="stop", id="y"), "usage": usage(8, 1)})) + chunk(event(b"[DONE]")) + chunk(b"")]]
        self.apply(model("m", "own x", "own y"))
        a = self.ask()
        self.check_whole(a, "one two three")
        record = self.record(a)
        self.assertEqual((record["input_tokens"], record["output_tokens"], record["cached_input_tokens"], record["estimated"], record["usage_seen"]), (13, 3, 2, False, True))
        self.assertEqual(record["cost"], f"{(13 * 100 + 3 * 200) / 1e6:.9f}")
        self.assertEqual(a.events()[-2]["usage"]["completion_tokens"], 3)
        self.assertEqual(a.events()[-2]["usage"]["prompt_tokens_details"]["cached_tokens"], 2)

    def test_a_second_part_that_is_refused_costs_nothing(self):
        self.script = [[SSE_HEAD + chunk(event({**part("one", role="assistant"), "usage": {"prompt_tokens": 5, "completion_tokens": 1}}))], [answer_bytes({"error": {"message": "no"}}, status=400)]]
        self.apply(model("m", "own x", "own y"))
        record = self.check_cut(self.ask(), "upstream_cut")
        self.assertEqual((record["input_tokens"], record["output_tokens"], record["cost"], record["outcome"]), (5, 1, f"{(5 * 100 + 200) / 1e6:.9f}", "cut"))

    def test_without_a_price_there_is_no_part_of_it(self):
        self.apply(model("m", "a sim-p+tokens-60+cut-after-40", "free sim-f+tokens-60", "b sim-b+tokens-60"))
        record = self.record(self.ask())
        self.assertEqual((record["provider"], record["attempts"]), ("b", 2))

    def test_a_crash_in_the_second_part_loses_none(self):
        go = threading.Event()
        self.addCleanup(go.set)
        self.script = [[SSE_HEAD + chunk(event({**part("one", role="assistant"), "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))],
                       [SSE_HEAD + chunk(event({**part(" two", id="y"), "usage": {"prompt_tokens": 2000, "completion_tokens": 100}})), go.wait]]
        self.apply(model("m", "own x", "own y"))
        wire = self.enterContext(self.stack.connect("unix"))
        wire.send("/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        wire.head()
        while b" two" not in wire.chunk():
            pass
        self.stack.kill(self.stack.agent)
        self.stack.start_agent()
        record = self.stack.wait_records(1)[0]
        self.assertEqual((record["outcome"], record["input_tokens"], record["output_tokens"]), ("unknown", 3000, 600))
        self.assertEqual(record["cost"], f"{(3000 * 100 + 600 * 200) / 1e6:.9f}")

    def test_a_crash_between_the_parts(self):
        go = threading.Event()
        self.addCleanup(go.set)
        self.script = [[SSE_HEAD + chunk(event({**part("one", role="assistant"), "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))]]
        self.apply(model("m", "own x", retry="{attempts: 2, backoff: 50s}"))
        wire = self.enterContext(self.stack.connect("unix"))
        wire.send("/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        wait_for(lambda: "next=continue" in self.stack.agent_log(), "it waits")
        self.stack.kill(self.stack.agent)
        self.stack.start_agent()
        record = self.stack.wait_records(1)[0]
        self.assertEqual((record["outcome"], record["input_tokens"], record["output_tokens"], record["cost"]), ("unknown", 1000, 500, f"{(1000 * 100 + 500 * 200) / 1e6:.9f}"))

    def test_a_client_that_leaves_in_the_second_part(self):
        go = threading.Event()
        self.addCleanup(go.set)
        for answer in ([go.wait], [SSE_HEAD + chunk(event({**part(" two", id="y"), "usage": {"prompt_tokens": 2000, "completion_tokens": 100}})), go.wait]):
            self.script = [[SSE_HEAD + chunk(event({**part("one", role="assistant"), "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}))], answer]
            self.apply(model("m", "own x", "own y"))
            self.asked.clear()
            before = len(self.stack.records())
            wire = self.stack.connect("unix")
            wire.send("/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
            wire.head()
            wait_for(lambda: len(self.asked) == 2, "the second target is asked")
            while len(answer) == 2 and b" two" not in wire.chunk():
                pass
            wire.reset()
            record = self.stack.wait_records(before + 1)[-1]
            self.assertEqual((record["outcome"], record["attempts"]), ("client_gone", 2))
            if len(answer) == 2:
                self.assertEqual((record["input_tokens"], record["output_tokens"]), (3000, 600))
            else:  # the second one has its prompt: that is what it bills
                self.assertEqual(record["output_tokens"], 500)
                self.assertTrue(1000 < record["input_tokens"] < 1100)


class Parts(Case):
    def run_parts(self, *parts, name="m", models=None, **members):
        self.script = [list(p) if isinstance(p, (list, tuple)) else [p] for p in parts]
        self.asked.clear()
        self.apply(*(models or [model("m", "own x", "own y", "own z")]))
        return self.ask(name, **members)

    def test_what_is_asked(self):
        a = self.run_parts(SSE_HEAD + say("", role="assistant") + say("a\"\\\n", "\u00e9\U0001f600 "), SSE_HEAD + say("", id="y", role="assistant") + say("end", id="y") + END,
                           max_tokens=100, tools=[{"type": "function", "function": {"name": "f"}}], temperature=0.5)
        self.check_whole(a, "a\"\\\n\u00e9\U0001f600 end")
        first, second = self.asked
        self.assertEqual(second["messages"], first["messages"] + [{"role": "assistant", "content": "a\"\\\n\u00e9\U0001f600 "}])
        self.assertEqual((second["model"], second["stream"], second["stream_options"], second["temperature"], second["tools"]), ("y", True, {"include_usage": True}, 0.5, first["tools"]))
        self.assertLess(second["max_tokens"], 100)
        self.assertGreater(second["max_tokens"], 80)

    def test_each_way_to_ask(self):
        for way, message, members in (("prefix", {"prefix": True}, {}), ("partial", {"partial": True}, {}), ("vllm", {}, {"continue_final_message": True, "add_generation_prompt": False}), ("own", {}, {})):
            a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say(" two") + END, models=[model("m", "own x" if way == "own" else f"{way} x", f"{way} y")])
            self.check_whole(a, "one two")
            second = self.asked[1]
            self.assertEqual(second["messages"][-1], {"role": "assistant", "content": "one", **message})
            self.assertEqual({k: second[k] for k in ("continue_final_message", "add_generation_prompt") if k in second}, members)

    def test_a_continuation_that_is_cut_goes_on(self):
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say(" two", id="y"), SSE_HEAD + say(" three", id="z") + END)
        self.check_whole(a, "one two three")
        self.assertEqual(self.asked[2]["messages"][-1]["content"], "one two")
        self.assertEqual(self.record(a)["attempts"], 3)
        a = self.run_parts(*[SSE_HEAD + say(f" {i}", id=str(i), role="assistant") for i in range(9)])
        record = self.check_cut(a, "upstream_cut")
        self.assertEqual((a.text(), record["attempts"], record["outcome"]), (" 0 1 2", 3, "cut"))

    def test_attempts_that_bring_nothing_count(self):
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), b"HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n", SSE_HEAD + say(" two") + END)
        self.check_whole(a, "one two")
        for fault in (SSE_HEAD + chunk(b""), SSE_HEAD + chunk(event({"error": {"message": "m"}})) + chunk(b""), answer_bytes({"choices": []}), b""):
            a = self.run_parts(SSE_HEAD + say("one", role="assistant"), fault, fault)
            self.assertEqual(a.text(), "one")
            self.check_cut(a, "upstream_cut", "upstream_protocol", "upstream_unavailable")

    def test_what_was_sent_again_unseen_counts(self):
        """A connection that ends under a call may have carried it: with two attempts there is none left for the same target."""
        self.apply(model("m", "own x", retry="{attempts: 2, backoff: 1ms, budget: 100%}"))
        self.script = [[SSE_HEAD + say("hello", role="assistant") + END, KEPT], [], [SSE_HEAD + say("Hello ", role="assistant")]]
        self.check_whole(self.ask(), "hello")
        self.check_cut(self.ask(), "upstream_cut")
        self.assertEqual(len(self.asked), 3)

    def test_an_error_in_the_stream_is_a_break(self):
        error = {"message": "overloaded", "type": "server_error", "code": None}
        a = self.run_parts(SSE_HEAD + say("one", role="assistant") + chunk(event({"error": error})) + chunk(b""), SSE_HEAD + say(" two") + END)
        self.check_whole(a, "one two")
        a = self.run_parts(SSE_HEAD + say("one", role="assistant") + chunk(event({"error": {**error, "code": "content_filter"}})) + chunk(b""))
        self.assertEqual([e["error"]["message"] for e in a.events() if "error" in e], ["overloaded"])  # another target would say the same
        self.assertEqual(len(self.asked), 1)

    def test_a_malformed_event_is_a_break(self):
        a = self.run_parts(SSE_HEAD + say("one", role="assistant") + chunk(b"data: {\"id\"\n\n"), SSE_HEAD + say(" two") + END)
        self.check_whole(a, "one two")

    def test_an_echo_is_stripped(self):
        whole = "one two three"
        for texts in (["one two three"], ["one ", "two three"], list(whole), ["one two", " three"], ["one tw", "o", " th", "ree"]):
            a = self.run_parts(SSE_HEAD + say("", role="assistant") + say("one ", "two"), SSE_HEAD + say("", id="y", role="assistant") + say(*texts, id="y") + END)
            self.check_whole(a, whole)
        self.apply(model("m", "a sim-e+tokens-60+cut-after-40", "b sim-e+tokens-60+echo-prefill"))
        self.check_whole(self.ask(), self.text_of("sim-w+tokens-60"))

    def test_a_hostile_echo(self):
        """Of the text delivered not all, or more than once, or in other escapes: all of it once is a repetition, and nothing else."""
        for texts, want in ((["one", "!"], "one twoone!"), (["one twx"], "one twoone twx"), (["one two", "one two"], "one twoone two"), (["o"], "one twoo"), (["One two"], "one twoOne two"), (["x", "one two"], "one twoxone two")):
            a = self.run_parts(SSE_HEAD + say("", role="assistant") + say("one ", "two"), SSE_HEAD + say(*texts, id="y") + END)
            self.check_whole(a, want)
        escaped = chunk(b'data: {"id":"y","created":1,"model":"q","choices":[{"index":0,"delta":{"content":"\\u006fne\\u0020two\\u0021"},"finish_reason":null}]}\n\n')
        a = self.run_parts(SSE_HEAD + say("", role="assistant") + say("one ", "two"), SSE_HEAD + escaped + END)
        self.check_whole(a, "one two!")
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say("on", id="y"), SSE_HEAD + say(" two", id="z") + END)  # held when it broke off
        self.check_whole(a, "one two")

    def test_more_than_text_is_not_gone_on_with(self):
        call = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]}
        for delivered in (say("one", role="assistant") + say(None, **call), say("one", reasoning_content="hm"), say(None, refusal="no"), say("x" * 200000, "x" * 100000), chunk(event(part("a\ud83d")))):
            a = self.run_parts(SSE_HEAD + delivered, SSE_HEAD + say("two") + END)
            self.check_cut(a, "upstream_cut")
            self.assertEqual(len(self.asked), 1)

    def test_requests_that_are_not_gone_on_with(self):
        for members in ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}}, {"n": 2},
                        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}):
            a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say("two") + END, **members)
            self.check_cut(a, "upstream_cut")
            self.assertEqual(len(self.asked), 1)
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say(" two") + END, response_format={"type": "text"}, n=1)
        self.check_whole(a, "one two")

    def test_a_tool_call_may_follow(self):
        call = {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say(None, id="y", **call) + chunk(event(part(finish="stop", id="y"))) + chunk(event(b"[DONE]")) + chunk(b""))
        self.check_whole(a, "one")
        self.assertEqual([e["choices"][0]["delta"] for e in a.events()[:-1] if e["choices"][0]["delta"].get("tool_calls")], [call])

    def test_after_the_finish_nothing_is_missing(self):
        a = self.run_parts(SSE_HEAD + say("one", role="assistant") + chunk(event(part(finish="stop"))))
        self.check_whole(a, "one")
        self.assertEqual(len(self.asked), 1)

    def test_half_an_event_is_dropped(self):
        a = self.run_parts(SSE_HEAD + say("one", role="assistant") + chunk(event(part(" lost"))[:-9]), SSE_HEAD + say(" two") + END)
        self.check_whole(a, "one two")

    def test_usage_unasked_stays_hidden(self):
        usage = chunk(event({"id": "y", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}))
        a = self.run_parts(SSE_HEAD + say("one", role="assistant"), SSE_HEAD + say(" two", id="y") + chunk(event(part(finish="stop", id="y"))) + usage + chunk(event(b"[DONE]")) + chunk(b""), stream_options=None)
        self.check_whole(a, "one two")
        self.assertNotIn(b"usage", a.body)

    def test_a_client_that_reads_slowly(self):
        big = ["z" * 2000] * 100
        self.script = [[SSE_HEAD + say("", role="assistant") + say(*big)], [SSE_HEAD + say(*(["y" * 2000] * 2000), id="y") + END]]
        self.apply(model("m", "own x", "own y"))
        wire = self.enterContext(self.stack.connect("unix"))
        wire.send("/v1/chat/completions", {"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        time.sleep(1.5)
        a = wire.answer()
        text = a.text()
        self.assertEqual((a.events()[-1], text.count("z"), text.count("y"), text.find("y")), ("[DONE]", 200000, 4000000, 200000))

    def test_early_head_and_a_cut(self):
        a = self.run_parts([lambda: time.sleep(0.1), SSE_HEAD + say("one", role="assistant")], SSE_HEAD + say(" two", id="y") + END, models=[model("m", "own x", "own y", early_head="true")])
        self.check_whole(a, "one two")
        self.assertEqual((a.body.count(b": x-aigw-provider: own\n"), self.record(a)["status"]), (2, 200))

    def test_an_sdk_that_tries_again_gets_one_attempt(self):
        self.script = [[SSE_HEAD + say("one", role="assistant")]]
        self.apply(model("m", "own x", "own y"))
        a = self.stack.chat("m", way="unix", stream=True, headers=[("x-stainless-retry-count", "1")])
        self.check_cut(a, "upstream_cut")


if __name__ == "__main__":
    unittest.main()
