"""The agent's control socket: who may, the same tree as the mount, finished calls and events as they come, drain and resume, the log level,
and what a hostile or a lazy client of it can do to others (nothing).

Usage: test_agent_control.py [BUILD_ROOT] [unittest arguments]
"""
import contextlib
import json
import os
import re
import signal
import socket
import stat
import statistics
import subprocess
import sys
import threading
import time
import unittest
from datetime import datetime

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, bearer, build_root, wait_for  # noqa: E402
from wire import Wire, call  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")
CHAT = "/v1/chat/completions"
ADMINS, READERS, OTHER = 54711, 54712, 54321
TABLE = "TIME REQUEST PROJECT MODEL TARGET ST IN OUT TTFT TOTAL COST NOTE"

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, output: 2}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: "vendor/small", targets: [{provider: sim, model: sim-small}]}
  - {name: broken, targets: [{provider: sim, model: sim+fail-500}]}
  - {name: paced, targets: [{provider: sim, model: sim+tokens-40+pace-20000}]}
  - {name: held, targets: [{provider: sim, model: sim+tokens-3+hold-open}]}
customers:
  - name: acme
    projects: [{name: search}, {name: local}]
identities:
  - {uid: $UID, project: local}
"""


def timeless(text):
    """Without the lines that count the process' own time and memory."""
    return b"\n".join(line for line in text.split(b"\n") if not re.match(rb"process_|aigw_loop_lag_seconds", line))


def ask(model="small", **members):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def wall(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Follower:
    """An answer that goes on, read by a thread: its objects with the wall time at which each came."""

    def __init__(self, where, path):
        self.wire = Wire(where, timeout=60)
        self.wire.send(path)
        self.head = self.wire.head()
        self.lines, self.whole = [], None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        rest = b""
        with contextlib.suppress(OSError):
            while data := self.wire.chunk():
                now = time.time()
                *whole, rest = (rest + data).split(b"\n")
                self.lines += [(now, json.loads(line)) for line in whole]
            self.whole = data == b""

    @property
    def objects(self):
        return [o for _, o in self.lines]

    def wait(self, met, what):
        return wait_for(lambda: next((o for o in self.objects if met(o)), None), what)

    def close(self):
        with contextlib.suppress(OSError):
            self.wire.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(20)
        self.wire.sock.close()


class Case(unittest.TestCase):
    settings = {}

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, POLICY, agent=dict(self.settings)))
        self.at = self.stack.path("control.sock")
        os.chmod(self.stack.home, 0o711)

    def get(self, path, status=200):
        a = call(self.at, path)
        self.assertEqual(a.status, status, a.body)
        return a

    def json(self, path, status=200):
        return self.get(path, status).json()

    def change(self, path, body=None, method="POST", status=200):
        a = call(self.at, path, body if body is not None else b"", method=method)
        self.assertEqual(a.status, status, a.body)
        return a.json()

    def follow(self, path):
        f = Follower(self.at, path)
        self.addCleanup(f.close)
        self.assertEqual(f.head.status, 200)
        return f

    def lines(self, path):
        return [json.loads(line) for line in self.get(path).body.splitlines()]

    def ctl(self, *args, code=0):
        got = subprocess.run([AIGWCTL, *args, "--agent", self.at], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30,
                             stdin=subprocess.DEVNULL)
        self.assertEqual(got.returncode, code, got.stderr + got.stdout)
        return got.stdout if code == 0 else got.stderr


