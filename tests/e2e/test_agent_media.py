"""Audio and images through the agent: uploads that are handed through or held, what they cost, and what a wrong one is answered with.

Usage: test_agent_media.py [BUILD_ROOT] [unittest arguments]
AIGW_NPM, AIGW_NODE: as for compat/test_compat.py; without them the official clients are not tried.
"""
import hashlib
import json
import os
import subprocess
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.path.insert(0, HERE)
from fails import expect  # noqa: E402
from harness import Stack, build_root, wait_for  # noqa: E402
from media import ANSWERS, SAID, VOICE, Media  # noqa: E402
from wire import split_events  # noqa: E402

BUILD = build_root()
NODE, NPM = os.environ.get("AIGW_NODE"), os.environ.get("AIGW_NPM")
HEAR, SPEAK, DRAW, EDIT, VARY = "/v1/audio/transcriptions", "/v1/audio/speech", "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
MARK = "----form-0123456789"

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: media, type: openai-compatible, base_url: "http://127.0.0.1:$PORT/v1", credential: sim}
prices:
  - {provider: media, model: "*", from: 2020-01-01, input: 1, output: 2, audio_in: 6}
  - {provider: media, model: seconds, from: 2020-01-01, per_minute: 0.006}
  - {provider: media, model: voice, from: 2020-01-01, input: 15, per_request: 0.01}
models:
  - {name: a-rather-long-name-of-words, targets: [{provider: media, model: words}]}
  - {name: w, targets: [{provider: media, model: words}]}
  - {name: seconds, targets: [{provider: media, model: seconds}]}
  - {name: mistral, targets: [{provider: media, model: mistral}]}
  - {name: mute, targets: [{provider: media, model: mute}]}
  - {name: said, targets: [{provider: media, model: said}]}
  - {name: early, targets: [{provider: media, model: early}]}
  - {name: voice, targets: [{provider: media, model: voice}]}
  - {name: draw, targets: [{provider: media, model: picture}]}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
