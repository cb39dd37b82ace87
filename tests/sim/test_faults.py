"""Every behaviour that aigw-sim can be told, and the corpus. Protocol and answers: test_sim.py.

    test_faults.py PATH-OF-aigw-sim
"""
import base64
import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
import time
import unittest

from simlib import Sim, request_bytes

SIM = sys.argv.pop(1)
CHAT = "/v1/chat/completions"


def ask(model="sim-a", text="hello", **members):
    return {"model": model, "messages": [{"role": "user", "content": text}], **members}


class WithSim(unittest.TestCase):
    options = ()

    @classmethod
    def setUpClass(cls):
        cls.sim = cls.enterClassContext(Sim(SIM, *cls.options))

    def setUp(self):
        self.sim.call("/__script", method="DELETE")

    def last_end(self):
        return [line for line in self.sim.wait(lambda line: line["event"] == "end")
                if line["event"] == "end"][-1]


class Statuses(WithSim):
    def test_status_with_error_body(self):
        cases = [(400, None), (401, "invalid_api_key"), (403, "forbidden"),
                 (404, "model_not_found"), (408, "request_timeout"), (429, "rate_limit_exceeded"),
                 (500, None), (503, "service_unavailable"), (529, "overloaded"), (599, None)]
        for status, code in cases:
            for name in (f"fail-{status}", f"fail-{status}-anything", f"sim-x+fail-{status}"):
                with self.subTest(name=name):
                    answer = self.sim.chat(name, stream=True)
                    error = answer.json()["error"]
                    self.assertEqual((answer.status, error["code"]), (status, code))
                    self.assertLessEqual({"message", "type", "param", "code"}, set(error))
                    self.assertNotIn("retry-after", answer.headers)

    def test_retry_hints_and_code(self):
        answer = self.sim.chat("sim-x+fail-429+retry-after-2+retry-after-ms-1500"
                               "+code-insufficient_quota")
        self.assertEqual(answer.headers["retry-after"], "2")
        self.assertEqual(answer.headers["retry-after-ms"], "1500")
        self.assertEqual(answer.json()["error"]["code"], "insufficient_quota")

    def test_one_more_header(self):
        answer = self.sim.chat("sim-x+fail-503+header-x-should-retry: false")
        self.assertEqual(answer.headers["x-should-retry"], "false")
        answer = self.sim.chat("sim-a", sim={"header": "x-ratelimit-remaining-requests: 9"},
                               stream=True)
        self.assertEqual(answer.headers["x-ratelimit-remaining-requests"], "9")

    def test_end_line_names_the_fault(self):
        self.sim.chat("fail-503")
        end = self.last_end()
        self.assertEqual((end["status"], end["fault"], end["complete"], end["output_tokens"]),
                         (503, "fail", True, 0))


class Scripting(WithSim):
    def status(self, model, **members):
        answer = self.sim.chat(model, **members)
        return answer.status if answer else 0

    def test_flaky_and_times_count_per_name(self):
        self.assertEqual([self.status("sim-f+flaky-3") for _ in range(7)],
                         [200, 200, 500, 200, 200, 500, 200])
        self.assertEqual([self.status("fail-429-t+times-2") for _ in range(4)],
                         [429, 429, 200, 200])
        self.assertEqual([self.status("sim+flaky-2+fail-503") for _ in range(2)], [200, 503])
        self.assertEqual(self.status("sim-g+flaky-3"), 200)

    def put(self, script):
        return self.sim.call("/__script", script, method="PUT")

    def test_script_at_run_time(self):
        shown = self.put({"a": "fail-500", "b": ["fail-429+retry-after-2", {"fail": 503}, ""],
                          "*": {"fail_hang": False, "fail": 403}})
        self.assertEqual(shown.json()["a"], "fail-500")
        self.assertEqual([self.status(name) for name in ("a", "a", "b", "b", "b", "b", "other")],
                         [500, 500, 429, 503, 200, 200, 403])
        self.put({"a": None, "*": None})
        self.assertEqual([self.status("a"), self.status("other")], [200, 200])
        self.assertEqual(list(self.sim.call("/__script").json()), ["b"])
        self.sim.call("/__script", method="DELETE")
        self.assertEqual(self.sim.call("/__script").json(), {})

    def test_body_wins_over_script_and_name(self):
        self.put({"fail-401": "fail-500"})
        self.assertEqual(self.status("fail-401"), 500)
        self.assertEqual(self.status("fail-401", sim={"fail": 429}), 429)
        self.assertEqual(self.status("fail-401", sim="fail-503"), 503)

    def test_wrong_scripts_are_refused_whole(self):
        for script in ({"a": "fail-429", "b": "tokenz-3"}, {"a": []}, {"a": 3}, [],
                       {"a": {"tokens": "3"}}, {"a": {"tokens": 0}}, {"a": {"no-usage": 1}},
                       {"a": {"x": True}},
                       {"a": "code-" + "x" * 128}, {"a": "header-x"},
                       {"a": {"header": "x: y\r\nz: w"}}, {"a": "tokens-99999999"},
                       {"a": "tokens-"},
                       {"a": "pace-1+"}, {"a": {"code": ""}}):
            with self.subTest(script=script):
                self.assertEqual(self.put(script).status, 400)
        self.assertEqual(self.put(b'{"a":"","a":""}').status, 400)
        self.assertEqual(self.sim.call("/__script").json(), {})
        self.assertEqual(self.sim.chat("sim-x+tokenz-3").json()["error"]["code"], "sim_script")
        self.assertEqual(self.status("sim-x", sim={"nothing": 1}), 400)
        self.assertEqual(self.status("gpt-4.1-mini"), 200)

    def test_every_behaviour_is_known_by_its_printed_name(self):
        done = subprocess.run([SIM, "--behaviours"], capture_output=True, check=True)
        names = [line.split()[0] for line in done.stdout.decode().splitlines()]
        self.assertEqual(len(set(names)), len(names))
        for name in names:
            given = name.replace("-TEXT", "-x:y").replace("-N", "-400")
            with self.subTest(name=name):
                self.assertEqual(self.put({"m": given}).status, 200)
                key = re.sub("-(N|TEXT)$", "", name)
                value = 400 if name.endswith("-N") else "x:y" if name.endswith("-TEXT") else True
                self.assertEqual(self.put({"m": {key: value}}).status, 200)