class Shown(Case):
    def test_status_inflight_and_errors(self):
        status = self.json("/v1/status")
        self.assertEqual((status["agent"], status["draining"], status["controller"], status["inflight"]), ("a1", False, "connected", 0))
        self.assertEqual(status["pid"], self.stack.agent.pid)
        self.assertEqual(self.json("/v1/inflight"), [])
        key = self.stack.make_key("search")
        with self.stack.connect() as wire:
            wire.send(CHAT, ask("held", stream=True), bearer(key))
            self.assertEqual(wire.head().status, 200)
            wire.chunk()
            (row,) = wait_for(lambda: [r for r in self.json("/v1/inflight") if r["state"] == "streaming"], "the stream is listed")
            self.assertEqual((row["project"], row["model"], row["target"]), ("search", "held", "sim"))
            self.assertRegex(row["caller"], "^key:key_")
            self.assertRegex(row["request"], "^req_[0-9a-z]{26}$")
        wait_for(lambda: self.json("/v1/inflight") == [], "it is gone")
        for path, status, code in (("/v1/nothing", 404, "not_found"), ("/", 404, "not_found"), ("/v1/stats/nothing", 404, "not_found"),
                                   ("/v1/stats/models/none/stat", 404, "not_found"), ("/v1/stats/stat/x", 404, "not_found"),
                                   ("/v1/stats/%zz", 400, "usage"), ("/v1/tail?n=x", 400, "usage"), ("/v1/tail?n=5000", 400, "usage"),
                                   ("/v1/events?since=yesterday", 400, "usage"), ("/v1/events?kind=", 400, "usage"), ("/v1/drain", 405, "method_not_allowed"),
                                   ("/v1/policy", 404, "not_found")):
            error = self.json(path, status)["error"]
            self.assertEqual(error["code"], code, path)
            self.assertGreater(len(error["message"]), 10)
        for method, path in (("POST", "/v1/stats/stat"), ("PUT", "/v1/policy"), ("POST", "/v1/policy"), ("DELETE", "/v1/stats"), ("GET", "/v1/resume"),
                             ("POST", "/v1/log-level"), ("POST", "/v1/tail"), ("POST", "/v1/top")):
            self.assertIn(call(self.at, path, b"{}", method=method).status, (404, 405), path)

    def test_two_agents(self):
        """Another one whose socket would be the first's goes on without, and says so; with its own it is itself."""
        other = self.enterContext(Stack(BUILD, POLICY, agent={"control_socket": self.at, "agent_id": "a2"}))
        with open(other.path("agentd.log"), encoding="utf-8") as f:
            self.assertIn("event=control.not_listening", f.read())
        self.assertEqual(other.chat("small").status, 200)
        self.assertEqual(self.json("/v1/status")["agent"], "a1")
        third = self.enterContext(Stack(BUILD, POLICY, agent={"agent_id": "a3"}))
        self.assertEqual(call(third.path("control.sock"), "/v1/status").json()["agent"], "a3")
        self.assertEqual([r["model"] for r in self.lines("/v1/tail")], [])

    def test_off(self):
        stack = self.enterContext(Stack(BUILD, POLICY, agent={"control_socket": "off"}))
        self.assertFalse(os.path.exists(stack.path("control.sock")))
        self.assertEqual(stack.chat("small").status, 200)

    def test_it_is_removed_at_the_end(self):
        self.assertEqual(stat.S_IMODE(os.stat(self.at).st_mode), 0o660)
        self.stack.end(self.stack.agent)
        self.assertFalse(os.path.exists(self.at))


@unittest.skipUnless(os.path.exists("/dev/fuse"), "no /dev/fuse: the stats mount can't be tried")
class SameTree(Case):
    def setUp(self):
        self.mount = None
        self.settings = {"stats": "x"}
        stack = Stack(BUILD, POLICY)
        stack.agent_settings["stats"] = self.mount = stack.path("stats")
        self.stack = self.enterContext(stack)
        self.at = stack.path("control.sock")

        def met():
            with contextlib.suppress(OSError):
                return os.listdir(os.path.join(self.mount, "models"))
        wait_for(met, "the stats are mounted")

    def walk(self, path=""):
        for entry in self.json("/v1/stats/" + path):
            below = f"{path}/{entry['name']}".lstrip("/")
            yield below, entry
            if entry["type"] == "folder":
                yield from self.walk(below)

    def test_equal_file_by_file(self):
        """With no call running; but for what counts time: the age of the agent, rates over the last seconds."""
        key = self.stack.make_key("search")
        for model in ("small", "small", "vendor/small", "broken", "none"):
            self.stack.chat(model)
            self.stack.chat(model, key=key)
        wait_for(lambda: self.json("/v1/inflight") == [] and self.json("/v1/status")["spool_records"] == 0, "all is booked")
        files = 0
        seen = set()
        for path, entry in self.walk():
            seen.add(path)
            there = os.lstat(os.path.join(self.mount, path))
            self.assertEqual(entry["mode"], f"{stat.S_IMODE(there.st_mode):04o}", path)
            if entry["type"] == "file" and path not in ("uptime_s", "summary", "events"):
                with open(os.path.join(self.mount, path), "rb") as f:
                    self.assertEqual(timeless(self.get("/v1/stats/" + path).body), timeless(f.read()), path)
                files += 1
        on_mount = {os.path.relpath(os.path.join(d, n), self.mount) for d, folders, names in os.walk(self.mount) for n in folders + names}
        self.assertEqual(seen, on_mount)
        self.assertGreater(files, 25)
        self.assertEqual(self.get("/v1/stats/self/stat").body, self.get(f"/v1/stats/by-uid/{os.getuid()}/stat").body)
        # A name with a slash is found as it stands in the tree and escaped once more; both are the same file.
        self.assertEqual(self.get("/v1/stats/models/vendor%2Fsmall/stat").body, self.get("/v1/stats/models/vendor%252Fsmall/stat").body)
        self.assertRegex(self.get("/v1/stats/uptime_s").body, rb"^\d+\n$")
        self.assertIn(b"vendor%2Fsmall", self.get("/v1/stats/summary").body)

    def test_rates_also_without_a_mount(self):
        stack = self.enterContext(Stack(BUILD, POLICY))  # stats: off
        stack.chat("small")
        text = call(stack.path("control.sock"), "/v1/stats/summary").body.decode()
        self.assertNotIn("  0.0 req/s", text)


