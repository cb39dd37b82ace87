"""Which targets may serve a request at all: the default model, capabilities, sizes, tags.

Usage: test_eligible.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402

BUILD = build_root()

HEAD = """\
apiVersion: aigw/v1
settings: {$SETTINGS}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: c, type: openai-compatible, base_url: $SIM, credential: sim}
customers:
  - name: acme$CUSTOMER
    projects: [{name: search$PROJECT}]
identities:
  - {uid: $UID, project: search}
models:
"""
CHAT = "/v1/chat/completions"


def target(provider, upstream, **more):
    return f'{{provider: {provider}, model: "{upstream}"' + "".join(f", {k}: {v}" for k, v in more.items()) + "}"


def model(name, *targets, **more):
    return f'  - {{name: "{name}", targets: [{", ".join(targets)}]' + "".join(f", {k}: {v}" for k, v in more.items()) + "}\n"


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, None))

    def apply(self, *models, settings="", customer="", project=""):
        self.stack.apply(HEAD.replace("$SETTINGS", settings).replace("$CUSTOMER", customer).replace("$PROJECT", project) + "".join(models))
        self.stack.wait_ready()

    def served(self, name="m", **members):
        """Who answers."""
        a = self.stack.chat(name, way="unix", **members)
        self.assertEqual(a.status, 200, a.body)
        return a.header("x-aigw-provider")

    def reached(self, mark):
        return [line for line in self.stack.sim_log() if line["event"] == "recv" and line["model"].startswith(mark)]


class DefaultModel(Case):
    def test_a_request_that_names_none_gets_it(self):
        self.apply(model("other", target("b", "sim-b")), model("m", target("a", "sim-a"), aliases="[usual]"), settings="default_model: usual")
        for i, body in enumerate(({"messages": []}, {"stream": True, "messages": []}, b"{ }")):
            a = self.stack.call(CHAT, body)
            self.assertEqual((a.status, a.header("x-aigw-model"), a.header("x-aigw-provider")), (400, "m", "a") if body == b"{ }" else (200, "m", "a"), a.body)
            self.assertEqual(len(self.reached("sim-a")), i + 1)
        a = self.stack.call(CHAT, {"model": "other", "messages": []})
        self.assertEqual(a.header("x-aigw-provider"), "b")

    def test_what_names_one_wrongly_does_not(self):
        self.apply(model("m", target("a", "sim-a")), settings="default_model: m")
        for wrong in (None, 5, "", ["m"]):
            self.assertEqual(self.stack.call(CHAT, {"model": wrong, "messages": []}).json()["error"]["code"], "missing_model")
        self.assertEqual(self.stack.call(CHAT, {"Model": "m", "messages": []}).json()["error"]["code"], "missing_model")
        self.assertEqual(self.reached("sim"), [])

    def test_none_is_set(self):
        self.apply(model("m", target("a", "sim-a")))
        self.assertEqual(self.stack.call(CHAT, {"messages": []}).json()["error"]["code"], "missing_model")


if __name__ == "__main__":
    unittest.main()