class Connections(WithSim):
    def test_close_and_reset_without_an_answer(self):
        for name in ("fail-close", "fail-reset"):
            with self.subTest(name=name):
                self.assertIsNone(self.sim.chat(name))
                end = self.last_end()
                self.assertEqual((end["status"], end["fault"], end["complete"], end["client_gone"]),
                                 (0, name, False, False))

    def test_reset_is_a_reset(self):
        with self.sim.connect() as conn:
            conn.send(CHAT, ask("fail-reset"))
            with self.assertRaises(ConnectionResetError):
                conn.sock.recv(1)

    def test_hang_until_the_client_goes(self):
        with self.sim.connect() as conn:
            conn.sock.settimeout(0.2)
            conn.send(CHAT, ask("fail-hang"))
            with self.assertRaises(TimeoutError):
                conn.sock.recv(1)
        self.sim.wait(lambda line: line.get("fault") == "fail-hang" and line["client_gone"])

    def test_close_after_is_not_announced(self):
        for members in ({}, {"stream": True}):
            with self.sim.connect() as conn:
                conn.send(CHAT, ask("sim-x+close-after", **members))
                answer = conn.answer()
                self.assertTrue(answer.whole)
                self.assertNotIn("connection", answer.headers)
                self.assertTrue(conn.closed())
        self.assertTrue(self.last_end()["complete"])

    def test_close_on_next(self):
        before = self.sim.stats()["dropped_on_next"]
        with self.sim.connect() as conn:
            conn.send(CHAT, ask("sim-x+close-on-next"))
            self.assertEqual(conn.answer().status, 200)
            conn.send(CHAT, ask(), headers=[("x-client-request-id", "dropped")])
            self.assertTrue(conn.closed())
        with self.sim.connect() as conn:  # the same for bytes that came early
            conn.sock.sendall(request_bytes(CHAT, ask("sim-x+close-on-next")) * 2)
            self.assertEqual(conn.answer().status, 200)
            self.assertTrue(conn.closed())
        self.assertEqual(self.sim.stats()["dropped_on_next"], before + 2)
        drops = [line for line in self.sim.calls() if line["event"] == "drop"]
        self.assertEqual([line["client_request_id"] for line in drops], ["dropped", None])

    def test_head_only(self):
        for members in ({}, {"stream": True}):
            answer = self.sim.chat("sim-x+head-only", **members)
            self.assertEqual((answer.status, answer.body, answer.whole), (200, b"", False))


