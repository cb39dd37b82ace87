"""Clients as their makers ship them, against the gateway: the openai client in two majors, and curl; over TCP with a key and over the
unix socket without one. What they see is checked there; what the provider and the ledger see, here.

Usage: test_compat.py [BUILD_ROOT] [unittest arguments]
AIGW_NPM: folder with the node_modules of tests/e2e/node; AIGW_NODE: a Node.js of version 22 or later.
"""
import base64
import functools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../lib"))
from harness import Stack, build_root, wait_for  # noqa: E402
from wire import Wire, split_events  # noqa: E402

BUILD = build_root()
WAYS = ("tcp", "unix")
SDKS = ("openai6", "openai7")
SECRET, WRONG_SECRET = "sk-provider-0123456789", "sk-provider-of-yesterday"

POLICY = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: locked, type: openai-compatible, base_url: $SIM, credential: old}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, cached_input: 0.5, output: 2}
models:
  - {name: small, aliases: [tiny], targets: [{provider: sim, model: sim-small}]}
  - {name: "vendor/model:1", targets: [{provider: sim, model: sim-small}]}
  - {name: embed, targets: [{provider: sim, model: sim-embed}]}
  - {name: moderate, targets: [{provider: sim, model: sim-moderate}]}
  - {name: long, targets: [{provider: sim, model: sim+tokens-30000}]}
  - {name: slow, targets: [{provider: sim, model: sim+tokens-2000+pace-20000}]}
  - {name: never, targets: [{provider: sim, model: sim+fail-hang}]}
  - {name: limited, targets: [{provider: sim, model: sim+fail-429+retry-after-7}]}
  - {name: denied, targets: [{provider: sim, model: sim+fail-403}]}
  - {name: broken, targets: [{provider: sim, model: sim+fail-500}]}
  - {name: error-in-stream, targets: [{provider: sim, model: sim+error-event-2}]}
  - {name: cut, targets: [{provider: sim, model: sim+tokens-10+cut-after-2}]}
  - {name: zipped, targets: [{provider: sim, model: sim+gzip}]}
  - {name: flaky-openai6-tcp, targets: [{provider: sim, model: sim-6t+times-1+fail-500}]}
  - {name: flaky-openai6-unix, targets: [{provider: sim, model: sim-6u+times-1+fail-500}]}
  - {name: flaky-openai7-tcp, targets: [{provider: sim, model: sim-7t+times-1+fail-500}]}
  - {name: flaky-openai7-unix, targets: [{provider: sim, model: sim-7u+times-1+fail-500}]}
  - {name: locked, targets: [{provider: locked, model: sim-small}]}
  - {name: forbidden, targets: [{provider: sim, model: sim-small}]}
customers:
  - name: acme
    projects:
      - {name: search, models: &all [small, "vendor/model:1", embed, moderate, long, slow, never, limited, denied, broken, error-in-stream, cut, zipped, locked,
          flaky-openai6-tcp, flaky-openai6-unix, flaky-openai7-tcp, flaky-openai7-unix]}
      - {name: local, models: [ALL]}
identities:
  - {uid: $UID, project: local}
"""
NAMES = re.search(r"models: &all \[(.*?)\]", POLICY, re.S)[1]
POLICY = POLICY.replace("&all ", "").replace("[ALL]", f"[{NAMES}]")
stack = key = None


def setUpModule():
    global stack, key
    stack = Stack(BUILD, POLICY, sim=["--require-key", SECRET, "--log-headers"], secrets={"sim": SECRET, "old": WRONG_SECRET},
                  agent={"max_body": "2MiB"})
    stack.__enter__()
    key = stack.make_key("search")


def tearDownModule():
    stack.__exit__(None, None, None)


def check_abort(test, request_id):
    """The provider's connection was closed at once, and the call is booked for what it is."""
    log = stack.wait_sim(lambda line: line["event"] == "end" and line["client_request_id"] == request_id)
    end = next(line for line in log if line["event"] == "end" and line["client_request_id"] == request_id)
    test.assertEqual((end["complete"], end["client_gone"]), (False, True))
    test.assertLess(end["chunks"], 1000)
    record = wait_for(lambda: next((r for r in stack.records() if r["request_id"] == request_id), None), "the aborted call's record")
    test.assertEqual((record["outcome"], record["estimated"], record["usage_seen"]), ("client_gone", True, False))
    test.assertGreater(record["input_tokens"] * record["output_tokens"], 0)
    test.assertGreater(float(record["cost"]), 0)


