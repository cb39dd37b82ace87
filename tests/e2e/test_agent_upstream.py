"""The agent towards its providers: what each failure becomes for the client and in the ledger, how long each stage may take, which addresses and
certificates are good, and what happens when one side is slower than the other.

Usage: test_agent_upstream.py [BUILD_ROOT] [unittest arguments]
"""
import contextlib
import gzip
import json
import os
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from fails import expect  # noqa: E402
from harness import Stack, bearer, build_root, free_port, wait_for  # noqa: E402
from provider import ANSWER, CHAT as CHAT_ANSWER, SSE_HEAD, Provider, answer_bytes, answer_each, chunk, event, send_apart  # noqa: E402
from wire import request_bytes  # noqa: E402

BUILD = build_root()
CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def policy(**base_urls):
    """One provider and one model of each name; a value may be (base URL, more of the provider, more of the target)."""
    rows, models = [], []
    for name, url in base_urls.items():
        url, *more = url if isinstance(url, tuple) else (url,)
        of_provider, of_target = (", " + text if text else "" for text in [*more, "", ""][:2])
        rows.append(f'  - {{name: {name}, type: openai-compatible, base_url: "{url}"{of_provider}}}')
        models.append(f"  - {{name: {name}, targets: [{{provider: {name}, model: up-{name}{of_target}}}]}}")
    prices = [f'  - {{provider: {name}, model: "*", from: 2020-01-01, input: 1, output: 2, per_request: 0.5}}' for name in base_urls]
    return "\n".join(["apiVersion: aigw/v1", "providers:", *rows, "prices:", *prices, "models:", *models, "customers:", "  - name: acme",
                      "    projects: [{name: search}]", "identities:", "  - {uid: $UID, project: search}", ""])


def ask(model, **members):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def content(text, **members):
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **members})


class Case(unittest.TestCase):
    @classmethod
    def stack_of(cls, agent=None, **base_urls):
        stack = cls.enterClassContext(Stack(BUILD, policy(**base_urls), agent={"workers": 1, **(agent or {})}))
        stack.seen = 0
        return stack

    def record(self, a):
        """The record of that answer."""
        request_id = a if isinstance(a, str) else a.header("x-request-id")
        def found():
            return next((r for r in self.stack.records() if r["request_id"] == request_id), None)
        return wait_for(found, f"the record of {request_id}")

    def check_record(self, a, outcome, fail="", **more):
        r = self.record(a)
        self.assertEqual((r["outcome"], r["fail"]), (outcome, fail), r)
        for name, value in more.items():
            self.assertEqual(r[name], value, (name, r))
        return r

    def begin(self, model, **members):
        """A call that somebody else has to answer: its connection."""
        wire = self.enterContext(self.stack.connect("unix"))
        wire.send(CHAT, ask(model, **members))
        return wire


