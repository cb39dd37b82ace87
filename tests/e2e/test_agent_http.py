"""HTTP/1.1 at the agent's front: which URLs there are, how messages are framed, what is refused and how it is said.

Usage: test_agent_http.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from fails import expect, row  # noqa: E402
from harness import Stack, bearer, build_root, wait_for  # noqa: E402
from wire import Wire, request_bytes  # noqa: E402

BUILD = build_root()
CHAT = "/v1/chat/completions"
MAX_BODY = 1 << 20

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
models:
  - {name: small, aliases: [tiny], targets: [{provider: sim, model: sim-small}]}
  - {name: "a/b:c", targets: [{provider: sim, model: sim-small}]}
  - {name: slow, targets: [{provider: sim, model: sim+slow-300}]}
  - {name: secret, targets: [{provider: sim, model: sim-small}]}
customers:
  - name: acme
    projects: [{name: search, models: [small, "a/b:c", slow]}, {name: playground, models: []}]
identities:
  - {uid: $UID, project: search}
"""

stack = key = late = None


def setUpModule():
    global stack, key, late
    stack = Stack(BUILD, POLICY, sim=["--log-headers"], agent={"max_body": "1MiB", "workers": 1})
    stack.__enter__()
    key = stack.make_key("search")
    late = stack.connect()  # a head that is never finished: looked at by the last test
    late.sock.sendall(b"GET /v1/models HT")
    late.begun = time.monotonic()


def tearDownModule():
    late.sock.close()
    stack.__exit__(None, None, None)


def ask(text="hello", model="small", **members):
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


def post(body=None, headers=(), path=CHAT):
    return request_bytes(path, ask() if body is None else body, [*bearer(key), *headers])


class Case(unittest.TestCase):
    def raw(self, data, **more):
        """Answers to exactly these bytes, until the agent ends the connection or has answered `count` of them."""
        count, out = more.get("count", 1), []
        with stack.connect() as wire:
            wire.sock.sendall(data)
            while len(out) < count:
                a = wire.answer(more.get("head_only", False))
                if a is None:
                    break
                out.append(a)
            ended = wire.closed() if out and out[-1].close else None
        self.assertEqual(len(out), count, data[:200])
        return (out[0] if count == 1 else out) if not more.get("ended") else (out[0], ended)

    def refused(self, data, name, says=None):
        """Refused as this, and the connection ends."""
        a, ended = self.raw(data, ended=True)
        message = expect(self, a, name, says)
        self.assertEqual((a.close, ended), (True, True), name)
        return message


