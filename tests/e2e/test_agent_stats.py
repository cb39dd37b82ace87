"""The stats mount of a running agent, read with the tools that people have: while 200 streams run, by users who may not see everything, and
after a kill.

Usage: test_agent_stats.py [BUILD_ROOT] [unittest arguments]
"""
import collections
import contextlib
import json
import os
import pty
import select
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
from harness import Stack, bearer, build_root, wait_for  # noqa: E402
from streams import Streams  # noqa: E402
from wire import Wire  # noqa: E402

BUILD = build_root()
MANY = 200
READERS_S = float(os.environ.get("AIGW_READERS_S", "4"))

POLICY = """\
apiVersion: aigw/v1
providers:
  - {name: sim, type: openai-compatible, base_url: $SIM, credential: sim}
  - {name: tls, type: openai-compatible, base_url: $SIM_TLS, credential: sim, options: {ca_file: $CA}}
prices:
  - {provider: sim, model: "*", from: 2020-01-01, input: 1, cached_input: 0.5, output: 2}
models:
  - {name: small, targets: [{provider: sim, model: sim-small}]}
  - {name: "vendor/paced", targets: [{provider: sim, model: sim+tokens-250+pace-20000}]}
  - {name: safe, targets: [{provider: tls, model: sim+close-after}]}
  - {name: broken, targets: [{provider: sim, model: sim+fail-500}]}
customers:
  - name: acme
    projects: [{name: search}, {name: playground}, {name: guests}]
identities:
  - {uid: $UID, project: playground}
  - {uid: 54321, project: guests}
"""
WHY_NOT = None if os.path.exists("/dev/fuse") else "no /dev/fuse: the stats mount can't be tried"
if not WHY_NOT and os.geteuid() != 0 and not (shutil.which("fusermount3") and os.access("/dev/fuse", os.W_OK)):
    WHY_NOT = "neither root nor fusermount3 with /dev/fuse: the stats mount can't be tried"


def ask(model="small", **members):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def sh(command, at, uid=None, status=0):
    """The output of a shell command in that folder, as that user."""
    who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
    got = subprocess.run([*who, "sh", "-c", command], cwd="/" if uid else at, env={**os.environ, "AT": at}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         text=True, timeout=60)
    if status is not None and got.returncode != status:
        raise AssertionError(f"{command}: {got.returncode}, {got.stdout}")
    return got.stdout


def numbers(text):
    """KEY VALUE lines."""
    return {k: float(v) for k, v in (line.split() for line in text.splitlines())}


