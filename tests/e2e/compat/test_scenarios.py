"""The scenarios of a failing provider, S01 to S24, as an application with the openai client sees them; and that its retries do not multiply ours.

Usage: test_scenarios.py [BUILD_ROOT] [unittest arguments]
AIGW_NPM, AIGW_NODE as for test_compat.py. AIGW_SOAK=20: so many rounds, with the clients by turns and S15 for 60 s, not 10.
"""
import collections
import concurrent.futures
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402

BUILD = build_root()
ROUNDS = int(os.environ.get("AIGW_SOAK", "0"))
SDKS = ("openai7", "openai6")
SECRET = "sk-provider-0123456789"

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim, timeouts: {connect: 1s, first_byte: 1s, idle: 1s}, health: {open_after: 1000}, options: {prefill: message}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim, options: {prefill: message}}
  - {name: dying, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 3, half_open_after: 5m}}
  - {name: broke, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: two-keys, type: openai-compatible, base_url: $SIM, credentials: [wrong, sim]}
  - {name: locked, type: openai-compatible, base_url: $SIM, credential: wrong}
  - {name: keyless, type: openai-compatible, base_url: $SIM, credential: nobody}
  - {name: flap, type: openai-compatible, base_url: $SIM, credential: sim, timeouts: {first_byte: 2s, idle: 2s}, health: {open_after: 5, half_open_after: 1s}}
prices:
  - {provider: a, model: "*", from: 2020-01-01, input: 1, output: 2}
  - {provider: b, model: "*", from: 2020-01-01, input: 10, output: 20}
customers:
  - name: acme
    projects: [{name: search}, {name: none, models: []}]
