"""Bodies that nobody would write, through the gateway under an alias: nothing but the edited places may change, and what decides
routing may not stand twice.

Usage: test_bytes.py [BUILD_ROOT] [unittest arguments]
"""
import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
import jsontext  # noqa: E402
from harness import Stack, build_root  # noqa: E402
from wire import split_events  # noqa: E402

BUILD = build_root()
ENDPOINTS = {"chat/completions": '"messages":[{"role":"user","content":"hi"}]', "completions": '"prompt":"hi"', "embeddings": '"input":"hi"',
             "responses": '"input":"hi"', "moderations": '"input":"hi"'}
STREAMS = ("chat/completions", "completions")
DEPTH_MAX = 128
ODD_MODEL = "org/mod-el:7b@[v2]~{x}"
MODELS = {"sim-small": "sim-small", "alias": "sim-small", "odd": ODD_MODEL, "a/b.c:d,e": "sim-x", "quiet": "sim-small"}

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: quiet, type: openai-compatible, base_url: $SIM, credential: sim, options: {stream_usage: false}}
models:
  - {name: sim-small, aliases: [alias], targets: [{provider: sim, model: sim-small}]}
  - {name: odd, targets: [{provider: sim, model: "%s"}]}
  - {name: "a/b.c:d,e", targets: [{provider: sim, model: sim-x}]}
  - {name: quiet, targets: [{provider: quiet, model: sim-small}]}
customers:
  - {name: acme, projects: [{name: p}]}
identities:
  - {uid: $UID, project: p}