class Bodies(WithSim):
    def test_midbody(self):
        plain = self.sim.chat("fail-midbody")
        self.assertFalse(plain.whole)
        self.assertAlmostEqual(len(plain.body), int(plain.headers["content-length"]) / 2, delta=1)
        streamed = self.sim.chat("fail-midbody+tokens-10", stream=True)
        self.assertFalse(streamed.whole)
        self.assertEqual(len(streamed.events()), 1 + 5)

    def test_bad_json(self):
        plain = self.sim.chat("fail-badjson")
        self.assertTrue(plain.whole)
        with self.assertRaises(ValueError):
            plain.json()
        events = self.sim.chat("fail-badjson+tokens-3", stream=True).events()
        self.assertEqual([isinstance(event, str) for event in events],
                         [False, True, False, False, False, True])
        events = self.sim.chat("sim-x+bad-chunk-2+tokens-3", stream=True).events()
        self.assertEqual([isinstance(event, str) for event in events],
                         [False, False, False, True, False, True])

    def test_usage_withheld_or_moved(self):
        asked = {"stream": True, "stream_options": {"include_usage": True}}
        self.assertNotIn("usage", self.sim.chat("sim-x+no-usage").json())
        events = self.sim.chat("sim-x+no-usage", **asked).events()
        self.assertFalse(any(event.get("usage") for event in events[:-1]))
        for members in (asked, {"stream": True}):
            events = self.sim.chat("sim-x+usage-in-finish", **members).events()
            self.assertEqual(events[-2]["choices"][0]["finish_reason"], "stop")
            self.assertEqual(events[-2]["usage"]["prompt_tokens"], 5)
        self.sim.chat("sim-x+no-usage")
        self.assertFalse(self.last_end()["usage_sent"])

    def test_scripted_numbers(self):
        usage = self.sim.chat("sim-x+cached-4+reasoning-7+tokens-3").json()["usage"]
        self.assertEqual(usage["prompt_tokens_details"]["cached_tokens"], 4)
        self.assertEqual(usage["completion_tokens_details"]["reasoning_tokens"], 7)
        self.assertEqual((usage["completion_tokens"], usage["total_tokens"]), (10, 15))
        usage = self.sim.call("/v1/responses", {"model": "sim+cached-99+reasoning-7+tokens-3",
                                                "input": "hello"}).json()["usage"]
        self.assertEqual(usage["input_tokens_details"]["cached_tokens"], usage["input_tokens"])
        self.assertEqual(usage["output_tokens"], 10)
        self.assertEqual(self.last_end()["output_tokens"], 10)

    def test_size_of_the_answer(self):
        text = self.sim.chat("sim-x+tokens-4+bytes-50").json()["choices"][0]["message"]["content"]
        self.assertEqual(len(text), 200)
        self.assertEqual(self.sim.chat("sim-x+tokens-4+bytes-50", stream=True).text(), text)

    def test_gzip(self):
        want = self.sim.chat("sim-a").json()["choices"]
        answer = self.sim.chat("sim-a+gzip")
        self.assertEqual(answer.headers["content-encoding"], "gzip")
        self.assertEqual(json.loads(gzip.decompress(answer.body))["choices"], want)
        for name in ("sim-a+gzip", "sim-a+gzip+chunk-split", "sim-a+gzip+one-write"):
            answer = self.sim.chat(name, stream=True)
            answer.body = gzip.decompress(answer.body)
            self.assertEqual(answer.text(), want[0]["message"]["content"])
        answer = self.sim.chat("sim-a+gzip+tokens-4000+bytes-100")
        self.assertIn(b'"completion_tokens":4000', gzip.decompress(answer.body))

    def test_framing_swapped(self):
        answer = self.sim.chat("sim-x+swap-framing")
        self.assertTrue(answer.headers["content-type"].startswith("text/event-stream"))
        self.assertEqual(answer.events()[-1], "[DONE]")
        answer = self.sim.chat("sim-x+swap-framing", stream=True)
        self.assertEqual(answer.json()["object"], "chat.completion")


