"""One connection and what a client may do to it: pipelining without end, answers that it does not take.

Usage: test_front.py BUILD_ROOT [unittest arguments]
"""
import os
import select
import socket
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Stack, build_root  # noqa: E402
from wire import request_bytes  # noqa: E402

BUILD = build_root()
MODELS = b"GET /v1/models HTTP/1.1\r\nHost: aigw\r\nX-Filler: " + b"f" * 100 + b"\r\n\r\n"
LAST = b"GET /v1/models HTTP/1.1\r\nHost: aigw\r\nConnection: close\r\n\r\n"
MANY = 5000  # of them are far more than a connection keeps and the kernel's buffers hold
ANSWER = b'{"object":"list"'


class Front(unittest.TestCase):
    def stack(self):
        return self.enterContext(Stack(build=BUILD))

    def connect(self, stack):
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.settimeout(30)
        s.connect(stack.where("unix"))
        return s

    def read_all(self, s):
        data = b""
        while more := s.recv(1 << 20):
            data += more
        return data

    def test_a_flood_behind_a_running_answer_is_answered_in_full(self):
        stack = self.stack()
        s = self.connect(stack)
        chat = {"model": "small", "messages": [{"role": "user", "content": "x"}], "stream": True,
                "sim": {"tokens": 5, "pace": 100000}}
        flood = threading.Thread(target=s.sendall, args=(MODELS * MANY + LAST,))
        s.sendall(request_bytes("/v1/chat/completions", chat, ()))
        head = s.recv(1 << 16)
        flood.start()  # from the first bytes of the answer on
        data = head + self.read_all(s)
        flood.join()
        self.assertIn(b"data: [DONE]\n\n", data)
        self.assertEqual(data.count(b"HTTP/1.1 200 OK\r\n"), 1 + MANY + 1)
        self.assertEqual(data.count(ANSWER), MANY + 1)

    def test_who_takes_no_answer_is_not_read_on(self):
        stack = self.stack()
        s = self.connect(stack)
        flood, sent = MODELS * MANY * 20 + LAST, 0
        while sent < len(flood) and select.select([], [s], [], 1)[1]:
            sent += s.send(flood[sent:sent + 4096])
        self.assertLess(sent, 4 << 20)
        rest = threading.Thread(target=s.sendall, args=(flood[sent:],))
        rest.start()
        data = self.read_all(s)
        rest.join()
        self.assertEqual(data.count(ANSWER), MANY * 20 + 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
