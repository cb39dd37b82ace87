"""Clients that call the agent, many at once, as applications do: keep-alive, streams and plain answers, some going away at a
random moment; and what each of them saw. For tests that kill the agent beneath: a call that breaks is noted, never repeated.

    load = Load(seed, clients=48, tcp=("127.0.0.1", port), unix=path, key=key)
    load.start()            # in a thread of its own
    ... load.begun, load.finish(), load.calls
"""
import asyncio
import json
import random
import socket
import struct
import threading

BROKEN = (ConnectionError, asyncio.IncompleteReadError, OSError)
HUNG_S = 60  # no answer of these takes longer than a second


class Call:
    """One request and its fate. `end`: complete, aborted (by us), broken (by the other side), hung."""

    def __init__(self, n, rng, streams, aborts):
        self.n, self.id, self.status, self.end, self.usage, self.body = n, None, None, None, None, b""
        self.sent = False
        self.stream = rng.random() < streams
        self.way = rng.choice(("tcp", "unix"))
        self.path = "/v1/chat/completions"
        text = "x" * rng.randrange(4, 2000)
        if self.stream:
            tokens, pace = rng.randrange(6, 21), rng.randrange(6000, 16000)
            self.seconds = tokens * pace / 1e6
            sim = {"tokens": tokens, "pace": pace}
        else:
            slow = rng.randrange(60, 260)
            self.seconds = slow / 1000
            sim = {"tokens": rng.randrange(4, 60), "slow": slow}
        if rng.random() < 0.06:
            sim["close-after"] = True  # so that pooled connections go away too
        kind = rng.random()
        body = {"model": rng.choice(("small", "tiny", "other")), "sim": sim}
        if kind < 0.1:
            self.path, body["prompt"] = "/v1/completions", text
        elif kind < 0.2 and not self.stream:
            self.path, body["input"] = "/v1/embeddings", text
        else:
            body["messages"] = [{"role": "user", "content": text}]
        if self.stream:
            body["stream"] = True
            if rng.random() < 0.5:
                body["stream_options"] = {"include_usage": True}
        self.request = json.dumps(body).encode()
        # Where a client goes away: within its own request, or some time later, up to a little after the usual end.
        self.abort_s = self.abort_at = None
        self.reset = rng.random() < 0.5
        if rng.random() < aborts:
            if rng.random() < 0.12:
                self.abort_at = rng.random()
            else:
                self.abort_s = rng.random() * self.seconds * 1.1

    @property
    def is_complete(self):
        return self.end == "complete"


class Conn:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def close(self, reset=False):
        if reset and not self.writer.transport.is_closing():
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        return int(lines[0].split(" ")[1]), {name.lower(): value for name, value in fields.items()}

    async def body(self, fields):
        if "content-length" in fields:
            return await self.reader.readexactly(int(fields["content-length"]))
        parts = []
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            parts.append((await self.reader.readexactly(size + 2))[:-2])
            if size == 0:
                return b"".join(parts)


class Load:
    def __init__(self, seed, clients, tcp, unix, key, streams=1 / 3, aborts=0.2):
        self.seed, self.clients, self.tcp, self.unix, self.key = seed, clients, tcp, unix, key
        self.streams, self.aborts = streams, aborts
        self.calls, self.error = [], None
        self.enough = threading.Event()
        self.thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def begun(self):
        return len(self.calls)

    def start(self):
        self.thread.start()

    def finish(self, seconds=HUNG_S * 2):
        """No new calls; those that run come to their end."""
        self.enough.set()
        self.thread.join(seconds)
        if self.thread.is_alive():
            raise AssertionError("the clients do not come to their end")
        if self.error:
            raise self.error

    def _run(self):
        try:
            asyncio.run(self._all())
        except BaseException as e:  # shown by finish()
            self.error = e

    async def _all(self):
        await asyncio.gather(*(self._client(i) for i in range(self.clients)))

    async def _client(self, i):
        rng = random.Random(f"{self.seed}/{i}")
        conns = {"tcp": None, "unix": None}
        while not self.enough.is_set():
            call = Call(len(self.calls), rng, self.streams, self.aborts)
            conn = conns[call.way] or await self._connect(call.way)
            if conn is None:
                break
            self.calls.append(call)
            conns[call.way] = await self._call(call, conn)
        for conn in conns.values():
            if conn:
                conn.close()

    async def _connect(self, way):
        """Until the agent is there: it is being killed and started all the time."""
        while not self.enough.is_set():
            try:
                if way == "unix":
                    return Conn(*await asyncio.open_unix_connection(self.unix))
                return Conn(*await asyncio.open_connection(*self.tcp))
            except OSError:
                await asyncio.sleep(0.005)
        return None

    async def _call(self, call, conn):
        """The connection if it may be used again."""
        try:
            keep = await asyncio.wait_for(self._exchange(call, conn), call.abort_s or HUNG_S)
        except asyncio.TimeoutError:
            call.end, keep = "aborted" if call.abort_s else "hung", False
        except BROKEN:
            call.end, keep = "broken", False
        if keep:
            return conn
        conn.close(call.reset and call.end == "aborted")
        return None

    async def _exchange(self, call, conn):
        head = [f"POST {call.path} HTTP/1.1", "Host: aigw", "Content-Type: application/json", f"Content-Length: {len(call.request)}"]
        if call.way == "tcp":
            head.append(f"Authorization: Bearer {self.key}")
        data = "\r\n".join(head).encode() + b"\r\n\r\n" + call.request
        if call.abort_at is not None:
            conn.writer.write(data[:int(call.abort_at * len(data))])
            call.end = "aborted"
            return False
        conn.writer.write(data)
        call.sent = True
        call.status, fields = await conn.head()
        call.id = fields.get("x-request-id")
        body = await conn.body(fields)
        self._judge(call, body)
        return fields.get("connection") != "close"

    @staticmethod
    def _judge(call, body):
        """The answer's end came: whole, or the in-band word that it is not."""
        if call.status != 200 or not call.stream:
            call.end = "complete"
            call.body = body if call.status != 200 else b""
            call.usage = json.loads(body).get("usage") if call.status == 200 else None
            return
        events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        call.end = "complete" if events and events[-1] == b"[DONE]" else "broken"
        if b"include_usage" in call.request:
            call.usage = next((json.loads(e)["usage"] for e in reversed(events) if b'"usage":{' in e), None)
