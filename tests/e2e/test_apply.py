"""`aigwctl apply` against the running product: wrong policies change nothing, right ones touch no running stream, agents may refuse.

Usage: test_apply.py BUILD_ROOT [unittest arguments]
"""
import os
import subprocess
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from aigw_wire import Agent  # noqa: E402
from harness import Stack, bearer, build_root, wait_for  # noqa: E402
from streams import Streams  # noqa: E402

BUILD = build_root()
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}

POLICY = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - name: sim
    type: openai-compatible
    base_url: $SIM
    credential: sim
    timeouts: {connect: 2s, total: 10m}
    options: {stream_usage: true}
  - {name: openai, type: openai}
prices:
  - {provider: sim, model: "*", from: 2026-01-01, input: 0.15, output: 0.6}
models:
  - {name: small, aliases: [tiny], targets: [{provider: sim, model: sim-small}]}
  - {name: other, targets: [{provider: sim, model: sim-other}]}
customers:
  - name: acme
    projects:
      - {name: search, models: [small, other]}
      - {name: playground}
identities:
  - {uid: $UID, project: playground}
"""

# What is replaced by what, where the finding points to in the new text, and a word of its sentence.
WRONG = (
    ("apiVersion: aigw/v1", "apiVersion: aigw/v2", "aigw/v2", "this version reads aigw/v1"),
    ("apiVersion: aigw/v1\n", "", "settings", "'apiVersion' is missing"),
    ("models:\n", "modles:\n", "modles", "did you mean 'models'"),
    ("settings: {currency: USD}", "settings: {currency: dollars}", "dollars", "three capital letters"),
    ("settings: {currency: USD}", "settings: {currency: USD}\nbudgets: []", "budgets", "budgets"),
    ("    type: openai-compatible", "    type: openai-compatble", "openai-compatble", "did you mean 'openai-compatible'"),
    ("    base_url: $SIM\n", "", "name: sim", "'base_url' is missing"),
    ("base_url: $SIM", "base_url: localhost:8000/v1", "localhost", "http:// or https://"),
    ("credential: sim", "credential: sk-proj-0123456789", "sk-proj", "the name of a secret"),
    ("connect: 2s", "connect: 2", "2,", "with its unit"),
    ("total: 10m", "totl: 10m", "totl", "did you mean 'total'"),
    ("stream_usage: true", "stream_usage: yes", "yes", "write true or false"),
    ("{name: openai, type: openai}", "{name: sim, type: openai}", "sim, type", "is given twice, first at p.yaml:4:11"),
    ("prices:\n  - {provider: sim", "prices:\n  - {provider: simm", "simm", "did you mean 'sim'"),
    ("from: 2026-01-01", "from: 2026-02-30", "2026-02-30", "write a date"),
    ("input: 0.15", "input: 0.1234567891", "0.1234567891", "at most nine decimals"),
    ("output: 0.6", "output: -1", "-1", "decimal amount"),
    ("output: 0.6}", "output: 0.6, tiers: []}", "tiers", "not supported yet"),
    ("[{provider: sim, model: sim-small}]", "[{provider: sim, model: sim-small, weight: 0}]", "[{provider: sim, model: sim-small, w", "every target has weight 0"),
    ("[{provider: sim, model: sim-other}]", "[{provider: slm, model: sim-other}]", "slm", "there is no provider 'slm'"),
    ("name: other", "name: tiny", "tiny", "is given twice"),
    ("models: [small, other]", "models: [smal]", "smal", "did you mean 'small'"),
    ("      - {name: playground}", "      - {name: search}", "search", "is given twice"),
    ("{uid: $UID, project: playground}", "{uid: root, project: playground}", "root", "write a number"),
    ("project: playground}", "project: playgroud}", "playgroud", "did you mean 'playground'"),
    ("identities:\n  - {uid: $UID,", "identities:\n  - [uid: $UID,", "}", ""),
    ("  - name: acme\n", "\t- name: acme\n", "\t-", ""),
)


def place(text, old, new, where):
    """(the wrong text, line, column) of what `where` says, behind the replaced part's begin; or else before it."""
    at = text.index(old)
    wrong = text[:at] + new + text[at + len(old):]
    found = wrong.find(where, at)
    if found < 0:
        found = wrong.rindex(where, 0, at)
    return wrong, wrong.count("\n", 0, found) + 1, found - wrong.rfind("\n", 0, found)


