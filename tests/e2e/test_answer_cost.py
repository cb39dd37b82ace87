"""What answers tell of cost and tokens (settings.headers.cost): the same numbers as the record's.

Usage: test_answer_cost.py [BUILD_ROOT] [unittest arguments]
"""
import gzip
import json
import os
import re
import sys
import unittest
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, CHAT, SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402
from wire import request_bytes, split_events  # noqa: E402

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
  - {name: early, early_head: true, retry: {attempts: 1}, targets: [{provider: own, model: x}]}
  - {name: broken, on_cut: error, targets: [{provider: a, model: sim-x+tokens-60+cut-after-40}]}
  - {name: goes-on, on_cut: continue, strategy: priority, targets: [{provider: a, model: sim-y+tokens-60+cut-after-40}, {provider: b, model: sim-z+tokens-60}]}
"""
PATH = "/v1/chat/completions"
ON = "headers: {cost: true}"


class Case(unittest.TestCase):
    maxDiff = None

    def start(self, settings=ON, **agent):
        self.script = []  # parts of the own provider's answer, each a read of its own
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, None, agent=agent))
        self.apply(settings)

    def serve(self, conn):
        while conn.request():
            conn.send_apart(self.script)

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
                self.script = cuts
                with self.stack.connect("unix") as wire:
                    for _ in range(3):
                        a = wire.call(PATH, {"model": "own", "messages": []})
                        self.assertEqual((a.status, a.body), (200, body))
                        self.check(a)


def piece(text=None, finish=None, **more):
    return event({"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "up",
                  "choices": [] if "usage" in more else [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}], **more})


USAGE = piece(usage={"prompt_tokens": 4120, "completion_tokens": 301, "total_tokens": 4421})
DONE = event(b"[DONE]")
CONTENT = [piece("a"), piece("b"), piece(finish="stop")]
NOTE = re.compile(rb": aigw(?: cost_(\w+)=(\d+\.\d{9}))? in=(\d+) out=(\d+)( estimated=1)?\n\n")
ASKED = [("x-aigw-usage", "1")]


class Stream(Case):
    def start(self, settings="headers: {cost: stream}", **agent):
        super().start(settings, **agent)
        self.tell(*CONTENT, USAGE, DONE)

    def tell(self, *events):
        """One by one, and the end of the body."""
        self.sent = b"".join(events)
        self.script = [SSE_HEAD, *map(chunk, events), chunk(b"")]

    def ask(self, name, headers=(), **more):
        more = {"stream": True, "stream_options": {"include_usage": True}, **more}
        return super().ask(name, headers=headers, **more)

    def check_off(self, a):
        self.assertEqual((a.body, a.header("trailer"), a.trailers), (self.sent, None, []))

    def check_note(self, a, before=DONE, currency="usd"):
        """The comment and the trailers say what the record says. Gives the record, and the content without the comment."""
        r = self.record(a)
        notes = NOTE.findall(a.body)
        self.assertEqual((len(notes), a.body.count(b": aigw")), (1, 1), a.body)
        named, cost, tokens_in, tokens_out, estimated = notes[0]
        self.assertEqual((int(tokens_in), int(tokens_out), bool(estimated)), (r["input_tokens"], r["output_tokens"], r["estimated"]))
        self.assertEqual((named.decode(), cost.decode()), (currency, r["cost"]) if r["priced"] else ("", ""))
        events = split_events(a.body)
        self.assertRegex(events[-2], NOTE)
        if before:
            self.assertEqual(events[-1], before)
        self.assertEqual(r["bytes_out"], len(a.body))
        self.assertEqual(a.header("trailer"), f"x-aigw-cost-{currency}, x-aigw-tokens")
        told = dict(a.trailers)
        self.assertEqual(len(told), len(a.trailers))
        self.assertEqual(Decimal(told.pop("x-aigw-cost-" + currency)) if r["priced"] else None, Decimal(r["cost"]) if r["priced"] else None)
        tail = ";estimated=1" if r["estimated"] else ""
        self.assertEqual(told, {"x-aigw-tokens": f"in={r['input_tokens']};cached={r['cached_input_tokens']};out={r['output_tokens']}{tail}"})
        return r, NOTE.sub(b"", a.body)

    def test_off_unless_it_is_asked_for(self):
        """The provider's bytes, none of ours."""
        self.start("")
        for settings, headers in (("", []), (ON, []), ("", [("x-aigw-usage", "0")]), ("headers: {cost: stream}", [("x-aigw-usage", "0")])):
            self.apply(settings)
            self.check_off(self.ask("own", headers))

    def test_the_header_decides_for_its_call(self):
        self.start("")
        with self.stack.connect("unix") as wire:
            for headers, asked in (([], False), (ASKED, True), ([], False), ([("X-AIGW-Usage", "1")], True), ([("x-aigw-usage", "0")], False)):
                a = wire.call(PATH, {"model": "own", "messages": [], "stream": True, "stream_options": {"include_usage": True}}, headers)
                if asked:
                    self.assertEqual(self.check_note(a)[1], self.sent)
                else:
                    self.check_off(a)
        a = super().ask("m", headers=ASKED)
        self.check(a)
        self.apply(ON)
        a = super().ask("m", headers=[("x-aigw-usage", "0")])
        self.assertEqual((a.header("x-aigw-cost-usd"), a.header("x-aigw-tokens")), (None, None))

    def test_no_other_value(self):
        self.start()
        for value in ("2", "", "true", "01"):
            a = self.stack.chat("m", way="unix", headers=[("x-aigw-usage", value)])
            self.assertEqual((a.status, a.json()["error"]["code"]), (400, "unsupported_header"), value)
            self.assertIn("x-aigw-usage is 1", a.json()["error"]["message"])

    def test_before_the_end_mark(self):
        """With each durability; all at once or event by event."""
        for durability in ("strict", "relaxed"):
            self.start(durability=durability)
            for script in (self.script, [b"".join(self.script)], [b"".join(self.script[:-1]), self.script[-1]]):
                self.script = script
                a = self.ask("own")
                r, rest = self.check_note(a)
                self.assertEqual((rest, r["input_tokens"], r["output_tokens"], r["cost"]), (self.sent, 4120, 301, "0.474260000"))

    def test_the_simulator_s(self):
        self.start()
        r, _ = self.check_note(self.ask("m"))
        self.assertEqual((r["priced"], r["estimated"], r["outcome"]), (True, False, "ok"))

    def test_usage_that_the_client_does_not_see(self):
        """It has not asked for the chunk of usage; the comment is no part of that."""
        self.start()
        a = self.ask("own", stream_options={})
        r, rest = self.check_note(a)
        self.assertEqual((r["output_tokens"], rest), (301, self.sent.replace(USAGE, b"")))

    def test_an_estimate_says_so(self):
        self.start()
        self.tell(*CONTENT, DONE)
        r, rest = self.check_note(self.ask("own"))
        self.assertEqual((r["estimated"], rest), (True, self.sent))

    def test_an_end_mark_that_the_provider_forgot(self):
        self.start()
        self.tell(*CONTENT, USAGE)
        self.assertEqual(self.check_note(self.ask("own"))[1], self.sent + DONE)

    def test_a_last_event_without_its_end(self):
        """What comes behind it must not become a part of it."""
        self.start()
        for told, headers in ((1, []), (0, [("x-aigw-usage", "0")])):
            for end in (b"", b"\n", b"\r", b"\r\n"):
                self.tell(*CONTENT, USAGE[:-2] + end)
                a = self.ask("own", headers)
                self.assertEqual((len(a.events()), a.events()[-1]), (5, "[DONE]"), a.body)
                self.assertEqual((a.events()[-2]["usage"]["completion_tokens"], len(NOTE.findall(a.body))), (301, told))

    def test_another_currency_and_no_price(self):
        self.start("headers: {cost: stream}, currency: EUR")
        self.check_note(self.ask("m"), currency="eur")
        self.assertFalse(self.check_note(self.ask("free"), currency="eur")[0]["priced"])

    def test_all_parts_of_a_stream_that_goes_on_elsewhere(self):
        self.start()
        a = self.ask("goes-on")
        r, _ = self.check_note(a)
        self.assertEqual((r["attempts"], r["outcome"]), (2, "ok"))
        self.assertGreater(Decimal(r["cost"]), Decimal("0.25"))  # the fee of the first part

    def test_before_the_error_that_ends_it(self):
        self.start()
        a = self.ask("broken")
        r, _ = self.check_note(a, before=None)
        self.assertEqual((r["outcome"], a.events()[-1]["error"]["code"]), ("cut", "upstream_cut"))

    def test_before_the_event_that_ends_a_response(self):
        self.start()
        a = self.stack.call("/v1/responses", {"model": "m", "input": "hi", "stream": True}, way="unix")
        self.check_note(a, before=None)
        self.assertEqual(a.events()[-1]["type"], "response.completed")

    def test_an_early_head(self):
        self.start()
        a = self.ask("early")
        self.assertEqual(self.check_note(a)[0]["outcome"], "ok")
        self.script = [answer_bytes({"error": {"message": "no", "code": "x"}}, status=400)]
        a = self.ask("early")
        r, _ = self.check_note(a, before=None)
        self.assertEqual((r["cost"], a.events()[-1]["error"]["message"]), ("0.000000000", "no"))

    def test_no_trailers_without_chunks(self):
        """To a client of HTTP/1.0."""
        self.start()
        with self.stack.connect("unix") as wire:
            body = {"model": "own", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
            wire.sock.sendall(request_bytes(PATH, body).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
            a = wire.answer()
        self.assertEqual((a.header("trailer"), a.header("transfer-encoding"), a.trailers), (None, None, []))
        self.assertEqual(len(NOTE.findall(a.body)), 1)
        self.assertEqual(NOTE.sub(b"", a.body), self.sent)

    def test_no_trailers_behind_a_plain_answer(self):
        self.start()
        a = self.ask("long", stream=False, stream_options=None)
        self.assertEqual((a.header("trailer"), a.trailers, a.header("x-aigw-tokens")), (None, [], None))


if __name__ == "__main__":
    unittest.main()
