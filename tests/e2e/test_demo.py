"""`aigwctl demo`: everything comes up, is checked, and nothing is left behind, however it ends.

The order of things and its failures are tried with stand-ins for controller and agent (this file, run under their names),
in a build tree of their own; then the same with the real programs.

Usage: test_demo.py BUILD_ROOT [unittest arguments]
"""
import glob
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler

# --- the stand-ins -----------------------------------------------------------------------------------------------------


def settings(path):
    with open(path) as f:
        return {k: v.strip().strip('"') for k, v in (line.split(":", 1) for line in f if ":" in line)}


class Plain(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def say(self, status, data, kind="application/json"):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def address_string(self):
        return "-"

    def log_message(self, *args):
        pass


class Ctld(Plain):
    """Keeps what it is given; usage is what the agent's stand-in has written down."""

    def do_GET(self):
        path = self.path.split("?")[0]
        agents = [{"name": "demo", "state": "up"}] if os.path.exists(self.server.home + "/agent.up") else []
        if path == "/api/v1/version":
            self.say(200, json.dumps({"version": "0"}).encode())
        elif path == "/api/v1/agents":
            self.say(200, json.dumps({"agents": agents}).encode())
        elif path == "/api/v1/usage":
            with open(self.server.home + "/booked") as f:
                lines = [json.loads(line) for line in f]
            names = ("requests", "ok", "input_tokens", "output_tokens", "cached_input_tokens")
            total = {n: sum(line[n] for line in lines) for n in names}
            total.update(errors=0, unpriced=0, estimated=0)
            nano = total["input_tokens"] * 150 + total["output_tokens"] * 600
            if "wrong-cost" in self.server.faults:
                nano += 1
            total["cost"] = f"{nano // 10**9}.{nano % 10**9:09d}"
            group = dict(total, project="search", model="gpt-4o-mini")
            self.say(200, json.dumps({"since": "x", "until": "y", "currency": "USD", "groups": [group], "total": total}).encode())
        else:
            self.say(404, b'{"error":{"message":"no"}}')

    def do_POST(self):
        body = json.loads(self.body())
        if self.path == "/api/v1/policy":
            if "dies-at-apply" in self.server.faults:
                print("the last words of the stand-in", file=sys.stderr, flush=True)
                os._exit(3)
            with open(self.server.home + "/policy", "w") as f:
                f.write(body["files"][0]["text"])
            state = "refused" if "refuses" in self.server.faults else "applied"
            self.say(200, json.dumps({"revision": 1, "agents": [{"name": "demo", "state": state}]}).encode())
        elif self.path == "/api/v1/keys":
            self.say(201, json.dumps({"id": "key_1", "key": "sk-aigw-standin"}).encode())

    def do_PUT(self):
        with open(self.server.home + "/secret", "w") as f:
            f.write(self.path + " " + json.loads(self.body())["value"])
        self.say(200, b'{"name":"openai","version":1,"agents":[]}')


class Agentd(Plain):
    """Relays to the simulator and writes usage down."""

    def do_GET(self):
        self.say(200, b"{}")

    def do_POST(self):
        body = json.loads(self.body())
        unix = isinstance(self.client_address, str)
        if not unix and self.headers.get("authorization") != "Bearer sk-aigw-standin":
            self.say(401, b'{"error":{"message":"no key"}}')
            return
        with open(self.server.home + "/policy") as f:
            port = int(re.search(r"127\.0\.0\.1:(\d+)/v1", f.read())[1])
        s = socket.create_connection(("127.0.0.1", port))
        data = json.dumps(dict(body, model="gpt-4o-mini")).encode()
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                  b"content-length: %d\r\n\r\n" % len(data) + data)
        answer = b""
        while True:
            piece = s.recv(65536)
            if not piece:
                break
            answer += piece
        s.close()
        head, _, rest = answer.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            text, at = b"", 0
            while True:
                end = rest.index(b"\r\n", at)
                n = int(rest[at:end], 16)
                if n == 0:
                    break
                text += rest[end + 2:end + 2 + n]
                at = end + 2 + n + 2
        else:
            text = rest
        usage = json.loads(re.findall(rb'"usage":(\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\})', text)[-1])
        if "cuts" in self.server.faults and body.get("stream"):
            text = text.replace(b"data: [DONE]", b": nothing")
        with open(self.server.home + "/booked", "a") as f:
            f.write(json.dumps({"requests": 1, "ok": 1, "input_tokens": usage["prompt_tokens"],
                                "output_tokens": usage["completion_tokens"], "cached_input_tokens": 0}) + "\n")
        self.say(200, text, "text/event-stream" if body.get("stream") else "application/json")