@unittest.skipIf(WHY_NOT, WHY_NOT)
class Stats(unittest.TestCase):
    def setUp(self):
        self.stack = self.enterContext(self.made())
        self.at = self.stack.agent_settings["stats"]
        os.chmod(self.stack.home, 0o711)
        self.key = self.stack.make_key("search")
        self.wait_mounted()

    def made(self, **settings):
        stack = Stack(BUILD, POLICY, agent=settings)
        stack.agent_settings.setdefault("stats", stack.path("stats"))
        return stack

    def wait_mounted(self):
        """It comes last at the start, and without it the agent serves as well."""
        def met():
            with contextlib.suppress(OSError):
                return self.read("version")
        wait_for(met, "the stats are mounted")

    def read(self, *path):
        with open(os.path.join(self.at, *path), encoding="utf-8") as f:
            return f.read()

    def stat(self, *path):
        return numbers(self.read(*path, "stat"))

    def test_read_while_200_streams_run(self):
        with Streams() as streams:
            for i in range(MANY):
                way, headers = (self.stack.where("tcp"), bearer(self.key)) if i % 2 else (self.stack.unix, ())
                streams.begin(way, ask("vendor/paced"), headers)
            streams.wait(lambda held: held.status == 200 and held.events > 2)
            self.assertEqual(sh("awk '$1 == \"inflight\" {print $2}' stat", self.at), f"{MANY}\n")
            self.assertEqual(sh("cat models/vendor%2Fpaced/stat | grep -c .", self.at), sh("cat models/small/stat | wc -l", self.at))
            self.assertEqual(sh("grep -l '^requests 0$' models/*/stat | wc -l", self.at), "4\n")  # counted when they end
            self.assertEqual(sh("awk 'NR > 1' inflight | wc -l", self.at).strip(), str(MANY))
            rows = collections.Counter(line.split()[3] for line in self.read("inflight").splitlines()[1:])
            self.assertEqual(rows, {"search": MANY // 2, "playground": MANY // 2})
            self.assertEqual(sh("cat health", self.at), "ok\n")
            self.assertIn("vendor%2Fpaced", sh("cat summary", self.at))
            self.assertRegex(sh("cat summary", self.at), rf"\b{MANY} in flight")
            # All of it, again and again, by four at a time: nobody waits for anybody, and nothing is cut.
            readers = [subprocess.Popen(["sh", "-c", "for i in 1 2 3 4 5; do find . -type f ! -name events -exec cat {} + >/dev/null || exit 1; grep -rc --exclude=events . . >/dev/null || exit 1; "
                                         "ls -lR >/dev/null || exit 1; done"], cwd=self.at) for _ in range(4)]
            self.assertEqual([r.wait(60) for r in readers], [0] * 4)
            before = [held.events for held in streams.all]
            streams.wait(lambda held: held.events > before[streams.all.index(held)] or held.is_whole)  # none stands still
            streams.wait(lambda held: held.is_whole)
        records = self.stack.wait_records(MANY)
        wait_for(lambda: self.stat()["inflight"] == 0, "nothing is in flight")
        total = self.stat()
        self.assertEqual(total["conns_opened"], MANY)
        self.assertLessEqual(total["conns_idle"], 2 * 64)  # 64 of each worker are kept
        self.assertEqual(total["conns_open"], total["conns_idle"])
        self.assertEqual((total["requests"], total["ok"], total["tokens_out"]), (MANY, MANY, sum(r["output_tokens"] for r in records)))
        self.assertEqual(f"{total['cost_usd']:.9f}", f"{sum(float(r['cost']) for r in records):.9f}")
        for project in ("search", "playground"):
            self.assertEqual(self.stat("projects", project)["ok"], MANY // 2)
        self.assertIn(f"vendor%2Fpaced n={MANY} ", self.read("latency"))

    READERS = {
        "cat": "find . -type f ! -name events -exec cat {} + >/dev/null", "grep -r": "grep -rc --exclude=events . . >/dev/null",
        "awk": "awk 'FNR == 1 {n++} END {exit n < 10}' $(find . -name stat)", "cp -r": "d=$(mktemp -d) && cp -r config control models projects providers keys $d; s=$?; rm -rf $d; exit $s",
        "find": "test $(find . | wc -l) -gt 60", "ls": "ls -lR >/dev/null", "tail": "tail -n 3 metrics | grep -q .",
    }

    def test_every_kind_of_reader_while_200_streams_run(self):
        """READERS_S seconds long, all at once, with watch on a terminal and poll(2) on events: none fails, and no stream stands still."""
        until = time.monotonic() + READERS_S
        self.stack.apply(POLICY.replace("tokens-250+pace-20000", "tokens-8000+pace-20000"))
        rounds, failed = collections.Counter(), []

        def read_on(name):
            while time.monotonic() < until:
                got = subprocess.run(["sh", "-c", self.READERS[name]], cwd=self.at, capture_output=True, text=True, timeout=60, check=False)
                rounds[name] += 1
                if got.returncode != 0:
                    failed.append((name, got.returncode, got.stderr[-300:]))
        with Streams() as streams:
            for i in range(MANY):
                way, headers = (self.stack.where("tcp"), bearer(self.key)) if i % 2 else (self.stack.unix, ())
                streams.begin(way, ask("vendor/paced"), headers)
            streams.wait(lambda held: held.status == 200 and held.events > 2)
            master, slave = pty.openpty()
            fd = os.open(os.path.join(self.at, "events"), os.O_RDONLY | os.O_NONBLOCK)
            watching = subprocess.Popen(["watch", "-n", "0.2", "cat", "summary"], cwd=self.at, stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"})
            threads = [threading.Thread(target=read_on, args=(name,)) for name in self.READERS]
            try:
                for t in threads:
                    t.start()
                seen, drawn = b"", b""
                while time.monotonic() < until:
                    self.tell()
                    self.assertEqual(select.select([fd], [], [], 10)[0], [fd], rounds)
                    seen += os.read(fd, 65536)
                    if select.select([master], [], [], 0)[0]:
                        drawn += os.read(master, 65536)
                    self.stack.chat("small")
                    before = [held.events for held in streams.all]
                    streams.wait(lambda held: held.events > before[streams.all.index(held)] + 6)  # 120 ms: an event is logged ten times a second at most
            finally:
                until = 0
                for t in threads:
                    t.join()
                watching.terminate()
                watching.wait()
                for f in (fd, master, slave):
                    os.close(f)
        self.assertEqual(failed, [])
        self.assertTrue(all(rounds[name] > 0 for name in self.READERS), rounds)
        self.assertIn(b"event=agent.log_level", seen)
        self.assertNotIn(b"lost ", seen)
        self.assertIn(b" in flight", drawn)

    def test_numbers_of_all_that_can_happen(self):
        for model, key in (("small", None), ("small", self.key), ("nobody", None), ("broken", None), ("small", "sk-aigw-wrong")):
            self.stack.chat(model, key=key)
        total = self.stat()
        self.assertEqual([total[k] for k in ("requests", "ok", "client_errors", "upstream_errors", "rejected_auth")], [5, 2, 1, 1, 1])
        self.assertEqual([self.stat("models", "small")[k] for k in ("requests", "ok")], [2, 2])
        self.assertEqual([self.stat("providers", "sim")[k] for k in ("requests", "ok", "upstream_errors")], [3, 2, 1])
        self.assertEqual(self.stat("self")["requests"], 3)  # of this user, on the unix socket
        self.assertEqual(self.read("self", "project"), "playground\n")
        self.assertRegex(self.read("providers", "sim", "pool"), r"^connections open=\d+ idle=\d+ ")
        self.assertEqual(self.read("models", "small", "targets"), "sim model=sim-small share=100% priority=1 weight=100 state=ok recover_in_ms=0 opened=0 in_flight=0 ttft_us=- headroom=100%\n")
        self.assertRegex(self.read("version"), r"^aigw-agentd \d\S* abi 1\n$")

    def test_tls_sessions_are_resumed(self):
        """Each answer ends its connection: all but the first of each worker resume."""
        for _ in range(20):
            self.assertEqual(self.stack.chat("safe").status, 200)
        got = self.stat("providers", "tls")
        self.assertEqual((got["conns_opened"], got["ok"]), (20, 20))
        self.assertGreaterEqual(got["tls_resumed"], 18)

    @unittest.skipUnless(os.geteuid() == 0, "needs root: reads as another user")
    def test_another_user(self):
        self.stack.chat("small", key=self.key)
        self.stack.chat("small")
        other = 54321
        call = f"curl -sS -o /dev/null -w '%{{http_code}}' --unix-socket {self.stack.unix} -H 'content-type: application/json' -d '{json.dumps(ask())}' " \
               "http://aigw/v1/chat/completions"
        for _ in range(3):
            self.assertEqual(sh(call, self.at, other), "200")
        for path in ("README", "version", "uptime_s", "health", "summary", "stat", "latency", "models/small/stat", "models/small/latency",
                     "models/small/targets", "providers/sim/stat", "providers/sim/pool", "providers/sim/state"):
            self.assertNotEqual(sh(f'cat "$AT/{path}"', self.at, other), "", path)
        for path in ("inflight", "projects", "projects/search/stat", "projects/guests/stat", "keys", "keys/key_000000000000", "by-uid",
                     f"by-uid/{os.getuid()}/stat", "by-uid/0/user"):
            self.assertIn("Permission denied", sh(f'ls -l "$AT/{path}/" 2>&1; cat "$AT/{path}"', self.at, other, 1), path)
        # What is his: his own numbers, under his own name.
        self.assertEqual(sh('readlink "$AT/self"', self.at, other), f"by-uid/{other}\n")
        mine = numbers(sh('cat "$AT/self/stat"', self.at, other))
        self.assertEqual((mine["requests"], mine["ok"]), (3, 3))
        self.assertEqual(sh('cat "$AT/self/project" "$AT/self/user"', self.at, other), f"guests\n{other}\n")
        self.assertEqual(self.stat("self")["requests"], 1)  # and ours are not his
        self.assertIn("Permission denied", sh('touch "$AT/x" 2>&1 || ls "$AT/by-uid"', self.at, other, 2))

    def test_policy_and_controller(self):
        """One value a file: what is in force, whether the controller is there, what waits for it."""
        self.assertEqual((self.read("config/revision"), self.read("control/state")), ("1\n", "connected\n"))
        self.assertEqual(self.read("control/server"), f"unix:{self.stack.path('agents.sock')}\n")
        self.assertGreater(int(self.read("config/applied_at")), 1700000000)
        self.stack.apply(POLICY.replace("output: 2}", "output: 3}"))
        wait_for(lambda: self.read("config/revision") == "2\n", "the new revision is shown")
        self.stack.kill(self.stack.ctld)
        wait_for(lambda: self.read("control/state") == "retrying\n", "the controller's absence is shown")
        for _ in range(3):
            self.stack.chat("small", key=self.key)
        spool = wait_for(lambda: (s := dict(line.split() for line in self.read("control/spool").splitlines()))["records"] == "3" and s, "three wait")
        self.assertEqual((spool["state"], spool["durability"], spool["last_sequence"]), ("ok", "strict", "3"))
        wait_for(lambda: int(self.read("control/lag_ms")) > 0, "and grow older")
        self.stack.start_ctld()
        self.stack.wait_records(3)
        wait_for(lambda: (self.read("control/state"), self.read("control/lag_ms")) == ("connected\n", "0\n"), "all is well again")

    def test_where_the_policy_came_from(self):
        self.assertEqual(self.read("config/source"), "controller\n")
        text = self.read("config/policy.yaml")
        self.assertTrue(text.startswith("# revision 1\n"))
        # It is the policy: applied again, nothing changes.
        answer = self.stack.api("POST", "/api/v1/policy", {"files": [{"name": "p.yaml", "text": text}], "wait": True, "timeout_ms": 10000})
        self.assertTrue(answer["unchanged"], answer)
        self.assertNotIn(self.stack.secrets["sim"], text)
        self.stack.end(self.stack.ctld)
        self.stack.end(self.stack.agent)
        self.stack.start_agent()
        self.wait_mounted()
        self.assertEqual(self.read("config/source"), "cache\n")
        self.assertEqual(self.read("config/policy.yaml"), text)
        self.stack.start_ctld()
        self.stack.wait_agent()
        self.stack.apply(POLICY.replace("output: 2}", "output: 3}"))
        wait_for(lambda: self.read("config/source") == "controller\n", "the controller's own is in force")

    def test_keys(self):
        """Each key that the agent knows has a folder, from its making on; its numbers are its calls here."""
        other = self.stack.make_key("playground", name="night job")
        one, two = ("key_" + k[8:20] for k in (self.key, other))
        wait_for(lambda: os.path.isdir(os.path.join(self.at, "keys", two)), "the new key is shown")
        self.assertEqual(sorted(os.listdir(os.path.join(self.at, "keys"))), sorted([one, two]))
        for _ in range(3):
            self.stack.chat("small", key=self.key)
        self.stack.chat("broken", key=other)
        self.assertEqual([self.stat("keys", one)[k] for k in ("requests", "ok")], [3, 3])
        self.assertEqual([self.stat("keys", two)[k] for k in ("requests", "ok", "upstream_errors")], [1, 0, 1])
        self.assertEqual([self.read("keys", two, f) for f in ("name", "project", "state")], ["night job\n", "playground\n", "active\n"])
        self.assertEqual(self.read("projects", "search", "keys"), f"{one} active test\n")
        self.assertEqual(self.read("projects", "guests", "keys"), "")
        self.stack.api("POST", f"/api/v1/keys/{two}/revoke", {"wait": True, "timeout_ms": 10000})
        wait_for(lambda: self.read("keys", two, "state") == "revoked\n", "it is shown as revoked")
        self.assertEqual(self.stat("keys", two)["requests"], 1)
        for name in ("key_", one[:-1], one + "x", "key_000000000000", one.upper()):
            self.assertFalse(os.path.exists(os.path.join(self.at, "keys", name)), name)

    def beside_the_reader(self, stack):
        """On one processor with us: how long another one takes to wake up has nothing to do with what is looked up."""
        mine = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, mine)
        os.sched_setaffinity(0, {min(mine)})
        for task in os.listdir(f"/proc/{stack.agent.pid}/task"):
            with open(f"/proc/{stack.agent.pid}/task/{task}/comm", encoding="utf-8") as f:
                if f.read().strip() == "aigw-statfs":
                    os.sched_setaffinity(int(task), {min(mine)})

    def test_a_look_up_among_10000_keys(self):
        """Costs at most twice that among ten, in interleaved turns; and the folder lists them all."""
        few, many = self.stack, self.enterContext(self.made())
        with Wire(many.path("admin.sock")) as wire:
            for i in range(9999):
                self.assertEqual(wire.call("/api/v1/keys", {"name": f"k{i}", "project": "search"}).status, 201)
        for i in range(9):
            few.make_key("search", name=f"k{i}")
        many.make_key("search")
        ids = {}
        for stack, n in ((few, 10), (many, 10000)):
            at = os.path.join(stack.agent_settings["stats"], "keys")
            wait_for(lambda a=at, n=n: len(os.listdir(a)) == n, "all are listed", 60)
            names = sorted(os.listdir(at))
            ids[n] = [os.path.join(at, names[i * len(names) // 500], "state") for i in range(500)]
            self.beside_the_reader(stack)
        for _ in range(3):  # what else runs on the host makes one round worse than another, none better than it is
            took = {10: [], 10000: []}
            for _ in range(9):
                for n, paths in ids.items():
                    began = time.perf_counter()
                    for path in paths:
                        os.stat(path)
                    took[n].append(time.perf_counter() - began)
            ratio = statistics.median(b / a for a, b in zip(took[10], took[10000]))
            if ratio < 2:
                break
        print(f"# look-up among 10,000 keys: {ratio:.2f} times that among 10", file=sys.stderr)
        self.assertLess(ratio, 2)

    def test_errors_of_a_provider_by_kind(self):
        closed = self.enterContext(self.made())
        closed.agent_settings["stats"] = closed.path("stats")
        self.assertEqual((self.read("providers/sim/last_error"), self.read("providers/tls/last_error")), ("-\n", "-\n"))
        start = int(time.time())
        for model, times in (("broken", 3), ("small", 2)):
            for _ in range(times):
                self.stack.chat(model, key=self.key)
        got = numbers(self.read("providers/sim/errors"))
        self.assertEqual({k: v for k, v in got.items() if v}, {"failed": 3})
        self.assertEqual(list(got)[:5], ["no_address", "no_connection", "tls", "proxy", "timeout_connect"])
        self.stack.apply(POLICY.replace("$SIM_TLS", "https://localhost:1/v1").replace("sim+fail-500", "sim+fail-429").replace("sim-small", "sim+fail-403", 1))
        for model in "safe", "broken", "small":
            self.stack.chat(model, key=self.key)
        self.assertEqual({k: v for k, v in numbers(self.read("providers/sim/errors")).items() if v}, {"failed": 3, "rate_limited": 1, "auth": 1})
        self.assertEqual({k: v for k, v in numbers(self.read("providers/tls/errors")).items() if v}, {"no_connection": 1})
        for provider, word in (("sim", "auth"), ("tls", "no_connection")):  # the last, not the most frequent
            got, at = self.read(f"providers/{provider}/last_error").split()
            self.assertEqual(got, word)
            self.assertTrue(start <= int(at) <= time.time(), at)

    def tell(self, n=1):
        """Makes so many events."""
        for i in range(n):
            with Wire(self.stack.path("control.sock")) as wire:
                self.assertEqual(wire.call("/v1/log-level", {"level": ("info", "debug")[i % 2]}, method="PUT").status, 200)

    def test_events_wait_and_come_once(self):
        with open(os.path.join(self.at, "events"), "rb", buffering=0) as a, open(os.path.join(self.at, "events"), "rb", buffering=0) as b:
            got = []
            reader = threading.Thread(target=lambda: got.append(a.read(4096)))
            reader.start()
            reader.join(0.1)
            self.assertTrue(reader.is_alive())  # there is nothing yet
            began = time.monotonic()
            self.tell()
            reader.join(10)
            took = time.monotonic() - began
            self.assertRegex(got[0].decode(), r"^t=\d+\.\d{6} level=info area=agent event=agent\.log_level to=info uid=\d+\n$")
            print(f"# an event was read after {1000 * took:.0f} ms", file=sys.stderr)
            self.assertEqual(b.read(4096), got[0])  # each reader has it
            self.tell(3)
            text = b""
            while text.count(b"\n") < 3:
                text += a.read(10)  # in any pieces
            self.assertEqual(text.count(b"event=agent.log_level"), 3)
            self.assertEqual(len(text.splitlines()), 3)

    def test_events_can_be_polled(self):
        fd = os.open(os.path.join(self.at, "events"), os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fd)
        with self.assertRaises(BlockingIOError):
            os.read(fd, 4096)
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        self.assertEqual(poll.poll(50), [])
        self.tell()
        self.assertEqual(poll.poll(10000), [(fd, select.POLLIN)])
        self.assertIn(b"agent.log_level", os.read(fd, 4096))
        self.assertEqual(poll.poll(0), [])
        with self.assertRaises(OSError):
            os.lseek(fd, 0, os.SEEK_SET)

    def cat_events(self):
        """A cat that has read one and waits for the next."""
        cat = subprocess.Popen(["cat", os.path.join(self.at, "events")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

        def read():
            self.tell()
            return select.select([cat.stdout], [], [], 0.2)[0] and cat.stdout.readline()
        self.assertIn(b"agent.log_level", wait_for(read, "cat reads"))
        return cat

    def test_an_interrupted_reader_and_the_agents_end(self):
        cat = self.cat_events()
        cat.send_signal(signal.SIGINT)
        self.assertEqual(cat.wait(10), -signal.SIGINT)
        cat.stdout.close()
        other = self.cat_events()
        self.stack.end(self.stack.agent)  # does not wait for who reads
        other.wait(10)
        other.stdout.close()

    def test_opens_are_bounded(self):
        """A thousand opens of one user: few are given, the others get ENFILE, and whoever else comes is served."""
        program = ("import errno, os, sys\nheld, refused = [], 0\nfor i in range(1000):\n    try:\n        held.append(os.open(sys.argv[1] + sys.argv[2 + i % 3], os.O_RDONLY))\n"
                   "    except OSError as e:\n        refused += e.errno == errno.ENFILE\nprint(len(held), refused, flush=True)\nsys.stdin.read()\n")
        files = ["/stat", "/latency", "/events" if os.geteuid() == 0 else "/README"]
        with subprocess.Popen([sys.executable, "-c", program, self.at, *files], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hog:
            held, refused = map(int, hog.stdout.readline().split())
            self.assertLessEqual(held, 12)
            self.assertEqual(held + refused, 1000)
            if os.geteuid() == 0:
                self.assertIn("requests", sh('cat "$AT/stat"', self.at, 54321))
            self.assertEqual(self.stack.chat("small").status, 200)
            hog.stdin.close()
        self.assertIn("requests", self.read("stat"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root: walks as other users")
    def test_what_three_users_may_read(self):
        """The whole tree, walked by root, by a member of aigw-stats' stand-in and by a stranger, against a table."""
        self.stack.chat("small", key=self.key)
        call = f"curl -sS -o /dev/null --unix-socket {self.stack.unix} -H 'content-type: application/json' -d '{json.dumps(ask())}' http://aigw/v1/chat/completions"
        sh(call, self.at, 54321)
        closed = {"inflight", "events", "metrics", "config/policy.yaml", "projects", "keys"}
        by_group, by_stranger, all_of_it = set(), set(), set()
        program = ("import os, sys\nfor d, folders, files in os.walk(sys.argv[1]):\n    for n in files:\n        p = os.path.join(d, n)\n"
                   "        if os.access(p, os.R_OK): print(os.path.relpath(p, sys.argv[1]))\n")
        stats_gid = os.stat(os.path.join(self.at, "inflight")).st_gid
        for who, into in (([], all_of_it), (["setpriv", "--reuid=54323", f"--regid={stats_gid}", "--clear-groups"], by_group),
                          (["setpriv", "--reuid=54322", "--regid=54322", "--clear-groups"], by_stranger)):
            got = subprocess.run([*who, sys.executable, "-c", program, self.at], stdout=subprocess.PIPE, text=True, check=True, cwd="/")
            into.update(got.stdout.split())
        is_closed = lambda p: p.split("/")[0] in closed or p in closed  # noqa: E731
        self.assertEqual(by_stranger, {p for p in all_of_it if not is_closed(p) and not p.startswith("by-uid/")})
        # Without a group aigw-stats on this host it is the agent's own, whose members may read all of it; with one, by-uid is each user's own.
        own = stats_gid == os.getegid()
        self.assertEqual(by_group, {p for p in all_of_it if own or not p.startswith("by-uid/")})
        self.assertGreater(len(all_of_it), 40)
        for secret in "search", "guests", self.key[8:20]:
            self.assertEqual(sh(f'grep -rl -e {secret} "$AT" 2>/dev/null || true', self.at, 54322), "", secret)

    def test_nothing_can_be_written(self):
        for command in ("touch x", "mkdir d", "rm stat", "echo 1 >stat", "mv stat x", "ln -s a b"):
            self.assertRegex(sh(f"{command} 2>&1", self.at, status=None), "Permission denied|Operation not permitted|Read-only|Function not implemented|not permitted|No such")
        self.assertIn("requests", self.read("stat"))

    def test_readers_come_last(self):
        """The thread that serves the files runs when nothing else wants to (SCHED_IDLE); no other thread does."""
        tasks = f"/proc/{self.stack.agent.pid}/task"
        policy = {}
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm", encoding="utf-8") as f:
                policy[f.read().strip()] = os.sched_getscheduler(int(task))
        self.assertEqual(policy.pop("aigw-statfs"), os.SCHED_IDLE, policy)
        self.assertEqual(set(policy.values()), {os.SCHED_OTHER}, policy)

    def test_a_killed_agent_leaves_no_dead_mount(self):
        self.stack.chat("small")
        held = os.open(os.path.join(self.at, "stat"), os.O_RDONLY)
        self.stack.kill(self.stack.agent)
        with self.assertRaises(OSError):  # the dead one's
            self.read("stat")
        self.stack.start_agent()
        with contextlib.suppress(OSError):  # of a file system that is gone
            os.close(held)
        self.wait_mounted()
        self.assertEqual(self.stat()["requests"], 0)  # the new agent's numbers
        self.assertEqual(sh("cat health", self.at), "ok\n")
        self.stack.chat("small")
        self.assertEqual(self.stat()["ok"], 1)
        self.assertEqual(sh(f"grep -c ' {self.at} ' /proc/mounts", self.at), "1\n")

    def test_it_goes_with_the_agent(self):
        self.stack.end(self.stack.agent)
        self.assertFalse(os.path.ismount(self.at))
        self.assertEqual(os.listdir(self.at), [])

    def test_stats_off(self):
        stack = self.enterContext(self.made(stats="off"))
        self.assertEqual(stack.chat("small").status, 200)
        with open("/proc/mounts", encoding="utf-8") as f:
            self.assertNotIn(stack.home, f.read())

    def test_a_place_where_it_can_not_be(self):
        """The agent serves without it, and says so."""
        stack = self.enterContext(self.made(stats="/proc/none"))
        self.assertEqual(stack.chat("small").status, 200)
        with open(stack.path("agentd.log"), encoding="utf-8") as f:
            self.assertRegex(f.read(), r"level=warning area=statfs event=statfs.not_mounted path=/proc/none")


if __name__ == "__main__":
    unittest.main()