class Streams(WithSim):
    def test_cut(self):
        for model, pieces, whole in (("sim-x+cut-after-0", 0, False),
                                     ("sim-x+cut-after-3", 3, False),
                                     ("sim-x+tokens-5+cut-after-5", 5, False),
                                     ("sim-x+tokens-5+cut-after-6", 5, True)):
            for split in ("", "+chunk-split"):
                with self.subTest(model=model, split=split):
                    answer = self.sim.chat(model + split, stream=True)
                    self.assertEqual(answer.whole, whole)
                    self.assertEqual(len(answer.text().split()), pieces)
                    end = self.last_end()
                    self.assertEqual((end["chunks"], end["complete"]), (pieces, whole))

    def test_stall_and_hold_open(self):
        for model, events in (("sim-x+stall-after-2", 3), ("sim-x+tokens-2+hold-open", 5),
                              ("sim-x+tokens-2+hold-open+no-done", 4)):
            with self.subTest(model=model), self.sim.connect() as conn:
                conn.send(CHAT, ask(model, stream=True))
                conn.head()
                got = 0
                while got < events:
                    got += conn.chunk().count(b"data: ")
                conn.sock.settimeout(0.1)
                with self.assertRaises(TimeoutError):
                    conn.chunk()
        self.sim.wait(lambda line: line.get("fault") == "hold-open" and line["client_gone"])

    def test_no_done(self):
        answer = self.sim.chat("sim-x+no-done", stream=True)
        self.assertTrue(answer.whole)
        self.assertEqual(answer.events()[-1]["choices"][0]["finish_reason"], "stop")

    def test_error_event(self):
        for after in (0, 2):
            answer = self.sim.chat(f"sim-x+error-event-{after}+code-broken", stream=True)
            self.assertTrue(answer.whole)
            events = answer.events()
            self.assertEqual(len(events), after + (2 if after else 1))
            self.assertEqual(events[-1]["error"]["code"], "broken")

    def test_times(self):
        def took(model, **members):
            begun = time.monotonic()
            with self.sim.connect() as conn:
                conn.send(CHAT, ask(model, **members))
                conn.head()
                head = time.monotonic() - begun
                if members:
                    first = conn.chunk()
                    return head, time.monotonic() - begun, first
            return head, None, None

        self.assertGreaterEqual(took("slow-150-x")[0], 0.15)
        self.assertGreaterEqual(took("slow-150-x", stream=True)[0], 0.15)
        head, first, chunk = took("sim-x+first-after-300", stream=True)
        self.assertGreaterEqual(first, 0.3)
        self.assertLess(head, 0.3)
        self.assertIn(b'"content":""', chunk)
        head, first, chunk = took("sim-x+first-after-300+role-only-first", stream=True)
        self.assertLess(first, 0.3)
        self.assertIn(b'"delta":{"role":"assistant"}', chunk)
        begun = time.monotonic()
        self.sim.chat("sim-x+tokens-21+pace-10000", stream=True)
        self.assertGreaterEqual(time.monotonic() - begun, 0.2)

    def test_one_write(self):
        answer = self.sim.chat("sim-x+one-write+tokens-50+pace-100000", stream=True)
        self.assertEqual(len(answer.chunks), 1)
        self.assertEqual(len(answer.events()), 53)

    def test_chunk_split_is_the_same_stream_cut_the_same_way(self):
        one, two = (self.sim.chat("sim-x+chunk-split+tokens-100", stream=True) for _ in range(2))
        self.assertEqual([len(chunk) for chunk in one.chunks], [len(chunk) for chunk in two.chunks])
        self.assertEqual(one.text(), two.text())
        self.assertEqual(len(one.events()), 103)
        self.assertIn(1, map(len, one.chunks))
        plain = self.sim.chat("sim-x+chunk-split+tokens-100")
        self.assertEqual(plain.json()["choices"][0]["message"]["content"], one.text())

    def test_cut_seed_cuts_everything(self):
        cuts = []
        for seed in ("1", "1", "2"):
            with Sim(SIM, "--cut-seed", seed) as sim:
                answer = sim.chat("sim-x+tokens-50", stream=True)
                cuts.append([len(chunk) for chunk in answer.chunks])
                self.assertEqual(len(answer.events()), 53)
                self.assertEqual(len(sim.chat("sim-x+one-write", stream=True).chunks), 1)
        self.assertEqual(cuts[0], cuts[1])
        self.assertNotEqual(cuts[0], cuts[2])

    def test_stamp(self):
        text = self.sim.chat("sim-x+stamp+tokens-3", stream=True).text()
        stamps = [int(stamp) for stamp in re.findall(r"T([0-9]{19})", text)]
        self.assertEqual(len(stamps), 3)
        self.assertLess(time.monotonic_ns() - stamps[0], 60_000_000_000)

    def test_many_paced_streams(self):
        conns = [self.sim.connect() for _ in range(300)]
        for conn in conns:
            conn.send(CHAT, ask("sim-x+tokens-20+pace-5000", stream=True))
        self.assertTrue(all(conn.answer().whole for conn in conns))
        for conn in conns:
            conn.sock.close()
        self.assertGreater(self.sim.stats()["streams_active_max"], 100)