class Answers(Case):
    """A provider that the test is."""

    @classmethod
    def setUpClass(cls):
        cls.provider = cls.enterClassContext(Provider())
        cls.stack = cls.stack_of(raw=f"http://127.0.0.1:{cls.provider.port}/some/v1", quiet=(f"http://127.0.0.1:{cls.provider.port}/v1",
                                 "options: {stream_usage: false}"))

    def price_version(self):
        """Of all calls at this provider the same: its price has not changed."""
        a, _ = self.served(ANSWER)
        version = self.record(a)["price_version"]
        self.assertNotEqual(version, 0)
        return version

    def served(self, data, model="raw", close=True, **members):
        """(answer or None, request) of a call that is answered with these bytes."""
        wire = self.begin(model, **members)
        with self.provider.accept() as conn:
            request = conn.request()
            conn.send(data)
            if not close:
                a = wire.answer()
                return a, request
        return wire.answer(), request

    def test_an_answer(self):
        a, request = self.served(ANSWER, close=False, user="u-1")
        self.assertEqual((a.status, a.json()), (200, CHAT_ANSWER))
        self.assertEqual(request.line, "POST /some/v1/chat/completions HTTP/1.1")
        self.assertEqual(request.header("host"), f"127.0.0.1:{self.provider.port}")
        self.check_record(a, "ok", input_tokens=3, output_tokens=2, estimated=False, attempts=1, endpoint="chat", model="raw", provider="raw",
                          upstream_model="up-raw", model_asked="raw", bytes_out=len(a.body), status=200, cost="0.500007000", charge="0.500007000", end_user="u-1",
                          price_version=self.price_version())

    def test_interim_answers(self):
        a, _ = self.served(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + ANSWER)
        self.assertEqual(a.json(), CHAT_ANSWER)
        self.assertIsNone(a.header("link"))

    def test_errors_are_relayed_as_they_are(self):
        body = b'{"error": {"message":"no \\u00fc", "type":"x","code":"context_length_exceeded"} , "n":1e2}'
        for status in (400, 404, 409, 422, 429, 500, 503, 529):
            a, _ = self.served(answer_bytes(body, status=status, headers=[("x-request-id", f"up-{status}"), ("x-should-retry", "false")]))
            self.assertEqual((a.status, a.body, a.header("x-should-retry")), (status, body, "false"))
            self.assertEqual(a.header("x-aigw-upstream-request-id"), f"up-{status}")
            self.check_record(a, "failed", "upstream_error", status=status, cost="0.000000000", upstream_request_id=f"up-{status}", estimated=False)

    def test_errors_of_a_stream_call(self):
        a, _ = self.served(answer_bytes(b'{"error":{}}', status=429), stream=True)
        self.assertEqual((a.status, a.body), (429, b'{"error":{}}'))
        self.check_record(a, "failed", "upstream_error", stream=True)

    def test_answers_that_are_not_passed_on(self):
        for data, name in ((answer_bytes(b"CANARY", status=401), "upstream_auth_failed"), (answer_bytes(b"CANARY", status=403), "upstream_auth_failed"),
                           (answer_bytes(b"", status=302, headers=[("location", "http://192.0.2.1/")]), "upstream_error"),
                           (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello", "upstream_protocol"),
                           (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", "upstream_protocol"),
                           (b"SSH-2.0-OpenSSH\r\n\r\n", "upstream_protocol"), (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70000 + b"\r\n\r\n", "upstream_protocol"),
                           (b"HTTP/1.1 103 E\r\n\r\n" * 20, "upstream_protocol"), (b"", "upstream_unavailable"), (b"HTTP/1.1 200 O", "upstream_unavailable"),
                           (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", "upstream_cut"),
                           (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "upstream_cut")):
            with self.subTest(data[:60]):
                a, _ = self.served(data)
                expect(self, a, name)
                self.assertNotIn(b"CANARY", a.body)
                self.check_record(a, "failed", name, cost="0.000000000")

    def test_a_stream(self):
        events = [content("a"), b": comment\n\n", content("b", usage=None), event({"choices": [], "usage": USAGE}), event(b"[DONE]")]
        data = b"".join(events)
        for size in (1, 7, len(data)):
            pieces = b"".join(chunk(data[i:i + size]) for i in range(0, len(data), size))
            a, request = self.served(SSE_HEAD + pieces + b"0\r\n\r\n", stream=True)
            self.assertEqual(a.body, b"".join(events[:3] + events[4:]))  # the usage event was not asked for
            self.assertEqual(json.loads(request.body)["stream_options"], {"include_usage": True})
            self.check_record(a, "ok", input_tokens=11, output_tokens=7, estimated=False, usage_seen=True)
            a, _ = self.served(SSE_HEAD + pieces + b"0\r\n\r\n", stream=True, stream_options={"include_usage": True})
            self.assertEqual(a.body, data)

    def test_a_stream_that_breaks_off(self):
        """Behind content: an error event in OpenAI's shape, and no [DONE]."""
        for data in (chunk(content("a")) + chunk(content("b")), chunk(content("a") + content("b") + b'data: {"half":')):
            a, _ = self.served(SSE_HEAD + data, stream=True)
            self.assertEqual((a.status, a.whole), (200, True))
            self.assertEqual(a.events()[:2], [json.loads(content(t)[6:]) for t in "ab"])
            error = a.events()[-1]
            self.assertEqual((error["error"]["code"], error["error"]["type"]), ("upstream_cut", "server_error"))
            self.assertEqual(error["request_id"], a.header("x-request-id"))
            self.assertNotIn(b"[DONE]", a.body)
            r = self.check_record(a, "cut", "upstream_cut", estimated=True, usage_seen=False)
            self.assertGreater(r["output_tokens"] * r["input_tokens"], 0)
        a, _ = self.served(SSE_HEAD + chunk(content("a")) + chunk(event({"choices": [], "usage": USAGE})), stream=True)
        self.check_record(a, "cut", "upstream_cut", input_tokens=11, output_tokens=7, estimated=False)

    def test_a_stream_without_its_end_mark(self):
        done = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        a, _ = self.served(SSE_HEAD + chunk(content("a")) + chunk(done) + b"0\r\n\r\n", stream=True)
        self.assertEqual((a.body, a.whole), (content("a") + done + event(b"[DONE]"), True))  # SDKs wait for it
        self.check_record(a, "ok", estimated=True)

    def test_a_stream_that_ends_without_saying_so(self):
        """An end that is clean on the wire is no end of an answer."""
        for tail in (b"", b"event: error\ndata: {\"error\":{\"message\":\"m\"}}\n\n"):
            a, _ = self.served(SSE_HEAD + chunk(content("a")) + (chunk(tail) if tail else b"") + b"0\r\n\r\n", stream=True)
            errors = [e["error"] for e in a.events() if "error" in e]
            self.assertEqual((len(errors), errors[0].get("code"), "[DONE]" in a.events()), (1, None if tail else "upstream_cut", False))
            self.check_record(a, "cut", "upstream_error" if tail else "upstream_cut", estimated=True)

    def test_a_stream_whose_connection_never_ends(self):
        """Behind [DONE] nothing is missing: the client has its end, the record is good."""
        stack = self.stack
        wire = self.begin("raw", stream=True)
        with self.provider.accept() as conn:
            conn.request()
            conn.send(SSE_HEAD + chunk(content("a")) + chunk(event(b"[DONE]")))
            head = wire.head()
            got = wire.chunk()
            conn.close()
            while b"[DONE]" not in got:
                got += wire.chunk()
        self.assertEqual(got, content("a") + event(b"[DONE]"))
        self.assertEqual(wire.chunk(), b"")
        self.check_record(head, "ok")
        self.assertIsNotNone(stack)

    def test_a_large_answer_that_breaks_off(self):
        """Its head is out: nothing in half an answer can say that it is one, so the connection does."""
        wire = self.begin("raw")
        with self.provider.accept() as conn:
            conn.request()
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n" + b" " * 300000)
            head = wire.head()
            self.assertEqual(head.header("content-length"), "1000000")
        self.assertFalse(wire.finish(head).whole)
        self.check_record(head, "cut", "upstream_cut", status=200)

    def test_nothing_at_all(self):
        for data in (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"):
            a, _ = self.served(data)
            self.assertEqual((a.body, a.whole), (b"", True))
            self.check_record(a, "empty", charge="0.000000000", output_tokens=0)

    def test_compressed_in_spite_of_identity(self):
        packed = gzip.compress(json.dumps(CHAT_ANSWER).encode())
        a, request = self.served(answer_bytes(packed, headers=[("content-encoding", "gzip")]))
        self.assertEqual(request.header("accept-encoding"), "identity")
        self.assertEqual((a.header("content-encoding"), a.body), ("gzip", packed))
        self.check_record(a, "ok", estimated=True, usage_seen=False)
        stream = gzip.compress(content("a") + event({"choices": [], "usage": USAGE}) + event(b"[DONE]"))
        a, _ = self.served(answer_bytes(stream, "text/event-stream", headers=[("content-encoding", "gzip")]), stream=True)
        self.assertEqual((a.header("content-encoding"), a.body), ("gzip", stream))
        self.check_record(a, "ok", estimated=True, usage_seen=False)

    def test_a_provider_that_is_not_asked_for_usage(self):
        body = content("some text") + event(b"[DONE]")
        a, request = self.served(SSE_HEAD + chunk(body) + b"0\r\n\r\n", "quiet", stream=True)
        self.assertNotIn(b"stream_options", request.body)
        self.assertEqual(a.body, body)
        self.check_record(a, "ok", estimated=True, usage_seen=False)
        a, request = self.served(SSE_HEAD + chunk(body) + b"0\r\n\r\n", "quiet", stream=True, stream_options={"include_usage": True})
        self.assertIn(b'"stream_options": {"include_usage": true}', request.body)  # what the client asks is not taken away
        self.assertEqual(a.status, 200)

    def test_half_an_event_beyond_all_measure(self):
        """Nothing can be said within it: no error, no end mark; the connection tells. In time or late, behind the finish too."""
        half = content("x" * (5 << 20))[:(4 << 20) + 50]
        finish = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        for data in (half, content("a") + finish + half):
            wire = self.begin("raw", stream=True)
            with self.provider.accept() as conn:
                request = conn.request()
                sender = threading.Thread(target=conn.send, args=(SSE_HEAD + chunk(content("a")) + chunk(data),))
                sender.start()
                self.assertIn(b"x" * 9, wire.exactly(2 << 20))  # it is relayed as it comes
                sender.join()
            rest = wire.rest
            while not rest.endswith(b"\r\n0\r\n\r\n") and (got := wire.read()):
                rest += got
            self.assertEqual(rest[-1000:].strip(b"x\r\n"), b"")
            self.check_record(request.header("x-client-request-id"), "cut", "upstream_cut")

    def test_events_beyond_all_measure(self):
        """Larger than what is looked at: relayed as it is."""
        huge = content("x" * (5 << 20))
        data = huge + content("y") + event(b"[DONE]")
        wire = self.begin("raw", stream=True)
        with self.provider.accept() as conn:
            conn.request()
            sender = threading.Thread(target=conn.send, args=(SSE_HEAD + chunk(data) + b"0\r\n\r\n",))
            sender.start()
            a = wire.answer()
            sender.join()
        self.assertEqual((a.whole, len(a.body), a.body == data), (True, len(data), True))
        self.check_record(a, "ok")

    def test_client_gone(self):
        """The provider's connection is closed at once, whether or not something has come."""
        for data in (b"", SSE_HEAD + chunk(content("abc")), SSE_HEAD + chunk(content("abc")) + chunk(event({"choices": [], "usage": USAGE}))):
            wire = self.begin("raw", stream=True)
            with self.provider.accept() as conn:
                request = conn.request()
                conn.send(data)
                if data:
                    wire.head()
                    wire.chunk()
                wire.sock.close()
                self.assertEqual(conn.gone(), b"")
            r = self.check_record(request.header("x-client-request-id"), "client_gone", usage_seen=b"11" in data)
            self.assertEqual((r["estimated"], r["input_tokens"] > 0), (b"11" not in data, True))

    def test_answered_before_the_request_is_sent(self):
        """A provider that refuses a large prompt without reading it."""
        wire = self.begin("raw", user="x" * (20 << 20))
        with self.provider.accept() as conn:
            while b"\r\n\r\n" not in conn.rest:
                conn.rest += conn.sock.recv(4096)
            conn.send(answer_bytes(b'{"error":{}}', status=413))
            a = wire.answer()
            self.assertEqual((a.status, a.body), (413, b'{"error":{}}'))
        self.check_record(a, "failed", "upstream_error")

    def test_an_idle_connection_that_the_provider_closes(self):
        """It is dropped: the next call has a fresh one from the start, with nothing replaced."""
        wire = self.begin("raw")
        with self.provider.accept() as conn:
            conn.request()
            conn.send(ANSWER)
            self.assertEqual(wire.answer().status, 200)
        a, _ = self.served(ANSWER)
        self.assertEqual(a.status, 200)

    def test_a_stale_connection_is_replaced_unseen_and_once(self):
        for again in (False, True):
            wire = self.begin("raw")
            with self.provider.accept() as conn:
                conn.request()
                conn.send(ANSWER)
                self.assertEqual(wire.answer().status, 200)
                wire.send(CHAT, ask("raw"))
                first = conn.request()  # on the same connection
                conn.reset()
            with self.provider.accept() as conn:
                second = conn.request()
                self.assertEqual(second.header("x-client-request-id"), first.header("x-client-request-id"))
                conn.send(b"" if again else ANSWER)
            a = wire.answer()
            if again:
                expect(self, a, "upstream_unavailable")
            else:
                self.assertEqual(a.json(), CHAT_ANSWER)
            self.check_record(a, "failed" if again else "ok", "upstream_unavailable" if again else "")


class Times(Case):
    """connect, first_byte, idle and total, each the shortest of its provider."""

    LONG = {"connect": "20s", "first_byte": "20s", "idle": "20s", "total": "60s"}

    @classmethod
    def where(cls, url, **short):
        """The provider's row with these times."""
        return url, cls.times({**cls.LONG, **short})

    @staticmethod
    def times(of):
        return "timeouts: {" + ", ".join(f"{k}: {v}" for k, v in of.items()) + "}"

    @classmethod
    def setUpClass(cls):
        cls.provider = cls.enterClassContext(Provider())
        deaf = socket.socket()
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        cls.addClassCleanup(deaf.close)
        for _ in range(8):  # its backlog is full: the kernel drops handshakes
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
            cls.addClassCleanup(filler.close)
        at = f"http://127.0.0.1:{cls.provider.port}/v1"
        cls.stack = cls.stack_of(connect=cls.where(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", connect="300ms"), first=cls.where(at, first_byte="300ms"),
                                 idle=cls.where(at, idle="300ms"), total=cls.where(at, total="600ms"))

    def within(self, begun, least, most=10):
        took = time.monotonic() - begun
        self.assertTrue(least - 0.02 <= took < most, took)

    def test_connect(self):
        begun = time.monotonic()
        a = self.stack.chat("connect")
        self.within(begun, 0.3)
        expect(self, a, "upstream_timeout")
        self.check_record(a, "failed", "upstream_timeout", attempts=0, cost="0.000000000")

    def test_first_byte(self):
        for data in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"):
            begun = time.monotonic()
            wire = self.begin("first")
            with self.provider.accept() as conn:
                conn.request()
                conn.send(data)
                a = wire.answer()
                self.within(begun, 0.3)
                expect(self, a, "upstream_timeout")
                self.assertEqual(conn.gone(), b"")
            self.check_record(a, "failed", "upstream_timeout", attempts=1)

    def test_idle(self):
        begun = time.monotonic()
        wire = self.begin("idle", stream=True)
        with self.provider.accept() as conn:
            conn.request()
            conn.send(SSE_HEAD)
            for _ in range(4):  # slow, but not idle
                time.sleep(0.15)
                conn.send(chunk(content("a")))
            a = wire.answer()
            self.within(begun, 0.9)
            self.assertEqual([e["error"]["code"] for e in a.events() if "error" in e], ["upstream_timeout"])
            self.assertEqual(conn.gone(), b"")
        self.check_record(a, "cut", "upstream_timeout", estimated=True)

    def test_total(self):
        begun = time.monotonic()
        wire = self.begin("total", stream=True)
        with self.provider.accept() as conn:
            conn.request()
            conn.send(SSE_HEAD)
            with contextlib.suppress(OSError):
                while time.monotonic() - begun < 10:
                    conn.send(chunk(content("a")))
                    time.sleep(0.02)
            a = wire.answer()
            self.within(begun, 0.6)
        self.assertEqual(a.events()[-1]["error"]["code"], "upstream_timeout")
        self.check_record(a, "cut", "upstream_timeout")
        begun = time.monotonic()
        wire = self.begin("total")
        with self.provider.accept() as conn:
            conn.request()
            expect(self, wire.answer(), "upstream_timeout")
            self.within(begun, 0.6)

    def test_a_slow_client_is_not_the_providers_fault(self):
        """While the client takes nothing, the provider's idle time does not run."""
        wire = self.begin("idle")
        size = 4 << 20
        with self.provider.accept() as conn:
            conn.request()
            sender = threading.Thread(target=conn.send, args=(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b" " * size,))
            sender.start()
            time.sleep(0.9)
            a = wire.answer()
            sender.join()
        self.assertEqual((a.whole, len(a.body)), (True, size))
        self.check_record(a, "ok")


class TimesOfTargets(Times):
    """The same where the provider's are long and the target has its own."""

    @classmethod
    def where(cls, url, **short):
        return url, cls.times(cls.LONG), cls.times(short)


class Places(Case):
    """Addresses, names and certificates."""

    def test_ipv6(self):
        if not socket.has_ipv6:
            self.skipTest("no IPv6 here")
        with Provider(family=socket.AF_INET6) as provider:
            self.stack = self.stack_of(six=f"http://[::1]:{provider.port}/v1")
            wire = self.begin("six")
            with provider.accept() as conn:
                self.assertEqual(conn.request().header("host"), f"[::1]:{provider.port}")
                conn.send(ANSWER)
            self.assertEqual(wire.answer().status, 200)

    def test_a_name(self):
        """Of however many addresses the first that answers is taken."""
        families = {info[0] for info in socket.getaddrinfo("localhost", 1, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)}
        for family in families:
            with Provider(answer_each, family=family) as provider:
                self.stack = self.stack_of(name=f"http://localhost:{provider.port}/v1")
                for _ in range(3):
                    self.assertEqual(self.stack.chat("name").status, 200)
                self.assertEqual(provider.accepted, 1)

    def test_nobody_there(self):
        self.stack = self.stack_of(closed=f"http://127.0.0.1:{free_port()}/v1", unknown="http://no-such-host.invalid/v1")
        for name in ("closed", "unknown"):
            a = self.stack.chat(name)
            expect(self, a, "upstream_unavailable")
            self.check_record(a, "failed", "upstream_unavailable", attempts=0)

    def test_certificates(self):
        """Another authority, another name, expired: no byte of a request leaves. The right one serves, with sessions resumed (see agent-stats)."""
        home = self.enterContext(Stack(BUILD, policy(none="http://127.0.0.1:1/v1"), agent={"workers": 1}))
        self.stack = home
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", home.path("foreign.key"), "-out",
                   home.path("foreign.pem"), "-days", "1", "-subj", "/CN=foreign", "-addext", "subjectAltName=DNS:localhost"]
        if subprocess.run(openssl, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no openssl command to make a foreign certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(home.path("foreign.pem"), home.path("foreign.key"))
        got = []

        def serve(conn):
            with contextlib.suppress(ssl.SSLError, OSError):
                with context.wrap_socket(conn.sock, server_side=True) as tls:
                    got.append(tls.recv(100))
        with Provider(serve) as provider:
            port = home.sim_at["tls"].rsplit(":", 1)[1]
            home.apply(policy(good=(f"https://localhost:{port}/v1", "options: {ca_file: $CA}"), address=(f"https://127.0.0.1:{port}/v1", "options: {ca_file: $CA}"),
                              system=f"https://localhost:{port}/v1", name=(f"https://127.0.0.2:{port}/v1", "options: {ca_file: $CA}"),
                              foreign=(f"https://localhost:{provider.port}/v1", "options: {ca_file: $CA}"),
                              trusted=(f"https://localhost:{provider.port}/v1", "options: {ca_file: $HOME/foreign.pem}"), plain=f"http://localhost:{port}/v1"))
            for model in ("good", "address"):
                a = home.chat(model)
                self.assertEqual(a.status, 200, a.body)
                self.assertEqual(home.chat(model, stream=True).events()[-1], "[DONE]")
            for model in ("system", "name", "foreign"):
                expect(self, home.chat(model), "upstream_unavailable")
            self.assertEqual([g for g in got if g], [])
            home.chat("trusted")
            self.assertIn(b"POST /v1/chat/completions HTTP/1.1", b"".join(got))
            self.assertNotEqual(home.chat("plain").status, 200)  # HTTP to a TLS port
        with open(home.path("agentd.log"), encoding="utf-8") as f:
            self.assertRegex(f.read(), r"event=provider\.failed request=req_\w+ provider=foreign reason=tls")

    def test_a_certificate_file_that_is_not_there(self):
        """Refused by the agent with a sentence; the policy in force stays."""
        self.stack = self.stack_of(none="http://127.0.0.1:1/v1")
        self.stack.expected.append(re.compile("policy.refused"))
        answer = self.stack.api("POST", "/api/v1/policy", {"files": [{"name": "p.yaml", "text": self.stack.expand(policy(
            bad=("https://localhost:1/v1", "options: {ca_file: /nowhere/ca.pem}")))}], "wait": True, "timeout_ms": 60000})
        self.assertEqual([(a["state"], "/nowhere/ca.pem" in a["reason"]) for a in answer["agents"]], [("refused", True)])
        self.assertEqual(self.stack.chat("none").status, 503)


class Pieces(Case):
    """However a body comes, the provider gets it as it was sent, and what stands behind it is the next request."""

    SIZES = (100, 1025, 16384, 17000, 40000, 65536, 70000, 140000, 262144, 400000)
    FIRST = (0, 1, 1024, 17000, 60000, 65536)  # of the body, in one read with the head
    REST = (4096, 30000, 65536, 200000)

    @classmethod
    def setUpClass(cls):
        cls.bodies = []
        cls.provider = cls.enterClassContext(Provider(serve=cls.serve))
        cls.stack = cls.stack_of(raw=f"http://127.0.0.1:{cls.provider.port}/v1")
        cls.key = cls.stack.make_key("search")

    @classmethod
    def serve(cls, conn):
        while request := conn.request():
            cls.bodies.append(request.body)
            conn.send(ANSWER)

    def body(self, size):
        made = json.dumps(ask("raw")).encode()[:-1] + b', "x": "'
        return made + b"".join(b"%07d " % i for i in range(size // 8 + 1))[:size - len(made) - 2] + b'"}'

    def check(self, wire, size, first, step):
        body = self.body(size)
        whole = request_bytes(CHAT, body, bearer(self.key))
        at = len(whole) - size + min(first, size)
        parts = [whole[:at], *(whole[i:i + step] for i in range(at, len(whole), step))]
        parts[-1] += request_bytes(CHAT, self.body(200), bearer(self.key))
        self.bodies.clear()
        send_apart(wire.sock, parts)
        self.assertEqual([wire.answer().status for _ in range(2)], [200, 200])
        self.assertEqual(self.bodies, [b.replace(b'"raw"', b'"up-raw"') for b in (body, self.body(200))])

    def test_bodies_in_pieces(self):
        """Twice: with memory that is new, and with what the first round has left free."""
        with self.stack.connect("tcp") as wire:
            for size in self.SIZES * 2:
                for first in self.FIRST:
                    for step in self.REST:
                        with self.subTest(size=size, first=first, step=step):
                            self.check(wire, size, first, step)


class Pressure(Case):
    """A client that takes its time slows its provider down, and nothing piles up in between."""

    @classmethod
    def setUpClass(cls):
        cls.provider = cls.enterClassContext(Provider())
        cls.stack = cls.stack_of(raw=f"http://127.0.0.1:{cls.provider.port}/v1")

    def flow(self, head, pieces, wire):
        """Sends as long as the agent takes; how much went out before it stopped, and a thread that sends the rest."""
        with self.provider.accept() as conn:
            conn.request()
            conn.send(head)
            conn.sock.setblocking(False)
            sent, rest = 0, None
            for data in pieces:
                while data:
                    if not select.select([], [conn.sock], [], 1.0)[1]:
                        rest = data
                        break
                    with contextlib.suppress(BlockingIOError):
                        k = conn.sock.send(data)
                        sent, data = sent + k, data[k:]
                if rest:
                    break
            self.assertIsNotNone(rest, "the agent took everything although nobody read")
            conn.sock.setblocking(True)
            sender = threading.Thread(target=lambda: [conn.send(d) for d in (rest, *pieces)])
            sender.start()
            a = wire.answer()
            sender.join()
            return sent, a

    def test_plain(self):
        size = 64 << 20
        wire = self.begin("raw")
        sent, a = self.flow(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, iter([b" " * (1 << 20)] * 64), wire)
        self.assertLess(sent, 24 << 20)  # what two sockets' buffers hold
        self.assertEqual((a.whole, len(a.body)), (True, size))
        self.check_record(a, "ok")

    def test_stream(self):
        one = content("x" * 1000)
        many = chunk(one * 1000)
        wire = self.begin("raw", stream=True)
        sent, a = self.flow(SSE_HEAD, iter([many] * 50 + [chunk(event(b"[DONE]")) + b"0\r\n\r\n"]), wire)
        self.assertLess(sent, 24 << 20)
        self.assertTrue(a.whole)
        self.assertEqual(len(a.body), len(one) * 50000 + len(event(b"[DONE]")))
        self.check_record(a, "ok")

    def test_many_slow_readers_take_little_memory(self):
        """100 streams whose clients don't read: the agent holds a few reads of each, not what its provider could send."""
        before = self.memory()
        wires = [self.begin("raw", stream=True) for _ in range(100)]
        conns = [self.enterContext(self.provider.accept()) for _ in wires]
        data = SSE_HEAD + chunk(content("x" * 1000) * 4000)
        for conn in conns:
            conn.request()
            conn.sock.setblocking(False)
        left = {conn: data for conn in conns}
        quiet = time.monotonic() + 1.0
        while left and time.monotonic() < quiet:
            ready = select.select([], [c.sock for c in left], [], 0.2)[1]
            for conn in [c for c in left if c.sock in ready]:
                with contextlib.suppress(BlockingIOError):
                    left[conn] = left[conn][conn.sock.send(left[conn]):]
                    quiet = time.monotonic() + 1.0
                if not left[conn]:
                    del left[conn]
        self.assertLess(self.memory() - before, 100 * 1024)  # KiB: 1 MiB each, sanitizers' share included; their providers sent 4 MB each
        for wire in wires:
            wire.sock.close()
        for conn in conns:
            conn.sock.setblocking(True)
            conn.gone()

    def memory(self):
        with open(f"/proc/{self.stack.agent.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))


class Restart(Case):
    def test_killed_before_and_behind_the_first_byte(self):
        """What was let through is in the ledger: `refused:restart` if it can't have reached the provider, else `unknown` with an estimate."""
        deaf = socket.socket()
        self.addCleanup(deaf.close)
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(8):
            filler = self.enterContext(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        provider = self.enterContext(Provider())
        long = "timeouts: {connect: 60s, first_byte: 60s}"
        self.stack = self.stack_of(deaf=(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1", long), raw=f"http://127.0.0.1:{provider.port}/v1")
        waiting, sent = self.begin("deaf"), self.begin("raw", stream=True)
        conn = self.enterContext(provider.accept())
        request = conn.request()
        conn.send(SSE_HEAD + chunk(content("some words")))
        sent.head()
        sent.chunk()
        # Slot by slot: the one that waits for its connection is admitted by now, since it was sent before.
        self.stack.kill(self.stack.agent)
        self.assertIsNone(waiting.answer())
        self.stack.start_agent()
        records = {r["model"]: r for r in self.stack.wait_records(2)}
        self.assertEqual((records["deaf"]["outcome"], records["deaf"]["fail"], records["deaf"]["cost"]), ("refused", "restart", "0.000000000"))
        r = records["raw"]
        self.assertEqual((r["outcome"], r["estimated"], r["request_id"]), ("unknown", True, request.header("x-client-request-id")))
        self.assertGreater(r["input_tokens"], 0)
        self.assertGreater(float(r["cost"]), 0)


class Store(Case):
    def test_records_that_can_not_be_stored(self):
        """The disk fails: what must be billed is refused from then on, and it is said; nothing pretends."""
        self.stack = stack = self.enterContext(Stack(BUILD, policy(sim="$SIM"), expected=["spool", "store", "account", "uplink"]))
        self.assertEqual(stack.chat("sim").status, 200)
        stack.wait_records(1)
        subprocess.run(["prlimit", f"--pid={stack.agent.pid}", "--fsize=0:0"], check=True)
        # These two were served: their ends, the proof of a record, are not given.
        stream = stack.chat("sim", stream=True)
        self.assertEqual((stream.status, stream.events()[-1]["error"]["code"]), (200, "store_unavailable"))
        self.assertNotIn(b"[DONE]", stream.body)
        for _ in range(3):
            expect(self, stack.chat("sim"), "store_unavailable")
        a = stack.call("/readyz", way="unix")
        self.assertEqual((a.status, a.json()), (503, {"status": "store_unavailable"}))
        self.assertEqual(stack.call("/v1/models", way="unix").status, 200)
        # Nothing spins, and what was served waits in its slot for a start with a disk that works.
        self.assertLess(self.cpu_seconds(0.5), 0.3)
        served = stack.sim_stats()["requests"]
        stack.kill(stack.agent)
        stack.start_agent()
        records = {r["request_id"]: r for r in stack.wait_records(served)}
        self.assertEqual({r["outcome"] for r in records.values()}, {"ok"})
        self.assertIn(stream.header("x-request-id"), records)
        self.assertEqual(stack.chat("sim").status, 200)

    def cpu_seconds(self, seconds):
        def used():
            with open(f"/proc/{self.stack.agent.pid}/stat", encoding="ascii") as f:
                return sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")
        before = used()
        time.sleep(seconds)
        return used() - before


if __name__ == "__main__":
    unittest.main()
