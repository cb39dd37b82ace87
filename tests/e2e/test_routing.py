"""Several targets, retries and honest failure: what a provider does, what the client sees, what the record and the headers say. Most are rows of
one table, S01 to S24 among them where it says so.

Usage: test_routing.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import os
import re
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, SSE_HEAD, Provider, chunk, event  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim, timeouts: {connect: 1s, first_byte: 800ms, idle: 800ms}, health: {open_after: 1000}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: locked, type: openai-compatible, base_url: $SIM, credential: wrong}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
  - {name: keyless, type: openai-compatible, base_url: $SIM, credential: missing}
prices:
  - {provider: a, model: "*", from: 2020-01-01, input: 1, output: 2}
  - {provider: b, model: "*", from: 2020-01-01, input: 10, output: 20}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""


def model(name, *targets, **more):
    """A row of the policy: targets are PROVIDER:MODEL."""
    rows = []
    for i, t in enumerate(targets):
        provider, upstream, *rest = t.split(" ", 2)
        rows.append(f'{{provider: {provider}, model: "{upstream}"{", " + rest[0] if rest else ""}}}')
    extra = "".join(f", {k}: {v}" for k, v in more.items())
    return f'  - {{name: "{name}", targets: [{", ".join(rows)}]{extra}}}\n'


B = "b sim-b priority: 2"
RETRY = "{attempts: 3, backoff: 50ms, budget: 100%}"
# what a does                       name      status  served by  x-aigw-fallback (None: no header)
CASES = (
    ("S03 500 once", "sim-s03+fail-500+times-1", 200, "b", "a:500>b"),
    ("S04 503 for ever", "sim-s04+fail-503", 200, "b", "a:503>b"),
    ("S05 reset before the head", "sim-s05+fail-reset", 200, "b", "a:closed_early>b"),
    ("S05 closed before the head", "sim-s05c+fail-close", 200, "b", "a:closed_early>b"),
    ("S06 never answers", "sim-s06+fail-hang", 200, "b", "a:timeout_first_byte>b"),
    ("S07 head at once, first token late", "sim-s07+first-after-20000", 200, "b", "a:timeout_first_byte>b"),
    ("S07 head and role at once, first token late", "sim-s07r+role-only-first+first-after-20000", 200, "b", "a:timeout_first_byte>b"),
    ("S12 too long for it", "sim-s12+fail-400+code-context_length_exceeded", 200, "b", "a:400>b"),
    ("S13 a content filter", "sim-s13+fail-400+code-content_filter", 400, "a", None),
    ("S17 head, then death", "sim-s17+head-only", 200, "b", "a:cut>b"),
    ("S17 dies after the role", "sim-s17r+cut-after-0", 200, "b", "a:cut>b"),
    ("S18 an error as first event", "sim-s18+error-event-0", 200, "b", "a:502>b"),
    ("S21 the account is empty", "sim-s21+fail-429+code-insufficient_quota", 200, "b", "a:429>b"),
    ("S23 half a JSON", "sim-s23+fail-badjson", 200, "b", "a:200>b"),
    ("S24 the other framing", "sim-s24+swap-framing", 200, "b", "a:200>b"),
    ("429, no hint", "sim-429+fail-429", 200, "b", "a:429>b"),
    ("529", "sim-529+fail-529", 200, "b", "a:529>b"),
    ("no such model there", "sim-404+fail-404", 200, "b", "a:404>b"),
    ("a redirect", "sim-302+fail-302", 200, "b", "a:302>b"),
    ("a fault of the caller", "sim-422+fail-422", 422, "a", None),
)
STREAM_ONLY = {"S07 head at once, first token late", "S07 head and role at once, first token late", "S17 dies after the role", "S18 an error as first event"}


def policy():
    rows = []
    for name, behaviour, *_ in CASES:
        for way in ("plain", "stream"):
            first = "c" if name.startswith("S21") else "a"  # its credential is left alone from then on
            rows.append(model(f"{name}/{way}".replace(" ", "_"), f"{first} {behaviour.replace('+', f'-{way}+', 1)}", B, retry=RETRY))
    return HEAD.replace("  - {name: b,", "  - {name: c, type: openai-compatible, base_url: $SIM, credential: sim}\n  - {name: b,") + "".join(rows)


class Failover(unittest.TestCase):
    """The first target does what its name says, the second one is well."""
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, policy(), secrets={"sim": "sk-provider-0123456789"}, expected=["event=provider.quota"]))

    def ask(self, name, way):
        return self.stack.chat(f"{name}/{way}".replace(" ", "_"), way="unix", **({"stream": True} if way == "stream" else {}))

    def check_stream(self, a):
        events = a.events()
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(len({e["id"] for e in events[:-1]}), 1)  # one answer, not two
        self.assertEqual([e["choices"][0]["finish_reason"] for e in events[:-1] if e["choices"]][-1], "stop")

    def test_the_client_sees_one_clean_answer(self):
        for name, _, status, provider, fallback in CASES:
            for way in ("plain", "stream"):
                if way == "plain" and name in STREAM_ONLY:
                    continue
                with self.subTest(name, way=way):
                    if name.startswith("S21"):
                        provider_name, trail = "b", "c:429>b" if way == "plain" else None
                    else:
                        provider_name, trail = provider, fallback
                    a = self.ask(name, way)
                    self.assertEqual((a.status, a.header("x-aigw-provider"), a.header("x-aigw-fallback")), (status, provider_name, trail), a.body)
                    self.assertEqual(a.header("x-aigw-attempts"), "2" if trail else None)
                    if status == 200 and way == "stream":
                        self.check_stream(a)
                    elif status == 200:
                        self.assertTrue(a.json()["choices"][0]["message"]["content"])
                    record = self.record_of(a)
                    self.assertEqual((record["provider"], record["attempts"], record["outcome"]), (provider_name, 2 if trail else 1, "ok" if status == 200 else "failed"))
                    if provider_name == "b":  # S16: its model, its usage, its price
                        self.assertEqual((record["upstream_model"], record["cost"]),
                                         ("sim-b", f"{(record['input_tokens'] * 10 + record['output_tokens'] * 20) / 1e6:.9f}"))

    def record_of(self, a):
        def met():
            return next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None)
        return wait_for(met, "its record")


class Limits(unittest.TestCase):
    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None, secrets={"sim": "sk-provider-0123456789", "wrong": "sk-wrong-0123456789"},
                                             sim=["--require-key", "sk-provider-0123456789"]))

    def apply(self, *models, head=HEAD):
        self.stack.apply(head + "".join(models))
        self.stack.wait_ready()

    def calls(self, mark):
        return [l for l in self.stack.sim_log() if l["event"] == "recv" and l["model"].startswith(mark)]

    def test_s01_a_hint_is_waited_for(self):
        self.apply(model("m", "a sim-x+fail-429+retry-after-1+times-1", retry=RETRY))
        began = time.monotonic()
        a = self.stack.chat("m", way="unix")
        self.assertEqual(a.status, 200)
        self.assertGreater(time.monotonic() - began, 0.95)
        self.assertEqual(len(self.calls("sim-x")), 2)

    @staticmethod
    def limited_once(headers, body):
        lines = "".join(f"{line}\r\n" for line in headers).encode()
        first = [b"HTTP/1.1 429 No\r\ncontent-type: application/json\r\n" + lines + b"content-length: %d\r\n\r\n" % len(body) + body]

        def serve(conn):
            while conn.request():
                conn.send(first.pop() if first else ANSWER)
        return serve

    def test_hints_in_all_their_forms(self):
        """Seconds, milliseconds and a date, of a 429 and of a 503: a floor."""
        for i, (fault, least) in enumerate((("fail-503+retry-after-1", 0.95), ("fail-429+retry-after-ms-700", 0.65), ("fail-503+retry-after-ms-700", 0.65))):
            self.apply(model("m", f"a sim-h{i}+{fault}+times-1", retry=RETRY))
            began = time.monotonic()
            self.assertEqual(self.stack.chat("m", way="unix").status, 200)
            self.assertGreater(time.monotonic() - began, least, fault)
        for i, (headers, body) in enumerate(((["x-ratelimit-remaining-requests: 5", "x-ratelimit-reset-requests: 9m", "x-ratelimit-remaining-tokens: 0",
                                               "x-ratelimit-reset-tokens: 700ms"], b"{}"),
                                             (["anthropic-ratelimit-requests-remaining: 4", "anthropic-ratelimit-input-tokens-remaining: 0",
                                               "anthropic-ratelimit-input-tokens-reset: " + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))], b"{}"),
                                             ([], b'{"error": {"message": "Rate limit reached for x. Please try again in 0.7s. Visit us.", "type": "requests"}}'),
                                             ([], b'[{"error": {"code": 429, "message": "m", "details": [{"retryDelay": "0.7s"}]}}]'))):
            with Provider(self.limited_once(headers, body)) as p:
                self.apply(model("m", "x up", retry=RETRY), head=HEAD.replace("providers:", f'providers:\n  - {{name: x, type: openai-compatible, base_url: "http://127.0.0.1:{p.port}/v1"}}'))
                began = time.monotonic()
                self.assertEqual(self.stack.chat("m", way="unix").status, 200)
                self.assertGreater(time.monotonic() - began, 0.65, headers)
        when = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
        self.stack.script({"sim-date": f"fail-429+times-1+header-retry-after:{when}"})
        self.apply(model("m", "a sim-date", retry=RETRY))
        began = time.monotonic()
        self.assertEqual(self.stack.chat("m", way="unix").status, 200)
        self.assertTrue(1.5 < time.monotonic() - began < 20)

    def test_s03_once(self):
        self.apply(model("m", "a sim-x+fail-500+times-1", retry=RETRY))
        a = self.stack.chat("m", way="unix")
        self.assertEqual((a.status, a.header("x-aigw-fallback"), a.header("x-should-retry")), (200, "a:500>a", None))

    def test_s02_limited_for_ever(self):
        self.apply(model("m", "a sim-x+fail-429+retry-after-ms-50", retry=RETRY))
        for retries, tries in ((None, 3), ("1", 1), ("2", 1)):
            before = len(self.calls("sim-x"))
            a = self.stack.chat("m", way="unix", headers=[("x-stainless-retry-count", retries)] if retries else ())
            self.assertEqual((a.status, a.header("x-should-retry")), (429, "false"))
            self.assertEqual(len(self.calls("sim-x")) - before, tries)

    def test_attempts_are_the_policys(self):
        for n in (1, 2, 5):
            name = f"sim-n{n}"
            self.apply(model("m", f"a {name}+fail-500", retry=f"{{attempts: {n}, backoff: 1ms, budget: 100%}}"))
            self.assertEqual(self.stack.chat("m", way="unix").status, 500)
            self.assertEqual(len(self.calls(name)), n)
        self.apply(model("m", "a sim-one+fail-500"), model("k", "a sim-two+fail-500", "b sim-two-b+fail-500"))  # the defaults
        self.stack.chat("m", way="unix")
        self.stack.chat("k", way="unix")
        self.assertEqual((len(self.calls("sim-one")), len(self.calls("sim-two"))), (1, 2))

    def test_each_failure_has_its_line(self):
        """call.retry, call.given_up: what went wrong, and what was done about it. What is the caller's own fault has none."""
        self.apply(model("m", "a sim-l+fail-503", "b sim-l-b+fail-500", strategy="priority"), model("c", "a sim-l+fail-422"))
        a, caller = self.stack.chat("m", way="unix"), self.stack.chat("c", way="unix")
        lines = [line for line in self.stack.agent_log().splitlines() if f"request={a.header('x-request-id')}" in line]
        self.assertEqual(len(lines), 2, lines)
        self.assertIn("event=call.retry", lines[0])
        self.assertIn("provider=a class=transient reason=status status=503 next=fallback to=b", lines[0])
        self.assertIn("event=call.given_up", lines[1])
        self.assertIn("provider=b class=transient reason=status status=500 attempts=2 spent=1", lines[1])
        self.assertNotIn(caller.header("x-request-id"), self.stack.agent_log())

    def test_backoff(self):
        self.apply(model("m", "a sim-x+fail-500", retry="{attempts: 3, backoff: 400ms}"))
        began = time.monotonic()
        self.stack.chat("m", way="unix")
        self.assertGreater(time.monotonic() - began, 0.2 + 0.4 - 0.05)  # at least half of each

    def test_budget(self):
        for budget, least, most in (("0%", 60 + 10, 60 + 2 * 10), ("50%", 60 + 30, 60 + 2 * 10 + 30), ("100%", 120, 120)):  # ten at once of each worker
            name = f"sim-{budget[:-1]}"
            self.apply(model("m", f"a {name}+fail-500", retry=f"{{attempts: 2, backoff: 1ms, budget: {budget}}}"))
            for _ in range(60):
                self.stack.chat("m", way="unix")
            self.assertTrue(least <= len(self.calls(name + "+")) <= most, (budget, len(self.calls(name + "+"))))
        self.apply(model("m", "a sim-a+fail-500", "b sim-b", retry="{attempts: 2, budget: 0%}", strategy="priority"))
        self.assertEqual({self.stack.chat("m", way="unix").status for _ in range(60)}, {200})  # the next target needs no budget

    def test_a_credential_that_is_refused(self):
        """S20, with another provider; the refused one is left alone, and tried again when a credential is set."""
        self.apply(model("m", "locked sim-x", B))
        for i in range(3):
            a = self.stack.chat("m", way="unix")
            self.assertEqual((a.status, a.header("x-aigw-provider"), a.header("x-aigw-fallback")), (200, "b", "locked:401>b" if i == 0 else None))
        self.stack.api("PUT", "/api/v1/secrets/wrong", {"value": "sk-provider-0123456789"})
        wait_for(lambda: self.stack.chat("m", way="unix").header("x-aigw-provider") == "locked", "the new credential is used")

    def test_a_credential_that_is_missing(self):
        self.apply(model("m", "keyless sim-x", B), model("alone", "keyless sim-x"))
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "b")
        self.assertEqual(self.stack.chat("alone", way="unix").json()["error"]["code"], "upstream_no_credential")

    def test_nobody_listens(self):
        self.apply(model("m", "nobody x", B))
        a = self.stack.chat("m", way="unix")
        self.assertEqual((a.status, a.header("x-aigw-fallback")), (200, "nobody:no_connection>b"))


