"""Recorded exchanges through the gateway: what the provider gets, what the client gets, what is booked.

Usage: test_corpus.py [BUILD_ROOT] [unittest arguments]; the folder of exchanges is $AIGW_CORPUS.

Each exchange is a provider's answer behind two models of a policy: one at a provider that is asked for usage (m:ID), one at a
provider with `stream_usage: false` (q:ID). The recorded request is sent with its model name replaced by the policy's; aigw-sim knows
the answer by the target's model, which is the exchange's id. The answer's bytes come cut at random places, and it must not matter.

Allowed differences, listed at the end: a usage chunk that the client did not ask for is hidden; a provider's 401 or 403 for the
gateway's credential becomes a 502 without its text.
"""
import base64
import glob
import json
import os
import re
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
import jsontext  # noqa: E402
from harness import Stack, bearer, build_root  # noqa: E402
from wire import split_events  # noqa: E402

BUILD = build_root()
ENDPOINTS = {"openai-chat": "chat/completions", "openai-completions": "completions", "openai-embeddings": "embeddings",
             "openai-responses": "responses", "openai-moderations": "moderations"}
NAME_MAX = 127
OWN_FIELDS = {"x-request-id", "server-timing", "x-aigw-upstream-request-id", "x-aigw-model", "x-aigw-provider"}
RELAYED_FIELDS = ("content-type", "content-encoding", "retry-after", "retry-after-ms", "x-should-retry")
FRAMING_FIELDS = {"content-length", "transfer-encoding", "connection"}
FORWARDED_FIELDS = {"content-type", "accept", "openai-beta", "traceparent"}
SECRET = "sk-provider-0123456789"


def corpus_folder():
    top = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
    return os.environ.get("AIGW_CORPUS") or os.path.join(top, "../shared/corpus")


def decode(message):
    body = message.get("body")
    if body is None:
        return b""
    return base64.b64decode(body) if message["body_encoding"] == "base64" else body.encode()


class Exchange:
    def __init__(self, path, d, number):
        self.path, self.dialect, self.request, self.response = path, d["dialect"], d.get("request"), d["response"]
        self.id = os.path.basename(path)[:-len(".json")]
        self.name = self.id if len(self.id) + 2 <= NAME_MAX else f"exchange-{number}"  # a model's name has its limits
        self.usage = d["usage"]
        self.status, self.answer = self.response["status"], decode(self.response)
        self.endpoint = ENDPOINTS.get(self.dialect)

    def wanted(self):
        return self.endpoint and self.request and self.request.get("body")

    def field(self, name):
        return next((v for n, v in self.response["headers"].items() if n.lower() == name), None)


def load():
    folder = corpus_folder()
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), "**", "*.json"), recursive=True))
    found = []
    for i, path in enumerate(paths):
        with open(path, encoding="utf-8") as f:
            d = json.load(f)
        if isinstance(d, dict) and "dialect" in d:  # a folder may hold other things
            found.append(Exchange(path, d, i))
    return [e for e in found if e.wanted()]


def policy(exchanges):
    lines = ["apiVersion: aigw/v1", "providers:",
             "  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}",
             "  - {name: quiet, type: openai-compatible, base_url: $SIM, credential: sim, options: {stream_usage: false}}",
             "customers:", "  - {name: acme, projects: [{name: p}]}", "identities:", "  - {uid: $UID, project: p}", "models:"]
    for e in exchanges:
        for prefix, provider in (("m:", "sim"), ("q:", "quiet")):
            lines.append(f"  - {{name: {json.dumps(prefix + e.name)}, targets: [{{provider: {provider}, model: {json.dumps(e.name)}}}]}}")
    return "\n".join(lines).replace("$", "$$").replace("$$SIM", "$SIM").replace("$$UID", "$UID")


