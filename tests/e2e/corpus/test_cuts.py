"""One answer, cut at every single place, and into single bytes: the client must get the same each time, and so must the ledger.

The provider here writes the raw bytes of an answer, head and chunk framing included, in parts; the next part goes out when the agent
has read the one before from its socket, as the kernel shows in /proc/net/tcp.

Usage: test_cuts.py [BUILD_ROOT] [unittest arguments]
"""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
from harness import Stack, build_root  # noqa: E402
from provider import Provider  # noqa: E402

BUILD = build_root()
USAGE = '"usage":{"prompt_tokens":7,"completion_tokens":3}'


def chunked(head, body, sizes):
    """The body in chunks of these sizes, by turns."""
    out, at, turn = [], 0, 0
    while at < len(body):
        part = body[at:at + sizes[turn % len(sizes)]]
        out.append(b"%x\r\n%s\r\n" % (len(part), part))
        at += len(part)
        turn += 1
    return head + b"transfer-encoding: chunked\r\n\r\n" + b"".join(out) + b"0\r\n\r\n"


def stream(end):
    """(what the provider says, what a client sees that did not ask for usage), with this line end."""
    lines = ['data: {"choices":[{"delta":{"content":"größe"}}]}', "", ": note", "", 'data: {"choices":[],' + USAGE + "}", "", "data: [DONE]", ""]
    return end.join(lines + [""]).encode(), end.join(lines[:4] + lines[6:] + [""]).encode()


EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
PLAIN = ('{"choices":[{"message":{"content":"größe"}}],' + USAGE + "}").encode()
ANSWERS = {name: (chunked(EVENTS, stream(end)[0], sizes), stream(end)[1])
           for name, end, sizes in (("lf", "\n", (11, 3, 200)), ("crlf", "\r\n", (1000,)), ("cr", "\r", (17,)))}
ANSWERS["length"] = (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(PLAIN), PLAIN), PLAIN)
ANSWERS["chunks"] = (chunked(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n", PLAIN, (9, 2)), PLAIN)
STREAMS = ("lf", "crlf", "cr")


def policy(port):
    return f"""\
apiVersion: aigw/v1
providers:
  - {{name: sim, type: openai-compatible, base_url: "http://127.0.0.1:{port}/v1"}}
models:
  - {{name: m, targets: [{{provider: sim, model: m}}]}}
customers:
  - {{name: acme, projects: [{{name: p}}]}}
identities:
  - {{uid: $UID, project: p}}
"""


class Cuts(unittest.TestCase):
    def run_all(self, durability, names):
        parts = []

        def serve(conn):
            while conn.request():
                conn.send_apart(parts)
        with Provider(serve) as provider, Stack(BUILD, policy(provider.port), agent={"durability": durability, "workers": 1}) as stack, stack.connect("unix") as wire:
            expected = 0
            for name in names:
                raw, visible = ANSWERS[name]
                cuts = [[raw[:k], raw[k:]] for k in range(1, len(raw))] + [[raw[i:i + 1] for i in range(len(raw))], [raw]]
                for parts in cuts:
                    body = {"model": "m", "messages": [], "stream": name in STREAMS}
                    answer = wire.call("/v1/chat/completions", body)
                    expected += 1
                    self.assertEqual((answer and answer.status, answer and answer.body, answer and answer.whole), (200, visible, True),
                                     (name, len(parts), len(parts[0])))
            for r in stack.wait_records(expected):
                self.assertEqual((r["outcome"], r["input_tokens"], r["output_tokens"], r["usage_seen"]), ("ok", 7, 3, True))

    def test_strict(self):
        self.run_all("strict", ANSWERS)

    def test_relaxed(self):
        self.run_all("relaxed", STREAMS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
