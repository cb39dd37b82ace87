"""What a provider's failure means: the policy's own words for it, what is tried anew, several credentials.

Usage: test_failures.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, SSE_HEAD, Provider, chunk, event  # noqa: E402

BUILD = build_root()
GOOD, OTHER = "sk-provider-0123456789", "sk-other-0123456789"

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, $A, timeouts: {connect: 1s, first_byte: 500ms, idle: 500ms}, health: {open_after: 1000}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: c, type: openai-compatible, base_url: $SIM, credential: two}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
"""


def model(name, *targets, retry="{attempts: 3, backoff: 1ms, budget: 100%}", **more):
    rows = ", ".join(f'{{provider: {t.split()[0]}, model: "{t.split()[1]}", priority: {i + 1}}}' for i, t in enumerate(targets))
    return f'  - {{name: "{name}", targets: [{rows}], retry: {retry}' + "".join(f", {k}: {v}" for k, v in more.items()) + "}\n"


class Case(unittest.TestCase):
    maxDiff = None
    SIM = ()

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None, sim=list(self.SIM), expected=["event=provider.quota"],
                                             secrets={"sim": GOOD, "one": GOOD, "two": GOOD, "wrong": "sk-wrong-0123456789", "other": OTHER}))

    def apply(self, *models, provider="credential: sim", health="open_after: 1000"):
        self.stack.apply(HEAD.replace("$A", provider).replace("open_after: 1000", health) + "".join(models))
        self.stack.wait_ready()

    def ask(self, name="m", **more):
        return self.stack.chat(name, way="unix", **more)

    def standing(self):
        return {line.split()[0]: line.split("state=")[1].split()[0] for line in self.stack.agent_stat("providers/a/credentials").splitlines()}

    def calls(self, mark):
        return [line for line in self.stack.sim_log() if line["event"] == "recv" and (line["model"] or "").startswith(mark)]


