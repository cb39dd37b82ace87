"""What answers tell in their heads about how they came to be: settings.headers, server-timing, traceparent.

Usage: test_answer_headers.py [BUILD_ROOT] [unittest arguments]
"""
import os
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root  # noqa: E402

BUILD = build_root()

POLICY = """\
apiVersion: aigw/v1
settings: {$SETTINGS}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
models:
  - {name: m, targets: [{provider: a, model: sim-m}]}
  - {name: early, early_head: true, targets: [{provider: a, model: sim-e}]}
  - {name: busy, retry: {attempts: 1}, targets: [{provider: a, model: sim-b+fail-503}]}
  - {name: second, targets: [{provider: a, model: sim-s+fail-500}, {provider: b, model: sim-t, priority: 2}]}
"""
CHAT = "/v1/chat/completions"


class Case(unittest.TestCase):
    maxDiff = None

    def start(self, settings="", **agent):
        self.stack = self.enterContext(Stack(BUILD, None, agent=agent))
        self.apply(settings)

    def apply(self, settings=""):
        answer = self.stack.apply(POLICY.replace("$SETTINGS", settings))
        self.stack.wait_ready()
        return str(answer["revision"])

    def answers(self, headers=()):
        """One of each kind: name, status, answer."""
        ask = {"messages": [{"role": "user", "content": "hi"}]}
        calls = (("plain", 200, CHAT, {"model": "m", **ask}), ("stream", 200, CHAT, {"model": "m", "stream": True, **ask}),
                 ("early head", 200, CHAT, {"model": "early", "stream": True, **ask}), ("second try", 200, CHAT, {"model": "second", **ask}),
                 ("the provider's error", 503, CHAT, {"model": "busy", **ask}), ("no such model", 404, CHAT, {"model": "nobody", **ask}),
                 ("no JSON", 400, CHAT, b"{"), ("a header that is refused", 400, CHAT, {"model": "m", **ask}), ("no caller", 401, CHAT, {"model": "m", **ask}))
        for name, status, path, body in calls:
            more = {"a header that is refused": [("x-aigw-nonsense", "1")], "no caller": [("authorization", "Bearer sk-aigw-x")]}.get(name, [])
            a = self.stack.call(path, body, way="unix", headers=[*headers, *more])
            self.assertEqual(a.status, status, (name, a.body))
            yield name, a


class Debug(Case):
    def test_off_unless_it_is_asked_for(self):
        self.start()
        for settings in ("", "headers: {}", "headers: {debug: false}"):
            self.apply(settings)
            for name, a in self.answers():
                self.assertEqual((a.header("x-aigw-revision"), a.header("x-aigw-agent")), (None, None), name)

    def test_who_answered_by_which_revision(self):
        self.start(agent_id="web-01")
        for more in ("", ", default_model: m"):
            revision = self.apply("headers: {debug: true}" + more)
            for name, a in self.answers():
                known = (None, None) if name == "a header that is refused" else (revision, "web-01")  # before the policy is looked at
                self.assertEqual((a.header("x-aigw-revision"), a.header("x-aigw-agent")), known, name)
            a = self.stack.call("/v1/models", way="unix")
            self.assertEqual((a.status, a.header("x-aigw-revision"), a.header("x-aigw-agent")), (200, revision, "web-01"))
            for path in ("/healthz", "/metrics"):
                self.assertEqual(self.stack.call(path, way="unix").header("x-aigw-revision"), None)

    def test_the_host_s_name_where_the_agent_has_none(self):
        self.start("headers: {debug: true}", agent_id='""')
        self.assertEqual(self.stack.call(CHAT, {"model": "m", "messages": []}, way="unix").header("x-aigw-agent"), socket.gethostname())


if __name__ == "__main__":
    unittest.main()