class Sdk(unittest.TestCase):
    """sdk.mjs, once for each client and way."""

    @classmethod
    def setUpClass(cls):
        cls.npm = os.path.abspath(os.environ.get("AIGW_NPM") or os.path.join(HERE, "../node"))
        cls.node = os.environ.get("AIGW_NODE") or shutil.which("node")
        missing = [m for m in (*SDKS, "undici") if not os.path.isdir(os.path.join(cls.npm, "node_modules", m))]
        if missing:
            raise unittest.SkipTest(f"npm packages missing: {', '.join(missing)} in {cls.npm}/node_modules (./dev test installs them)")
        if not cls.node:
            raise unittest.SkipTest("npm packages missing: no node")

    def run_sdk(self, sdk, way):
        unix = way == "unix"
        env = dict(os.environ, AIGW_NPM=self.npm, AIGW_SDK=sdk, AIGW_KEY="none" if unix else key, AIGW_SOCKET=stack.unix if unix else "",
                   AIGW_BASE_URL="http://localhost/v1" if unix else f"http://127.0.0.1:{stack.port}/v1")
        got = subprocess.run([self.node, os.path.join(HERE, "sdk.mjs")], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=150)
        out = got.stdout.decode()
        plan = re.search(r"^1\.\.(\d+)$", out, re.M)
        lines = re.findall(r"^(ok|not ok) \d+ - (.*)((?:\n#.*)*)", out, re.M)
        self.assertEqual((got.returncode, plan and int(plan[1])), (0, len(lines)), out + got.stderr.decode())
        for verdict, name, notes in lines:
            with self.subTest(sdk=sdk, way=way, name=name):
                self.assertEqual(verdict, "ok", notes)
        aborted = re.findall(r"^# aborted (req_\w+)$", out, re.M)
        self.assertEqual(len(aborted), 2)
        for request_id in aborted:
            with self.subTest(sdk=sdk, way=way, aborted=request_id):
                check_abort(self, request_id)

    def test_openai_6_over_tcp(self):
        self.run_sdk("openai6", "tcp")

    def test_openai_6_over_the_unix_socket(self):
        self.run_sdk("openai6", "unix")

    def test_openai_7_over_tcp(self):
        self.run_sdk("openai7", "tcp")

    def test_openai_7_over_the_unix_socket(self):
        self.run_sdk("openai7", "unix")


class CurlAnswer:
    def __init__(self, status, head, body):
        self.status, self.body = status, body
        self.fields = [line.split(":", 1) for line in head.strip().split("\r\n\r\n")[-1].split("\r\n")[1:]]
        self.fields = {n.lower(): v.strip() for n, v in self.fields}

    def json(self):
        return json.loads(self.body)

    def events(self):
        data = [e.decode().removeprefix("data: ").strip() for e in split_events(self.body)]
        return [json.loads(d) for d in data if d != "[DONE]"]

    def error(self):
        return self.status, self.json()["error"]["code"]


def curl_args(way, path, *more, body=None, use_key=None):
    base = "http://localhost" if way == "unix" else f"http://127.0.0.1:{stack.port}"
    args = ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "60"]
    if way == "unix":
        args += ["--unix-socket", stack.unix]
    credential = use_key if use_key is not None else key if way == "tcp" else ""
    if credential:
        args += ["--header", f"Authorization: Bearer {credential}"]
    if body is not None:
        args += ["--header", "Content-Type: application/json", "--data-binary", "@-"]
    return [*args, *more, base + path]


def curl(way, path, *more, body=None, use_key=None):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = stack.path("curl.head")
    args = curl_args(way, path, "--dump-header", head, "--write-out", "%{stderr}%{http_code}", *more, body=body, use_key=use_key)
    got = subprocess.run(args, input=data if body is not None else None, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=90,
                         stdin=subprocess.DEVNULL if body is None else None)
    if got.returncode:
        raise AssertionError(f"curl ended with {got.returncode}: {got.stderr.decode()}")
    with open(head, encoding="latin-1", newline="") as f:
        return CurlAnswer(int(got.stderr), f.read(), got.stdout)


def other_key():
    """The key with its last character changed: its checksum is wrong."""
    return key[:-1] + ("0" if key[-1] != "0" else "1")


def user(text):
    return [{"role": "user", "content": text}]


def ask(model="small", text="hello", **more):
    return {"model": model, "messages": user(text), **more}


