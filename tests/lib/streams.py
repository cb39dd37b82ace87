"""Many streams at once, read by one thread, each to its own end."""
import selectors
import threading
import time

from wire import Wire, request_bytes


class Held:
    """One stream: what came of it, and when its last byte did."""

    def __init__(self, where, headers, body):
        self.data, self.ended = b"", False
        wire = Wire(where)
        self.sock = wire.sock
        self.sock.sendall(request_bytes("/v1/chat/completions", body, headers))
        self.sock.setblocking(False)

    @property
    def status(self):
        return int(self.data.split(b" ", 2)[1]) if b"\r\n" in self.data else None

    @property
    def events(self):
        return self.data.count(b"data: {")

    @property
    def is_whole(self):
        return b"data: [DONE]\n\n" in self.data and self.data.endswith(b"0\r\n\r\n")

    @property
    def id(self):
        head = self.data.split(b"\r\n\r\n", 1)[0].lower()
        return head.split(b"x-request-id: ", 1)[1].split(b"\r\n", 1)[0].decode()


class Streams:
    """with Streams() as streams: streams.begin(...); they are read until the block ends."""

    def __init__(self):
        self.all, self._selector, self._over = [], selectors.DefaultSelector(), threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()
        for held in self.all:
            held.sock.close()
        self._selector.close()

    def begin(self, where, body, headers=()):
        held = Held(where, headers, {**body, "stream": True})
        self.all.append(held)
        self._selector.register(held.sock, selectors.EVENT_READ, held)
        return held

    def _read(self):
        while not self._over.is_set():
            for key, _ in self._selector.select(0.05):
                self._take(key.data)

    def _take(self, held):
        try:
            got = held.sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            got = b""
        held.data += got
        if not got or held.is_whole:
            self._selector.unregister(held.sock)
            held.ended = True

    def wait(self, met, seconds=60):
        """Until met(held) for each."""
        until = time.monotonic() + seconds
        while not all(met(held) for held in self.all):
            if time.monotonic() > until:
                bad = [held.data[-200:] for held in self.all if not met(held)]
                raise AssertionError(f"{len(bad)} of {len(self.all)} streams: {bad[:3]}")
            time.sleep(0.01)
