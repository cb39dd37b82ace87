"""A provider that does to the wire exactly what a test says, where aigw-sim is too well behaved.

    with Provider() as p:                       # p.port; family=socket.AF_INET6
        conn = p.accept()                       # the gateway's next connection
        request = conn.request()                # head and body, whole
        conn.send(ANSWER); conn.close()

Or with a function that serves each connection in a thread of its own: Provider(serve=lambda conn: ...).
"""
import json
import socket
import struct
import threading

from harness import wait_for


def answer_bytes(body, content_type="application/json", status=200, headers=()):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} OK", f"content-type: {content_type}", f"content-length: {len(body)}", *(f"{n}: {v}" for n, v in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


CHAT = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
ANSWER = answer_bytes(CHAT)
SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value):
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


class Request:
    def __init__(self, head, body):
        first, *lines = head.decode("latin-1").split("\r\n")
        self.line = first
        self.headers = [(n.lower(), v.strip()) for n, v in (line.split(":", 1) for line in lines)]
        self.body = body

    def header(self, name):
        return next((v for n, v in self.headers if n == name), None)


def send_apart(sock, parts):
    """Each part when the gateway has read the one before: a read of its own. Over IPv4."""
    for i, part in enumerate(parts):
        if i:
            wait_for(lambda: _was_read(sock), "the gateway has read", pause=0.0002)
        sock.sendall(part)


def _was_read(sock):
    """Nothing waits in the receive queue of the gateway's end, as the kernel shows it."""
    ours, its = sock.getsockname()[1], sock.getpeername()[1]
    with open("/proc/net/tcp") as f:
        next(f)
        for line in f:
            _, local, remote, _, queues = line.split()[:5]
            if int(local[-4:], 16) == its and int(remote[-4:], 16) == ours:
                return int(queues.split(":")[1], 16) == 0
    return True  # the connection is gone, and the call will tell


class Conn:
    def __init__(self, sock):
        self.sock, self.rest = sock, b""
        sock.settimeout(60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def request(self):
        """The next request, or None at the end of the connection."""
        while b"\r\n\r\n" not in self.rest:
            if not self._more():
                return None
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        request = Request(head, b"")
        need = int(request.header("content-length") or 0)
        while len(self.rest) < need:
            if not self._more():
                return None
        request.body, self.rest = self.rest[:need], self.rest[need:]
        return request

    def _more(self):
        try:
            got = self.sock.recv(1 << 20)
        except (ConnectionResetError, ValueError):
            got = b""
        self.rest += got
        return bool(got)

    def send(self, data):
        self.sock.sendall(data)

    def send_apart(self, parts):
        send_apart(self.sock, parts)

    def gone(self):
        """Waits until the gateway has closed; what it still sent."""
        while self._more():
            pass
        return self.rest

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Provider:
    def __init__(self, serve=None, family=socket.AF_INET, port=0):
        self.listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", port), family=family, backlog=128)
        self.port = self.listener.getsockname()[1]
        self.accepted, self._over = 0, False
        if serve:
            threading.Thread(target=self._serve, args=(serve,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._over = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()

    def accept(self, timeout=60):
        self.listener.settimeout(timeout)
        sock, _ = self.listener.accept()
        self.accepted += 1
        return Conn(sock)

    def _serve(self, serve):
        while not self._over:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(serve, sock), daemon=True).start()

    @staticmethod
    def _one(serve, sock):
        with Conn(sock) as conn:
            try:
                serve(conn)
            except OSError:
                pass


def answer_each(conn, answer=ANSWER):
    """Serves one connection to its end."""
    while conn.request():
        conn.send(answer)