@unittest.skipUnless(os.geteuid() == 0, "needs root: asks as other users")
class WhoMay(unittest.TestCase):
    """The kernel's word about the peer decides, whatever the socket's mode lets in."""

    def setUp(self):
        class Grouped(Stack):
            def program(self, name, args, *rest, **more):
                if name == "agentd":  # in a world where the two groups exist
                    args = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/group && exec "$@"', self.path("group"), *args]
                return super().program(name, args, *rest, **more)
        self.stack = Grouped(BUILD, POLICY)
        with open("/etc/group", encoding="utf-8") as f:
            group = f.read()
        with open(self.stack.path("group"), "w", encoding="utf-8") as f:
            f.write(re.sub("(?m)^aigw-.*\n", "", group) + f"aigw-admin:x:{ADMINS}:\naigw-stats:x:{READERS}:\n")
        self.enterContext(self.stack)
        os.chmod(self.stack.home, 0o711)
        self.at = self.stack.path("control.sock")

    def as_user(self, path, uid, gid, *groups, method="GET"):
        how = ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        got = subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={gid}", *how, "curl", "-sS", "-X", method, "-o", "-", "-w", "\n%{http_code}",
                              "--unix-socket", self.at, "http://x" + path], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
        return (0, "") if got.returncode else (int(got.stdout.rsplit("\n", 1)[1]), got.stdout)

    def test_table(self):
        st = os.stat(self.at)
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_gid), (0o660, ADMINS))
        self.assertEqual(self.as_user("/v1/status", OTHER, OTHER)[0], 0)  # the mode keeps him out
        os.chmod(self.at, 0o666)
        root, other = (0, 0), (OTHER, OTHER)
        admin, member, both = (OTHER, ADMINS), (OTHER, OTHER, ADMINS), (OTHER, OTHER, ADMINS, READERS)
        table = [  # path, root, admin by group, by supplementary group, and of aigw-stats too, nobody in particular
            ("/v1/status", 200, 200, 200, 200, 403), ("/v1/inflight", 200, 200, 200, 200, 403), ("/v1/tail", 200, 200, 200, 200, 403), ("/v1/top", 200, 200, 200, 200, 403),
            ("/v1/events", 200, 200, 200, 200, 403), ("/v1/log-level", 200, 200, 200, 200, 403), ("/v1/stats", 200, 200, 200, 200, 403),
            ("/v1/stats/stat", 200, 200, 200, 200, 403), ("/v1/stats/models/small/stat", 200, 200, 200, 200, 403),
            ("/v1/stats/inflight", 200, 403, 403, 200, 403), ("/v1/stats/projects", 200, 403, 403, 200, 403),
            ("/v1/stats/projects/search/stat", 200, 403, 403, 200, 403), ("/v1/stats/by-uid/0/stat", 200, 403, 403, 403, 403),
            ("/v1/stats/self/stat", 200, 200, 200, 200, 403), (f"/v1/stats/by-uid/{OTHER}/stat", 200, 200, 200, 200, 403),
            ("/v1/stats/nothing", 404, 404, 404, 404, 403), ("/v1/policy", 404, 404, 404, 404, 403),
        ]
        for path, *expected in table:
            self.assertEqual([self.as_user(path, *who)[0] for who in (root, admin, member, both, other)], expected, path)
        status, text = self.as_user("/v1/drain", *other, method="POST")
        self.assertEqual(status, 403)
        self.assertIn("aigw-admin", json.loads(text.rsplit("\n", 1)[0])["error"]["message"])
        self.assertFalse(call(self.at, "/v1/status").json()["draining"])
        self.assertEqual(self.as_user("/v1/drain", *member, method="POST")[0], 200)
        self.assertTrue(call(self.at, "/v1/status").json()["draining"])