class Ends(unittest.TestCase):
    """Behind the first content nothing is tried anew: the client is told the truth, and the record says what was delivered."""

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, HEAD + model("s08", "a sim-s08+tokens-60+cut-after-40", B) + model("s09", "a sim-s09+tokens-60+stall-after-10", B) +
                                                model("s11", "b sim-s11+no-done+hold-open") + model("open", "b sim-open+hold-open") + model("late", "b sim-late+no-done") +
                                                model("err", "a sim-err+tokens-60+error-event-10", B) +
                                                model("s10", "b sim-s10+tokens-20+bad-chunk-7") + model("skip", "b sim-skip+tokens-20+bad-chunk-7", on_malformed="skip")))

    def ask(self, name):
        began = time.monotonic()
        a = self.stack.chat(name, way="unix", stream=True, stream_options={"include_usage": True})
        record = wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")
        return a, record, time.monotonic() - began

    def test_broken_off(self):
        for name, code, chunks in (("s08", "upstream_cut", 40), ("s09", "upstream_timeout", 10), ("err", None, 10)):
            with self.subTest(name):
                a, record, _ = self.ask(name)
                events = a.events()
                self.assertNotIn("[DONE]", events)
                errors = [e["error"] for e in events if "error" in e]
                self.assertEqual((a.status, len(errors)), (200, 1))
                if code:
                    self.assertEqual(errors[0]["code"], code)
                self.assertEqual(sum(bool(e.get("choices") and e["choices"][0]["delta"].get("content")) for e in events), chunks)
                self.assertEqual((record["outcome"], record["provider"], record["estimated"]), ("cut", "a", True))
                self.assertGreater(record["output_tokens"], 0)

    def test_s10_a_malformed_event(self):
        a, record, _ = self.ask("s10")
        self.assertEqual([e["error"]["code"] for e in a.events() if "error" in e], ["upstream_protocol"])
        self.assertNotIn("[DONE]", a.events())
        self.assertEqual((record["outcome"], sum(bool(e.get("choices") and e["choices"][0]["delta"].get("content")) for e in a.events())), ("cut", 7))
        before = self.stack.agent_stat("providers/b/errors")
        a, record, _ = self.ask("skip")
        self.assertEqual(a.events()[-1], "[DONE]")
        self.assertEqual((record["outcome"], sum(bool(e.get("choices") and e["choices"][0]["delta"].get("content")) for e in a.events()[:-1])), ("ok", 19))
        self.assertNotEqual(self.stack.agent_stat("providers/b/errors"), before)  # counted

    def test_s11_no_end_mark(self):
        for name in ("s11", "open", "late"):
            with self.subTest(name):
                a, record, took = self.ask(name)
                self.assertEqual(a.events()[-1], "[DONE]")
                self.assertEqual(a.events().count("[DONE]"), 1)
                self.assertLess(took, 8 + 2)
                self.assertTrue(any(e.get("usage") for e in a.events()[:-1]))
                self.assertEqual((record["outcome"], record["usage_seen"]), ("ok", True))


