"""Clients that mean harm. What they may not do is in each test's name; that nothing leaks and no number overflows the harness sees
from the programs' end under the sanitizers.
    AIGW_BUILD=BUILD_ROOT python3 tests/e2e/test_hostile.py"""
import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Stack, build_root, wait_for

BUILD = build_root()


class Hostile(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = cls.enterClassContext(Stack(BUILD))
        cls.key = cls.stack.make_key("search")

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.stack.port), timeout=60)
        self.addCleanup(s.close)
        return s

    def inflight_is_over(self):
        return self.stack.call("/healthz", way="tcp").status == 200

    def test_a_refused_call_whose_body_never_ends_leaves_nothing(self):
        heads = ("authorization: Bearer nonsense\r\n", f"authorization: Bearer {self.key}\r\nx-api-key: other\r\n",
                 f"authorization: Bearer {self.key}\r\nx-aigw-new: 1\r\n")
        for head in heads:
            for path in ("/v1/chat/completions", "/v1/nowhere"):
                with self.connect() as s:
                    s.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{head}content-length: 100\r\n\r\n{{".encode())
        wait_for(self.inflight_is_over, "the agent goes on")

    def test_a_model_in_other_letters_beside_the_plain_one_is_refused(self):
        for members in ('"model":"small","Model":"dear"', '"MODEL":"dear","model":"small"', '"model":"small","\\u004dodel":"dear"'):
            answer = self.stack.call("/v1/chat/completions", ("{" + members + ',"messages":[]}').encode(), self.key)
            self.assertEqual((answer.status, json.loads(answer.body)["error"]["code"]), (400, "duplicate_member"), members)


if __name__ == "__main__":
    unittest.main(verbosity=1)
