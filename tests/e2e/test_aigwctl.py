"""aigwctl against an admin API that says what each test needs: exit codes, formats, flags, questions.

Usage: test_aigwctl.py BUILD_ROOT [unittest arguments]
"""
import csv
import io
import json
import os
import pty
import re
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
from http.server import BaseHTTPRequestHandler

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "build"
AIGWCTL = os.path.abspath(os.path.join(BUILD, "ctl/aigwctl/aigwctl"))

KEY = "sk-aigw-3kQ9zB1mXy0a-" + "s" * 40 + "c00000"
KEYS = {"keys": [
    {"id": "key_3kQ9zB1mXy0a", "name": "ci", "project": "search", "customer": "acme", "state": "active",
     "created": "2026-01-01T00:00:00Z", "expires": None, "revoked": None},
    {"id": "key_7f3a00000000", "name": "größer", "project": "support-bot", "customer": "acme", "state": "revoked",
     "created": "2026-01-01T00:00:00Z", "expires": "2026-02-01T00:00:00Z", "revoked": "2026-01-02T00:00:00Z"},
]}
AGENT = {"name": "web-01", "store_id": "ab12", "uid": 998, "version": "0.1.0", "host": "web", "pid": 42, "state": "up",
         "revision": 42, "keys_seq": 7, "uptime_s": 90000, "requests": 563787, "inflight": 61, "spool_records": 12,
         "spool_lag_s": 3, "clock_diff_ms": -2, "durability": "strict", "last_seen": "2026-01-01T00:00:00Z",
         "duplicate": False, "reason": None, "secrets": [{"name": "openai", "source": "secrets_dir", "version": 1}],
         "warnings": [], "high_water": 1000, "records": 1000, "undecodable": 0}
DOWN = dict(AGENT, name="gpu-03", state="quarantined", reason="fork", revision=41, clock_diff_ms=5, duplicate=True,
            uptime_s=None, pid=None)
STATUS = {"version": "0.1.0", "started": "2026-01-01T00:00:00Z", "revision": 42, "applied_at": "2026-01-01T00:00:00Z",
          "applied_by": "anna", "message": "add embed", "currency": "USD", "agents": [AGENT, DOWN],
          "providers": [{"name": "openai", "type": "openai", "base_url": "https://api.openai.com/v1",
                         "credentials": [{"name": "openai", "stored": True, "version": 3, "sources": {"web-01": "secrets_dir"}}]}],
          "models": ["gpt-4o-mini", "embed"], "keys": {"active": 3, "revoked": 1},
          "usage_today": {"requests": 12345, "cost": "118.420001000", "unpriced": 2},
          "store": {"bytes": 1572864, "map_bytes": 67108864}, "warnings": ["clock of gpu-03 differs"]}
GROUP = {"requests": 412802, "ok": 411000, "errors": 1238, "input_tokens": 812400000, "cached_input_tokens": 317648400,
         "output_tokens": 96200000, "reasoning_tokens": 0, "cost": "148.100000000", "charge": "148.100000000",
         "unpriced": 0, "estimated": 4}
USAGE = {"since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z", "by": ["project", "model"], "currency": "USD",
         "groups": [dict(GROUP, project="search", model="gpt-4o-mini"),
                    {"project": "search", "model": "embed", "requests": 3, "ok": 3, "errors": 0, "input_tokens": 9,
                     "cached_input_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "cost": None, "charge": None,
                     "unpriced": 3, "estimated": 0}],
         "total": dict(GROUP, requests=412805, ok=411003, input_tokens=812400009, unpriced=3, cost="148.100000001")}
PLAN = {"added": ["models.embed"], "changed": ["models.gpt-4o-mini", "customers.acme.projects.search"], "removed": []}


def applied(*states, revision=43, unchanged=False, warnings=()):
    return {"revision": revision, "unchanged": unchanged, "warnings": list(warnings), "plan": PLAN,
            "agents": [{"name": f"a{i}", "state": s, "reason": "feature x" if s == "refused" else None}
                       for i, s in enumerate(states)]}


def error(code, message, **more):
    return {"error": {"message": message, "code": code}, **more}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        url = urllib.parse.urlsplit(self.path)
        call = {"method": self.command, "path": url.path, "raw": self.path, "query": dict(urllib.parse.parse_qsl(url.query)),
                "body": json.loads(body) if body else None}
        self.server.calls.append(call)
        missing = (404, error("not_found", "no such thing"))
        route = self.server.routes.get((self.command, url.path), missing)
        if callable(route):
            route = route(call, self)
        if route is None:
            return
        status, obj = route
        data = obj if isinstance(obj, bytes) else json.dumps(obj, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if getattr(self.server, "chunked", False):
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for i in range(0, len(data), 7):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data[i:i + 7]), data[i:i + 7]))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = answer

    def address_string(self):
        return "unix"

    def log_message(self, *args):
        pass