class Followed(Case):
    def test_tail_after_the_fact(self):
        key = self.stack.make_key("search")
        for model in ("small", "vendor/small", "broken", "none"):
            self.stack.chat(model, key=key)
        self.stack.chat("small", stream=True)
        rows = wait_for(lambda: (got := self.lines("/v1/tail")) and len(got) == 5 and got, "five calls are kept")
        self.assertEqual([(r["project"], r["model"], r["status"], r["outcome"], r["fail"]) for r in rows],
                         [("search", "small", 200, "ok", None), ("search", "vendor/small", 200, "ok", None),
                          ("search", "broken", rows[2]["status"], "failed", rows[2]["fail"]), ("search", None, 404, "refused", "model_not_found"),
                          ("local", "small", 200, "ok", None)])
        self.assertGreaterEqual(rows[2]["status"], 500)
        self.assertEqual([r["target"] for r in rows][:3], ["sim"] * 3)
        self.assertEqual(rows[4]["caller"], f"uid:{os.getuid()}")
        self.assertRegex(rows[0]["caller"], "^key:key_")
        self.assertEqual(rows, self.lines("/v1/tail?n=5"))
        self.assertEqual(rows[3:], self.lines("/v1/tail?n=2"))
        self.assertEqual(self.lines("/v1/tail?n=0"), [])
        booked = {r["request_id"]: r for r in self.stack.wait_records(5)}
        for r in rows:  # what it shows is what is booked
            record = booked[r["request"]]
            self.assertEqual([r[k] for k in ("input_tokens", "output_tokens", "cost", "status", "duration_us")],
                             [record[k] for k in ("input_tokens", "output_tokens", "cost", "status", "duration_us")])

    def test_shown_within_100_ms_of_the_end(self):
        tail, events = self.follow("/v1/tail?follow=1&n=0"), self.follow("/v1/events?follow=1&kind=call.*")
        for _ in range(20):
            self.assertEqual(self.stack.chat("small").status, 200)
        for f in (tail, events):
            wait_for(lambda f=f: len(f.lines) == 20, "all are shown")
            late = [came - wall(o["time"]) for came, o in f.lines]
            self.assertLess(statistics.median(late), 0.1, late)  # by the reader's clock against the call's end
            self.assertEqual([o["time"] for o in f.objects], sorted(o["time"] for o in f.objects))
        self.assertEqual([o["request"] for o in tail.objects], [o["request"] for o in events.objects])
        self.assertEqual({o["event"] for o in events.objects}, {"call.done"})

    def test_events(self):
        since = time.time()
        f = self.follow("/v1/events?follow=1")
        drains = self.follow("/v1/events?follow=1&kind=agent.*")
        self.stack.chat("small")
        self.change("/v1/drain")
        self.change("/v1/resume")
        self.stack.apply(POLICY.replace("name: local}", "name: local}, {name: more}"))
        f.wait(lambda o: o["event"].startswith("policy."), "the policy's event")
        drains.wait(lambda o: o["event"] == "agent.resumed", "the other reader has it, too")
        kinds = [o["event"] for o in f.objects]
        self.assertLess(kinds.index("call.done"), kinds.index("agent.draining"))
        self.assertLess(kinds.index("agent.draining"), kinds.index("agent.resumed"))
        self.assertEqual([o["event"] for o in drains.objects][:2], ["agent.draining", "agent.resumed"])
        self.assertEqual(f.objects[kinds.index("agent.draining")]["by"], "control")
        kept = self.lines(f"/v1/events?since={since:.3f}")
        self.assertEqual([o["event"] for o in kept][:3], ["call.done", "agent.draining", "agent.resumed"])
        self.assertIn("agent.ready", [o["event"] for o in self.lines("/v1/events")])
        self.assertEqual(self.lines(f"/v1/events?since={since + 1000:.0f}"), [])
        self.assertEqual({o["event"] for o in self.lines("/v1/events?kind=call.done")}, {"call.done"})

    def test_who_does_not_read_loses_and_harms_nobody(self):
        lazy = Wire(self.at)
        self.addCleanup(lazy.sock.close)
        lazy.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.send("/v1/tail?follow=1&n=0")
        self.assertEqual(lazy.head().status, 200)
        reader = self.follow("/v1/tail?follow=1&n=0")
        count, at_once = 6000, 8

        def load():
            with self.stack.connect("unix") as wire:
                for _ in range(count // at_once):
                    self.assertEqual(wire.call(CHAT, ask("small")).status, 200)
        threads = [threading.Thread(target=load) for _ in range(at_once)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wait_for(lambda: len(reader.lines) + sum(o.get("lost", 0) - 1 for o in reader.objects if "lost" in o) >= count, "the reader has all")
        seen, lost = 0, 0
        while seen + lost < count:
            for line in lazy.chunk().splitlines():
                o = json.loads(line)
                lost += o.get("lost", 0)
                seen += "request" in o
        self.assertEqual(seen + lost, count)
        self.assertGreater(lost, 0)  # the ring went on without him
        self.stack.chat("small")
        self.assertEqual(json.loads(lazy.chunk())["model"], "small")  # and from here on he is told again

    def test_followers_are_bounded(self):
        many = [self.follow("/v1/events?follow=1") for _ in range(16)]
        error = self.json("/v1/tail", 503)["error"]
        self.assertEqual(error["code"], "too_many_followers")
        self.assertEqual(self.json("/v1/status")["followers"], 16)
        many[0].close()
        wait_for(lambda: self.json("/v1/status")["followers"] == 15, "the place is free")
        self.get("/v1/tail")

    def test_sigterm_with_followers(self):
        followers = [self.follow("/v1/events?follow=1"), self.follow("/v1/tail?follow=1")]
        self.stack.end(self.stack.agent)
        for f in followers:
            f.thread.join(20)
            self.assertIs(f.whole, True)  # a proper end, not a cut
        self.assertIn("agent.draining", [o["event"] for o in followers[0].objects])

    def test_connections_are_bounded(self):
        held = [Wire(self.at) for _ in range(64)]
        try:
            self.assertEqual(held[-1].call("/v1/status").status, 200)
            with Wire(self.at) as one_more:
                self.assertTrue(one_more.closed())
        finally:
            for wire in held:
                wire.sock.close()
        wait_for(lambda: self.probe_ok(), "it answers again")

    def probe_ok(self):
        with contextlib.suppress(OSError, AttributeError):
            return call(self.at, "/v1/status").status == 200


class Changed(Case):
    def test_drain_and_resume_while_a_stream_runs(self):
        with self.stack.connect("unix") as wire:
            wire.send(CHAT, ask("paced", stream=True))
            head = wire.head()
            self.assertEqual(head.status, 200)
            wire.chunk()
            self.assertEqual(self.change("/v1/drain"), {"agent": "a1", "draining": True, "changed": True, "inflight": 1})
            self.assertEqual(self.change("/v1/drain")["changed"], False)
            refused = self.stack.chat("small")
            self.assertEqual((refused.status, refused.json()["error"]["code"]), (503, "draining"))
            self.assertEqual(self.stack.call("/readyz", way="tcp").status, 503)
            self.assertEqual(self.stack.call("/healthz", way="tcp").status, 200)
            self.assertRegex(self.get("/v1/stats/health").body.decode(), r"degraded agent reason=draining since=\d+")
            self.assertIn("[DONE]", wire.finish(head).body.decode())  # the running one goes to its end
        self.assertEqual(self.change("/v1/resume"), {"agent": "a1", "draining": False, "changed": True, "inflight": 0})
        self.assertEqual(self.stack.chat("small").status, 200)
        self.assertEqual(self.stack.call("/readyz", way="tcp").status, 200)
        self.assertEqual(self.get("/v1/stats/health").body, b"ok\n")

    def test_a_signal_drains_for_good(self):
        with self.stack.connect("unix") as wire:
            wire.send(CHAT, ask("paced", stream=True))
            head = wire.head()
            self.stack.agent.proc.send_signal(signal.SIGTERM)
            wait_for(lambda: self.json("/v1/status")["draining"], "it drains")
            error = self.change("/v1/resume", status=409)["error"]
            self.assertEqual(error["code"], "conflict")
            self.assertIn("[DONE]", wire.finish(head).body.decode())
        self.assertEqual(self.stack.agent.wait(), 0)

    def test_a_drained_agent_ends_by_signal(self):
        self.change("/v1/drain")
        self.stack.end(self.stack.agent)

    def test_log_level(self):
        def log():
            with open(self.stack.path("agentd.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        self.assertEqual(self.json("/v1/log-level"), {"agent": "a1", "level": "info"})
        self.assertEqual(self.change("/v1/log-level", {"level": "error"}, "PUT")["level"], "error")
        self.change("/v1/drain")
        self.assertNotIn("event=agent.draining", log())
        self.assertIn("agent.draining", [o["event"] for o in self.lines("/v1/events")])  # events are kept all the same
        self.assertEqual(self.change("/v1/log-level", {"level": "info"}, "PUT")["level"], "info")
        self.change("/v1/resume")
        self.assertIn("event=agent.resumed", log())
        self.assertIn("event=agent.log_level to=info uid=", log())
        for body in (b"", b"{", b"[]", b'{"level":1}', b'{"level":"loud"}', b'{}'):
            self.assertEqual(self.change("/v1/log-level", body, "PUT", 400)["error"]["code"], "usage")
        self.assertEqual(self.json("/v1/log-level")["level"], "info")

    def test_hostile_http(self):
        ok = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"
        for data, statuses in (
                (b"GET /v1/status HTTP/1.1\r\n\r\n", {400}), (b"\0\1\2\3\r\n\r\n", {400}), (b"GET /v1/status HTTP/2.0\r\nHost: x\r\n\r\n", {400, 505}),
                (b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}), (b"GET /v1/status HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", {400}),
                (b"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
                (b"PUT /v1/log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n", {413}),
                (b"PUT /v1/log-level HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n1000\r\n" + b"y" * 4096 + b"\r\n0\r\n\r\n", {413}),
                (b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 414, 431}), (b"x" * 200000, {400, 431}),
                (b"GET /v1/stats/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", {404}), (b"GET /v1/stats/%00 HTTP/1.1\r\nHost: x\r\n\r\n", {404}),
                (b"GET /v1/stats/" + b"%41" * 3000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {404}), (b"GET /v1/stats//// HTTP/1.1\r\nHost: x\r\n\r\n", {200}),
                (b"GET /v1/tail?n=-1 HTTP/1.1\r\nHost: x\r\n\r\n", {400}), (b"GET /v1/events?kind=" + b"a" * 500 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400})):
            with Wire(self.at) as wire:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    wire.sock.sendall(data)
                a = wire.head()
                self.assertIsNotNone(a, data[:60])
                self.assertIn(a.status, statuses, data[:60])
        with Wire(self.at) as wire:  # pipelined behind an answer that goes on: it waits, and the end of the follower ends both
            wire.sock.sendall(b"GET /v1/tail?n=1 HTTP/1.1\r\nHost: x\r\n\r\n" + ok * 500)
            self.assertEqual([wire.answer().status for _ in range(501)], [200] * 501)
        with Wire(self.at) as wire:
            wire.sock.sendall(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n" + ok * 50)
            self.assertEqual(wire.head().status, 200)
        for _ in range(50):  # gone at once
            with Wire(self.at) as wire:
                wire.send("/v1/events?follow=1")
        wait_for(lambda: self.json("/v1/status")["followers"] == 0, "nobody follows")
        self.assertEqual(self.json("/v1/log-level")["level"], "info")
        self.assertFalse(self.json("/v1/status")["draining"])


class CommandLine(Case):
    """aigwctl's verbs for this host's agent, against a real one."""

    def test_stats(self):
        self.stack.chat("small")
        wait_for(lambda: self.json("/v1/inflight") == [], "the call is over")
        self.assertEqual(self.ctl("agent", "stats", "cat", "models/small/stat"), self.get("/v1/stats/models/small/stat").body.decode())
        self.assertIn("requests 0", self.ctl("agent", "stats", "cat", "/models/vendor%2Fsmall/stat"))
        self.assertEqual(self.ctl("agent", "stats", "cat", "self/user"), self.get("/v1/stats/self/user").body.decode())
        self.assertEqual(self.ctl("agent", "stats", "ls", "-o", "name", "models").split(), ["small", "vendor%2Fsmall", "broken", "paced", "held"])
        self.assertEqual(json.loads(self.ctl("agent", "stats", "ls", "-o", "json"))["entries"], self.json("/v1/stats"))
        self.assertEqual(self.ctl("agent", "stats", "ls", "--filter", "type=link").splitlines()[1].split(), ["self", "link", "0777"])
        self.assertIn("no nothing in the stats", self.ctl("agent", "stats", "cat", "nothing", code=3))
        self.assertIn("is a folder", self.ctl("agent", "stats", "cat", "models", code=2))
        self.assertIn("is a file", self.ctl("agent", "stats", "ls", "stat", code=2))
        self.ctl("agent", "stats", "ls", "a", "b", code=2)

    def test_drain_resume_log_level(self):
        self.assertIn("refuses new calls; 0 in flight", self.ctl("agent", "drain", "a1"))
        self.assertEqual(self.stack.chat("small").status, 503)
        self.assertIn("already refuses", self.ctl("agent", "drain", "a1"))
        self.assertEqual(json.loads(self.ctl("agent", "resume", "a1", "-o", "json"))["draining"], False)
        self.assertEqual(self.stack.chat("small").status, 200)
        self.assertIn("was not drained", self.ctl("agent", "resume", "a1"))
        for verb in (("drain", "web-02"), ("resume", "web-02"), ("log-level", "web-02"), ("log-level", "web-02", "debug")):
            said = self.ctl("agent", *verb, code=3)
            self.assertIn("is a1, not web-02", said)
        self.assertFalse(self.json("/v1/status")["draining"])
        self.assertEqual(self.ctl("agent", "log-level", "a1"), "info\n")
        self.assertEqual(self.ctl("agent", "log-level", "a1", "warning"), "warning\n")
        self.assertEqual(self.json("/v1/log-level")["level"], "warning")
        self.assertIn("error, warning, info or debug", self.ctl("agent", "log-level", "a1", "loud", code=2))
        self.ctl("agent", "log-level", code=2)

    def test_tail(self):
        key = self.stack.make_key("search")
        self.stack.chat("small", key=key)
        self.stack.chat("none", key=key)
        self.stack.chat("vendor/small")
        head, *rows = [line.split() for line in self.ctl("tail").splitlines()]
        self.assertEqual(head, TABLE.split())
        self.assertEqual([r[2:6] for r in rows], [["search", "small", "sim", "200"], ["search", "-", "-", "404"], ["local", "vendor/small", "sim", "200"]])
        self.assertEqual(rows[1][6:], ["-", "-", "-", rows[1][9], "-", "refused:", "model_not_found"])
        self.assertRegex(rows[0][0], r"^\d\d:\d\d:\d\d\.\d{3}$")
        self.assertRegex(rows[0][10], r"^\$0\.\d{6,9}$")
        self.assertEqual(len(self.ctl("tail", "-n", "2", "--no-header").splitlines()), 2)
        self.assertEqual(json.loads(self.ctl("tail", "-o", "json"))["calls"], self.lines("/v1/tail"))
        self.assertEqual([json.loads(line)["status"] for line in self.ctl("tail", "-o", "jsonl", "--filter", "status >= 400").splitlines()], [404])
        self.assertEqual(self.ctl("tail", "-o", "csv", "--columns", "project,model,status", "--sort", "status"),
                         "project,model,status\nsearch,small,200\nlocal,vendor/small,200\nsearch,,404\n")
        self.assertEqual(len(self.ctl("tail", "-o", "name").split()), 3)
        self.assertIn("0 to 4096", self.ctl("tail", "-n", "9999", code=2))
        self.assertIn("no column", self.ctl("tail", "--filter", "colour = red", code=2))
        self.ctl("tail", "--follow", "-o", "json", code=2)
        self.ctl("tail", "--follow", "--limit", "3", code=2)
        self.ctl("tail", "--ctl", "unix:/x", code=2)

    def following(self, count, *args):
        """Started, and it follows: it is the count-th one."""
        p = subprocess.Popen([AIGWCTL, *args, "--follow", "--agent", self.at], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             stdin=subprocess.DEVNULL)
        self.addCleanup(p.communicate)
        self.addCleanup(p.kill)
        wait_for(lambda: self.json("/v1/status")["followers"] == count, "it follows")
        return p

    def test_follow(self):
        table = self.following(1, "tail", "-n", "0")
        filtered = self.following(2, "tail", "-n", "0", "-o", "csv", "--columns", "model,status", "--filter", "model = vendor/small")
        events = self.following(3, "events", "--kind", "call.*", "-o", "jsonl")
        late = []
        for model in ("small", "vendor/small", "small"):
            self.stack.chat(model)
            line = json.loads(events.stdout.readline())
            late.append(time.time() - wall(line["time"]))
            self.assertEqual((line["event"], line["model"]), ("call.done", model))
        self.assertLess(statistics.median(late), 0.1)  # from the call's end to the eyes
        self.assertEqual(table.stdout.readline().split(), TABLE.split())
        self.assertEqual([table.stdout.readline().split()[3] for _ in range(3)], ["small", "vendor/small", "small"])
        self.assertEqual([filtered.stdout.readline() for _ in range(2)], ["model,status\n", "vendor/small,200\n"])
        table.send_signal(signal.SIGINT)
        self.assertEqual(table.wait(20), 130)
        self.stack.end(self.stack.agent)  # the answers end, so do the followers
        self.assertEqual((filtered.wait(20), events.wait(20)), (0, 0))

    def test_events(self):
        self.stack.chat("small")
        self.ctl("agent", "drain", "a1")
        head, *rows = self.ctl("events").splitlines()
        self.assertEqual(head.split(), ["TIME", "EVENT", "DETAILS"])
        kinds = [row.split()[1] for row in rows]
        self.assertLess(kinds.index("agent.ready"), kinds.index("call.done"))
        self.assertRegex(rows[kinds.index("agent.draining")], r"by=control inflight=0")
        self.assertEqual([json.loads(line)["event"] for line in self.ctl("events", "--kind", "agent.d*", "-o", "jsonl").splitlines()], ["agent.draining"])
        self.assertEqual(self.ctl("events", "--since", "2099-01-01", "-o", "name"), "")
        self.assertIn("agent.draining", self.ctl("events", "--since", "1h", "-o", "csv"))
        self.ctl("events", "--since", "sometime", code=2)

    def test_not_reachable_not_permitted(self):
        nobody = ["--agent", self.stack.path("none.sock")]
        for args in (["tail"], ["events", "--follow"], ["agent", "stats", "cat", "stat"], ["agent", "drain", "a1"], ["agent", "log-level", "a1"]):
            got = subprocess.run([AIGWCTL, *args, *nobody], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
            self.assertEqual((got.returncode, got.stdout), (6, ""), got.stderr)
            self.assertIn("AIGW_AGENT", got.stderr)
        env = {**os.environ, "AIGW_AGENT": "unix:" + self.at}
        self.assertEqual(subprocess.run([AIGWCTL, "agent", "log-level", "a1"], stdout=subprocess.PIPE, env=env, text=True, timeout=30).stdout, "info\n")
        if os.geteuid() == 0:
            for mode in (0o660, 0o666):  # kept out by the socket, and by the agent
                os.chmod(self.at, mode)
                got = subprocess.run(["setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups", self.ctl_for_all(), "tail", "--agent", self.at],
                                     cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=30)
                self.assertEqual(got.returncode, 4, got.stderr)
                self.assertIn("aigw-admin", got.stderr)

    def ctl_for_all(self):
        """A copy that every user may run, wherever the build tree is."""
        path = self.stack.path("aigwctl")
        if not os.path.exists(path):
            with open(AIGWCTL, "rb") as f, open(path, "wb") as to:
                to.write(f.read())
            os.chmod(path, 0o755)
        return path


if __name__ == "__main__":
    unittest.main()
