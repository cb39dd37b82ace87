"""Active probes (health.probe of a provider), and those by hand: aigwctl provider test.

Usage: test_probes.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, Provider, answer_bytes  # noqa: E402
from wire import Wire  # noqa: E402

BUILD = build_root()
ONE, TWO = "sk-one-CANARY-0123456789", "sk-two-CANARY-0123456789"
LIST = answer_bytes({"object": "list", "data": []})

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: a, type: openai-compatible, base_url: "$BASE", $KEYS, timeouts: {connect: 2s, first_byte: 20s}, health: {$HEALTH}}
  - {name: b, type: openai-compatible, base_url: $SIM$OTHER}
prices: []
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, strategy: priority, targets: [{provider: a, model: x}, {provider: b, model: sim-b}]}
  - {name: n, strategy: priority, targets: [{provider: a, model: x}, {provider: a, model: y}, {provider: b, model: sim-b}]}
"""


def error(status, **members):
    return answer_bytes({"error": {"message": "for reasons of its own", **members}}, status=status)


class Upstream(Provider):
    """Answers by rule: `listing` and `chatting` are answers, or functions of the key. What was asked stands in `gets` and `posts`."""

    def __init__(self, listing=LIST, chatting=ANSWER):
        self.listing, self.chatting, self.gets, self.posts = listing, chatting, [], []
        self.lock = threading.Lock()
        super().__init__(serve=self.answer)

    def answer(self, conn):
        while (request := conn.request()):
            key = (request.header("authorization") or "")[len("Bearer "):]
            method, path, _ = request.line.split()
            with self.lock:
                (self.gets if method == "GET" else self.posts).append((key, path, time.monotonic(), request))
            rule = self.listing if method == "GET" else self.chatting
            answer = rule(key) if callable(rule) else rule
            conn.send(answer)


class Case(unittest.TestCase):
    maxDiff = None
    HEALTH = "probe: models, every: 1s, open_after: 2, half_open_after: 1s"
    KEYS = "credential: one"

    def setUp(self):
        self.up = self.enterContext(Upstream())
        self.stack = self.enterContext(Stack(BUILD, None, secrets={"one": ONE, "two": TWO},
                                             expected=["event=provider.quota"]))

    def apply(self, health=None, keys=None, base=None, other=""):
        self.stack.apply(POLICY.replace("$BASE", base or f"http://127.0.0.1:{self.up.port}/v1").replace("$KEYS", keys or self.KEYS)
                         .replace("$HEALTH", self.HEALTH if health is None else health).replace("$OTHER", other))
        self.stack.wait_ready()

    def ask(self, name="m"):
        a = self.stack.chat(name, way="unix")
        self.assertEqual(a.status, 200)
        return a.header("x-aigw-provider"), a.header("x-aigw-fallback")

    def rows(self, path):
        return {line.split()[0]: dict(word.split("=", 1) for word in line.split()[1:]) for line in self.stack.agent_stat(path).splitlines()}

    def probes(self, provider="a"):
        return self.rows(f"providers/{provider}/probe")

    def state(self, name="one"):
        return self.rows("providers/a/credentials")[name]["state"]

    def circuits(self, name="n"):
        return [line.split("state=")[1].split()[0] for line in self.stack.agent_stat(f"models/{name}/targets").splitlines()]

    def logged(self, event):
        with open(self.stack.path("agentd.log"), encoding="utf-8") as f:
            return [line for line in f if f"event={event} " in line]

    def later(self, n, provider="a"):
        """So many probes more have been asked for and have ended."""
        def ended():
            return sum(int(p["good"]) + int(p["others"]) for p in self.probes(provider).values())
        before = ended()
        wait_for(lambda: ended() >= before + n, f"{n} probes more")

    def ctl(self, *args, code=0):
        got = subprocess.run([os.path.join(BUILD, "ctl/aigwctl/aigwctl"), *args, "--agent", self.stack.path("control.sock")],
                             capture_output=True, text=True, timeout=60, check=False)
        if code is None:
            return got.returncode == 0
        self.assertEqual(got.returncode, code, got)
        for word in ("CANARY", "sk-", "reasons of its own"):
            self.assertNotIn(word, got.stdout + got.stderr)
        return got.stdout if "json" in args else got.stdout + got.stderr

    def by_hand(self, *args, code=0):
        got = json.loads(self.ctl("provider", "test", "a", *args, "-o", "json", code=code))
        return got["credentials"] if len(got["credentials"]) > 1 else got["credentials"][0]