"""


def part(name, content, filename=None, more=""):
    where = f'; filename="{filename}"' if filename else ""
    content = content if isinstance(content, bytes) else content.encode()
    return f'--{MARK}\r\nContent-Disposition: form-data; name="{name}"{where}\r\n{more}\r\n'.encode() + content + b"\r\n"


def form(*parts):
    return b"".join(parts) + f"--{MARK}--\r\n".encode()


def sound(n):
    """Bytes with all that could be taken for a boundary."""
    seed = b"\r\n--" + MARK.encode()[:-1] + b"\r\n--\r" + bytes(range(256))
    return (seed * (n // len(seed) + 1))[:n]


def head(path, length=None, extra=(), mark=MARK):
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", f"Content-Type: multipart/form-data; boundary={mark}", *extra]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunks(data, size):
    return b"".join(b"%x\r\n%s\r\n" % (len(data[i:i + size]), data[i:i + size]) for i in range(0, len(data), size))


class Case(unittest.TestCase):
    def setUp(self):
        self.provider = self.enterContext(Media())
        self.addCleanup(self.provider.go_on.set)
        self.stack = self.enterContext(self.made())

    def made(self, **settings):
        return Stack(BUILD, POLICY.replace("$PORT", str(self.provider.port)), agent=settings)

    def wire(self, way="unix"):
        return self.enterContext(self.stack.connect(way))

    def send(self, path, body, chunked=False, way="unix", wire=None, headers=()):
        wire = wire or self.wire(way)
        wire.sock.sendall(head(path, None if chunked else len(body), headers) + (chunks(body, 50000) + b"0\r\n\r\n" if chunked else body))
        return wire.answer()

    def record(self, answer):
        return wait_for(lambda: next((r for r in self.stack.records() if r["request_id"] == answer.header("x-request-id")), None), "the record is booked")


class Uploads(Case):
    def test_both_orders_and_framings(self):
        """The file comes through byte for byte, the model under the provider's name, and nothing else changes."""
        for model in "a-rather-long-name-of-words", "w":
            for chunked in False, True:
                for n in 0, 10, 60000, 300000, 3000000:
                    for file_first in False, True:
                        with self.subTest(model=model, chunked=chunked, n=n, file_first=file_first):
                            file = part("file", sound(n), "a \\\"b\\\".wav", "Content-Type: audio/wav\r\nContent-Transfer-Encoding: binary\r\n")
                            rest = part("language", "en"), part("timestamp_granularities[]", "word")
                            body = form(file, *rest, part("model", model)) if file_first else form(*rest, part("model", model), file)
                            a = self.send(HEAR, body, chunked)
                            self.assertEqual((a.status, a.body), (200, ANSWERS["words"].encode()), a.body)
                            seen = self.provider.uploads[-1]
                            self.assertEqual(seen.body, body.replace(part("model", model), part("model", "words")))
                            self.assertEqual((seen.method, seen.path, seen.whole), ("POST", HEAR, True))
                            self.assertEqual(seen.header("authorization"), "Bearer " + self.stack.secrets["sim"])
                            r = self.record(a)
                            self.assertEqual((r["endpoint"], r["model"], r["upstream_model"], r["outcome"], r["bytes_in"]),
                                             ("transcriptions", model, "words", "ok", len(body)))

    def test_a_byte_at_a_time(self):
        body = form(part("model", "w"), part("file", sound(300), "a.wav"))
        for text in head(HEAR, len(body)) + body, head(HEAR) + chunks(body, 7) + b"0\r\n\r\n":
            wire = self.wire()
            for i in range(len(text)):
                wire.sock.sendall(text[i:i + 1])
            self.assertEqual(wire.answer().status, 200)
            self.assertEqual(self.provider.uploads[-1].body, form(part("model", "words"), part("file", sound(300), "a.wav")))
            # and the connection goes on
            self.assertEqual(self.send(HEAR, body, wire=wire).status, 200)

    def test_an_upload_is_handed_through_while_it_comes(self):
        for chunked in False, True:
            body = form(part("model", "w"), part("file", sound(5 << 20), "a.wav"))
            wire, half, before = self.wire(), 1 << 20, len(self.provider.uploads)
            wire.sock.sendall(head(HEAR, None if chunked else len(body)))
            wire.sock.sendall(chunks(body[:half], 4096) if chunked else body[:half])
            self.provider.wait(lambda u, n=before: len(u) > n and u[-1].got > half - (128 << 10))
            self.assertFalse(self.provider.uploads[-1].whole)
            wire.sock.sendall(chunks(body[half:], 65536) + b"0\r\n\r\n" if chunked else body[half:])
            a = wire.answer()
            self.assertEqual(a.status, 200)
            want = hashlib.sha256(body.replace(part("model", "w"), part("model", "words"))).digest()
            self.assertEqual(self.provider.uploads[-1].digest.digest(), want)
            self.assertEqual(self.record(a)["bytes_in"], len(body))

    def test_expect_100(self):
        body = form(part("model", "w"), part("file", sound(1 << 20), "a.wav"))
        wire = self.wire()
        wire.sock.sendall(head(HEAR, len(body), ["Expect: 100-continue"]))
        self.assertEqual(wire.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue")
        wire.sock.sendall(body)
        self.assertEqual(wire.answer().status, 200)

    def test_a_provider_that_answers_early(self):
        """Its answer arrives, though the client has more to send."""
        body = form(part("model", "early"), part("file", sound(20 << 20), "a.wav"))
        wire = self.wire()
        sender = threading.Thread(target=self.send_what_goes, args=(wire, head(HEAR, len(body)) + body))
        sender.start()
        a = wire.answer()
        self.assertEqual((a.status, a.json()["error"]["message"]), (413, "too large for me"))
        self.assertEqual(a.header("connection"), "close")
        self.provider.go_on.set()
        sender.join(60)
        self.assertEqual(self.record(a)["outcome"], "failed")

    @staticmethod
    def send_what_goes(wire, data):
        try:
            wire.sock.sendall(data)
        except OSError:
            pass

    def test_a_client_that_leaves(self):
        wire = self.wire()
        body = form(part("model", "w"), part("file", sound(5 << 20), "a.wav"))
        wire.sock.sendall(head(HEAR, len(body)) + body[:1 << 20])
        self.provider.wait(lambda u: u and u[-1].got > 500000)
        wire.reset()
        r = wait_for(lambda: self.stack.records(), "it is booked")[0]
        self.assertEqual((r["outcome"], r["estimated"], r["endpoint"]), ("client_gone", True, "transcriptions"))
        self.assertGreater(r["audio_ms"], 0)
        self.assertFalse(self.provider.uploads[-1].whole)

    def test_a_picture_that_did_not_come_whole_is_no_text(self):
        """What is estimated for it are the fields, not the bytes of the file."""
        wire = self.wire()
        body = form(part("model", "draw"), part("prompt", "green"), part("image", sound(5 << 20), "a.png"))
        wire.sock.sendall(head(EDIT, len(body)) + body[:1 << 20])
        self.provider.wait(lambda u: u and u[-1].got > 500000)
        wire.reset()
        r = wait_for(lambda: self.stack.records(), "it is booked")[0]
        self.assertEqual((r["outcome"], r["estimated"], r["endpoint"]), ("client_gone", True, "image_edits"))
        self.assertLess(r["input_tokens"], 200)

    def test_a_second_model_behind_the_file_stops_the_call(self):
        """The provider has most of the body by then, and never its end."""
        for chunked in False, True:
            body = form(part("model", "w"), part("file", sound(3 << 20), "a.wav"), part("model", "seconds"))
            before = len(self.provider.uploads)
            a = self.send(HEAR, body, chunked)
            expect(self, a, "duplicate_member")
            wait_for(lambda n=before: len(self.provider.uploads) > n, "the provider has seen its end")  # the client may have its answer before
            self.assertFalse(self.provider.uploads[-1].whole)

    def test_wrong_ones_reach_nobody(self):
        file = part("file", b"RIFF", "a.wav")
        good = form(part("model", "w"), file)
        for name, body, fail, says in (
                ("no model", form(file), "missing_model", "field"),
                ("empty model", form(part("model", ""), file), "missing_model", "field"),
                ("unknown model", form(part("model", "x"), file), "model_not_found", "'x'"),
                ("model with a quote", form(part("model", 'a"b'), file), "model_not_found", "does not exist"),
                ("model too long", form(part("model", "m" * 500), file), "model_not_found", "does not exist"),
                ("model twice", form(part("model", "w"), part("model", "seconds"), file), "duplicate_member", "twice"),
                ("Model", form(part("Model", "w"), part("model", "seconds"), file), "bad_request", "small letters"),
                ("model as a file", form(part("model", "w", "m.txt"), file), "bad_request", "plain text"),
                ("model in UTF-16", form(part("model", "w", more="Content-Type: text/plain; charset=utf-16\r\n"), file), "bad_request", "plain text"),
                ("model in base64", form(part("model", "dw==", more="Content-Transfer-Encoding: base64\r\n"), file), "bad_request", "binary"),
                ("stream twice", form(part("stream", "true"), part("stream", "false"), part("model", "w")), "duplicate_member", "stream"),
                ("no end", good[:-4], "bad_request", "last boundary"),
                ("more behind the end", good + b"x", "bad_request", "follows the last boundary"),
                ("preamble", b"x" + good, "bad_request", "begin with its boundary"),
                ("no part", f"--{MARK}--".encode(), "bad_request", "no part"),
                ("nothing", b"", "bad_request", "last boundary"),
                ("two names", form(part("model", "w").replace(b'name="model"', b'name="model"; name="x"')), "bad_request", "two names"),
                ("many parts", form(*[part("a", "")] * 300, part("model", "w")), "bad_request", "256 parts"),
                ("JSON inside", b'{"model":"w"}', "bad_request", "begin with its boundary")):
            for chunked in False, True:
                with self.subTest(name, chunked=chunked):
                    a = self.send(HEAR, body, chunked)
                    expect(self, a, fail)
                    self.assertIn(says, a.json()["error"]["message"])
        for name, kind, path, fail, says in (
                ("JSON to a form's URL", "application/json", HEAR, "unsupported_media_type", "Send the body as content-type: multipart/form-data, not"),
                ("a form to JSON's URL", f"multipart/form-data; boundary={MARK}", SPEAK, "unsupported_media_type", "application/json"),
                ("no boundary", "multipart/form-data", HEAR, "bad_request", "needs one boundary"),
                ("two boundaries", f"multipart/form-data; boundary={MARK}; boundary=x", HEAR, "bad_request", "needs one boundary"),
                ("mixed", f"multipart/mixed; boundary={MARK}", EDIT, "unsupported_media_type", "multipart/form-data or application/json")):
            with self.subTest(name):
                a = self.stack.call(path, good, way="unix", headers=[("content-type", kind)])
                expect(self, a, fail)
                self.assertIn(says, a.json()["error"]["message"])
        self.assertEqual(self.provider.uploads, [])

    def test_larger_than_max_body(self):
        with self.made(max_body="1MiB") as self.stack:
            for file_first in False, True:
                for chunked in False, True:
                    parts = [part("file", sound(2 << 20), "a.wav"), part("model", "w")]
                    body = form(*parts if file_first else parts[::-1])
                    wire = self.wire()
                    sender = threading.Thread(target=self.send_what_goes,
                                              args=(wire, head(HEAR, None if chunked else len(body)) + (chunks(body, 50000) + b"0\r\n\r\n" if chunked else body)))
                    sender.start()
                    expect(self, wire.answer(), "request_too_large")
                    sender.join(60)
            self.assertFalse(any(u.whole for u in self.provider.uploads))


class Memory(Case):
    def rss(self):
        with open(f"/proc/{self.stack.agent.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def test_50_at_once_of_20_mb(self):
        """A gigabyte goes through with 64 MiB for bodies; half of them have their model behind the file, and wait for their turn."""
        with self.made(body_memory="64MiB") as self.stack:
            self.assertEqual(self.send(HEAR, form(part("model", "w"), part("file", sound(1000), "a.wav"))).status, 200)
            before, got, most = self.rss(), [], 0
            file = part("file", sound(20 << 20), "a.wav")
            ways = "tcp", "unix"
            key = self.stack.make_key("search")

            def one(i):
                body = form(part("model", "w"), file) if i % 2 else form(file, part("model", "w"))
                headers = [f"Authorization: Bearer {key}"] if i % 4 < 2 else []
                with self.stack.connect(ways[i % 4 >= 2], timeout=120) as wire:
                    a = self.send(HEAR, body, i % 3 == 0, wire=wire, headers=headers)
                    got.append((a.status, a.body))
            threads = [threading.Thread(target=one, args=(i,)) for i in range(50)]
            for t in threads:
                t.start()
            while any(t.is_alive() for t in threads):
                most = max(most, self.rss() - before)
                next((t for t in threads if t.is_alive()), threads[0]).join(0.02)
            self.assertEqual(got, [(200, ANSWERS["words"].encode())] * 50)
            print(f"# 50 uploads of 20 MB at once: {most >> 20} MiB more", file=sys.stderr)
            self.assertLess(most, 160 << 20)  # 64 MiB for bodies, and what the sockets' buffers, threads and the sanitizer take
            self.stack.wait_records(51)

    def test_more_than_there_is_for_all_is_refused_at_once(self):
        with self.made(body_memory="1MiB") as self.stack:
            file = part("file", sound(3 << 20), "a.wav")
            wire = self.wire()
            body = form(file, part("model", "w"))
            sender = threading.Thread(target=Uploads.send_what_goes, args=(wire, head(HEAR, len(body)) + body))
            sender.start()
            expect(self, wire.answer(), "gateway_overloaded")
            sender.join(60)
            # handed through, it needs none
            self.assertEqual(self.send(HEAR, form(part("model", "w"), file)).status, 200)


class Meters(Case):
    def hear(self, model, *more):
        a = self.send(HEAR, form(part("model", model), *more, part("file", sound(160000), "a.wav")))
        self.assertEqual(a.status, 200, a.body)
        return a, self.record(a)

    def check(self, record, cost, **members):
        self.assertEqual({k: record[k] for k in members}, members)
        self.assertEqual(record["cost"], cost)

    def test_tokens_lengths_and_estimates(self):
        _, r = self.hear("w")
        self.check(r, "0.000246000", input_tokens=37, audio_input_tokens=37, output_tokens=12, usage_seen=True, estimated=False)  # 37 * 6 + 12 * 2
        _, r = self.hear("seconds")
        self.check(r, "0.009000000", audio_ms=90000, input_tokens=0, usage_seen=True, estimated=False)
        _, r = self.hear("mistral")
        self.check(r, "0.002275000", input_tokens=378, audio_input_tokens=375, output_tokens=11, audio_ms=3000)  # 3 + 375 * 6 + 22
        a, r = self.hear("mute")
        self.check(r, f"0.{(r['audio_input_tokens'] * 6 + (len(a.body) + 3) // 4 * 2) * 1000:09d}", estimated=True, usage_seen=False)
        self.assertAlmostEqual(r["audio_ms"], 10000, delta=100)  # 160 kB are 10 s at 128 kbit/s
        a, r = self.hear("w", part("response_format", "text"))
        self.assertEqual(a.body, b"hello there, this is text\n")
        self.assertTrue(r["estimated"])

    def test_a_stream_of_words(self):
        a, r = self.hear("said", part("stream", "true"))
        self.assertEqual(a.body, b"".join(SAID))
        self.assertEqual(len(split_events(a.body)), 3)
        self.check(r, "0.000238000", input_tokens=37, output_tokens=8, stream=True, estimated=False)

    def test_speech_comes_as_it_is_made(self):
        for durability in "strict", "relaxed":
            self.provider.go_on.clear()
            with self.made(durability=durability) as self.stack:
                wire = self.wire()
                wire.send(SPEAK, {"model": "voice", "input": "x" * 370, "voice": "alloy"})
                a = wire.head()
                self.assertEqual((a.status, a.header("content-type")), (200, "audio/mpeg"))
                first = wire.chunk()
                self.assertEqual(first, VOICE[0][:len(first)])
                self.assertGreaterEqual(len(first), len(VOICE[0]) - 1)
                self.provider.go_on.set()
                whole = first
                while (more := wire.chunk()):
                    whole += more
                self.assertEqual(whole, b"".join(VOICE))
                r = self.record(a)
                # Sound is no text: only what was said counts, and the price per call.
                self.check(r, f"{0.01 + r['input_tokens'] * 15e-6:.9f}", endpoint="speech", output_tokens=0, estimated=True, outcome="ok")
                self.assertAlmostEqual(r["input_tokens"], 104, delta=10)

    def test_pictures(self):
        picture = part("image", b"\x89PNG" * 100, "a.png", "Content-Type: image/png\r\n")
        for path, ask, endpoint in ((DRAW, {"model": "draw", "prompt": "a cat"}, "images"), (EDIT, {"model": "draw", "prompt": "green"}, "image_edits"),
                                    (EDIT, form(part("model", "draw"), part("prompt", "green"), picture), "image_edits"),
                                    (VARY, form(picture, part("model", "draw")), "image_variations")):
            a = self.send(path, ask) if isinstance(ask, bytes) else self.stack.call(path, ask, way="unix")
            self.assertEqual((a.status, a.body), (200, ANSWERS["picture"].encode()))
            self.assertEqual(self.provider.uploads[-1].path, path)
            self.check(self.record(a), "0.008370000", endpoint=endpoint, input_tokens=50, output_tokens=4160, usage_seen=True, estimated=False)

    def test_translations(self):
        a = self.send("/v1/audio/translations", form(part("model", "seconds"), part("file", b"x", "a.wav")))
        self.assertEqual(self.record(a)["endpoint"], "translations")
        self.assertEqual(self.provider.uploads[-1].path, "/v1/audio/translations")


@unittest.skipUnless(NODE and NPM, "no AIGW_NODE, AIGW_NPM: ./dev test has them")
class Clients(Case):
    def test_official_clients_upload_20_mb(self):
        self.provider.go_on.set()
        key = self.stack.make_key("search")
        path = self.stack.path("speech.wav")
        with open(path, "wb") as f:
            f.write(sound(20 << 20))
        for sdk in "openai6", "openai7":
            for way in "tcp", "unix":
                with self.subTest(f"{sdk} {way}"):
                    base = f"http://127.0.0.1:{self.stack.port}/v1" if way == "tcp" else "http://gateway/v1"
                    got = subprocess.run([NODE, os.path.join(HERE, "media.mjs"), path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
                                         check=False, env={**os.environ, "AIGW_SDK": sdk, "AIGW_BASE_URL": base, "AIGW_KEY": key if way == "tcp" else "none",
                                                           "AIGW_SOCKET": self.stack.unix if way == "unix" else ""})
                    self.assertEqual(got.returncode, 0, got.stdout)
                    said = json.loads(got.stdout)
                    self.assertEqual(said, {"file_first": "hello", "model_first": "hello", "text": "hello", "speech": len(b"".join(VOICE)), "image": 200000})
                    large = [u for u in self.provider.uploads if u.got > 20 << 20]
                    self.assertTrue(all(u.whole for u in large))
        self.assertEqual(len(large), 8)


if __name__ == "__main__":
    unittest.main()