class Unix(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True


def stand_in(name, config):
    s = settings(config)
    home = os.path.dirname(config)
    faults = os.environ.get("DEMO_FAULTS", "").split()
    assert "OPENAI_API_KEY" not in os.environ
    with open(f"{home}/{name}.pid", "w") as f:
        f.write(str(os.getpid()))
    if "deaf" in faults and name == "aigw-agentd":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if name == "aigw-ctld":
        open(home + "/booked", "w").close()
        servers = [Unix(s["admin_socket"], Ctld)]
    else:
        servers = [Unix(s["socket"], Agentd), Tcp(("127.0.0.1", int(s["listen"].split(":")[-1])), Agentd)]
        if "never-connects" not in faults:
            open(home + "/agent.up", "w").close()
    for server in servers:
        server.home = home
        server.faults = faults
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()


if os.path.basename(sys.argv[0]) in ("aigw-ctld", "aigw-agentd"):
    stand_in(os.path.basename(sys.argv[0]), sys.argv[sys.argv.index("--config") + 1])

# --- the tests ---------------------------------------------------------------------------------------------------------

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import golden  # noqa: E402

BUILD = os.path.abspath(sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "build")
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")
SIM = os.path.join(BUILD, "tests/sim/aigw-sim")
BASE = "/run" if os.geteuid() == 0 else os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"


def is_gone(pid):
    """Ended; a zombie that some other init has yet to reap counts."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def mounts():
    with open("/proc/self/mountinfo") as f:
        return [line for line in f if "aigw-demo." in line]


class Demo(unittest.TestCase):
    program = AIGWCTL

    def environment(self, **more):
        env = {k: v for k, v in os.environ.items() if k not in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DEMO_FAULTS")}
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        env.update(more)
        return env

    def start(self, *args, **env):
        p = subprocess.Popen([self.program, "demo", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=self.environment(**env))
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.terminate)  # it tidies up also after a test that failed
        return p

    def finish(self, p, code):
        timer = threading.Timer(120, p.kill)
        timer.start()
        out, err = p.stdout.read(), p.stderr.read()  # communicate() would miss what is buffered
        p.wait()
        timer.cancel()
        self.assertEqual(p.returncode, code, out + err)
        return out, err

    def check_nothing_left(self, p):
        self.assertFalse(os.path.exists(f"{BASE}/aigw-demo.{p.pid}"))
        self.assertEqual([m for m in mounts() if f"aigw-demo.{p.pid}" in m], [])

    def run_demo(self, *args, code=0, **env):
        p = self.start(*args, **env)
        out, err = self.finish(p, code)
        if "--keep" not in args:
            self.check_nothing_left(p)
        return p, out, err

    def until_up(self, p):
        """Reads the banner; {"port", "key", "dir"}."""
        text = ""
        while "Try:" not in text:
            line = p.stdout.readline()
            if not line:
                self.fail(text + p.stderr.read())
            text += line
        api = re.search(r"API +http://127\.0\.0\.1:(\d+)/v1 +key (\S+)", text)
        home = re.search(r"Socket +(\S+)/agent\.sock", text)[1]
        self.assertEqual(home, f"{BASE}/aigw-demo.{p.pid}")
        return {"port": int(api[1]), "key": api[2], "dir": home, "text": text}

    def children(self, p):
        with open(f"/proc/{p.pid}/task/{p.pid}/children") as f:
            return [int(c) for c in f.read().split()]


class Usage(Demo):
    def test_refused(self):
        for args, says in ((("--provider", "anthropic"), "not supported yet"), (("--port", "0"), "1 to 65535"),
                           (("--port", "70000"), "1 to 65535"), (("--requests", "x"), "0 to 100000"),
                           (("--secret-file", "x"), "--provider openai"), (("--provider", "openai"), "--secret-file"),
                           (("--provider", "openai", "--secret-file", "/none"), "/none"),
                           (("extra",), "takes nothing"), (("-o", "json"), "no flag --output")):
            _, out, err = self.run_demo(*args, code=2)
            self.assertIn(says, err)
            self.assertEqual(out, "")


class WithStandIns(Demo):
    @classmethod
    def setUpClass(cls):
        cls.tree = tempfile.TemporaryDirectory(prefix="aigw-tree-")
        for folder in ("ctl/aigwctl", "ctl/ctld", "agentd", "tests/sim"):
            os.makedirs(os.path.join(cls.tree.name, folder))
        cls.program = os.path.join(cls.tree.name, "ctl/aigwctl/aigwctl")
        shutil.copy(AIGWCTL, cls.program)
        os.symlink(SIM, os.path.join(cls.tree.name, "tests/sim/aigw-sim"))
        for name in ("ctl/ctld/aigw-ctld", "agentd/aigw-agentd"):
            with open(os.path.join(cls.tree.name, name), "w") as f, open(os.path.abspath(__file__)) as me:
                f.write(f"#!{sys.executable}\n" + me.read())
            os.chmod(os.path.join(cls.tree.name, name), 0o755)

    @classmethod
    def tearDownClass(cls):
        cls.tree.cleanup()

    def selftest_until_the_mount(self, code, *args, **env):
        """The stand-in has no mount: where /dev/fuse is there, the test ends at it."""
        return self.run_demo("--selftest", *args, code=code, **env)

    def test_selftest(self):
        fuse = os.access("/dev/fuse", os.R_OK | os.W_OK)
        _, out, err = self.run_demo("--selftest", code=1 if fuse else 0)
        for kind in ("plain", "streamed", "tool"):
            self.assertIn(f"{kind} call over TCP with a key", err)
            self.assertIn(f"{kind} call over the unix socket without a key", err)
        self.assertIn("ledger: requests, tokens and cost as in the answers", err)
        self.assertIn("stats mount" if fuse else "TOTAL", err + out)

    def test_wrong_ledger(self):
        _, _, err = self.run_demo("--selftest", code=1, DEMO_FAULTS="wrong-cost")
        self.assertRegex(err, r"the ledger says cost \d\.\d{9}, the answers make \d\.\d{9}")

    def test_cut_stream(self):
        _, _, err = self.run_demo("--selftest", code=1, DEMO_FAULTS="cuts")
        self.assertIn("streamed call over TCP, with the key: the stream has no [DONE]", err)

    def test_policy_refused(self):
        _, _, err = self.run_demo("--selftest", code=1, DEMO_FAULTS="refuses")
        self.assertIn("did not take the demo's policy: demo (refused)", err)

    def test_child_dies_at_start(self):
        """Its last lines are shown, and all is removed."""
        _, _, err = self.run_demo(code=1, DEMO_FAULTS="dies-at-apply")
        self.assertIn("the last words of the stand-in", err)
        self.assertIn("aigw-ctld ended with status 3", err)

    def test_child_dies_later(self):
        for name in ("aigw-ctld", "aigw-agentd"):
            p = self.start("--requests", "0")
            demo = self.until_up(p)
            children = self.children(p)
            self.assertEqual(len(children), 3)
            with open(f"{demo['dir']}/{name}.pid") as f:
                os.kill(int(f.read()), signal.SIGKILL)
            _, err = self.finish(p, 1)
            self.assertIn(f"{name} was ended by signal 9", err)
            self.check_nothing_left(p)
            self.assertTrue(all(is_gone(c) for c in children))

    def test_signals(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            p = self.start("--requests", "0")
            self.until_up(p)
            children = self.children(p)
            p.send_signal(sig)
            self.finish(p, 0)
            self.check_nothing_left(p)
            self.assertTrue(all(is_gone(c) for c in children))

    def test_reader_goes_away(self):
        """`aigwctl demo | head -1` is tidied up like any other."""
        p = self.start("-v", "--requests", "0")
        p.stdout.close()
        while "/api/v1/keys" not in p.stderr.readline():
            pass
        p.send_signal(signal.SIGINT)
        err = p.stderr.read()
        self.assertIn(p.wait(), (1, 130), err)  # 1: it could not print
        self.check_nothing_left(p)

    def test_signal_while_it_comes_up(self):
        p = self.start("-v", DEMO_FAULTS="never-connects")
        while "aigw-agentd is pid" not in p.stderr.readline():
            pass
        children = self.children(p)
        p.send_signal(signal.SIGINT)
        self.finish(p, 130)
        self.check_nothing_left(p)
        self.assertTrue(all(is_gone(c) for c in children))

    def test_second_signal_does_not_wait(self):
        """An agent that does not end keeps nobody waiting who says it twice."""
        p = self.start("--requests", "0", DEMO_FAULTS="deaf")
        demo = self.until_up(p)
        with open(demo["dir"] + "/aigw-agentd.pid") as f:
            agent = int(f.read())
        start = time.monotonic()
        p.send_signal(signal.SIGINT)
        while not self.is_waiting_for(agent, p):
            pass
        p.send_signal(signal.SIGINT)
        _, err = self.finish(p, 0)
        self.assertLess(time.monotonic() - start, 8)
        self.assertIn("aigw-agentd does not end, killing it", err)
        self.check_nothing_left(p)

    def is_waiting_for(self, agent, p):
        """The first signal has been taken: SIGTERM, which the stand-in ignores, stands at nobody any more."""
        with open(f"/proc/{p.pid}/status") as f:
            pending = int(re.search(r"ShdPnd:\s+(\w+)", f.read())[1], 16)
        time.sleep(0.01)
        return not pending & 1 << signal.SIGINT - 1 and not is_gone(agent)

    def test_keep(self):
        p = self.start("--keep", "--requests", "0")
        demo = self.until_up(p)
        p.send_signal(signal.SIGINT)
        _, err = self.finish(p, 0)
        self.assertIn("kept: " + demo["dir"], err)
        self.assertTrue(os.path.exists(demo["dir"] + "/log/aigw-agentd"))
        shutil.rmtree(demo["dir"])

    def test_requests(self):
        for args, n in (((), 12), (("--requests", "7"), 7), (("--requests", "0"), 0)):
            p = self.start(*args)
            demo = self.until_up(p)
            with open(demo["dir"] + "/booked") as f:
                self.assertEqual(len(f.readlines()), n)
            p.send_signal(signal.SIGINT)
            out, _ = self.finish(p, 0)
            self.assertEqual(f"{n} sample calls" in out, n > 0)

    def test_ports(self):
        taken = []
        for port in (2449, 2460):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                s.listen()
            except OSError:
                pass  # somebody has it, which is as good
            taken.append(s)
        _, _, err = self.run_demo("--port", "2449", code=1)
        self.assertIn("port 2449 is taken", err)
        p = self.start("--requests", "0")
        self.assertIn(self.until_up(p)["port"], range(2461, 2660))
        p.send_signal(signal.SIGINT)
        self.finish(p, 0)
        free = socket.socket()
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        p = self.start("--requests", "0", "--port", str(port))
        self.assertEqual(self.until_up(p)["port"], port)
        p.send_signal(signal.SIGINT)
        self.finish(p, 0)
        for s in taken:
            s.close()

    def test_folder_is_private(self):
        p = self.start("--requests", "0")
        demo = self.until_up(p)
        self.assertEqual(os.stat(demo["dir"]).st_mode & 0o777, 0o700)
        p.send_signal(signal.SIGINT)
        self.finish(p, 0)

    def test_openai(self):
        """The same with a real provider's type and a secret; no simulator is started, no call is made unasked."""
        key = os.path.join(self.tree.name, "key")
        with open(key, "w") as f:
            f.write("sk-real\n")
        for args, env in ((("--secret-file", key), {}), ((), {"OPENAI_API_KEY": "sk-real"})):
            p = self.start("--provider", "openai", *args, OPENAI_BASE_URL="http://127.0.0.1:1/v1", **env)
            demo = self.until_up(p)
            self.assertIn("real provider", demo["text"])
            self.assertEqual(len(self.children(p)), 2)
            with open(demo["dir"] + "/policy") as f:
                policy = f.read()
            self.assertIn("type: openai, credential: openai", policy)
            self.assertIn('base_url: "http://127.0.0.1:1/v1"', policy)
            with open(demo["dir"] + "/booked") as f:
                self.assertEqual(f.read(), "")
            with open(demo["dir"] + "/secret") as f:
                self.assertEqual(f.read(), "/api/v1/secrets/openai sk-real")
            p.send_signal(signal.SIGINT)
            self.finish(p, 0)

    def test_program_missing(self):
        tree = tempfile.TemporaryDirectory()
        self.addCleanup(tree.cleanup)
        os.makedirs(tree.name + "/ctl/aigwctl")
        self.program = shutil.copy(AIGWCTL, tree.name + "/ctl/aigwctl/aigwctl")
        if os.path.exists("/usr/local/libexec/aigw/aigw-sim"):
            self.skipTest("aigw is installed on this host")
        _, _, err = self.run_demo(code=1)
        self.assertIn("aigw-sim is neither at", err)
        self.assertIn("build or install", err)


class Real(Demo):
    def test_selftest(self):
        _, out, err = self.run_demo("--selftest")
        if os.access("/dev/fuse", os.R_OK | os.W_OK):
            golden.compare(self, "demo-selftest.table", f"{out}--- standard error\n{err}")
        self.assertEqual(err.count("ok  "), 7 + 2 * os.access("/dev/fuse", os.R_OK | os.W_OK), err)
        table = out.splitlines()
        self.assertRegex(table[0], r"^PROJECT +MODEL +REQUESTS +IN TOK +CACHED +OUT TOK +ERRORS +COST +UNPRICED")
        self.assertRegex(out, r"(?m)^search +gpt-4o-mini +3 ")
        self.assertRegex(out, r"(?m)^support-bot +gpt-4o-mini +3 ")
        self.assertRegex(table[-1], r"^TOTAL +6 .* 0$")

    def test_stays_and_what_it_prints_works(self):
        p = self.start("--requests", "6")
        demo = self.until_up(p)
        children = self.children(p)
        self.assertEqual(len(children), 3)
        if "Stats    none" not in demo["text"]:
            golden.compare(self, "demo.txt", demo["text"], ((f":{demo['port']}\\b", ":PORT"),), demo["dir"])
        for where in ([f"http://127.0.0.1:{demo['port']}/v1/chat/completions", "-H", f"authorization: Bearer {demo['key']}"],
                      ["--unix-socket", f"{demo['dir']}/agent.sock", "http://localhost/v1/chat/completions"]):
            r = subprocess.run(["curl", "-sS", "-f", *where, "-H", "content-type: application/json", "-d",
                                '{"model":"small","messages":[{"role":"user","content":"hi"}]}'],
                               capture_output=True, text=True, timeout=30)
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertTrue(json.loads(r.stdout)["choices"][0]["message"]["content"])
        if "Stats    none" not in demo["text"]:
            with open(demo["dir"] + "/stats/summary") as f:
                self.assertIn("gpt-4o-mini", f.read())
        r = subprocess.run([AIGWCTL, "--ctl", f"unix:{demo['dir']}/admin.sock", "status"], capture_output=True, text=True)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("AGENTS      1 up", r.stdout)
        p.send_signal(signal.SIGINT)
        self.finish(p, 0)
        self.check_nothing_left(p)
        self.assertTrue(all(is_gone(c) for c in children))

    def test_verbs(self):
        """Every verb once, against the real controller and agent."""
        p = self.start("--requests", "3")
        demo = self.until_up(p)
        policy = os.path.join(demo["dir"], "policy.yaml")
        with open(policy, "w") as f:
            f.write(self.admin_get(demo, "/api/v1/policy")["files"][0]["text"])

        def ctl(*args, code=0, out="^", err="^", stdin=None):
            r = subprocess.run([AIGWCTL, *args], capture_output=True, text=True,
                               input=stdin, timeout=60, env=self.environment(AIGW_CTL=f"unix:{demo['dir']}/admin.sock"))
            self.assertEqual(r.returncode, code, f"{args}: {r.stdout}{r.stderr}")
            self.assertRegex(r.stdout, out)
            self.assertRegex(r.stderr, err)
            return r.stdout

        def call(key):
            r = subprocess.run(["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}",
                                f"http://127.0.0.1:{demo['port']}/v1/models", "-H", f"authorization: Bearer {key}"],
                               capture_output=True, text=True, timeout=30)
            return r.stdout

        ctl("validate", "-f", policy, err="valid: 1 file")
        ctl("apply", "-y", "-f", policy, out=r"revision 1 \(unchanged\) on 1/1 agents")
        with open(policy, "a") as f:
            f.write("  - {uid: 4242, project: search}\n")
        ctl("apply", "-n", "-f", policy, out="Plan: ")
        ctl("apply", "-y", "-f", policy, "-m", "more", out=r"revision 2 on 1/1 agents in \d+\.\d s")
        ctl("apply", "-y", "-f", policy, "--if-revision", "1", code=5)
        with open(policy, "a") as f:
            f.write("nonsense: 1\n")
        with open(policy) as f:
            lines = len(f.readlines())
        ctl("apply", "-y", "-f", policy, code=7, err=rf"policy\.yaml:{lines}:1: .*nonsense")
        ctl("validate", "-f", policy, code=7, out=rf"policy\.yaml:{lines}:1: .*nonsense")
        ctl("status", out=r"(?s)revision 2 .*\"more\".*AGENTS +1 up.*KEYS +1 active +0 revoked")

        key = ctl("key", "create", "ci", "--project", "search", "--expires", "1h", err="expires in ").strip()
        self.assertEqual(call(key), "200")
        ctl("key", "create", "ci", "--project", "search", code=5)
        ctl("key", "create", "ci", "--project", "nobody", code=3)
        listed = json.loads(ctl("key", "list", "--project", "search", "-o", "json"))["keys"]
        ident = next(k["id"] for k in listed if k["name"] == "ci")
        ctl("key", "list", "--project", "support-bot", err="no keys")
        ctl("key", "revoke", ident, "-n", out="would revoke")
        ctl("key", "revoke", ident, err=r"confirmed by 1 agent after \d+ ms")
        self.assertEqual(call(key), "401")
        self.assertEqual(call(demo["key"]), "200")
        ctl("key", "revoke", ident)  # once more is no error
        ctl("key", "show", ident, out="(?m)^STATE +revoked$")
        ctl("key", "show", "key_000000000000", code=3)

        ctl("provider", "secret", "set", "other", "--secret-file", "-", stdin="sk-x", err="version 1")
        ctl("agent", "list", out=r"demo .* up +2 ")
        ctl("agent", "show", "demo", out="DURABILITY +strict")
        ctl("agent", "show", "none", code=3)
        deadline = time.monotonic() + 20  # records travel behind the answers
        while "TOTAL" not in ctl("usage", "show", "--by", "endpoint,outcome") and time.monotonic() < deadline:
            time.sleep(0.05)
        ctl("usage", "show", "--by", "key,uid,day,hour,agent,provider,customer", "-o", "wide", out="demo-customer")
        ctl("version", out=r"aigw-ctld \S+ +wire 1")
        p.send_signal(signal.SIGINT)
        self.finish(p, 0)

    def admin_get(self, demo, path):
        s = socket.socket(socket.AF_UNIX)
        s.connect(demo["dir"] + "/admin.sock")
        s.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        with s.makefile("rb") as f:
            answer = f.read()
        s.close()
        return json.loads(answer.partition(b"\r\n\r\n")[2])

    def test_agent_killed(self):
        """kill -9 leaves a mount without a server; the demo takes it away."""
        p = self.start("--requests", "0", "-v")
        while True:
            found = re.search(r"aigw-agentd is pid (\d+)", p.stderr.readline())
            if found:
                break
        self.until_up(p)
        os.kill(int(found[1]), signal.SIGKILL)
        _, err = self.finish(p, 1)
        self.assertIn("aigw-agentd was ended by signal 9", err)
        self.check_nothing_left(p)

    def test_demo_killed(self):
        """Nobody can tidy up after kill -9, but no program outlives it."""
        p = self.start("--requests", "0")
        demo = self.until_up(p)
        children = self.children(p)
        p.kill()
        p.wait()
        deadline = time.monotonic() + 20
        while not all(is_gone(c) for c in children) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertTrue(all(is_gone(c) for c in children))
        subprocess.run(["umount", "-l", demo["dir"] + "/stats"], stderr=subprocess.DEVNULL)
        shutil.rmtree(demo["dir"])

    @unittest.skipIf(os.geteuid() != 0, "needs root to become another user")
    def test_not_root(self):
        """Another user, without XDG_RUNTIME_DIR: /dev/shm."""
        tree = tempfile.TemporaryDirectory(prefix="aigw-tree-", dir="/var/tmp")
        self.addCleanup(tree.cleanup)
        os.chmod(tree.name, 0o755)
        for name in ("ctl/aigwctl/aigwctl", "ctl/ctld/aigw-ctld", "agentd/aigw-agentd", "tests/sim/aigw-sim"):
            os.makedirs(os.path.dirname(os.path.join(tree.name, name)), exist_ok=True)
            shutil.copy(os.path.join(BUILD, name), os.path.join(tree.name, name))
        for folder, _, _ in os.walk(tree.name):
            os.chmod(folder, 0o755)
        env = self.environment()
        env.pop("XDG_RUNTIME_DIR", None)
        r = subprocess.run([tree.name + "/ctl/aigwctl/aigwctl", "demo", "--selftest", "-v"], capture_output=True, text=True,
                           env=env, user=65534, group=65534, extra_groups=[], timeout=120, cwd="/")
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertIn("folder /dev/shm/aigw-demo.", r.stderr)
        self.assertEqual(glob.glob("/dev/shm/aigw-demo.*"), [])

    def test_openai_secret_reaches_the_provider(self):
        """A provider that wants the key gets it: pushed by the controller, from no file of ours."""
        sim = subprocess.Popen([SIM, "--listen", "127.0.0.1:0", "--require-key", "sk-real"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(sim.stdout.close)
        self.addCleanup(sim.wait)
        self.addCleanup(sim.terminate)
        port = re.search(r"http=127\.0\.0\.1:(\d+)", sim.stdout.readline())[1]
        _, out, err = self.run_demo("--selftest", "--provider", "openai", OPENAI_API_KEY="sk-real",
                                    OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1")
        self.assertIn("TOTAL", out)
        self.assertNotIn("sk-real", out + err)


if __name__ == "__main__":
    unittest.main()