class Asking(Case):
    KEYS = "credentials: [one, two]"

    def test_each_credential_is_asked_by_one_of_all_threads(self):
        self.apply(health="open_after: 2")
        self.stack.agent_settings["workers"] = 4
        self.stack.end(self.stack.agent)
        self.stack.start_agent()
        self.stack.wait_agent()
        began = time.monotonic()
        self.apply()
        wait_for(lambda: min(sum(g[0] == key for g in self.up.gets) for key in (ONE, TWO)) >= 4, "each was asked often")
        took, gets = time.monotonic() - began, list(self.up.gets)
        self.assertEqual({g[0] for g in gets}, {ONE, TWO})
        self.assertEqual({g[1] for g in gets}, {"/v1/models"})
        self.assertEqual({g[3].header("connection") for g in gets}, {"close"})
        for key in (ONE, TWO):  # not one of each thread
            self.assertLessEqual(sum(g[0] == key for g in gets), took / 0.9 + 2)
        self.assertEqual((self.up.posts, self.stack.sim_log()), ([], []))
        self.assertEqual({k: (p["last"], p["status"], p["reason"]) for k, p in self.probes().items()}, {"one": ("good", "200", "-"), "two": ("good", "200", "-")})
        self.assertEqual(self.stack.agent_stat("providers/b/probe"), "")
        metrics = self.stack.call("/metrics", method="GET").body.decode()
        self.assertRegex(metrics, r'aigw_provider_probes_total\{provider="a",result="good"\} [1-9]')
        self.assertIn('aigw_provider_probes_total{provider="b",result="good"} 0', metrics)
        rows = json.loads(self.ctl("provider", "status", "-o", "json"))["providers"]
        self.assertEqual([(r["name"], r["probe"]) for r in rows], [("a", "good"), ("b", None)])
        self.assertEqual(self.logged("probe.good") + self.logged("probe.failed"), [])  # nothing has changed

    def test_none_is_sent_unless_it_is_asked_for(self):
        self.apply(health="open_after: 2")
        self.assertEqual(self.ask(), ("a", None))
        self.assertEqual(self.stack.agent_stat("providers/a/probe"), "")
        self.apply()
        wait_for(lambda: self.up.gets, "it is asked now")
        self.apply(health="open_after: 2", other=", health: {probe: models, every: 1s}")
        self.later(1, "b")  # behind one that was on its way
        n = len(self.up.gets)
        self.later(3, "b")  # the clock of these is that of those that must not be
        self.assertEqual(len(self.up.gets), n)

    def test_every_is_kept(self):
        self.apply(health="probe: models, every: 1h", other=", health: {probe: models, every: 1s}")
        wait_for(lambda: len(self.up.gets) == 2, "the first of each")
        self.later(3, "b")
        self.assertEqual(len(self.up.gets), 2)
        self.stack.api("PUT", "/api/v1/secrets/two", {"value": "sk-fresh-CANARY-0123456789"})
        wait_for(lambda: [g[0] for g in self.up.gets[2:]] == ["sk-fresh-CANARY-0123456789"], "a new secret is asked about at once, and it alone")

    def test_those_on_their_way_end_with_their_policy(self):
        hang = threading.Event()
        self.addCleanup(hang.set)
        self.up.listing = lambda key: hang.wait(60) and error(401)
        self.apply()
        wait_for(lambda: len(self.up.gets) == 2, "both wait")
        self.apply(health="probe: /other, every: 1s")
        wait_for(lambda: len(self.up.gets) == 4, "the new ones wait")
        hang.set()
        wait_for(lambda: {p["last"] for p in self.probes().values()} == {"refused"}, "and have their answers")
        self.assertEqual([p["others"] for p in self.probes().values()].count("0"), 0)
        hang.clear()
        wait_for(lambda: len(self.up.gets) >= 5, "one is on its way when the agent ends")

    def test_a_path_of_the_server(self):
        self.up.listing = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
        self.apply(health="probe: /health?deep=1, every: 1s", keys="options: {stream_usage: true}")
        wait_for(lambda: self.probes()["-"]["last"] == "good", "nothing but success is wanted of it")
        self.assertEqual({(g[0], g[1]) for g in self.up.gets}, {("", "/health?deep=1")})
        self.assertIn("/health?deep=1", json.loads(self.ctl("provider", "test", "a", "-o", "json"))["asked"])