models:
"""
RETRY = "retry: {attempts: 3, backoff: 50ms, budget: 100%}"
# The models of one round: name, targets, more. Names at the provider end in the round: what happens once happens once in each.
MODELS = (
    ("s01", "a sim-s01+fail-429+retry-after-2+times-1", RETRY),
    ("s02", "a sim-s02+fail-429", RETRY),
    ("s03", "a sim-s03+fail-500+times-1", RETRY),
    ("s04", "a sim-s04+fail-503, b sim-b"),
    ("s05", "a sim-s05+fail-reset, b sim-b"),
    ("s06", "a sim-s06+fail-hang, b sim-b"),
    ("s07", "a sim-s07+role-only-first+first-after-20000, b sim-b"),
    ("s08", "a sim-s08+tokens-60+cut-after-40, b sim-b"),
    ("s08-on", "a sim-s08c+tokens-60+cut-after-40, b sim-s08d+tokens-60", "on_cut: continue"),
    ("s09-on", "a sim-s09c+tokens-60+stall-after-10, b sim-s09d+tokens-60", "on_cut: continue"),
    ("s14", "a sim-s14+tokens-60+cut-after-40, b sim-s14no+no-prefill, b sim-s14b+tokens-60", "on_cut: continue"),
    ("s14-none", "a sim-s14n+tokens-60+cut-after-40, b sim-s14m+no-prefill", "on_cut: continue"),
    ("whole", "b sim-whole+tokens-60"),
    ("s09", "a sim-s09+tokens-60+stall-after-10, b sim-b"),
    ("s10", "a sim-s10+tokens-20+bad-chunk-7, b sim-b"),
    ("s10-skip", "a sim-s10s+tokens-20+bad-chunk-7", "on_malformed: skip"),
    ("s11", "b sim-s11+tokens-10+no-done+hold-open"),
    ("s12", "a sim-s12+fail-400+code-context_length_exceeded context_window: 8000, b sim-s12-small context_window: 4000, b sim-s12-large context_window: 128000"),
    ("s13", "a sim-s13+fail-400+code-content_filter, b sim-s13b"),
    ("s15", "flap sim-s15, b sim-b"),
    ("s17", "dying sim-s17+head-only, dying sim-s17b+cut-after-0"),
    ("s18", "a sim-s18+error-event-0, b sim-b"),
    ("s18-alone", "a sim-s18a+error-event-0+code-rate_limit_exceeded", "retry: {attempts: 1}"),
    ("s19", "a sim-s19+tokens-60+pace-100000"),
    ("s20", "two-keys sim-s20"),
    ("s20-b", "locked sim-s20, b sim-b"),
    ("s21", "broke sim-s21+fail-429+code-insufficient_quota, b sim-b"),
    ("s22", "a sim-s22-in+fail-503 tags: [eu], b sim-s22-out tags: [us]", "require_tags: [eu], " + RETRY),
    ("s22-none", "b sim-s22-out tags: [us]", "require_tags: [eu]"),
    ("s23", "a sim-s23+fail-badjson, b sim-b"),
    ("s24", "a sim-s24+swap-framing, b sim-b"),
    # retry hygiene
    *((f"ever-{fault}", f"a sim-ever-{fault}+{fault}{more}", RETRY) for fault, more in (("fail-500", ""), ("fail-503", ""), ("fail-408", ""), ("fail-409", ""), ("fail-429", "+retry-after-ms-20"),
                                                                                       ("fail-reset", ""), ("fail-close", ""), ("fail-badjson", ""), ("fail-hang", ""), ("head-only", ""))),
    ("ever-two", "a sim-ever-two+fail-503, b sim-ever-two-b+fail-503", RETRY),
    ("locked", "locked sim-x"), ("keyless", "keyless sim-x"), ("broke", "broke sim-x-broke+fail-429+code-insufficient_quota"),
    ("tagged", "b sim-x tags: [us]", "require_tags: [eu]"),
)


def policy(number):
    rows = []
    for name, targets, *more in MODELS:
        parts = []
        for i, target in enumerate(targets.split(", ")):
            provider, upstream, *rest = target.split(" ", 2)
            sim, plus, behaviours = upstream.partition("+")
            parts.append(f'{{provider: {provider}, model: "{sim}-r{number}{plus}{behaviours}", priority: {i + 1}{", " + rest[0] if rest else ""}}}')
        rows.append(f'  - {{name: {name}, targets: [{", ".join(parts)}]{"".join(", " + m for m in more)}}}\n')
    return HEAD + "".join(rows)


def setUpModule():
    global npm, node
    npm = os.path.abspath(os.environ.get("AIGW_NPM") or os.path.join(HERE, "../node"))
    node = os.environ.get("AIGW_NODE") or shutil.which("node")
    missing = [m for m in SDKS if not os.path.isdir(os.path.join(npm, "node_modules", m))]
    if missing or not node:
        raise unittest.SkipTest(f"npm packages missing: {', '.join(missing) or 'no node'} in {npm}/node_modules (./dev test installs them)")


class Client:
    """client.mjs in a process of its own."""

    def __init__(self, stack, sdk, key):
        env = dict(os.environ, AIGW_NPM=npm, AIGW_SDK=sdk, AIGW_KEY=key, AIGW_BASE_URL=f"http://127.0.0.1:{stack.port}/v1")
        self.proc = subprocess.Popen([node, os.path.join(HERE, "client.mjs")], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ids, self.lock, self.waiting = itertools.count(), threading.Lock(), {}
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.proc.stdout:
            got = json.loads(line)
            with self.lock:
                self.waiting.pop(got["id"]).set_result(got)
        with self.lock:
            for future in self.waiting.values():
                future.set_exception(EOFError("the client has ended"))

    def begin(self, **call):
        future = concurrent.futures.Future()
        with self.lock:
            call["id"] = next(self.ids)
            self.waiting[call["id"]] = future
            self.proc.stdin.write(json.dumps(call) + "\n")
            self.proc.stdin.flush()
        return future

    def call(self, **call):
        return self.begin(**call).result(timeout=170)

    def close(self):
        self.proc.stdin.close()
        self.reader.join(30)
        self.proc.stdout.close()
        if self.proc.wait(30) != 0:
            raise AssertionError(f"node ended with {self.proc.returncode}")


class Base(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, None, secrets={"sim": SECRET, "wrong": "sk-of-yesterday"}, sim=["--require-key", SECRET], expected=["event=provider.quota"],
                                                agent={"max_body": "1MiB"}))
        cls.stack.apply(policy(0))
        cls.stack.wait_ready()
        cls.key = cls.stack.make_key("search")

    def client_of(self, sdk):
        client = Client(self.stack, sdk, self.key)
        self.addCleanup(client.close)
        return client

    def tries(self, mark):
        """How often a provider was asked for a model whose name begins so."""
        return sum(line["event"] == "recv" and line["model"].startswith(mark) for line in self.stack.sim_log())

    def record(self, got):
        return wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == got["x-request-id"]), None), "its record")


class Scenarios(Base):
    def round(self, number, client):
        """Every scenario of it at the same time: {name: (seconds, what is wrong or "")}."""
        self.number, self.client = number, client
        names = sorted(n for n in dir(self) if n.startswith("s") and n[1:3].isdigit())

        def one(name):
            began = time.monotonic()
            try:
                getattr(self, name)()
            except (AssertionError, OSError, KeyError, TypeError) as e:
                return time.monotonic() - began, f"{type(e).__name__}: {e}"
            return time.monotonic() - began, ""
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(one, names)))

    def test_rounds(self):
        table, clients = collections.defaultdict(list), {sdk: self.client_of(sdk) for sdk in SDKS}
        for number in range(1, max(ROUNDS, 1) + 1):
            self.stack.apply(policy(number))
            self.stack.wait_ready()
            got = self.round(number, clients[SDKS[number % 2 - 1]])
            got["s15_flapping"] = self.flapping(60 if ROUNDS else 10)
            for name, result in got.items():
                table[name].append(result)
        wrong = []
        for name, results in sorted(table.items()):
            bad = [why for _, why in results if why]
            title = (getattr(self, name).__doc__ if hasattr(self, name) else None) or name[4:].replace("_", " ")
            print(f"# {name[:3].upper()} {'FAIL' if bad else 'pass'} {len(results) - len(bad)} of {len(results)}, {max(s for s, _ in results):5.1f} s  {title}", file=sys.stderr)
            wrong += [f"{name}: {why}" for why in bad]
        self.assertEqual(wrong, [])

    # --- what a scenario asks for ------------------------------------------------------------------------------------

    def mark(self, name):
        return f"sim-{name}-r{self.number}"

    def ask(self, model, stream=False, **more):
        body = {"model": model, **({"stream": True, "stream_options": {"include_usage": True}} if stream else {})}
        return self.client.call(body=body, **more)

    def good(self, got, provider=None, trail=None):
        self.assertNotIn("error", got)
        self.assertEqual((got["finish"], len(got["ids"])), ("stop", 1), got)
        self.assertTrue(got["text"])
        if provider:
            self.assertEqual(got["x-aigw-provider"], provider, got)
        if trail:
            self.assertEqual(got["x-aigw-fallback"], trail, got)

    def both(self, model, trail):
        """A plain call and a stream are answered by B."""
        for stream in (False, True):
            self.good(self.ask(model, stream, retries=0), "b", trail)

    def failed(self, got, kind=None, status=None, code=None):
        self.assertIn("error", got)
        e = got["error"]
        self.assertEqual((kind or e["kind"], status or e["status"], code or e["code"]), (e["kind"], e["status"], e["code"]), e)

    def cut(self, model, pieces, code):
        """The client is told, and what was delivered is booked."""
        got = self.ask(model, True)
        self.failed(got, code=code)
        self.assertEqual((got["pieces"], got["finish"], got["requests"]), (pieces, None, 1))
        record = self.record(got)
        self.assertEqual(record["outcome"], "cut")
        self.assertGreater(record["output_tokens"], 0)

    def s01_limited_once(self):
        """429 with Retry-After 2, then fine"""
        got = self.ask("s01", retries=0)
        self.good(got, "a")
        self.assertGreater(got["ms"], 1800)
        self.assertEqual(self.tries(self.mark("s01")), 2)

    def s02_limited_for_ever(self):
        """429 for ever"""
        got = self.ask("s02")
        self.failed(got, "RateLimitError", 429)
        self.assertLessEqual(self.tries(self.mark("s02")), 4)

    def s03_once(self):
        """500 once"""
        self.good(self.ask("s03", retries=0), "a", "a:500>a")

    def s04_out(self):
        """503 for ever on A, B fine"""
        self.both("s04", "a:503>b")

    def s05_reset(self):
        """connection reset before the head"""
        self.both("s05", "a:closed_early>b")

    def s06_silent(self):
        """never answers"""
        self.both("s06", "a:timeout_first_byte>b")

    def s07_late(self):
        """head and role, the first token after 20 s"""
        got = self.ask("s07", True, retries=0)
        self.good(got, "b", "a:timeout_first_byte>b")
        self.assertLess(got["ms"], 15000)

    def s08_cut(self):
        """stream cut after 40 of 60 tokens"""
        self.cut("s08", 40, "upstream_cut")
        self.gone_on_with("s08-on")

    def gone_on_with(self, model):
        """Another target goes on: one answer, and the whole of it."""
        got = self.ask(model, True, retries=0)
        self.good(got)
        self.assertEqual(got["text"], self.ask("whole", True)["text"])
        record = self.record(got)
        self.assertEqual((record["outcome"], record["provider"]), ("ok", "b"))

    def s09_stall(self):
        """stream stalls after 10 tokens"""
        self.cut("s09", 10, "upstream_timeout")
        self.gone_on_with("s09-on")

    def s10_malformed(self):
        """one malformed chunk in the stream"""
        self.cut("s10", 7, "upstream_protocol")
        got = self.ask("s10-skip", True)
        self.good(got, "a")
        self.assertEqual(got["pieces"], 19)

    def s11_no_done(self):
        """all tokens and a finish reason, no [DONE], connection stays open"""
        got = self.ask("s11", True)
        self.good(got, "b")
        self.assertLess(got["ms"], 8000 + 2000)
        self.assertEqual(got["usage"]["completion_tokens"], 10)
        self.assertEqual(self.record(got)["outcome"], "ok")

    def s12_too_long(self):
        """400 context_length_exceeded: one attempt there, then the larger window"""
        got = self.ask("s12")
        self.good(got, "b", "a:400>b")
        self.assertEqual([self.tries(self.mark(n)) for n in ("s12", "s12-small", "s12-large")], [1, 0, 1])

    def s13_filtered(self):
        """content filter refusal"""
        got = self.ask("s13")
        self.failed(got, "BadRequestError", 400, "content_filter")
        self.assertEqual((got["requests"], self.tries(self.mark("s13")), self.tries(self.mark("s13b"))), (1, 1, 0))

    def s14_prefill_refused(self):
        """fallback refuses the prefill (400): the next one, or in-band error"""
        self.gone_on_with("s14")
        self.cut("s14-none", 40, "upstream_cut")

    def s16_told(self):
        """fallback served: record and headers name it, its model, its usage, its cost"""
        got = self.ask("s04", retries=0)
        self.good(got, "b", "a:503>b")
        self.assertEqual(got["x-aigw-attempts"], "2")
        record = self.record(got)
        self.assertEqual((record["provider"], record["upstream_model"], record["attempts"]), ("b", f"sim-b-r{self.number}", 2))
        self.assertEqual((record["input_tokens"], record["output_tokens"]), (got["usage"]["prompt_tokens"], got["usage"]["completion_tokens"]))
        self.assertEqual(record["cost"], f"{(record['input_tokens'] * 10 + record['output_tokens'] * 20) / 1e6:.9f}")

    def s17_dying(self):
        """200 head, then death before any content, on every attempt"""
        for _ in range(3):
            got = self.ask("s17", True, retries=0)
            self.assertTrue(got["error"]["status"] >= 500, got)
        self.assertEqual([self.tries(self.mark(n)) for n in ("s17", "s17b")], [3, 3])
        lines = self.stack.agent_stat("models/s17/targets").splitlines()
        self.assertEqual(["state=open" in line for line in lines], [True, True], lines)

    def s18_error_in_200(self):
        """an error as the first event inside a 200"""
        self.good(self.ask("s18", True, retries=0), "b")
        self.failed(self.ask("s18-alone", True, retries=0), "RateLimitError", 429)

    def s19_long(self):
        """a long stream of steady tokens, six times idle and first_byte"""
        got = self.ask("s19", True)
        self.good(got, "a")
        self.assertEqual(got["pieces"], 60)

    def s20_refused_credential(self):
        """401 for the first credential: the second one, or B"""
        for _ in range(3):
            self.good(self.ask("s20", retries=0), "two-keys")
        for _ in range(2):
            self.good(self.ask("s20-b", retries=0), "b")

    def s21_out_of_money(self):
        """the provider's account is empty"""
        for _ in range(4):
            self.good(self.ask("s21", retries=0), "b")
        if self.number == 1:  # later ones leave the credential alone from the start: at most one call of each worker met it
            self.assertTrue(1 <= self.tries("sim-s21-r") <= 2)
        self.assertTrue(self.tries("sim-s21-r") <= 2)
        self.assertEqual(self.stack.agent_log().count("event=provider.quota"), 1)

    def s22_outside(self):
        """only a target outside require_tags is healthy"""
        got = self.ask("s22", retries=0)
        self.failed(got, status=503)
        self.failed(self.ask("s22-none"), "PermissionDeniedError", 403, "no_eligible_target")
        self.assertEqual(self.tries("sim-s22-out"), 0)

    def s23_undecodable(self):
        """200 with an undecodable body"""
        self.both("s23", "a:200>b")

    def s24_other_framing(self):
        """a JSON body to a stream call, an event stream to a plain one"""
        self.both("s24", "a:200>b")

    def flapping(self, seconds):
        """S15: (seconds, what is wrong) of a provider that comes and goes, at 200 calls a second."""
        began, name = time.monotonic(), f"sim-s15-r{self.number}"
        future = self.client.begin(load=seconds, rate=200, body={"model": "s15"})
        for behaviour in itertools.cycle(("fail-503", None, "fail-reset", None, "head-only", None)):
            if concurrent.futures.wait([future], timeout=2).done or time.monotonic() - began > seconds - 1:
                break
            self.stack.script({name: behaviour})
        self.stack.script({name: None})
        got = future.result(timeout=60)
        print(f"# S15: {got['calls']} calls in {seconds} s, {got['errors']} errors, {got['by']}", file=sys.stderr)
        try:
            wait_for(lambda: self.ask("s15")["x-aigw-provider"] == "flap", "it is in use again", 30)
            self.assertLess(got["errors"], got["calls"] / 100, got["first"])
            self.assertEqual(set(got["by"]), {"flap", "b"})
        except AssertionError as e:
            return time.monotonic() - began, str(e)
        return time.monotonic() - began, ""


