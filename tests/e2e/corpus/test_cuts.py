"""One answer, cut at every single place, and into single bytes: the client must get the same each time, and so must the ledger.

The provider here writes the raw bytes of an answer, head and chunk framing included, in parts; the next part goes out when the agent
has read the one before from its socket, as the kernel shows in /proc/net/tcp.

Usage: test_cuts.py [BUILD_ROOT] [unittest arguments]
"""
import os
import socket
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402

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


class Provider:
    """Answers each request on its connections with the parts that stand in `parts`."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.parts = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                conn, peer = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(conn, peer[1]), daemon=True).start()

    def serve(self, conn, port):
        data = b""
        with conn:
            while True:
                while b"\r\n\r\n" not in data:
                    got = conn.recv(65536)
                    if not got:
                        return
                    data += got
                head, data = data.split(b"\r\n\r\n", 1)
                length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                while len(data) < length:
                    data += conn.recv(65536)
                data = data[length:]
                for i, part in enumerate(self.parts):
                    if i:
                        wait_for(lambda: self.was_read(port), "the agent has read", pause=0.0002)
                    conn.sendall(part)

    def was_read(self, port):
        """Nothing waits in the receive queue of the agent's end."""
        with open("/proc/net/tcp") as f:
            next(f)
            for line in f:
                _, local, remote, _, queues = line.split()[:5]
                if int(local[-4:], 16) == port and int(remote[-4:], 16) == self.port:
                    return int(queues.split(":")[1], 16) == 0
        return True  # the connection is gone, and the call will tell


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
        provider = Provider()
        with Stack(BUILD, policy(provider.port), agent={"durability": durability, "workers": 1}) as stack, stack.connect("unix") as wire:
            expected = 0
            for name in names:
                raw, visible = ANSWERS[name]
                cuts = [[raw[:k], raw[k:]] for k in range(1, len(raw))] + [[raw[i:i + 1] for i in range(len(raw))], [raw]]
                for parts in cuts:
                    provider.parts = parts
                    body = {"model": "m", "messages": [], "stream": name in STREAMS}
                    answer = wire.call("/v1/chat/completions", body)
                    expected += 1
                    self.assertEqual((answer and answer.status, answer and answer.body, answer and answer.whole), (200, visible, True),
                                     (name, len(parts), len(parts[0])))
            for r in stack.wait_records(expected):
                self.assertEqual((r["outcome"], r["input_tokens"], r["output_tokens"], r["usage_seen"]), ("ok", 7, 3, True))
        provider.listener.close()

    def test_strict(self):
        self.run_all("strict", ANSWERS)

    def test_relaxed(self):
        self.run_all("relaxed", STREAMS)


if __name__ == "__main__":
    unittest.main(verbosity=2)