class Circuits(Case):
    def test_failures_and_their_end_are_known_without_a_call(self):
        self.apply(base=f"http://127.0.0.1:{self.stack.sim_where()[1]}/v1")
        for fault, reason in (("fail-500", "-"), ("fail-badjson", "undecodable"), ("fail-close", "closed_early"), ("fail-midbody", "cut")):
            self.stack.script({"models": fault})
            wait_for(lambda: self.circuits() == ["open", "open", "ok"], f"both targets of a are out: {fault}")
            self.assertEqual(self.ask(), ("b", None))
            self.assertEqual((self.probes()["one"]["last"], self.probes()["one"]["reason"]), ("failed", reason))
            self.stack.script({"models": None})
            wait_for(lambda: self.circuits() == ["ok"] * 3, "and back")
        got = [l for l in self.stack.sim_log() if l["event"] == "recv"]
        self.assertEqual([l["model"] for l in got if l["method"] == "POST"], ["sim-b"] * 4)
        self.assertEqual({(l["path"], l["credential_last4"]) for l in got if l["method"] == "GET"}, {("/v1/models", "6789")})
        self.assertEqual(self.ask(), ("a", None))
        self.assertRegex(self.logged("target.open")[0], "provider=a model=[xy] by=probe")
        self.assertRegex(self.logged("target.closed")[0], "provider=a model=[xy] by=probe")
        self.assertRegex(self.logged("probe.failed")[0], "provider=a credential=one verdict=failed class=transient reason=status status=500")
        self.assertIn("provider=a credential=one", self.logged("probe.good")[0])

    def test_no_call_pays_while_probes_fail(self):
        """The circuit would be tried each millisecond."""
        self.up.listing = self.up.chatting = error(503)
        self.apply(health="probe: models, every: 1s, open_after: 2, half_open_after: 1ms")
        wait_for(lambda: self.circuits("m")[0] == "open", "it is out")
        before = self.probes()["one"]["others"]
        wait_for(lambda: self.ask() == ("b", None) and int(self.probes()["one"]["others"]) >= int(before) + 3, "calls go elsewhere all the while")
        self.assertEqual(self.up.posts, [])
        self.up.listing, self.up.chatting = LIST, ANSWER
        wait_for(lambda: self.ask() == ("a", None), "it serves again")
        self.assertEqual(len(self.up.posts), 1)

    def test_a_good_probe_says_nothing_of_what_it_has_not_seen(self):
        """A model that fails alone: its circuit is a matter of calls."""
        self.up.chatting = error(500)
        self.apply(health="probe: models, every: 1s, open_after: 1, half_open_after: 1h")
        self.assertEqual(self.ask(), ("b", "a:500>b"))
        self.later(2)
        self.assertEqual((self.circuits("m")[0], self.probes()["one"]["last"]), ("open", "good"))
        self.assertEqual(self.ask(), ("b", None))

    def test_while_it_is_drained(self):
        self.apply()
        self.ctl("provider", "drain", "a")
        wait_for(lambda: self.circuits() == ["drained", "drained", "ok"], "drained")
        self.later(2)
        self.assertEqual((self.circuits()[0], self.ask()), ("drained", ("b", None)))
        self.assertEqual(self.by_hand()["result"], "good")