class Circuit(unittest.TestCase):
    POLICY = HEAD.replace("health: {open_after: 1000}", "health: {open_after: 3, half_open_after: 1s}")

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None))

    def targets(self, name):
        text = self.stack.agent_stat(f"models/{name}/targets")
        return [dict(word.split("=", 1) for word in line.split()[1:]) | {"provider": line.split()[0]} for line in text.splitlines()]

    def test_it_opens_and_one_call_tries_it(self):
        self.stack.apply(self.POLICY + model("m", "a sim-x", B, retry=RETRY))
        self.stack.wait_ready()
        self.stack.script({"sim-x": "fail-503"})
        seen = [self.stack.chat("m", way="unix").header("x-aigw-fallback") for _ in range(6)]
        self.assertEqual(seen, ["a:503>b"] * 3 + [None] * 3)
        self.assertEqual([(t["state"], t["opened"]) for t in self.targets("m")], [("open", "1"), ("ok", "0")])
        metrics = self.stack.agent_stat("metrics").splitlines()
        for line in ('aigw_provider_circuit_open{provider="a"} 1', 'aigw_provider_circuit_open{provider="b"} 0',
                     'aigw_retries_total{provider="a",reason="failed"} 3', 'aigw_retries_total{provider="a",reason="stale"} 0'):
            self.assertIn(line, metrics)
        wait_for(lambda: self.targets("m")[0]["recover_in_ms"] == "0", "it is due")
        self.assertEqual([self.stack.chat("m", way="unix").header("x-aigw-fallback") for _ in range(3)], ["a:503>b", None, None])  # the probe
        self.stack.script({"sim-x": None})
        wait_for(lambda: self.targets("m")[0]["recover_in_ms"] == "0", "it is due again")
        self.assertEqual([self.stack.chat("m", way="unix").header("x-aigw-provider") for _ in range(3)], ["a"] * 3)
        self.assertEqual([(t["state"], t["opened"]) for t in self.targets("m")], [("ok", "1"), ("ok", "0")])

    def test_fallbacks_are_counted_and_retries_are_not(self):
        self.stack.apply(HEAD + model("two", "a sim-x+fail-503+times-1", B, retry=RETRY) + model("one", "a sim-y+fail-503+times-1", retry=RETRY) +
                         model("round", "a sim-z+fail-503+times-1", "b sim-w+fail-503+times-1 priority: 2", retry=RETRY) + model("other", "locked sim-k", B, retry=RETRY))
        self.stack.wait_ready()

        def counts():
            return {tuple(m.groups()) for m in re.finditer(r'^aigw_fallbacks_total\{from="(\w+)",to="(\w+)"\} (\d+)$', self.stack.agent_stat("metrics"), re.M)}
        none = {("_other", "_other", "0"), ("a", "b", "0"), ("b", "a", "0"), ("locked", "b", "0"), ("b", "locked", "0")}
        self.assertEqual(counts(), none)
        for name, trail in (("two", "a:503>b"), ("one", "a:503>a"), ("round", "a:503>b:503>a")):
            answer = self.stack.chat(name, way="unix")
            self.assertEqual((answer.status, answer.header("x-aigw-fallback")), (200, trail))
        self.assertEqual(counts(), none - {("a", "b", "0")} | {("a", "b", "2")})

    def test_all_are_out(self):
        for word, status in (("refuse", 503), ("try_best", 500)):
            self.stack.apply(self.POLICY.replace("half_open_after: 1s", "half_open_after: 5m").replace("name: b,", "name: b, health: {open_after: 1},") +
                             model("m", f"a sim-{word}+fail-500", f"b sim-{word}-b+fail-500", when_all_out=word, retry="{attempts: 1}", strategy="priority"))
            self.stack.wait_ready()
            for _ in range(4):
                self.stack.chat("m", way="unix")
            a = self.stack.chat("m", way="unix")
            self.assertEqual(a.status, status, word)
            if word == "refuse":
                self.assertEqual(a.json()["error"]["code"], "upstream_unavailable")
                self.assertIn("a is open, b is open", a.json()["error"]["message"])
                self.assertAlmostEqual(int(a.header("retry-after-ms")), 20000, delta=5000)  # b is back first

    def test_all_are_limited(self):
        self.stack.apply(self.POLICY + model("m", "a sim-x+fail-429+retry-after-7", "b sim-y+fail-429+retry-after-90", strategy="priority"))
        self.stack.wait_ready()
        self.assertEqual(self.stack.chat("m", way="unix").status, 429)  # the provider's own
        a = self.stack.chat("m", way="unix")
        self.assertEqual((a.status, a.json()["error"]["code"], a.header("x-should-retry")), (429, "upstream_rate_limited", "true"))
        self.assertIn("a is rate_limited, b is rate_limited", a.json()["error"]["message"])
        self.assertAlmostEqual(int(a.header("retry-after-ms")), 7000, delta=2000)
        self.assertEqual([t["state"] for t in self.targets("m")], ["rate_limited"] * 2)

    def test_a_lone_target_is_tried_all_the_same(self):
        self.stack.apply(self.POLICY + model("m", "a sim-x+fail-500"))
        self.stack.wait_ready()
        self.assertEqual({self.stack.chat("m", way="unix").status for _ in range(8)}, {500})

    def test_an_abandoned_probe_is_given_back(self):
        self.stack.apply(self.POLICY.replace("first_byte: 800ms", "first_byte: 60s") + model("m", "a sim-x", B, retry=RETRY))
        self.stack.wait_ready()
        self.stack.script({"sim-x": "fail-503"})
        for _ in range(3):
            self.stack.chat("m", way="unix")
        wait_for(lambda: self.targets("m")[0]["recover_in_ms"] == "0", "it is due")
        self.stack.script({"sim-x": "fail-hang"})
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
        wait_for(lambda: self.targets("m")[0]["state"] == "probing", "the probe is on its way")
        self.assertEqual(self.stack.chat("m", way="unix").header("x-aigw-provider"), "b")  # the others don't wait for it
        wire.reset()
        wait_for(lambda: self.targets("m")[0]["state"] == "open", "the probe is given back")


