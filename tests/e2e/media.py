"""A provider of audio and images: takes uploads however they are framed, without keeping large ones, and answers as its model says.

Model of the request (after the gateway's edit) -> answer:
  words      JSON, usage in tokens            seconds   JSON, usage as a length
  mistral    JSON, usage in both              mute      JSON, no usage
  said       an event stream                  early     413 after the first 64 KiB, reads nothing more
  voice      sound, in pieces                 picture   JSON of 200 KB with usage
"""
import hashlib
import json
import threading

from provider import Provider, answer_bytes, chunk

SAID = [b'data: {"type":"transcript.text.delta","delta":"one"}\r\n\r\n',
        b'data: {"type":"transcript.text.done","text":"one two","usage":{"type":"tokens","total_tokens":45,"input_tokens":37,'
        b'"input_token_details":{"text_tokens":0,"audio_tokens":37},"output_tokens":8}}\r\n\r\n', b"data: [DONE]\r\n\r\n"]
VOICE = [bytes((i * 7 + k) % 251 for i in range(3000)) for k in range(5)]
PICTURE = json.dumps({"created": 1, "data": [{"b64_json": "QUJD" * 50000}],
                      "usage": {"total_tokens": 4210, "input_tokens": 50, "output_tokens": 4160, "input_tokens_details": {"text_tokens": 10, "image_tokens": 40}}})
ANSWERS = {
    "words": json.dumps({"text": "hello", "usage": {"type": "tokens", "total_tokens": 49, "input_tokens": 37, "output_tokens": 12,
                                                    "input_token_details": {"text_tokens": 0, "audio_tokens": 37}}}),
    "seconds": json.dumps({"text": "hello", "usage": {"type": "duration", "seconds": 90}}),
    "mistral": json.dumps({"text": "hello", "usage": {"prompt_audio_seconds": 3, "prompt_tokens": 3, "total_tokens": 389, "completion_tokens": 11,
                                                      "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375}}}),
    "mute": json.dumps({"text": "hello"}),
    "picture": PICTURE,
}


class Upload:
    """A request as it comes: head, bytes so far, digest; whole only if its framing says so."""

    def __init__(self, head):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.path, _ = first.split(" ")
        self.headers = [(n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in lines)]
        self.got, self.whole, self.body, self.digest = 0, False, b"", hashlib.sha256()

    def header(self, name):
        found = [v for n, v in self.headers if n == name]
        assert len(found) <= 1, (name, found)
        return found[0] if found else None

    def take(self, data):
        self.got += len(data)
        if self.got <= 4 << 20:
            self.body += data
        self.digest.update(data)

    def model(self):
        """The model's name as a server reads it."""
        if self.header("content-type").startswith("application/json"):
            return json.loads(self.body)["model"]
        return dict(self.parts())["model"].decode()

    def parts(self):
        """(name, content) of a body that was kept whole."""
        mark = b"--" + self.header("content-type").split("boundary=")[1].strip('"').encode()
        pieces = self.body.split(mark)
        assert pieces[0] == b"" and pieces[-1].strip() in (b"--", b""), pieces[-1][:50]
        for piece in pieces[1:-1]:
            fields, content = piece[2:].split(b"\r\n\r\n", 1)
            yield fields.split(b'name="')[1].split(b'"')[0].decode(), content[:-2]


class Media(Provider):
    def __init__(self):
        self.uploads, self.changed, self.go_on, self.keep_models = [], threading.Condition(), threading.Event(), {}
        super().__init__(serve=self.serve)

    def wait(self, met, seconds=60):
        with self.changed:
            assert self.changed.wait_for(lambda: met(self.uploads), seconds), [(u.path, u.got, u.whole) for u in self.uploads]
            return self.uploads[-1]

    def note(self, upload=None, data=b"", whole=False):
        with self.changed:
            if upload not in self.uploads:
                self.uploads.append(upload)
            upload.take(data)
            upload.whole = whole
            self.changed.notify_all()

    def serve(self, conn):
        while True:
            while b"\r\n\r\n" not in conn.rest:
                if not conn._more():
                    return
            head, conn.rest = conn.rest.split(b"\r\n\r\n", 1)
            upload = Upload(head)
            self.note(upload)
            if not (self.take_chunked if upload.header("transfer-encoding") == "chunked" else self.take_length)(conn, upload):
                return
            self.answer(conn, upload)

    def is_early(self, conn, upload):
        if b"early" in upload.body and upload.got > 65536:
            conn.send(answer_bytes({"error": {"message": "too large for me"}}, status=413, headers=[("connection", "close")]))
            self.go_on.wait(60)
            return True
        return False

    def take_length(self, conn, upload):
        left = int(upload.header("content-length"))
        while left:
            if not conn.rest and not conn._more():
                return False
            data, conn.rest = conn.rest[:left], conn.rest[left:]
            left -= len(data)
            self.note(upload, data, left == 0)
            if self.is_early(conn, upload):
                return False
        return True

    def take_chunked(self, conn, upload):
        while True:
            while b"\r\n" not in conn.rest:
                if not conn._more():
                    return False
            size, conn.rest = conn.rest.split(b"\r\n", 1)
            need = int(size, 16)
            while len(conn.rest) < need + 2:
                if not conn._more():
                    return False
            data, conn.rest = conn.rest[:need], conn.rest[need + 2:]
            self.note(upload, data, need == 0)
            if need == 0:
                return True
            if self.is_early(conn, upload):
                return False

    def answer(self, conn, upload):
        model = upload.model() if upload.got <= 4 << 20 else "words"
        if model == "said":
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(map(chunk, SAID)) +
                      chunk(b""))
        elif model == "voice":
            conn.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(VOICE[0]))
            self.go_on.wait(60)
            conn.send(b"".join(map(chunk, VOICE[1:])) + chunk(b""))
        elif b'name="response_format"\r\n\r\ntext' in upload.body:
            conn.send(answer_bytes(b"hello there, this is text\n", "text/plain; charset=utf-8"))
        else:
            conn.send(answer_bytes(ANSWERS[model].encode()))
