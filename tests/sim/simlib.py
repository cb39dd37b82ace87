"""aigw-sim as a child process, and a client that shows the wire as it is."""
import json
import os
import select
import socket
import ssl
import struct
import subprocess
import time


class Sim:
    """One running simulator; `with Sim(path, *options) as sim`."""

    def __init__(self, path, *options):
        env = {**os.environ, "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
        self.proc = subprocess.Popen([path, *options, "--die-with-parent"], env=env,
                                     stdout=subprocess.PIPE)
        line = self.proc.stdout.readline().decode()
        if not line.startswith("ready"):
            raise RuntimeError(f"aigw-sim did not start: {line!r}")
        self.at = dict(word.split("=", 1) for word in line.split()[1:])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.proc.poll() is None:
            self.proc.terminate()
        try:
            code = self.proc.wait(timeout=20)
        finally:
            self.proc.stdout.close()
        if code != 0 and exc[0] is None:
            raise RuntimeError(f"aigw-sim ended with {code}")

    def address(self, what="http"):
        host, port = self.at[what].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def connect(self, what="http", session=None, context=None):
        if what == "unix":
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(20)
            sock.connect(self.at["unix"])
        else:
            sock = socket.create_connection(self.address(what), timeout=20)
        if what == "tls":
            sock = context.wrap_socket(sock, server_hostname="localhost", session=session)
        return Conn(sock)

    def call(self, path, body=None, method=None, headers=()):
        """One request on a connection of its own."""
        with self.connect() as conn:
            conn.send(path, body, method, headers)
            return conn.answer()

    def chat(self, model, text="hello", headers=(), **members):
        body = {"model": model, "messages": [{"role": "user", "content": text}], **members}
        return self.call("/v1/chat/completions", body, headers=headers)

    def stats(self):
        return self.call("/__stats").json()

    def calls(self, since=0):
        return self.call(f"/__calls?since={since}").json()

    def wait(self, met, seconds=10):
        """The log's lines once `met` holds for one of them."""
        until = time.monotonic() + seconds
        while True:
            lines = self.calls()
            if any(met(line) for line in lines):
                return lines
            if time.monotonic() > until:
                raise AssertionError(f"not seen in the log: {lines[-4:]}")
            select.select([], [], [], 0.01)


def request_bytes(path, body=None, method=None, headers=()):
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    method = method or ("GET" if body is None else "POST")
    head = [f"{method} {path} HTTP/1.1", "Host: sim"]
    if body is not None and not any(name.lower() == "content-length" for name, _ in headers):
        head.append(f"Content-Length: {len(body)}")
    head += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(head) + "\r\n\r\n").encode() + (body or b"")


class Answer:
    def __init__(self, status, headers, body, chunks, whole):
        self.status, self.headers, self.body = status, headers, body
        self.chunks, self.whole = chunks, whole

    def json(self):
        return json.loads(self.body)

    def events(self):
        """Data of all SSE events, parsed where they are JSON."""
        out = []
        for block in self.body.decode().split("\n\n"):
            for line in block.split("\n"):
                if line.startswith("data: "):
                    text = line[6:]
                    try:
                        out.append(json.loads(text))
                    except ValueError:
                        out.append(text)
        return out

    def text(self):
        return "".join(choice["delta"].get("content") or "" for event in self.events()
                       if isinstance(event, dict) for choice in event.get("choices", ()))


class Conn:
    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def send(self, path, body=None, method=None, headers=()):
        self.sock.sendall(request_bytes(path, body, method, headers))

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def read(self):
        """Some bytes; b"" at the end, however it comes."""
        try:
            return self.sock.recv(65536)
        except (ConnectionResetError, ssl.SSLEOFError):
            return b""

    def until(self, end):
        while end not in self.rest:
            got = self.read()
            if not got:
                return None
            self.rest += got
        part, self.rest = self.rest.split(end, 1)
        return part

    def exactly(self, count):
        while len(self.rest) < count:
            got = self.read()
            if not got:
                part, self.rest = self.rest, b""
                return part
            self.rest += got
        part, self.rest = self.rest[:count], self.rest[count:]
        return part

    def head(self):
        """(status, headers) or None if the connection ended first."""
        part = self.until(b"\r\n\r\n")
        if part is None:
            return None
        lines = part.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), headers

    def chunk(self):
        """Next chunk of a chunked body, b"" for the last, None for a cut."""
        size = self.until(b"\r\n")
        if size is None:
            return None
        data = self.exactly(int(size, 16))
        if len(data) < int(size, 16) or self.exactly(2) != b"\r\n":
            return None
        return data

    def answer(self):
        head = self.head()
        if head is None:
            return None
        status, headers = head
        if "content-length" in headers:
            want = int(headers["content-length"])
            body = self.exactly(want)
            return Answer(status, headers, body, [body], len(body) == want)
        chunks = []
        while True:
            data = self.chunk()
            if not data:
                return Answer(status, headers, b"".join(chunks), chunks, data == b"")
            chunks.append(data)

    def closed(self):
        """True when the peer ends the connection without a further byte."""
        return not self.rest and self.read() == b""


def log_lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
