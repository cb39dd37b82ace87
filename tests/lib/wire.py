"""HTTP/1.1 as it is on the wire: requests from exact bytes, answers with every header field and their end.

`where` is (host, port) or the path of a unix socket. One Wire is one connection; call() is one request on a connection of its own.
"""
import json
import socket
import struct


class Answer:
    def __init__(self, status, reason, headers):
        self.status, self.reason, self.headers = status, reason, headers  # headers: [(name in lower case, value)]
        self.trailers = []  # likewise, behind a chunked body
        self.pieces, self.whole, self.close = [], False, False  # pieces: as the chunks came

    @property
    def body(self):
        return b"".join(self.pieces)

    def header(self, name):
        values = [v for n, v in self.headers if n == name]
        if len(values) > 1:
            raise AssertionError(f"the field {name} stands {len(values)} times")
        return values[0] if values else None

    def json(self):
        return json.loads(self.body)

    def events(self):
        """Data of all SSE events, parsed where it is JSON."""
        out = []
        for raw in split_events(self.body):
            data = b"\n".join(line[5:].removeprefix(b" ") for line in raw.splitlines() if line.startswith(b"data:"))
            if data:
                try:
                    out.append(json.loads(data))
                except ValueError:
                    out.append(data.decode())
        return out

    def text(self):
        """What a chat stream or answer says, of its first choice."""
        if (self.header("content-type") or "").startswith("text/event-stream"):
            return "".join(c["delta"].get("content") or "" for e in self.events() if isinstance(e, dict)
                           for c in e.get("choices", ())[:1])
        return self.json()["choices"][0]["message"]["content"]


def split_events(data):
    """The bytes of an event stream, cut behind each event's blank line; line ends are LF, CR LF or CR."""
    out, start, line, at = [], 0, 0, 0
    while at < len(data):
        if data[at] not in b"\r\n":
            at += 1
            continue
        blank = at == line
        at += 2 if data[at:at + 2] == b"\r\n" else 1
        line = at
        if blank:
            out.append(data[start:at])
            start = at
    if start < len(data):
        out.append(data[start:])
    return out


class Wire:
    def __init__(self, where, timeout=30):
        if isinstance(where, str):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            try:
                self.sock.connect(where)
            except OSError:
                self.sock.close()
                raise
        else:
            self.sock = socket.create_connection(where, timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest, self.trailers = b"", []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, path, body=None, headers=(), method=None):
        self.sock.sendall(request_bytes(path, body, headers, method))

    def call(self, path, body=None, headers=(), method=None):
        self.send(path, body, headers, method)
        return self.answer(head_only=method == "HEAD")

    def reset(self):
        """Away with RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def read(self):
        """Some bytes; b"" at the end, however it comes."""
        try:
            return self.sock.recv(65536)
        except ConnectionResetError:
            return b""

    def until(self, end):
        at = 0
        while (found := self.rest.find(end, at)) < 0:
            at = max(0, len(self.rest) - len(end))
            got = self.read()
            if not got:
                return None
            self.rest += got
        part, self.rest = self.rest[:found], self.rest[found + len(end):]
        return part

    def exactly(self, count):
        parts, have = [self.rest], len(self.rest)
        while have < count:
            got = self.read()
            if not got:
                break
            parts.append(got)
            have += len(got)
        data = b"".join(parts)
        self.rest = data[count:]
        return data[:count]

    def head(self):
        """The answer's head as an Answer without a body; None if the connection ended first. Interim answers are skipped."""
        while True:
            part = self.until(b"\r\n\r\n")
            if part is None:
                return None
            first, *lines = part.decode("latin-1").split("\r\n")
            version, status, *reason = first.split(" ", 2)
            if version not in ("HTTP/1.1", "HTTP/1.0"):
                raise AssertionError(f"not HTTP: {first!r}")
            fields = [line.split(":", 1) for line in lines]
            if int(status) >= 200:
                return Answer(int(status), "".join(reason), [(n.lower(), v.strip()) for n, v in fields])

    def chunk(self):
        """The next chunk of a chunked body, b"" for the last, None for a cut."""
        size = self.until(b"\r\n")
        if size is None:
            return None
        if int(size, 16) == 0:
            return self.end_of_chunks()
        data = self.exactly(int(size, 16))
        if len(data) < int(size, 16) or self.exactly(2) != b"\r\n":
            return None
        return data

    def end_of_chunks(self):
        """What stands behind the last chunk."""
        while line := self.until(b"\r\n"):
            name, value = line.decode("latin-1").split(":", 1)
            self.trailers.append((name.lower(), value.strip()))
        return line

    def finish(self, a, head_only=False):
        """The body that belongs to the head."""
        self.trailers = []
        length, coding = a.header("content-length"), a.header("transfer-encoding")
        a.close = (a.header("connection") or "").lower() == "close"
        if length is not None and coding is not None:
            raise AssertionError("content-length and transfer-encoding")
        if head_only or a.status in (204, 304):
            a.whole = True
        elif length is not None:
            a.pieces = [self.exactly(int(length))]
            a.whole = len(a.pieces[0]) == int(length)
        elif coding == "chunked":
            while data := self.chunk():
                a.pieces.append(data)
            a.whole, a.trailers = data == b"", self.trailers
        else:
            while data := self.exactly(65536):
                a.pieces.append(data)
            a.whole = True
        return a

    def answer(self, head_only=False):
        a = self.head()
        return a and self.finish(a, head_only)

    def closed(self):
        """True when the peer ends the connection without a further byte."""
        return not self.rest and self.read() == b""


def request_bytes(path, body=None, headers=(), method=None):
    """A request with exactly this body: bytes, or anything else as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    names = {name.lower() for name, _ in headers}
    head = [f"{method} {path} HTTP/1.1"]
    if "host" not in names:
        head.append("Host: aigw")
    if body is not None and "content-type" not in names:
        head.append("Content-Type: application/json")
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        head.append(f"Content-Length: {len(body)}")
    head += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + (body or b"")


def call(where, path, body=None, headers=(), method=None):
    with Wire(where) as wire:
        return wire.call(path, body, headers, method)