class Apply(unittest.TestCase):
    def setUp(self):
        self.home = self.enterContext(Stack(build=BUILD, policy=POLICY, expected=(r"event=policy\.refused",)))

    def ctl(self, *args):
        return subprocess.run([os.path.join(BUILD, "ctl/aigwctl/aigwctl"), "--ctl", "unix:" + self.home.admin, *args],
                              capture_output=True, cwd=self.home.home, timeout=60, check=False)

    def apply(self, *texts, names=("p.yaml", "q.yaml"), args=()):
        """(exit code, standard error)"""
        options = ["apply", "-y", *args]
        for name, text in zip(names, texts):
            with open(self.home.path(name), "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            options += ["-f", name]
        p = self.ctl(*options)
        return p.returncode, p.stderr.decode()

    def revision(self):
        return self.home.api("GET", "/api/v1/status")["revision"]

    def right(self, text):
        code, said = self.apply(self.home.expand(text))
        self.assertEqual(code, 0, said)
        return self.revision()

    def check_untouched(self, revision, what):
        self.assertEqual(self.revision(), revision, what)
        agent = self.home.api("GET", "/api/v1/agents/a1")
        self.assertEqual((agent["state"], agent["revision"]), ("up", revision), what)
        self.assertEqual(self.home.chat("small", way="unix").status, 200, what)

    def test_wrong_policies_are_refused_with_their_place(self):
        self.assertGreaterEqual(len(WRONG), 25)
        revision = self.revision()
        good = self.home.expand(POLICY)
        for old, new, where, sentence in WRONG:
            wrong, line, column = place(good, self.home.expand(old), self.home.expand(new), where)
            code, said = self.apply(wrong)
            with self.subTest(new or f"no {old!r}"):
                self.assertEqual(code, 7, said)
                self.assertIn(f"p.yaml:{line}:{column}: ", said)
                self.assertIn(sentence, said)
                self.check_untouched(revision, said)

    def test_a_wrong_second_file_is_named(self):
        revision, good = self.revision(), self.home.expand(POLICY)
        more = "apiVersion: aigw/v1\nmodels:\n  - {name: more, targets: [{provider: sim, model: m}]}\n"
        code, said = self.apply(good, more.replace("provider: sim", "provider: sin"))
        self.assertEqual(code, 7, said)
        self.assertIn("q.yaml:3:39: there is no provider 'sin', did you mean 'sim'?", said)
        code, said = self.apply(good, more.replace("more", "small"))
        self.assertEqual(code, 7, said)
        self.assertIn("q.yaml:3:12: 'small' is given twice, first at p.yaml:14:12", said)
        self.check_untouched(revision, said)
        code, said = self.apply(good, more)
        self.assertEqual(code, 0, said)
        self.check_untouched(revision + 1, said)

    def test_bytes_that_are_no_text_are_refused(self):
        revision = self.revision()
        for raw, place_of in ((b"apiVersion: aigw/v1\nmodels: \xff\n", "p.yaml:2:"), (b"apiVersion: aigw/v1\n\0models: []\n", "p.yaml:2:")):
            code, said = self.apply(raw)
            self.assertEqual(code, 7, said)
            self.assertIn(place_of, said)
            self.check_untouched(revision, said)

    def test_a_revision_that_moved_is_not_overwritten(self):
        revision = self.right(POLICY + "# second\n")
        code, said = self.apply(self.home.expand(POLICY + "# third\n"), args=("--if-revision", str(revision - 1)))
        self.assertEqual(code, 5, said)
        self.check_untouched(revision, said)

    def test_running_streams_go_on_under_the_old_one(self):
        # The new one knows neither the model's name nor the provider that the streams run on.
        other = POLICY.replace("name: sim\n", "name: second\n").replace("provider: sim", "provider: second")
        other = other.replace("name: small, aliases: [tiny]", "name: newer, aliases: [brand]").replace("[small, other]", "[newer]")
        other = other.replace("model: sim-small", "model: sim-newer")
        key, paced = self.home.make_key("search"), {**CHAT, "sim": {"tokens": 25, "pace": 50000}}
        before = self.revision()
        with Streams() as streams, self.home.connect("tcp") as wire:
            for i in range(40):
                streams.begin(self.home.where("tcp" if i % 2 else "unix"), paced, bearer(key) if i % 2 else ())
            self.assertEqual(wire.call("/v1/chat/completions", CHAT, bearer(key)).status, 200)
            streams.wait(lambda h: h.events > 1)
            after = self.right(other)
            self.assertFalse(any(h.ended for h in streams.all))
            seen = {h: h.events for h in streams.all}
            a = wire.call("/v1/chat/completions", CHAT, bearer(key))
            self.assertEqual((a.status, a.json()["error"]["code"]), (404, "model_not_found"))
            a = wire.call("/v1/chat/completions", {**CHAT, "model": "brand"}, bearer(key))
            self.assertEqual((a.status, a.header("x-aigw-model"), a.header("x-aigw-provider")), (200, "newer", "second"))
            streams.wait(lambda h: h.ended)
        for h in streams.all:
            self.assertTrue(h.is_whole, h.data[-300:])
            self.assertGreater(h.events, seen[h])
        ids = {h.id for h in streams.all}
        wait_for(lambda: len({r["request_id"] for r in self.home.records()} & ids) == len(ids), "the streams' records")
        records = self.home.records()
        self.assertEqual({(r["revision"], r["model"], r["provider"], r["outcome"]) for r in records if r["request_id"] in ids},
                         {(before, "small", "sim", "ok")})
        new = [r for r in records if r["model"] == "newer"]
        self.assertEqual([(r["revision"], r["upstream_model"], r["outcome"]) for r in new], [(after, "sim-newer", "ok")])

    def test_no_call_sees_anything_of_a_change(self):
        bad, over = [], threading.Event()

        def client(way, key):
            with self.home.connect(way) as wire:
                while not over.is_set():
                    a = wire.call("/v1/chat/completions", CHAT, bearer(key))
                    if a is None or a.status != 200:
                        bad.append(a and (a.status, a.body))
                        return
        key = self.home.make_key("search")
        threads = [threading.Thread(target=client, args=args) for args in (("tcp", key), ("unix", None), ("unix", key))]
        for t in threads:
            t.start()
        try:
            for i in range(10):
                self.right(POLICY.replace("sim-other", f"sim-other-{i}"))
        finally:
            over.set()
            for t in threads:
                t.join()
        self.assertEqual(bad, [])

    def test_an_agent_that_lacks_a_feature_refuses_by_its_name(self):
        old = Agent(self.home.path("agents.sock"), name="old", features=("core/1", "ca_file/1"))
        self.addCleanup(old.close)
        plain = POLICY.replace("    options: {stream_usage: true}\n", "")
        before = self.right(plain)
        old.wait_until(lambda: old.revision == before)
        code, said = self.apply(self.home.expand(POLICY.replace("stream_usage: true", "stream_usage: false")))
        self.assertEqual(code, 9, said)
        self.assertRegex(said, r"at 1 agent: old\b.*stream_usage/1")
        self.assertEqual(old.revision, before)
        shown = self.home.api("GET", "/api/v1/agents/old")
        self.assertEqual((shown["state"], shown["revision"]), ("refused", before))
        self.assertIn("lacks feature stream_usage/1", shown["reason"])
        self.check_untouched(before + 1, said)  # the others have it
        again = self.right(plain + "# without it again\n")
        old.wait_until(lambda: old.revision == again)

    def test_an_agent_that_can_not_use_it_keeps_its_last_good(self):
        before = self.revision()
        with_ca = POLICY.replace("{name: openai, type: openai}", "{name: openai, type: openai, options: {ca_file: /nonexistent/ca.pem}}")
        code, said = self.apply(self.home.expand(with_ca))
        self.assertEqual(code, 9, said)
        self.assertRegex(said, r"at 1 agent: a1\b.*/nonexistent/ca.pem")
        agent = self.home.api("GET", "/api/v1/agents/a1")
        self.assertEqual((agent["state"], agent["revision"]), ("refused", before), agent)
        self.assertEqual(self.home.chat("small", way="unix").status, 200)
        self.home.kill(self.home.agent)
        self.home.start_agent()  # its cache holds the last good one
        self.assertEqual(self.home.chat("small", way="unix").status, 200)
        after = self.right(POLICY + "# mended\n")
        self.check_untouched(after, said)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
