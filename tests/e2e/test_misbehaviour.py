"""A provider that does everything wrong that can be done on a wire: a table of misbehaviours, each played to plain and stream calls, alone and
with a healthy target behind it. Whatever comes, a call ends, its client is told the truth, and no byte of it is seen by another call.

Usage: test_misbehaviour.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import gzip
import json
import os
import queue
import random
import re
import select
import socket
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
# What the sanitizer keeps, of what is freed and of stack frames that are left, is not what is held: it grows with the calls.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "halt_on_error=1") + ":quarantine_size_mb=8:detect_stack_use_after_return=0"
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import Provider, answer_bytes, chunk, event  # noqa: E402
from threads import AllStopped  # noqa: E402

BUILD = build_root()
CHAT = "/v1/chat/completions"
HANG_S = 40  # far beyond every timeout of the policy: a call that takes longer hangs

# `quick` ends what stands still soon; at the others no timer may be what ends a call.
POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: bad, type: openai-compatible, base_url: "http://127.0.0.1:$BAD/v1", timeouts: {first_byte: 60s, idle: 60s}, health: {open_after: 1000}}
  - {name: quick, type: openai-compatible, base_url: "http://127.0.0.1:$BAD/v1", timeouts: {first_byte: 1s, idle: 1s, total: 6s}, health: {open_after: 1000}}
  - {name: idle, type: openai-compatible, base_url: "http://127.0.0.1:$IDLE/v1", health: {open_after: 1000}}
  - {name: early, type: openai-compatible, base_url: "http://127.0.0.1:$EARLY/v1", health: {open_after: 1000}}
  - {name: good, type: openai-compatible, base_url: "http://127.0.0.1:$GOOD/v1"}
models:
  - {name: bad, targets: [{provider: bad, model: x}]}
  - {name: quick, targets: [{provider: quick, model: x}]}
  - {name: bad-good, targets: [{provider: bad, model: x}, {provider: good, model: y, priority: 2}]}
  - {name: quick-good, targets: [{provider: quick, model: x}, {provider: good, model: y, priority: 2}]}
  - {name: idle, targets: [{provider: idle, model: x}]}
  - {name: early, targets: [{provider: early, model: x}]}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
"""

# --- good answers, which carry the mark of their call --------------------------------------------------------------------


def compact(value):
    return json.dumps(value, separators=(",", ":")).encode()


def words(mark):
    return [f"{mark} a", f" b {mark}"]


def plain_body(mark):
    return compact({"id": mark, "choices": [{"index": 0, "message": {"role": "assistant", "content": "".join(words(mark))}, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2}})


def delta(mark, text, finish=None):
    return event(compact({"id": mark, "choices": [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]}))


def stream_events(mark):
    return [*(delta(mark, w) for w in words(mark)), delta(mark, "", "stop"), event(b"[DONE]")]


SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def good_answer(mark, stream):
    return SSE + b"".join(map(chunk, stream_events(mark))) + b"0\r\n\r\n" if stream else answer_bytes(plain_body(mark))


def head(*lines, status="200 OK", kind="application/json"):
    return "\r\n".join([f"HTTP/1.1 {status}", f"content-type: {kind}", *lines]).encode("latin-1") + b"\r\n\r\n"


# --- what a provider can do: steps of one connection. Bytes are sent, numbers of seconds waited, the rest are words. -------

CLOSE, RESET, HALF, STALL = "close", "reset", "half-close", "stall"

# What a client may see
GOOD = "good"        # the misbehaving provider's answer, whole
ERROR = "error"      # an error of status >= 400 in OpenAI's shape
LATE = "late"        # a stream that ends with one error in-band and no [DONE]
BROKEN = "broken"    # a connection that ends in the midst of a body
OPAQUE = "opaque"    # compressed: passed on, and said to be


class Case:
    """steps(mark, stream) gives what is played. `alone` is what the client may see if there is no other target; with one, an ERROR becomes
    the healthy target's answer. `spoils`: the connection must carry no further request."""

    def __init__(self, name, steps, alone=(ERROR,), ways=("plain", "stream"), quick=False, spoils=True, exhausts=False):
        self.name, self.steps, self.alone, self.ways, self.quick, self.spoils = name, steps, set(alone), ways, quick, spoils
        self.exhausts = exhausts  # may take all the time that there is for the call: nothing is left for a second target

    def allowed(self, paired):
        if not paired:
            return self.alone
        return {"healthy" if a == ERROR else a for a in self.alone} | ({ERROR} if self.exhausts else set())


def raw(*steps):
    return lambda mark, stream: steps


def json_answer(*lines, tail=()):
    """Plain JSON under these header lines."""
    return lambda mark, stream: (head(*lines) + plain_body(mark), *tail)


def body_of(data, *lines, status="200 OK", kind="application/json"):
    return lambda mark, stream: (head(f"content-length: {len(data)}", *lines, status=status, kind=kind) + data,)


def sse(*pieces, end=b"0\r\n\r\n", tail=()):
    """A stream of these events, each a chunk; a function gets the mark."""
    def steps(mark, stream):
        return (SSE + b"".join(chunk(p(mark) if callable(p) else p) for p in pieces) + end, *tail)
    return steps


def first(mark):
    return delta(mark, words(mark)[0])


def second(mark):
    return delta(mark, words(mark)[1])


def finish(mark):
    return delta(mark, "", "stop")


DONE = event(b"[DONE]")


def stray(mark):
    """An answer of the provider to nobody."""
    return answer_bytes(plain_body(f"stray-{mark}"))


def before_the_head():
    yield Case("reset", raw(RESET))
    yield Case("close", raw(CLOSE))
    yield Case("half-close", raw(HALF))
    yield Case("stall", raw(STALL), quick=True)
    noise = {"TLS handshake": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(160)), "TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
             "HTTP/2 settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x64\x00\x04\x00\xa0\x00\x00\x00\x05\x00\x00\x40\x00",
             "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/0.9": b'{"choices":[]}', "HTTP/0.9 page": b"<html>hello</html>\r\n",
             "SSH": b"SSH-2.0-OpenSSH_9.2\r\n", "SMTP": b"220 mail ESMTP\r\n", "NULs": bytes(64), "high bytes": b"\xff" * 64, "a request": b"POST / HTTP/1.1\r\nhost: x\r\n\r\n",
             "ICY": b"ICY 200 OK\r\n\r\n", "RTSP": b"RTSP/1.0 200 OK\r\n\r\n", "a space first": b" HTTP/1.1 200 OK\r\n\r\n"}
    for name, data in noise.items():
        yield Case(name, raw(data, CLOSE))
        yield Case(f"{name}, left open", raw(data, STALL), quick=True)
    lines = ("HTTP/1.1", "HTTP/1.1 ", "HTTP/1.1 abc OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 -20 OK", "HTTP/1.1 000 OK", "HTTP/1.1200 OK", "HTTP/3.0 200 OK",
             "HTTP/2 200 OK", "HTTP/1.x 200 OK", "HTTP/1. 200 OK", "HTTP/11 200 OK", "HTTP 200 OK", "http/1.1 200 OK", "HTTP/1.1\t200 OK", "HTTP/9.9 200 OK", "XTTP/1.1 200 OK", "HTTP/1.1 2 00 OK")
    for line in lines:
        yield Case(f"status line {line!r}", lambda mark, stream, line=line: (f"{line}\r\ncontent-type: application/json\r\ncontent-length: {len(plain_body(mark))}\r\n\r\n".encode() + plain_body(mark), CLOSE),
                   ways=("plain",))


