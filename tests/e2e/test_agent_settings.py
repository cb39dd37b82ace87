"""Each setting of agentd.yaml acts; what a wrong one is answered with; what SIGHUP and SIGTERM do.

Usage: test_agent_settings.py [BUILD_ROOT] [unittest arguments]
"""
import contextlib
import json
import os
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from fails import expect  # noqa: E402
from harness import Stack, bearer, build_root, free_port, wait_for  # noqa: E402
from threads import Stopped, may_stop, threads  # noqa: E402
from wire import Wire, request_bytes  # noqa: E402

BUILD = build_root()
AGENTD = os.path.join(BUILD, "agentd/aigw-agentd")
CHAT = "/v1/chat/completions"
TABLE = os.path.join(HERE, "../../include/aigw/tbl/agent_config.h")

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, output: 2}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: held, targets: [{provider: sim, model: sim+tokens-3+hold-open}]}
  - {name: endless, targets: [{provider: sim, model: sim+tokens-100000+pace-20000}]}
  - {name: paced, targets: [{provider: sim, model: sim+tokens-20+pace-20000}]}
customers:
  - name: acme
    projects: [{name: search}]
identities:
  - {uid: $UID, project: search}
"""


def ask(model="small", **members):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def log_lines(stack, event):
    with open(stack.path("agentd.log"), errors="replace") as f:
        return [line for line in f if f" event={event} " in line + " "]


class Case(unittest.TestCase):
    def stack(self, **settings):
        """A stack of its own for this test."""
        more = {k: settings.pop(k) for k in ("policy", "expected", "base", "secrets") if k in settings}
        return self.enterContext(Stack(BUILD, more.pop("policy", POLICY), agent=settings, **more))

    def first_bytes(self, stack, model="endless", way="unix", wire=None):
        """A stream that has begun: its connection."""
        wire = wire or self.enterContext(stack.connect(way))
        wire.send(CHAT, ask(model, stream=True))
        wire.begun = wire.head()
        self.assertEqual(wire.begun.status, 200)
        self.assertIn(b"data: ", wire.chunk())
        return wire


class Wrong(unittest.TestCase):
    """At the start: exit 1 and a sentence with the place; --check-config says the same."""

    def setUp(self):
        self.home = self.enterContext(tempfile.TemporaryDirectory(prefix="aigw-"))

    def settings(self, **values):
        base = {"listen": f"127.0.0.1:{free_port()}", "socket": "off", "controller": "off", "state_dir": self.home + "/state",
                "runtime_dir": self.home + "/run", "stats": "off", "secrets_dir": "off", "workers": 1}
        path = self.home + "/agentd.yaml"
        with open(path, "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in {**base, **values}.items())
        return path

    def run_agent(self, *args):
        return subprocess.run([AGENTD, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)

    def refused(self, sentence, checked=True, **values):
        path = self.settings(**values)
        got = self.run_agent("--config", path)
        self.assertEqual(got.returncode, 1, got.stdout)
        self.assertIn("event=agent.start_failed", got.stdout)
        self.assertRegex(got.stdout, sentence)
        check = self.run_agent("--check-config", "--config", path)
        self.assertEqual(check.returncode, 1 if checked else 0, check.stdout)
        if checked:
            self.assertRegex(check.stdout, sentence)

    def test_values(self):
        for name, value, sentence in (
                ("workers", "65", "workers"), ("workers", "-1", "workers"), ("workers", "two", "workers"), ("durability", "soft", r"strict.*relaxed"),
                ("spool_size", "1KiB", "spool_size"), ("spool_size", "512", "spool_size.*unit"), ("inflight_slots", "63", "inflight_slots"),
                ("max_body", "1TiB", "max_body"), ("body_memory", "1KiB", "body_memory"), ("drain_timeout", "80", "drain_timeout"),
                ("log", "verbose", "error.*warning.*info.*debug"), ("sockt", "off", r"sockt.*socket")):
            with self.subTest(name, value=value):
                self.refused(rf"agentd\.yaml:\d+:\d+.*{sentence}", **{name: value})

    def test_addresses(self):
        for listen in ("0.0.0.0:2449", "192.0.2.1:2449", "[::]:2449"):
            with self.subTest(listen):
                self.refused("loopback", listen=f'"{listen}"')
        self.refused("ADDRESS:PORT", listen="here")
        self.refused("nothing could be served", checked=False, listen="off", socket="off")

    def test_places_that_can_not_be(self):
        self.refused("controller: write unix:PATH or off", controller="tcp:192.0.2.1:2450")
        for name, value in (("socket", "/x" * 60), ("control_socket", "/x" * 60), ("controller", "unix:" + "/x" * 60)):
            self.refused(f"{name}: the path of a unix socket has at most 107 bytes", **{name: value})
        for name in ("state_dir", "runtime_dir"):
            self.refused("/proc/none", checked=False, **{name: "/proc/none"})

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refused(f"can't listen on 127.0.0.1:{port}: Address already in use", checked=False, listen=f"127.0.0.1:{port}")

    def test_files(self):
        got = self.run_agent("--config", self.home + "/none.yaml")
        self.assertEqual(got.returncode, 1)
        self.assertIn("none.yaml", got.stdout)
        self.assertEqual(self.run_agent("--check-config", "--config", self.settings()).returncode, 0)
        self.assertEqual(self.run_agent("--check-config").returncode, 0)  # the default file may be missing
        self.assertEqual(self.run_agent("--nonsense").returncode, 2)
        self.assertIn("usage:", self.run_agent("extra").stdout)
        self.assertRegex(self.run_agent("--version").stdout, r"^aigw-agentd \d")


class Sockets(Case):
    def test_listen_off(self):
        stack = self.stack()
        stack.end(stack.agent)
        stack.agent_settings["listen"] = "off"
        stack.launch_agent()
        wait_for(stack.probe(stack.agent, lambda: stack.call("/healthz", way="unix").status == 200), "the agent answers on its unix socket")
        self.assertEqual(stack.chat("small").status, 200)
        with self.assertRaises(ConnectionRefusedError):
            stack.connect("tcp")

    def test_socket_off(self):
        stack = self.stack(socket="off")
        self.assertFalse(os.path.exists(stack.unix))
        self.assertEqual(stack.chat("small", key=stack.make_key("search")).status, 200)

    def test_listen_on_ipv6(self):
        stack = self.stack()
        stack.end(stack.agent)
        stack.agent_settings["listen"] = f'"[::1]:{stack.port}"'
        stack.launch_agent()
        key = stack.make_key
        wait_for(stack.probe(stack.agent, lambda: stack.call("/healthz", way="unix").status == 200), "the agent answers on its unix socket")
        self.assertIsNotNone(key)
        with Wire(("::1", stack.port)) as wire:
            self.assertEqual(wire.call("/readyz").status, 200)

    def test_mode_and_life_of_the_socket_file(self):
        stack = self.stack()
        self.assertEqual(stat.S_IMODE(os.stat(stack.unix).st_mode), 0o666)
        stack.kill(stack.agent)
        self.assertTrue(os.path.exists(stack.unix))  # left over: replaced by the next
        stack.start_agent()
        self.assertEqual(stack.chat("small").status, 200)
        stack.end(stack.agent)
        self.assertFalse(os.path.exists(stack.unix))

    def test_another_agent_on_the_same_files(self):
        """By its state_dir, its runtime_dir or its socket: refused with a sentence, and the first goes on."""
        stack = self.stack(expected=["agent.start_failed"])
        common = {"listen": "off", "socket": stack.path("b.sock"), "controller": "off", "stats": "off", "secrets_dir": "off",
                  "state_dir": stack.path("b"), "runtime_dir": stack.path("b-run"), "workers": 1}
        for name, value, sentence in (("state_dir", stack.path("agent"), "another"), ("runtime_dir", stack.path("run"), "another"),
                                      ("socket", stack.unix, "another process listens")):
            with self.subTest(name):
                path = stack.settings("b.yaml", {**common, name: value})
                got = subprocess.run([AGENTD, "--config", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
                self.assertEqual(got.returncode, 1, got.stdout)
                self.assertIn(sentence, got.stdout)
        self.assertEqual(stack.chat("small").status, 200)


class Controller(Case):
    def test_off_serves_from_the_caches(self):
        stack = self.stack()
        key = stack.make_key("search")
        stack.end(stack.agent)
        stack.agent_settings["controller"] = "off"
        stack.start_agent()
        self.assertEqual(stack.chat("small", key=key).status, 200)
        self.assertEqual(stack.chat("small").status, 200)
        self.assertEqual([a["state"] for a in stack.api("GET", "/api/v1/agents")["agents"]], ["down"])

    def test_never_seen_there_is_no_policy(self):
        stack = self.stack(policy=None, controller="off")
        expect(self, stack.chat("small"), "no_policy")
        a = stack.call("/readyz", way="unix")
        self.assertEqual((a.status, a.json()), (503, {"status": "no_policy"}))
        self.assertEqual(stack.call("/healthz", way="unix").status, 200)

    def test_agent_id(self):
        stack = self.stack(agent_id="web-01")
        self.assertEqual([a["name"] for a in stack.api("GET", "/api/v1/agents")["agents"]], ["web-01"])
        stack.chat("small")
        self.assertEqual(stack.wait_records(1)[0]["agent"], "web-01")

    def test_agent_id_is_the_hosts_name(self):
        stack = self.stack()
        stack.end(stack.agent)
        stack.agent_settings.update(agent_id='""', state_dir=stack.path("other"))
        stack.start_agent(ready=False)
        wait_for(lambda: any(a["name"] == socket.gethostname() for a in stack.api("GET", "/api/v1/agents")["agents"]), "the agent by its host's name")


class Threads(Case):
    def workers(self, stack):
        return sorted(n for n in threads(stack.agent.pid).values() if n.startswith("worker-"))

    def test_workers(self):
        for count in (1, 3):
            self.assertEqual(self.workers(self.stack(workers=count)), [f"worker-{i}" for i in range(count)])

    def test_one_worker_per_core(self):
        self.assertEqual(len(self.workers(self.stack(workers=0))), min(64, len(os.sched_getaffinity(0))))

    def test_every_worker_serves(self):
        """Both kinds of sockets are on every worker: connections spread, none is lost."""
        stack = self.stack(workers=3)
        key = stack.make_key("search")
        wires = [stack.connect("unix") for _ in range(30)] + [stack.connect("tcp") for _ in range(30)]
        for wire in wires:
            wire.send(CHAT, ask(), bearer(key))
        self.assertEqual({wire.answer().status for wire in wires}, {200})
        for wire in wires:
            wire.sock.close()
        self.assertEqual(len(stack.wait_records(60)), 60)


class Durability(Case):
    """The committer made to stand still is a disk that takes its time."""

    def setUp(self):
        child = subprocess.Popen(["sleep", "60"])
        try:
            if why := may_stop(child.pid):
                self.skipTest(why)
        finally:
            child.kill()
            child.wait()

    def silent(self, wire, seconds=0.5):
        wire.sock.settimeout(seconds)
        try:
            got = wire.sock.recv(4096)
        except TimeoutError:
            return True
        finally:
            wire.sock.settimeout(60)
        self.fail(f"not held back: {got!r}")

    def test_strict_holds_the_end_and_nothing_else(self):
        stack = self.stack(durability="strict")
        stream, plain = self.enterContext(stack.connect("unix")), self.enterContext(stack.connect("unix"))
        with Stopped(stack.agent.pid, "committer"):
            stream.send(CHAT, ask(stream=True))
            head, text = stream.head(), b""
            while b'"finish_reason":"stop"' not in text:
                text += stream.chunk()
            self.assertNotIn(b"[DONE]", text)
            plain.send(CHAT, ask())
            self.silent(stream)
            self.silent(plain)
        a = stream.finish(head)
        self.assertTrue(a.whole)
        self.assertTrue(a.body.endswith(b"data: [DONE]\n\n"))
        self.assertEqual(plain.answer().status, 200)
        self.assertEqual([r["outcome"] for r in stack.wait_records(2)], ["ok", "ok"])

    def test_strict_holds_the_last_byte_of_a_large_answer(self):
        stack = self.stack(durability="strict", policy=POLICY.replace("sim-small", "sim+tokens-30000"))
        wire = self.enterContext(stack.connect("unix"))
        with Stopped(stack.agent.pid, "committer"):
            wire.send(CHAT, ask())
            head = wire.head()
            length = int(head.header("content-length"))
            self.assertGreater(length, 65536)
            begun = wire.exactly(length - 1)
            self.silent(wire)
        self.assertEqual(json.loads(begun + wire.exactly(1))["object"], "chat.completion")

    def test_strict_holds_refusals_of_known_callers(self):
        stack = self.stack(durability="strict")
        wire = self.enterContext(stack.connect("unix"))
        with Stopped(stack.agent.pid, "committer"):
            wire.send(CHAT, ask("nobody"))
            self.silent(wire, 0.2)
        expect(self, wire.answer(), "model_not_found")

    def test_strict_end_means_it_is_in_the_spool(self):
        """Killed right behind the end of an answer: the record is there after the restart."""
        stack = self.stack(durability="strict")
        with stack.connect("unix") as wire:
            request_id = wire.call(CHAT, ask(stream=True)).header("x-request-id")
            stack.kill(stack.agent)
        stack.start_agent()
        record = stack.wait_records(1)[0]
        self.assertEqual((record["request_id"], record["outcome"], record["usage_seen"]), (request_id, "ok", True))

    def test_relaxed_does_not_wait(self):
        stack = self.stack(durability="relaxed")
        with Stopped(stack.agent.pid, "committer"):
            self.assertEqual(stack.chat("small").status, 200)
            self.assertEqual(stack.chat("small", stream=True).events()[-1], "[DONE]")
        self.assertEqual([r["outcome"] for r in stack.wait_records(2)], ["ok", "ok"])

    def test_slots_wait_for_the_disk_too(self):
        """inflight_slots: with all of them waiting for their commit nothing more is let through, and it is said."""
        stack = self.stack(durability="relaxed", inflight_slots=64)
        with stack.connect("unix") as wire, Stopped(stack.agent.pid, "committer"):
            for _ in range(64):
                self.assertEqual(wire.call(CHAT, ask()).status, 200)
            expect(self, wire.call(CHAT, ask()), "gateway_overloaded", "in-flight")
        wait_for(lambda: stack.chat("small").status == 200, "slots are free again")


class Limits(Case):
    def test_inflight_slots(self):
        stack = self.stack(inflight_slots=64)
        streams = [self.first_bytes(stack) for _ in range(64)]
        expect(self, stack.chat("small"), "gateway_overloaded", "in-flight")
        self.assertEqual(stack.call("/v1/models", way="unix").status, 200)  # takes none
        streams[0].sock.close()
        wait_for(lambda: stack.chat("small").status == 200, "a slot is free")
        for wire in streams[1:]:
            wire.sock.close()
        self.assertEqual({r["outcome"] for r in stack.wait_records(65)}, {"client_gone", "ok"})

    def test_body_memory(self):
        """What has arrived is counted, in blocks of powers of two, not what was announced; one project may hold half of it."""
        stack = self.stack(body_memory="4MiB", max_body="3MiB", workers=2)
        key = stack.make_key("search")
        with contextlib.ExitStack() as idle:
            slow = [idle.enter_context(stack.connect("unix")) for _ in range(200)]  # 20 MB announced, next to nothing sent
            for wire in slow:
                wire.sock.sendall(request_bytes(CHAT, b"", [("Content-Length", "100000")]) + b"{")
            self.assertEqual(stack.chat("small", "x" * 30000).status, 200)
            self.assertEqual(select.select([w.sock for w in slow], [], [], 0)[0], [])  # none is refused
        # most of a body has come: a block of 1 MiB
        first = self.enterContext(stack.connect("unix"))
        first.sock.sendall(request_bytes(CHAT, b"", [("Content-Length", "1040000")]) + b" " * 1000000)
        wait_for(lambda: self.too_much(stack, 0x180000), "its project has no room for another one")
        self.assertEqual(stack.chat("small").status, 200)  # small ones find room
        self.assertEqual(stack.chat("small", "x" * 900000, key=key).status, 200)  # and so do large ones of other projects
        expect(self, stack.chat("small", "x" * 2900000, key=key), "gateway_overloaded")  # up to what there is in all
        first.sock.close()
        wait_for(lambda: not self.too_much(stack, 0x180000), "its memory is given back")

    def too_much(self, stack, n):
        """A body of n spaces, by the caller of the unix socket: is there no room for it?"""
        with stack.connect("unix") as wire:
            wire.sock.sendall(request_bytes(CHAT, b"", [("Transfer-Encoding", "chunked")]) + b"%x\r\n" % n + b" " * n + b"\r\n0\r\n\r\n")
            a = wire.answer()
        self.assertIn(a.json()["error"]["code"], ("gateway_overloaded", "invalid_json"))
        return a.status == 503

    def test_max_connections(self):
        """Of both workers together. One more is told so, and costs nobody else anything; when one has gone there is room again."""
        stack = self.stack(max_connections=3, workers=2)

        def refused(a):
            if a.status == 200:
                return False
            expect(self, a, "gateway_overloaded", "Too many connections")
            self.assertTrue(a.close)
            return True

        def let_in(way):
            """The agent may yet have to see the end of those who asked whether it is ready."""
            def try_it():
                wire = stack.connect(way)
                wire.__enter__()
                if wire.call("/healthz").status == 200:
                    return wire
                wire.__exit__(None, None, None)
                return None
            return wait_for(try_it, "there is room")
        with let_in("unix") as first, let_in("tcp") as second:
            with let_in("unix"):
                for _ in range(3):
                    with stack.connect("unix") as more:
                        self.assertTrue(refused(more.answer()))
                self.assertEqual(first.call(CHAT, ask()).status, 200)
            wait_for(lambda: stack.chat("small").status == 200, "there is room again")
            stack.agent_settings["max_connections"] = 2
            stack.write_agent_settings()
            stack.agent.proc.send_signal(signal.SIGHUP)
            wait_for(lambda: refused(stack.call("/healthz", method="GET")), "the new limit holds")
            self.assertEqual(second.call("/healthz").status, 200)  # who is in stays

    def test_more_connections_than_descriptors(self):
        """As many as they suffice for, and the log says so."""
        stack = self.stack(max_connections=1000000)
        line = log_lines(stack, "agent.few_descriptors")[0]
        self.assertRegex(line, r"max_connections=1000000 possible=[1-9]\d*")
        self.assertEqual(stack.chat("small").status, 200)

    def test_max_body(self):
        stack = self.stack(max_body="64KiB")
        expect(self, stack.chat("small", "x" * 70000), "request_too_large", "65536")
        self.assertEqual(stack.chat("small", "x" * 60000).status, 200)

    def test_spool_size(self):
        """Without a controller the spool fills; at 80 % nothing is served that could not be billed, until it has been emptied."""
        stack = self.stack(spool_size="1MiB", durability="relaxed", expected=["event=spool.full"])
        stack.end(stack.ctld)
        full = None
        data = request_bytes(CHAT, ask())
        with stack.connect("unix") as wire:
            for _ in range(100):
                wire.sock.sendall(data * 50)
                answers = [wire.answer() for _ in range(50)]
                full = next((a for a in answers if a.status != 200), None)
                if full:
                    break
            expect(self, full, "spool_full")
            expect(self, wire.call(CHAT, ask()), "spool_full")
            self.assertEqual(wire.call("/v1/models").status, 200)
            a = wire.call("/readyz")
            self.assertEqual((a.status, a.json()), (503, {"status": "spool_full"}))
        served = stack.sim_stats()["requests"]
        stack.start_ctld()
        wait_for(lambda: stack.chat("small").status == 200, "the spool is emptied")
        wait_for(lambda: stack.booked() == served + 1, lambda: f"{served + 1} records, {stack.booked()} are there")


class Drain(Case):
    def drain(self, stack):
        stack.agent.proc.send_signal(signal.SIGTERM)
        wait_for(lambda: log_lines(stack, "agent.draining"), "the agent drains")

    def test_streams_go_on_and_nothing_new_begins(self):
        stack = self.stack(drain_timeout="30s", workers=1)
        stream = self.first_bytes(stack, "paced")
        half = self.enterContext(stack.connect("unix"))
        half.sock.sendall(request_bytes(CHAT, ask())[:30])
        idle = self.enterContext(stack.connect("unix"))
        self.assertEqual(idle.call("/healthz").status, 200)
        self.drain(stack)
        self.assertTrue(idle.closed())
        for way, error in (("tcp", ConnectionRefusedError), ("unix", FileNotFoundError)):
            with self.assertRaises(error):
                stack.connect(way)
        half.sock.sendall(request_bytes(CHAT, ask())[30:])
        a = half.answer()
        expect(self, a, "draining")
        self.assertTrue(a.close)
        a = stream.finish(stream.begun)
        self.assertTrue(a.whole)
        self.assertTrue(a.body.endswith(b"data: [DONE]\n\n"))
        self.assertTrue(stream.closed())
        self.assertEqual(stack.agent.wait(), 0)
        self.assertEqual([r["outcome"] for r in stack.wait_records(1)], ["ok"])

    def test_what_is_left_at_the_timeout_is_ended(self):
        stack = self.stack(drain_timeout="1s")
        stream = self.first_bytes(stack)
        begun = time.monotonic()
        self.drain(stack)
        a = stream.finish(stream.begun)
        self.assertGreater(time.monotonic() - begun, 0.9)
        error = a.events()[-1]
        self.assertEqual((error["error"]["code"], error["error"]["type"]), ("draining", "server_error"))
        self.assertNotIn(b"[DONE]", a.body)
        self.assertTrue(a.whole)
        self.assertEqual(stack.agent.wait(), 0)
        record = stack.wait_records(1)[0]
        self.assertEqual((record["outcome"], record["fail"], record["estimated"]), ("cut", "draining", True))
        self.assertGreater(record["output_tokens"], 0)

    def test_asked_twice_it_ends_at_once(self):
        stack = self.stack(drain_timeout="60s")
        stream = self.first_bytes(stack)
        self.drain(stack)
        stack.agent.proc.send_signal(signal.SIGINT)
        self.assertEqual(stream.finish(stream.begun).events()[-1]["error"]["code"], "draining")
        self.assertEqual(stack.agent.wait(20), 0)


class Reload(Case):
    def reload(self, stack, event="agent.reloaded", **settings):
        before = len(log_lines(stack, event))
        stack.agent_settings.update(settings)
        stack.write_agent_settings()
        stack.agent.proc.send_signal(signal.SIGHUP)
        wait_for(lambda: len(log_lines(stack, event)) > before, event)

    def test_what_can_be_changed(self):
        stack = self.stack(max_body="64KiB", log="warning", drain_timeout="60s", body_memory="1MiB")
        self.assertEqual(stack.chat("small", "x" * 70000).status, 413)
        stream = self.first_bytes(stack)
        # What it says is of the new level; so is what it does.
        self.reload(stack, max_body="1MiB", log="info", drain_timeout="200ms", durability="relaxed", body_memory="64KiB")
        self.assertFalse(log_lines(stack, "agent.restart_needed"))
        expect(self, stack.chat("small", "x" * 70000), "gateway_overloaded")
        self.reload(stack, body_memory="8MiB")
        self.assertEqual(stack.chat("small", "x" * 70000).status, 200)
        wait_for(lambda: stack.api("GET", "/api/v1/agents")["agents"][0]["durability"] == "relaxed", "the controller knows of the durability")
        if not may_stop(stack.sim.pid):
            with Stopped(stack.agent.pid, "committer"):
                self.assertEqual(stack.chat("small").status, 200)
            self.reload(stack, durability="strict")
            with Stopped(stack.agent.pid, "committer"), stack.connect("unix") as wire:
                wire.send(CHAT, ask())
                wire.sock.settimeout(0.3)
                self.assertRaises(TimeoutError, wire.head)
        self.assertIsNotNone(stream.chunk())  # a reload touches no stream
        begun = time.monotonic()
        stack.agent.proc.send_signal(signal.SIGTERM)
        self.assertEqual(stack.agent.wait(), 0)
        self.assertLess(time.monotonic() - begun, 30)

    def test_what_needs_a_restart_is_named(self):
        stack = self.stack()
        self.reload(stack, workers=3, spool_size="128MiB", socket=stack.path("other.sock"))
        line = log_lines(stack, "agent.restart_needed")[-1]
        self.assertIn("level=warning", line)
        self.assertEqual(re.search(r'settings="?([^"\n]*)', line)[1].split(), ["socket", "workers", "spool_size"])
        self.assertEqual(stack.chat("small").status, 200)  # all as it was
        self.reload(stack)  # asked again, said again
        self.assertEqual(len(log_lines(stack, "agent.restart_needed")), 2)

    def test_a_wrong_file_changes_nothing(self):
        stack = self.stack(max_body="64KiB", expected=["agent.reload_failed"])
        self.reload(stack, "agent.reload_failed", max_body="lots", log="debug")
        self.assertIn("max_body", log_lines(stack, "agent.reload_failed")[-1])
        self.assertEqual(stack.chat("small", "x" * 70000).status, 413)
        self.reload(stack, max_body="1MiB")
        self.assertEqual(stack.chat("small", "x" * 70000).status, 200)

    def test_log_levels(self):
        stack = self.stack(log="error")
        self.assertEqual(log_lines(stack, "agent.ready"), [])
        self.reload(stack, "agent.reloaded", log="info")
        self.assertEqual(stack.chat("nobody").status, 404)
        with open(stack.path("agentd.log")) as f:
            self.assertEqual({re.search(r"level=(\w+)", line)[1] for line in f} - {"info", "warning"}, set())


class Table(unittest.TestCase):
    def test_every_setting_is_tried(self):
        """The names of the table, each in a test of this file or of the one that has the means for it."""
        with open(TABLE, encoding="utf-8") as f:
            names = re.findall(r"^CONFIG\(\w+,\s+(\w+)", f.read(), re.M)
        text = ""
        for name in ("settings", "identity", "stats", "control", "metrics", "proxy"):
            with open(os.path.join(HERE, f"test_agent_{name}.py"), encoding="utf-8") as f:
                text += f.read()
        self.assertEqual([n for n in names if not re.search(rf'\b{n}(=|")', text)], [])


if __name__ == "__main__":
    unittest.main()
