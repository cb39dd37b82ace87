"""The agent's side of the wire for tests, written anew from tbl/wire_messages.h and tbl/usage_fields.h: msgpack, frames, usage
records with their chain, and an agent that a test plays. Standard library only."""
import hashlib
import os
import queue
import socket
import struct
import threading


# --- msgpack ---------------------------------------------------------------------------------------

def pack(v):
    if v is None:
        return b"\xc0"
    if v is True or v is False:
        return b"\xc3" if v else b"\xc2"
    if isinstance(v, int):
        if 0 <= v < 128:
            return bytes([v])
        if v < 0:
            return b"\xd3" + struct.pack(">q", v)
        return b"\xcf" + struct.pack(">Q", v)
    if isinstance(v, str):
        raw = v.encode()
        return b"\xdb" + struct.pack(">I", len(raw)) + raw
    if isinstance(v, (bytes, bytearray)):
        return b"\xc6" + struct.pack(">I", len(v)) + bytes(v)
    if isinstance(v, (list, tuple)):
        return b"\xdd" + struct.pack(">I", len(v)) + b"".join(pack(x) for x in v)
    if isinstance(v, dict):
        return b"\xdf" + struct.pack(">I", len(v)) + b"".join(pack(k) + pack(x) for k, x in v.items())
    raise TypeError(type(v))


def unpack(b, at=0):
    """(value, next offset)"""
    t = b[at]
    at += 1
    if t < 0x80:
        return t, at
    if t >= 0xe0:
        return t - 256, at
    if t < 0x90:
        return unpack_map(b, at, t & 15)
    if t < 0xa0:
        return unpack_list(b, at, t & 15)
    if t < 0xc0:
        return b[at:at + (t & 31)].decode(), at + (t & 31)
    if t in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[t], at
    for first, forms, what in ((0xc4, "BHI", "bin"), (0xd9, "BHI", "str"), (0xdc, "HI", "list"), (0xde, "HI", "map")):
        if first <= t < first + len(forms):
            form = forms[t - first]
            n, = struct.unpack_from(">" + form, b, at)
            at += struct.calcsize(form)
            if what == "list":
                return unpack_list(b, at, n)
            if what == "map":
                return unpack_map(b, at, n)
            raw = b[at:at + n]
            return (raw if what == "bin" else raw.decode()), at + n
    form = {0xcc: "B", 0xcd: "H", 0xce: "I", 0xcf: "Q", 0xd0: "b", 0xd1: "h", 0xd2: "i", 0xd3: "q"}[t]
    return struct.unpack_from(">" + form, b, at)[0], at + struct.calcsize(form)


def unpack_list(b, at, n):
    out = []
    for _ in range(n):
        v, at = unpack(b, at)
        out.append(v)
    return out, at


def unpack_map(b, at, n):
    out = {}
    for _ in range(n):
        k, at = unpack(b, at)
        out[k], at = unpack(b, at)
    return out, at


# --- usage records ---------------------------------------------------------------------------------

TAGS = {"op_id": 1, "start_us": 3, "duration_us": 5, "customer": 6, "project": 7, "key_id": 8, "uid": 9, "model_asked": 11,
        "model": 12, "provider": 13, "endpoint": 15, "status": 17, "outcome": 18, "input_tokens": 21,
        "cached_input_tokens": 22, "output_tokens": 24, "reasoning_tokens": 25, "estimated": 28, "priced": 30,
        "cost_nano": 31, "charge_nano": 32}


def _crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _crc32c_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xffffffff


def record(**fields):
    body = b"\x01" + pack({TAGS[k]: v for k, v in fields.items() if v not in (0, "", b"")})
    return body + struct.pack(">I", crc32c(body))


class Spool:
    """The chain of an agent's store."""

    def __init__(self, store_id=None):
        self.store_id = store_id or os.urandom(16)
        self.seq = 0
        self.chain = bytes(32)

    def batch(self, records):
        """Parameters of usage.batch for the next records."""
        first, prev = self.seq + 1, self.chain
        for r in records:
            self.chain = hashlib.sha256(self.chain + r).digest()
            self.seq += 1
        return {"store_id": self.store_id, "first_seq": first, "prev_hash": prev, "hash": self.chain, "records": records}


TRACE_ID = "req_" + "0" * 25 + "1"
TRACE = {  # as agents tell it; test_explain.py has a real one
    "time": "2026-11-29T10:00:00.000Z", "request": TRACE_ID, "caller": None, "project": "search", "model": "m", "target": "b", "status": 200, "outcome": "ok", "fail": None,
    "stream": False, "input_tokens": 1, "cached_input_tokens": 0, "output_tokens": 2, "estimated": False, "cost": "0.000001", "first_byte_us": 5, "duration_us": 7,
    "failed_tries": 1, "first_failure": "a 503", "served": 1, "degraded": False, "queued_ms": 0,
    "targets": [{"provider": "a", "model": "x", "why": "weight", "state": "ok", "planned": True}],
    "tries": [{"target": 0, "status": 503, "failure": None, "class": "transient", "at_ms": 1, "next": "fallback", "wait_ms": 0}]}