class Admin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def handle_error(self, request, address):
        pass  # clients that go away are part of the tests


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="aigwctl-")
        self.addCleanup(self.folder.cleanup)
        self.path = os.path.join(self.folder.name, "admin.sock")
        self.admin = Admin(self.path, Handler)
        self.admin.calls = []
        self.admin.routes = {
            ("GET", "/api/v1/status"): (200, STATUS),
            ("GET", "/api/v1/version"): (200, {"version": "0.1.0", "wire_version": 1, "store_format": 1}),
            ("GET", "/api/v1/keys"): (200, KEYS),
            ("GET", "/api/v1/keys/key_3kQ9zB1mXy0a"): (200, KEYS["keys"][0]),
            ("GET", "/api/v1/agents"): (200, {"agents": [AGENT, DOWN]}),
            ("GET", "/api/v1/agents/web-01"): (200, AGENT),
            ("GET", "/api/v1/usage"): (200, USAGE),
        }
        thread = threading.Thread(target=self.admin.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.admin.server_close)
        self.addCleanup(self.admin.shutdown)
        self.policy = os.path.join(self.folder.name, "policy.yaml")
        with open(self.policy, "w") as f:
            f.write("apiVersion: aigw/v1\n")

    def route(self, method, path, status, obj):
        self.admin.routes[(method, path)] = (status, obj)

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("AIGW") and k not in ("NO_COLOR", "LC_ALL")}
        env.update({"AIGW_CTL": "unix:" + self.path, "LANG": "C.UTF-8"}, **more)
        return {k: v for k, v in env.items() if v is not None}

    def run_ctl(self, *args, env=None, stdin="", **kw):
        return subprocess.run([AIGWCTL, *args], input=stdin, capture_output=True, text=True, timeout=30,
                              env=self.environment(**(env or {})), **kw)

    def check(self, *args, code=0, out=None, err=None, **kw):
        r = self.run_ctl(*args, **kw)
        self.assertEqual(r.returncode, code, f"{args}: {r.stdout}{r.stderr}")
        for want, text in ((out, r.stdout), (err, r.stderr)):
            for w in [want] if isinstance(want, str) else want or []:
                self.assertIn(w, text)
        return r

    def last(self, method=None):
        return [c for c in self.admin.calls if method in (None, c["method"])][-1]

    def on_terminal(self, args, typed, expect, env=None):
        """Runs with a terminal as stdin and stderr, types when `expect` is seen; (exit code, stdout, what was seen)."""
        master, slave = pty.openpty()
        p = subprocess.Popen([AIGWCTL, *args], stdin=slave, stderr=slave, stdout=subprocess.PIPE,
                             env=self.environment(**(env or {})), start_new_session=True)
        os.close(slave)
        seen = b""
        sent = False
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            if not data:
                break
            seen += data
            if expect.encode() in seen and not sent:
                sent = True
                if callable(typed):
                    typed(p)
                else:
                    os.write(master, typed.encode())
        out = p.stdout.read().decode()
        p.stdout.close()
        code = p.wait(timeout=20)
        os.close(master)
        self.assertTrue(sent, seen)
        return code, out, seen.decode()