TOOLS = [{"type": "function", "function": {"name": n, "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}}}
         for n in ("first_tool", "second_tool")]
SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "string"}}, "required": ["x", "y"], "additionalProperties": False}


def both_ways(method):
    """The test over TCP, then over the unix socket."""
    @functools.wraps(method)
    def each(self):
        for way in WAYS:
            with self.subTest(way=way):
                method(self, way)
    return each


class Curl(unittest.TestCase):
    def chat(self, way, *more, **members):
        return curl(way, "/v1/chat/completions", *more, body=ask(**members))

    @both_ways
    def test_chat(self, way):
        a = self.chat(way)
        self.assertEqual(a.status, 200)
        self.assertEqual(a.json()["usage"]["prompt_tokens"], 5)
        self.assertEqual(set(a.fields), {"x-request-id", "server-timing", "x-aigw-model", "x-aigw-provider", "x-aigw-upstream-request-id",
                                         "content-type", "content-length"})

    @both_ways
    def test_stream(self, way):
        a = self.chat(way, stream=True)
        self.assertEqual((a.status, a.fields["content-type"]), (200, "text/event-stream; charset=utf-8"))
        self.assertTrue(a.body.endswith(b"data: [DONE]\n\n"))
        self.assertTrue(all(e["choices"] and not e["usage"] for e in a.events()))
        b = self.chat(way, stream=True, stream_options={"include_usage": True})
        self.assertEqual((b.events()[-1]["choices"], b.events()[-1]["usage"]["prompt_tokens"]), ([], 5))
        self.assertEqual(len(b.events()), len(a.events()) + 1)

    @both_ways
    def test_tools_and_schema(self, way):
        text = "use first_tool and second_tool"
        both = self.chat(way, text=text, tools=TOOLS).json()["choices"][0]["message"]["tool_calls"]
        self.assertEqual([c["function"]["name"] for c in both], ["first_tool", "second_tool"])
        one = self.chat(way, text=text, tools=TOOLS, parallel_tool_calls=False).json()["choices"][0]["message"]["tool_calls"]
        self.assertEqual(len(one), 1)
        form = {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": SCHEMA}}
        self.assertEqual(set(json.loads(self.chat(way, response_format=form).json()["choices"][0]["message"]["content"])), {"x", "y"})

    @both_ways
    def test_long_prompt(self, way):
        for more in ((), ("--header", "Transfer-Encoding: chunked"), ("--http1.0",), ("--header", "Expect: 100-continue")):
            a = self.chat(way, *more, text="x" * 307200)
            self.assertEqual((a.status, a.json()["usage"]["prompt_tokens"]), (200, 307200 // 4 + 3))

    @both_ways
    def test_embeddings(self, way):
        floats = curl(way, "/v1/embeddings", body={"model": "embed", "input": "x"}).json()["data"][0]["embedding"]
        text = curl(way, "/v1/embeddings", body={"model": "embed", "input": "x", "encoding_format": "base64"}).json()["data"][0]["embedding"]
        decoded = struct.unpack(f"<{len(floats)}f", base64.b64decode(text))
        self.assertTrue(all(abs(a - b) < 1e-6 for a, b in zip(floats, decoded)))

    @both_ways
    def test_other_end_points(self, way):
        self.assertEqual(curl(way, "/v1/responses", body={"model": "small", "input": "x"}).json()["status"], "completed")
        a = curl(way, "/v1/responses", body={"model": "small", "input": "x", "stream": True})
        self.assertIn(b"event: response.completed\n", a.body)
        self.assertEqual(curl(way, "/v1/completions", body={"model": "small", "prompt": "x"}).json()["object"], "text_completion")
        self.assertEqual(len(curl(way, "/v1/moderations", body={"model": "moderate", "input": "x"}).json()["results"]), 1)
        self.assertEqual(curl(way, "/v1/models/vendor%2Fmodel:1").json()["id"], "vendor/model:1")
        names = [m["id"] for m in curl(way, "/v1/models").json()["data"]]
        self.assertTrue("tiny" in names and "forbidden" not in names)
        self.assertEqual(curl(way, "/healthz", use_key="").json(), {"status": "ok"})
        self.assertEqual(curl(way, "/readyz", use_key="").json(), {"status": "ok"})

    @both_ways
    def test_paths_as_people_write_them(self, way):
        for path in ("/chat/completions", "/v1/chat/completions/", "//v1//chat/completions", "/v1/chat/completions?api-version=1"):
            self.assertEqual(curl(way, path, body=ask()).status, 200, path)

    @both_ways
    def test_four_forms_of_a_key(self, way):
        for field in (f"authorization: bearer {key}", f"api-key: {key}", f"x-api-key: {key}", f"X-Goog-Api-Key: {key}"):
            a = curl(way, "/v1/chat/completions", "--header", field, body=ask(), use_key="")
            self.assertEqual(a.status, 200, field.split(":")[0])
        two = curl(way, "/v1/models", "--header", f"api-key: {key}", use_key=other_key())
        self.assertEqual(two.error(), (400, "ambiguous_credential"))

    @both_ways
    def test_errors(self, way):
        post, big = "/v1/chat/completions", b" " * (3 << 20)
        upgrade = ("--header", "Upgrade: websocket", "--header", "Connection: Upgrade")
        for name, status, code, args, more in (
                ("mistyped key", 401, "invalid_api_key", (post,), {"body": ask(), "use_key": other_key()}),
                ("unknown model", 404, "model_not_found", (post,), {"body": ask("nothing")}),
                ("bad JSON", 400, "invalid_json", (post,), {"body": b"{'model':1}"}),
                ("no body", 400, "invalid_json", (post,), {"body": b""}),
                ("too large", 413, "request_too_large", (post, "--header", "Expect:"), {"body": big}),
                ("too large, asked first", 413, "request_too_large", (post, "--header", "Expect: 100-continue"), {"body": big}),
                ("too large, by chunks", 413, "request_too_large", (post, "--header", "Transfer-Encoding: chunked"), {"body": big}),
                ("GET for POST", 405, "method_not_allowed", (post,), {}),
                ("PUT for POST", 405, "method_not_allowed", (post, "--request", "PUT"), {"body": ask()}),
                ("POST for GET", 405, "method_not_allowed", ("/v1/models",), {"body": {}}),
                ("unknown URL", 404, "unknown_url", ("/v1/nothing",), {"body": {}}),
                ("no URL", 404, "unknown_url", ("/",), {}),
                ("no JSON", 415, "unsupported_media_type", (post, "--header", "Content-Type: text/plain"), {"body": ask()}),
                ("a header of later", 400, "unsupported_header", (post, "--header", "X-Aigw-Tag: a"), {"body": ask()}),
                ("upgrade", 426, "upgrade_required", (post, *upgrade), {"body": ask()}),
                ("long head", 431, "header_too_large", (post, "--header", "X-Long: " + "x" * 70000), {"body": ask()}),
                ("the provider's 429", 429, "rate_limit_exceeded", (post,), {"body": ask("limited")}),
                ("the provider's 403", 502, "upstream_auth_failed", (post,), {"body": ask("denied", stream=True)}),
                ("the provider's 401", 502, "upstream_auth_failed", (post,), {"body": ask("locked")})):
            with self.subTest(name):
                self.assertEqual(curl(way, *args, **more).error(), (status, code))

    def test_who_needs_a_key(self):
        for use_key in ("", "sk-foreign"):
            self.assertEqual(curl("tcp", "/v1/models", use_key=use_key).error(), (401, "invalid_api_key"))
            self.assertEqual(curl("unix", "/v1/models", use_key=use_key).status, 200)

    def test_error_answers_are_openai_s(self):
        a = self.chat("tcp", model="smal")
        self.assertEqual(set(a.json()["error"]), {"message", "type", "param", "code"})
        self.assertEqual(a.json()["request_id"], a.fields["x-request-id"])
        self.assertEqual(set(a.fields), {"x-request-id", "server-timing", "content-type", "content-length", "x-should-retry"})
        self.assertIn("'small'", a.json()["error"]["message"])
        self.assertEqual(curl("tcp", "/v1/chat/completions").fields["allow"], "POST")

    @both_ways
    def test_head_has_no_body(self, way):
        a = curl(way, "/v1/models", "--head")
        self.assertEqual((a.status, a.fields["content-type"]), (200, "application/json"))
        self.assertEqual(int(a.fields["content-length"]), len(curl(way, "/v1/models").body))

    @both_ways
    def test_compressed_answers_pass(self, way):
        a = self.chat(way, model="zipped")
        self.assertEqual((a.fields["content-encoding"], a.body[:2]), ("gzip", b"\x1f\x8b"))
        b = self.chat(way, "--compressed", model="zipped")
        self.assertEqual(b.json()["object"], "chat.completion")
        c = self.chat(way, "--compressed", model="zipped", stream=True)
        self.assertTrue(c.body.endswith(b"data: [DONE]\n\n"))
        for answer in (a, b, c):
            request_id = answer.fields["x-request-id"]
            r = wait_for(lambda: next((r for r in stack.records() if r["request_id"] == request_id), None), "the record")
            self.assertEqual((r["outcome"], r["usage_seen"], r["estimated"]), ("ok", False, True))

    @both_ways
    def test_connection_is_kept(self, way):
        url = curl_args(way, "/v1/models")[-1]
        a = curl(way, "/v1/models", "--write-out", "%{stderr}%{num_connects}", "--output", os.devnull, url)
        self.assertEqual(a.status, 10)  # the first made one connection, the second none

    @both_ways
    def test_leaving_in_mid_stream(self, way):
        for body, path in ((ask("slow", stream=True), "/v1/chat/completions"),
                           ({"model": "slow", "input": "x", "stream": True}, "/v1/responses")):
            args = curl_args(way, path, "--include", body=body)
            p = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            p.stdin.write(json.dumps(body).encode())
            p.stdin.close()
            seen = b""
            while seen.count(b"data: ") < 8:
                seen += p.stdout.readline()
            p.kill()
            p.wait()
            p.stdout.close()
            check_abort(self, re.search(rb"x-request-id: (req_\w+)", seen)[1].decode())


class Wires(unittest.TestCase):
    """What neither client does."""

    def test_pipelined_calls_are_answered_in_order(self):
        for way in WAYS:
            with self.subTest(way=way), stack.connect(way) as wire:
                fields = [("Authorization", f"Bearer {key}")] if way == "tcp" else []
                for i in range(20):
                    wire.send("/v1/chat/completions", ask(text="x" * i, stream=bool(i % 3)), fields)
                texts = [wire.answer().text() for _ in range(20)]
                expected = [stack.chat("small", "x" * i, key=key).text() for i in range(20)]
                self.assertEqual(texts, expected)

    def test_reset_in_mid_stream(self):
        for way in WAYS:
            with self.subTest(way=way):
                wire = Wire(stack.where(way))
                wire.send("/v1/chat/completions", ask("slow", stream=True), [("Authorization", f"Bearer {key}")])
                head = wire.head()
                for _ in range(4):
                    wire.chunk()
                wire.reset()
                check_abort(self, head.header("x-request-id"))

    def test_credentials_go_nowhere(self):
        """Neither the caller's key nor what he put in for one reaches the provider; the provider's secret reaches nobody else."""
        stack.call("/v1/chat/completions", ask(), way="unix", headers=[("Authorization", "Bearer sk-foreign-secret")])
        stack.chat("small", key=key)
        with open(stack.path("calls.log")) as f:
            log = f.read()
        with open(stack.path("agentd.log")) as f:
            log += f.read()
        with open(stack.path("ctld.log")) as f:
            log += f.read()
        for secret in (key, key[-40:], "sk-foreign-secret", SECRET, WRONG_SECRET):
            self.assertNotIn(secret, log)
        got = {line["credential_last4"] for line in stack.sim_log() if line["event"] == "recv"}
        self.assertLessEqual(got, {SECRET[-4:], WRONG_SECRET[-4:]})


class ZzLedger(unittest.TestCase):
    """After all the others."""

    def test_every_call_is_booked_once(self):
        records = stack.check_ledger(unmetered=("zipped",))
        self.assertGreater(len(records), 100)
        for r in records.values():
            self.assertIn(r["outcome"], ("ok", "client_gone", "cut", "failed", "refused"))
            self.assertEqual(r["customer"], "acme")
            self.assertEqual((r["uid"] is None, r["key_id"] != ""), (r["key_id"] != "" and r["uid"] is None, r["project"] == "search"))
            if r["outcome"] == "cut":
                self.assertIn(r["fail"], ("upstream_cut", "upstream_error"))  # broken off, or in the provider's own words
                self.assertTrue(r["estimated"])
            if r["priced"] and r["usage_seen"] and r["outcome"] == "ok":
                nano = (r["input_tokens"] - r["cached_input_tokens"]) * 1000 + r["cached_input_tokens"] * 500 + r["output_tokens"] * 2000
                self.assertEqual(r["cost"], f"{nano // 10**9}.{nano % 10**9:09d}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