class Call:
    """One exchange as sent and answered."""

    def __init__(self, exchange, model, wants_usage):
        self.exchange, self.model = exchange, model
        self.sent = jsontext.with_model(decode(exchange.request), model)
        self.stream = jsontext.asks_stream(self.sent) and exchange.endpoint in ("chat/completions", "completions")
        self.wants_usage = self.stream and wants_usage
        self.hides = self.stream and not jsontext.asks_usage(self.sent)

    def headers(self):
        """The recorded ones, but those of the connection and the credential."""
        drop = {"host", "content-length", "connection", "authorization", "api-key", "x-api-key", "accept-encoding", "transfer-encoding"}
        return [(n, v) for n, v in self.exchange.request["headers"].items() if n.lower() not in drop]

    def expected_body(self):
        answer = self.exchange.answer
        if self.hides:
            answer = b"".join(e for e in split_events(answer) if not jsontext.nothing_but_usage(e))
        return answer + (b"data: [DONE]\n\n" if self.lacks_end() else b"")

    def is_wrong_kind(self):
        """JSON to a call for a stream, or a stream to another: no answer."""
        e = self.exchange
        kind = (e.field("content-type") or "").lower()
        return e.status < 300 and e.endpoint in ("chat/completions", "completions", "responses") and kind.startswith(
            "application/json" if jsontext.asks_stream(self.sent) else "text/event-stream")

    def breaks_off(self):
        """The recording ends without a word of its end: so does what a provider breaks off."""
        e = self.exchange
        streams = e.status < 300 and (e.field("content-type") or "").lower().startswith("text/event-stream")
        if not streams or e.endpoint not in ("chat/completions", "completions", "responses") or b"[DONE]" in e.answer:
            return False
        if e.endpoint == "responses":
            return re.search(rb'"response\.(completed|incomplete|failed)"|event: response\.(completed|incomplete|failed)', e.answer) is None
        return re.search(rb'"finish_reason": ?"', e.answer) is None and re.search(rb'"error": ?[^n ]', e.answer) is None

    def lacks_end(self):
        """It has a finish reason and no end mark, which SDKs wait for."""
        answer = self.exchange.answer
        return self.stream and self.exchange.status < 400 and b"[DONE]" not in answer and re.search(rb'"finish_reason": ?"', answer) is not None


