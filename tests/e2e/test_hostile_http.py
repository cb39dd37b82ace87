"""Requests and answers that are malformed, ambiguous or oversized: a table of what becomes of each. None reaches the provider as something
else, none reaches the client as something else; after a refusal the connection ends, or goes on exactly as its row says.

Sources: RFC 9110 and 9112; the lines that llhttp 8.1.0 in strict mode takes and should not are marked with an asterisk.
Usage: test_hostile_http.py [BUILD_ROOT] [unittest arguments]
"""
import contextlib
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from provider import ANSWER, CHAT, SSE_HEAD, Provider, answer_bytes, chunk, event  # noqa: E402

BUILD = build_root()
PATH = b"/v1/chat/completions"
BODY = json.dumps({"model": "raw", "messages": [{"role": "user", "content": "hostile"}]}).encode()
GOOD_BODY = json.dumps({"model": "raw", "messages": [{"role": "user", "content": "good"}]}).encode()

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: raw, type: openai-compatible, base_url: "http://127.0.0.1:$PORT/v1", credential: raw, timeouts: {connect: 2s, first_byte: 2s, idle: 2s, total: 20s}}
models:
  - {name: raw, targets: [{provider: raw, model: raw}]}
customers:
  - name: acme
    projects: [{name: search}, {name: playground}]
identities:
  - {uid: $UID, project: playground}
