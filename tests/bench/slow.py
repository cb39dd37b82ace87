#!/usr/bin/env python3
"""Slow clients for a gateway, and the provider of those that read: one process, one thread.

  slow.py --to PORT --provider PORT --key KEY [--readers N] [--senders N] [--model NAME]

A reader asks for an answer of 512 KB and takes 256 bytes of it every few seconds; a sender gives a byte of a body of 4 KB as often. What the
gateway ends is begun anew later. They come over some seconds, as clients do, and have stood for a while when `ready` is printed: the kernel
probes a window that has closed after 0.2 s, 0.4 s, 0.8 s and so on, and 10,000 that close at once are 34,000 probes in 4 seconds, which
cost every process of the host, whoever holds those clients. So the readers come first, and the load begins between their probes after 25
and 51 s; the senders come last, since the gateway does not wait for bodies for ever. Goes on until stdin closes; then prints a line of
JSON: how many the gateway has ended.
"""
import argparse
import collections
import json
import os
import select
import socket
import struct
import sys
import time

ANSWER_BYTES = 1 << 19
EVERY_S = 5.0  # between two pieces of one client
AT_ONCE = 200  # connections that come to stand at the same time
PER_SECOND = 500
READERS_S, SENDERS_S = 10.0, 6.0  # until the next may come
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % ANSWER_BYTES
ANSWER = memoryview(HEAD + b'{"x":"' + b"a" * (ANSWER_BYTES - 8) + b'"}')


class Slow:
  def __init__(self, o):
    self.o, self.poll = o, select.epoll()
    self.provider = socket.create_server(("127.0.0.1", o.provider), backlog=4096)
    self.provider.setblocking(False)
    self.calls = {}    # fd of a provider's connection: [socket, request so far, bytes sent]
    self.clients = {}  # fd: [socket, kind, stands]
    self.due = collections.deque()  # (when, fd, socket): the next piece of each, or (when, None, kind): one anew; in order
    self.standing = self.ended = 0
    body = json.dumps({"model": o.model, "messages": [{"role": "user", "content": "hello"}]}).encode()
    fields = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {o.key}\r\ncontent-type: application/json\r\n"
    self.request = {"reader": f"{fields}content-length: {len(body)}\r\n\r\n".encode() + body,
                    "sender": f"{fields}content-length: 4000\r\n\r\n".encode() + body[:-2]}

  # ---- the provider

  def accept(self):
    while True:
      try:
        s, _ = self.provider.accept()
      except BlockingIOError:
        return
      s.setblocking(False)
      s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
      self.calls[s.fileno()] = [s, b"", 0]
      self.poll.register(s, select.EPOLLIN)

  def serve(self, fd):
    s, asked, sent = call = self.calls[fd]
    try:
      if b"\r\n\r\n" not in asked:
        got = s.recv(65536)
        if not got:
          raise ConnectionError
        call[1] += got
        if b"\r\n\r\n" not in call[1]:
          return
        self.poll.modify(fd, select.EPOLLOUT)
      while sent < len(ANSWER):
        sent += s.send(ANSWER[sent:sent + 65536])
        call[2] = sent
      call[1:] = [b"", 0]
      self.poll.modify(fd, select.EPOLLIN)
    except BlockingIOError:
      pass
    except OSError:
      self.poll.unregister(fd)
      del self.calls[fd]
      s.close()

  # ---- the clients

  def begin(self, kind):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.connect(("127.0.0.1", self.o.to))
    s.sendall(self.request[kind])
    s.setblocking(False)
    fd = s.fileno()
    self.clients[fd] = [s, kind, kind == "sender"]
    self.standing += kind == "sender"
    # A reader stands when its answer has begun; a sender hears of its end.
    self.poll.register(s, select.EPOLLIN | select.EPOLLONESHOT if kind == "reader" else select.EPOLLIN)
    self.due.append((time.monotonic() + EVERY_S, fd, s))

  def end(self, fd):
    s, kind, stands = self.clients.pop(fd)
    self.standing -= stands
    s.close()
    self.ended += 1
    self.due.append((time.monotonic() + EVERY_S, None, kind))

  def readable(self, fd):
    client = self.clients[fd]
    if client[1] == "sender":
      self.end(fd)  # 408, or it was closed
      return
    try:
      if not client[0].recv(12, socket.MSG_PEEK).endswith(b" 200"):
        raise ConnectionError
    except OSError:
      self.end(fd)
      return
    client[2] = True
    self.standing += 1

  def piece(self, fd, s):
    if fd is None:
      self.begin(s)
      return
    client = self.clients.get(fd)
    if not client or client[0] is not s:
      return
    try:
      if client[1] == "sender":
        s.send(b" ")
      elif client[2]:
        got = s.recv(256)
        if not got:
          raise ConnectionError
    except BlockingIOError:
      pass
    except OSError:
      self.end(fd)
      return
    self.due.append((time.monotonic() + EVERY_S, fd, s))

  def turn(self, wait):
    for fd, _ in self.poll.poll(wait, 512):
      if fd == self.provider.fileno():
        self.accept()
      elif fd == 0:
        return False
      elif fd in self.calls:
        self.serve(fd)
      elif fd in self.clients:
        self.readable(fd)
    now = time.monotonic()
    while self.due and self.due[0][0] <= now:
      self.piece(*self.due.popleft()[1:])
    return True

  def come(self, kind, count, stand_s):
    """So many of them, until all stand; then for so long."""
    start, todo, stood = time.monotonic(), count, self.standing + count
    while todo or self.standing < stood:
      late = int((time.monotonic() - start) * PER_SECOND) - (count - todo)
      for _ in range(min(late, todo, AT_ONCE - len(self.clients) + self.standing)):
        self.begin(kind)
        todo -= 1
      self.turn(0.01)
    until = time.monotonic() + stand_s
    while time.monotonic() < until:
      self.turn(0.05)

  def run(self):
    self.poll.register(self.provider, select.EPOLLIN)
    self.come("reader", self.o.readers, READERS_S)
    self.come("sender", self.o.senders, SENDERS_S)
    if self.o.idle:
      os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    print("ready", flush=True)
    self.poll.register(0, select.EPOLLIN | select.EPOLLHUP)
    while self.turn(0.05):
      pass
    print(json.dumps({"ended": self.ended}), flush=True)


def main():
  ap = argparse.ArgumentParser()
  ap.add_argument("--to", type=int, required=True)
  ap.add_argument("--provider", type=int, required=True)
  ap.add_argument("--key", required=True)
  ap.add_argument("--model", default="mock-large")
  ap.add_argument("--readers", type=int, default=0)
  ap.add_argument("--senders", type=int, default=0)
  ap.add_argument("--idle", action="store_true", help="from then on run only when nothing else wants the core")
  o = ap.parse_args()
  Slow(o).run()


if __name__ == "__main__":
  sys.exit(main())
