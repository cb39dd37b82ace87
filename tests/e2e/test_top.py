"""aigwctl top: what the agent is busy with, by what people ask for; plainly, and live on a terminal.

Usage: test_top.py [BUILD_ROOT] [unittest arguments]
"""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, build_root, http_call, wait_for  # noqa: E402

BUILD = build_root()
AIGWCTL = os.path.join(BUILD, "ctl/aigwctl/aigwctl")

POLICY = """\
apiVersion: aigw/v1
settings: {currency: EUR}
providers:
  - {name: a, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: b, type: openai-compatible, base_url: $SIM, credential: sim}
prices:
  - {provider: a, model: "*", from: 2020-01-01, input: 1, output: 2}
models:
  - {name: good, targets: [{provider: a, model: sim-a}]}
  - {name: bad, targets: [{provider: b, model: sim-b+fail-422}]}
  - {name: slow, targets: [{provider: b, model: sim-c+first-after-60000}]}
customers:
  - name: acme
    projects: [{name: search}, {name: lab}]
identities:
  - {uid: $UID, project: search}
"""


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.stack = self.enterContext(Stack(BUILD, POLICY))
        self.socket = self.stack.path("control.sock")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("AIGW_")} | {"AIGW_AGENT": self.socket, "TERM": "xterm"}

    def top(self, *args, code=0):
        got = subprocess.run([AIGWCTL, "top", *args], capture_output=True, text=True, timeout=60, env=self.env)
        self.assertEqual(got.returncode, code, got)
        return got.stdout if code == 0 else got.stderr

    def sums(self, by, *args):
        return json.loads(self.top("--once", "--by", by, "-o", "json", *args))

    def some_calls(self):
        key = self.stack.make_key("lab", name="ci")
        for i in range(4):
            self.stack.chat("good", way="unix", stream=i % 2 == 0)
        for _ in range(2):
            self.stack.chat("good", key=key)
        self.stack.chat("bad", key=key)
        self.stack.chat("none", way="unix")
        wait_for(lambda: self.sums("model")["total"]["calls"] == 8, "all are settled")
        return key