class Corpus(unittest.TestCase):
    """A corpus made here, with the oddities that recordings have."""

    stream = "\ufeffdata: {\"a\":\"\u00e9\U0001f600\"}\r\n\r\n: comment\n\ndata: [DONE]\n\n" * 40
    exchanges = {
        "openai-chat__x__s__one-0": {
            "model_requested": "gpt-x", "streaming": True,
            "usage": {"input_tokens": 11, "output_tokens": 7},
            "request": {"path": "/openai/v1/chat/completions", "body_encoding": "utf8",
                        "body": '{"model": "gpt-x","n":12345678901234567890123}'},
            "response": {"status": 200, "body_encoding": "utf8", "body": stream, "headers": {
                "content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_recorded",
                "x-ratelimit-limit-requests": "500", "date": "old", "content-length": "1",
                "connection": "close"}}},
        "openai-embeddings__y__n__two-1": {
            "model_requested": "emb", "streaming": False, "usage": None,
            "request": {"path": "/api/v1/embeddings", "body_encoding": "base64",
                        "body": base64.b64encode(b'{"model":"emb"}').decode()},
            "response": {"status": 422, "body_encoding": "base64", "headers": {
                "content-type": "application/x"}, "body": base64.b64encode(b"\0\xff\n").decode()}},
        "openai-chat__z__s__events-0": {
            "model_requested": "z", "streaming": True, "usage": None, "request": None,
            "response": {"status": 200, "body_encoding": "utf8", "headers": {},
                         "body": "data: 1\n\n"}},
    }

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        for name, exchange in cls.exchanges.items():
            with open(f"{cls.folder}/{name}.json", "w", encoding="utf-8") as file:
                json.dump({"id": name, **exchange}, file, ensure_ascii=False)
        with open(f"{cls.folder}/broken.json", "w", encoding="utf-8") as file:
            file.write("{")
        cls.sim = cls.enterClassContext(Sim(SIM, "--corpus", cls.folder, "--cut-seed", "7"))

    def test_by_id(self):
        answer = self.sim.chat("openai-chat__x__s__one-0")
        self.assertEqual(answer.body.decode(), self.stream)
        self.assertEqual(answer.headers["x-request-id"], "req_recorded")
        self.assertEqual(answer.headers["x-ratelimit-limit-requests"], "500")
        self.assertEqual(answer.headers["transfer-encoding"], "chunked")
        self.assertNotIn("connection", answer.headers)
        self.assertGreater(len(answer.chunks), 5)
        end = [line for line in self.sim.calls() if line["event"] == "end"][-1]
        self.assertEqual((end["input_tokens"], end["output_tokens"]), (11, 7))
        self.assertTrue(end["usage_sent"])
        self.assertEqual(self.sim.chat("openai-chat__z__s__events-0").body, b"data: 1\n\n")

    def test_status_and_binary_body(self):
        answer = self.sim.call("/v1/embeddings", {"model": "openai-embeddings__y__n__two-1",
                                                  "input": "a"})
        self.assertEqual((answer.status, answer.body), (422, b"\0\xff\n"))
        self.assertEqual(answer.headers["content-length"], "3")
        self.assertRegex(answer.headers["x-request-id"], "^simreq_")

    def test_by_request(self):
        wire = self.exchanges["openai-chat__x__s__one-0"]["request"]["body"].encode()
        self.assertEqual(self.sim.call(CHAT, wire).body.decode(), self.stream)
        self.assertEqual(self.sim.call("/v1/embeddings", b'{"model":"emb"}').status, 422)
        self.assertEqual(self.sim.call("/v1/embeddings", b'{"model":"emb" }').status, 400)

    def test_elsewhere(self):
        answer = self.sim.call("/v1/embeddings",
                               {"model": "openai-chat__x__s__one-0", "input": "a"})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (404, "sim_corpus"))
        self.assertEqual(self.sim.chat("broken").status, 500)
        self.assertEqual(self.sim.chat("sim-a").json()["object"], "chat.completion")


class Noise(unittest.TestCase):
    def test_mangled_requests_never_stop_it(self):
        rng = random.Random(3)
        good = request_bytes(CHAT, ask("sim-x+tokens-2", tools=[{"function": {"name": "t"}}],
                                       response_format={"type": "json_schema"}, stream=True))
        with Sim(SIM) as sim:
            for _ in range(300):
                wire = bytearray(good)
                for _ in range(rng.randrange(1, 6)):
                    wire[rng.randrange(len(wire))] = rng.randrange(256)
                if rng.random() < .3:
                    del wire[rng.randrange(len(wire)):]
                with sim.connect() as conn:
                    conn.sock.sendall(wire)
                    if rng.random() < .5:
                        conn.sock.settimeout(0.005)
                        try:
                            conn.read()
                        except TimeoutError:
                            pass
                    if rng.random() < .3:
                        conn.reset()
            self.assertEqual(sim.chat("sim-a").status, 200)


if __name__ == "__main__":
    unittest.main()
