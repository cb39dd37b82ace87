"""Calls that are made once, and limits that are kept whatever else goes on.

Usage: test_limits.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402

BUILD = build_root()
CHAT = "/v1/chat/completions"

HEAD = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: nobody, type: openai-compatible, base_url: "http://127.0.0.1:9/v1"}
customers:
  - name: acme
    projects: [{name: search}, {name: chat}]
identities:
  - {uid: $UID, project: search}
models:
"""
ONCE = HEAD + """\
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: slow, targets: [{provider: sim, model: sim-slow+first-after-500}]}
  - {name: held, targets: [{provider: sim, model: sim-held+tokens-3+hold-open}]}
  - {name: broken, targets: [{provider: sim, model: sim-broken+fail-500}]}
  - {name: down, targets: [{provider: nobody, model: x}]}
"""


def ask(model="small", text="hello", **members):
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


def at_once(n, call):
    """What n of these give that begin together."""
    gate, results = threading.Barrier(n), [None] * n

    def run(i):
        gate.wait()
        results[i] = call(i)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


class Once(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, ONCE))

    def once(self, name, body, **more):
        return self.stack.call(CHAT, body, headers=[("Idempotency-Key", name)], **more)

    def code(self, a):
        return a.status, a.json()["error"]["code"]

    def reached(self, mark):
        return len([line for line in self.stack.sim_log() if line["event"] == "recv" and (line["model"] or "").startswith(mark)])

    def test_one_of_fifty_is_served(self):
        key = self.stack.make_key("search", "fifty")
        answers = at_once(50, lambda i: self.once("fifty", ask("slow"), key=key))
        served = [a for a in answers if a.status == 200]
        self.assertEqual(len(served), 1, [a.status for a in answers])
        first = served[0].header("x-request-id")
        for a in answers:
            if a is served[0]:
                continue
            self.assertEqual(self.code(a), (409, "idempotency_conflict"), a.body)
            self.assertIn(first, a.json()["error"]["message"])
            self.assertNotEqual(a.header("x-request-id"), first)
            self.assertEqual(a.header("x-should-retry"), "false")
        a = self.once("fifty", ask("slow"), key=key)
        self.assertEqual(self.code(a), (409, "idempotency_conflict"))
        self.assertIn(f"{first}, which has ended", a.json()["error"]["message"])
        self.assertEqual(self.reached("sim-slow"), 1)

    def test_another_body(self):
        first = self.once("other body", ask(text="one"))
        self.assertEqual(first.status, 200)
        for path, body in ((CHAT, ask(text="two")), (CHAT, ask("held", "one")), ("/v1/responses", ask(text="one"))):
            a = self.stack.call(path, body, headers=[("idempotency-key", "other body")])
            self.assertEqual(self.code(a), (422, "idempotency_mismatch"), a.body)
            self.assertEqual(a.header("x-should-retry"), "false")
            self.assertIn(first.header("x-request-id"), a.json()["error"]["message"])
        self.assertEqual(self.reached("sim-held"), 0)

    def test_it_is_the_callers_own(self):
        keys = [None, self.stack.make_key("search", "one"), self.stack.make_key("search", "two"), self.stack.make_key("chat", "three")]
        for key in keys:
            self.assertEqual(self.once("mine", ask(), key=key).status, 200)
        for key in keys:
            self.assertEqual(self.code(self.once("mine", ask(), key=key)), (409, "idempotency_conflict"))
        # It is the key's, whichever way it comes.
        self.assertEqual(self.once("mine", ask(), key=keys[1], way="unix").status, 409)
        self.assertEqual(self.once("Mine", ask(), key=keys[1]).status, 200)

    def test_what_was_not_sent_may_come_again(self):
        for _ in range(2):
            self.assertEqual(self.once("down", ask("down")).status, 503)
            self.assertEqual(self.once("none", ask("none")).status, 404)
        self.assertEqual(self.once("none", ask()).status, 200)
        self.assertEqual(self.code(self.once("none", ask("none"))), (404, "model_not_found"))

    def test_what_was_sent_may_not(self):
        """An SDK's own repeat could only be refused."""
        a = self.once("broken", ask("broken"))
        self.assertEqual((a.status, a.header("x-should-retry")), (500, "false"), a.body)
        self.assertEqual(self.code(self.once("broken", ask("broken"))), (409, "idempotency_conflict"))
        self.assertEqual(self.reached("sim-broken"), 1)
        self.assertNotEqual(self.stack.call(CHAT, ask("broken")).header("x-should-retry"), "false")

    def test_malformed_ones(self):
        for name in ("", "x" * 256, "a\tb"):
            a = self.once(name, ask())
            self.assertEqual(self.code(a), (400, "bad_request"), name)
            self.assertIn("Idempotency-Key", a.json()["error"]["message"])
        a = self.stack.call(CHAT, ask(), headers=[("Idempotency-Key", "a"), ("idempotency-key", "a")])
        self.assertEqual(self.code(a), (400, "bad_request"))
        self.assertIn("stands twice", a.json()["error"]["message"])
        self.assertEqual(self.once("x" * 255, ask()).status, 200)
        self.assertEqual(self.once("x" * 255, ask()).status, 409)

    def test_uploads_have_none(self):
        form = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nsmall\r\n--b--\r\n'
        a = self.stack.call("/v1/audio/transcriptions", form, headers=[("content-type", "multipart/form-data; boundary=b"), ("idempotency-key", "up")])
        self.assertEqual(self.code(a), (400, "unsupported_header"), a.body)
        self.assertIn("multipart", a.json()["error"]["message"])

    def test_elsewhere_it_means_nothing(self):
        for _ in range(2):
            self.assertEqual(self.stack.call("/v1/models", headers=[("idempotency-key", "m")]).status, 200)


class Restart(unittest.TestCase):
    def test_a_kill_forgets_nothing(self):
        with Stack(BUILD, ONCE) as stack:
            done = stack.call(CHAT, ask(), headers=[("Idempotency-Key", "done")])
            with stack.connect("unix") as wire:
                wire.send(CHAT, ask("held", stream=True), [("Idempotency-Key", "k")])
                stack.wait_sim(lambda line: (line.get("model") or "").startswith("sim-held"))
                stack.kill(stack.agent)
            stack.start_agent()
            killed = wait_for(lambda: [r for r in stack.records() if r["outcome"] == "unknown"], "the killed call's record")[0]
            for name, body, first in (("k", ask("held", stream=True), killed["request_id"]), ("done", ask(), done.header("x-request-id"))):
                a = stack.call(CHAT, body, headers=[("Idempotency-Key", name)])
                self.assertEqual((a.status, a.json()["error"]["code"]), (409, "idempotency_conflict"), a.body)
                self.assertIn(f"{first}, which has ended", a.json()["error"]["message"])
            self.assertEqual(stack.call(CHAT, ask("small"), headers=[("Idempotency-Key", "new")]).status, 200)


if __name__ == "__main__":
    unittest.main()
