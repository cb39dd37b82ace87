"""aigwctl chat: one prompt to the agent of this host.

Usage: test_chat.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root  # noqa: E402
from provider import SSE_HEAD, Provider, chunk, event  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")

CHAT_POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, output: 2}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: limited, targets: [{provider: sim, model: sim+fail-429}]}
  - {name: broken, targets: [{provider: sim, model: sim+fail-500}]}
customers:
  - name: acme
    projects: [{name: search}]
"""


class Chat(unittest.TestCase):
    """chat against a running agent, as somebody types it."""

    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD, CHAT_POLICY))
        cls.key = cls.stack.make_key("search")

    def chat(self, *args, stdin="", code=0, key=None, base=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AIGW", "OPENAI"))}
        env.update({"OPENAI_BASE_URL": base or f"http://127.0.0.1:{self.stack.port}/v1", "OPENAI_API_KEY": key or self.key})
        got = subprocess.run([AIGWCTL, "chat", *args], input=stdin, capture_output=True, text=True, env=env, timeout=60, check=False)
        self.assertEqual(got.returncode, code, got)
        return got

    def test_streams_a_text_and_says_what_it_took(self):
        got = self.chat("hello", "there")
        want = self.stack.chat("small", "hello there", key=self.key).json()
        self.assertEqual(got.stdout, want["choices"][0]["message"]["content"] + "\n")
        usage = want["usage"]
        self.assertRegex(got.stderr, rf"^small: {usage['prompt_tokens']} tokens in, {usage['completion_tokens']} out; first after \d+ ms, all after \d+ ms\n$")
        self.assertEqual(self.chat("-q", stdin="hello there").stderr, "")
        self.assertEqual(self.chat("--model", "small", stdin="hello there").stdout, got.stdout)
        self.assertEqual(json.loads(self.chat("-o", "json", "hello there").stdout)["usage"], usage)

    def test_what_goes_wrong_has_its_exit_code(self):
        for args, code, says in ((("--model", "nobody", "x"), 3, "does not exist here.*model_not_found"), (("--model", "limited", "x"), 8, r"\("),
                                 (("--model", "broken", "x"), 1, r"\("), ((), 2, "prompt is empty"), (("-o", "csv", "x"), 2, "not csv"),
                                 (("-o", "yaml", "x"), 2, "text, or the answer as json")):
            self.assertRegex(self.chat(*args, code=code).stderr, says)
        self.assertRegex(self.chat("x", key="sk-aigw-wrong", code=4).stderr, "invalid_api_key")
        self.assertRegex(self.chat("x", base="http://127.0.0.1:1/v1", code=6).stderr, "Start aigw-agentd")
        self.assertRegex(self.chat("x", base="https://api.openai.com/v1", code=2).stderr, "the agent of this host")
        self.assertNotIn(self.key, self.chat("x", "--model", "broken", "-v", code=1).stderr)

    def test_a_hostile_text_does_not_reach_the_terminal(self):
        provider = self.enterContext(Provider(serve=self.say))
        self.stack.apply(CHAT_POLICY.replace("$SIM", f"http://127.0.0.1:{provider.port}/v1"))
        self.addCleanup(self.stack.apply, CHAT_POLICY)
        got = self.chat("--model", "small", "x")
        self.assertEqual(got.stdout, "a\\x1b[31mb\n\tc\n")

    @staticmethod
    def say(conn):
        while conn.request():
            conn.send(SSE_HEAD + chunk(event({"choices": [{"delta": {"content": "a\x1b[31mb\n\tc"}}]})) + chunk(event(b"[DONE]")) + chunk(b""))


if __name__ == "__main__":
    unittest.main()
