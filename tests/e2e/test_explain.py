"""What became of a call, and why: aigwctl explain request for each kind of call, in words.

Usage: test_explain.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import json
import os
import random
import re
import subprocess
import sys
import unittest
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import CHAT, Provider, answer_bytes  # noqa: E402
from wire import Wire  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")
RETRY = "retry: {attempts: 3, backoff: 1ms, budget: 100%}"

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim, timeouts: {connect: 1s, first_byte: 400ms, idle: 400ms}, health: {open_after: 1000}}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: two, type: openai-compatible, base_url: $SIM, credentials: [wrong, sim]}
  - {name: frail, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 1, half_open_after: 1h}}
  - {name: half, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 1, half_open_after: 1h, max_ejected: 50%}}
  - {name: weak, type: openai-compatible, base_url: $SIM, credential: sim, health: {open_after: 1, half_open_after: 1h}}
  - {name: keyless, type: openai-compatible, base_url: $SIM, credential: nobody}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
prices:
  - {provider: b, model: "*", from: 2020-01-01, input: 1, output: 2}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: lone, targets: [{provider: b, model: sim-b}]}
"""


def pair(name, first, second="{provider: b, model: sim-b, priority: 2}", more=""):
    return f"  - {{name: {name}, targets: [{first}, {second}], {RETRY}{more}}}\n"


def a(behaviour, provider="a"):
    return f'{{provider: {provider}, model: "{behaviour}"}}'


