"""The tests' own tools: what they must notice, and what they must not take for something else.

Usage: test_lib.py [unittest arguments]
"""
import os
import socket
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import jsontext  # noqa: E402
from harness import Failure, Program, Stack, wait_for  # noqa: E402
from wire import Wire, split_events  # noqa: E402


class Json(unittest.TestCase):
    def edited(self, text, upstream="up", wants_usage=True):
        return jsontext.at_provider(text.encode(), "m", upstream, wants_usage).decode()

    def test_only_the_model_changes(self):
        for before, after in (
                ('{"model":"m"}', '{"model":"up"}'), (' { "model" : "m" , "x":1.0}\n', ' { "model" : "up" , "x":1.0}\n'),
                ('{"x":{"model":"m"},"model":"\\u006d"}', '{"x":{"model":"m"},"model":"up"}')):
            self.assertEqual(self.edited(before, wants_usage=False), after)
        self.assertEqual(self.edited('{"model":"m"}', upstream="m", wants_usage=False), '{"model":"m"}')

    def test_usage_is_asked_for(self):
        add = '"stream_options":{"include_usage":true}'
        for before, after in (
                ('{"model":"m"}', '{' + add + ',"model":"up"}'),
                ('{"stream_options":null,"model":"m"}', '{' + add + ',"model":"up"}'),
                ('{"model":"m","stream_options":{}}', '{"model":"up",' + add + '}'),
                ('{"model":"m","stream_options":{ }}', '{"model":"up","stream_options":{"include_usage":true }}'),
                ('{"model":"m","stream_options":{"a":1}}', '{"model":"up","stream_options":{"include_usage":true,"a":1}}'),
                ('{"model":"m","stream_options":{"a":1,"include_usage":false}}', '{"model":"up","stream_options":{"a":1,"include_usage":true}}'),
                ('{"model":"m",' + add + '}', '{"model":"up",' + add + '}'),
                ('{"model":"m","stream_options":"x"}', '{"model":"up","stream_options":"x"}')):
            self.assertEqual(self.edited(before), after)

    def test_a_recorded_body_gets_a_model(self):
        for before, after in ((b'{"model":"a"}', b'{"model":"m"}'), (b"{}", b'{"model":"m"}'), (b' {"x":1}', b' {"model":"m","x":1}')):
            self.assertEqual(jsontext.with_model(before, "m"), after)

    def test_what_is_nothing_but_usage(self):
        for text, verdict in (
                ('data: {"choices":[],"usage":{}}\n\n', True), ('data:{"usage":{"a":1},"choices":[ ]}\r\n\r\n', True),
                ('data: {"choices":[],"usage":null}\n\n', False), ('data: {"choices":[{}],"usage":{}}\n\n', False),
                ('data: {"usage":{}}\n\n', False), ("data: [DONE]\n\n", False), (": comment\n\n", False)):
            self.assertEqual(jsontext.nothing_but_usage(text.encode()), verdict, text)

    def test_events_keep_their_bytes(self):
        for text, count in (("data: a\n\ndata: b\n\n", 2), ("data: a\r\n\r\ndata: b\r\n\r\n", 2), ("data: a\r\rdata: b\r\r", 2),
                            (": c\n\n\ndata: a\nid: 1\n\nrest", 4)):
            parts = split_events(text.encode())
            self.assertEqual((b"".join(parts), len(parts)), (text.encode(), count))


class Wires(unittest.TestCase):
    def answer(self, data):
        ours, theirs = socket.socketpair()
        wire = Wire.__new__(Wire)
        wire.sock, wire.rest = ours, b""
        writer = threading.Thread(target=lambda: (theirs.sendall(data), theirs.close()))
        writer.start()
        with wire:
            try:
                return wire.answer()
            finally:
                writer.join()

    def test_whole_and_cut_answers(self):
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for data, body, whole in (
                (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", True), (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", b"hi", False),
                (head + b"2\r\nhi\r\n0\r\n\r\n", b"hi", True), (head + b"2\r\nhi\r\n", b"hi", False), (head + b"5\r\nhi", b"", False),
                (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", b"", True)):
            a = self.answer(data)
            self.assertEqual((a.body, a.whole), (body, whole), data)
        self.assertIsNone(self.answer(b"HTTP/1.1 200"))

    def test_a_field_that_stands_twice_is_noticed(self):
        a = self.answer(b"HTTP/1.1 204 No\r\nA: 1\r\na: 2\r\n\r\n")
        self.assertRaises(AssertionError, a.header, "a")


class Stacks(unittest.TestCase):
    def stack(self, expected=()):
        s = Stack(build="/nowhere", expected=expected)
        self.addCleanup(s.stop, checks=False)
        return s

    def run_program(self, stack, script):
        p = stack.program("agentd", ["/bin/sh", "-c", script])
        p.wait()
        return p

    def test_bad_lines_are_noticed(self):
        for line in ("ts=x prog=aigw-agentd level=error area=x event=y", "==1==ERROR: AddressSanitizer: heap-use-after-free",
                     "==1==ERROR: LeakSanitizer: detected memory leaks", "x.c:1:2: runtime error: signed integer overflow",
                     "WARNING: ThreadSanitizer: data race", "x.c:1: f: Assertion `x' failed."):
            s = self.stack()
            self.run_program(s, f"echo \"{line.replace('`', '')}\" >&2")
            self.assertEqual(len(s.complaints()), 1, line)
            self.assertRaises(Failure, s.stop)

    def test_expected_lines_are_not(self):
        s = self.stack(expected=["event=known"])
        self.run_program(s, "echo 'ts=x prog=p level=error area=x event=known' >&2; echo 'ts=x level=info what=error' >&2")
        self.assertEqual(s.complaints(), [])
        s.stop()

    def test_exit_codes_count(self):
        s = self.stack()
        s.agent = self.run_program(s, "exit 3")
        self.assertRaisesRegex(Failure, "ended with 3", s.stop)
        killed = self.stack()
        killed.agent = killed.program("agentd", ["tail", "-f", os.devnull])
        killed.kill(killed.agent)
        killed.stop()

    def test_nothing_is_left(self):
        s = self.stack()
        self.run_program(s, "true")
        s.stop()
        self.assertFalse(os.path.exists(s.home))

    def test_waiting_ends(self):
        self.assertRaisesRegex(Failure, "never", wait_for, lambda: None, "never", 0.01)
        self.assertEqual(wait_for(lambda: 7, "at once"), 7)


class Logs(unittest.TestCase):
    """check_ledger() against a made-up log and ledger."""

    def verdict(self, lines, records):
        s = Stack.__new__(Stack)
        s.sim_log = lambda: lines
        s.records = lambda: records
        return s.check_ledger()

    def test_the_simulator_is_the_oracle(self):
        recv = {"event": "recv", "client_request_id": "a"}
        end = {"event": "end", "client_request_id": "a", "complete": True, "usage_sent": True, "input_tokens": 1, "output_tokens": 2}
        good = {"request_id": "a", "outcome": "ok", "usage_seen": True, "input_tokens": 1, "output_tokens": 2, "model": "m"}
        self.assertEqual(list(self.verdict([recv, end], [good])), ["a"])
        for lines, records, why in (
                ([recv, end], [good, good], "second record"), ([recv, end], [dict(good, output_tokens=3)], "other numbers"),
                ([recv, end], [dict(good, usage_seen=False)], "not seen"), ([], [good], "never saw")):
            self.assertRaisesRegex(Failure, why, self.verdict, lines, records)


if __name__ == "__main__":
    unittest.main(verbosity=2)