class Flapping(unittest.TestCase):
    """S15: a provider that comes and goes, with a healthy second one. AIGW_FLAPPING_S=60 for as long as the scenario has it."""

    SECONDS = float(os.environ.get("AIGW_FLAPPING_S", "10"))

    def test_s15(self):
        stack = self.enterContext(Stack(BUILD, HEAD.replace("health: {open_after: 1000}", "health: {open_after: 5, half_open_after: 1s}") + model("m", "a sim-flap", B)))
        until = time.monotonic() + self.SECONDS
        seen, lock = collections.Counter(), threading.Lock()

        def call_on(number):
            n = 0
            while time.monotonic() < until:
                n += 1
                a = stack.chat("m", way="unix", **({"stream": True} if n % 2 else {}))
                good = a.status == 200 and a.whole and (n % 2 == 0 or a.events()[-1] == "[DONE]")
                with lock:
                    seen[(good, a.header("x-aigw-provider"))] += 1
        threads = [threading.Thread(target=call_on, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for behaviour in ("fail-503", None, "fail-reset", None, "head-only", None) * 100:
            if time.monotonic() > until - 0.5:
                break
            stack.script({"sim-flap": behaviour})
            threads[0].join(0.7)  # until the next of its moods
        for t in threads:
            t.join()
        stack.script({"sim-flap": None})
        total, bad = sum(seen.values()), sum(n for (good, _), n in seen.items() if not good)
        print(f"# S15: {total} calls, {bad} errors, {seen[(True, 'a')]} by the flapping one, {seen[(True, 'b')]} by the healthy one", file=sys.stderr)
        self.assertLess(bad, total / 100)
        self.assertTrue(seen[(True, "a")] and seen[(True, "b")], seen)
        wait_for(lambda: stack.chat("m", way="unix").header("x-aigw-provider") == "a", "it is in use again", 30)


class Shares(unittest.TestCase):
    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None))

    def served(self, text, n=200, **more):
        self.stack.apply(HEAD + text)
        self.stack.wait_ready()
        return collections.Counter(self.stack.chat("m", way="unix", **more).header("x-aigw-provider") for _ in range(n))

    def test_weights(self):
        got = self.served(model("m", "a sim-a weight: 90", "b sim-b weight: 10"), 400)
        self.assertTrue(330 < got["a"] < 390, got)  # 360 and four times its deviation of 6
        self.assertEqual(self.served(model("m", "a sim-a weight: 0", "b sim-b weight: 1")), {"b": 200})

    def test_a_target_of_weight_0_gets_nothing_by_any_way(self):
        self.served(model("m", "a sim-zero weight: 0", "b sim-b+fail-500", retry="{attempts: 5, backoff: 1ms, budget: 100%}", when_all_out="try_best"), 20)
        self.assertEqual([l for l in self.stack.sim_log() if l["event"] == "recv" and l["model"] == "sim-zero"], [])

    def test_orders(self):
        self.assertEqual(self.served(model("m", "b sim-b", "a sim-a", strategy="priority"), 50), {"b": 50})
        self.assertEqual(self.served(model("m", "b sim-b", "a sim-a", strategy="cheapest"), 50), {"a": 50})
        self.assertEqual(self.served(model("m", "b sim-b priority: 2", "a sim-a", strategy="weighted"), 50), {"a": 50})

    def test_sticky(self):
        row = model("m", "a sim-a", "b sim-b", sticky="user")
        counts = [self.served(row, 20, user=f"u-{i}") for i in range(12)]
        self.assertTrue(all(len(c) == 1 for c in counts), counts)
        self.assertEqual(len({tuple(c) for c in counts}), 2)  # not all the same
        keys = [self.stack.make_key("search", name=f"k{i}") for i in range(12)]
        self.stack.apply(HEAD + model("m", "a sim-a", "b sim-b", sticky="key"))
        seen = [{self.stack.chat("m", key=k).header("x-aigw-provider") for _ in range(8)} for k in keys]
        self.assertTrue(all(len(s) == 1 for s in seen), seen)
        self.assertEqual(len(set.union(*seen)), 2)
        self.assertEqual(len(self.served(model("m", "a sim-a", "b sim-b", sticky="request"), 50, user="u-1")), 2)

    def test_timeouts_of_a_target(self):
        self.stack.apply(HEAD + model("m", "b sim-x+fail-hang timeouts: {first_byte: 200ms}", "b sim-b priority: 2"))
        self.stack.wait_ready()
        began = time.monotonic()
        self.assertEqual(self.stack.chat("m", way="unix").status, 200)
        self.assertLess(time.monotonic() - began, 30)  # its provider's are 60 s