BOTH = "{provider: b, model: sim-b}"
# name: (a row of the policy, members of the request, what the story says between `accepted` and `done`, how it ends)
KINDS = {
    "lone": ("", {}, ["route: lone -> b (the only target)", "first byte: b after T"], "ok 200"),
    "weight-0": (pair("weight-0", '{provider: b, model: sim-b, weight: 1000}', '{provider: a, model: sim-a, weight: 0}'), {},
                 ["route: weight-0 -> b/sim-b (the only choice of its priority); left out: a/sim-a (weight 0)", "first byte: b after T"], "ok 200"),
    "weight": (pair("weight", BOTH, "{provider: b, model: sim-c}"), {},
               ["route: weight -> b/sim-b (drawn by weight), b/sim-c (drawn by weight)", "first byte: b after T"], "ok 200"),
    "sticky": (pair("sticky", BOTH, "{provider: b, model: sim-c}", ", sticky: user"), {"user": "u"},
               ["route: sticky -> b/sim-b (sticky), b/sim-c (sticky)", "first byte: b after T"], "ok 200"),
    "order": (pair("order", BOTH, "{provider: a, model: sim-a}", ", strategy: priority"), {},
              ["route: order -> b/sim-b (in the file's order), a/sim-a (in the file's order)", "first byte: b after T"], "ok 200"),
    "cheapest": (pair("cheapest", "{provider: a, model: sim-a}", BOTH, ", strategy: cheapest"), {},
                 ["route: cheapest -> a/sim-a (cheapest first), b/sim-b (cheapest first)", "first byte: b after T"], "ok 200"),
    "fastest": (pair("fastest", BOTH, "{provider: b, model: sim-c}", ", strategy: fastest"), {},
                ["route: fastest -> b/sim-b (fastest first), b/sim-c (fastest first)", "first byte: b after T"], "ok 200"),
    "least-busy": (pair("least-busy", BOTH, "{provider: b, model: sim-c}", ", strategy: least_busy"), {},
                   ["route: least-busy -> b/sim-b (least busy first), b/sim-c (least busy first)", "first byte: b after T"], "ok 200"),
    "headroom": (pair("headroom", BOTH, "{provider: b, model: sim-c}", ", strategy: headroom"), {},
                 ["route: headroom -> b/sim-b (most headroom first), b/sim-c (most headroom first)", "first byte: b after T"], "ok 200"),
    "lacks": (pair("lacks", "{provider: a, model: sim-a, capabilities: [chat]}"), {"reasoning_effort": "low"},
              ["route: lacks -> b/sim-b (the only choice of its priority); left out: a/sim-a (lacks a capability)", "first byte: b after T"], "ok 200"),
    "tags": (pair("tags", "{provider: a, model: sim-a}", "{provider: b, model: sim-b, tags: [eu]}", ", require_tags: [eu]"), {},
             ["route: tags -> b/sim-b (the only choice of its priority); left out: a/sim-a (lacks a required tag)", "first byte: b after T"], "ok 200"),
    "small": (pair("small", "{provider: a, model: sim-a, context_window: 10}"), {},
              ["route: small -> b/sim-b (the only choice of its priority); left out: a/sim-a (too small)", "first byte: b after T"], "ok 200"),
    "keyless": (pair("keyless", a("x", "keyless")), {},
                ["route: keyless -> b/sim-b (the only choice of its priority); left out: keyless/x (no_credential)", "first byte: b after T"], "ok 200"),
    "none": (pair("none", a("sim-a"), BOTH, ", require_tags: [moon]"), {},
             ["route: none -> no target; left out: a/sim-a (lacks a required tag), b/sim-b (lacks a required tag)"], "refused:no_eligible_target 403"),
    "status": (pair("status", a("sim-1+fail-503")), {}, ["upstream: a/sim-1+fail-503: status 503 (transient) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "limited": (pair("limited", a("sim-2+fail-429")), {}, ["upstream: a/sim-2+fail-429: status 429 (rate_limited) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "reset": (pair("reset", a("sim-3+fail-reset")), {}, ["upstream: a/sim-3+fail-reset: closed_early (transient) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "timeout": (pair("timeout", a("sim-4+fail-hang")), {}, ["upstream: a/sim-4+fail-hang: timeout_first_byte (transient) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "long": (pair("long", a("sim-5+fail-400+code-context_length_exceeded")), {},
             ["upstream: a/sim-5+fail-400+code-context_length_exceeded: status 400 (context_length) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "unsupported": (pair("unsupported", a("sim-6+fail-404")), {}, ["upstream: a/sim-6+fail-404: status 404 (unsupported_operation) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "quota": (pair("quota", a("sim-7+fail-402", "frail")), {}, ["upstream: frail/sim-7+fail-402: status 402 (provider_quota) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "caller": (pair("caller", a("sim-8+fail-422")), {}, ["upstream: a/sim-8+fail-422: status 422 (caller_fault), no other try", "first byte: a after T"], "failed:upstream_error 422"),
    "again": (f'  - {{name: again, targets: [{a("sim-9+fail-500+times-1")}], {RETRY}}}\n', {},
              ["route: again -> a/sim-9+fail-500+times-1 (the only target)", "upstream: a/sim-9+fail-500+times-1: status 500 (transient) -> a/sim-9+fail-500+times-1 after T",
               "first byte: a after T"], "ok 200"),
    "unreachable": (f'  - {{name: unreachable, targets: [{a("x", "nobody")}]}}\n', {},
                    ["route: unreachable -> nobody/x (the only target)", "upstream: nobody/x: no_connection (transient), no other try"], "failed:upstream_unavailable 503"),
    "event": (pair("event", a("sim-11+error-event-0")), {"stream": True}, ["upstream: a/sim-11+error-event-0: status 502 (transient) -> b/sim-b", "first byte: b after T"], "ok 200"),
    "credential": (pair("credential", a("sim-b", "two")), {},
                   ["upstream: two/sim-b: status 401 (provider_auth) -> the same with another credential", "first byte: two after T"], "ok 200"),
}


class Requests(unittest.TestCase):
    maxDiff = None

    POLICY = HEAD + "".join(row for row, *_ in KINDS.values()) + pair("open", a("sim-12+fail-503", "frail")) + \
        pair("kept", a("sim-13+fail-503", "half"), a("sim-14+fail-503", "half"), ", strategy: priority") + \
        pair("best", a("sim-15+fail-503", "weak"), a("sim-16+fail-503", "weak"), ", strategy: priority, when_all_out: try_best") + \
        pair("drained", "{provider: a, model: sim-a}") + pair("at-limit", a("sim-17+fail-429+retry-after-60"))

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, cls.POLICY, expected=["event=provider.quota"],
                                                secrets={"sim": "sk-provider-0123456789", "wrong": "sk-wrong-0123456789"}, sim=["--require-key", "sk-provider-0123456789"]))

    def aigwctl(self, *args):
        return subprocess.run([AIGWCTL, "--agent", self.stack.path("control.sock"), *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def story(self, request_id):
        """Lines without their times; spans of time are T."""
        wait_for(lambda: self.aigwctl("explain", "request", request_id).returncode != 3, "the call is settled")
        text = self.aigwctl("explain", "request", request_id).stdout
        lines = []
        for line in text.splitlines():
            self.assertRegex(line, r"^\d\d:\d\d:\d\d\.\d\d\d  ")
            what, said = re.match(r"(\S+(?: \S+)*)\s{2,}(.*)", line[14:]).groups()
            lines.append(f"{what}: {re.sub(r'[0-9.]+ m?s$', 'T', said)}")
        return lines

    def test_each_kind(self):
        for name, (_, members, between, end) in KINDS.items():
            with self.subTest(name):
                answer = self.stack.chat(name, way="unix", **members)
                got = self.story(answer.header("x-request-id"))
                self.assertEqual(got[0], f"accepted: uid:{os.getuid()} -> project search")
                if not any(line.startswith("route") for line in between):
                    between = [got[1], *between]
                    self.assertIn("(the only choice of its priority), b/sim-b (the only choice of its priority)", got[1])
                self.assertEqual(got[1:-1], between)
                self.assertTrue(got[-1].startswith(f"done: {end}  in "), got[-1])

    def test_an_open_circuit(self):
        self.stack.chat("open", way="unix")
        got = self.story(self.stack.chat("open", way="unix").header("x-request-id"))
        self.assertIn("route: open -> b/sim-b (the only choice of its priority); left out: frail/sim-12+fail-503 (open)", got)

    def test_targets_that_are_out(self):
        """Each reason that a call before, or an operator, is to blame for."""
        self.assertEqual(self.aigwctl("model", "disable", "drained", "--target", "a/sim-a").returncode, 0)
        for model, want in (("kept", "half/sim-13+fail-503 (its circuit is open, as are too many: max_ejected); left out: half/sim-14+fail-503 (open)"),
                            ("best", "weak/sim-15+fail-503 (all are out, this one is back soonest); left out: weak/sim-16+fail-503 (open)"),
                            ("drained", "b/sim-b (the only choice of its priority); left out: a/sim-a (drained)"),
                            ("at-limit", "b/sim-b (the only choice of its priority); left out: a/sim-17+fail-429+retry-after-60 (rate_limited)")):
            with self.subTest(model):
                self.stack.chat(model, way="unix")
                got = self.story(self.stack.chat(model, way="unix").header("x-request-id"))
                self.assertIn(f"route: {model} -> {want}", got)

    def test_as_json(self):
        answer = self.stack.chat("status", way="unix")
        self.story(answer.header("x-request-id"))
        got = json.loads(self.aigwctl("explain", "request", answer.header("x-request-id"), "-o", "json").stdout)
        self.assertEqual([t["provider"] for t in got["targets"]], ["a", "b"])
        self.assertEqual([(t["target"], t["status"], t["class"], t["next"]) for t in got["tries"]], [(0, 503, "transient", "fallback")])
        self.assertEqual((got["served"], got["outcome"], got["degraded"]), (1, "ok", False))
        self.assertEqual((got["failed_tries"], got["first_failure"]), (1, "a 503"))

    def test_tail_says_what_was_tried_before(self):
        for model, note in (("status", "retry: a 503"), ("timeout", "retry: a timeout_first_byte"), ("lone", "-")):
            request_id = self.stack.chat(model, way="unix").header("x-request-id")
            self.story(request_id)
            listed = json.loads(self.aigwctl("tail", "-o", "json", "--filter", f"request={request_id}").stdout)["calls"]
            self.assertEqual([(c["failed_tries"], c["first_failure"]) for c in listed], [(int(note != "-"), None if note == "-" else note[7:])])
            self.assertEqual(self.aigwctl("tail", "--no-header", "--filter", f"request={request_id}").stdout.split("  ")[-1].strip(), note)
            more = self.aigwctl("tail", "-o", "name", "--filter", "failed_tries>=1").stdout.split()
            self.assertEqual(request_id in more, note != "-")

    def test_what_is_not_there(self):
        for request_id, code, says in (("req_" + "0" * 26, 3, "no finished call"), ("hello", 2, "is no request id"), ("", 2, "is no request id")):
            r = self.aigwctl("explain", "request", request_id)
            self.assertEqual(r.returncode, code, r.stdout)
            self.assertIn(says, r.stdout)

    def test_good_traffic_does_not_push_trouble_out(self):
        bad = self.stack.chat("status", way="unix").header("x-request-id")
        with self.stack.connect("unix") as wire:
            for _ in range(4200):
                wire.call("/v1/chat/completions", {"model": "order", "messages": []})
        self.assertTrue(any("status 503" in line for line in self.story(bad)))


class Elsewhere(unittest.TestCase):
    """Calls that failed or fell back are explained by the controller, too: with the agent away, or on a host that has another."""

    POLICY = HEAD + pair("status", a("sim-1+fail-503")) + pair("order", BOTH, "{provider: a, model: sim-a}", ", strategy: priority")

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, self.POLICY))

    def aigwctl(self, *args, agent="control.sock", **env):
        env = {k: v for k, v in os.environ.items() if not k.startswith("AIGW_")} | {"AIGW_AGENT": self.stack.path(agent)} | env
        return subprocess.run([AIGWCTL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60, env=env)

    def ask(self, model="status", expected=0, **more):
        request = self.stack.chat(model, way="unix", **more).header("x-request-id")
        wait_for(lambda: self.aigwctl("explain", "request", request).returncode == 0, "the agent has it")
        return request

    def explained(self, request):
        ctl = "unix:" + self.stack.admin
        wait_for(lambda: self.aigwctl("explain", "request", request, "--ctl", ctl).returncode != 3, "the controller has it")
        return self.aigwctl("explain", "request", request, "--ctl", ctl)

    def test_the_same_text(self):
        request, good = self.ask(), self.ask("order")
        here = self.aigwctl("explain", "request", request)
        there = self.explained(request)
        self.assertEqual((here.returncode, here.stderr), (0, ""))
        self.assertEqual((there.returncode, there.stdout), (0, here.stdout))
        self.assertRegex(there.stderr, r"told by the controller: agent \S+ on host \S+\n$")
        self.assertIn("status 503 (transient) -> b/sim-b", there.stdout)
        # By itself, where this host's agent is away or another one.
        for agent in ("nobody.sock", "control.sock"):
            again = self.aigwctl("explain", "request", request, agent=agent, AIGW_CTL="unix:" + self.stack.admin)
            self.assertEqual((again.returncode, again.stdout), (0, here.stdout))
            self.assertEqual(again.stderr, there.stderr if agent == "nobody.sock" else "")
        # A call without trouble is not there; nor is one that never was.
        for unknown in (good, "req_" + "0" * 26):
            got = self.aigwctl("explain", "request", unknown, "--ctl", "unix:" + self.stack.admin)
            self.assertEqual((got.returncode, got.stdout), (3, ""))
            self.assertRegex(got.stderr, f"^aigwctl: error: the controller remembers no call {unknown}: agents tell it of those that failed or fell back")

    def test_whom_it_asks(self):
        request, ctl, other = self.ask(), "unix:" + self.stack.admin, "unix:" + self.stack.path("nobody.sock")
        self.explained(request)
        unknown = "req_" + "0" * 26
        for args, agent, env, code, said in (
                ((request, "--agent", self.stack.path("nobody.sock")), "control.sock", {"AIGW_CTL": ctl}, 6, "no agent"),
                ((request, "--ctl", other), "control.sock", {}, 6, "no controller"),
                ((request,), "nobody.sock", {"AIGW_CTL": other}, 6, "no agent"),
                ((unknown,), "control.sock", {"AIGW_CTL": other}, 3, "is remembered here"),
                ((unknown,), "control.sock", {"AIGW_CTL": ctl}, 3, "the controller remembers no call"),
                (("nonsense",), "control.sock", {"AIGW_CTL": ctl}, 2, "no request id"),
                (("nonsense", "--ctl", ctl), "control.sock", {}, 2, "no request id"),
                ((request, "--ctl", ctl, "--agent", self.stack.path("control.sock")), "control.sock", {}, 2, "one of both")):
            got = self.aigwctl("explain", "request", *args, agent=agent, **env)
            self.assertEqual((got.returncode, got.stdout), (code, ""), got.stderr)
            self.assertIn(said, got.stderr)

    def test_what_is_told_holds_no_secret(self):
        key = self.stack.make_key("search")
        answer = self.stack.chat("status", key=key, messages=[{"role": "user", "content": "a secret plan"}])
        request = answer.header("x-request-id")
        self.explained(request)
        told = self.stack.api("GET", "/api/v1/traces/" + request)
        text = json.dumps(told)
        for secret in (key, "sk-provider-0123456789", "secret plan"):
            self.assertNotIn(secret, text)
        self.assertRegex(told["caller"], "^key:key_")
        mine = json.loads(self.aigwctl("explain", "request", request, "-o", "json").stdout)
        self.assertEqual({k: v for k, v in told.items() if k not in ("agent", "host", "currency")}, mine)

    def test_the_controller_away_and_back(self):
        """It has forgotten, and is told anew; what happened meanwhile, too."""
        before = self.ask()
        here = self.explained(before)
        self.stack.kill(self.stack.ctld)
        meanwhile = self.ask()
        self.assertEqual(self.aigwctl("explain", "request", meanwhile, "--ctl", "unix:" + self.stack.admin).returncode, 6)
        self.stack.start_ctld()
        for request in (before, meanwhile):
            wait_for(lambda r=request: self.explained(r).returncode == 0, "it is told")
        self.assertEqual(self.explained(before).stdout, here.stdout)
        self.stack.kill(self.stack.agent)
        self.assertEqual(self.explained(before).stdout, here.stdout)  # the agent's end takes nothing away


class Try(unittest.TestCase):
    POLICY = HEAD + "".join(KINDS[name][0] for name in ("weight-0", "status", "caller", "none"))

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, cls.POLICY, sim=["--require-key", "sk-provider-0123456789"]))
        cls.key = cls.stack.make_key("search")

    def attempt(self, *args, code=0, key=None, agent=None):
        env = {**os.environ, "OPENAI_BASE_URL": f"http://127.0.0.1:{self.stack.port}/v1", "OPENAI_API_KEY": key or self.key}
        r = subprocess.run([AIGWCTL, "--agent", agent or self.stack.path("control.sock"), "try", *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        return re.sub(r"[0-9.]+ m?s\b", "T", r.stdout), r.stderr

    def test_who_answers(self):
        for model, who in (("lone", "b"), ("weight-0", "b/sim-b (the only choice of its priority)")):
            out, err = self.attempt(model)
            self.assertRegex(out, rf"\A{re.escape(who)}: ok 200 after T, first byte after T\nin \d+ \(cached 0\) out \d+  \$0\.\d+\n\Z")
            self.assertEqual(err, "")

    def test_after_a_failure(self):
        out, err = self.attempt("status")
        self.assertRegex(out, r"\Ab/sim-b \(the only choice of its priority\): ok 200 after T")
        self.assertIn("came to nothing before: 1; --show-route", err)
        out, _ = self.attempt("status", "--show-route")
        self.assertRegex(out, r"accepted +key:\S+ -> project search\n")
        self.assertIn("a/sim-1+fail-503: status 503 (transient) -> b/sim-b", out)

    def test_what_comes_to_nothing_is_told_too(self):
        out, err = self.attempt("caller", code=1)
        self.assertIn("a/sim-8+fail-422 (the only choice of its priority): failed 422 after T", out)
        out, err = self.attempt("none", code=4)
        self.assertIn("no target: refused 403 after T", out)
        self.assertIn("no_eligible_target", err)
        out, err = self.attempt("nobody", code=3)
        self.assertIn("does not exist here", err)
        out, err = self.attempt("lone", code=4, key="sk-aigw-wrong")
        self.assertNotIn("sk-aigw-wrong", out + err)

    def test_as_json(self):
        call = json.loads(self.attempt("status", "-o", "json")[0])
        self.assertEqual((call["model"], call["target"], call["status"], len(call["tries"])), ("status", "b", 200, 1))

    def test_the_wrong_agent_is_asked(self):
        r = self.attempt("lone", agent="/nonexistent/control.sock", code=6)
        self.assertIn("no agent", r[1])


class Routes(unittest.TestCase):
    """explain route says what would be decided, by the very function that decides."""
    maxDiff = None
    PAIRS = int(os.environ.get("AIGW_PAIRS", "10000"))
    PROVIDERS = "abcdefghijklm"
    # How some of them stand, all the time: busy, its circuit open, rate limited, drained, with little of its limit left, at its capacity.
    STANDS = {"a": "timeouts: {idle: 10m}", "i": "health: {open_after: 1, half_open_after: 1h}", "j": "", "k": "", "l": "",
              "m": "timeouts: {idle: 10m}, limits: {concurrency: 1}"}
    WAYS = ["strategy: priority", "strategy: cheapest", "sticky: user", "sticky: cache_key", "sticky: key", "sticky: header:x-session", "sticky: header:x-tenant",
            "strategy: weighted", "strategy: least_busy", "strategy: headroom", "strategy: fastest"]
    MODELS = 110

    @staticmethod
    def random_policy(chance):
        """Its text, and (model, provider) of all targets."""
        rows, keyless = [], chance.choice("bcdefgh")
        for p in Routes.PROVIDERS:
            credential = "nobody" if p == keyless else "sim"
            more = f", {Routes.STANDS[p]}" if Routes.STANDS.get(p) else ""
            rows.append(f'  - {{name: {p}, type: openai-compatible, base_url: {"$L" if p == "l" else "$SIM"}, credential: {credential}{more}}}')
        prices = [f'  - {{provider: {p}, model: "*", from: 2020-01-01, input: {chance.randint(1, 9)}, output: {chance.randint(1, 9)}}}' for p in Routes.PROVIDERS]
        models = [f"  - {{name: only-{p}, targets: [{{provider: {p}, model: sim-{p}}}], strategy: headroom, retry: {{attempts: 1}}}}" for p in Routes.STANDS]
        places = []
        for m in range(Routes.MODELS):
            way = Routes.WAYS[m % len(Routes.WAYS)]
            targets = []
            # The busy one, and the one with little left, where that matters.
            always = {"strategy: least_busy": ["a"], "strategy: headroom": ["l"]}.get(way, [])
            for p in dict.fromkeys(always + chance.sample(Routes.PROVIDERS, chance.choice([1, 2, 4, 6, 8, 10]))):
                more = [f"priority: {1 if p in always else chance.choice([1, 1, 1, 1, 2, 3])}"]
                if way.startswith("sticky") or way in ("strategy: weighted", "strategy: least_busy"):
                    more.append(f"weight: {chance.choice([0, 1, 50, 50, 100, 100])}")
                if chance.random() < 0.6:
                    more.append("tags: [" + ", ".join(chance.sample(["eu", "us", "baa"], chance.randint(1, 3))) + "]")
                if chance.random() < 0.2:
                    more.append("capabilities: [" + ", ".join(chance.choice([[], ["chat"], ["chat"], ["chat"]]) + chance.sample(["tools", "vision", "json_schema", "reasoning", "audio", "prefill"], chance.randint(1, 5))) + "]")
                if chance.random() < 0.15:
                    more.append(f"context_window: {chance.choice([20, 60, 200])}")
                if chance.random() < 0.15:
                    more.append(f"max_output_tokens: {chance.choice([10, 50])}")
                targets.append(f'{{provider: {p}, model: sim-{p}, {", ".join(more)}}}')
                places.append((f"m{m}", p))
            if "weight: " in targets[0] and all("weight: 0" in t for t in targets):
                targets[0] = targets[0].replace("weight: 0", "weight: 7")
            more = f", when_all_out: {chance.choice(['refuse', 'refuse', 'try_best'])}" + (", require_tags: [eu]" if chance.random() < 0.15 else "")
            models.append(f'  - {{name: m{m}, targets: [{", ".join(targets)}], {way}, retry: {{attempts: 1}}{more}}}')
        return "\n".join(["apiVersion: aigw/v1", "providers:", *rows, "prices:", *prices, "models:", *models, "customers:", "  - name: acme",
                          "    projects: [{name: search}]", "identities:", "  - {uid: $UID, project: search}", ""]), places

    def begin(self, chance):
        """An agent whose targets stand as STANDS says; some are disabled in one model."""
        def serve(conn):
            conn.request()
            conn.send(answer_bytes(CHAT, headers=[("x-ratelimit-limit-requests", "1000"), ("x-ratelimit-remaining-requests", "50"), ("x-ratelimit-reset-requests", "1h0m0s")]))
        policy, places = self.random_policy(chance)
        with Provider(serve) as told:
            stack = self.enterContext(Stack(BUILD, policy.replace("$L", f"http://127.0.0.1:{told.port}/v1")))
            self.assertEqual(stack.chat("only-l", way="unix").status, 200)
        stack.apply(policy.replace("$L", "$SIM"))
        stack.script({"sim-i": "fail-503", "sim-j": "fail-429+retry-after-3600"})
        self.assertEqual([stack.chat(f"only-{p}", way="unix").status for p in "ij"], [503, 429])
        for p in "am":
            held = self.enterContext(stack.connect("unix"))
            held.send("/v1/chat/completions", {"model": f"only-{p}", "stream": True, "sim": "tokens-3+hold-open", "messages": []})
            self.assertEqual(held.head().status, 200)
        for args in (["provider", "drain", "k"], ["model", "disable", "m1"], *(["model", "disable", m, "--target", f"{p}/sim-{p}"] for m, p in chance.sample(places, 16))):
            r = subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), *args], capture_output=True, text=True, timeout=60)
            self.assertEqual(r.returncode, 0, r)
        return stack

    @staticmethod
    def random_request(chance):
        body = {"model": f"m{chance.randrange(Routes.MODELS)}", "messages": [{"role": "user", "content": "x" * chance.choice([1, 100, 400])}]}
        if chance.random() < 0.3:
            body["tools"] = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
        if chance.random() < 0.2:
            body["reasoning_effort"] = "low"
        if chance.random() < 0.2:
            body["messages"].append({"role": "assistant", "content": "It"})
        if chance.random() < 0.4:
            body["max_tokens"] = chance.choice([5, 30, 90])
        if chance.random() < 0.7:
            body["user"] = f"u-{chance.randrange(50)}"
        if chance.random() < 0.3:
            body["prompt_cache_key"] = f"k-{chance.randrange(50)}"
        header = chance.choice(["x-session", "x-tenant", "X-Session"]), f"v {chance.randrange(50)}"
        return body, chance.choice(["", "", "", "", "eu", "us,baa", "moon"]), header, chance.choice(["uid", "uid", "one", "one", "two"])

    @staticmethod
    def lots(said):
        """{provider: odds} of those that may come first, by what was said."""
        first = said["plan"][0]
        if said["drawn_by"] == "chance" and first["odds_permille"] is not None:
            return {t["provider"]: t["odds_permille"] / 1000 for t in said["plan"] if t["priority"] == first["priority"] and t["odds_permille"] is not None}
        return {first["provider"]: 1}

    def test_the_same_decision(self):
        seed = int(os.environ.get("AIGW_SEED", random.randrange(1 << 30)))
        chance = random.Random(seed)
        stack = self.begin(chance)
        drawn, seen, count = collections.defaultdict(lambda: [0, 0, 0]), collections.Counter(), collections.Counter()
        with stack.connect("unix") as api, Wire(stack.path("control.sock"), timeout=60) as control:
            keys = {"one": stack.make_key("search", name="one"), "two": stack.make_key("search", name="two", require_tags="us")}
            ids = {k["name"]: k["id"] for k in stack.api("GET", "/api/v1/keys")["keys"]}
            wait_for(lambda: all(control.call(f"/v1/route?key={i}", {"model": "m0"}).status == 200 for i in ids.values()), "the agent's list has them")
            sent = sum(line["event"] == "recv" for line in stack.sim_log())
            for _ in range(self.PAIRS):
                body, tags, header, caller = self.random_request(chance)
                who = f"uid={os.getuid()}&project=search" if caller == "uid" else f"key={ids[caller]}"
                more = [("x-aigw-require-tags", tags)] if tags else []
                more += [("authorization", "Bearer " + keys[caller])] if caller in keys else []
                for again in 1, 0:
                    said = control.call(f"/v1/route?{who}&tags={tags}&header={header[0]}={urllib.parse.quote(header[1])}", body).json()
                    answer = api.call("/v1/chat/completions", body, [header, *more])
                    count["served" if said["plan"] else "refused"] += 1
                    provider, lots = answer.header("x-aigw-provider"), self.lots(said) if said["plan"] else {}
                    # Who has got the last byte of the call before may be quicker than its end is counted.
                    if not (again and lots and said["plan"][0]["why"] == "least_busy" and provider not in lots):
                        break
                with self.subTest(seed=seed, body=body, tags=tags, header=header, caller=caller, said=said):
                    if lots:
                        self.assertIn(provider, lots)
                        self.assertEqual(answer.status, {"i": 503, "j": 429}.get(provider, 200))
                    else:
                        self.assertEqual(answer.json()["error"]["code"], said["refused"])
                for p, odds in lots.items():
                    sums = drawn[said["plan"][0]["why"], p]
                    sums[:] = sums[0] + (p == provider) - odds, sums[1] + odds * (1 - odds), sums[2] + 1
                seen.update([t["why"] for t in said["plan"][:1]] + [t["state"] for t in said["left_out"] if t["why"] == "out"] + [f"drawn by {said['drawn_by']}"])
            for (why, p), (more_than_said, variance, n) in drawn.items():
                with self.subTest(seed=seed, why=why, provider=p, n=n):
                    self.assertLessEqual(abs(more_than_said), 5 * variance ** 0.5 + n / 1000 + 2)
            for what in ("weight", "sticky", "order", "cheapest", "fastest", "least_busy", "headroom", "alone", "back_soonest", "open", "rate_limited", "drained", "at_capacity",
                         "drawn by chance", "drawn by user", "drawn by caller", "drawn by header", "drawn by cache_key"):
                self.assertGreater(seen[what], 0, (seed, what, seen))
            self.assertGreater(count["served"], self.PAIRS / 4)
            self.assertGreater(count["refused"], self.PAIRS / 20)
            self.assertEqual(sum(line["event"] == "recv" for line in stack.sim_log()) - sent, count["served"])  # nothing but the calls was sent

    def test_what_is_drawn_and_by_what(self):
        """Odds, what the draw went by, and the same for the same."""
        two = "targets: [{{provider: a, model: sim-a, weight: 300}}, {{provider: b, model: sim-b}}, {{provider: two, model: sim-b, priority: 2, tags: [eu]}}]{}"
        policy = HEAD + "".join(f"  - {{name: {name}, {two.format(more)}}}\n" for name, more in (
            ("plain", ""), ("by-key", ", sticky: key"), ("by-user", ", sticky: user"), ("by-header", ", sticky: header:x-session"), ("by-cache", ", sticky: cache_key")))
        policy = policy.replace("projects: [{name: search}]", "projects: [{name: search}, {name: lab, models: [plain]}]")
        with Stack(BUILD, policy) as stack:
            def ctl(*args, code=0):
                r = subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), "explain", "route", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                self.assertEqual(r.returncode, code, r.stdout)
                return r.stdout
            stack.make_key("search", name="one")
            stack.make_key("lab", name="two", require_tags="eu")
            stack.make_key("search", name="gone")
            ids = {k["name"]: k["id"] for k in stack.api("GET", "/api/v1/keys")["keys"]}
            stack.api("POST", f"/api/v1/keys/{ids['gone']}/revoke", {})
            wait_for(lambda: subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), "agent", "stats", "cat", f"keys/{ids['gone']}/state"], capture_output=True, text=True,
                                            timeout=60).stdout == "revoked\n", "the agent's list has them")
            # The third is alone with its priority: nothing is drawn there.
            self.assertRegex(ctl("plain", "--project", "search"), r"(?s)\Aplain for project search, revision 1\n    1  (a/sim-a  drawn by weight \(75.0% of priority 1\)\n    2  "
                             r"b/sim-b  drawn by weight \(25.0% of priority 1\)|b/sim-b  drawn by weight \(25.0% of priority 1\)\n    2  a/sim-a  drawn by weight \(75.0% of priority 1\))\n"
                             r"    3  two/sim-b  the only choice of its priority\ndrawn by chance: another call may go otherwise\n\Z")
            firsts = {json.loads(ctl("plain", "--project", "search", "-o", "json"))["plan"][0]["provider"] for _ in range(60)}
            self.assertEqual(firsts, {"a", "b"})
            for model, how, by in (("by-key", ("--key", "KEY"), "the caller"), ("by-user", ("--user", "N"), "the end user"), ("by-user", ("--uid", "N"), "the caller"),
                                   ("by-header", ("--header", "X-Session=N"), "the header's value"), ("by-cache", ("--cache-key", "N"), "the prompt's cache key"),
                                   ("by-cache", ("--user", "N"), "the end user"), ("by-cache", ("--uid", "N"), "the caller")):
                firsts = set()
                for n in range(1 if how[0] == "--key" else 40):
                    args = (how[0], ids["one"] if how[1] == "KEY" else how[1].replace("N", str(n)))
                    args += () if how[0] == "--key" else ("--project", "search")
                    got = ctl(model, *args)
                    self.assertIn(f"drawn for {by}: the same", got)
                    self.assertEqual(got, ctl(model, *args))
                    firsts.add(got.splitlines()[1])
                self.assertEqual(len(firsts), 1 if how[0] == "--key" else 2, (model, how))
            self.assertIn("drawn by chance, since the request has nothing that the model is sticky by", ctl("by-header", "--project", "search"))
            self.assertIn("a/sim-a  lacks a required tag", ctl("plain", "--key", ids["two"]))
            self.assertIn("refused: model_not_allowed", ctl("by-key", "--key", ids["two"]))
            self.assertIn("lacks a required tag", ctl("plain", "--project", "search", "--header", "x-aigw-require-tags=moon"))
            for args, code, said in ((("--key", ids["gone"]), 5, "is revoked: its calls are refused"), (("--key", "key_nope"), 3, "knows no key 'key_nope'"),
                                     (("--key", ids["one"], "--project", "lab"), 2, None), (("--key", ids["one"], "--uid", "1"), 2, "key or uid"),
                                     (("--project", "search", "--uid", "x"), 2, "uid is a number"), (("--project", "search", "--header", "x-session"), 2, "NAME=VALUE"),
                                     (("--project", "search", "--header", "x-other=1"), 2, "sticky by a header 'x-other'")):
                got = ctl("plain", *args, code=code if said else 5)
                self.assertIn(said or "is of the project 'search', not 'lab'", got)
            self.assertEqual(stack.sim_log(), [])

    def test_in_words(self):
        policy = HEAD + pair("m", a("sim-a"), "{provider: b, model: sim-b, priority: 2, tags: [eu]}") + pair("t", "{provider: a, model: sim-a, capabilities: [vision]}")
        with Stack(BUILD, policy) as stack:
            def ctl(*args):
                r = subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), "explain", "route", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
                return r.returncode, r.stdout
            self.assertEqual(ctl("m", "--project", "search"), (0, "m for project search, revision 1\n    1  a/sim-a  the only choice of its priority\n    2  b/sim-b  the only choice of its priority\n"))
            self.assertEqual(ctl("m", "--project", "search", "--require-tags", "eu"),
                             (0, "m for project search, revision 1\n    1  b/sim-b  the only choice of its priority\n    -  a/sim-a  lacks a required tag\n"))
            self.assertEqual(ctl("m", "--project", "search", "--require-tags", "moon")[1].splitlines()[-1], "refused: no_eligible_target  (aigwctl explain no_eligible_target)")
            for needs in ("tools", "parallel_tools", "json_schema", "audio", "reasoning", "prefill"):
                self.assertIn("    -  a/sim-a  lacks a capability", ctl("t", "--project", "search", "--needs", needs)[1], needs)
            self.assertNotIn("lacks", ctl("t", "--project", "search", "--needs", "vision")[1])
            self.assertEqual(json.loads(ctl("m", "--project", "search", "-o", "json")[1])["plan"][0]["why"], "alone")
            for args in (("m", "--project", "search"), ("t", "--project", "search", "--needs", "tools")):
                r = subprocess.run([AIGWCTL, "--agent", stack.path("control.sock"), "model", "route", *args], capture_output=True, text=True, timeout=60)
                self.assertEqual((r.returncode, r.stdout), ctl(*args))
            for args, code, says in ((("nothing", "--project", "search"), 3, "no model 'nothing'; aigwctl model list"), (("m", "--project", "nobody"), 3, "no project 'nobody'"), (("m",), 2, "--project P, or --key ID"),
                                     (("m", "--project", "search", "--needs", "wings"), 2, "write some of tools"), (("m", "--project", "search", "--output-tokens", "x"), 2, "must be a number"),
                                     (("m", "--project", "search", "--endpoint", "walk"), 2, "no endpoint 'walk'; there are: chat, completions, embeddings,"), (("m", "--project", "search", "--input-tokens", "x"), 2, "is a number")):
                got = ctl(*args)
                self.assertEqual(got[0], code, got)
                self.assertIn(says, got[1])
            self.assertEqual(stack.sim_log(), [])


if __name__ == "__main__":
    unittest.main()