def heads():
    for name, line in (("no colon", "nonsense"), ("a space in the name", "x y: z"), ("a space before the colon", "content-length : 5"), ("NUL in a value", "x: a\0b"), ("NUL in a name", "x\0y: z"),
                       ("no name", ": z"), ("a bare CR", "x: a\rb"), ("a folded line first", " x: folded"), ("high bytes in a name", "\xff\xfe: z")):
        yield Case(f"head with {name}", lambda mark, stream, line=line: (head(line, f"content-length: {len(plain_body(mark))}") + plain_body(mark), CLOSE), alone=(ERROR, GOOD), ways=("plain",))
    for value in ("-1", "abc", "", "1e3", "0x10", "+5", "5, 6", "5 6", "18446744073709551616", "99999999999999999999999", "5;", "\xb2", "5.0", "--5", "NaN"):
        yield Case(f"content-length {value!r}", json_answer(f"content-length: {value}", tail=(CLOSE,)), ways=("plain",))
        yield Case(f"content-length {value!r}, left open", json_answer(f"content-length: {value}", tail=(STALL,)), ways=("plain",), quick=True)
    yield Case("two lengths that differ", json_answer("content-length: 5", "content-length: 500", tail=(STALL,)), ways=("plain",), quick=True)
    yield Case("two lengths that differ, the other way", json_answer("content-length: 500", "content-length: 5", tail=(STALL,)), ways=("plain",), quick=True)
    yield Case("length and chunks", json_answer("content-length: 5", "transfer-encoding: chunked", tail=(CLOSE,)), ways=("plain",))
    yield Case("chunks and length", lambda mark, stream: (head("transfer-encoding: chunked", "content-length: 3") + chunk(plain_body(mark)) + b"0\r\n\r\n",), alone=(ERROR, GOOD), ways=("plain",))
    for coding in ("gzip", "chunked, gzip", "identity", "foo", "chunked, chunked", "x-chunked", "chunked;q=1"):
        yield Case(f"transfer-encoding {coding}", json_answer(f"transfer-encoding: {coding}", tail=(CLOSE,)), alone=(ERROR, GOOD), ways=("plain",))
    big = b"x: " + b"y" * (1 << 20) + b"\r\n"
    yield Case("a header of 1 MB", lambda mark, stream: (b"HTTP/1.1 200 OK\r\n" + big + b"content-length: 0\r\n\r\n", CLOSE))
    yield Case("a status text of 1 MB", raw(b"HTTP/1.1 200 " + b"O" * (1 << 20) + b"\r\n\r\n", CLOSE))
    yield Case("a name of 1 MB", raw(b"HTTP/1.1 200 OK\r\n" + b"n" * (1 << 20) + b": x\r\n\r\n", CLOSE))
    yield Case("10,000 fields", raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10000 + b"\r\n", CLOSE))
    yield Case("101 fields", raw(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 101 + b"content-length: 0\r\n\r\n"))
    yield Case("an endless head", raw(b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n" * 2000] * 100, STALL))
    yield Case("an endless head, slowly", raw(b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n", 0.2] * 100), quick=True, exhausts=True)
    yield Case("an endless line, slowly", raw(b"HTTP/1.1 200 OK\r\nx: ", *[b"y", 0.2] * 100), quick=True, exhausts=True)
    yield Case("a head and no more", raw(head("content-length: 50"), STALL), quick=True)
    yield Case("a stream's head and no more", raw(SSE, STALL), ways=("stream",), quick=True)


def interims():
    for status in ("100 Continue", "102 Processing", "103 Early Hints", "199 What"):
        yield Case(f"{status} before", lambda mark, stream, s=status: (f"HTTP/1.1 {s}\r\nx: y\r\n\r\n".encode() + good_answer(mark, stream),), alone=(GOOD,), spoils=False)
        yield Case(f"{status} and no more", raw(f"HTTP/1.1 {status}\r\n\r\n".encode(), STALL), quick=True)
        yield Case(f"{status} and the end", raw(f"HTTP/1.1 {status}\r\n\r\n".encode(), CLOSE))
        yield Case(f"{status} with a length", lambda mark, stream, s=status: (f"HTTP/1.1 {s}\r\ncontent-length: 5\r\n\r\n".encode() + good_answer(mark, stream),), alone=(GOOD,), spoils=False)
    yield Case("100 without end", raw(*[b"HTTP/1.1 100 Continue\r\n\r\n" * 50] * 50, STALL))
    yield Case("100 for ever, slowly", raw(*[b"HTTP/1.1 100 Continue\r\n\r\n", 0.3] * 100), quick=True, exhausts=True)
    yield Case("101", raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n\x81\x05hello", STALL), quick=True)


def statuses():
    for status in (300, 301, 302, 303, 305, 307, 308):
        for body in (b"", b'{"error":{"message":"moved","code":"moved"}}'):
            yield Case(f"{status} with {len(body)} bytes", lambda mark, stream, s=status, b=body: (head("location: http://127.0.0.1:$TRAP/v1", f"content-length: {len(b)}", status=f"{s} Moved") + b,), spoils=False)
    for status in (500, 502, 503, 504, 520, 599):
        yield Case(f"{status} with HTML", body_of(b"<html>CANARY</html>", status=f"{status} E", kind="text/html"), spoils=False)
        yield Case(f"{status} cut", raw(head("content-length: 500", status=f"{status} E") + b'{"error":', CLOSE))
    yield Case("204", raw(b"HTTP/1.1 204 No Content\r\n\r\n"), alone=(ERROR, "empty"), spoils=False)
    yield Case("304", raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"), spoils=False)
    yield Case("204 with a body", raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"), alone=(ERROR, "empty"))
    yield Case("an empty 200", body_of(b""), alone=(ERROR, "empty"), spoils=False)


def lengths():
    yield Case("length too short", lambda mark, stream: (head(f"content-length: {len(plain_body(mark)) - 5}") + plain_body(mark),))
    yield Case("length too long, closed", lambda mark, stream: (head(f"content-length: {len(plain_body(mark)) + 5}") + plain_body(mark), CLOSE))
    yield Case("length too long, half-closed", lambda mark, stream: (head(f"content-length: {len(plain_body(mark)) + 5}") + plain_body(mark), HALF))
    yield Case("length too long, left open", lambda mark, stream: (head(f"content-length: {len(plain_body(mark)) + 5}") + plain_body(mark), STALL), quick=True)
    yield Case("length too long, reset", lambda mark, stream: (head(f"content-length: {len(plain_body(mark)) + 5}") + plain_body(mark), 0.05, RESET))
    yield Case("no length, closed", lambda mark, stream: (head() + plain_body(mark), CLOSE), alone=(GOOD,), ways=("plain",))
    yield Case("no length, cut", lambda mark, stream: (head() + plain_body(mark)[:-9], CLOSE))
    yield Case("a large answer cut", lambda mark, stream: (head("content-length: 1000000") + b'{"x":"' + b" " * 300000, CLOSE), alone=(BROKEN, ERROR), ways=("plain",))
    yield Case("a large answer without length cut", lambda mark, stream: (head() + b'{"x":"' + b" " * 300000, CLOSE), alone=(BROKEN, ERROR), ways=("plain",))
    yield Case("a large answer in chunks cut", lambda mark, stream: (head("transfer-encoding: chunked") + chunk(b'{"x":"' + b" " * 300000), CLOSE), alone=(BROKEN, ERROR), ways=("plain",))
    yield Case("a large answer stalled", lambda mark, stream: (head("content-length: 1000000") + b'{"x":"' + b" " * 300000, STALL), alone=(BROKEN, ERROR), ways=("plain",), quick=True)


def chunks():
    """In the midst of the body, or before any of it."""
    wrong = {"no number": b"zz\r\nhello\r\n", "a negative one": b"-5\r\nhello\r\n", "too large": b"fffffffffffffffff\r\nhello\r\n", "nearly too large": b"ffffffffffffffff\r\nhello\r\n", "none": b"\r\nhello\r\n",
             "0x": b"0x5\r\nhello\r\n", "spaces": b"  5\r\nhello\r\n", "no line end": b"5", "too small": b"2\r\nhello\r\n", "too large by one": b"6\r\nhello\r\n0\r\n\r\n", "a bare LF": b"5\nhello\n",
             "data without end": b"5\r\nhelloX\r\n", "an extension without end": b"5;" + b"x" * 200000, "digits without end": b"0" * 200000, "a NUL": b"5\0\r\nhello\r\n", "a plus": b"+5\r\nhello\r\n"}
    for name, data in wrong.items():
        yield Case(f"chunk size: {name}", raw(head("transfer-encoding: chunked") + data, CLOSE), ways=("plain",))
        yield Case(f"chunk size: {name}, in a stream", lambda mark, stream, d=data: (SSE + chunk(first(mark)) + d, CLOSE), alone=(LATE, ERROR), ways=("stream",))
        yield Case(f"chunk size: {name}, before a stream", raw(SSE + data, CLOSE), ways=("stream",))
    whole = {"trailers": b"0\r\nx: y\r\nz: w\r\n\r\n", "a wrong trailer": b"0\r\nnonsense\r\n\r\n", "trailers of 1 MB": b"0\r\nx: " + b"y" * (1 << 20) + b"\r\n\r\n",
             "10,000 trailers": b"0\r\n" + b"x: y\r\n" * 10000 + b"\r\n", "a length as trailer": b"0\r\ncontent-length: 5\r\n\r\n", "no end": b"", "half an end": b"0\r\n", "000": b"000\r\n\r\n"}
    for name, data in whole.items():
        cut = name in ("no end", "half an end")
        yield Case(f"chunks with {name}", lambda mark, stream, d=data: (head("transfer-encoding: chunked") + chunk(plain_body(mark)) + d, CLOSE), alone=(ERROR,) if cut else (GOOD, ERROR), ways=("plain",))
        yield Case(f"a stream with {name}", lambda mark, stream, d=data: (SSE + b"".join(map(chunk, stream_events(mark))) + d, CLOSE), alone=(GOOD,) if cut or name in ("trailers", "000") else (GOOD, ERROR), ways=("stream",))
    yield Case("chunks of a byte", lambda mark, stream: (good_head(stream) + b"".join(chunk(bytes([b])) for b in good_body(mark, stream)) + b"0\r\n\r\n",), alone=(GOOD,), spoils=False)
    yield Case("chunks, then silence", lambda mark, stream: (good_head(stream) + chunk(good_body(mark, stream)[:60]), STALL), quick=True)
    yield Case("a byte at a time", lambda mark, stream: tuple(s for b in good_answer(mark, stream) for s in (bytes([b]), 0.001)), alone=(GOOD,), spoils=False)


def good_head(stream):
    return SSE if stream else head("transfer-encoding: chunked")


def good_body(mark, stream):
    return b"".join(stream_events(mark)) if stream else plain_body(mark)


def behind_the_answer():
    """The answer is good, and then there is something more."""
    extra = {"a byte": b"X", "a line": b"\r\n", "lines": b"\r\n" * 10, "a NUL": b"\0", "a second answer": stray, "a second head": b"HTTP/1.1 200 OK\r\n", "a 400": b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
             "a 408": b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "a 100": b"HTTP/1.1 100 Continue\r\n\r\n", "64 KB": b"stray" * 13000, "a TLS alert": b"\x15\x03\x03\x00\x02\x01\x00",
             "a chunk": b"5\r\nstray\r\n", "an end of chunks": b"0\r\n\r\n", "an event": b"data: stray\n\n"}
    for name, more in extra.items():
        yield Case(f"{name} behind it", lambda mark, stream, m=more: (good_answer(mark, stream) + (m(mark) if callable(m) else m),), alone=(GOOD,))
        yield Case(f"{name} behind it, then the end", lambda mark, stream, m=more: (good_answer(mark, stream) + (m(mark) if callable(m) else m), CLOSE), alone=(GOOD,))
    for name, lines in (("close announced", "connection: close"), ("close and keep-alive", "connection: close, keep-alive"), ("upgrade", "connection: upgrade\r\nupgrade: h2c")):
        yield Case(name, lambda mark, stream, l=lines: (good_answer(mark, stream).replace(b"OK\r\n", b"OK\r\n" + l.encode() + b"\r\n", 1),), alone=(GOOD,), spoils=name != "upgrade")
    yield Case("HTTP/1.0", lambda mark, stream: (answer_bytes(plain_body(mark)).replace(b"HTTP/1.1", b"HTTP/1.0", 1),), alone=(GOOD,), ways=("plain",))
    yield Case("reset behind it", lambda mark, stream: (good_answer(mark, stream), 0.02, RESET), alone=(GOOD,))
    yield Case("half-closed behind it", lambda mark, stream: (good_answer(mark, stream), HALF), alone=(GOOD,))


def contents():
    no_json = {"half a JSON": b'{"id":"x","choices":[', "HTML": b"<html></html>", "text": b"hello", "a number": b"17", "null": b"null", "an array": b"[]", "a string": b'"x"', "two objects": b"{}{}",
               "NULs": bytes(50), "deep nesting": b'{"a":' * 10000, "deep arrays": b"[" * 10000, "a lone brace": b"{", "a comma too much": b'{"choices":[],}', "white space": b" \n\t" * 50, "invalid UTF-8": b'{"a":"\xff\xfe"',
               "a comment": b"/* */ {}", "gzip that is not named": gzip.compress(b'{"choices":[]}')}
    for name, data in no_json.items():
        yield Case(f"200 with {name}", body_of(data), spoils=False)
    yield Case("an event stream to a plain call", lambda mark, stream: (good_answer(mark, True),), ways=("plain",), spoils=False)
    yield Case("JSON to a stream call", lambda mark, stream: (good_answer(mark, False),), ways=("stream",), spoils=False)
    for coding in ("gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip"):
        yield Case(f"unasked {coding}", lambda mark, stream, c=coding: (answer_bytes(gzip.compress(good_body(mark, stream)), "text/event-stream" if stream else "application/json", headers=[("content-encoding", c)]),),
                   alone=(OPAQUE,), spoils=False)
        yield Case(f"unasked {coding}, cut", lambda mark, stream, c=coding: (answer_bytes(gzip.compress(good_body(mark, stream)), headers=[("content-encoding", c)])[:-9], CLOSE), alone=(ERROR, BROKEN))


def streams():
    only = {"ways": ("stream",)}
    malformed = {"no JSON": b"data: {nonsense\n\n", "half a JSON": b'data: {"id":\n\n', "an array": b"data: []\n\n", "a number": b"data: 1\n\n", "HTML": b"data: <html>\n\n", "half a string": b'data: {"id":"x\n\n'}
    for name, data in malformed.items():
        yield Case(f"event with {name}, behind content", sse(first, data, second, finish, DONE), alone=(LATE,), spoils=False, **only)
        yield Case(f"event with {name}, first", sse(data, first, second, finish, DONE), alone=(ERROR, LATE), spoils=False, **only)
    error = event({"error": {"message": "m", "type": "server_error", "code": "x"}})
    yield Case("an error first", sse(error), spoils=False, **only)
    yield Case("an error first, then content", sse(error, first, second, finish, DONE), spoils=False, **only)
    yield Case("an error behind content", sse(first, error), alone=(LATE,), spoils=False, **only)
    yield Case("an error behind content, then [DONE]", sse(first, error, DONE), alone=(LATE,), spoils=False, **only)
    yield Case("an error behind content, then the end", sse(first, error, end=b"", tail=(CLOSE,)), alone=(LATE,), **only)
    yield Case("an error behind content, left open", sse(first, error, end=b"", tail=(STALL,)), alone=(LATE,), quick=True, **only)
    yield Case("half an event behind [DONE], reset", sse(first, second, finish, DONE, b"data: {", end=b"", tail=(0.05, RESET)), alone=(GOOD,), **only)
    yield Case("an error of a type of its own", sse(first, b"event: error\n" + error), alone=(LATE,), spoils=False, **only)
    yield Case("a role and the end", sse(event({"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}), DONE), spoils=False, **only)
    yield Case("nothing but [DONE]", sse(DONE), spoils=False, **only)
    yield Case("nothing but comments", sse(b": x\n\n" * 50), spoils=False, **only)
    yield Case("comments for ever", raw(SSE, *[chunk(b": x\n\n"), 0.2] * 100), quick=True, exhausts=True, **only)
    yield Case("comments for ever behind content", lambda mark, stream: (SSE + chunk(first(mark)), *[chunk(b": x\n\n"), 0.2] * 100), alone=(LATE,), quick=True, **only)
    yield Case("no finish, a clean end", sse(first, second), alone=(LATE,), spoils=False, **only)
    yield Case("no finish, [DONE]", sse(first, second, DONE), alone=(GOOD, LATE, "unfinished"), spoils=False, **only)
    yield Case("a finish, no [DONE]", sse(first, second, finish), alone=(GOOD,), spoils=False, **only)
    yield Case("a finish, no [DONE], closed", sse(first, second, finish, end=b"", tail=(CLOSE,)), alone=(GOOD,), **only)
    yield Case("a finish, no [DONE], reset", sse(first, second, finish, end=b"", tail=(0.1, RESET)), alone=(GOOD,), **only)
    yield Case("a finish, no [DONE], left open", sse(first, second, finish, end=b"", tail=(STALL,)), alone=(GOOD,), quick=True, **only)
    yield Case("[DONE], left open", sse(first, second, finish, DONE, end=b"", tail=(STALL,)), alone=(GOOD,), quick=True, **only)
    yield Case("[DONE] twice", sse(first, second, finish, DONE, DONE), alone=(GOOD,), spoils=False, **only)
    yield Case("events behind [DONE]", sse(first, second, finish, DONE, event({"id": "later", "choices": [{"index": 0, "delta": {"content": "later"}}]})), alone=(GOOD,), spoils=False, **only)
    yield Case("lines that end in CR LF", lambda mark, stream: (SSE + b"".join(chunk(e.replace(b"\n", b"\r\n")) for e in stream_events(mark)) + b"0\r\n\r\n",), alone=(GOOD,), spoils=False, **only)
    yield Case("lines that end in CR", lambda mark, stream: (SSE + b"".join(chunk(e.replace(b"\n", b"\r")) for e in stream_events(mark)) + b"0\r\n\r\n",), alone=(GOOD,), spoils=False, **only)
    yield Case("no blank line at the end", lambda mark, stream: (SSE + chunk(b"".join(stream_events(mark))[:-1]) + b"0\r\n\r\n",), alone=(GOOD,), spoils=False, **only)
    yield Case("a byte order mark", sse(b"\xef\xbb\xbf", first, second, finish, DONE), alone=(GOOD, ERROR), spoils=False, **only)
    yield Case("stall behind content", sse(first, end=b"", tail=(STALL,)), alone=(LATE,), quick=True, **only)
    yield Case("half-close behind content", sse(first, end=b"", tail=(HALF,)), alone=(LATE,), **only)
    yield Case("reset behind content", sse(first, end=b"", tail=(0.1, RESET)), alone=(LATE,), **only)


def cuts():
    """Of a small answer: closed behind each byte of it; reset and stalled at some."""
    for stream in (False, True):
        ways = ("stream" if stream else "plain",)
        data = good_answer("m000000m", stream)
        shown = data.index(words("m000000m")[0].encode()) if stream else len(data)  # an event counts from its blank line
        begun = data.index(b"\n\n", shown) + 2 if stream else len(data)
        ended = data.index(b"\n\n", data.index(b'"stop"')) + 2 if stream else len(data)
        for at in range(1, len(data)):
            sees = (ERROR,) if at < begun else (LATE,) if at < ended else (GOOD, LATE)
            if begun - 4 <= at <= begun:
                sees = (ERROR, LATE)
            elif stream and ended - 4 <= at <= ended:
                sees = (LATE, GOOD)
            yield Case(f"cut at byte {at}", lambda mark, s, at=at: (good_answer(mark, s)[:at], CLOSE), alone=sees, ways=ways)
            if at % 19 == 0:  # what was sent may be lost with it
                yield Case(f"reset at byte {at}", lambda mark, s, at=at: (good_answer(mark, s)[:at], RESET), alone=(ERROR, *sees), ways=ways)
            if at % 19 == 1:
                yield Case(f"stalled at byte {at}", lambda mark, s, at=at: (good_answer(mark, s)[:at], STALL), alone=sees, ways=ways, quick=True)
            if at % 19 == 2:
                yield Case(f"half-closed at byte {at}", lambda mark, s, at=at: (good_answer(mark, s)[:at], HALF), alone=sees, ways=ways)


CASES = [c for group in (before_the_head, heads, interims, statuses, lengths, chunks, behind_the_answer, contents, streams, cuts) for c in group()]

# --- the provider ----------------------------------------------------------------------------------------------------------


class Actor:
    """Plays to each call the case that its text names: CASE:MARK."""

    def __init__(self):
        self.lock, self.seen, self.reused, self.again, self.trap = threading.Lock(), collections.Counter(), [], 0, 0
        self.bad, self.good, self.trapped = Provider(serve=self.play), Provider(serve=self.answer), Provider(serve=self.visited)

    def close(self):
        for p in (self.bad, self.good, self.trapped):
            p.close()

    def visited(self, conn):
        self.trap += 1

    @staticmethod
    def told(request):
        body = json.loads(request.body)
        number, mark = body["messages"][0]["content"].split(":")
        return int(number), mark, bool(body.get("stream"))

    def answer(self, conn):
        while request := conn.request():
            _, mark, stream = self.told(request)
            conn.send(good_answer(mark, stream))

    def play(self, conn):
        spoiled, n = None, 0
        while request := conn.request():
            number, mark, stream = self.told(request)
            with self.lock:
                self.seen[mark] += 1
                self.again += n > 0
                if spoiled:
                    self.reused.append((spoiled, CASES[number].name))
            n += 1
            case = CASES[number]
            for step in case.steps(mark, stream):
                if isinstance(step, bytes):
                    conn.send(step.replace(b"$TRAP", str(self.trapped.port).encode()) if len(step) < 500 else step)
                elif isinstance(step, float):
                    if select.select([conn.sock], [], [], step)[0] and not conn.sock.recv(1, socket.MSG_PEEK):
                        return  # the gateway has closed
                elif step == HALF:
                    conn.sock.shutdown(socket.SHUT_WR)
                    conn.gone()
                    return
                elif step == STALL:
                    if conn.gone():
                        with self.lock:
                            self.reused.append((case.name, "a request behind"))
                    return
                elif step == RESET:
                    conn.reset()
                    return
                else:
                    return
            if case.spoils:
                spoiled = case.name


# --- the calls -------------------------------------------------------------------------------------------------------------


def verdict(a, mark, stream):
    """What the client was told, in one word, and what is wrong with it."""
    if a is None:
        return "no answer", ""
    foreign = {m for m in re.findall(rb"m\d{6}m|stray", a.body)} - {mark.encode()}
    if foreign:
        return "foreign bytes", f"{foreign}"
    if not a.whole:
        return BROKEN, ""
    if a.status >= 300:
        if a.header("content-type") != "application/json":
            return (ERROR, "") if b"CANARY" in a.body else ("error of no shape", a.body[:100])
        try:
            shape = a.json()["error"]
            return ERROR, "" if "message" in shape else str(shape)
        except (ValueError, KeyError, TypeError):
            return (ERROR, "")
    if a.header("content-encoding"):
        return OPAQUE, "" if a.body == gzip.compress(b"") or gzip.decompress(a.body) == good_body(mark, stream) else "other bytes"
    full = "".join(words(mark))
    if not a.body:
        return "empty", ""
    if not stream:
        try:
            choice = a.json()["choices"][0]
            return (GOOD, "") if (choice["message"]["content"], choice["finish_reason"]) == (full, "stop") else ("fake", a.body[:200])
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return "fake", a.body[:200]
    a.pieces = [a.body.removeprefix(b"\xef\xbb\xbf")]
    events = a.events()
    if "[DONE]" in events and not any("error" in e for e in events[events.index("[DONE]"):]):
        events = events[:events.index("[DONE]") + 1]  # what stands behind it nobody reads
    errors = [e for e in events if isinstance(e, dict) and "error" in e]
    done = [e for e in events if e == "[DONE]"]
    said = "".join(c["delta"].get("content") or "" for e in events if isinstance(e, dict) for c in e.get("choices", ())[:1])
    ended = any(c.get("finish_reason") for e in events if isinstance(e, dict) for c in e.get("choices", ()))
    if errors:
        return (LATE, "") if len(errors) == 1 and not done and full.startswith(said) and (not ended or said == full) else ("fake", a.body[-300:])
    if len(done) == 1 and events[-1] == "[DONE]" and said == full:
        return (GOOD if ended else "unfinished"), ""
    return "fake", a.body[-300:]


# On a connection that was used before these may be a server that closed it for its idleness: the call goes out once more.
SILENT = ("reset", "close", "half-close")


class Base(unittest.TestCase):
    maxDiff, WORKERS = None, 2

    @classmethod
    def setUpClass(cls):
        cls.actor = Actor()
        cls.addClassCleanup(cls.actor.close)
        cls.idle, cls.early = Provider(), Provider()
        cls.addClassCleanup(cls.idle.close)
        cls.addClassCleanup(cls.early.close)
        text = POLICY
        for name, p in (("BAD", cls.actor.bad), ("GOOD", cls.actor.good), ("IDLE", cls.idle), ("EARLY", cls.early)):
            text = text.replace("$" + name, str(p.port))
        cls.stack = cls.enterClassContext(Stack(BUILD, text, agent={"workers": cls.WORKERS}))
        cls.calls = 0

    @classmethod
    def rss(cls):
        with open(f"/proc/{cls.stack.agent.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def ask(self, model, text, stream):
        wire = self.enterContext(self.stack.connect("unix", timeout=HANG_S))
        wire.send(CHAT, {"model": model, "messages": [{"role": "user", "content": text}], **({"stream": True} if stream else {})})
        type(self).calls += 1
        return wire


class Sweep(Base):
    def test_the_table(self):
        self.assertGreater(len(CASES), 300)
        self.assertEqual(len({(c.name, c.ways) for c in CASES}), len(CASES))
        todo = [(i, c, way, paired) for i, c in enumerate(CASES) for way in c.ways for paired in (False, True)]
        random.Random(5).shuffle(todo)
        work, wrong, tried, ids, lock = queue.SimpleQueue(), [], {}, {}, threading.Lock()
        for n, t in enumerate(todo):
            work.put((n, t))
        before = self.rss()

        def caller():
            while True:
                try:
                    n, (i, case, way, paired) = work.get_nowait()
                except queue.Empty:
                    return
                mark = f"m{n:06}m"
                model = ("quick" if case.quick else "bad") + ("-good" if paired else "")
                began = time.monotonic()
                try:
                    a = self.stack.chat(model, f"{i}:{mark}", way="unix", **({"stream": True} if way == "stream" else {}))
                    what, why = verdict(a, mark, way == "stream")
                except (OSError, AssertionError, ValueError, RecursionError) as e:
                    a, what, why = None, repr(e), ""
                if what == GOOD and a.header("x-aigw-provider") == "good":
                    what = "healthy"
                with lock:
                    tried[mark] = case.name
                    if a:
                        ids[a.header("x-request-id")] = what
                    if what not in case.allowed(paired) or why or time.monotonic() - began > HANG_S:
                        wrong.append((case.name, way, "pair" if paired else "alone", what, why, f"{time.monotonic() - began:.1f} s"))
        threads = [threading.Thread(target=caller) for _ in range(24)]
        began = time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        print(f"# {len(CASES)} misbehaviours, {len(todo)} calls in {time.monotonic() - began:.1f} s, {self.actor.bad.accepted} connections; "
              f"the agent holds {(self.rss() - before) / 1e6:.1f} MB more than before", file=sys.stderr)
        if wrong:
            self.fail("\n".join(sorted(map(str, wrong))))
        self.assertEqual(self.actor.reused, [])
        self.assertGreater(self.actor.again, 10)  # those that were well are used again
        self.assertEqual(self.actor.trap, 0)  # nobody went where a redirect pointed
        self.assertEqual({tried[m]: n for m, n in self.actor.seen.items() if n > (2 if tried[m] in SILENT else 1)}, {})
        self.assertEqual([name for m, name in tried.items() if not self.actor.seen[m]], [])
        self.assertLess(self.rss() - before, 64 << 20)
        type(self).calls += len(todo)
        records = {r["request_id"]: r for r in self.stack.wait_records(self.calls)}
        self.assertEqual(len(records), self.calls)
        outcomes = {GOOD: "ok", "healthy": "ok", OPAQUE: "ok", LATE: "cut", ERROR: "failed", BROKEN: "cut"}
        told = [(records[i]["outcome"], what) for i, what in ids.items() if what in outcomes and records[i]["outcome"] != outcomes[what]]
        self.assertEqual(collections.Counter(told), {})


class ByHand(Base):
    """One connection at a time, at one worker: which of the pool's is taken is known."""

    WORKERS = 1

    def events_of_100_mb(self, conn, mark, piece=b"x" * (1 << 20)):
        """One event line of 100 MB, and behind it the end."""
        conn.send(SSE + chunk(first(mark)) + chunk(b'data: {"choices":[{"index":0,"delta":{"x":"'))
        for _ in range(100):
            conn.send(chunk(piece))
        conn.send(chunk(b'"}}]}\n\n') + b"".join(chunk(f(mark)) for f in (second, finish)) + chunk(DONE) + b"0\r\n\r\n")

    def plain_of_100_mb(self, conn, mark, piece=b"x" * (1 << 20)):
        conn.send(head(f"content-length: {(100 << 20) + 8}") + b'{"x":"')
        for _ in range(100):
            conn.send(piece)
        conn.send(b'"}')

    def test_100_mb_in_one_line(self):
        """They pass through, and are nowhere held as a whole; nor when the client is slow."""
        for play, stream in ((self.events_of_100_mb, True), (self.plain_of_100_mb, False)):
            with self.subTest(play.__name__):
                before = self.rss()
                wire = self.ask("idle", "x", stream)
                conn = self.idle.accept()
                conn.request()
                sender = threading.Thread(target=play, args=(conn, "m000000m"))
                sender.start()
                a = wire.head()
                select.select([], [], [], 0.5)  # what sockets and gateway take while nobody reads
                most = self.rss()
                size, length = 0, int(a.header("content-length") or 0)
                while got := wire.chunk() if stream else wire.exactly(min(1 << 20, length - size)):
                    size += len(got)
                    most = max(most, self.rss())
                sender.join()
                conn.close()
                print(f"# {play.__name__}: {size / 1e6:.0f} MB passed, the agent held at most {(most - before) / 1e6:.1f} MB more", file=sys.stderr)
                self.assertEqual((a.status, size > 100 << 20), (200, True))
                self.assertLess(most - before, 48 << 20)

    def good_call(self):
        """One on a connection that is idle from then on: (answer, connection)."""
        wire = self.ask("idle", "x", False)
        conn = self.idle.accept()
        conn.request()
        conn.send(good_answer("m000001m", False))
        self.assertEqual(verdict(wire.answer(), "m000001m", False), (GOOD, ""))
        return conn

    def test_bytes_on_an_idle_connection(self):
        """An answer to nothing ends the connection, and nobody gets it."""
        for data in (stray("x"), b"X", b"\r\n", b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", b"\0" * 70000):
            conn = self.good_call()
            conn.send(data)
            self.assertEqual(conn.gone(), b"")

    def test_bytes_on_an_idle_connection_just_before_the_next_call(self):
        """Both are there before the agent looks: the call must not take the stray answer for its own."""
        for order in ("bytes first", "call first"):
            with self.subTest(order):
                wire = self.ask("early", "x", False)  # a connection that the agent knows: it reads the call at once
                with self.early.accept() as other:
                    other.request()
                    other.send(good_answer("m000001m", False))
                    self.assertEqual(wire.answer().status, 200)
                conn = self.good_call()
                with AllStopped(self.stack.agent.pid):
                    if order == "bytes first":
                        conn.send(stray("x"))
                    wire.send(CHAT, {"model": "idle", "messages": [{"role": "user", "content": "x"}]})
                    if order == "call first":
                        conn.send(stray("x"))
                fresh = self.idle.accept()
                fresh.request()
                fresh.send(good_answer("m000002m", False))
                self.assertEqual(verdict(wire.answer(), "m000002m", False), (GOOD, ""))
                fresh.close()
                # Sent before the stray bytes had their turn, it was sent in vain.
                self.assertLessEqual(conn.gone().count(b"POST "), order == "call first")

    def test_an_answer_before_the_request_is_read(self):
        """It counts, if it is one; its connection is used up."""
        for size in (10, 8 << 20):
            for status in (200, 413, 500):
                with self.subTest(size=size, status=status):
                    wire = self.ask("early", "x" * size, False)
                    conn = self.early.accept()
                    if size == 10:
                        conn.request()
                    body = plain_body("m000003m") if status == 200 else compact({"error": {"message": "m", "code": "x"}})
                    conn.send(answer_bytes(body, status=status))
                    a = wire.answer()
                    self.assertEqual((a.status, a.body), (status, body))
                    conn.gone() if size > 10 else conn.close()


if __name__ == "__main__":
    unittest.main()