# --- an agent that a test plays --------------------------------------------------------------------

class Agent:
    """Connects, says hello, and keeps what comes in. `ack`: which notifications it acknowledges by itself."""

    def __init__(self, path, name="web-01", spool=None, ack=("keys", "policy", "secrets", "drains"), features=("core/1",), realm=b"",
                 keys_seq=0, revision=0, digest=b"", hello=True, source="cache", wire_version=1):
        self.spool = spool or Spool()
        self.name = name
        self.ack = set(ack)
        self.source = source
        self.seen = []             # (method, params) of notifications in their order
        self.news = queue.Queue()  # the same, for waiting
        self.answers = {}
        self.closed = threading.Event()
        self.reading = threading.Event()  # cleared: nothing more is read
        self.reading.set()
        self.keys_realm, self.keys_seq, self.keys = realm, keys_seq, {}
        self.revision, self._policy = revision, {}
        self._parts = []
        self._id = 0
        self._changed = threading.Condition()
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(path)
        threading.Thread(target=self._read, daemon=True).start()
        if hello:
            self.welcome = self.call("hello", {
                "wire_version": wire_version, "version": "0.1.0", "agent_id": name, "store_id": self.spool.store_id,
                "host": "test", "pid": os.getpid(), "features": list(features), "revision": revision, "digest": digest,
                "keys_realm": realm, "keys_seq": keys_seq})

    def send_raw(self, payload):
        self.sock.sendall(struct.pack(">I", len(payload)) + payload)

    def note(self, method, params):
        self.send_raw(pack([2, method, params]))

    def post(self, method, params):
        """Sends a call and gives its id; answer() waits for it."""
        self._id += 1
        self.send_raw(pack([0, self._id, method, params]))
        return self._id

    def answer(self, call_id, timeout=15):
        with self._changed:
            if not self._changed.wait_for(lambda: call_id in self.answers or self.closed.is_set(), timeout):
                raise TimeoutError("no answer")
            if call_id not in self.answers:
                raise ConnectionError("closed")
            return self.answers[call_id]

    def call(self, method, params):
        """(error, result)"""
        return self.answer(self.post(method, params))

    def usage(self, records):
        return self.call("usage.batch", self.spool.batch(records))

    def wait_for(self, method, timeout=15):
        """The next notification of that name that nobody has waited for yet."""
        while True:
            m, params = self.news.get(timeout=timeout)
            if m == method:
                return params

    def wait_until(self, condition, timeout=15):
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError("condition")

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self.closed.wait(5)

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            more = self.sock.recv(n - len(out))
            if not more:
                raise EOFError
            out += more
        return out

    def _read(self):
        try:
            while True:
                self.reading.wait()
                n, = struct.unpack(">I", self._exactly(4))
                self._take(unpack(self._exactly(n))[0])
        except (EOFError, OSError):
            with self._changed:
                self.closed.set()
                self._changed.notify_all()

    def _take(self, m):
        if m[0] == 1:
            with self._changed:
                self.answers[m[1]] = (m[2], m[3])
                self._changed.notify_all()
            return
        method, p = m[1], m[2]
        self.seen.append((method, p))  # before the acknowledgement, which lets the test go on
        self._apply(method, p)
        with self._changed:
            self.news.put((method, p))
            self._changed.notify_all()

    def _apply(self, method, p):
        if method == "keys.snapshot":
            if p["offset"] == 0:
                self._parts = []
            self._parts += p["records"]
            if len(self._parts) == p["total"]:
                assert hashlib.sha256(b"".join(self._parts)).digest() == p["digest"]
                self.keys_realm, self.keys_seq = p["realm"], p["seq"]
                self.keys = {key_id(r): r for r in self._parts}
                self._ack_keys()
        elif method == "keys.change":
            assert p["seq"] == self.keys_seq + 1, (p["seq"], self.keys_seq)
            self.keys_seq = p["seq"]
            self.keys.update({key_id(r): r for r in p["records"]})
            self._ack_keys()
        elif method == "policy.part":
            if p["offset"] == 0:
                self._policy = {"bytes": b""}
            self._policy["bytes"] += p["bytes"]
            if len(self._policy["bytes"]) == p["total"]:
                assert hashlib.sha256(self._policy["bytes"]).digest() == p["digest"]
                self.revision = p["revision"]
                if "policy" in self.ack:
                    self.note("policy.result", {"revision": p["revision"], "ok": 1, "reason": ""})
        elif method == "secrets.put" and "secrets" in self.ack:
            self.note("secrets.ack", {"name": p["name"], "version": p["version"], "source": self.source})
        elif method == "drains.put" and "drains" in self.ack:
            self.note("drains.ack", {"version": p["version"]})

    def _ack_keys(self):
        if "keys" in self.ack:
            self.note("keys.ack", {"seq": self.keys_seq})


def key_fields(raw):
    """Tags of a packed key record: 1 id, 3 state, 4 project, 5 name."""
    assert raw[0] == 1
    return unpack(raw, 1)[0]


def key_id(raw):
    return key_fields(raw)[1]