class Credentials(Case):
    def test_a_refused_one_is_back_without_a_call(self):
        self.up.listing = self.up.chatting = error(401, code="invalid_api_key")
        self.apply(health="probe: models, every: 1s")
        wait_for(lambda: self.state() == "no_credential", "known before a call pays for it")
        self.later(2)
        self.assertEqual((self.ask(), self.up.posts), (("b", None), []))
        self.assertIn("provider=a credential=one status=401 by=probe", self.logged("provider.auth_failed")[0])
        self.up.listing, self.up.chatting = LIST, ANSWER  # activated over there: the secret is the same
        wait_for(lambda: self.state() == "ok", "back")
        self.assertEqual((self.ask(), len(self.up.posts)), (("a", None), 1))
        self.assertIn("provider=a credential=one by=probe", self.logged("provider.credential_ok")[0])

    def test_what_a_call_has_met_is_asked_about_soon(self):
        """Not only when its turn comes, in up to an hour."""
        self.apply(health="probe: models, every: 1h")
        wait_for(lambda: self.up.gets, "the first")
        self.up.listing = self.up.chatting = error(401)
        self.assertEqual(self.ask(), ("b", "a:401>b"))
        wait_for(lambda: self.probes()["one"]["last"] == "refused", "asked again")

    def test_a_list_for_everybody_takes_nothing_back(self):
        self.up.chatting = error(401)
        self.apply(health="probe: models, every: 1s")
        self.assertEqual(self.ask(), ("b", "a:401>b"))
        self.later(2)
        self.assertEqual((self.state(), self.probes()["one"]["last"]), ("no_credential", "good"))

    def test_an_empty_account(self):
        self.up.listing = error(402)
        self.apply(health="probe: models, every: 1s")
        wait_for(lambda: self.state() == "provider_quota", "known")
        self.later(2)
        self.assertEqual(len(self.logged("provider.quota")), 1)  # one alert
        self.up.listing = LIST
        wait_for(lambda: self.state() == "ok", "back")

    def test_an_empty_account_that_lists_its_models(self):
        self.up.chatting = error(429, code="insufficient_quota")
        self.apply(health="probe: models, every: 1s")
        self.assertEqual(self.ask(), ("b", "a:429>b"))
        self.later(2)
        self.assertEqual((self.state(), self.ask()), ("provider_quota", ("b", None)))

    def test_what_tells_nothing_of_calls(self):
        self.apply()
        for answer in (error(403), error(404), error(401, message="Missing scopes: api.model.read"), error(429), b"HTTP/1.1 302 F\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"):
            self.up.listing = answer
            wait_for(lambda: self.probes()["one"]["status"] == answer[9:12].decode(), "its answer")
            self.assertEqual(self.probes()["one"]["last"], "cannot_tell")
            self.later(1)
            self.assertEqual((self.state(), self.circuits("m"), self.ask()), ("ok", ["ok", "ok"], ("a", None)))

    def test_each_of_several_for_itself(self):
        self.up.listing = lambda key: LIST if key == TWO else error(401)
        self.apply(keys="credentials: [one, two]")
        wait_for(lambda: [self.state("one"), self.state("two")] == ["no_credential", "ok"], "one is out")
        self.assertEqual({self.ask() for _ in range(4)}, {("a", None)})
        self.assertEqual({p[0] for p in self.up.posts}, {TWO})