"""


def post(line=b"POST " + PATH + b" HTTP/1.1", fields=(), body=BODY, host=b"Host: a\r\n", length=True, auth=True):
    """A request that would be served, but for what the row puts in."""
    out = line + b"\r\n" + host + (b"Authorization: Bearer KEY\r\n" if auth else b"") + b"Content-Type: application/json\r\n"
    if length:
        out += b"Content-Length: %d\r\n" % len(body)
    return out + b"".join(f + b"\r\n" for f in fields) + b"\r\n" + body


def chunked(frame, fields=(), te=b"Transfer-Encoding: chunked"):
    return post(fields=[te, *fields], body=frame, length=False)


def one_chunk(size=None, ext=b"", end=b"0\r\n\r\n", eol=b"\r\n", data_eol=b"\r\n"):
    return (size or b"%x" % len(BODY)) + ext + eol + BODY + data_eol + end


LINE = b"POST " + PATH + b" HTTP/1.1"
END, STAY = "the connection ends", "the connection goes on"
SERVED = 200

# name: (bytes, status, what becomes of the connection)
REQUESTS = {
    # --- request line
    "method in small letters": (post(b"post " + PATH + b" HTTP/1.1"), 400, END),
    "method that nobody knows": (post(b"FROB " + PATH + b" HTTP/1.1"), 400, END),
    "method with a control byte": (post(b"PO\x01ST " + PATH + b" HTTP/1.1"), 400, END),
    "method with a colon": (post(b"POST: " + PATH + b" HTTP/1.1"), 400, END),
    "no method": (post(b" " + PATH + b" HTTP/1.1"), 400, END),
    "no target": (post(b"POST  HTTP/1.1"), 400, END),
    "two blanks before the target": (post(b"POST  " + PATH + b" HTTP/1.1"), 400, END),
    "two blanks before the version *": (post(b"POST " + PATH + b"  HTTP/1.1"), 400, END),
    "tab for a blank": (post(b"POST\t" + PATH + b" HTTP/1.1"), 400, END),
    "blank in the target": (post(b"POST /v1/chat completions HTTP/1.1"), 505, END),
    "blank behind the version": (post(LINE + b" "), 505, END),
    "empty line before the request *": (b"\r\n" + post(), 400, END),
    "line feeds before the request": (b"\n\n" + post(), 400, END),
    "HTTP/0.9 *": (b"POST " + PATH + b"\r\n\r\n", 505, END),
    "HTTP/2.0": (post(b"POST " + PATH + b" HTTP/2.0"), 505, END),
    "HTTP/1.2": (post(b"POST " + PATH + b" HTTP/1.2"), 505, END),
    "HTTP/1.10": (post(b"POST " + PATH + b" HTTP/1.10"), 505, END),
    "HTTP/01.1": (post(b"POST " + PATH + b" HTTP/01.1"), 505, END),
    "http/1.1": (post(b"POST " + PATH + b" http/1.1"), 505, END),
    "HTTPS/1.1": (post(b"POST " + PATH + b" HTTPS/1.1"), 505, END),
    "ICE/1.0": (post(b"POST " + PATH + b" ICE/1.0"), 505, END),
    "RTSP/1.0": (post(b"POST " + PATH + b" RTSP/1.0"), 505, END),
    "no version": (post(b"POST " + PATH + b" "), 505, END),
    "control byte in the target": (post(b"POST " + PATH + b"\x01 HTTP/1.1"), 400, END),
    "NUL in the target": (post(b"POST /v1\x00/chat/completions HTTP/1.1"), 400, END),
    "byte above 0x7f in the target *": (post(b"POST " + PATH + b"\xe9 HTTP/1.1"), 400, END),
    "fragment in the target": (post(b"POST " + PATH + b"#x HTTP/1.1"), 400, END),
    "absolute form, even of our own host": (post(b"POST http://a" + PATH + b" HTTP/1.1"), 400, END),  # we are nobody's proxy
    "absolute form of another host *": (post(b"POST http://evil.example" + PATH + b" HTTP/1.1"), 400, END),
    "absolute form with a user": (post(b"POST http://u@a" + PATH + b" HTTP/1.1"), 400, END),
    "absolute form of another scheme": (post(b"POST ftp://a" + PATH + b" HTTP/1.1"), 400, END),
    "authority form": (post(b"POST a:80 HTTP/1.1"), 400, END),
    "asterisk form": (post(b"POST * HTTP/1.1"), 400, END),
    "target without a slash": (post(b"POST v1/chat/completions HTTP/1.1"), 400, END),
    "CONNECT *": (post(b"CONNECT a:443 HTTP/1.1", body=b""), 426, END),
    "TRACE": (post(b"TRACE " + PATH + b" HTTP/1.1", body=b"", length=False), 405, STAY),
    "target of 70,000 bytes": (post(b"POST /" + b"x" * 70000 + b" HTTP/1.1"), 431, END),
    "encoded slash is no slash": (post(b"POST /v1%2fchat/completions HTTP/1.1"), 404, STAY),
    "encoded letter is no letter": (post(b"POST /v1/ch%61t/completions HTTP/1.1"), 404, STAY),
    "dots are no way up": (post(b"POST /v1/models/../chat/completions HTTP/1.1"), 405, STAY),
    "semicolon parameters": (post(b"POST " + PATH + b";x HTTP/1.1"), 404, STAY),
    "other letters of a path": (post(b"POST /V1/Chat/Completions HTTP/1.1"), 404, STAY),
    "the controller's path": (post(b"POST /api/v1/policy HTTP/1.1"), 404, STAY),
    # --- line ends and heads
    "bare line feeds": (post().replace(b"\r\n", b"\n"), 400, END),
    "bare line feed behind the request line": (post().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"), 400, END),
    "bare line feed behind a field": (post().replace(b"Host: a\r\n", b"Host: a\n"), 400, END),
    "bare carriage return behind a field": (post().replace(b"Host: a\r\n", b"Host: a\r"), 400, END),
    "carriage return in a value": (post(fields=[b"X: a\rb"]), 400, END),
    "line feed in a value": (post(fields=[b"X: a\nb"]), 400, END),
    "NUL in a value": (post(fields=[b"X: a\x00b"]), 400, END),
    "control byte in a value": (post(fields=[b"X: a\x1fb"]), 400, END),
    "DEL in a value": (post(fields=[b"X: a\x7fb"]), 400, END),
    "byte above 0x7f in a value *": (post(fields=[b"X: \xe9"]), 400, END),
    "folded field *": (post(fields=[b"X: a\r\n b"]), 400, END),
    "folded field with a tab *": (post(fields=[b"X: a\r\n\tb"]), 400, END),
    "first field folded": (post(host=b" Host: a\r\n"), 400, END),
    "blank before the colon": (post(fields=[b"X : a"]), 400, END),
    "tab before the colon": (post(fields=[b"X\t: a"]), 400, END),
    "no colon": (post(fields=[b"nonsense"]), 400, END),
    "empty field name *": (post(fields=[b": a"]), 400, END),
    "blank in a field name": (post(fields=[b"X Y: a"]), 400, END),
    "control byte in a field name": (post(fields=[b"X\x02: a"]), 400, END),
    "byte above 0x7f in a field name": (post(fields=[b"X\xe9: a"]), 400, END),
    "parenthesis in a field name": (post(fields=[b"X(: a"]), 400, END),
    "101 fields": (post(fields=[b"X%d: a" % i for i in range(101)]), 431, END),
    "field of 70,000 bytes": (post(fields=[b"X: " + b"a" * 70000]), 431, END),
    "head of 70,000 bytes": (post(fields=[b"X%d: %s" % (i, b"a" * 1000) for i in range(70)]), 431, END),
    # --- host
    "no host *": (post(host=b""), 400, END),
    "two hosts *": (post(host=b"Host: a\r\nHost: b\r\n"), 400, END),
    "the same host twice *": (post(host=b"Host: a\r\nHost: a\r\n"), 400, END),
    "host with a blank *": (post(host=b"Host: a b\r\n"), 400, END),
    "host with a path *": (post(host=b"Host: a/b\r\n"), 400, END),
    "host with a user *": (post(host=b"Host: u@a\r\n"), 400, END),
    "host with a wrong port *": (post(host=b"Host: a:99999999\r\n"), 400, END),
    "host list": (post(host=b"Host: a, b\r\n"), 400, END),
    # --- length and coding
    "length and chunked": (chunked(one_chunk(), [b"Content-Length: 5"]), 400, END),
    "chunked and length": (post(fields=[b"Content-Length: 5", b"Transfer-Encoding: chunked"], length=False, body=one_chunk()), 400, END),
    "two lengths": (post(fields=[b"Content-Length: 5"]), 400, END),
    "the same length twice": (post(fields=[b"Content-Length: %d" % len(BODY)]), 400, END),
    "list of lengths": (post(length=False, fields=[b"Content-Length: %d, %d" % (len(BODY), len(BODY))]), 400, END),
    "length with a plus": (post(length=False, fields=[b"Content-Length: +%d" % len(BODY)]), 400, END),
    "negative length": (post(length=False, fields=[b"Content-Length: -1"]), 400, END),
    "length in hexadecimal": (post(length=False, fields=[b"Content-Length: 0x10"]), 400, END),
    "length with a blank inside": (post(length=False, fields=[b"Content-Length: 1 0"]), 400, END),
    "length beyond 64 bits": (post(length=False, fields=[b"Content-Length: 99999999999999999999999"]), 400, END),
    "empty length": (post(length=False, fields=[b"Content-Length: "]), 400, END),
    "length with an underscore *": (post(length=False, fields=[b"Content_Length: %d" % len(BODY)]), 400, END),
    "length with letters behind": (post(length=False, fields=[b"Content-Length: %dx" % len(BODY)]), 400, END),
    "larger than max_body": (post(length=False, fields=[b"Content-Length: 33554433"]), 413, END),
    "gzip, chunked *": (chunked(one_chunk(), te=b"Transfer-Encoding: gzip, chunked"), 400, END),
    "chunked, gzip": (chunked(one_chunk(), te=b"Transfer-Encoding: chunked, gzip"), 400, END),
    "chunked, chunked": (chunked(one_chunk(), te=b"Transfer-Encoding: chunked, chunked"), 400, END),
    "coding twice": (chunked(one_chunk(), [b"Transfer-Encoding: chunked"]), 400, END),
    "identity": (chunked(one_chunk(), te=b"Transfer-Encoding: identity"), 400, END),
    "xchunked": (chunked(one_chunk(), te=b"Transfer-Encoding: xchunked"), 400, END),
    "chunkedx": (chunked(one_chunk(), te=b"Transfer-Encoding: chunkedx"), 400, END),
    "quoted chunked": (chunked(one_chunk(), te=b"Transfer-Encoding: \"chunked\""), 400, END),
    "chunked behind a tab and VT": (chunked(one_chunk(), te=b"Transfer-Encoding: \x0bchunked"), 400, END),
    "empty coding": (chunked(one_chunk(), te=b"Transfer-Encoding:"), 400, END),
    "coding of HTTP/1.0 *": (chunked(one_chunk()).replace(b"HTTP/1.1", b"HTTP/1.0"), 400, END),
    "coding with an underscore": (chunked(one_chunk(), te=b"Transfer_Encoding: chunked"), 400, END),
    "body on GET *": (post(b"GET /v1/models HTTP/1.1"), 200, STAY),
    # --- chunks
    "chunk size with 0x": (chunked(one_chunk(b"0x5")), 400, END),
    "chunk size with a plus": (chunked(one_chunk(b"+5")), 400, END),
    "negative chunk size": (chunked(one_chunk(b"-5")), 400, END),
    "no chunk size": (chunked(b"\r\n" + BODY), 400, END),
    "chunk size with a blank before": (chunked(one_chunk(b" %x" % len(BODY))), 400, END),
    "chunk size with a blank behind": (chunked(one_chunk(ext=b" ")), 400, END),
    "chunk size beyond 64 bits": (chunked(one_chunk(b"fffffffffffffffff")), 400, END),
    "chunk extension *": (chunked(one_chunk(ext=b";a=b")), 400, END),
    "chunk extension without a name *": (chunked(one_chunk(ext=b";")), 400, END),
    "chunk extension with a line feed": (chunked(one_chunk(ext=b";a=\n")), 400, END),
    "chunk size ended by a line feed": (chunked(one_chunk(eol=b"\n")), 400, END),
    "chunk data ended by a line feed": (chunked(one_chunk(data_eol=b"\n")), 400, END),
    "chunk data longer than its size": (chunked(one_chunk(data_eol=b"xx\r\n")), 400, END),
    "chunk data without an end": (chunked(one_chunk(data_eol=b"")), 400, END),
    "last chunk of letters": (chunked(one_chunk(end=b"zero\r\n\r\n")), 400, END),
    "length in the trailer *": (chunked(one_chunk(end=b"0\r\nContent-Length: 5\r\n\r\n")), 400, END),
    "coding in the trailer": (chunked(one_chunk(end=b"0\r\nTransfer-Encoding: chunked\r\n\r\n")), 400, END),
    "host in the trailer": (chunked(one_chunk(end=b"0\r\nHost: b\r\n\r\n")), 400, END),
    "credential in the trailer": (chunked(one_chunk(end=b"0\r\nAuthorization: Bearer x\r\n\r\n")), 400, END),
    "malformed trailer": (chunked(one_chunk(end=b"0\r\nnonsense\r\n\r\n")), 400, END),
    "trailer of 70,000 bytes": (chunked(one_chunk(end=b"0\r\nX: " + b"a" * 70000 + b"\r\n\r\n")), 400, END),
    # --- what asks for another protocol or another server
    "upgrade to a websocket *": (post(fields=[b"Connection: Upgrade", b"Upgrade: websocket"]), 426, END),
    "upgrade to h2c *": (post(fields=[b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"]), 426, END),
    "upgrade without connection *": (post(fields=[b"Upgrade: websocket"]), 426, END),
    "preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, END),
    "a TLS client": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 64 + b"\r\n\r\n", 400, END),
    "expectation that nobody knows": (post(fields=[b"Expect: 200-ok"]), 417, STAY),
    "two credentials": (post(fields=[b"X-Api-Key: sk-aigw-other"]), 400, STAY),
    "two equal header forms of other keys": (post(fields=[b"Api-Key: KEYx"]), 400, STAY),
    "credential of another scheme": (post(auth=False, fields=[b"Authorization: Basic dTpw"]), 401, STAY),
    "credential twice": (post(fields=[b"Authorization: Bearer sk-aigw-x"]), 400, STAY),
    "no credential": (post(auth=False), 401, STAY),
    "custom host header": (post(fields=[b"X-Aigw-Custom-Host: http://evil.example"]), 400, STAY),
    "unknown header of ours": (post(fields=[b"X-AIGW-Target: raw/raw"]), 400, STAY),
    "plain text": (post().replace(b"application/json", b"text/plain"), 415, STAY),
    "form": (post().replace(b"application/json", b"application/x-www-form-urlencoded"), 415, STAY),
    # --- bodies
    "body that is no JSON": (post(body=b"model=raw"), 400, STAY),
    "body with NUL": (post(body=b"\x00" + BODY), 400, STAY),
    "body behind a byte order mark": (post(body=b"\xef\xbb\xbf" + BODY), 400, STAY),
    "body in UTF-16": (post(body=BODY.decode().encode("utf-16")), 400, STAY),
    "two bodies in one": (post(body=BODY + BODY), 400, STAY),
    "model twice": (post(body=BODY.replace(b'"model"', b'"model": "small", "model"')), 400, STAY),
    "model and its escaped twin": (post(body=BODY.replace(b'"model"', b'"mod\\u0065l": "x", "model"')), 400, STAY),
    "stream twice": (post(body=BODY.replace(b'"model"', b'"stream": true, "stream": false, "model"')), 400, STAY),
    "model that is no string": (post(body=BODY.replace(b'"raw"', b'["raw"]')), 400, STAY),
    "model of nobody": (post(body=BODY.replace(b'"raw"', b'"\\u0000"')), 404, STAY),
    "no model": (post(body=b'{"messages": []}'), 400, STAY),
    "200 levels deep": (post(body=b'{"model": "raw", "x": ' + b"[" * 200 + b"]" * 200 + b"}"), 400, STAY),
    "100,000 levels deep": (post(body=b'{"model": "raw", "x": ' + b"[" * 100000), 400, STAY),
    "empty body": (post(body=b""), 400, STAY),
}

# What looks odd and is right: served as it stands.
ODD = {
    "host with a port": post(host=b"Host: 127.0.0.1:2449\r\n"),
    "empty value": post(fields=[b"X:"]),
    "blanks around a value": post(fields=[b"X: \t a \t "]),
    "query": post(b"POST " + PATH + b"?api-version=1 HTTP/1.1"),
    "doubled slash": post(b"POST //v1//chat/completions HTTP/1.1"),
    "no /v1": post(b"POST /chat/completions HTTP/1.1"),
    "CHUNKED in capitals": chunked(one_chunk(), te=b"TRANSFER-ENCODING: CHUNKED"),
    "chunk size in capitals": chunked(one_chunk(b"%X" % len(BODY))),
    "zeros before a chunk size": chunked(one_chunk(b"0" * 40 + b"%x" % len(BODY))),
    "harmless trailer": chunked(one_chunk(end=b"0\r\nX-Sum: 1\r\n\r\n")),
    "leading zeros of a length": post(length=False, fields=[b"Content-Length: 000%d" % len(BODY)]),
    "api_base in the body is data": post(body=BODY.replace(b'"model"', b'"api_base": "http://evil.example", "base_url": "x", "model"')),
}


class Recorder:
    """A provider that answers everything and keeps what it got."""

    def __init__(self):
        self.bodies, self.lines = [], []

    def serve(self, conn):
        while (request := conn.request()) is not None:
            self.bodies.append(request.body)
            self.lines.append(request.line)
            conn.send(ANSWER)


class Hostile(unittest.TestCase):
    def made(self, serve):
        provider = self.enterContext(Provider(serve=serve))
        stack = Stack(BUILD, policy=POLICY.replace("$PORT", str(provider.port)), secrets={"raw": "sk-provider-raw"})
        return self.enterContext(stack)


class Requests(Hostile):
    def setUp(self):
        self.recorder = Recorder()
        self.stack = self.made(self.recorder.serve)
        self.key = self.stack.make_key("search").encode()
        self.good = post(body=GOOD_BODY).replace(b"KEY", self.key)

    def check(self, wire, status, fate, name):
        answer = wire.answer()
        self.assertIsNotNone(answer, name)
        self.assertEqual(answer.status, status, f"{name}: {answer.body[:200]}")
        if status >= 400 and answer.body:
            self.assertIn("error", answer.json(), name)
            self.assertNotIn(self.key, answer.body, name)
        if fate is END:
            self.assertTrue(wire.closed(), f"{name}: the connection goes on")
        else:
            wire.sock.sendall(self.good)
            self.assertEqual(wire.answer().status, 200, name)

    def rows(self):
        for name, (data, status, fate) in REQUESTS.items():
            yield name, data.replace(b"KEY", self.key), status, fate

    def upstream_saw_only_good(self, name):
        seen, self.recorder.bodies = self.recorder.bodies, []
        self.assertEqual([b for b in seen if b != GOOD_BODY], [], f"{name}: reached the provider")

    def test_alone(self):
        """Each on a connection of its own, over TCP and over the unix socket."""
        self.assertGreaterEqual(len(REQUESTS) + len(ANSWERS) + len(STREAMS), 160)
        for name, data, status, fate in self.rows():
            for way in ("tcp", "unix"):
                if way == "unix" and status == 401:
                    continue  # there the kernel says who it is
                with self.subTest(name, way=way), self.stack.connect(way) as wire:
                    wire.sock.sendall(data)
                    self.check(wire, status, fate, name)
                    self.upstream_saw_only_good(name)

    def test_behind_a_good_one(self):
        """On a connection that has served a call; and pipelined behind one that is still running."""
        for name, data, status, fate in self.rows():
            for pipelined in (False, True):
                with self.subTest(name, pipelined=pipelined), self.stack.connect("tcp") as wire:
                    wire.sock.sendall(self.good + data if pipelined else self.good)
                    self.assertEqual(wire.answer().status, 200)
                    if not pipelined:
                        wire.sock.sendall(data)
                    self.check(wire, status, fate, name)
                    self.upstream_saw_only_good(name)

    def test_in_pieces(self):
        """Cut once in the request line, in a field, before the last byte of the head, in the body."""
        for name, data, status, fate in self.rows():
            if len(data) > 10000:
                continue
            head = data.find(b"\r\n\r\n")
            for at in sorted({3, len(data) // 3, max(head - 1, 1), head + 3, len(data) - 1}):
                if not 0 < at < len(data):
                    continue
                with self.subTest(name, at=at), self.stack.connect("tcp") as wire:
                    wire.sock.sendall(data[:at])
                    with contextlib.suppress(OSError):  # it may have been refused by now
                        wire.sock.sendall(data[at:])
                    self.check(wire, status, fate, name)
                    self.upstream_saw_only_good(name)

    def test_odd_but_right(self):
        for name, data in ODD.items():
            with self.subTest(name), self.stack.connect("tcp") as wire:
                wire.sock.sendall(data.replace(b"KEY", self.key) + self.good)
                self.assertEqual(wire.answer().status, 200, name)
                self.assertEqual(wire.answer().status, 200, name)
        self.assertEqual(set(self.recorder.lines), {"POST /v1/chat/completions HTTP/1.1"})
        for body in self.recorder.bodies:
            self.assertIn(json.loads(body)["messages"][0]["content"], ("hostile", "good"))

    def test_what_is_smuggled_behind_a_refusal_is_not_run(self):
        for name, data, status, fate in self.rows():
            if fate is END:
                with self.subTest(name), self.stack.connect("tcp") as wire:
                    with contextlib.suppress(OSError):
                        wire.sock.sendall(data + self.good + self.good)
                    self.assertEqual(wire.answer().status, status, name)
                    self.assertEqual(self.recorder.bodies, [], name)


# --- answers of a hostile provider. name: (bytes, status that the client sees); every connection is used once only
GOOD_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
JSON = json.dumps(CHAT).encode()


def answer(head=GOOD_HEAD, fields=(), body=JSON, length=None):
    length = len(body) if length is None else length
    return head + b"".join(f + b"\r\n" for f in fields) + b"content-length: %d\r\n\r\n" % length + body


def bad_chunks(data):
    return GOOD_HEAD + b"transfer-encoding: chunked\r\n\r\n" + data


ANSWERS = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n", 502),
    "nonsense": (b"\x00\x01\x02\x03" * 20 + b"\r\n\r\n", 502),
    "HTTP/0.9": (b"{}\r\n\r\n", 502),
    "HTTP/2.0": (answer(b"HTTP/2.0 200 OK\r\n"), 502),
    "ICY": (answer(b"ICY 200 OK\r\n"), 502),
    "status of two digits": (answer(b"HTTP/1.1 20 OK\r\n"), 502),
    "status of four digits": (answer(b"HTTP/1.1 2000 OK\r\n"), 502),
    "status 099": (answer(b"HTTP/1.1 099 OK\r\n"), 502),
    "status 600": (answer(b"HTTP/1.1 600 OK\r\n"), 502),
    "status of letters": (answer(b"HTTP/1.1 abc OK\r\n"), 502),
    "bare line feeds": (answer().replace(b"\r\n", b"\n"), 502),
    "folded field": (answer(fields=[b"x: a\r\n b"]), 502),
    "no colon": (answer(fields=[b"nonsense"]), 502),
    "blank before the colon": (answer(fields=[b"x : a"]), 502),
    "empty field name": (answer(fields=[b": a"]), 502),
    "NUL in a value": (answer(fields=[b"x: a\x00b"]), 502),
    "carriage return in a value": (answer(fields=[b"x: a\rset-cookie: b"]), 502),
    "length and chunked": (answer(fields=[b"transfer-encoding: chunked"]), 502),
    "two lengths": (answer(fields=[b"content-length: 3"]), 502),
    "length with a plus": (answer(length=0).replace(b": 0\r\n", b": +3\r\n"), 502),
    "length beyond 64 bits": (answer(length=0).replace(b": 0\r\n", b": 99999999999999999999999\r\n"), 502),
    "gzip, chunked": (bad_chunks(chunk(JSON) + b"0\r\n\r\n").replace(b": chunked", b": gzip, chunked"), 502),
    "identity": (bad_chunks(JSON).replace(b": chunked", b": identity"), 502),
    "head of 200,000 bytes": (answer(fields=[b"x%d: %s" % (i, b"a" * 1000) for i in range(200)]), 502),
    "1,000 fields": (answer(fields=[b"x%d: a" % i for i in range(1000)]), 502),
    "endless field": (GOOD_HEAD + b"x: " + b"a" * 300000, 502),
    "chunk size of letters": (bad_chunks(b"zz\r\n" + JSON), 502),
    "chunk without an end": (bad_chunks(b"5\r\nhello there"), 502),
    "chunk extension": (bad_chunks(b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(JSON), JSON)), 502),
    "negative chunk size": (bad_chunks(b"-1\r\n"), 502),
    "shorter than it says": (answer(length=len(JSON) + 10), 502),
    "cut in the head": (GOOD_HEAD[:30], 503),
    "closed at once": (b"", 503),
    "101": (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n", 502),
    "a hundred interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n" * 100000 + answer(), 502),
    "redirect": (b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n", 502),
    "our own credential refused": (answer(b"HTTP/1.1 401 No\r\ncontent-type: application/json\r\n", body=b'{"error": {"message": "sk-provider-raw"}}'), 502),
    "proxy asks for a credential": (answer(b"HTTP/1.1 407 No\r\n"), 407),
    "204 with a body": (answer(b"HTTP/1.1 204 No Content\r\n"), 204),
    "304": (b"HTTP/1.1 304 Not Modified\r\n\r\n", 502),
}

STREAMS = {  # of a stream call; what the client has to see: a piece of text, and never the clean end
    "an event stream with a length that is too small": (
        SSE_HEAD.replace(b"transfer-encoding: chunked", b"content-length: 20") + event(CHAT), None),
    "a chunk that is none": (SSE_HEAD + chunk(event({"choices": [{"index": 0, "delta": {"content": "x"}}]})) + b"nonsense\r\n", b"error"),
    "cut in a chunk": (SSE_HEAD + chunk(event({"choices": [{"index": 0, "delta": {"content": "x"}}]})) + b"ff\r\ndata: {", b"error"),
    "cut between chunks": (SSE_HEAD + chunk(event({"choices": [{"index": 0, "delta": {"content": "x"}}]})), b"error"),
}


class Answers(Hostile):
    def setUp(self):
        self.next, self.served = [b""], 0
        self.stack = self.made(self.serve)
        self.key = self.stack.make_key("search")

    def serve(self, conn):
        """One answer on each connection, with a second one behind it that must never be seen; then the connection stays open."""
        while (request := conn.request()) is not None:
            self.served += 1
            data, *stay = self.next  # before the answer: the test goes on with it
            with contextlib.suppress(OSError):
                conn.send(data)
                if not stay:
                    conn.sock.shutdown(1)
            conn.gone()

    def call(self, data, stay=False, **members):
        self.next = [data, True] if stay else [data]
        return self.stack.chat("raw", key=self.key, **members)

    def test_each(self):
        for name, (data, status) in ANSWERS.items():
            with self.subTest(name):
                a = self.call(data)
                self.assertEqual(a.status, status, a.body[:300])
                self.assertEqual({n for n, _ in a.headers} & {"set-cookie", "x", "location", "upgrade", "x0"}, set())
                self.assertNotIn(b"sk-provider-raw", a.body)
                self.assertNotIn(b"evil.example", a.body)

    def test_nothing_behind_an_answer_is_kept(self):
        """An answer with more behind it: that connection is never used again, and the more is nobody's answer."""
        for more in (b"x", answer(body=b'{"stolen": 1}'), b"HTTP/1.1 200 OK\r\n", b"\r\n"):
            with self.subTest(more[:30]):
                before = self.served
                a = self.call(ANSWER + more, stay=True)
                self.assertEqual(a.status, 200)
                self.assertEqual(a.json(), CHAT)
                b = self.call(answer_bytes({**CHAT, "id": "second"}, headers=[("connection", "close")]))  # or the next call may meet its end
                self.assertEqual((b.status, b.json().get("id")), (200, "second"), b.body)
                self.assertEqual(self.served - before, 2)

    def test_streams(self):
        for name, (data, says) in STREAMS.items():
            with self.subTest(name):
                a = self.call(data, stream=True)
                if says:
                    self.assertIn(says, a.body)
                self.assertNotIn(b"[DONE]", a.body)

    def test_compressed_in_spite_of_identity(self):
        a = self.call(answer(fields=[b"content-encoding: gzip"], body=b"\x1f\x8b\x08\x00junk"))
        self.assertEqual((a.status, a.header("content-encoding"), a.body), (200, "gzip", b"\x1f\x8b\x08\x00junk"))
        record = wait_for(lambda: [r for r in self.stack.records() if r["estimated"]], "its record")
        self.assertFalse(record[0]["usage_seen"])

    def test_headers_are_an_allow_list(self):
        fields = [b"set-cookie: a=b", b"access-control-allow-origin: *", b"location: http://evil.example", b"x-aigw-provider: forged",
                  b"x-request-id: req_forged", b"server: x", b"connection: x", b"keep-alive: timeout=1", b"trailer: y", b"retry-after: 7", b"server-timing: forged",
                  b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
        a = self.call(answer(fields=fields))
        self.assertEqual(a.status, 200)
        names = {n for n, _ in a.headers}
        self.assertEqual(names - {"content-type", "content-length", "retry-after", "x-request-id", "x-aigw-upstream-request-id", "x-aigw-model",
                                  "x-aigw-provider", "server-timing"}, set())
        self.assertRegex(a.header("server-timing"), "^gw;dur=[0-9.]+, queue;dur=0, upstream;dur=[0-9]+$")
        self.assertEqual(a.header("x-aigw-provider"), "raw")
        self.assertNotEqual(a.header("x-request-id"), "req_forged")
        self.assertEqual(a.header("x-aigw-upstream-request-id"), "req_forged")


if __name__ == "__main__":
    unittest.main()