class Plain(Case):
    def test_each_grouping(self):
        self.some_calls()
        (key,) = [k["id"] for k in self.stack.api("GET", "/api/v1/keys")["keys"]]
        for by, wanted in (("model", [("good", 6, 0), ("bad", 1, 1), (None, 1, 1)]), ("project", [("search", 5, 1), ("lab", 3, 1)]),
                           ("key", [(None, 5, 1), (key, 3, 1)]), ("provider", [("a", 6, 0), ("b", 1, 1), (None, 1, 1)]),
                           ("uid", [(str(os.getuid()), 5, 1), (None, 3, 1)])):
            with self.subTest(by):
                got = self.sums(by)
                self.assertEqual(sorted(((r[by], r["calls"], r["errors"]) for r in got["rows"]), key=str), sorted(wanted, key=str))
                self.assertEqual([r["calls"] for r in got["rows"]], sorted((n for _, n, _ in wanted), reverse=True))
                self.assertEqual((got["by"], got["total"]["calls"], got["total"]["errors"], got["currency"]), (by, 8, 2, "EUR"))

    def test_numbers(self):
        self.some_calls()
        got = self.sums("model")
        good = got["rows"][0]
        calls = [json.loads(line) for line in http_call(self.socket, "/v1/tail?n=100").body.splitlines()]
        mine = [c for c in calls if c["model"] == "good"]
        nano = sum(int(c["cost"].replace(".", "")) for c in mine)
        span = got["span_us"]
        self.assertTrue(1e6 <= span <= 60e6, span)
        self.assertEqual((good["input_tokens"], good["output_tokens"]), (sum(c["input_tokens"] for c in mine), sum(c["output_tokens"] for c in mine)))
        self.assertEqual(int(good["cost"].replace(".", "")), nano)
        self.assertAlmostEqual(float(good["calls_per_s"]), 6e6 / span, delta=0.006)
        self.assertAlmostEqual(float(good["output_tokens_per_s"]), good["output_tokens"] * 1e6 / span, delta=0.6)
        self.assertAlmostEqual(float(good["cost_per_hour"]), nano * 3600e6 / span / 1e9, delta=0.006)
        first = sorted(c["first_byte_us"] for c in mine if c["stream"])
        self.assertEqual((good["ttft_p50_us"], good["ttft_p95_us"]), (first[0], first[1]))
        bad = got["rows"][1]
        self.assertEqual((bad["cost"], bad["cost_per_hour"], bad["ttft_p50_us"], bad["error_share"]), (None, None, None, "100.0%"))

    def test_calls_in_flight(self):
        with self.stack.connect("unix") as wire:
            wire.send("/v1/chat/completions", {"model": "slow", "messages": [{"role": "user", "content": "x"}], "stream": True})
            (row,) = wait_for(lambda: self.sums("provider")["rows"], "it is on its way")
            self.assertEqual((row["in_flight"], row["calls"]), (1, 0))
            wait_for(lambda: self.sums("provider")["rows"][0]["provider"] == "b", "it is sent")
        (row,) = wait_for(lambda: [r for r in self.sums("provider")["rows"] if r["in_flight"] == 0], "its client has gone")
        self.assertEqual((row["provider"], row["calls"], row["errors"]), ("b", 1, 0))  # no fault of anybody's

    def test_a_window(self):
        self.stack.chat("good", way="unix")
        wait_for(lambda: self.sums("model")["total"]["calls"] == 1, "it is settled")

        def asked(path):
            return http_call(self.socket, path)
        wait_for(lambda: asked("/v1/top?window_s=1").json()["total"]["calls"] == 0, "it is over")
        self.assertEqual(asked("/v1/top?window_s=1").json()["span_us"], 1000000)
        self.assertEqual(asked("/v1/top?window_s=3600").json()["total"]["calls"], 1)
        for bad in ("by=colour", "by=", "window_s=0", "window_s=3601", "window_s=x"):
            self.assertEqual((asked("/v1/top?" + bad).status, asked("/v1/top?" + bad).json()["error"]["code"]), (400, "usage"), bad)

    def test_more_calls_than_are_kept(self):
        """Then the span is what they cover."""
        with self.stack.connect("unix") as wire:
            for _ in range(4400):
                wire.send("/v1/chat/completions", {"model": "good", "messages": []})
                self.assertEqual(wire.answer().status, 200)
        got = self.sums("model")
        self.assertTrue(3500 < got["total"]["calls"] <= 4096, got["total"])
        self.assertTrue(0 < got["span_us"] < 60000000)
        self.assertAlmostEqual(float(got["total"]["calls_per_s"]), got["total"]["calls"] * 1e6 / got["span_us"], delta=0.006)

    def test_forms(self):
        self.some_calls()
        head, *rows = [line.split() for line in self.top("--once").splitlines()]
        self.assertEqual(head, "MODEL CALLS/S NOW ERR ERR% IN TOK/S OUT TOK/S COST/H TTFT P50 TTFT P95".split())
        self.assertEqual([r[0] for r in rows], ["good", *sorted(("bad", "-"), key=lambda n: n != "-"), "all"])
        self.assertEqual(self.top("--once", "--columns", "key,calls", "--by", "key", "--sort", "calls", "-o", "csv").splitlines()[0], "key,calls")
        self.assertEqual([r.split(",")[1] for r in self.top("--once", "--columns", "key,calls", "--by", "key", "--sort", "calls", "-o", "csv").splitlines()[1:]], ["3", "5"])
        self.assertEqual(len(self.top("--once", "-o", "jsonl", "--limit", "1").splitlines()), 1)
        for args, code, said in ((("--by", "colour"), 2, "one of model, project, key, provider, uid"), (("-o", "json"), 2, "with --once"), (("-o", "yaml"), 2, "with --once"),
                                 (("--once", "--sort", "colour"), 2, "no column"), (("--once", "--agent", self.stack.path("none.sock")), 6, "no agent"),
                                 (("--agent", self.stack.path("none.sock")), 6, "no agent"), (("--ctl", "unix:/x"), 2, "--ctl")):
            self.assertIn(said, self.top(*args, code=code))

    def test_into_a_pipe_it_goes_on(self):
        self.some_calls()
        with subprocess.Popen([AIGWCTL, "top"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env) as p:
            heads = 0
            while heads < 2:
                line = p.stdout.readline()
                self.assertNotIn("\033", line)
                heads += bool(re.match(r"a1  \d\d:\d\d:\d\d UTC  by model, the last \d+(\.\d)? s$", line))
            p.send_signal(signal.SIGINT)
            self.assertEqual((p.wait(20), p.stderr.read()), (130, ""))
        with subprocess.Popen([AIGWCTL, "top", "-o", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env) as p:
            lines = [p.stdout.readline() for _ in range(8)]
            self.assertEqual([line.startswith("model,") for line in lines], [True] + [False] * 7)  # the titles once
            p.terminate()


class Screen:
    """A terminal of its own and what stands on it: enough of one to read what top draws."""

    def __init__(self, env, *args, size=(24, 100)):
        self.master, slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(slave)
        self.slave = os.dup(slave)
        self.p = subprocess.Popen([AIGWCTL, "top", *args], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True,
                                  preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(slave)
        self.seen = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds=0.1):
        while select.select([self.master], [], [], seconds)[0]:
            try:
                got = os.read(self.master, 65536)
            except OSError:
                return
            if not got:
                return
            self.seen += got
            seconds = 0

    def lines(self):
        """Of the last whole drawing."""
        self.read()
        frames = re.findall(rb"\033\[H(.*?)\033\[J", self.seen, re.S)
        return [line.replace(b"\033[K", b"").strip(b"\r").decode() for line in frames[-1].split(b"\r\n")] if frames else []

    def type(self, keys):
        os.write(self.master, keys)

    def end(self):
        end = time.monotonic() + 30
        while self.p.poll() is None and time.monotonic() < end:
            self.read()
        self.read()
        return self.p.wait(1)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        os.close(self.master)
        os.close(self.slave)


class Live(Case):
    ENTER, LEAVE = b"\033[?1049h\033[?25l\033[?7l", b"\033[?7h\033[?25h\033[?1049l"

    def screen(self, *args, **more):
        s = Screen(self.env, *args, **more)
        self.addCleanup(s.close)
        return s

    def check_left(self, s, code):
        self.assertEqual(s.end(), code, s.seen)
        self.assertTrue(s.seen.startswith(self.ENTER) and s.seen.count(self.ENTER) == 1, s.seen[:200])
        self.assertEqual(s.seen.count(self.LEAVE), 1)
        self.assertEqual(termios.tcgetattr(s.slave), s.before)

    def test_it_draws_and_leaves_the_terminal_as_it_was(self):
        self.some_calls()
        for key, code in ((b"q", 0), (b"\x03", 130)):
            s = self.screen("--by", "project")
            lines = wait_for(lambda s=s: (got := s.lines()) and len(got) > 4 and got, "it is drawn")
            self.assertRegex(lines[0], r"^aigwctl top  a1  \d\d:\d\d:\d\d UTC  by project, the last \d+(\.\d)? s  \(q quits\)$")
            self.assertEqual([line.split()[0] for line in lines[2:] if line], ["PROJECT", "search", "lab", "all"])
            self.assertNotEqual(termios.tcgetattr(s.slave)[3] & termios.ECHO, termios.ECHO)
            s.type(b"\x1ax")  # nothing: neither stops it nor is it shown
            n = s.seen.count(b"\033[H")
            self.stack.chat("good", way="unix")
            wait_for(lambda s=s, n=n: s.read() or s.seen.count(b"\033[H") > n, "it is drawn again")
            s.type(key)
            self.check_left(s, code)
            self.assertEqual(s.seen[s.seen.index(self.LEAVE) + len(self.LEAVE):], b"")

    def test_it_fits_the_terminal(self):
        self.some_calls()
        s = self.screen(size=(24, 200))
        wide = wait_for(lambda: (got := s.lines()) and len(got) > 5 and got, "it is drawn")
        self.assertGreater(max(map(len, wide)), 80)
        s.resize(5, 30)  # the kernel tells with SIGWINCH
        small = wait_for(lambda: (got := s.lines()) and len(got) <= 5 and got, "it is drawn anew")
        self.assertLessEqual(max(map(len, small)), 30)
        self.assertEqual(small, [line[:30] for line in [small[0], "", *wide[2:5]]])
        s.type(b"q")
        self.check_left(s, 0)

    def test_the_agent_may_go_and_come(self):
        self.some_calls()
        s = self.screen()
        wait_for(lambda: len(s.lines()) > 4, "it is drawn")
        self.stack.end(self.stack.agent)
        wait_for(lambda: "no agent at unix:" in s.lines()[0], "it says so")
        self.stack.start_agent()
        self.stack.chat("good", way="unix")
        wait_for(lambda: (got := s.lines()) and any(line.startswith("good") for line in got), "it is there again")
        s.type(b"q")
        self.check_left(s, 0)

    def test_what_goes_wrong_is_said_behind_it(self):
        s = self.screen("--sort", "colour")
        self.some_calls()
        self.check_left(s, 2)
        self.assertIn(b"no column colour", s.seen[s.seen.index(self.LEAVE):])

    def test_a_dumb_terminal_gets_it_plainly(self):
        self.some_calls()
        self.env["TERM"] = "dumb"
        s = self.screen()
        wait_for(lambda: s.read() or b"all " in s.seen, "it is printed")
        self.assertNotIn(b"\033[?1049h", s.seen)
        s.type(b"\x03")
        self.assertEqual(s.end(), 130)


if __name__ == "__main__":
    unittest.main()