class Commit(unittest.TestCase):
    """A provider in the test's own hand: what is held until the first content, and what is told after it."""

    def setUp(self):
        self.script = []
        self.provider = self.enterContext(Provider(serve=self.serve))
        self.stack = self.enterContext(Stack(BUILD, HEAD.replace("  - {name: b,", f"  - {{name: own, type: openai-compatible, base_url: \"http://127.0.0.1:{self.provider.port}/v1\", health: {{open_after: 1000}}}}\n  - {{name: b,") +
                                             model("alone", "own x") + model("m", "own x", B)))

    def serve(self, conn):
        while conn.request():
            for step in self.script:
                if callable(step):
                    step()
                else:
                    conn.send(step)
            if self.script and self.script[-1] is not None:
                conn.close()
                return

    @staticmethod
    def delta(**members):
        return chunk(event({"id": "x", "choices": [{"index": 0, "delta": members, "finish_reason": None}]}))

    def test_a_role_alone_is_held(self):
        go = threading.Event()
        self.script = [SSE_HEAD + self.delta(role="assistant", content=""), go.wait, self.delta(content="a") + chunk(event(b"[DONE]")) + chunk(b"")]
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "alone", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        with self.assertRaises(TimeoutError):
            wire.sock.settimeout(0.3)
            wire.sock.recv(1)
        wire.sock.settimeout(60)
        go.set()
        a = wire.answer()
        self.assertEqual([e["choices"][0]["delta"] for e in a.events()[:-1]], [{"role": "assistant", "content": ""}, {"content": "a"}])

    def test_what_is_content(self):
        for members in ({"content": "a"}, {"tool_calls": [{"index": 0}]}, {"refusal": "no"}, {"reasoning_content": "hm"}, {"function_call": {"name": "f"}}):
            self.script = [SSE_HEAD + self.delta(role="assistant") + self.delta(**members)]  # and then it breaks off
            a = self.stack.chat("m", way="unix", stream=True)
            self.assertEqual((a.status, a.header("x-aigw-provider")), (200, "own"), members)
            self.assertEqual([e["error"]["code"] for e in a.events() if "error" in e], ["upstream_cut"])
            self.assertNotIn("[DONE]", a.events())
        for members in ({"content": ""}, {"content": None}, {"role": "assistant"}, {"tool_calls": []}, {}):
            self.script = [SSE_HEAD + self.delta(**members)]
            self.assertEqual(self.stack.chat("m", way="unix", stream=True).header("x-aigw-fallback"), "own:cut>b", members)

    def test_errors_in_a_200_get_their_status(self):
        for error, status in (({"message": "m", "code": "rate_limit_exceeded"}, 429), ({"message": "m", "code": "context_length_exceeded"}, 400),
                              ({"message": "m", "type": "invalid_request_error"}, 400), ({"message": "m", "type": "server_error"}, 502), ("broken", 502),
                              ({"message": "m", "code": 404}, 404)):
            self.script = [SSE_HEAD + chunk(event({"error": error})) + chunk(b"")]
            a = self.stack.chat("alone", way="unix", stream=True)
            self.assertEqual((a.status, a.header("content-type"), a.json()), (status, "application/json", {"error": error}))
        for code, name in (("invalid_api_key", "upstream_auth_failed"), ("insufficient_quota", "upstream_quota")):
            self.script = [SSE_HEAD + chunk(event({"error": {"message": "CANARY", "code": code}})) + chunk(b"")]
            a = self.stack.chat("alone", way="unix", stream=True)
            self.assertEqual(a.json()["error"]["code"], name)
            self.assertNotIn(b"CANARY", a.body)

    def test_an_end_without_content_is_no_answer(self):
        for tail in (b"", chunk(event(b"[DONE]"))):
            self.script = [SSE_HEAD + self.delta(role="assistant") + tail + chunk(b"")]
            self.assertEqual(self.stack.chat("m", way="unix", stream=True).header("x-aigw-fallback"), "own:200>b")
            a = self.stack.chat("alone", way="unix", stream=True)
            self.assertEqual((a.status, a.json()["error"]["code"]), (502, "upstream_protocol"))

    def test_a_prelude_beyond_measure_is_relayed(self):
        self.script = [SSE_HEAD + self.delta(role="assistant") + chunk(b": " + b"x" * 70000 + b"\n\n") + self.delta(content="a") + chunk(event(b"[DONE]")) + chunk(b"")]
        a = self.stack.chat("m", way="unix", stream=True)
        self.assertEqual((a.status, a.header("x-aigw-provider"), len(a.body) > 70000), (200, "own", True))

    def test_the_prompt_goes_out_whole_each_time(self):
        self.script = [b"HTTP/1.1 500 E\r\ncontent-length: 0\r\n\r\n"]
        text = "word " * 60000
        a = self.stack.chat("m", text, way="unix")
        self.assertEqual((a.status, a.header("x-aigw-fallback")), (200, "own:500>b"))
        sent = [l for l in self.stack.sim_log() if l["event"] == "recv"][-1]
        self.assertGreater(sent["bytes_in"] if "bytes_in" in sent else len(text) + 1, len(text))

    def test_a_client_slower_than_the_end_loses_nothing(self):
        """The finish has come and the client does not read: the usage behind it is not given up for that."""
        finish = event({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        usage = event({"id": "x", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}})
        big = event({"id": "x", "choices": [{"index": 0, "delta": {"content": "x" * 3000000}, "finish_reason": None}]})  # more than sockets take
        behind = threading.Event()
        self.script = [SSE_HEAD + self.delta(content="a") + chunk(big + finish), lambda: behind.wait(1), chunk(usage) + chunk(event(b"[DONE]")) + chunk(b"")]
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "alone", "stream": True, "messages": [{"role": "user", "content": "x"}]})
        time.sleep(6)  # longer than an end is waited for
        a = wire.answer()
        self.assertEqual((a.whole, a.events()[-1]), (True, "[DONE]"))
        record = self.stack.wait_records(1)[0]
        self.assertEqual((record["outcome"], record["usage_seen"], record["output_tokens"]), ("ok", True, 9))

    def leave(self, met, *script):
        """The record of a call whose client goes once that is so; nobody has served it."""
        self.script = script
        before = len(self.stack.records())
        price = '  - {provider: own, model: "*", from: 2020-01-01, input: 100, output: 200, per_request: 1}\n'
        self.stack.apply(HEAD.replace("  - {name: b,", f"  - {{name: own, type: openai-compatible, base_url: \"http://127.0.0.1:{self.provider.port}/v1\", health: {{open_after: 1000}}}}\n  - {{name: b,")
                         .replace("customers:", price + "customers:") + model("m", "own x", retry="{attempts: 3, backoff: 20s}"))
        wire = self.stack.connect("unix")
        wire.send("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
        wait_for(met, "it is time to go")
        wire.reset()
        got = self.stack.wait_records(before + 1)[-1]
        self.assertEqual((got["outcome"], got["attempts"], got["input_tokens"], got["estimated"], got["priced"], float(got["cost"]), float(got["charge"])),
                         ("client_gone", 1, 0, False, True, 0, 0))

    def test_a_client_that_leaves_while_it_waits(self):
        """For its second try: the first one's refusal costs nothing."""
        self.leave(lambda: "call.retry" in self.stack.agent_log(), b"HTTP/1.1 503 E\r\ncontent-length: 0\r\nretry-after: 30\r\n\r\n")

    def test_a_crash_while_it_waits(self):
        """Nobody has served it by then."""
        self.script = [b"HTTP/1.1 503 E\r\ncontent-length: 0\r\nretry-after: 30\r\n\r\n"]
        self.stack.apply(HEAD.replace("base_url: $SIM", f'base_url: "http://127.0.0.1:{self.provider.port}/v1"', 1) + model("m", "a x", retry="{attempts: 3, backoff: 20s}"))
        with self.stack.connect("unix") as wire:
            wire.send("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": "x"}]})
            wait_for(lambda: "call.retry" in self.stack.agent_log(), "it waits for its second try")
            self.stack.kill(self.stack.agent)
        self.stack.start_agent()
        got = self.stack.wait_records(1)[0]
        self.assertEqual((got["outcome"], got["fail"], got["attempts"], got["input_tokens"], float(got["cost"])), ("refused", "restart", 1, 0, 0))

    def test_a_client_that_leaves_within_an_error(self):
        go = threading.Event()
        self.addCleanup(go.set)
        self.leave(lambda: "failed 1" in self.stack.agent_stat("providers/own/errors"), b"HTTP/1.1 503 E\r\ncontent-length: 9\r\n\r\n{", go.wait)


if __name__ == "__main__":
    unittest.main()