class Errors(Case):
    """errors: {CODE: class}: each class does what the manual says, whatever the status."""

    def check(self, fault, errors, status, trail, code=None, stream=False):
        name = f"sim-{len(self.stack.sim_log())}"
        self.apply(model("m", f"a {name}+{fault}", "b sim-b"), provider=f"credential: sim, errors: {{{errors}}}")
        a = self.ask(**({"stream": True} if stream else {}))
        self.assertEqual((a.status, a.header("x-aigw-fallback")), (status, trail), a.body)
        if code:
            self.assertEqual(a.json()["error"]["code"], code)

    def test_each_class_acts(self):
        self.check("fail-400+code-odd", "odd: transient", 200, "a:400>b")
        self.check("fail-400+code-odd", "odd: rate_limited", 200, "a:400>b")
        self.check("fail-400+code-odd", "odd: context_length", 200, "a:400>b")
        self.check("fail-400+code-odd", "odd: unsupported_operation", 200, "a:400>b")
        self.check("fail-500+code-odd", "odd: caller_fault", 500, None)
        self.check("fail-400+code-odd", "ODD: transient, other: caller_fault", 200, "a:400>b")  # without regard to letters
        self.check("fail-400+code-odd", "other: transient", 400, None)
        self.check("fail-429", "429: caller_fault", 429, None)  # by status
        self.check("fail-429+code-odd", "429: caller_fault, odd: transient", 200, "a:429>b")  # the code comes first
        self.check("error-event-0+code-odd", "odd: caller_fault", 400, None, stream=True)
        self.check("fail-429+code-insufficient_quota", "insufficient_quota: caller_fault", 429, None)  # over the built-in table

    @staticmethod
    def refusing(status, body):
        def serve(conn):
            while conn.request():
                conn.send(b"HTTP/1.1 %d No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        return serve

    def test_words_of_an_error(self):
        """Numbers, types, Google's status and reason, whole or as a list of one; what says more comes first."""
        google = b'[{"error": {"code": 400, "message": "m", "status": "FAILED_PRECONDITION", "details": [{"reason": "NOT_HERE"}]}}]'
        for status, body, errors, provider in ((400, b'{"error": {"code": 1113, "type": "t"}}', "1113: transient, t: caller_fault", "b"),
                                               (400, b'{"error": {"code": null, "type": "t"}}', "1113: caller_fault, t: transient", "b"),
                                               (400, b'{"error": {"code": null, "type": "t"}}', "1113: transient", "a"),
                                               (400, google, "FAILED_PRECONDITION: transient", "b"), (400, google, "NOT_HERE: transient, 400: caller_fault", "b"),
                                               (400, google, "{}", "a")):
            with Provider(self.refusing(status, body)) as p:
                self.stack.apply(HEAD.replace("$SIM, $A", f'"http://127.0.0.1:{p.port}/v1", errors: {{{errors.strip("{}")}}}') + model("m", "a x", "b sim-b"))
                self.stack.wait_ready()
                with self.subTest(errors=errors):
                    self.assertEqual(self.ask().header("x-aigw-provider"), provider)

    def test_googles_word_for_a_key_that_it_does_not_know(self):
        body = b'[{"error": {"code": 400, "message": "CANARY", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}]'
        with Provider(self.refusing(400, body)) as p:
            self.stack.apply(HEAD.replace("$SIM, $A", f'"http://127.0.0.1:{p.port}/v1", credential: sim') + model("m", "a x") + model("n", "a x", "b sim-b"))
            self.stack.wait_ready()
            a = self.ask()
            self.assertEqual((a.status, a.json()["error"]["code"], b"CANARY" in a.body), (502, "upstream_auth_failed", False))
            a = self.ask("n")
            self.assertEqual((a.status, a.header("x-aigw-fallback")), (200, None))  # held already

    def test_an_error_in_place_of_a_plain_answer(self):
        """A 200 that holds nothing but an error is none: it goes to the next target, and where there is none has its real status."""
        for body, status, code in ((b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', 429, "rate_limit_exceeded"),
                                   (b'{"error": "overloaded", "choices": []}', 502, None),
                                   (b'{"error": {"message": "CANARY", "code": "invalid_api_key"}}', 502, "upstream_auth_failed")):
            with Provider(self.refusing(200, body)) as p, self.subTest(body=body):
                self.stack.apply(HEAD.replace("$SIM, $A", f'"http://127.0.0.1:{p.port}/v1", credential: sim') + model("m", f"a x-{status}-{code}", "b sim-b") + model("alone", f"a y-{status}-{code}"))
                self.stack.wait_ready()
                a = self.ask()
                self.assertEqual((a.status, a.header("x-aigw-provider"), a.header("x-aigw-fallback")), (200, "b", f"a:{status}>b"))
                a = self.ask("alone")
                self.assertEqual((a.status, b"CANARY" in a.body), (status, False), a.body)
                if code:
                    self.assertEqual(a.json()["error"]["code"], code)
                record = wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")
                self.assertEqual(record["outcome"], "failed")
                self.assertIn(record["cost"], (None, "0.000000000"))

    def test_a_transient_one_counts_against_the_target(self):
        self.apply(model("m", "a sim-t+fail-400+code-odd", "b sim-b"), provider="credential: sim, errors: {odd: transient}")
        self.stack.apply((HEAD + model("m", "a sim-t+fail-400+code-odd", "b sim-b")).replace("$A", "credential: sim, errors: {odd: transient}").replace("open_after: 1000", "open_after: 2"))
        self.assertEqual([self.ask().header("x-aigw-fallback") for _ in range(4)], ["a:400>b"] * 2 + [None] * 2)

    def test_those_of_a_credential_hold_it(self):
        for word, code in (("provider_auth", "upstream_auth_failed"), ("provider_quota", "upstream_quota")):
            self.apply(model("m", f"a sim-{word}+fail-400+code-odd"), provider=f"credential: {'one' if word == 'provider_auth' else 'two'}, errors: {{odd: {word}}}")
            self.assertEqual(self.ask().json()["error"]["code"], code)


class On(Case):
    """retry.on: what another try follows."""

    FAULTS = {  # what is written: faults that it means
        "429": ("fail-429",), "500": ("fail-500",), "503": ("fail-503",),
        "timeout": ("fail-hang",), "reset": ("fail-reset", "fail-close", "head-only"), "malformed": ("fail-badjson", "swap-framing"),
    }

    def test_each_word(self):
        for word in self.FAULTS:
            self.apply(*(model(f"{other}-{fault}", f"a sim-{word}-{other}-{fault}+{fault}", "b sim-b", retry=f"{{attempts: 3, backoff: 1ms, budget: 100%, on: [{word}]}}")
                         for other, faults in self.FAULTS.items() for fault in faults))
            for other, faults in self.FAULTS.items():
                for fault in faults:
                    with self.subTest(on=word, fault=fault):
                        a = self.ask(f"{other}-{fault}")
                        self.assertEqual((a.header("x-aigw-provider"), a.status == 200), ("b", True) if other == word else ("a", False), a.body)

    def test_no_connection(self):
        for on, status in (("[connect]", 200), ("[timeout, reset]", 503)):
            self.apply(model("m", "nobody x", "b sim-b", retry=f"{{attempts: 3, on: {on}}}"))
            self.assertEqual(self.ask().status, status)

    def test_what_is_otherwise_elsewhere_is_no_matter_of_it(self):
        self.apply(model("long", "a sim-l+fail-400+code-context_length_exceeded", "b sim-b", retry="{on: []}"),
                   model("quota", "a sim-q+fail-429+code-insufficient_quota", "b sim-b", retry="{on: []}"),
                   model("lost", "a sim-n+fail-404", "b sim-b", retry="{on: []}"), model("down", "a sim-d+fail-503", "b sim-b", retry="{on: []}"))
        self.assertEqual([self.ask(name).status for name in ("long", "lost", "down", "quota")], [200, 200, 503, 200])

    def test_a_failure_in_a_200_has_the_status_that_it_means(self):
        for on, provider in (("[502]", "b"), ("[500]", "a")):
            self.apply(model("m", "a sim-i+error-event-0", "b sim-b", retry=f"{{attempts: 3, on: {on}}}"))
            self.assertEqual(self.ask(stream=True).header("x-aigw-provider"), provider)


class Credentials(Case):
    """Several credentials of a provider, by turns; what is one's own trouble is not the others'."""
    SIM = ["--require-key", GOOD]

    def test_s20_the_second_answers(self):
        self.apply(model("m", "a sim-a"), provider="credentials: [wrong, sim]")
        seen = [self.ask() for _ in range(6)]
        self.assertEqual([a.status for a in seen], [200] * 6)
        tried = [a.header("x-aigw-fallback") for a in seen]
        self.assertEqual(set(tried), {None, "a:401>a"})
        self.assertTrue(1 <= len([t for t in tried if t]) <= 2, tried)  # once, and then it is left alone; two workers may meet it at once
        records = wait_for(lambda: len(self.stack.records()) == 6 and self.stack.records(), "six records")
        self.assertEqual({(r["outcome"], r["provider"]) for r in records}, {("ok", "a")})

    def test_in_turn(self):
        seen = collections.Counter()

        def serve(conn):
            while (request := conn.request()):
                seen[request.header("authorization")] += 1
                conn.send(ANSWER)
        with Provider(serve) as p:
            self.stack.apply(HEAD.replace("$SIM, $A", f'"http://127.0.0.1:{p.port}/v1", credentials: [sim, other]') + model("m", "a x"))
            self.stack.wait_ready()
            with self.stack.connect("unix") as wire:  # one connection, so one worker
                for _ in range(20):
                    self.assertEqual(wire.call("/v1/chat/completions", {"model": "m", "messages": []}).status, 200)
        self.assertEqual(seen, {f"Bearer {GOOD}": 10, f"Bearer {OTHER}": 10})

    def test_a_secret_that_is_not_there_is_left_out(self):
        self.apply(model("m", "a sim-a"), provider="credentials: [nobody, sim]")
        self.assertEqual([(a.status, a.header("x-aigw-attempts")) for a in (self.ask() for _ in range(4))], [(200, None)] * 4)
        self.apply(model("m", "a sim-a"), provider="credentials: [nobody, noone]")
        a = self.ask()
        self.assertEqual(a.json()["error"]["code"], "upstream_no_credential")
        self.assertIn("'nobody', nor another one for this provider", a.json()["error"]["message"])
        self.assertEqual(self.stack.agent_stat("providers/a/credentials"), "nobody state=no_credential recover_in_ms=-1\nnoone state=no_credential recover_in_ms=-1\n")
        self.assertIn(" state=no_credential recover_in_ms=-1 ", self.stack.agent_stat("models/m/targets"))
        status = self.stack.api("GET", "/api/v1/status")
        self.assertEqual([c["name"] for c in next(p for p in status["providers"] if p["name"] == "a")["credentials"]], ["nobody", "noone"])

    def test_the_controller_hears_of_all(self):
        rows = "".join(f"  - {{name: p{p}, type: openai, credentials: [same, {', '.join(f'c{p}-{k}' for k in range(15))}]}}\n" for p in range(6))
        os.mkdir(self.stack.path("secrets.d"))
        with open(os.open(self.stack.path("secrets.d", "c5-14"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(GOOD)
        self.stack.agent_settings["secrets_dir"] = self.stack.path("secrets.d")
        self.stack.apply(HEAD.replace("$A", "credential: sim").replace("providers:\n", "providers:\n" + rows) + model("m", "a sim-a"))
        self.stack.end(self.stack.agent)
        self.stack.write_agent_settings()
        self.stack.start_agent()

        def sources():
            providers = {p["name"]: p["credentials"] for p in self.stack.api("GET", "/api/v1/status")["providers"]}
            return [list(providers[name][at]["sources"].values()) for name, at in (("p5", 15), ("p5", 14), ("p0", 0), ("b", 0))]
        wait_for(lambda: sources() == [["secrets_dir"], ["none"], ["none"], ["cache"]], "each has its source")

    def test_all_are_refused(self):
        self.apply(model("m", "a sim-a", "b sim-b"), provider="credentials: [wrong, other]")
        a = self.ask()
        self.assertEqual((a.status, a.header("x-aigw-fallback")), (200, "a:401>a:401>b"))
        self.assertEqual(self.ask().header("x-aigw-fallback"), None)
        self.assertEqual(self.standing(), {"wrong": "no_credential", "other": "no_credential"})
        self.stack.api("PUT", "/api/v1/secrets/other", {"value": GOOD})  # rotated: it deserves a try
        wait_for(lambda: self.ask().header("x-aigw-provider") == "a", "the new secret serves")
        self.assertEqual(self.standing(), {"wrong": "no_credential", "other": "ok"})


class Refused(Case):
    def test_it_is_left_alone_until_its_own_secret_is_set_anew(self):
        self.apply(model("m", "a sim-f+fail-403", "b sim-b"), model("n", "c sim-g+fail-401", "b sim-b"), provider="credential: one")

        def trails():
            seen = [self.ask(name) for name in ("m", "n")]
            self.assertEqual([a.status for a in seen], [200, 200])
            return [a.header("x-aigw-fallback") for a in seen]
        began = time.monotonic()
        self.assertEqual([trails(), trails()], [["a:403>b", "c:401>b"], [None, None]])
        self.stack.api("PUT", "/api/v1/secrets/two", {"value": GOOD})
        wait_for(lambda: trails() == [None, "c:401>b"], "that one alone is tried again")
        self.assertEqual(trails(), [None, None])
        self.stack.api("PUT", "/api/v1/secrets/one", {"value": GOOD})
        wait_for(lambda: trails() == ["a:403>b", None], "that one alone is tried again")
        self.assertLess(time.monotonic() - began, 30)  # not by itself

    def test_the_log_names_it_once(self):
        """Also where the next one answers: nobody would ever know."""
        self.apply(model("m", "a sim-f+fail-401+times-1"), provider="credentials: [one, two]")
        self.assertEqual([self.ask().header("x-aigw-fallback") for _ in range(4)], ["a:401>a", None, None, None])
        with open(self.stack.path("agentd.log"), encoding="utf-8") as f:
            lines = [line for line in f if "event=provider.auth_failed" in line]
        self.assertEqual(len(lines), 1)
        self.assertIn(" provider=a credential=one status=401 model=sim-f", lines[0])


class Within(Case):
    """An error behind the first content: the client is told at once, and it means what it means elsewhere."""

    def state(self):
        return self.stack.agent_stat("models/m/targets").split("state=")[1].split()[0]

    def told(self, code, n=1, **more):
        self.apply(model("m", f"a sim-{len(self.stack.sim_log())}+tokens-20+error-event-5+code-{code}"), provider="credential: sim", health="open_after: 3")
        for _ in range(n):
            a = self.ask(stream=True, **more)
            events = a.events()
            errors = [e["error"] for e in events if "error" in e]
            self.assertEqual((a.status, a.whole, len(errors), "error" in events[-1]), (200, True, 1, True), a.body[-400:])
            self.assertEqual(sum(bool(e.get("choices") and e["choices"][0]["delta"].get("content")) for e in events), 5)
        record = wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")
        self.assertEqual(record["outcome"], "cut")
        return errors[0]["code"], record["fail"], self.state()

    def test_the_gateways_own_credential_is_nobodys_business(self):
        """Not its empty account, which a client would take for its own."""
        self.assertEqual(self.told("insufficient_quota"), ("upstream_quota", "upstream_quota", "provider_quota"))
        self.stack.api("PUT", "/api/v1/secrets/sim", {"value": OTHER})
        wait_for(lambda: self.standing() == {"sim": "ok"}, "the new secret")
        self.assertEqual(self.told("invalid_api_key"), ("upstream_auth_failed", "upstream_auth_failed", "no_credential"))

    def test_others(self):
        """A caller's fault says nothing of the target, a limit holds it, and what it could not do counts."""
        for code, state in (("content_filter", "ok"), ("rate_limit_exceeded", "rate_limited"), ("server_error", "open")):
            with self.subTest(code):
                self.assertEqual(self.told(code, 1 if state == "rate_limited" else 3), (code, "upstream_error", state))


    def test_of_the_responses_api(self):
        """An answer that says it has failed is none, and one error is enough."""
        def say(kind, **members):
            return chunk(b"event: " + kind.encode() + b"\n" + event({"type": kind, **members}))
        error = {"code": "server_error", "message": "m"}
        failed = lambda code: say("response.failed", response={"id": "r", "error": {**error, "code": code}})
        for end, outcome, word in ((failed("server_error"), "cut", b"response.failed"), (say("error", **error), "cut", b"event: error"),
                                    (chunk(b"event: error\n" + event({"error": error})), "cut", b"event: error"),
                                    (failed("insufficient_quota"), "cut", b'"code":"upstream_quota"'), (say("response.incomplete", response={"id": "r"}), "ok", b"response.incomplete"),
                                    (say("response.completed", response={"id": "r"}), "ok", b"response.completed")):
            def serve(conn):
                conn.request()
                conn.send(SSE_HEAD + say("response.output_text.delta", delta="a") + end + chunk(b""))
                conn.gone()
            with Provider(serve) as p, self.subTest(end):
                self.stack.apply(HEAD.replace("$SIM, $A", f'"http://127.0.0.1:{p.port}/v1", credential: sim') + model("m", "a x"))
                self.stack.wait_ready()
                a = self.stack.call("/v1/responses", {"model": "m", "input": "x", "stream": True})
                record = wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == a.header("x-request-id")), None), "its record")
                ends = [w for w in (b"response.failed", b"event: error", b'"code":"', b"response.incomplete", b"response.completed") if w in a.body]
                self.assertEqual((a.whole, record["outcome"], len(ends), word in a.body), (True, outcome, 1, True), a.body)


class Quota(Case):
    def test_s21_of_one_credential(self):
        """An empty account is one credential's: the next one of the same provider goes on."""
        self.apply(model("m", "a sim-q+fail-429+code-insufficient_quota+times-1"), provider="credentials: [one, two]")
        self.assertEqual([(a.status, a.header("x-aigw-fallback")) for a in (self.ask(), self.ask(), self.ask())], [(200, "a:429>a"), (200, None), (200, None)])
        self.assertEqual(self.standing(), {"one": "provider_quota", "two": "ok"})

    def test_a_limit_is_a_credentials_at_this_target(self):
        self.apply(model("m", "a sim-r+fail-429+retry-after-60+times-1"), model("n", "a sim-n"), provider="credentials: [one, two]")
        began = time.monotonic()
        self.assertEqual([a.header("x-aigw-fallback") for a in (self.ask(), self.ask())], ["a:429>a", None])
        self.assertLess(time.monotonic() - began, 30)  # not waited for
        state = [dict(w.split("=", 1) for w in self.stack.agent_stat(f"models/{m}/targets").split()[1:])["state"] for m in ("m", "n")]
        self.assertEqual(state, ["ok", "ok"])
        self.apply(model("m", "a sim-s+fail-429+retry-after-60", "b sim-b"), provider="credentials: [one, two]")
        self.assertEqual(self.ask().header("x-aigw-fallback"), "a:429>a:429>b")
        state = [line.split("state=")[1].split()[0] for line in self.stack.agent_stat("models/m/targets").splitlines()]
        self.assertEqual(state, ["rate_limited", "ok"])


if __name__ == "__main__":
    unittest.main()
