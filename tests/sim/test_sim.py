"""What aigw-sim promises: protocol, answers, log. Faults are in test_faults.py.

    test_sim.py PATH-OF-aigw-sim
"""
import base64
import hashlib
import os
import ssl
import struct
import sys
import tempfile
import unittest

from simlib import Sim, log_lines, request_bytes

SIM = sys.argv.pop(1)
CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}
    for name in ("get_weather", "get_time")]


def ask(text="hello", **members):
    return {"model": "sim-a", "messages": [{"role": "user", "content": text}], **members}


class WithSim(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.sim = cls.enterClassContext(Sim(SIM, *cls.options))


class Protocol(WithSim):
    def test_keep_alive_serves_many(self):
        with self.sim.connect() as conn:
            for _ in range(3):
                conn.send(CHAT, ask())
                self.assertEqual(conn.answer().status, 200)

    def test_pipelined_requests_are_answered_in_order(self):
        bodies = [ask(text, stream=text == "b") for text in "abc"]
        with self.sim.connect() as conn:
            conn.sock.sendall(b"".join(request_bytes(CHAT, body) for body in bodies) +
                              request_bytes("/v1/models"))
            got = [conn.answer() for _ in range(4)]
        alone = [self.sim.call(CHAT, ask(text)).json()["choices"][0]["message"]["content"]
                 for text in "abc"]
        self.assertEqual(got[0].json()["choices"][0]["message"]["content"], alone[0])
        self.assertEqual(got[1].text(), alone[1])
        self.assertEqual(got[2].json()["choices"][0]["message"]["content"], alone[2])
        self.assertEqual(got[3].json()["object"], "list")

    def test_request_in_single_bytes(self):
        with self.sim.connect() as conn:
            for byte in request_bytes(CHAT, ask()):
                conn.sock.sendall(bytes([byte]))
            self.assertEqual(conn.answer().status, 200)

    def test_chunked_request(self):
        body = request_bytes("", ask()).split(b"\r\n\r\n", 1)[1]
        parts = [body[:7], body[7:8], body[8:]]
        wire = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        with self.sim.connect() as conn:
            for _ in range(2):
                conn.sock.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: s\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n".encode() + wire)
                self.assertEqual(conn.answer().json()["usage"]["prompt_tokens"], 5)

    def test_expect_100_continue(self):
        wire = request_bytes(CHAT, ask(), headers=[("Expect", "100-continue")])
        head, body = wire.split(b"\r\n\r\n", 1)
        with self.sim.connect() as conn:
            conn.sock.sendall(head + b"\r\n\r\n")
            self.assertEqual(conn.head()[0], 100)
            conn.sock.sendall(body)
            self.assertEqual(conn.answer().status, 200)

    def test_connection_close_is_honoured_and_said(self):
        with self.sim.connect() as conn:
            conn.send(CHAT, ask(), headers=[("Connection", "close")])
            self.assertEqual(conn.answer().headers["connection"], "close")
            self.assertTrue(conn.closed())

    def test_head_of_an_answer(self):
        first, second = (self.sim.call(CHAT, ask()).headers for _ in range(2))
        self.assertEqual(first["content-type"], "application/json")
        self.assertRegex(first["x-request-id"], r"^simreq_[0-9a-f]{16}$")
        self.assertNotEqual(first["x-request-id"], second["x-request-id"])
        self.assertRegex(first["date"], r" GMT$")
        self.assertIn("openai-processing-ms", first)

    def test_what_a_gateway_must_not_send(self):
        body = b'{"model":"a"}'
        cases = [
            (b"POST /v1/chat/completions HTTP/1.0\r\nHost: s\r\n\r\n", 505),
            (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
            (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            (b"POST /v1/responses HTTP/1.1\r\nHost: s\r\nContent-Length: 5\r\n"
             b"Transfer-Encoding: chunked\r\n\r\n", 400),
            (b"POST /v1/responses HTTP/1.1\r\nHost: s\r\nContent-Length: 99999999999\r\n\r\n", 413),
            (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\nHost: s\r\n\r\n", 414),
            (b"GET / HTTP/1.1\r\nHost: s\r\nA: " + b"x" * 70000 + b"\r\n\r\n", 431),
            (b"POST /v1/responses HTTP/1.1\r\nHost: s\r\nExpect: tea\r\n\r\n", 417),
            (b"nonsense\r\n\r\n", 400),
            (b"GET /v1/models HTTP/1.1\r\nHost: s\r\nbad header: x\r\n\r\n" + body, 400),
        ]
        for wire, status in cases:
            with self.subTest(wire=wire[:60]), self.sim.connect() as conn:
                conn.sock.sendall(wire)
                answer = conn.answer()
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.headers["connection"], "close")
                self.assertTrue(conn.closed())

    def test_unknown_url_method_and_json(self):
        self.assertEqual(self.sim.call("/v1/nothing", {}).json()["error"]["code"], "unknown_url")
        self.assertEqual(self.sim.call("/v1/v1/models").status, 404)
        self.assertEqual(self.sim.call(CHAT).status, 405)
        self.assertEqual(self.sim.call("/v1/models", {}).status, 405)
        for body in (b"", b"{", b"[]", b'{"model":"a",}', b'{"model":"a"} x', b'{"model":tru}'):
            with self.subTest(body=body):
                self.assertEqual(self.sim.call(CHAT, body).status, 400)
        error = self.sim.call(CHAT, {"messages": []}).json()["error"]
        self.assertEqual(error["param"], "model")
        self.assertEqual(self.sim.call(CHAT, {"model": "a"}).json()["error"]["param"], "messages")

    def test_head_has_no_body(self):
        with self.sim.connect() as conn:
            conn.send("/v1/models", method="HEAD")
            self.assertEqual(conn.head()[0], 200)
            conn.send("/v1/models", method="DELETE")
            self.assertEqual(conn.answer().status, 405)

    def test_prefix_v1_is_optional(self):
        self.assertEqual(self.sim.call("/chat/completions", ask()).status, 200)
        self.assertEqual(self.sim.call("/models/x").json()["id"], "x")

    def test_json_that_strict_readers_refuse(self):
        body = (b'{"model":"no","x":123456789012345678901234567890,"f":1e999,"s":"\\ud800\\u0000",'
                b'\r\n\t"messages":[{"role":"user","content":"a"}],"messages":'
                b'[{"role":"user","content":"hello"}] , "model":"sim-\\u0061"}')
        answer = self.sim.call(CHAT, body).json()
        self.assertEqual(answer["model"], "sim-a")
        self.assertEqual(answer["usage"]["prompt_tokens"], 5)

    def test_deep_json_is_refused_not_followed(self):
        self.assertEqual(self.sim.call(CHAT, b'{"a":' * 100000).status, 400)


class Answers(WithSim):
    def test_text_and_tokens_follow_from_the_messages(self):
        cases = [
            ("hello", 5), ("", 3), ("12345678", 5), ("\u00e9\U0001f600", 5),
            ([{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {}},
              {"type": "text", "text": "5678"}], 5),
        ]
        for content, want in cases:
            with self.subTest(content=content):
                one, two = (self.sim.call(CHAT, ask(content)).json() for _ in range(2))
                self.assertEqual(one["choices"], two["choices"])
                usage = one["usage"]
                words = one["choices"][0]["message"]["content"].split(" ")
                self.assertEqual(usage["prompt_tokens"], want)
                self.assertEqual(usage["completion_tokens"], len(words))
                self.assertEqual(usage["total_tokens"], want + len(words))
                self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 0)
                self.assertEqual(usage["completion_tokens_details"]["reasoning_tokens"], 0)
        many = ask(messages=[{"role": "system", "content": "1"}, {"role": "user", "content": "2"}])
        self.assertEqual(self.sim.call(CHAT, many).json()["usage"]["prompt_tokens"], 7)

    def test_stream_is_the_plain_answer_in_words(self):
        plain = self.sim.call(CHAT, ask()).json()
        answer = self.sim.call(CHAT, ask(stream=True))
        events = answer.events()
        self.assertEqual(answer.headers["content-type"], "text/event-stream; charset=utf-8")
        self.assertEqual(answer.text(), plain["choices"][0]["message"]["content"])
        self.assertEqual(len(answer.chunks), len(events) - 1)  # close and [DONE] are one chunk
        self.assertEqual(events[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertEqual(events[-2]["choices"][0]["finish_reason"], "stop")
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual(len(events), plain["usage"]["completion_tokens"] + 3)
        self.assertFalse(any("usage" in event for event in events[:-1]))

    def test_usage_chunk_only_when_asked(self):
        answer = self.sim.call(CHAT, ask(stream=True, stream_options={"include_usage": True}))
        events = answer.events()
        self.assertEqual(events[-2]["choices"], [])
        self.assertEqual(events[-2]["usage"], self.sim.call(CHAT, ask()).json()["usage"])
        self.assertTrue(all(event["usage"] is None for event in events[:-2]))

    def test_prefill(self):
        ask = {"model": "sim+tokens-20", "messages": [{"role": "user", "content": "hello"}]}
        whole = self.sim.call("/v1/chat/completions", ask).json()["choices"][0]["message"]["content"]
        begun = " ".join(whole.split(" ")[:7])
        ask["messages"].append({"role": "assistant", "content": begun})
        self.assertEqual(begun + self.sim.call("/v1/chat/completions", ask).json()["choices"][0]["message"]["content"], whole)
        a = self.sim.call("/v1/chat/completions", {**ask, "model": "sim+tokens-20+echo-prefill"}).json()
        self.assertEqual(a["choices"][0]["message"]["content"], whole)
        self.assertEqual(self.sim.call("/v1/chat/completions", {**ask, "model": "sim+tokens-20+no-prefill"}).status, 400)
        ask["messages"][1]["content"] = "something else"
        self.assertNotEqual(self.sim.call("/v1/chat/completions", ask).json()["choices"][0]["message"]["content"], whole)

    def test_max_tokens(self):
        for member in ("max_tokens", "max_completion_tokens"):
            answer = self.sim.call(CHAT, ask(**{member: 2})).json()
            self.assertEqual(answer["choices"][0]["finish_reason"], "length")
            self.assertEqual(answer["usage"]["completion_tokens"], 2)

    def test_several_choices(self):
        plain = self.sim.call(CHAT, ask(n=3)).json()
        texts = [choice["message"]["content"] for choice in plain["choices"]]
        self.assertEqual(len(set(texts)), 3)
        streamed = ["", "", ""]
        for event in self.sim.call(CHAT, ask(n=3, stream=True)).events()[:-1]:
            for choice in event["choices"]:
                streamed[choice["index"]] += choice["delta"].get("content") or ""
        self.assertEqual(streamed, texts)

    def tool_calls(self, body):
        plain = self.sim.call(CHAT, body).json()["choices"][0]
        built = {}
        reason = None
        for event in self.sim.call(CHAT, {**body, "stream": True}).events()[:-1]:
            for part in event["choices"][0]["delta"].get("tool_calls", ()):
                if "id" in part:
                    self.assertEqual(part["type"], "function")
                    self.assertEqual(part["function"]["arguments"], "")
                    built[part["index"]] = [part["function"]["name"], ""]
                else:
                    built[part["index"]][1] += part["function"]["arguments"]
            reason = event["choices"][0]["finish_reason"] or reason
        calls = plain["message"].get("tool_calls", [])
        self.assertEqual([[c["function"]["name"], c["function"]["arguments"]] for c in calls],
                         [built[i] for i in sorted(built)])
        self.assertEqual(reason, plain["finish_reason"])
        return [call["function"]["name"] for call in calls]

    def test_tool_calls(self):
        both = "get_weather and get_time please"
        forced = {"type": "function", "function": {"name": "get_time"}}
        cases = [
            (ask("nothing", tools=TOOLS), []),
            (ask("get_time!", tools=TOOLS), ["get_time"]),
            (ask(both, tools=TOOLS), ["get_weather", "get_time"]),
            (ask(both, tools=TOOLS, parallel_tool_calls=False), ["get_weather"]),
            (ask(both, tools=TOOLS, tool_choice="none"), []),
            (ask("nothing", tools=TOOLS, tool_choice="required"), ["get_weather"]),
            (ask("nothing", tools=TOOLS, tool_choice=forced), ["get_time"]),
            (ask(tools=TOOLS, messages=[{"role": "user", "content": both},
                                        {"role": "tool", "content": "sunny"}]), []),
        ]
        for body, names in cases:
            with self.subTest(body=body):
                self.assertEqual(self.tool_calls(body), names)
        call = self.sim.call(CHAT, cases[1][0]).json()["choices"][0]["message"]["tool_calls"][0]
        self.assertEqual(call["function"]["arguments"], '{"city":"sim","days":1}')

    def test_json_schema(self):
        schema = {"type": "object", "$defs": {"p": {"type": "object", "properties": {
            "k": {"const": 7}}}}, "properties": {
            "s": {"type": "string"}, "n": {"type": "number", "minimum": 3},
            "b": {"type": "boolean"},
            "a": {"type": "array", "minItems": 2, "items": {"type": "integer"}},
            "e": {"enum": ["x\u00e9", "y"]}, "u": {"anyOf": [{"type": "null"}, {"type": "string"}]},
            "o": {"$ref": "#/$defs/p"}, "t": {"type": ["string", "null"]}}}
        body = ask(response_format={"type": "json_schema",
                                    "json_schema": {"name": "x", "strict": True, "schema": schema}})
        text = self.sim.call(CHAT, body).json()["choices"][0]["message"]["content"]
        self.assertEqual(text, '{"s":"sim","n":3,"b":true,"a":[1,1],"e":"x\\u00E9","u":null,'
                               '"o":{"k":7},"t":"sim"}')
        self.assertEqual(self.sim.call(CHAT, {**body, "stream": True}).text(), text)

    def test_completions(self):
        body = {"model": "sim-a", "prompt": ["1234", "5678"]}
        plain = self.sim.call("/v1/completions", body).json()
        self.assertEqual(plain["object"], "text_completion")
        self.assertEqual(plain["usage"]["prompt_tokens"], 8)
        events = self.sim.call("/v1/completions", {**body, "stream": True, "stream_options": {
            "include_usage": True}}).events()
        text = "".join(event["choices"][0]["text"] for event in events[:-2])
        self.assertEqual(text, plain["choices"][0]["text"])
        self.assertEqual(events[-2]["usage"], plain["usage"])
        self.assertEqual(events[-1], "[DONE]")

    def test_embeddings(self):
        body = {"model": "sim-e", "input": ["12345", "x"], "dimensions": 16}
        plain = self.sim.call("/v1/embeddings", body).json()
        coded = self.sim.call("/v1/embeddings", {**body, "encoding_format": "base64"}).json()
        self.assertEqual(plain["usage"], {"prompt_tokens": 3, "total_tokens": 3})
        for one, two in zip(plain["data"], coded["data"], strict=True):
            self.assertEqual(one["embedding"],
                             list(struct.unpack("<16f", base64.b64decode(two["embedding"]))))
        numbers = self.sim.call("/v1/embeddings", {"model": "e", "input": [1, 2, 3]}).json()
        self.assertEqual(numbers["usage"]["prompt_tokens"], 3)
        self.assertEqual(len(numbers["data"]), 1)
        self.assertEqual(len(numbers["data"][0]["embedding"]), 1536)

    def test_responses(self):
        body = {"model": "sim-a", "input": "12345", "instructions": "be kind"}
        plain = self.sim.call("/v1/responses", body).json()
        self.assertEqual(plain["status"], "completed")
        self.assertEqual(plain["usage"]["input_tokens"], 3 + 6)
        events = self.sim.call("/v1/responses", {**body, "stream": True}).events()
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        self.assertEqual([event["type"] for event in events[:2] + events[-1:]],
                         ["response.created", "response.in_progress", "response.completed"])
        text = "".join(event["delta"] for event in events
                       if event["type"] == "response.output_text.delta")
        self.assertEqual(text, plain["output"][0]["content"][0]["text"])
        self.assertEqual(events[-1]["response"]["usage"], plain["usage"])
        self.assertEqual(len(text.split(" ")), plain["usage"]["output_tokens"])

    def test_responses_limit_and_schema(self):
        limited = {"model": "sim-a", "input": "x", "max_output_tokens": 2}
        plain = self.sim.call("/v1/responses", limited).json()
        self.assertEqual(plain["status"], "incomplete")
        self.assertEqual(plain["incomplete_details"]["reason"], "max_output_tokens")
        events = self.sim.call("/v1/responses", {**limited, "stream": True}).events()
        self.assertEqual(events[-1]["type"], "response.incomplete")
        schema = {"model": "a", "input": [{"role": "user", "content": "x"}], "text": {"format": {
            "type": "json_schema", "name": "n", "schema": {"properties": {"k": {"const": 1}}}}}}
        got = self.sim.call("/v1/responses", schema).json()["output"][0]["content"][0]["text"]
        self.assertEqual(got, '{"k":1}')

    def test_responses_tools(self):
        tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
        body = {"model": "a", "input": [{"role": "user", "content": [
            {"type": "input_text", "text": "get_time get_weather"}]}], "tools": tools}
        plain = self.sim.call("/v1/responses", body).json()
        self.assertEqual([item["name"] for item in plain["output"]], ["get_weather", "get_time"])
        events = self.sim.call("/v1/responses", {**body, "stream": True}).events()
        self.assertEqual([event["sequence_number"] for event in events], list(range(len(events))))
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        self.assertEqual([item["arguments"] for item in done],
                         [item["arguments"] for item in plain["output"]])
        built = "".join(event["delta"] for event in events
                        if event["type"] == "response.function_call_arguments.delta"
                        and event["output_index"] == 1)
        self.assertEqual(built, done[1]["arguments"])

    def test_moderations_and_models(self):
        answer = self.sim.call("/v1/moderations", {"input": ["fine", "sim-flag this"]}).json()
        self.assertEqual([result["flagged"] for result in answer["results"]], [False, True])
        self.assertEqual(self.sim.call("/v1/models").json()["object"], "list")
        self.assertEqual(self.sim.call("/v1/models/org/m").json()["id"], "org/m")

    def test_large_prompt(self):
        answer = self.sim.call(CHAT, ask("x" * 3_000_000)).json()
        self.assertEqual(answer["usage"]["prompt_tokens"], 750_003)


class Log(unittest.TestCase):
    def test_every_call_has_two_lines(self):
        with tempfile.TemporaryDirectory() as folder:
            path, bodies = os.path.join(folder, "log"), os.path.join(folder, "bodies")
            wire = b'{ "model":"sim-a+tokens-4", "stream":true,"messages":[] }'
            with Sim(SIM, "--log", path, "--record-bodies", bodies, "--log-headers") as sim:
                answer = sim.call(CHAT, wire, headers=[
                    ("X-Client-Request-Id", "call-1"), ("authorization", "Bearer sk-secret-9876")])
                sim.wait(lambda line: line["event"] == "end")
                self.assertEqual(sim.calls(since=1), log_lines(path)[1:])
            recv, end = log_lines(path)
            with open(f"{bodies}/1.body", "rb") as file:
                self.assertEqual(file.read(), wire)
            with open(f"{bodies}/1.head", "rb") as file:
                self.assertIn(b"\r\nX-Client-Request-Id: call-1\r\n", file.read())
        self.assertEqual((recv["event"], recv["seq"], recv["method"], recv["path"]),
                         ("recv", 1, "POST", CHAT))
        self.assertEqual((recv["client_request_id"], recv["authorization"]), ("call-1", True))
        self.assertEqual((recv["credential_last4"], recv["model"]), ("9876", "sim-a+tokens-4"))
        self.assertEqual((recv["stream"], recv["body_bytes"]), (True, len(wire)))
        self.assertEqual(recv["body_sha256"], hashlib.sha256(wire).hexdigest())
        self.assertIn(["authorization", "9876"], recv["headers"])
        self.assertEqual((end["seq"], end["client_request_id"]), (1, "call-1"))
        self.assertEqual(end["request_id"], answer.headers["x-request-id"])
        self.assertEqual((end["status"], end["input_tokens"], end["output_tokens"]), (200, 1, 4))
        self.assertEqual((end["chunks"], end["complete"], end["client_gone"]), (4, True, False))

    def test_log_survives_a_restart(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log")
            for _ in range(2):
                with Sim(SIM, "--log", path) as sim:
                    sim.chat("sim-a")
            self.assertEqual([line["event"] for line in log_lines(path)],
                             ["recv", "end", "recv", "end"])

    def test_client_that_vanishes(self):
        with Sim(SIM) as sim:
            for leave in ("close", "reset"):
                for members in ({}, {"stream": True}):
                    with self.subTest(leave=leave, members=members):
                        before = len(sim.calls())
                        conn = sim.connect()
                        conn.send(CHAT, ask(sim={"fail-hang": not members, "pace": 1000,
                                                 "tokens": 100000}, **members))
                        sim.wait(lambda line, n=before: line["n"] > n and line["event"] == "recv")
                        if members:
                            conn.read()
                        conn.reset() if leave == "reset" else conn.sock.close()
                        lines = sim.wait(lambda line, n=before: line["n"] > n
                                         and line["event"] == "end")
                        self.assertEqual((lines[-1]["client_gone"], lines[-1]["complete"]),
                                         (True, False))
            stats = sim.stats()
            self.assertEqual((stats["client_gone"], stats["calls_active"]), (4, 0))

    def test_slow_reader_holds_only_itself(self):
        with Sim(SIM) as sim:
            conn = sim.connect()
            conn.send(CHAT, ask(stream=True, sim={"tokens": 20000, "bytes": 1000}))
            self.assertEqual(sim.chat("sim-a").status, 200)
            self.assertEqual(sim.stats()["streams_active"], 1)
            answer = conn.answer()
            self.assertTrue(answer.whole)
            self.assertEqual(len(answer.text()), 20_000_000)
            conn.sock.close()

    def test_shutdown_ends_calls_in_the_log(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "log")
            with Sim(SIM, "--log", path) as sim:
                conn = sim.connect()
                conn.send(CHAT, ask(sim="fail-hang"))
                sim.wait(lambda line: line["event"] == "recv")
            conn.sock.close()
            self.assertEqual(log_lines(path)[-1]["fault"], "shutdown")

    def test_reset_of_counters(self):
        with Sim(SIM, "--calls", "2") as sim:
            sim.chat("a")
            sim.chat("b")
            self.assertEqual([line["n"] for line in sim.calls()], [3, 4])
            self.assertEqual(sim.call("/__calls", method="DELETE").json(), [])
            self.assertEqual(sim.stats()["requests"], 2)
            self.assertEqual(sim.call("/__stats", method="DELETE").json()["requests"], 0)


class Sockets(unittest.TestCase):
    def test_no_descriptor_left(self):
        with Sim("/bin/sh", "-c", 'ulimit -n 40; exec "$0" --listen 127.0.0.1:0 "$@"', SIM) as sim:
            conns = [sim.connect() for _ in range(80)]
            conns[0].send("/v1/models")
            self.assertEqual(conns[0].answer().status, 200)
            self.assertTrue(conns[-1].closed())
            for conn in conns:
                conn.sock.close()
            # Each try that is refused proves that the simulator has closed some more.
            answer = next((a for a in (sim.chat("sim-a") for _ in range(500)) if a), None)
            self.assertEqual(answer and answer.status, 200)

    def test_key(self):
        with Sim(SIM, "--require-key", "sk-right") as sim:
            for headers, status in (([], 401), ([("Authorization", "Bearer sk-wrong")], 401),
                                    ([("Authorization", "Bearer sk-right")], 200),
                                    ([("api-key", "sk-right")], 200)):
                self.assertEqual(sim.chat("a", headers=headers).status, status)
            self.assertEqual(sim.chat("a").json()["error"]["code"], "invalid_api_key")

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            with Sim(SIM, "--unix", f"{folder}/s") as sim, sim.connect("unix") as conn:
                conn.send(CHAT, ask())
                self.assertEqual(conn.answer().status, 200)
            self.assertFalse(os.path.exists(f"{folder}/s"))

    def tls(self, *options, version=None):
        """Two connections, the second with the first's session: (resumed, statistics)."""
        with tempfile.TemporaryDirectory() as folder, Sim(
                SIM, "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0",
                "--tls-self-signed", folder, *options) as sim:
            context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
            if version:
                context.maximum_version = version
            session, used = None, False
            for _ in range(2):
                with sim.connect("tls", session, context) as conn:
                    conn.send(CHAT, ask(stream=True, sim={"tokens": 3000, "bytes": 100}))
                    answer = conn.answer()
                    self.assertTrue(answer.whole)
                    self.assertEqual(len(answer.text()), 300_000)
                    session, used = conn.sock.session, conn.sock.session_reused
            return used, sim.stats()

    def test_tls_resumes_sessions(self):
        for version in (None, ssl.TLSVersion.TLSv1_2):
            with self.subTest(version=version):
                used, stats = self.tls(version=version)
                self.assertTrue(used)
                self.assertEqual((stats["tls_handshakes"], stats["tls_resumed"]), (2, 1))

    def test_tls_without_tickets(self):
        used, stats = self.tls("--tls-tickets", "0")
        self.assertFalse(used)
        self.assertEqual((stats["tls_handshakes"], stats["tls_resumed"]), (2, 0))

    def test_tls_files_and_nonsense(self):
        with tempfile.TemporaryDirectory() as folder:
            with Sim(SIM, "--tls-listen", "[::1]:0", "--tls-self-signed", folder):
                pass
            with Sim(SIM, "--listen", "127.0.0.1:0", "--tls-listen", "127.0.0.1:0", "--tls-cert",
                     f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem") as sim:
                with sim.connect() as conn:
                    conn.sock.close()
                context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
                with sim.connect("tls", None, context) as conn:
                    conn.send("/v1/models")
                    self.assertEqual(conn.answer().status, 200)
                sim.at["http"] = sim.at["tls"]
                with sim.connect() as conn:
                    conn.send("/v1/models")
                    self.assertIsNone(conn.head())


if __name__ == "__main__":
    unittest.main()