class Urls(Case):
    def test_paths_of_the_api(self):
        for path in (CHAT, "/chat/completions", "//v1//chat//completions/", "/v1/chat/completions//", CHAT + "?api-version=1"):
            with self.subTest(path):
                self.assertEqual(stack.call(path, ask(), key=key).status, 200)

    def test_paths_that_are_none(self):
        for path in ("/", "/v1", "/v1/", "/v1/chat", "/v1/chat/completions/x", "/V1/chat/completions", "/v1/Chat/completions",
                     "/v1/%63hat/completions", "/v1/chat%2Fcompletions", "/v1/./chat/completions", "/v1/files", "/v1beta/models/m:generateContent",
                     "/v1/models:x", "/model/m/converse", "/v1/rerank", "/v1/metrics", "/metrics/", "/healthz/", "/v1/healthz", "/v1/messages"):
            with self.subTest(path):
                expect(self, stack.call(path, ask(), key=key), "unknown_url", path)

    def test_methods(self):
        for path, method, allowed in ((CHAT, "GET", "POST"), (CHAT, "PUT", "POST"), (CHAT, "DELETE", "POST"), (CHAT, "PATCH", "POST"),
                                      (CHAT, "OPTIONS", "POST"), ("/v1/embeddings", "GET", "POST"), ("/v1/models", "POST", "GET, HEAD"),
                                      ("/v1/models/small", "DELETE", "GET, HEAD"), ("/healthz", "POST", "GET, HEAD"),
                                      ("/readyz", "OPTIONS", "GET, HEAD")):
            with self.subTest(f"{method} {path}"):
                a = stack.call(path, key=key, method=method)
                expect(self, a, "method_not_allowed")
                self.assertEqual(a.header("allow"), allowed)

    def test_head_has_no_body(self):
        for path, status in (("/v1/models", 200), ("/healthz", 200), ("/readyz", 200), (CHAT, 405), ("/nowhere", 404)):
            with self.subTest(path), stack.connect() as wire:
                a = wire.call(path, headers=bearer(key), method="HEAD")
                self.assertEqual((a.status, a.body), (status, b""))
                self.assertGreater(int(a.header("content-length")), 0)
                self.assertEqual(wire.call("/healthz").status, 200)  # nothing stands between the answers

    def test_probes_need_no_key(self):
        for path in ("/healthz", "/readyz"):
            a = stack.call(path, way="tcp")
            self.assertEqual((a.status, a.json()), (200, {"status": "ok"}))

    def test_models_are_what_the_caller_may_use(self):
        a = stack.call("/v1/models", key=key).json()
        self.assertEqual((a["object"], sorted(m["id"] for m in a["data"])), ("list", ["a/b:c", "slow", "small", "tiny"]))
        for m in a["data"]:
            self.assertEqual((sorted(m), m["object"], m["owned_by"]), (["created", "id", "object", "owned_by"], "model", "aigw"))
        for name, path in (("small", "small"), ("tiny", "tiny"), ("a/b:c", "a%2fb%3ac"), ("a/b:c", "a/b:c")):
            self.assertEqual(stack.call("/v1/models/" + path, key=key).json()["id"], name)
        for name in ("secret", "nobody", "small%00", "%", "x" * 400):
            expect(self, stack.call("/v1/models/" + name, key=key), "model_not_found")
        playground = stack.make_key("playground", "none")
        self.assertEqual(stack.call("/v1/models", key=playground).json()["data"], [])