class ByHand(Case):
    HEALTH = "open_after: 1, half_open_after: 1h"

    def test_good(self):
        self.apply()
        row = self.by_hand()
        self.assertEqual({k: row[k] for k in ("credential", "result", "good", "status", "reason", "class", "tls_us", "tried_next", "state")},
                         {"credential": "one", "result": "good", "good": True, "status": 200, "reason": None, "class": "none", "tls_us": None, "tried_next": False, "state": "ok"})
        for part in ("dns_us", "connect_us", "first_byte_us", "total_us"):
            self.assertGreaterEqual(row[part], 0)
        text = self.ctl("provider", "test", "a")
        for word in ("CREDENTIAL", "one", "good", f"GET http://127.0.0.1:{self.up.port}/v1/models", "it answers, and does not refuse the credential"):
            self.assertIn(word, text)
        self.assertEqual({g[0] for g in self.up.gets}, {ONE})

    def test_what_is_wrong_and_what_to_do(self):
        rows = ((error(401), "refused", 1, "make a new key there, then aigwctl provider secret set one"), (error(403), "cannot_tell", 9, "more rights"), (error(402), "empty", 1, "settle"),
                (error(404), "cannot_tell", 9, "base_url"), (error(429), "cannot_tell", 9, "limit"), (error(500), "failed", 1, "status page"),
                (answer_bytes(b"<html>", "text/html"), "failed", 1, "ends with /v1"), (b"SSH-2.0-x\r\n\r\n", "failed", 1, "port and scheme"),
                (b"HTTP/1.1 301 M\r\nlocation: https://x/\r\ncontent-length: 0\r\n\r\n", "cannot_tell", 9, "correct base_url"))
        self.apply()
        for answer, result, code, words in rows:
            self.up.listing = answer
            row = self.by_hand(code=code)
            self.assertEqual((row["result"], row["good"]), (result, False), answer)
            self.assertIn(words, row["remedy"])
            self.assertIn(words, self.ctl("provider", "test", "a", code=code))
        self.assertEqual((self.state(), self.circuits("m")), ("ok", ["ok", "ok"]))  # failures by hand change nothing

    def test_no_answer(self):
        self.apply(base="http://127.0.0.1:9/v1")
        self.assertEqual(self.by_hand(code=1)["reason"], "no_connection")
        self.apply(base="http://no-such-host.invalid/v1")
        self.assertEqual(self.by_hand(code=1)["reason"], "no_address")
        plain = self.enterContext(Provider(serve=lambda conn: conn.send(error(400))))
        self.apply(base=f"https://127.0.0.1:{plain.port}/v1")
        row = self.by_hand(code=1)
        self.assertEqual((row["reason"], row["status"]), ("tls", None))
        self.assertIn("ca_file", row["remedy"])
        hang = threading.Event()
        self.addCleanup(hang.set)
        self.up.listing = lambda key: hang.wait(60) and LIST
        self.apply()
        row = self.by_hand("--timeout", "2s", code=1)
        self.assertEqual((row["reason"], row["status"]), ("timeout_first_byte", None))
        self.assertIn("no answer in time", row["means"])

    def test_each_credential_and_one_of_them(self):
        self.up.listing = lambda key: LIST if key == TWO else error(401)
        self.apply(keys="credentials: [one, two, three]")
        rows = self.by_hand(code=9)
        self.assertEqual([(r["credential"], r["result"]) for r in rows], [("one", "refused"), ("two", "good"), ("three", "no_secret")])
        self.assertEqual((rows[2]["state"], rows[2]["remedy"][-33:]), ("no_credential", "aigwctl provider secret set three"))
        self.assertEqual(self.by_hand("--credential", "two")["result"], "good")
        self.assertIn("no credential 'four'", self.ctl("provider", "test", "a", "--credential", "four", code=3))
        self.assertIn("no provider 'c'", self.ctl("provider", "test", "c", code=3))
        self.assertEqual(json.loads(self.ctl("provider", "test", "b", "-o", "json"))["credentials"][0]["credential"], None)

    def test_what_was_left_alone_is_tried_by_one_call(self):
        """A credential that calls have been refused with, and the lease by which one call tries it."""
        self.up.chatting = error(401)
        self.apply()
        self.assertEqual(self.ask(), ("b", "a:401>b"))
        self.assertEqual(self.by_hand()["tried_next"], True)
        self.assertEqual((self.state(), len(self.up.posts)), ("no_credential", 1))
        self.assertEqual([self.ask(), self.ask()], [("b", "a:401>b"), ("b", None)])  # refused again: held again
        self.assertEqual(self.by_hand()["tried_next"], True)
        asked, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        self.up.chatting = lambda key: asked.set() or go.wait(60) and ANSWER
        seen = []
        call = threading.Thread(target=lambda: seen.append(self.ask()))
        call.start()
        self.assertTrue(asked.wait(60))
        n = len(self.up.posts)
        self.assertEqual([self.ask() for _ in range(5)], [("b", None)] * 5)  # one tries it, nobody else
        self.assertEqual(len(self.up.posts), n)
        go.set()
        call.join(60)
        self.assertEqual((seen, self.state(), self.ask()), ([("a", None)], "ok", ("a", None)))
        self.assertIn("provider=a credential=one by=call", self.logged("provider.credential_ok")[0])

    def test_a_client_that_leaves_gives_it_back(self):
        self.up.chatting = error(401)
        self.apply()
        self.assertEqual(self.ask(), ("b", "a:401>b"))
        self.by_hand()
        asked, go = threading.Event(), threading.Event()
        self.addCleanup(go.set)
        self.up.chatting = lambda key: asked.set() or go.wait(60) and ANSWER
        conn = self.stack.connect("unix")
        body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
        conn.sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        self.assertTrue(asked.wait(60))
        conn.sock.close()
        wait_for(lambda: self.rows("providers/a/credentials")["one"]["recover_in_ms"] == "0", "given back, due at once")
        self.up.chatting = ANSWER
        self.assertEqual((self.ask(), self.state()), (("a", None), "ok"))

    def test_an_open_circuit_is_tried_by_one_call(self):
        self.up.chatting = error(500)
        self.apply()
        self.assertEqual(self.ask(), ("b", "a:500>b"))
        self.assertEqual((self.circuits("m")[0], self.ask()), ("open", ("b", None)))
        self.up.chatting = ANSWER
        self.assertEqual(self.by_hand()["tried_next"], True)
        self.assertEqual((self.ask(), self.circuits("m")[0]), (("a", None), "ok"))

    def test_the_ones_who_asked_leave(self):
        """And the rest is turned away: each holds connections to a provider."""
        hang = threading.Event()
        self.addCleanup(hang.set)
        self.up.listing = lambda key: hang.wait(60) and LIST
        self.apply(keys="credentials: [one, two]")
        wires = [Wire(self.stack.path("control.sock")) for _ in range(8)]
        for wire in wires:
            wire.send("/v1/providers/test", {"provider": "a"})
        wait_for(lambda: len(self.up.gets) == 16, "all are asking")
        self.assertIn("8 tests are running already", self.ctl("provider", "test", "a", code=5))
        for wire in wires[1:]:
            wire.reset()
        wait_for(lambda: self.ctl("provider", "test", "b", "--timeout", "5s", code=None), "there is room again")
        hang.set()
        self.assertEqual([r["result"] for r in wires[0].answer().json()["credentials"]], ["good", "good"])
        self.up.listing = LIST
        self.assertEqual([r["result"] for r in self.by_hand()], ["good", "good"])
        for body in ({}, {"provider": 7}, {"provider": "a", "timeout_ms": -1}, {"provider": "a", "timeout_ms": 600001}, []):
            wires.append(Wire(self.stack.path("control.sock")))
            self.assertEqual(wires[-1].call("/v1/providers/test", body).status, 400, body)

    def test_the_parts_of_the_way_over_tls(self):
        port = self.stack.sim_at["tls"].rsplit(":", 1)[1]
        self.apply(base=f"https://localhost:{port}/v1", keys="credential: one, options: {ca_file: $CA}")
        for _ in range(2):  # nothing is resumed: certificates are looked at each time
            row = self.by_hand()
            self.assertEqual((row["result"], row["status"]), ("good", 200))
            self.assertGreater(row["tls_us"], 0)
            self.assertGreaterEqual(row["total_us"], sum(row[f"{part}_us"] for part in ("dns", "connect", "tls", "first_byte")))
        self.apply(base=f"https://localhost:{port}/v1")
        row = self.by_hand(code=1)
        self.assertEqual((row["reason"], row["class"]), ("tls", "transient"))
        self.assertRegex(row["detail"], "certificate|verif")


if __name__ == "__main__":
    unittest.main()