class Hygiene(Base):
    """The client has its usual two retries."""

    def test_a_provider_that_fails_for_ever(self):
        """Attempts of one application call: the policy's, and one for each later try of the client."""
        for sdk in SDKS:
            client = self.client_of(sdk)
            for name in [m[0] for m in MODELS if m[0].startswith("ever-")]:
                for stream in (False, True):
                    with self.subTest(sdk=sdk, model=name, stream=stream):
                        before = self.tries(f"sim-{name}")
                        got = client.call(body={"model": name, **({"stream": True} if stream else {})})
                        self.assertIn("error", got)
                        tried = self.tries(f"sim-{name}") - before
                        self.assertTrue(3 <= tried <= 3 + got["requests"] - 1, (tried, got))
                        self.assertEqual((tried, got["requests"], got["x-should-retry"]), (3, 1, "false"))  # they are spent, and it says so

    def test_a_refusal_is_one_request(self):
        key = self.stack.make_key("none", name="none")
        old = self.stack.api("POST", "/api/v1/keys", {"name": "old", "project": "search", "wait": True, "timeout_ms": 60000})
        self.stack.api("POST", f"/api/v1/keys/{old['id']}/revoke", {"wait": True, "timeout_ms": 60000})
        chat = {"model": "s19"}
        rows = (
            ("invalid_api_key", 401, {"key": "aigw-nonsense", "body": chat}),
            ("invalid_api_key", 401, {"key": old["key"], "body": chat}),
            ("model_not_allowed", 403, {"key": key, "body": chat}),
            ("model_not_found", 404, {"body": {"model": "moon"}}),
            ("missing_model", 400, {"body": {"stream": True}}),
            ("no_eligible_target", 403, {"body": {"model": "tagged"}}),
            ("unsupported_header", 400, {"headers": {"x-aigw-nonsense": "1"}, "body": chat}),
            ("ambiguous_credential", 400, {"headers": {"x-api-key": "other"}, "body": chat}),
            ("request_too_large", 413, {"body": {"model": "s19", "messages": [{"role": "user", "content": "x" * (2 << 20)}]}}),
            ("header_too_large", 431, {"headers": {"x-long": "y" * 70000}, "body": chat}),
            ("unknown_url", 404, {"get": "/nowhere"}),
            ("method_not_allowed", 405, {"get": "/chat/completions"}),
            ("upstream_auth_failed", 502, {"body": {"model": "locked"}}),
            ("upstream_no_credential", 502, {"body": {"model": "keyless"}}),
            ("upstream_quota", 503, {"body": {"model": "broke"}}),
        )
        for sdk in SDKS:
            client = self.client_of(sdk)
            for code, status, call in rows:
                with self.subTest(sdk=sdk, code=code):
                    got = client.call(**call)
                    self.assertEqual((got.get("error", {}).get("status"), got["error"]["code"], got["requests"]), (status, code, 1), got)
        self.assertEqual(self.tries("sim-s19"), 0)


if __name__ == "__main__":
    unittest.main()