class ExitCodes(Case):
    def test_status_to_exit_code(self):
        for status, code in ((400, 2), (403, 4), (404, 3), (409, 5), (503, 1), (500, 1)):
            self.route("GET", "/api/v1/keys/key_x", status, error("c", f"sentence {status}"))
            r = self.check("key", "show", "key_x", code=code, err=f"sentence {status}")
            self.assertEqual(r.stdout, "")

    def test_not_reachable(self):
        r = self.check("status", "--ctl", f"unix:{self.folder.name}/none.sock", code=6)
        self.assertIn("Start aigw-ctld there", r.stderr)
        self.assertIn("none.sock", r.stderr)

    def test_nobody_behind_the_socket(self):
        path = os.path.join(self.folder.name, "dead.sock")
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.close()
        self.check("status", "--ctl", "unix:" + path, code=6, err="Connection refused")

    @unittest.skipIf(os.geteuid() != 0, "needs root to become another user")
    def test_not_permitted_to_connect(self):
        os.chmod(self.folder.name, 0o755)
        os.chmod(self.path, 0o600)
        program = os.path.join(self.folder.name, "aigwctl")
        with open(AIGWCTL, "rb") as f, open(program, "wb") as t:
            t.write(f.read())
        os.chmod(program, 0o755)
        r = subprocess.run([program, "status"], capture_output=True, text=True, env=self.environment(), user=65534, group=65534,
                           extra_groups=[])
        self.assertEqual(r.returncode, 4, r.stderr)
        self.assertIn("aigw-admin", r.stderr)

    def test_out_of_time(self):
        self.admin.routes[("GET", "/api/v1/status")] = lambda call, handler: time.sleep(3)
        start = time.monotonic()
        self.check("status", "--timeout", "200ms", code=124, err="did not answer within 200ms")
        self.assertLess(time.monotonic() - start, 2.5)

    def test_backlog_full(self):
        """A controller that accepts nobody is out of time too, not a wait for ever."""
        path = os.path.join(self.folder.name, "full.sock")
        s = socket.socket(socket.AF_UNIX)
        s.bind(path)
        s.listen(0)
        others = []
        for _ in range(4):
            o = socket.socket(socket.AF_UNIX)
            o.setblocking(False)
            o.connect_ex(path)
            others.append(o)
        self.check("status", "--ctl", "unix:" + path, "--timeout", "200ms", code=124)
        for o in others + [s]:
            o.close()

    def test_interrupted(self):
        asked = threading.Event()

        def never(call, handler):
            asked.set()
            time.sleep(3)
        self.admin.routes[("POST", "/api/v1/keys/key_x/revoke")] = never
        p = subprocess.Popen([AIGWCTL, "key", "revoke", "key_x"], stderr=subprocess.PIPE, text=True, env=self.environment())
        self.assertTrue(asked.wait(10))
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=10)
        self.assertEqual(p.returncode, 130)
        self.assertIn("may have been done", err)

    def test_broken_answers(self):
        def raw(data):
            def route(call, handler):
                handler.wfile.write(data)
                handler.close_connection = True
            return route
        for data, code, says in (
                (b"", 6, "before its answer was whole"),
                (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", 6, "before its answer was whole"),
                (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", 1, "does not answer in HTTP"),
                (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{\"a", 1, "not a JSON object"),
                (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", 1, "not a JSON object"),
                (b"HTTP/1.1 502 Bad\r\ncontent-length: 4\r\n\r\noops", 1, "status 502")):
            self.admin.routes[("GET", "/api/v1/status")] = raw(data)
            self.check("status", code=code, err=says)

    def test_chunked_answer(self):
        self.admin.chunked = True
        self.assertEqual(json.loads(self.check("status", "-o", "json").stdout), STATUS)

    def test_stdout_full(self):
        with open("/dev/full", "w") as full:
            r = subprocess.run([AIGWCTL, "status"], stdout=full, stderr=subprocess.PIPE, text=True, env=self.environment())
        self.assertEqual(r.returncode, 1)
        self.assertIn("can't write to stdout", r.stderr)

    def test_usage_errors(self):
        for args, says in (
                ((), "Commands:"), (("statsu",), "did you mean `status`"), (("doctor",), "not supported yet"),
                (("status", "--watch=1ms"), "100ms"), (("status", "--debug"), "not supported yet"), (("key", "list", "-n"), "has no flag --dry-run"),
                (("--ctl", "tls://ctl1:2450", "status"), "not supported yet"), (("--ctl", "/run/x", "status"), "unix:PATH"),
                (("status", "-o", "jsno"), "did you mean json"), (("status", "-o", "csv"), "table, json, jsonl or yaml"),
                (("status", "--color", "allways"), "did you mean always"), (("status", "--timeout", "10"), "unit"),
                (("status", "--timeout", "6m"), "5m"), (("key", "list", "--limit", "0"), "from 1"),
                (("status", "-q", "-v"), "exclude"), (("key", "list", "-o", "json", "--no-header"), "header"),
                (("key", "list", "-o", "name", "--columns", "id"), "names only"),
                (("key", "create", "ci"), "--project"), (("key", "create", "ci", "--project", "p", "--expires", "90"), "unit"),
                (("usage", "show", "--by", "porject"), "did you mean project"), (("usage", "show", "--by", ""), "can't group"),
                (("usage", "show", "--by", "day,day"), "twice"), (("usage", "show", "--period", "todya"), "did you mean today"),
                (("usage", "show", "--period", "today", "--since", "1h"), "exclude"),
                (("usage", "show", "--since", "2026-02-01", "--until", "2026-01-01"), "before it begins"),
                (("usage", "show", "--since", "long-ago"), "is no time"),
                (("provider", "secret", "set", "openai"), "--secret-file"),
                (("key", "list", "--filter", "state"), "COLUMN OP VALUE"), (("completion", "tcsh"), "bash, zsh or fish"),
                (("diff", "--revision", "x..2"), "A..B"), (("diff", "--revision", "..", "-f", "/dev/null"), "exclude"),
                (("env",), "--secret-file"), (("env", "--shell", "csh", "--secret-file", "-"), "bash, zsh or fish"),
                (("rollback", "x", "-y"), "number of one revision"), (("rollback", "1", "2", "-y"), "number of one revision"),
                (("apply", "-y", "--if-revision", "x", "-f", "/dev/null"), "must be a number")):
            self.check(*args, code=2, err=says)
        self.assertEqual(self.admin.calls, [])
        self.check("status", code=2, err="AIGW_OUTPUT", env={"AIGW_OUTPUT": "tabel"})
        self.check("status", code=2, err="AIGW_CTL", env={"AIGW_CTL": "http://x"})

    def test_path_too_long(self):
        self.check("status", "--ctl", "unix:/" + "x" * 120, code=2, err="too long")


class Flags(Case):
    def test_ctl(self):
        self.check("version", "--ctl", "unix:" + self.path, env={"AIGW_CTL": "unix:/nowhere"}, out="aigw-ctld 0.1.0")

    def test_output(self):
        self.assertEqual(json.loads(self.check("key", "list", "-o", "json").stdout), KEYS)
        lines = self.check("key", "list", "-o", "jsonl").stdout.splitlines()
        self.assertEqual([json.loads(line) for line in lines], KEYS["keys"])
        self.assertEqual(self.check("key", "list", "-o", "name").stdout, "key_3kQ9zB1mXy0a\nkey_7f3a00000000\n")
        rows = list(csv.DictReader(io.StringIO(self.check("key", "list", "-o", "csv").stdout)))
        self.assertEqual([r["name"] for r in rows], ["ci", "größer"])
        self.assertEqual(rows[1]["expires"], "2026-02-01T00:00:00Z")
        self.assertIn("- id: key_3kQ9zB1mXy0a\n", self.check("key", "list", "-o", "yaml").stdout)
        table = self.check("key", "list").stdout
        wide = self.check("key", "list", "-o", "wide").stdout
        self.assertNotIn("CUSTOMER", table)
        self.assertIn("CUSTOMER", wide)
        self.assertEqual(self.check("key", "list", env={"AIGW_OUTPUT": "wide"}).stdout, wide)
        # a preference of the environment is no error where there is no such form
        self.check("status", env={"AIGW_OUTPUT": "csv"}, out="AGENTS")

    def test_objects_in_json(self):
        for args, want in ((("status",), STATUS), (("key", "show", "key_3kQ9zB1mXy0a"), KEYS["keys"][0]),
                           (("agent", "show", "web-01"), AGENT), (("usage", "show"), USAGE),
                           (("agent", "list"), {"agents": [AGENT, DOWN]})):
            self.assertEqual(json.loads(self.check(*args, "-o", "json").stdout), want)
            one_line = self.check(*args, "-o", "yaml").stdout
            self.assertNotIn("{", one_line.replace("{}", ""))

    def test_columns(self):
        self.assertEqual(self.check("key", "list", "--columns", "project,id").stdout,
                         "PROJECT      ID\nsearch       key_3kQ9zB1mXy0a\nsupport-bot  key_7f3a00000000\n")
        self.assertEqual(json.loads(self.check("key", "list", "--columns", "id", "-o", "json").stdout),
                         {"keys": [{"id": "key_3kQ9zB1mXy0a"}, {"id": "key_7f3a00000000"}]})
        self.check("key", "list", "--columns", "nmae", code=2, err="did you mean name")

    def test_no_header(self):
        self.assertNotIn("NAME", self.check("key", "list", "--no-header").stdout)
        self.assertEqual(self.check("key", "list", "--no-header", "-o", "csv", "--columns", "name").stdout, "ci\ngrößer\n")

    def test_limit(self):
        r = self.check("key", "list", "--limit", "1", "-o", "name", err="1 of 2 keys")
        self.assertEqual(r.stdout, "key_3kQ9zB1mXy0a\n")

    def test_color(self):
        self.assertIn("\033[32mactive", self.check("key", "list", "--color", "always").stdout)
        self.assertNotIn("\033", self.check("key", "list").stdout)
        self.assertIn("\033[31m", self.check("key", "show", "x", "--color", "always", code=3).stderr)
        self.route("POST", "/api/v1/policy", 200, applied("applied"))
        for env, args, colored in (({}, (), True), ({"NO_COLOR": "1"}, (), False), ({"TERM": "dumb"}, (), False),
                                   ({}, ("--color", "never"), False)):
            code, _, seen = self.on_terminal(["apply", "-f", self.policy, *args], "n\n", "Apply?",
                                             env={"TERM": "xterm", **env})
            self.assertEqual(code, 1)
            self.assertEqual("\033[32m+" in seen, colored, (env, args))

    def test_quiet_and_verbose(self):
        self.assertEqual(self.check("usage", "show", err="2026-01-01").stdout, self.check("usage", "show", "-q").stdout)
        self.assertEqual(self.check("usage", "show", "-q").stderr, "")
        self.assertEqual(self.check("status", "-q").stderr, "")
        self.assertIn("agent list", self.check("status").stderr)
        self.check("status", "-v", err="GET /api/v1/status -> 200")
        self.check("key", "show", "x", "-q", code=3, err="error")

    def test_help_and_version(self):
        for args in (("-h",), ("help",), ("key", "create", "-h"), ("help", "keys"), ("apply", "--help")):
            r = self.check(*args, out="aigwctl")
            self.assertEqual(r.stderr, "")
        self.check("help", "nonsense", code=2, err="unknown command")
        self.check("doctor", "-h", code=2, err="not supported yet")
        self.check("-V", out="aigwctl ")
        self.assertEqual(self.admin.calls, [])

    def test_timeout_is_told_to_the_controller(self):
        self.route("POST", "/api/v1/keys/k/revoke", 200, {"id": "k", "state": "revoked", "seq": 1, "agents": []})
        self.check("key", "revoke", "k", "--timeout", "1500ms")
        self.assertEqual(self.last()["body"], {"timeout_ms": 1500})
        self.check("key", "revoke", "k")
        self.assertEqual(self.last()["body"], {"timeout_ms": 10000})


class Apply(Case):
    def setUp(self):
        super().setUp()
        self.route("POST", "/api/v1/policy", 200, applied("applied", "applied"))

    def posts(self):
        return [c["body"] for c in self.admin.calls if c["method"] == "POST"]

    def test_apply(self):
        second = os.path.join(self.folder.name, "extra.yaml")
        with open(second, "w") as f:
            f.write("models: []\n")
        r = self.check("apply", "-y", "-f", self.policy, "-f", second, "-m", "add embed",
                       err=["+ models.embed", "~ models.gpt-4o-mini", "Plan: 1 added, 2 changed, 0 removed. 2 agents affected."])
        self.assertRegex(r.stdout, r"^revision 43 on 2/2 agents in \d+\.\d s\n$")
        dry, real = self.posts()
        self.assertTrue(dry["dry_run"])
        self.assertFalse(real["dry_run"])
        self.assertTrue(real["wait"])
        self.assertEqual(real["message"], "add embed")
        self.assertEqual(real["files"], [{"name": self.policy, "text": "apiVersion: aigw/v1\n"},
                                         {"name": second, "text": "models: []\n"}])
        self.assertNotIn("if_revision", real)

    def test_needs_a_terminal_or_yes(self):
        self.check("apply", "-f", self.policy, code=2, err="-y")
        self.assertEqual(self.admin.calls, [])

    def test_asks(self):
        code, out, seen = self.on_terminal(["apply", "-f", self.policy], "y\n", "Apply?")
        self.assertEqual(code, 0, seen)
        self.assertIn("revision 43", out)
        # what was agreed to is applied to the revision that was shown, or not at all
        self.assertEqual([p["if_revision"] for p in self.posts()], [42, 42])

    def test_no(self):
        for typed in ("n\n", "\n", "yikes\n", "\x04"):
            self.admin.calls.clear()
            code, out, _ = self.on_terminal(["apply", "-f", self.policy], typed, "Apply?")
            self.assertEqual((code, out), (1, ""))
            self.assertEqual([p["dry_run"] for p in self.posts()], [True])

    def test_interrupted_at_the_question(self):
        code, _, seen = self.on_terminal(["apply", "-f", self.policy], lambda p: p.send_signal(signal.SIGINT), "Apply?")
        self.assertEqual(code, 130)
        self.assertIn("nothing was changed", seen)

    def test_dry_run(self):
        r = self.check("apply", "-n", "-f", self.policy, out=["+ models.embed", "Plan: 1 added"])
        self.assertEqual([p["dry_run"] for p in self.posts()], [True])
        self.assertEqual(json.loads(self.check("apply", "-n", "-f", self.policy, "-o", "json").stdout)["plan"], PLAN)
        self.assertEqual(r.stderr, "")

    def test_unchanged_does_not_ask(self):
        self.route("POST", "/api/v1/policy", 200, applied("applied", revision=42, unchanged=True))
        self.check("apply", "-y", "-f", self.policy, out="revision 42 (unchanged) on 1/1 agents")

    def test_if_revision(self):
        self.route("POST", "/api/v1/policy", 409, error("conflict", "revision 44 is in force, not 42"))
        self.check("apply", "-y", "-f", self.policy, "--if-revision", "42", code=5, err="revision 44 is in force")
        self.assertEqual(self.last()["body"]["if_revision"], 42)

    def test_invalid(self):
        findings = ["policy.yaml:3:7: unknown key `naem`; did you mean `name`?", "policy.yaml:9:1: no such provider"]
        self.route("POST", "/api/v1/policy", 422, error("policy_invalid", findings[0], findings=findings))
        r = self.check("apply", "-y", "-f", self.policy, code=7, err=findings)
        self.assertEqual(r.stdout, "")
        r = self.check("apply", "-y", "-f", self.policy, "-o", "json", code=7)
        self.assertEqual(json.loads(r.stdout)["findings"], findings)

    def test_agents(self):
        for states, args, code, says in (
                (("applied", "refused"), (), 9, "a1 (refused: feature x)"),
                (("applied", "pending"), (), 9, "a1 (pending)"),
                (("pending", "pending"), ("--no-wait",), 0, None),
                (("refused", "pending"), ("--no-wait",), 9, "a0 (refused"),
                (("applied", "offline"), ("--wait",), 0, "a1 (offline)")):
            self.route("POST", "/api/v1/policy", 200, applied(*states))
            self.check("apply", "-y", "-f", self.policy, *args, code=code, err=says)
            self.assertEqual(self.last()["body"]["wait"], "--no-wait" not in args)

    def test_warnings_are_talk(self):
        self.route("POST", "/api/v1/policy", 200, applied("applied", warnings=["p.yaml:1:1: warning: no price"]))
        self.check("apply", "-y", "-f", self.policy, err="warning: no price")
        self.assertNotIn("no price", self.check("apply", "-y", "-q", "-f", self.policy).stderr)

    def test_files(self):
        self.check("apply", "-y", "-f", self.folder.name + "/none.yaml", code=1, err="none.yaml")
        bad = os.path.join(self.folder.name, "bad.yaml")
        with open(bad, "wb") as f:
            f.write(b"a: \xff\n")
        self.check("apply", "-y", "-f", bad, code=7, err="bad.yaml:1:4: not UTF-8 text")
        self.assertEqual(self.admin.calls, [])
        self.check("apply", "-y", "-v", "-f", self.policy, err="reading " + self.policy)


GOOD = """\
apiVersion: aigw/v1
settings: {currency: USD}
providers:
  - {name: sim, type: openai-compatible, base_url: "http://127.0.0.1:2459/v1"}
models:
  - {name: gpt-4o-mini, targets: [{provider: sim, model: x}]}
customers:
  - {name: acme, projects: [{name: search}]}
"""


class Validate(Case):
    def write(self, text):
        with open(self.policy, "w") as f:
            f.write(text)

    def test_the_manual_s_examples(self):
        with open(os.path.join(HERE, "../../agentd/aigw-policy.5"), encoding="utf-8") as f:
            examples = re.findall(r"(?ms)^\.Bd -literal\n(apiVersion:.*?)^\.Ed$", f.read())
        self.assertEqual(len(examples), 2)
        for text in examples:
            self.write(text)
            self.assertEqual(self.check("validate", "-f", self.policy, err="valid: 1 file").stdout, "")  # nor a warning

    def test_good(self):
        self.write(GOOD)
        r = self.check("validate", "-f", self.policy, env={"AIGW_CTL": "unix:/nowhere"}, err="valid: 1 file")
        self.assertRegex(r.stdout, r"^\S+policy\.yaml:6:5: warning: .*gpt-4o-mini.*no price.*\n$")
        self.assertEqual(self.check("validate", "-q", "-f", self.policy).stderr, "")
        v = json.loads(self.check("validate", "-f", self.policy, "-o", "json").stdout)
        self.assertTrue(v["valid"])
        self.assertEqual((len(v["findings"]), len(v["warnings"]), len(v["digest"])), (0, 1, 64))
        self.assertEqual(self.admin.calls, [])

    def test_findings(self):
        self.write(GOOD.replace("type:", "tpye:"))
        r = self.check("validate", "-f", self.policy, code=7)
        self.assertRegex(r.stdout, r"policy\.yaml:4:17: .*tpye")
        v = json.loads(self.check("validate", "-f", self.policy, "-o", "json", code=7).stdout)
        self.assertFalse(v["valid"])
        self.assertTrue(v["findings"])

    def test_two_files(self):
        self.write(GOOD)
        second = os.path.join(self.folder.name, "b.yaml")
        with open(second, "w") as f:
            f.write("models:\n  - {name: embed, targets: [{provider: nobody, model: y}]}\n")
        r = self.check("validate", "-f", self.policy, "-f", second, code=7)
        self.assertRegex(r.stdout, r"b\.yaml:2:\d+: .*nobody")

    def test_verbose(self):
        self.write(GOOD)
        self.check("validate", "-v", "-f", self.policy, err="reading " + self.policy)

    def test_no_policy(self):
        if not os.path.exists("/etc/aigw"):
            self.check("validate", code=2, err="-f FILE")
        self.check("validate", "-f", self.folder.name, code=1, err=self.folder.name)


class Keys(Case):
    CREATED = {"id": "key_3kQ9zB1mXy0a", "key": KEY, "name": "ci", "project": "search", "customer": "acme", "expires": None,
               "seq": 8, "agents": [{"name": "web-01", "state": "confirmed"}]}

    def test_create(self):
        self.route("POST", "/api/v1/keys", 201, self.CREATED)
        r = self.check("key", "create", "ci", "--project", "search", "--expires", "90d",
                       err=["key_3kQ9zB1mXy0a", "project search", "expires never"])
        self.assertEqual(r.stdout, KEY + "\n")
        self.assertNotIn(KEY, r.stderr)
        self.assertEqual(self.last()["body"],
                         {"name": "ci", "project": "search", "expires": "90d", "wait": True, "timeout_ms": 10000})
        self.assertEqual(self.check("key", "create", "ci", "--project", "search", "-q").stderr, "")
        self.assertNotIn("expires", self.last()["body"])
        self.assertEqual(json.loads(self.check("key", "create", "ci", "--project", "p", "-o", "json").stdout), self.CREATED)

    def test_create_unconfirmed(self):
        self.route("POST", "/api/v1/keys", 201, dict(self.CREATED, agents=[{"name": "web-01", "state": "pending"}]))
        r = self.check("key", "create", "ci", "--project", "search", code=9, err="web-01 (pending)")
        self.assertEqual(r.stdout, KEY + "\n")  # it exists, and is shown only now
        self.route("POST", "/api/v1/keys", 201, dict(self.CREATED, agents=[{"name": "gpu-03", "state": "offline"}]))
        self.check("key", "create", "ci", "--project", "search", err="gpu-03 (offline)")

    def test_create_refused(self):
        for status, code in ((404, 3), (409, 5)):
            self.route("POST", "/api/v1/keys", status, error("x", "no project `serach`; did you mean `search`?"))
            r = self.check("key", "create", "ci", "--project", "serach", code=code, err="did you mean `search`")
            self.assertEqual(r.stdout, "")

    def test_list_and_show(self):
        r = self.check("keys", "list", "--project", "a b/c")
        self.assertEqual(self.last()["raw"], "/api/v1/keys?project=a%20b%2Fc")
        self.assertRegex(r.stdout, r"key_3kQ9zB1mXy0a  ci +active +search +never")
        self.check("key", "list", out="revoked")
        self.assertNotIn("project", self.last()["query"])
        self.check("key", "show", "key_3kQ9zB1mXy0a", out=["STATE         active", "CUSTOMER      acme"])
        self.check("key", "show", "../status", code=3)  # one segment of the path, whatever it holds
        self.assertEqual(self.last()["raw"], "/api/v1/keys/..%2Fstatus")
        self.route("GET", "/api/v1/keys", 200, {"keys": []})
        r = self.check("key", "list", err="no keys")
        self.assertEqual(r.stdout, "")

    def test_revoke(self):
        path = "/api/v1/keys/key_3kQ9zB1mXy0a/revoke"
        agents = [{"name": "web-01", "state": "confirmed"}, {"name": "web-02", "state": "confirmed"}]
        self.route("POST", path, 200, {"id": "key_3kQ9zB1mXy0a", "state": "revoked", "seq": 9, "agents": agents})
        r = self.check("key", "revoke", "key_3kQ9zB1mXy0a")
        self.assertRegex(r.stderr, r"confirmed by 2 agents after \d+ ms")
        agents += [{"name": "gpu-03", "state": "offline"}, {"name": "gpu-04", "state": "pending"}]
        self.route("POST", path, 200, {"id": "key_3kQ9zB1mXy0a", "state": "revoked", "seq": 9, "agents": agents})
        r = self.check("key", "revoke", "key_3kQ9zB1mXy0a", "-o", "json", code=9,
                       err=["2 of 4 agents", "gpu-03 (offline), gpu-04 (pending)"])
        self.assertEqual(json.loads(r.stdout)["agents"], agents)

    def test_revoke_dry_run(self):
        self.check("key", "revoke", "key_3kQ9zB1mXy0a", "-n", out="would revoke key_3kQ9zB1mXy0a  name ci")
        self.assertEqual([c["method"] for c in self.admin.calls], ["GET"])


class Usage(Case):
    def test_table(self):
        r = self.check("usage", "show", "--by", "project,model")
        lines = r.stdout.splitlines()
        self.assertEqual(lines[0].split("  ")[0], "PROJECT")
        self.assertEqual(lines[0].split(), ["PROJECT", "MODEL", "REQUESTS", "IN", "TOK", "CACHED", "OUT", "TOK", "ERRORS",
                                            "COST", "UNPRICED"])
        self.assertEqual(lines[1].split(), ["search", "gpt-4o-mini", "412,802", "812.4M", "39.1%", "96.2M", "0.3%",
                                            "$148.100000000", "0"])
        self.assertEqual(lines[2].split(), ["search", "embed", "3", "9", "-", "0", "0.0%", "-", "3"])
        self.assertEqual(lines[3].split()[:2], ["TOTAL", "412,805"])
        self.assertIn("$148.100000001", lines[3])
        self.assertEqual(len({len(line) for line in lines}), 1)  # numbers stand right

    def test_wide_and_csv(self):
        self.check("usage", "show", "-o", "wide", out=["812,400,000", "ESTIMATED", "CHARGE"])
        rows = list(csv.DictReader(io.StringIO(self.check("usage", "show", "-o", "csv").stdout)))
        self.assertEqual([r["input_tokens"] for r in rows], ["812400000", "9"])
        self.assertEqual([r["cost"] for r in rows], ["148.100000000", ""])

    def test_query(self):
        self.check("usage", "show")
        self.assertEqual(self.last()["query"]["by"], "project,model")
        self.assertRegex(self.last()["query"]["since"], r"^\d{4}-\d\d-01T00:00:00Z$")
        self.assertNotIn("until", self.last()["query"])
        self.check("usage", "show", "--by", "day, provider", "--period", "last-month")
        q = self.last()["query"]
        self.assertEqual(q["by"], "day,provider")
        self.assertRegex(q["since"] + q["until"], r"^\d{4}-\d\d-01T00:00:00Z\d{4}-\d\d-01T00:00:00Z$")
        self.assertLess(q["since"], q["until"])
        self.check("usage", "show", "--since", "2026-01-01", "--until", "2026-01-31T12:00:00Z")
        self.assertEqual((self.last()["query"]["since"], self.last()["query"]["until"]),
                         ("2026-01-01T00:00:00Z", "2026-01-31T12:00:00Z"))


class Screens(Case):
    def test_status(self):
        r = self.check("status", out=[
            "aigw 0.1.0   control unix:" + self.path, "revision 42", "by anna, 1/2 agents)", '"add embed"',
            "AGENTS      1 up   1 not up   gpu-03 quarantined   spool 3 s behind",
            "PROVIDERS   openai  https://api.openai.com/v1  credential openai: stored v3, web-01: secrets_dir",
            "MODELS      gpt-4o-mini  embed", "KEYS        3 active   1 revoked",
            "TODAY       12,345 requests   $118.420001   2 unpriced", "STORE       1.5 MiB of 64.0 MiB",
            "WARNINGS    clock of gpu-03 differs"])
        self.assertLessEqual(len(r.stdout.splitlines()), 24)

    def test_status_of_nothing(self):
        empty = dict(STATUS, revision=None, applied_at=None, applied_by=None, message=None, agents=[], providers=[], models=[],
                     warnings=[], usage_today={"requests": 0, "cost": None, "unpriced": 0})
        self.route("GET", "/api/v1/status", 200, empty)
        self.check("status", out=["no policy yet", "AGENTS      0 up   0 not up", "$0.00"])

    def test_agents(self):
        r = self.check("agent", "list", out=["web-01", "563,787", "12 rec", "-2ms", "25h", "quarantined",
                                             "fork; a second agent of this name was turned away"])
        self.assertNotIn("DURABILITY", r.stdout)
        self.check("agent", "list", "-o", "wide", out=["DURABILITY", "openai=secrets_dir", "+5ms"])
        self.check("agent", "show", "web-01", out=["AGENT         web-01", "SECRETS       openai=secrets_dir"])
        self.check("agent", "show", "nobody", code=3)

    def test_version(self):
        self.check("version", out=["aigwctl   ", "aigw-ctld 0.1.0   wire 1   store format 1"])
        r = self.check("version", "--ctl", "unix:/nowhere", err="no controller at unix:/nowhere")
        self.assertNotIn("aigw-ctld", r.stdout)
        self.assertIsNone(json.loads(self.check("version", "--ctl", "unix:/nowhere", "-o", "json").stdout)["controller"])

    def test_hostile_text(self):
        self.route("GET", "/api/v1/status", 200, dict(STATUS, warnings=["\033[2Jgone"], message="\u009b2J"))
        r = self.check("status", "--color", "never")
        self.assertNotRegex(r.stdout, "[\033\u009b]")
        self.route("GET", "/api/v1/keys/x", 404, error("not_found", "no \033]0;title\a"))
        self.assertNotRegex(self.check("key", "show", "x", code=3).stderr, "[\033\a]")


class Secrets(Case):
    def setUp(self):
        super().setUp()
        self.answer = {"name": "openai", "version": 4, "agents": [
            {"name": "web-01", "state": "confirmed", "source": "cache"}]}
        self.route("PUT", "/api/v1/secrets/openai", 200, self.answer)
        self.file = os.path.join(self.folder.name, "key.txt")
        with open(self.file, "w") as f:
            f.write("sk-real-\"quoted\"\n")

    def test_from_file_and_stdin(self):
        self.check("provider", "secret", "set", "openai", "--secret-file", self.file, err="version 4")
        self.assertEqual(self.last()["body"], {"value": 'sk-real-"quoted"', "timeout_ms": 10000})
        self.check("provider", "secret", "set", "openai", "--secret-file", "-", stdin="sk-piped")
        self.assertEqual(self.last()["body"]["value"], "sk-piped")
        r = self.check("provider", "secret", "set", "openai", "--secret-file", self.file, "-o", "json", "-v")
        self.assertEqual(json.loads(r.stdout), self.answer)
        self.assertNotIn("sk-real", r.stdout + r.stderr)

    def test_from_terminal(self):
        code, _, seen = self.on_terminal(["provider", "secret", "set", "openai", "--secret-file", "-"], "sk-typed\n",
                                         "secret (not shown)")
        self.assertEqual(code, 0, seen)
        self.assertEqual(self.last()["body"]["value"], "sk-typed")
        self.assertNotIn("sk-typed", seen)

    def test_wrong(self):
        for path, stdin in ((self.folder.name + "/none", ""), ("-", ""), ("-", "a\x00b")):
            self.check("provider", "secret", "set", "openai", "--secret-file", path, code=2, stdin=stdin)
        self.assertEqual(self.admin.calls, [])

    def test_agents(self):
        for state, code, says in (("shadowed", 0, "web-01 (shadowed)"), ("pending", 9, "web-01 (pending)"),
                                  ("offline", 0, "web-01 (offline)")):
            self.answer["agents"][0]["state"] = state
            self.check("provider", "secret", "set", "openai", "--secret-file", self.file, code=code, err=says)


if __name__ == "__main__":
    unittest.main()