class Bodies(Case):
    def test_model_names(self):
        self.assertIn("'small'", expect(self, stack.chat("smal", key=key), "model_not_found", "'smal'"))
        expect(self, stack.chat("secret", key=key), "model_not_allowed", "search")
        expect(self, stack.call(CHAT, {"messages": []}, key=key), "missing_model")
        # Written with escapes it is the same model, and nothing of it gets into the answer.
        for stream in (False, True):
            body = json.dumps(ask("escapes", stream=stream)).encode()
            plain = stack.call(CHAT, body, key=key)
            a = stack.call(CHAT, body.replace(b'"small"', b'"\\u0073mall"'), key=key)
            self.assertEqual((a.status, a.text(), len(a.body)), (200, plain.text(), len(plain.body)))

    def test_bodies_that_are_no_json(self):
        for body in (b"", b"hello", b"[]", b'{"model":"small"', b'{"model":"small",}', b'{"model":"small"}x', b"\xff\xfe{}",
                     b'{"model":"small","x":"\x01"}', b'{"model":"small","x":' + b"[" * 200 + b"]" * 200 + b"}"):
            with self.subTest(body[:40]):
                expect(self, stack.call(CHAT, body, key=key), "invalid_json")
        with stack.connect() as wire:  # without any body at all
            wire.sock.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n" % (CHAT.encode(), key.encode()))
            expect(self, wire.answer(), "invalid_json")

    def test_members_that_stand_twice(self):
        for name, body in (("model", b'{"model":"small","model":"small"}'), ("stream", b'{"stream":false,"model":"small","stre\\u0061m":true}'),
                           ("stream_options", b'{"stream_options":{},"model":"small","stream_options":{}}')):
            expect(self, stack.call(CHAT, body, key=key), "duplicate_member", f'"{name}"')
        twice = b'{"model":"small","temperature":1,"temperature":0,"messages":[{"role":"user","content":"x"}]}'
        self.assertEqual(stack.call(CHAT, twice, key=key).status, 200)  # nothing of ours depends on it

    def test_content_types(self):
        for kind in ("application/json", "APPLICATION/JSON", "application/json; charset=utf-8", "application/json;charset=utf-8"):
            self.assertEqual(stack.call(CHAT, ask(), key=key, headers=[("Content-Type", kind)]).status, 200)
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/jsonl", "application/x-www-form-urlencoded"):
            expect(self, stack.call(CHAT, ask(), key=key, headers=[("Content-Type", kind)]), "unsupported_media_type", kind.split(";")[0])
        with stack.connect() as wire:  # none is fine
            wire.sock.sendall(post().replace(b"Content-Type: application/json\r\n", b""))
            self.assertEqual(wire.answer().status, 200)

    def test_sizes(self):
        body = json.dumps(ask()).encode()
        whole = body[:-1] + b" " * (MAX_BODY - len(body)) + b"}"
        self.assertEqual(stack.call(CHAT, whole, key=key).status, 200)
        self.refused(request_bytes(CHAT, b"", [*bearer(key), ("Content-Length", str(MAX_BODY + 1))]), "request_too_large", str(MAX_BODY))
        chunked = request_bytes(CHAT, b"", [*bearer(key), ("Transfer-Encoding", "chunked")])
        with stack.connect() as wire:
            wire.sock.sendall(chunked)
            for _ in range(MAX_BODY // 65536):
                wire.sock.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            wire.sock.sendall(b"1\r\n \r\n")
            expect(self, wire.answer(), "request_too_large")
            self.assertTrue(wire.closed())

    def test_a_refused_body_is_not_waited_for(self):
        """A wrong key with a large body: the answer comes at once."""
        with stack.connect() as wire:
            wire.sock.sendall(request_bytes(CHAT, b"", [("Authorization", "Bearer sk-x"), ("Content-Length", "900000")]))
            expect(self, wire.answer(), "invalid_api_key")

    def test_a_small_refused_body_does_not_end_the_connection(self):
        with stack.connect() as wire:
            for path, headers, name in ((CHAT, [("Authorization", "Bearer sk-x")], "invalid_api_key"), ("/nowhere", (), "unknown_url"),
                                        (CHAT, [("x-aigw-tags", "a=b"), *bearer(key)], "unsupported_header"),
                                        (CHAT, [("Content-Type", "text/plain"), *bearer(key)], "unsupported_media_type")):
                expect(self, wire.call(path, ask(), headers), name)
            self.assertEqual(wire.call(CHAT, ask(), bearer(key)).status, 200)


class Headers(Case):
    def test_ours_that_are_not_supported(self):
        for name in ("x-aigw-cost", "X-AIGW-Project", "x-aigw-anything-at-all"):
            expect(self, stack.chat("small", key=key, headers=[(name, "1")]), "unsupported_header", name)
        expect(self, stack.call("/v1/models", key=key, headers=[("x-aigw-no-log", "1")]), "unsupported_header", "x-aigw-no-log")

    def test_what_goes_upstream(self):
        mark = "headers upstream"
        given = [("Accept", "application/json"), ("OpenAI-Beta", "assistants=v2"), ("traceparent", "00-1-2-01"), ("User-Agent", "OpenAI/JS 6"),
                 ("X-Stainless-Lang", "js"), ("OpenAI-Organization", "org"), ("Cookie", "a=b"), ("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=x"),
                 ("Accept-Encoding", "gzip, br"), ("x-client-request-id", "mine"), ("Connection", "keep-alive, x-hop"), ("X-Hop", "1"), ("TE", "trailers"),
                 ("X-Custom-Host", "evil.example"), ("anthropic-version", "2023-06-01")]
        a = stack.chat("small", mark, key=key, headers=given)
        self.assertEqual(a.status, 200)
        line = next(l for l in stack.sim_log() if l["event"] == "recv" and l.get("client_request_id") == a.header("x-request-id"))
        got = {n.lower(): v for n, v in (line["headers"].items() if isinstance(line["headers"], dict) else line["headers"])}
        self.assertEqual(sorted(got), ["accept", "accept-encoding", "anthropic-version", "authorization", "content-length", "content-type", "host",
                                       "openai-beta", "traceparent", "user-agent", "x-client-request-id"])
        self.assertEqual(got["accept-encoding"], "identity")
        self.assertRegex(got["user-agent"], r"^aigw/\d")
        self.assertEqual(got["x-client-request-id"], a.header("x-request-id"))
        self.assertEqual((got["host"], got["openai-beta"]), (stack.sim_at["http"], "assistants=v2"))

    def test_what_comes_back(self):
        stack.script({"sim-small": {"header": "x-node:7"}})
        a = stack.chat("small", key=key)
        stack.script({"sim-small": None})
        self.assertEqual([n for n, _ in a.headers], ["x-request-id", "server-timing", "x-aigw-model", "x-aigw-provider", "content-type", "x-aigw-upstream-request-id",
                                                      "content-length"])
        self.assertEqual((a.header("x-aigw-model"), a.header("x-aigw-provider")), ("small", "sim"))
        stack.script({"sim-small": "fail-429+retry-after-7+retry-after-ms-6500+header-x-should-retry:true"})
        a = stack.chat("small", key=key)
        stack.script({"sim-small": None})
        self.assertEqual((a.status, a.header("retry-after"), a.header("retry-after-ms"), a.header("x-should-retry")), (429, "7", "6500", "true"))

    def test_limits_of_the_head(self):
        fields = [(f"x-{i}", "1") for i in range(95)]
        self.assertEqual(stack.chat("small", key=key, headers=fields).status, 200)
        self.refused(request_bytes(CHAT, ask(), [*bearer(key), *fields, *[("y", "1")] * 10]), "header_too_large")
        self.refused(request_bytes(CHAT, ask(), [*bearer(key), ("x", "1" * 66000)]), "header_too_large")
        self.refused(b"GET /" + b"x" * 70000, "header_too_large")
        expect(self, stack.chat("small", key=key, headers=[("accept", "x" * 20000)]), "header_too_large")


class Framing(Case):
    def test_keep_alive(self):
        with stack.connect() as wire:
            for i in range(20):
                a = wire.call(CHAT, ask(f"turn {i}"), bearer(key))
                self.assertEqual((a.status, a.close), (200, False))

    def test_pipelining_keeps_the_order(self):
        """Slow and fast, whole and streamed, good and bad, in one piece and byte by byte."""
        turns = [(ask("one", "slow"), 200), (ask("two"), 200), (ask("three", stream=True), 200), ({"model": "nobody"}, 404), (ask("four"), 200)] * 4
        data = b"".join(post(body) for body, _ in turns)
        with stack.connect() as wire:
            for at in range(0, len(data), 997):
                wire.sock.sendall(data[at:at + 997])
            got = [wire.answer() for _ in turns]
        alone = {t: stack.chat("small", t, key=key).text() for t in ("one", "two", "three", "four")}
        for (body, status), a in zip(turns, got):
            self.assertEqual((a.status, a.whole), (status, True))
            if status == 200:
                self.assertEqual(a.text(), alone[body["messages"][0]["content"]])

    def test_a_thousand_at_once(self):
        """More than is kept of what stands behind a request: none is lost, mixed up or begun before its turn."""
        bodies = [ask(f"number {i}", user="x" * 600) for i in range(1000)]
        data = b"".join(post(body) for body in bodies)
        with stack.connect() as wire:
            wire.sock.setblocking(True)
            sender = threading.Thread(target=wire.sock.sendall, args=(data,))
            sender.start()
            for body in bodies:
                a = wire.answer()
                self.assertEqual(a.status, 200, a.body)
            sender.join()
        seen = [l for l in stack.sim_log() if l["event"] == "recv"][-1000:]
        self.assertEqual(len({l["client_request_id"] for l in seen}), 1000)

    def test_refusals_with_bodies_behind_one_another(self):
        """Each is answered at once, above ten a second without a record, with the next one's bytes in the same read."""
        bad = b'{"model":"small",' + b" " * 300000 + b"!}"
        data = b"".join(post(bad) for _ in range(15)) + post()
        with stack.connect() as wire:
            sender = threading.Thread(target=wire.sock.sendall, args=(data,))
            sender.start()
            for _ in range(15):
                expect(self, wire.answer(), "invalid_json")
            self.assertEqual(wire.answer().status, 200)
            sender.join()

    def test_chunked_bodies(self):
        body = json.dumps(ask("in chunks")).encode()
        for size in (1, 7, len(body)):
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + size]), body[i:i + size]) for i in range(0, len(body), size))
            for end in (b"0\r\n\r\n", b"000\r\nx-trailer: 1\r\n\r\n"):
                a = self.raw(request_bytes(CHAT, b"", [*bearer(key), ("Transfer-Encoding", "chunked")]) + chunks + end)
                self.assertEqual((a.status, a.close), (200, False))

    def test_byte_by_byte(self):
        with stack.connect() as wire:
            for byte in post():
                wire.sock.sendall(bytes([byte]))
            self.assertEqual(wire.answer().status, 200)

    def test_expect(self):
        body = json.dumps(ask()).encode()
        head = request_bytes(CHAT, b"", [*bearer(key), ("Expect", "100-continue"), ("Content-Length", str(len(body)))])
        with stack.connect() as wire:
            wire.sock.sendall(head)
            self.assertEqual(wire.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
            wire.sock.sendall(body)
            self.assertEqual(wire.answer().status, 200)
            wire.sock.sendall(head + body)  # does not wait
            self.assertEqual(wire.until(b"\r\n").split()[1], b"200")
        for headers, name in (([("Authorization", "Bearer sk-x")], "invalid_api_key"), ([*bearer(key), ("x-aigw-a", "1")], "unsupported_header")):
            data = request_bytes(CHAT, b"", [*headers, ("Expect", "100-continue"), ("Content-Length", "5")])
            self.refused(data, name)  # and not a word of going on
        self.refused(request_bytes(CHAT, b"", [*bearer(key), ("Expect", "100-continue"), ("Content-Length", "99999999")]), "request_too_large")
        expect(self, stack.chat("small", key=key, headers=[("Expect", "a-miracle")]), "expectation_failed")

    def test_http_1_0(self):
        def old(more=b"", **members):
            body = json.dumps(ask(**members)).encode()
            return b"POST %s HTTP/1.0\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n%s\r\n%s" % (CHAT.encode(), key.encode(), len(body), more, body)
        a, ended = self.raw(old(), ended=True)
        self.assertEqual((a.status, a.close, ended), (200, True, True))
        a = self.raw(old(stream=True))
        self.assertEqual((a.header("transfer-encoding"), a.header("content-length"), a.close), (None, None, True))
        self.assertEqual(a.events()[-1], "[DONE]")
        a = self.raw(old(b"Connection: keep-alive\r\n"))
        self.assertEqual((a.status, a.header("connection")), (200, "keep-alive"))

    def test_connection_close(self):
        a, ended = self.raw(post(headers=[("Connection", "close")]) + post(), ended=True)
        self.assertEqual((a.status, a.close, ended), (200, True, True))
        a, ended = self.raw(post(ask(stream=True), headers=[("Connection", "close")]), ended=True)
        self.assertEqual((a.events()[-1], a.close, ended), ("[DONE]", True, True))

    def test_messages_that_are_none(self):
        auth = b"Authorization: Bearer " + key.encode() + b"\r\n"
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n",
                     b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
                     b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET /healthz HTTP/1.1\nHost: a\n\n", b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
                     b"GET /healthz HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
                     b"GET http://other/healthz HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /healthz#x HTTP/1.1\r\nHost: a\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent_Length: 2\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + auth + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\n\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + auth + b"Transfer-Encoding: chunked\r\n\r\nz\r\n",
                     b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n" + auth + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 2\r\n\r\n"):
            with self.subTest(data[:100]):
                self.refused(data, "bad_request")

    def test_other_protocols(self):
        for data in (b"GET /healthz\r\n\r\n", b"GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n"):
            with self.subTest(data):
                self.refused(data, "http_version")
        for data in (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
                     b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"):
            with self.subTest(data):
                self.refused(data, "upgrade_required")

    def test_what_stands_behind_a_refused_message_is_not_run(self):
        before = stack.sim_stats()
        with stack.connect() as wire:
            wire.sock.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % CHAT.encode() + post())
            expect(self, wire.answer(), "bad_request")
            self.assertTrue(wire.closed())
        self.assertEqual(stack.sim_stats()["requests"], before["requests"])

    def test_same_over_the_unix_socket(self):
        with stack.connect("unix") as wire:
            wire.sock.sendall(request_bytes(CHAT, ask()) + request_bytes(CHAT, ask(stream=True)) + request_bytes("/v1/models"))
            self.assertEqual([wire.answer().status for _ in range(3)], [200, 200, 200])
            wire.sock.sendall(b"hello\r\n\r\n")
            expect(self, wire.answer(), "bad_request")