""" % ODD_MODEL

DEEP = "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1)
TWICE = '"stream_options":{"include_usage":true,"include_usage":false}'

# REST stands for what the endpoint wants; the first member that is a model is the one that counts.
BODIES = {
    "as the target is called": '{"model":"sim-small",REST}',
    "alias": '{"model":"alias",REST}',
    "a target with odd characters": '{"model":"odd",REST}',
    "a name with odd characters": '{"model":"a/b.c:d,e",REST}',
    "model last": '{REST,"model":"alias"}',
    "model alone between": '{"a":1,"model":"alias","b":2,REST}',
    "big integers": '{"model":"alias","seed":123456789012345678901234567890,"x":[9007199254740993,-9223372036854775809,0,-0],REST}',
    "float text": '{"model":"alias","temperature":1.0,"top_p":0.10000000000000000555,"x":[1e0,1E+2,1e-400,1E400,-0.0,1.50,0.1e1],REST}',
    "duplicate other members": '{"user":"a","model":"alias","user":"b","metadata":{"k":1,"k":2},REST,"metadata":{}}',
    "white space": ' \r\n\t{ \t"model" \n:\r\n "alias"\t,\n\n  REST , "x" : [ 1 , 2 ,\t3 ] ,"y":{ } ,"z":[ ]\r}\r\n \t',
    "escapes in keys": '{"mod\\u0065l":"alias","m\\u0065tadata":{"\\u006bey":"v"},"\\/\\b\\f\\n\\r\\t\\"\\\\":1,REST}',
    "escapes in the name": '{"model":"\\u0061li\\u0061s",REST}',
    "an escaped name that is the target's": '{"model":"sim-sm\\u0061ll",REST}',
    "unicode": '{"model":"alias","user":"Grüße, 世界 \U0001f600 \u2028\u2029\ufeff\u0000".. '.replace("\u0000", "\\u0000").replace('".. ', '",REST}'),
    "escaped unicode": '{"model":"alias","user":"\\ud83d\\ude00 \\ud800 \\u0000 \\u00E9 \\/",REST}',
    "members of the same names inside": '{"metadata":{"model":"x","stream":true,"stream_options":{"include_usage":false}},"model":"alias","x":[{"model":1}],'
                                        '"y":"\\"model\\":\\"z\\"",REST}',
    "as deep as allowed": '{"model":"alias","x":' + DEEP + ',REST}',
    "empty keys and values": '{"":"","model":"alias","x":{"":{}},REST}',
    "long": '{"model":"alias","x":"' + "long ümlaut " * 25000 + '",REST}',
    "many members": '{' + ",".join(f'"k{i}":{i}' for i in range(5000)) + ',"model":"alias",REST}',
    "stream false": '{"model":"alias","stream":false,REST}',
    "stream null": '{"model":"alias","stream":null,REST}',
    "stream no boolean": '{"model":"alias","stream":"true",REST}',
    "options without stream": '{"model":"alias","stream_options":{"include_usage":false},REST}',
}

STREAM_BODIES = {
    "no options": '{"model":"alias","stream":true,REST}',
    "no options, model first and white space": ' { "model":"alias" , "stream" : true , REST } ',
    "no options at a provider without": '{"model":"quiet","stream":true,REST}',
    "options at a provider without": '{"model":"quiet","stream":true,"stream_options":{"include_obfuscation":false},REST}',
    "null": '{"model":"alias","stream_options": null ,"stream":true,REST}',
    "empty": '{"stream_options":{},"model":"alias","stream":true,REST}',
    "empty with space": '{REST,"stream_options":{ \t} ,"model":"alias","stream":true}',
    "other": '{"model":"alias","stream_options":{"include_obfuscation":false},"stream":true,REST}',
    "other with space": '{"stream":true,"stream_options" : { "x" : 12345678901234567890 } ,REST,"model":"alias"}',
    "false": '{"model":"alias","stream_options":{"include_usage":false},"stream":true,REST}',
    "false between": '{"model":"alias","stream":true,"stream_options":{"a":1.0,"include_usage" : false , "b":[]},REST}',
    "usage null": '{"model":"alias","stream":true,"stream_options":{"include_usage":null},REST}',
    "usage no boolean": '{"model":"alias","stream":true,"stream_options":{"include_usage":"true"},REST}',
    "usage an object": '{"model":"alias","stream":true,"stream_options":{"include_usage":{"a":[1]}},REST}',
    "true": '{"model":"alias","stream":true,"stream_options":{"include_usage":true},REST}',
    "true under its own name": '{"model":"sim-small","stream":true,"stream_options":{"include_usage":true},REST}',
    "twice inside": '{"model":"alias","stream":true,' + TWICE + ',REST}',
    "escaped keys": '{"model":"alias","str\\u0065am":true,"stream_opt\\u0069ons":{"include_us\\u0061ge":false},REST}',
    "options a text": '{"model":"alias","stream":true,"stream_options":"include_usage",REST}',
    "options a list": '{"model":"alias","stream":true,"stream_options":[{"include_usage":false}],REST}',
    "same names inside": '{"metadata":{"stream_options":{"include_usage":true}},"model":"alias","stream":true,REST}',
}

# aigw-sim compares keys as they stand, so it refuses or misreads these; what it got is what counts.
SIM_MISREADS = ("escapes in keys", "escaped keys")

WRONG = {
    "duplicate_member": [
        '{"model":"alias","model":"alias",REST}', '{"model":"alias",REST,"mod\\u0065l":"sim-small"}', '{"\\u006d\\u006f\\u0064\\u0065\\u006c":"alias","model":1,REST}',
        '{"model":"alias","stream":true,"stream":true,REST}', '{"model":"alias","stream":false,REST,"strea\\u006d":true}',
        '{"model":"alias","stream_options":{},REST,"stream_options":{}}', '{"model":"alias","stream_options":null,"\\u0073tream_options":{"include_usage":true},REST}',
    ],
    "missing_model": ['{REST}', '{"model":null,REST}', '{"model":1,REST}', '{"model":"",REST}', '{"model":["alias"],REST}', '{"Model":"alias",REST}', '{"metadata":{"model":"alias"},REST}'],
    "invalid_json": [
        "", " \r\n ", "[]", '["model"]', '"model"', "1", "null", "true", '[{"model":"alias",REST}]', '{"model":"alias",REST} x', '{"model":"alias",REST}{}', '{"model":"alias",REST},',
        '{"model":"alias",REST}\u0000', '\ufeff{"model":"alias",REST}', '{"model":"alias",REST', '{"model":"alias",REST,}', '{,"model":"alias",REST}', '{"model":"alias" REST}',
        '{"model":"alias",REST,"x":}', '{"model":"alias",REST,"x"}', '{"model":"alias",REST,x:1}', "{'model':'alias',REST}", '{"model":"alias",REST,"x":NaN}',
        '{"model":"alias",REST,"x":01}', '{"model":"alias",REST,"x":+1}', '{"model":"alias",REST,"x":.5}', '{"model":"alias",REST,"x":1.}', '{"model":"alias",REST,"x":1e}',
        '{"model":"alias",REST,"x":-}', '{"model":"alias",REST,"x":True}', '{"model":"alias",REST,"x":nul}', '{"model":"alias",REST,"x":"a\tb"}', '{"model":"alias",REST,"x":"a\nb"}',
        '{"model":"alias",REST,"x":"\\x41"}', '{"model":"alias",REST,"x":"\\u12G4"}', '{"model":"alias",REST,"x":"\\"}', '{"model":"alias",REST /* c */}', '{"model":"alias",REST,"x":[1,]}',
        '{"model":"alias",REST,"x":[1 2]}', '{"model":"alias",REST,"x":[}', '{"model":"alias",REST,"x":{]}', '{"model":"alias",REST,"x":[' + DEEP + ']}',
        '{"model":"alias",REST,"x":' + '{"a":' * DEPTH_MAX + "1" + "}" * DEPTH_MAX + "}", '{"model":"alias",REST,"x":' + "[" * 200000 + "}",
    ],
}


def fill(text, endpoint):
    return text.replace("REST", ENDPOINTS[endpoint]).encode("utf-8", "surrogateescape")


def sse(*events, end="\n"):
    return "".join(e.replace("\n", end) + end + end for e in events)


def chunk(**more):
    return "data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "größer"}}], **more})


USAGE = '"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
USAGE_EVENT = 'data: {"choices":[],' + USAGE + "}"

# name: (endpoint, content type, what the provider sends, tokens in the record, or None: estimated)
STREAMED = {
    "lf": sse(chunk(), USAGE_EVENT, "data: [DONE]"),
    "crlf": sse(chunk(), USAGE_EVENT, "data: [DONE]", end="\r\n"),
    "cr": sse(chunk(), USAGE_EVENT, "data: [DONE]", end="\r"),
    "comments": ": hello\n\n" + sse(chunk()) + ": keep-alive\n\n" + sse(USAGE_EVENT, "data: [DONE]") + ":bye\n\n",
    "named events": sse("event: chunk\nid: 1\nretry: 10\n" + chunk(), "event: usage\n" + USAGE_EVENT, "data: [DONE]"),
    "no space behind data": sse(chunk().replace("data: ", "data:"), USAGE_EVENT.replace("data: ", "data:"), "data:[DONE]"),
    "white space in the usage chunk": sse(chunk(), 'data: { "choices" : [ ] , "usage" : { "prompt_tokens" : 7 , "completion_tokens" : 3 } }', "data: [DONE]"),
    "usage with a choice": sse(chunk(), chunk(usage={"prompt_tokens": 7, "completion_tokens": 3}), "data: [DONE]"),
    "usage null, then usage": sse('data: {"choices":[],"usage":null,"prompt_filter_results":[]}', chunk(usage=None), USAGE_EVENT, "data: [DONE]"),
    "two usage chunks": sse(USAGE_EVENT.replace("7", "1"), chunk(), USAGE_EVENT, "data: [DONE]"),
    "usage over two data lines": sse(chunk(), 'data: {"choices":[],\ndata: "usage":{"prompt_tokens":7,"completion_tokens":3}}', "data: [DONE]"),
    "the word usage in the text": sse(chunk(note='"usage":{}'), USAGE_EVENT, "data: [DONE]"),
    "no blank line at the end": sse(chunk(), USAGE_EVENT) + "data: [DONE]\n",
    "usage behind the end mark": sse(chunk(), "data: [DONE]", USAGE_EVENT),
    "bytes behind the end mark": sse(chunk(), USAGE_EVENT, "data: [DONE]") + ": late\n\n" + "data: later\n\n",
    "a big event": sse(chunk(pad="x" * 300000), USAGE_EVENT, "data: [DONE]"),
    "lines that are no fields": sse("error: {\"code\":1}", "whatever", chunk(), USAGE_EVENT, "data: [DONE]"),
}


def used(text):
    return '{"choices":[],"usage":{' + text + "}}"


# name: (what the provider sends, tokens of the record: input, output, cached, reasoning; or None: estimated)
PLAIN = {
    "usage first": ('{' + USAGE + ',"choices":[]}', (7, 3, 0, 0)),
    "usage last, long": ('{"choices":[{"message":{"content":"' + "größer " * 40000 + '"}}],"big":12345678901234567890123,' + USAGE + ' } \n', (7, 3, 0, 0)),
    "usage inside others": ('{"choices":[{"usage":{"prompt_tokens":99}}],' + USAGE + "}", (7, 3, 0, 0)),
    "white space and escapes": ('\r\n {"a\\u0062" : 1.50e+3 , "a\\u0062":-0 , ' + USAGE + ", \"x\" : \"\\ud800 \u2028\" }\t", (7, 3, 0, 0)),
    "details are parts of the sums": (used('"prompt_tokens":9,"completion_tokens":8,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4},'
                                           '"completion_tokens_details":{"reasoning_tokens":5}'), (9, 8, 4, 5)),
    "reasoning beside the output": (used('"prompt_tokens":9,"completion_tokens":8,"total_tokens":22,"completion_tokens_details":{"reasoning_tokens":5}'),
                                    (9, 13, 0, 5)),
    "cache hits by their other name": (used('"prompt_tokens":9,"completion_tokens":8,"prompt_cache_hit_tokens":6,"prompt_cache_miss_tokens":3'), (9, 8, 6, 0)),
    "no usage": ('{"choices":[{"message":{"content":"hello"}}]}', None),
    "usage null": ('{"choices":[{"message":{"content":"hello"}}],"usage":null}', None),
}


def write_answers(folder):
    """The answers above as exchanges that aigw-sim can replay."""
    os.mkdir(folder)

    def write(name, streaming, text):
        kind = "text/event-stream; charset=utf-8" if streaming else "application/json"
        doc = {"id": name, "dialect": "openai-chat", "streaming": streaming, "request": {"path": "/v1/chat/completions"}, "usage": None,
               "response": {"status": 200, "headers": {"content-type": kind, "x-other": "no", "set-cookie": "a=b", "x-request-id": "up-" + str(len(text))},
                            "body_encoding": "utf8", "body": text}}
        with open(os.path.join(folder, name + ".json"), "w", encoding="utf-8") as f:
            json.dump(doc, f)
    for i, text in enumerate(STREAMED.values()):
        write(f"stream-{i}", True, text)
    for i, (text, _) in enumerate(PLAIN.values()):
        write(f"plain-{i}", False, text)


def answers_policy():
    names = [f"stream-{i}" for i in range(len(STREAMED))] + [f"plain-{i}" for i in range(len(PLAIN))]
    lines = "".join(f"  - {{name: m-{n}, targets: [{{provider: sim, model: {n}}}]}}\n" for n in names)
    return POLICY.replace("models:\n", "models:\n" + lines)


class Requests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.stack = Stack(BUILD, POLICY)
        cls.folder = cls.stack.path("bodies")
        cls.stack.sim_options = ["--record-bodies", cls.folder]
        cls.stack.__enter__()
        cls.wire = cls.stack.connect("unix")

    @classmethod
    def tearDownClass(cls):
        cls.wire.sock.close()
        cls.stack.__exit__(None, None, None)

    def send(self, endpoint, body, headers=()):
        if self.wire is None:
            type(self).wire = self.stack.connect("unix")
        answer = self.wire.call("/v1/" + endpoint, body, headers)
        if answer is None or answer.close:
            self.wire.sock.close()
            type(self).wire = None
        return answer

    def received(self, answer):
        request_id = answer.header("x-request-id")
        lines = self.stack.wait_sim(lambda line: line.get("client_request_id") == request_id)
        seqs = [line["seq"] for line in lines if line["event"] == "recv" and line["client_request_id"] == request_id]
        self.assertEqual(len(seqs), 1)
        with open(os.path.join(self.folder, f"{seqs[0]}.body"), "rb") as f:
            return f.read()

    def check(self, endpoint, name, text):
        """(the body sent, the body that the provider got, the answer)"""
        body = fill(text, endpoint)
        model = json.loads(body.decode())["model"]
        asks = jsontext.asks_stream(body) and endpoint in STREAMS and model != "quiet"
        answer = self.send(endpoint, body)
        if name not in SIM_MISREADS:
            self.assertEqual(answer.status, 200, answer.body)
            self.assertIsNotNone(answer.header("x-aigw-upstream-request-id"), answer.body)
        got = self.received(answer)
        self.assertEqual(answer.header("x-aigw-model"), "sim-small" if model == "alias" else model)
        self.assertEqual(got, jsontext.at_provider(body, model, MODELS[model], asks))
        return body, got, answer

    def test_bodies_reach_the_provider_byte_for_byte(self):
        for endpoint in ENDPOINTS:
            for name, text in BODIES.items():
                with self.subTest(endpoint=endpoint, body=name):
                    self.check(endpoint, name, text)

    def test_usage_is_asked_for_where_it_can_be(self):
        for endpoint in ENDPOINTS:
            for name, text in STREAM_BODIES.items():
                with self.subTest(endpoint=endpoint, body=name):
                    body, got, answer = self.check(endpoint, name, text)
                    if endpoint not in STREAMS or b"quiet" in body or "options a" in name:
                        continue
                    self.assertTrue(jsontext.asks_usage(got))
                    if name in SIM_MISREADS:
                        continue
                    self.assertEqual(answer.header("content-type"), "text/event-stream; charset=utf-8")
                    hidden = not jsontext.asks_usage(body)
                    self.assertEqual(any(jsontext.nothing_but_usage(e) for e in split_events(answer.body)), not hidden)

    def test_the_same_body_untouched_is_the_same_bytes(self):
        name = "as the target is called"
        for endpoint in ENDPOINTS:
            body, got, _ = self.check(endpoint, name, BODIES[name])
            self.assertEqual(body, got)

    def test_chunked_bodies_are_the_same_bodies(self):
        for name in ("white space", "long", "unicode", "alias"):
            body = fill(BODIES[name], "chat/completions")
            for size in (1, 7, 4096, 70000):
                if size == 1 and len(body) > 4096:
                    continue
                with self.subTest(body=name, size=size):
                    parts = [body[i:i + size] for i in range(0, len(body), size)]
                    wire = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
                    answer = self.send("chat/completions", wire, [("Transfer-Encoding", "chunked")])
                    self.assertEqual(self.received(answer), jsontext.at_provider(body, "alias", "sim-small", False))

    def test_fields_that_go_upstream(self):
        body = fill(BODIES["alias"], "chat/completions")
        for size in (1, 100, 4000, 7000):
            go = {"accept": "text/event-stream, */*;q=0.1", "openai-beta": "b=" + "x" * size, "anthropic-version": "2023-06-01", "anthropic-beta": "a,b",
                  "x-goog-user-project": "p", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                  "content-type": "application/json; charset=utf-8"}
            stay = {"user-agent": "OpenAI/JS 7", "x-stainless-lang": "js", "accept-encoding": "gzip, br", "cookie": "a=b", "openai-organization": "o",
                    "openai-project": "p", "idempotency-key": f"i{size}", "x-client-request-id": "theirs", "x-request-id": "theirs", "forwarded": "for=x",
                    "x-forwarded-for": "1.2.3.4", "te": "trailers", "connection": "x-hop", "x-hop": "1", "authorization": "Bearer sk-theirs",
                    "api-key": "sk-theirs", "x-api-key": "sk-theirs", "x-goog-api-key": "sk-theirs"}
            with self.subTest(size=size):
                answer = self.send("chat/completions", body, [*go.items(), *stay.items()])
                self.assertEqual(answer.status, 200, answer.body)
                request_id = answer.header("x-request-id")
                self.received(answer)
                line = next(line for line in self.stack.sim_log() if line["event"] == "recv" and line["client_request_id"] == request_id)
                with open(os.path.join(self.folder, f"{line['seq']}.head")) as f:
                    first, *fields = f.read().rstrip().split("\n")
                fields = [tuple(x.split(": ", 1)) for x in fields]
                self.assertEqual(first, "POST /v1/chat/completions HTTP/1.1")
                got = {n.lower(): v for n, v in fields}
                self.assertEqual(len(got), len(fields))
                self.assertEqual({n: got.pop(n) for n in go}, go)
                self.assertEqual(got.pop("x-client-request-id"), request_id)
                self.assertRegex(got.pop("user-agent"), "^aigw/")
                self.assertEqual(got, {"host": self.stack.sim_at["http"], "accept-encoding": "identity", "content-length": str(len(self.received(answer))),
                                       "authorization": "Bearer " + self.stack.secrets["sim"]})

    def test_more_of_them_than_there_is_room_for(self):
        answer = self.send("chat/completions", fill(BODIES["alias"], "chat/completions"), [("OpenAI-Beta", "x" * 20000)])
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (431, "header_too_large"))

    def test_wrong_bodies_are_refused_and_go_nowhere(self):
        before = self.stack.sim_stats()["requests"]
        for endpoint in ENDPOINTS:
            for code, texts in WRONG.items():
                for text in texts:
                    with self.subTest(endpoint=endpoint, code=code, body=text[:80]):
                        answer = self.send(endpoint, fill(text, endpoint))
                        self.assertEqual((answer.status, answer.json()["error"]["code"]), (400, code), answer.body)
                        self.assertEqual(answer.json()["error"]["type"], "invalid_request_error")
        self.assertEqual(self.stack.sim_stats()["requests"], before)


class Answers(unittest.TestCase):
    """What providers send, whatever it is, in pieces that are cut anywhere."""
    maxDiff = None

    def check_stream(self, stack, i, name, ask):
        text = list(STREAMED.values())[i].encode()
        options = {"stream_options": {"include_usage": True}} if ask else {}
        answer = stack.chat(f"m-stream-{i}", stream=True, **options)
        keep = [e for e in split_events(text) if ask or not jsontext.nothing_but_usage(e)]
        self.assertEqual(answer.body, b"".join(keep))
        self.assertTrue(answer.whole)
        self.assertEqual({n for n, _ in answer.headers}, {"x-request-id", "server-timing", "x-aigw-model", "x-aigw-provider", "content-type",
                                                          "x-aigw-upstream-request-id", "transfer-encoding"})
        return answer.header("x-request-id"), (7, 3, 0, 0)

    def check_plain(self, stack, i, name):
        text, tokens = list(PLAIN.values())[i]
        answer = stack.chat(f"m-plain-{i}")
        self.assertEqual(answer.body, text.encode())
        self.assertTrue(answer.whole)
        return answer.header("x-request-id"), tokens

    def run_with(self, durability, seed):
        stack = Stack(BUILD, answers_policy(), agent={"durability": durability})
        folder = stack.path("answers")
        write_answers(folder)
        stack.sim_options = ["--corpus", folder, "--cut-seed", str(seed)]
        with stack:
            expected = {}
            for i, name in enumerate(STREAMED):
                for ask in (False, True):
                    with self.subTest(stream=name, asked=ask, durability=durability):
                        request_id, tokens = self.check_stream(stack, i, name, ask)
                        expected[request_id] = (name, tokens)
            for i, name in enumerate(PLAIN):
                with self.subTest(plain=name, durability=durability):
                    request_id, tokens = self.check_plain(stack, i, name)
                    expected[request_id] = (name, tokens)
            records = {r["request_id"]: r for r in stack.wait_records(len(STREAMED) * 2 + len(PLAIN))}
            for request_id, (name, tokens) in expected.items():
                r = records[request_id]
                with self.subTest(record=name, durability=durability):
                    self.assertEqual(r["outcome"], "ok")
                    self.assertEqual((r["usage_seen"], r["estimated"]), (tokens is not None, tokens is None))
                    if tokens:
                        self.assertEqual((r["input_tokens"], r["output_tokens"], r["cached_input_tokens"], r["reasoning_tokens"]), tokens)
                    else:
                        self.assertGreater(r["input_tokens"] + r["output_tokens"], 0)

    def test_strict(self):
        for seed in (11, 12):
            self.run_with("strict", seed)

    def test_relaxed(self):
        for seed in (13, 14):
            self.run_with("relaxed", seed)


if __name__ == "__main__":
    unittest.main(verbosity=2)