class Corpus(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.exchanges = load()
        cls.hidden, cls.refused, cls.completed, cls.refused_kind, cls.broken = set(), set(), set(), set(), set()

    @classmethod
    def tearDownClass(cls):
        print(f"# {len(cls.exchanges)} exchanges; allowed differences:")
        for what, ids in (("usage chunk hidden", cls.hidden), ("end mark added", cls.completed), ("401/403 became 502", cls.refused),
                          ("the other framing became 502", cls.refused_kind), ("said to be broken off", cls.broken)):
            print(f"# {what}: {len(ids)}")
            for i in sorted(ids):
                print(f"#   {i}")

    def run_all(self, durability, seeds):
        stack = Stack(BUILD, policy(self.exchanges), sim=["--record-bodies", "BODIES"], secrets={"sim": SECRET},
                      agent={"durability": durability})
        folder = stack.path("corpus")
        os.mkdir(folder)
        for e in self.exchanges:
            os.symlink(os.path.abspath(e.path), os.path.join(folder, e.name + ".json"))
        n = 0
        for seed in seeds:
            stack.sim_options = ["--record-bodies", stack.path(f"bodies-{seed}"), "--corpus", folder, "--cut-seed", str(seed), "--log-headers"]
            if stack.sim is None:
                stack.__enter__()
            else:
                stack.end(stack.sim)
                os.unlink(stack.path("calls.log"))
                stack.start_sim()
            try:
                n += self.run_seed(stack, seed, n)
            except BaseException:
                stack.__exit__(*sys.exc_info())
                raise
        stack.__exit__(None, None, None)

    def run_seed(self, stack, seed, before):
        """All exchanges once, over TCP and the unix socket by turns, on connections that are kept."""
        ways = {"tcp": bearer(stack.make_key("p", name=f"seed-{seed}")), "unix": []}
        wires = {way: stack.connect(way) for way in ways}
        done = []
        for i, e in enumerate(self.exchanges):
            for k, (prefix, asked) in enumerate((("m:", True), ("q:", False))):
                way = ("tcp", "unix")[(i + k + seed) % 2]
                call = Call(e, prefix + e.name, asked)
                answer = wires[way].call("/v1/" + e.endpoint, call.sent, [*call.headers(), *ways[way]])
                if answer is None or answer.close or call.breaks_off():
                    wires[way] = stack.connect(way)
                done.append((call, answer))
        log = stack.wait_sim(lambda line: line["event"] == "end" and line["seq"] == len(done))
        received = {line["client_request_id"]: line for line in log if line["event"] == "recv"}
        self.assertEqual(len(received), len(done))
        records = {r["request_id"]: r for r in stack.wait_records(before + len(done))}
        for call, answer in done:
            with self.subTest(id=call.exchange.id, model=call.model[:2], seed=seed):
                request_id = answer.header("x-request-id")
                self.check_answer(call, answer)
                self.check_provider(call, received[request_id], stack.path(f"bodies-{seed}"))
                self.check_record(call, answer, records[request_id])
        for wire in wires.values():
            wire.sock.close()
        return len(done)

    def check_answer(self, call, answer):
        e = call.exchange
        self.assertIsNotNone(answer)
        self.assertTrue(answer.whole)
        names = [n for n, _ in answer.headers]
        self.assertEqual(len(names), len(set(names)), names)
        self.assertLessEqual(set(names), OWN_FIELDS | set(RELAYED_FIELDS) | FRAMING_FIELDS)
        self.assertEqual(answer.header("x-aigw-model"), call.model)
        self.assertEqual(answer.header("x-aigw-provider"), "sim" if call.model[0] == "m" else "quiet")
        if e.status in (401, 403):
            self.refused.add(e.id)
            self.assertEqual((answer.status, answer.json()["error"]["code"]), (502, "upstream_auth_failed"))
            self.assertNotIn(e.answer, answer.body)
            return
        if call.is_wrong_kind():
            self.refused_kind.add(e.id)
            self.assertEqual((answer.status, answer.json()["error"]["code"]), (502, "upstream_protocol"))
            return
        self.assertEqual(answer.status, e.status)
        if call.breaks_off():
            self.broken.add(e.id)
            self.assertTrue(answer.body.startswith(call.expected_body()))
            self.assertEqual(answer.events()[-1]["error"]["code"], "upstream_cut")
            return
        if call.lacks_end():
            self.completed.add(e.id)
        elif call.expected_body() != e.answer:
            self.hidden.add(e.id)
        self.assertEqual(answer.body, call.expected_body())
        for name in RELAYED_FIELDS:
            if name != "content-encoding":  # the recorders have decoded the bodies
                self.assertEqual(answer.header(name), e.field(name), name)
        if e.field("x-request-id"):
            self.assertEqual(answer.header("x-aigw-upstream-request-id"), e.field("x-request-id"))

    def check_provider(self, call, line, folder):
        with open(os.path.join(folder, f"{line['seq']}.body"), "rb") as f:
            got = f.read()
        self.assertEqual(got, jsontext.at_provider(call.sent, call.model, call.exchange.name, call.wants_usage))
        self.assertEqual(line["path"], "/v1/" + call.exchange.endpoint)
        fields = {n.lower(): v for n, v in line["headers"]}
        self.assertEqual(len(fields), len(line["headers"]))
        sent = {n.lower(): v for n, v in call.headers()}
        sent.setdefault("content-type", "application/json")
        expected = {n: v for n, v in sent.items() if n in FORWARDED_FIELDS}
        ours = {n: v for n, v in fields.items() if n not in expected}
        self.assertEqual({n: fields.get(n) for n in expected}, expected)
        self.assertEqual(set(ours), {"host", "user-agent", "accept-encoding", "authorization", "x-client-request-id", "content-length"})
        self.assertRegex(ours["user-agent"], r"^aigw/[0-9.]+$")
        self.assertEqual(ours["accept-encoding"], "identity")
        self.assertEqual(line["credential_last4"], SECRET[-4:])

    def check_record(self, call, answer, record):
        e, u = call.exchange, call.exchange.usage
        self.assertEqual((record["model"], record["upstream_model"]), (call.model, e.name))
        self.assertEqual((record["status"], record["bytes_in"]), (answer.status, len(call.sent)))
        self.assertEqual(record["bytes_out"], len(answer.body))
        if call.is_wrong_kind():
            self.assertEqual(record["outcome"], "failed")
            return
        broken = call.breaks_off() or call.stream and e.status < 400 and b'"error":{' in split_events(answer.body)[-1]  # in the provider's words, in the midst of a stream
        self.assertEqual(record["outcome"], "cut" if broken else "ok" if e.status < 400 else "failed")
        names = {"input_tokens": "input_tokens", "cached_input_tokens": "cached_input_tokens", "cache_write_tokens": "cache_write_tokens",
                 "output_tokens": "output_tokens", "reasoning_tokens": "reasoning_tokens", "audio_input_tokens": "input_audio_tokens",
                 "audio_output_tokens": "output_audio_tokens"}
        got = {n: record[n] for n in names}
        if u:
            self.assertEqual(got, {n: u.get(m) or 0 for n, m in names.items()})
            self.assertEqual((record["usage_seen"], record["estimated"]), (True, False))
        else:
            self.assertTrue(record["estimated"] or not any(got.values()))

    def test_strict(self):
        self.run_all("strict", (1, 2))

    def test_relaxed(self):
        self.run_all("relaxed", (3, 4))


if __name__ == "__main__":
    if not load():
        print(f"# skipped: no exchanges with a request in {corpus_folder()}; give a folder with AIGW_CORPUS")
        sys.exit(77)
    unittest.main(verbosity=2)