class Records(Case):
    """What was let through is in the ledger, also if it was refused; what came from nobody is not."""

    def records_of(self, answers):
        ids = {a.header("x-request-id"): name for name, a in answers}
        stack.chat("small", key=key)  # one that is recorded for sure, behind them
        done = stack.chat("small", key=key).header("x-request-id")
        wait_for(lambda: done in {r["request_id"] for r in stack.records()}, "the last record")
        return [(ids[r["request_id"]], r) for r in stack.records() if r["request_id"] in ids]

    def test_refused_calls(self):
        known = [("model_not_found", {"model": "nobody"}), ("model_not_allowed", {"model": "secret"}), ("missing_model", {}), ("invalid_json", b"{"),
                 ("duplicate_member", b'{"model":"small","model":"small"}'), ("request_too_large", b" " * (MAX_BODY + 1))]
        got = self.records_of([(name, stack.call(CHAT, body, key=stack.make_key("search", name))) for name, body in known])
        self.assertEqual([name for name, _ in got], [name for name, _ in known])
        for name, r in got:
            self.assertEqual((r["outcome"], r["fail"], r["status"], r["project"], r["attempts"], r["input_tokens"], r["output_tokens"]),
                             ("refused", name, row(name).status, "search", 0, 0, 0))
            self.assertIn(r["cost"], (None, "0.000000000"))
        self.assertEqual([r["model_asked"] for name, r in got if name.startswith("model_")], ["nobody", "secret"])

    def test_what_leaves_none(self):
        calls = [("invalid_api_key", stack.chat("small", key="sk-aigw-x")), ("unknown_url", stack.call("/v1/files", ask(), key=key)),
                 ("method_not_allowed", stack.call(CHAT, key=key)), ("models", stack.call("/v1/models", key=key)), ("healthz", stack.call("/healthz", key=key))]
        self.assertEqual(self.records_of(calls), [])

    def test_a_flood_of_refusals_is_only_counted(self):
        """Above ten a second of one identity."""
        mine, begun = stack.make_key("search", "flood"), time.monotonic()
        with stack.connect() as wire:
            answers = [("model_not_found", wire.call(CHAT, {"model": "nobody"}, bearer(mine))) for _ in range(200)]
        seconds = int(time.monotonic() - begun) + 2
        self.assertEqual({a.status for _, a in answers}, {404})
        self.assertTrue(10 <= len(self.records_of(answers)) <= 10 * seconds)


class ZLate(Case):
    """Behind all others, since it waits."""

    def test_a_head_has_to_come_within_ten_seconds(self):
        a = late.answer()
        expect(self, a, "request_timeout")
        self.assertTrue(late.closed())
        self.assertGreater(time.monotonic() - late.begun, 9)

    def test_the_agent_lives(self):
        self.assertEqual(stack.chat("small", key=key).status, 200)


if __name__ == "__main__":
    unittest.main()
